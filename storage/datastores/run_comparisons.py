"""Two runs side by side: what datastores have of each, and whether it is the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple, TypeAlias

import sqlalchemy as sa

from butlerql.storage.datastores.records import WHOLE, RecordSource, is_whole, record_sources, recorded_rows
from butlerql.storage.datastores.tree import Datastore, FileDatastore
from butlerql.storage.datastores.validation.results import have_checksums, seen
from butlerql.storage.dialect import Dialect
from butlerql.storage.registry import dataset_types
from butlerql.storage.registry.dataset_groups import GroupKey, dataset_groups
from butlerql.storage.registry.dataset_types import DatasetType
from butlerql.storage.registry.pages import Key, PageRequest
from butlerql.storage.registry.ranges import Part
from butlerql.storage.registry.run_comparisons import ComparedType, Runs, by_table, datasets_of, in_both, pairs_of
from butlerql.storage.registry.selection_filters import datastore_filter
from butlerql.storage.snapshot import Snapshot
from butlerql.storage.state.database import State
from butlerql.storage.uuids import digits_of

__all__ = [
    "Contents",
    "Figures",
    "compare_contents",
    "compare_validated",
    "definitions_changed",
    "figures_of",
    "worth_validated",
]

Reading: TypeAlias = Callable[[], AbstractAsyncContextManager[Snapshot]]
"""Begins a snapshot, which is used within the block alone."""

_CHUNK = 20_000
"""Pairs whose records are read in one snapshot, and whose checksums are then looked up."""

_BY_CHECKSUM, _BY_SIZE, _NOT_AT_ALL = range(3)
"""How two datasets were compared; in several datastores it is the least, of several files the greatest."""

_DIFFERS = 4
"""Added to it where they differ."""

_FOR_ANYTHING = "lsst.pipe.base.quantum_graph.formatter.ProvenanceFormatter"
"""Formatter of what ``ingest-graph`` put in: it writes down the same storage class for whatever a graph holds."""

_LAST_UUID = "ffffffff-ffff-ffff-ffff-ffffffffffff"


class Figures(NamedTuple):
    """What a datastore has of the datasets of a type in a run."""

    stored: int = 0
    """How many of them it has records of."""

    bytes: int | None = 0
    """Size of their files, each once; None if some was not recorded."""


class Contents(NamedTuple):
    """How many pairs of datasets with the same data ID differ, and how many could be compared, by what."""

    changed: int = 0
    by_checksum: int = 0
    by_size: int = 0

    def and_one(self, code: int, count: int = 1) -> Contents:
        """Count pairs that were compared."""
        changed, how = divmod(code, _DIFFERS)
        return Contents(
            self.changed + count * changed,
            self.by_checksum + count * (how == _BY_CHECKSUM),
            self.by_size + count * (how == _BY_SIZE),
        )


async def figures_of(
    snapshot: Snapshot, runs: Runs, kinds: Sequence[DatasetType], datastore: Datastore
) -> Mapping[DatasetType, tuple[Figures, Figures]]:
    """Count the datasets of two runs that a datastore has, and sum up their bytes: one statement."""
    parts = [
        Part(parent, await dataset_types.position(snapshot, kind), kind, [run])
        for kind in kinds
        for parent, run in enumerate(runs)
    ]
    here = await datastore_filter(snapshot, datastore, absent=False)
    by = [GroupKey.DATASET_TYPE]
    groups = await dataset_groups(snapshot, parts, len(runs), by, filters=[here], datastore=datastore)
    base, other = (
        {one.key[GroupKey.DATASET_TYPE]: Figures(one.datasets, None if one.unsized else one.bytes) for one in some}
        for some in groups
    )
    return {kind: (base.get(kind.name, Figures()), other.get(kind.name, Figures())) for kind in kinds}


async def definitions_changed(
    snapshot: Snapshot, runs: Runs, kinds: Sequence[DatasetType], datastore: Datastore
) -> Mapping[DatasetType, bool]:
    """Tell whether the files of two runs were written as different storage classes; one statement a tags table.

    The registry has one definition of a dataset type, the present one. What files were written as is what it was then.
    Files of a component are compared with those of the same one, and nothing is told by what one run alone has, nor by
    what ``ingest-graph`` put in.
    """
    changed = dict.fromkeys(kinds, False)
    for some in by_table(kinds):
        by_key = {kind.key: kind for kind in some}
        classes: dict[tuple[int, str], tuple[set[str], set[str]]] = {}
        for key, side, part, storage_class in await _storage_classes(snapshot, runs, some, datastore):
            classes.setdefault((key, part), (set(), set()))[side].add(storage_class)
        for (key, _), (base, other) in classes.items():
            changed[by_key[key]] |= bool(base and other) and base != other
    return changed


async def _storage_classes(
    snapshot: Snapshot, runs: Runs, kinds: Sequence[DatasetType], datastore: Datastore
) -> Sequence[sa.Row[*tuple[Any, ...]]]:
    """Select each storage class of the files of each dataset type, run and component once."""
    dialect = snapshot.repository.dialect
    selects = []
    for source in await record_sources(snapshot, datastore):
        rows, records = datasets_of(snapshot, runs, kinds), source.table.c
        selects.append(
            sa.select(rows.c.type, rows.c.side, _part(records.component), records.storage_class)
            .select_from(dialect.each(rows, source.table))
            .where(records.dataset_id == rows.c.uuid, source.own, records.formatter != _FOR_ANYTHING)
            .distinct()
        )
    return await snapshot.rows(sa.union(*selects)) if selects else []


async def compare_contents(
    snapshot: Snapshot, runs: Runs, compared: Sequence[ComparedType], datastore: Datastore
) -> dict[DatasetType, Contents]:
    """Compare the datasets of two runs that have the same data ID, by the records.

    In each datastore that has records of both, the files of the one are compared with those of the other, component by
    component: by their checksums where both are recorded, else by their sizes. A file that has no counterpart is a
    difference. Datasets differ if they do in one of the datastores.

    One statement a tags table, in which the database counts.
    """
    found = {one.dataset_type: Contents() for one in compared}
    for kinds in by_table([one.dataset_type for one in compared if one.common]):
        by_key = {kind.key: kind for kind in kinds}
        for key, code, count in await _codes(snapshot, pairs_of(snapshot, runs, kinds), datastore):
            found[by_key[key]] = found[by_key[key]].and_one(code, count)
    return found


async def worth_validated(
    state: State, compared: Sequence[ComparedType], contents: Mapping[DatasetType, Contents], datastore: Datastore
) -> list[DatasetType]:
    """List dataset types of which not every pair has recorded checksums, if there are any that validations recorded."""
    left = [one.dataset_type for one in compared if contents[one.dataset_type].by_checksum < one.common]
    return left if left and await have_checksums(state, [leaf.name for leaf in datastore.leaves]) else []


def _together(codes: Sequence[int]) -> int:
    """Put together what was found in several datastores."""
    how = min((code % _DIFFERS for code in codes), default=_NOT_AT_ALL)
    return how + _DIFFERS * any(code >= _DIFFERS for code in codes)


async def _codes(snapshot: Snapshot, pairs: sa.FromClause, datastore: Datastore) -> Sequence[sa.Row[*tuple[Any, ...]]]:
    """Count the pairs of each dataset type, by how they were compared and what was found."""
    sources = zip(*[await record_sources(snapshot, datastore) for _ in range(3)], strict=True)
    codes = [_code(snapshot.repository.dialect, pairs, *three) for three in sources]
    if not codes:
        return []
    found = codes[0].subquery()
    if len(codes) > 1:
        each = sa.union_all(*codes).subquery()
        differs = sa.func.max(each.c.code // _DIFFERS)
        together = sa.func.min(each.c.code % _DIFFERS) + _DIFFERS * differs
        found = sa.select(each.c.type, together.label("code")).group_by(each.c.type, each.c.base).subquery()
    return await snapshot.rows(
        sa.select(found.c.type, found.c.code, sa.func.count()).group_by(found.c.type, found.c.code)
    )


def _code(
    dialect: Dialect, pairs: sa.FromClause, base: RecordSource, other: RecordSource, again: RecordSource
) -> sa.Select[*tuple[Any, ...]]:
    """Compare the files of the pairs that a datastore has; ``again`` is another alias of the same records.

    Columns are the ``type``, the ``base`` and the ``code``.
    """
    mine, its = base.table.c, other.table.c
    same_part = sa.and_(its.dataset_id == pairs.c.other, other.own, _part(its.component) == _part(mine.component))
    checksum, its_checksum = sa.func.nullif(mine.checksum, ""), sa.func.nullif(its.checksum, "")
    size, its_size = _size(mine.file_size), _size(its.file_size)
    how = sa.case(
        (sa.and_(checksum.is_not(None), its_checksum.is_not(None)), _BY_CHECKSUM),
        (sa.and_(size.is_not(None), its_size.is_not(None)), _BY_SIZE),
        else_=_NOT_AT_ALL,
    )
    differs = sa.case((sa.or_(checksum != its_checksum, size != its_size), _DIFFERS), else_=0)
    files = (
        sa.select(
            *pairs.c,
            sa.func.count().label("files"),
            sa.func.count(its.dataset_id).label("matched"),
            sa.func.max(_part(mine.component)).label("part"),
            (sa.func.max(how) + sa.func.max(differs)).label("code"),
        )
        .select_from(dialect.each(pairs, base.table).outerjoin(other.table, same_part))
        .where(mine.dataset_id == pairs.c.base, base.own)
        .group_by(*pairs.c)
        .subquery()
    )
    c = files.c
    theirs = (
        sa.select(sa.func.count())
        .select_from(again.table)
        .where(again.table.c.dataset_id == c.other, again.own)
        .correlate(files)
        .scalar_subquery()
    )
    code = sa.case(
        # What is whole has no more files: nearly all are.
        (sa.and_(c.part == "", c.matched == 1), c.code),
        (sa.or_(c.matched < c.files, c.matched < theirs), _BY_SIZE + _DIFFERS),
        else_=c.code,
    )
    here = sa.or_(c.matched > 0, theirs > 0)
    return sa.select(c.type, c.base, code.label("code")).where(here)


def _part(component: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
    """Give a component one name, the whole dataset the empty one."""
    return sa.case((is_whole(component), ""), else_=component)


def _size(column: sa.ColumnElement[int]) -> sa.ColumnElement[int | None]:
    return sa.case((column >= 0, column))


class _File(NamedTuple):
    """What is known of a file."""

    size: int | None
    checksum: str | None


_Files: TypeAlias = Mapping[str, _File]
"""Those of a dataset, by component, see `_part`."""

_COLUMNS = ("path", "component", "file_size", "checksum")


async def compare_validated(
    reading: Reading, state: State, runs: Runs, kinds: Sequence[DatasetType], datastore: Datastore
) -> dict[DatasetType, Contents]:
    """Compare datasets as `compare_contents` does, and where records lack a checksum by that of the last validation.

    Those are in the own state, which may be another database. So pairs are read in their order, a chunk in a snapshot.

    Parameters
    ----------
    reading
        Begins a snapshot; used once for each so many pairs.
    state
        What validations have recorded.
    runs
        The runs.
    kinds
        Dataset types.
    datastore
        Whose records count.
    """
    found = dict.fromkeys(kinds, Contents())
    after: Key | None = None
    while True:
        async with reading() as snapshot:
            pages = []
            for run, other in (runs, (runs.other, runs.base)):
                sets = await in_both(snapshot, run, other, kinds)
                pages += await sets.pages(snapshot, PageRequest(_CHUNK, after=after))
            datasets = [one for page in pages for one in page.rows]
            rows = await recorded_rows(snapshot, datasets, datastore, _COLUMNS)
        files = [await _files(state, leaf, by_uuid) for leaf, by_uuid in rows]
        for base, other in zip(*(page.rows for page in pages), strict=True):
            both = {base.uuid, other.uuid}
            codes = [_code_of(some[base.uuid], some[other.uuid]) for some in files if both <= some.keys()]
            found[base.dataset_type] = found[base.dataset_type].and_one(_together(codes))
        if not pages[0].has_next:
            return found
        # The next of both begin behind the same data ID, whatever their UUIDs are.
        after = (*pages[0].keys[-1][:-1], _LAST_UUID)


async def _files(state: State, leaf: FileDatastore, by_uuid: Mapping[str, Sequence[Any]]) -> dict[str, _Files]:
    """Tell what is known of the files of datasets, from records and from validations."""
    unknown = [path for rows in by_uuid.values() for _, path, _, _, checksum in rows if not checksum]
    checksums = await seen(state, leaf.name, unknown) if unknown else {}
    found: dict[str, _Files] = {}
    for uuid, rows in by_uuid.items():
        digits, own = digits_of(uuid), {}
        for _, path, component, size, recorded in rows:
            checksum = recorded
            # What several datasets share has another owner: it is not the content of any of them.
            if not recorded and path in checksums and digits_of(checksums[path].owner) == digits:
                checksum = checksums[path].checksum
            part = "" if component in WHOLE else component
            own[part] = _File(None if size is None or size < 0 else size, checksum or None)
        found[uuid] = own
    return found


def _code_of(base: _Files, other: _Files) -> int:
    """Compare the files of a pair in a datastore, as `_code` does."""
    if base.keys() != other.keys():
        return _BY_SIZE + _DIFFERS
    how, differs = _BY_CHECKSUM, False
    for part, (size, checksum) in base.items():
        its_size, its_checksum = other[part]
        sizes, checksums = {size, its_size}, {checksum, its_checksum}
        how = max(how, _BY_CHECKSUM if None not in checksums else _BY_SIZE if None not in sizes else _NOT_AT_ALL)
        differs |= any(None not in values and len(values) > 1 for values in (sizes, checksums))
    return how + _DIFFERS * differs
