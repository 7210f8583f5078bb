"""Whether datasets exist in a datastore: by its records, or by looking at its files.

A dataset is there if all its files are, and a component of it if it is, as in the Butler.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from enum import IntEnum, auto
from itertools import chain, islice
from typing import Any, NamedTuple, TypeAlias

import sqlalchemy as sa

from butlerql.storage.datastores.artifacts.store import Entry, Kind, unreadable
from butlerql.storage.datastores.artifacts.stores import ArtifactStores
from butlerql.storage.datastores.records import Artifact, artifacts, record_sources
from butlerql.storage.datastores.tree import ChainedDatastore, Datastore, FileDatastore
from butlerql.storage.dialect import UuidText, raw
from butlerql.storage.errors import UnreadableArtifactError
from butlerql.storage.registry.chosen_rows import ambiguous, chosen_rows, settled_groups
from butlerql.storage.registry.dataset_types import by_keys
from butlerql.storage.registry.datasets import Dataset
from butlerql.storage.registry.pages import Key, PageRequest
from butlerql.storage.registry.ranges import Source, Wanted
from butlerql.storage.registry.selection import DatasetSelection, DatasetSets, select
from butlerql.storage.registry.selection_filters import datastore_filter, uuid_filter
from butlerql.storage.snapshot import Snapshot

__all__ = ["Existence", "Tally", "are_there", "are_whole", "files_of", "looked_for", "recorded"]

_CHUNK = 20_000
"""Datasets whose records are read in one snapshot, and whose files are then looked at."""

_FEW = 1_000
"""Datasets that are missing, of which it is worth while to read which they are when they are counted."""

_FEW_PLACES = 10_000
"""Collections and data IDs at which datasets may be looked for one by one."""


class Tally(NamedTuple):
    """How many datasets are in a datastore, how many are not, and of how many that cannot be told."""

    datastore: Datastore
    present: int
    absent: int
    unreadable: int


class Existence(NamedTuple):
    """Whether the datasets of a selection are in a datastore."""

    whole: Tally
    children: Sequence[Tally]
    """Of each member of a chain."""

    missing: DatasetSets
    """Those that are absent."""


class _State(IntEnum):
    """Of a dataset in a datastore; in several it is the least."""

    PRESENT = auto()
    UNREADABLE = auto()
    ABSENT = auto()


Reading: TypeAlias = Callable[[], AbstractAsyncContextManager[Snapshot]]
"""Begins a snapshot, which is used within the block alone."""


async def recorded(snapshot: Snapshot, selection: DatasetSelection, datastore: Datastore) -> Existence:
    """Tell by the records whether datasets are in a datastore: one statement, in which the database counts.

    Raises
    ------
    AmbiguousCalibrationError
        Raised if several certifications of one data ID are found first.
    ButlerQLError
        Raised if the selection cannot be made; see `select`.
    """
    sets = await select(snapshot, selection)
    asked = _asked(datastore)
    groups = await settled_groups(snapshot, sets.parts, sets.wanted, sets.filters)
    if not groups:
        return _existence([Tally(one, 0, 0, 0) for one in asked], sets)
    rows = sa.union_all(*(chosen_rows(group, sets.wanted, _nothing_else) for group in groups)).subquery()
    held = {source.datastore: source.holds(rows.c.uuid).correlate(rows) for source in await record_sources(snapshot)}
    here = [held[leaf] for leaf in datastore.leaves if leaf in held]
    found = await snapshot.rows(_figures(rows, held, asked))
    [(place, selected, *counts, _)] = [row for row in found if row[-1] is None]
    if place is not None:
        raise ambiguous(next(part.dataset_type for part in sets.parts if part.place == place))
    tallies = [Tally(one, count, selected - count, 0) for one, count in zip(asked, counts, strict=True)]
    if tallies[0].absent <= _FEW:
        uuids = snapshot.repository.dialect.uuids(row[-1] for row in found if row[-1] is not None)
        return _existence(tallies, await _of_uuids(snapshot, selection, sets, uuids))
    if sets.wanted is not Wanted.FIRST:
        absent = await datastore_filter(snapshot, datastore, absent=True)
        return _existence(tallies, replace(sets, filters=[*sets.filters, absent]))
    # Which are the first is known: a condition more would let others be the first.
    missing = sa.select(rows.c.uuid).where(~sa.or_(sa.false(), *here))
    return _existence(
        tallies, replace(sets, wanted=Wanted.DATASETS, filters=[lambda table: table.c.dataset_id.in_(missing)])
    )


def _figures(
    rows: sa.FromClause, held: Mapping[FileDatastore, sa.ColumnElement[bool]], asked: Sequence[Datastore]
) -> sa.CompoundSelect[Any]:
    """Select the figures in one row, and in others the UUIDs of some of what the first datastore lacks.

    Columns are the place of a dataset type of which several are the first, how many are selected, how many of them each
    datastore has, and the UUID: all NULL but the last, or the last alone.
    """
    columns = [condition.label(f"in_{index}") for index, condition in enumerate(held.values())]
    # Each is asked for once, however often it counts.
    flags = sa.select(rows.c.place, rows.c.several, rows.c.uuid, *columns).cte("flags").prefix_with("MATERIALIZED")
    of_leaf = dict(zip(held, list(flags.c)[3:], strict=True))
    has = [sa.or_(sa.false(), *(of_leaf[leaf] for leaf in one.leaves if leaf in of_leaf)) for one in asked]
    figures = sa.select(
        sa.func.min(sa.case((flags.c.several > 1, flags.c.place))),
        sa.func.count(),
        *(sa.func.count(sa.case((condition, 1))) for condition in has),
        raw(sa.cast(sa.null(), UuidText)),
    ).select_from(flags)
    nothing = [sa.cast(sa.null(), sa.BigInteger)] * (2 + len(asked))
    missing = sa.select(flags.c.uuid).where(~has[0]).limit(_FEW).subquery()
    some = sa.select(*(column.label(f"no_{index}") for index, column in enumerate(nothing)), raw(missing.c.uuid))
    return sa.union_all(figures, some)


async def _of_uuids(
    snapshot: Snapshot, selection: DatasetSelection, sets: DatasetSets, uuids: Sequence[str]
) -> DatasetSets:
    """Find out where some of the datasets of a selection are."""
    if not uuids:
        return DatasetSets(unrelated=sets.unrelated)
    if len(uuids) * max(len(part.collections) for part in sets.parts) <= _FEW_PLACES:
        return await select(snapshot, replace(selection, uuids=uuids, find_first=False))
    return replace(sets, wanted=Wanted.DATASETS, filters=[uuid_filter(snapshot, uuids)])


async def looked_for(
    reading: Reading, stores: ArtifactStores, selection: DatasetSelection, datastore: Datastore
) -> Existence:
    """Tell whether datasets are in a datastore by looking at their files, while no snapshot is open.

    Parameters
    ----------
    reading
        Begins a snapshot; used once for each so many datasets.
    stores
        Where the files are.
    selection
        Which datasets.
    datastore
        Where to look.

    Raises
    ------
    UnavailableDatastoreError
        Raised if there is no way to a datastore from here.
    ButlerQLError
        Raised if the selection cannot be made; see `select`.
    """
    asked = _asked(datastore)
    counts = [Counter[_State]() for _ in asked]
    missing: list[str] = []
    sets: DatasetSets | None = None
    after: Key | None = None
    while True:
        async with reading() as snapshot:
            sets = await select(snapshot, selection) if sets is None else sets
            [page] = await sets.pages(snapshot, PageRequest(_CHUNK, after=after))
            files = await files_of(snapshot, page.rows, datastore)
        states = await _states(stores, files)
        for one, count in zip(asked, counts, strict=True):
            found = _in(one, states)
            count.update(found)
            if one is datastore:
                missing += [
                    dataset.uuid for dataset, state in zip(page.rows, found, strict=True) if state is _State.ABSENT
                ]
        if not page.has_next:
            break
        after = page.keys[-1]
    tallies = [
        Tally(one, *(count[state] for state in (_State.PRESENT, _State.ABSENT, _State.UNREADABLE)))
        for one, count in zip(asked, counts, strict=True)
    ]
    async with reading() as snapshot:
        return _existence(tallies, await _of_uuids(snapshot, selection, sets, missing))


async def files_of(
    snapshot: Snapshot, datasets: Sequence[Dataset], datastore: Datastore | None = None
) -> list[list[Artifact]]:
    """Return where all files of datasets are, by the records; of a component, those of the whole."""
    keys = [dataset.dataset_type.key for dataset in datasets if dataset.dataset_type.component is not None]
    wholes = {kind.key: kind for kind in await by_keys(snapshot, keys)} if keys else {}
    whole = [
        dataset._replace(dataset_type=wholes.get(dataset.dataset_type.key, dataset.dataset_type))
        for dataset in datasets
    ]
    return await artifacts(snapshot, whole, datastore)


async def are_whole(
    stores: ArtifactStores, files: Sequence[Sequence[Artifact]]
) -> list[bool | UnreadableArtifactError]:
    """Tell of each dataset whether all its files are there in some datastore; an error where that cannot be told.

    Parameters
    ----------
    stores
        Where the files are.
    files
        Of each dataset; see `files_of`.

    Raises
    ------
    UnavailableDatastoreError
        Raised if there is no way to a datastore from here.
    """
    found: list[bool | UnreadableArtifactError] = []
    entries = iter(await stores.look(list(chain.from_iterable(files))))
    for some in files:
        seen = list(zip(some, islice(entries, len(some)), strict=True))
        state = min(_by_datastore(seen).values(), default=_State.ABSENT)
        if state is _State.UNREADABLE:
            found.append(_error(*next(one for one in seen if one[1].kind is Kind.UNREADABLE)))
        else:
            found.append(state is _State.PRESENT)
    return found


async def are_there(stores: ArtifactStores, files: Sequence[Artifact]) -> list[bool | UnreadableArtifactError]:
    """Tell of each artifact whether it is there; an error where that cannot be told.

    Raises
    ------
    UnavailableDatastoreError
        Raised if there is no way to a datastore from here.
    """
    return [
        _error(artifact, entry) if entry.kind is Kind.UNREADABLE else entry.kind is Kind.FILE
        for artifact, entry in zip(files, await stores.look(files), strict=True)
    ]


def _asked(datastore: Datastore) -> list[Datastore]:
    """List a datastore, and if it is a chain its members."""
    return [datastore, *(datastore.children if isinstance(datastore, ChainedDatastore) else ())]


def _existence(tallies: Sequence[Tally], missing: DatasetSets) -> Existence:
    return Existence(tallies[0], tallies[1:], missing)


def _nothing_else(
    source: Source, table: sa.FromClause
) -> tuple[sa.Select[tuple[()]], Sequence[sa.ColumnElement[object]]]:
    return source.rows(table, [source.ranges]), []


_States: TypeAlias = Sequence[dict[FileDatastore, _State]]


async def _states(stores: ArtifactStores, files: Sequence[Sequence[Artifact]]) -> _States:
    """Look at the files of datasets, and tell of each what it is in each datastore that has records of it."""
    entries = iter(await stores.look(list(chain.from_iterable(files))))
    return [_by_datastore(list(zip(some, islice(entries, len(some)), strict=True))) for some in files]


def _by_datastore(seen: Sequence[tuple[Artifact, Entry]]) -> dict[FileDatastore, _State]:
    """Tell what a dataset is in each datastore: all its files have to be there, and one is enough to be absent."""
    states: dict[FileDatastore, _State] = {}
    for artifact, entry in seen:
        state = _STATES.get(entry.kind, _State.ABSENT)
        states[artifact.datastore] = max(state, states.get(artifact.datastore, state))
    return states


_STATES = {Kind.FILE: _State.PRESENT, Kind.UNREADABLE: _State.UNREADABLE}
"""What else stands where a file should is no file of a dataset."""


def _in(datastore: Datastore, states: _States) -> list[_State]:
    """Tell of each dataset what it is in a datastore: in a chain it is enough that one member has it."""
    leaves = set(datastore.leaves)
    return [min((state for leaf, state in some.items() if leaf in leaves), default=_State.ABSENT) for some in states]


def _error(artifact: Artifact, entry: Entry) -> UnreadableArtifactError:
    return unreadable(artifact.uri, entry.problem or "unknown")
