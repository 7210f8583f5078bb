"""How much space datasets take in a datastore, by its records, and how much the file system has."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from butlerql.storage.datastores.artifacts.store import unreadable
from butlerql.storage.datastores.records import RecordSource, is_whole, record_sources
from butlerql.storage.datastores.tree import Datastore, FileDatastore
from butlerql.storage.locations import local_path
from butlerql.storage.registry import dataset_types
from butlerql.storage.registry.dataset_groups import (
    OF_RECORDS,
    DatasetGroup,
    GroupKey,
    artifact_figures,
    each_once,
    group_of,
    root_of,
    size_of,
    summed,
)
from butlerql.storage.registry.dataset_types import DatasetType
from butlerql.storage.registry.ingest_days import ingest_day
from butlerql.storage.registry.selection import DatasetSelection, select
from butlerql.storage.repository import Repository
from butlerql.storage.snapshot import Snapshot

__all__ = ["FileSystem", "Usage", "file_system", "selected_usage", "usage"]

_GROUPS, _TOTAL = 0, 1
_FIGURES = ("datasets", "artifacts", "bytes", "unsized")


class Usage(NamedTuple):
    """The figures of the datasets that a datastore has records of."""

    total: DatasetGroup
    groups: Sequence[DatasetGroup]
    unrelated: Sequence[str] = ()
    """Names of dataset types that were left out, since nothing relates them to the conditions."""


class FileSystem(NamedTuple):
    """Sizes of a file system."""

    free: int
    """Bytes that who is not root may still write."""

    total: int
    """Bytes."""


async def selected_usage(
    snapshot: Snapshot, datastore: Datastore, selection: DatasetSelection, by: Iterable[GroupKey]
) -> Usage:
    """Tell how much space the datasets of a selection take in a datastore; see `select` for the errors.

    Raises
    ------
    AmbiguousCalibrationError
        Raised if several certifications of one data ID are found first.
    """
    keys = list(dict.fromkeys(by))
    sets = await select(snapshot, selection, within=datastore)
    [[total]] = await sets.groups(snapshot, [0], [], datastore)
    groups = [total]
    if keys:
        [groups] = await sets.groups(snapshot, [0], keys, datastore)
    return Usage(total, groups, sets.unrelated)


async def usage(snapshot: Snapshot, datastore: Datastore, by: Iterable[GroupKey]) -> Usage:
    """Tell how much space all takes that a datastore has records of: one statement.

    Datasets that the registry does not know any more, whose files wait for the Butler to empty its trash, count as
    well; what the registry would know of them is None in their groups.

    Nearly every artifact has one record alone. So every record is counted as it is read, and what may be one artifact
    with another is taken off again and counted as `dataset_groups` counts. Index: the one of the paths of records.

    Parameters
    ----------
    snapshot
        What to read from.
    datastore
        Whose records.
    by
        What to break the figures down by; what is repeated counts once. Nothing: one group, of all.
    """
    keys = list(dict.fromkeys(by))
    sources = await record_sources(snapshot, datastore)
    total, groups = DatasetGroup({}, 0, 0, 0, 0), []
    if sources:
        kinds = {kind.key: kind for kind in await dataset_types.all_types(snapshot)}
        for parent, *values in await snapshot.rows(_Figures(snapshot.repository, sources, keys, kinds).statement()):
            if parent == _TOTAL:
                total = group_of([], values[len(keys) :])
            else:
                groups.append(group_of(keys, values))
    return Usage(total, groups if keys else [total])


class _Figures:
    """Makes the statement of `usage`.

    A dataset with several records counts with the first of them, by source and component: in a group with the first of
    those that are alike in the keys of records.
    """

    def __init__(
        self,
        repository: Repository,
        sources: Sequence[RecordSource],
        keys: Sequence[GroupKey],
        kinds: Mapping[int, DatasetType],
    ) -> None:
        self._repository = repository
        self._sources = sources
        self._keys = keys
        self._kinds = kinds
        self._roots = [source.datastore.root_uri for source in sources]

    def statement(self) -> sa.Select[Any]:
        """Select the figures of groups and of all, as `summed` does."""
        grouped = ["parent", *self._keys]
        records, shared = [], []
        for index in range(len(self._sources)):
            records.append(self._records(index))
            shared.append(self._shared(index))
        # Without names: the table of a datastore may have any.
        counted = self._twice(sa.union_all(*records).cte().prefix_with("MATERIALIZED"), _FIGURES)
        rows = self._twice(sa.union_all(*shared).cte().prefix_with("MATERIALIZED"), ["root", "path", "size"])
        size, one = sa.func.coalesce(rows.c.size, 0), sa.literal(1, sa.BigInteger)
        taken_off = {
            "datasets": sa.literal(0, sa.BigInteger),
            "artifacts": -sa.func.count(),
            "bytes": -sa.func.sum(size),
            "unsized": -sa.func.count(sa.case((rows.c.size.is_(None), one))),
        }
        figures = [
            sa.select(counted),
            each_once(rows, grouped, **taken_off),
            artifact_figures(self._repository, rows, grouped),
        ]
        return summed(self._repository, figures, self._keys, self._kinds)

    def _twice(self, table: sa.FromClause, names: Sequence[str]) -> sa.FromClause:
        """Give rows for the groups, and once more for all of them together."""
        of_all = [table.c[f"{name}_of_all" if f"{name}_of_all" in table.c else name].label(name) for name in names]
        none = [sa.null().label(key) for key in self._keys]
        total = sa.select(sa.literal(_TOTAL).label("parent"), *none, *of_all)
        if not self._keys:
            return total.subquery()
        of_groups = [table.c[name] for name in (*self._keys, *names)]
        return sa.union_all(sa.select(sa.literal(_GROUPS).label("parent"), *of_groups), total).subquery()

    def _records(self, index: int) -> sa.Select[Any]:
        """Select the figures of a source's records, as if each had an artifact of its own."""
        source = self._sources[index]
        rows, known = self._joined(source.table, source)
        counts: dict[str, sa.ColumnElement[Any]] = {"datasets": self._counts_once(index, [])}
        if alike := [key.lower() for key in self._keys if key in OF_RECORDS]:
            counts = {"datasets_of_all": counts["datasets"], "datasets": self._counts_once(index, alike)}
        columns = _labelled({**known, **counts, "size": size_of(source.table)})
        # An offset keeps SQLite from sorting the columns that these were made of.
        each = sa.select(*columns).select_from(rows).where(source.own).offset(0).subquery()
        return each_once(
            each,
            self._keys,
            **{name: sa.func.coalesce(sa.func.sum(each.c[name]), 0) for name in counts},
            artifacts=sa.func.count(),
            bytes=sa.func.coalesce(sa.func.sum(each.c.size), 0),
            unsized=sa.func.count() - sa.func.count(each.c.size),
        )

    def _shared(self, index: int) -> sa.Select[Any]:
        """Select those of a source's records that may have an artifact in common, members of zip files among them."""
        source = self._sources[index]
        records = source.table
        path = self._repository.tables.records(source.datastore.records_table).alias().c.path
        suspect = [sa.func.count() > 1, path.contains("#")]
        if len(self._sources) > 1:
            suspect.append(path.contains("://"))
        if self._roots.count(source.datastore.root_uri) > 1:
            suspect.append(sa.true())
        paths = sa.select(path).group_by(path).having(sa.or_(*suspect))
        listed = paths.cte().prefix_with("MATERIALIZED")
        rows, known = self._joined(self._repository.dialect.each(listed, records), source)
        root = root_of(records, source.datastore, list(dict.fromkeys(self._roots)))
        columns = _labelled({**known, "root": root, "path": records.c.path, "size": size_of(records)})
        return sa.select(*columns).select_from(rows).where(source.own, listed.c.path == records.c.path)

    def _joined(
        self, rows: sa.FromClause, source: RecordSource
    ) -> tuple[sa.FromClause, dict[str, sa.ColumnElement[Any]]]:
        """Join what the keys need to records, and give the keys' columns."""
        tables = self._repository.tables
        records = source.table
        known: dict[GroupKey, sa.ColumnElement[Any]] = {key: records.c[key.lower()] for key in OF_RECORDS}
        if not OF_RECORDS.issuperset(self._keys):
            dataset = tables.dataset.alias()
            rows = rows.outerjoin(dataset, dataset.c.id == records.c.dataset_id)
            known[GroupKey.DATASET_TYPE] = dataset.c.dataset_type_id
            known[GroupKey.RUN] = dataset.c.run
            day = ingest_day(tables, dataset.c.ingest_date)
            known[GroupKey.INGEST_DAY] = sa.case((dataset.c.id.is_not(None), day))
            if GroupKey.INSTRUMENT in self._keys:
                kind = tables.dataset_type.alias()
                rows = rows.outerjoin(kind, kind.c.id == dataset.c.dataset_type_id)
                known[GroupKey.INSTRUMENT] = self._instrument(dataset, kind)
        return rows, {str(key): known[key] for key in self._keys}

    def _instrument(self, dataset: sa.FromClause, kind: sa.FromClause) -> sa.ColumnElement[Any]:
        """Look a dataset's instrument up where its data ID is."""
        found = []
        dimensions = {own.tags_table: own.dimensions for own in self._kinds.values()}
        for name, group in dimensions.items():
            if "instrument" in group.required:
                tags = self._repository.tables.tags(name, group).alias()
                own = sa.select(tags.c.instrument).where(
                    tags.c.dataset_id == dataset.c.id, tags.c.collection == dataset.c.run
                )
                found.append((kind.c.tag_association_table == name, own.correlate_except(tags).scalar_subquery()))
        none = sa.cast(sa.null(), sa.Text)
        return sa.case(*found, else_=none) if found else none

    def _counts_once(self, index: int, names: Sequence[str]) -> sa.ColumnElement[int]:
        """Give 1 for the first record of a dataset among those that are alike in some columns, 0 for the others."""
        records = self._sources[index].table
        before = [_alike(records, source.table, names).where(source.own).exists() for source in self._sources[:index]]
        # Whose a record is, is told by its dataset, so a component has the same owner.
        part = self._repository.tables.records(self._sources[index].datastore.records_table).alias()
        smaller = _alike(records, part, names).where(part.c.component < records.c.component).exists()
        counts, does_not = sa.literal(1, sa.BigInteger), sa.literal(0, sa.BigInteger)
        return sa.case(
            *((exists, does_not) for exists in before),
            (is_whole(records.c.component), counts),
            (smaller, does_not),
            else_=counts,
        )


def _labelled(columns: Mapping[str, sa.ColumnElement[Any]]) -> list[sa.ColumnElement[Any]]:
    return [column.label(name) for name, column in columns.items()]


def _alike(records: sa.FromClause, others: sa.FromClause, names: Sequence[str]) -> sa.Select[Any]:
    """Select the other records of a record's dataset that are like it in some columns."""
    same = [others.c[name] == records.c[name] for name in ("dataset_id", *names)]
    return sa.select(others.c.dataset_id).where(*same).correlate(records)


def file_system(datastore: FileDatastore) -> FileSystem | None:
    """Ask the file system below a datastore's root how large it is; None if the root is no local directory.

    Raises
    ------
    UnreadableArtifactError
        Raised if the root is not there, or cannot be looked at.
    """
    path = local_path(datastore.root_uri)
    if path is None:
        return None
    try:
        found = shutil.disk_usage(path)
    except OSError as error:
        raise unreadable(path, errno.errorcode.get(error.errno or 0, "unknown")) from None
    return FileSystem(found.free, found.total)
