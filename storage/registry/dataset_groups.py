"""Figures of datasets and of their artifacts, broken down: one statement, whatever there is."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

import sqlalchemy as sa

from butlerql.storage.datastores.records import RecordSource, derived_components, is_whole, record_sources
from butlerql.storage.datastores.tree import Datastore, FileDatastore
from butlerql.storage.registry.chosen_rows import ambiguous, chosen_rows, settled_groups
from butlerql.storage.registry.dataset_fields import collection_name
from butlerql.storage.registry.dataset_types import DatasetType
from butlerql.storage.registry.ingest_days import ingest_day, ingest_day_text
from butlerql.storage.registry.ranges import Filter, Part, Source, Wanted
from butlerql.storage.repository import Repository
from butlerql.storage.snapshot import Snapshot

__all__ = [
    "OF_RECORDS",
    "DatasetGroup",
    "GroupKey",
    "artifact_figures",
    "dataset_groups",
    "each_once",
    "group_of",
    "root_of",
    "size_of",
    "summed",
]


class GroupKey(StrEnum):
    """What datasets have in common in a group."""

    DATASET_TYPE = "DATASET_TYPE"
    RUN = "RUN"
    STORAGE_CLASS = "STORAGE_CLASS"
    """Of an artifact, as is the formatter: a dataset without any has neither."""

    INSTRUMENT = "INSTRUMENT"
    FORMATTER = "FORMATTER"
    INGEST_DAY = "INGEST_DAY"


class DatasetGroup(NamedTuple):
    """The figures of datasets that have something in common."""

    key: Mapping[str, Any]
    """Value of each `GroupKey`, None where there is none."""

    datasets: int
    artifacts: int
    """Files, each once; a zip file is one."""

    bytes: int
    """Recorded sizes of the files, or of the members of a zip file, each once."""

    unsized: int
    """Files whose size, or that of a member of which, was not recorded."""


OF_RECORDS = frozenset({GroupKey.STORAGE_CLASS, GroupKey.FORMATTER})
"""Keys that records have, in a column of that name."""

# The Butler's own mark of a member of a zip file, and that of older ones.
_MEMBER_MARKS = ("#zip-path=", "#unzip=")
_FIGURES = ("datasets", "artifacts", "bytes", "unsized")
_NONE = sa.literal(0, sa.BigInteger)
_ANYWHERE = -1
"""Stands for a root where a path is an absolute URI."""


async def dataset_groups(
    snapshot: Snapshot,
    parts: Sequence[Part],
    parents: int,
    by: Iterable[GroupKey],
    *,
    wanted: Wanted = Wanted.DATASETS,
    filters: Sequence[Filter] = (),
    datastore: Datastore | None = None,
) -> list[list[DatasetGroup]]:
    """Count datasets and their artifacts, and sum up the recorded bytes, for each of several parents.

    Parameters
    ----------
    snapshot
        What to read from.
    parts
        Where the datasets are; several parts of one parent differ in their dataset types.
    parents
        How many objects the datasets are asked for.
    by
        What to break the figures down by; what is repeated counts once. Nothing: each parent has one group, of all.
    wanted
        What of the datasets that are found counts: each, or the first of each data ID.
    filters
        Conditions on datasets.
    datastore
        Whose artifacts count; by default those of all.

    Returns
    -------
    list
        For each parent its groups, by the values of their keys in the order of ``by``, None last. An artifact counts
        once in a group, however many of its datasets share it; a dataset once in each group that it has an artifact in.

    Raises
    ------
    AmbiguousCalibrationError
        Raised if several certifications of one data ID are found first.
    """
    keys = list(dict.fromkeys(by))
    result: list[list[DatasetGroup]] = [[] for _ in range(parents)]
    datasets = await _datasets(snapshot, parts, keys, wanted, filters)
    if datasets is not None:
        kinds = {part.place: part.dataset_type for part in parts}
        sources = await record_sources(snapshot, datastore)
        statement = _figures(snapshot.repository, datasets, keys, sources, kinds)
        # What is ambiguous is found on the way.
        several = sa.select(sa.func.min(datasets.c.place)).where(datasets.c.several > 1).scalar_subquery()
        for parent, *values, unclear in await snapshot.rows(statement.add_columns(several)):
            if unclear is not None:
                raise ambiguous(kinds[unclear])
            result[parent].append(group_of(keys, values))
    return result if keys else [groups or [DatasetGroup({}, 0, 0, 0, 0)] for groups in result]


def group_of(keys: Sequence[GroupKey], values: Sequence[Any]) -> DatasetGroup:
    """Make a group of a row of `summed`, but for the parent in front: the values of its keys, and the figures."""
    key = {
        str(key): ingest_day_text(value) if key is GroupKey.INGEST_DAY and value is not None else value
        for key, value in zip(keys, values, strict=False)
    }
    return DatasetGroup(key, *values[len(keys) :])


async def _datasets(
    snapshot: Snapshot, parts: Sequence[Part], keys: Collection[GroupKey], wanted: Wanted, filters: Sequence[Filter]
) -> sa.CTE | None:
    """Select the datasets, with those of the keys that are theirs, and the component where a part of each is meant."""
    selects = [
        chosen_rows(group, wanted, _instrument) for group in await settled_groups(snapshot, parts, wanted, filters)
    ]
    if not selects:
        return None
    tables, dialect = snapshot.repository.tables, snapshot.repository.dialect
    rows = sa.union_all(*selects).subquery()
    source: sa.FromClause = rows
    known: dict[GroupKey, sa.ColumnElement[Any]] = {
        GroupKey.DATASET_TYPE: rows.c.place,
        GroupKey.INSTRUMENT: rows.c.field_0,
    }
    if GroupKey.RUN in keys or GroupKey.INGEST_DAY in keys:
        dataset = tables.dataset.alias()
        source = dialect.each(source, dataset)
        known[GroupKey.RUN] = dataset.c.run
        known[GroupKey.INGEST_DAY] = ingest_day(tables, dataset.c.ingest_date)
    conditions = [dataset.c.id == rows.c.uuid] if source is not rows else []
    component: sa.ColumnElement[Any] = sa.null()
    if own := await _components(snapshot, parts):
        listed = dialect.rows("components", {"place": sa.BigInteger(), "component": sa.Text()}, own)
        component = sa.select(listed.c.component).where(listed.c.place == rows.c.place).scalar_subquery()
    columns = [rows.c.parent, rows.c.place, rows.c.uuid, rows.c.several, sa.cast(component, sa.Text).label("component")]
    columns += [known[key].label(key) for key in keys if key in known]
    # Read several times, made once.
    return sa.select(*columns).select_from(source).where(*conditions).cte().prefix_with("MATERIALIZED")


def _instrument(source: Source, table: sa.FromClause) -> tuple[sa.Select[Any], list[sa.ColumnElement[Any]]]:
    is_there = "instrument" in source.group.dimensions.required
    column = table.c.instrument if is_there else sa.cast(sa.null(), sa.Text)
    return source.rows(table, [source.ranges]), [column]


async def _components(snapshot: Snapshot, parts: Sequence[Part]) -> list[tuple[int, str]]:
    """List, by place, the components that have a file of their own where a dataset is split."""
    places = {part.place: part.dataset_type for part in parts if part.dataset_type.component is not None}
    derived = await derived_components(snapshot, places.values())
    return [
        (place, component.component)
        for place, component in places.items()
        if component.component is not None and component not in derived
    ]


def _figures(
    repository: Repository,
    datasets: sa.CTE,
    keys: Sequence[GroupKey],
    sources: Sequence[RecordSource],
    kinds: Mapping[int, DatasetType],
) -> sa.Select[Any]:
    """Select of each parent and key how many datasets and artifacts there are, and their bytes."""
    grouped = ["parent", *keys]
    records = _records(repository, datasets, keys, sources)
    counted: sa.FromClause = datasets
    if not OF_RECORDS.isdisjoint(keys):
        counted = each_once(records, [*grouped, "place", "uuid"]).subquery()
    paths = records.select().where(records.c.path.is_not(None)).subquery()
    figures = [
        each_once(counted, grouped, datasets=sa.func.count(), artifacts=_NONE, bytes=_NONE, unsized=_NONE),
        artifact_figures(repository, paths, grouped),
    ]
    return summed(repository, figures, keys, kinds)


def artifact_figures(repository: Repository, records: sa.FromClause, grouped: Sequence[str]) -> sa.Select[Any]:
    """Select how many artifacts there are in each group, and their bytes, each artifact once.

    Parameters
    ----------
    repository
        Whose records.
    records
        Columns are those to group by, and of each record the ``root`` (see `root_of`), the ``path`` and the ``size``,
        which is NULL if it was not recorded.
    grouped
        Names of the columns to group by.
    """
    members = each_once(records, [*grouped, "root", "path"], size=sa.func.max(records.c.size)).subquery()
    is_unsized = members.c.size.is_(None)
    return each_once(
        members,
        grouped,
        datasets=_NONE,
        artifacts=_files(repository, members, sa.true()),
        bytes=sa.func.sum(sa.func.coalesce(members.c.size, 0)),
        unsized=_files(repository, members, is_unsized),
    )


def summed(
    repository: Repository,
    figures: Sequence[sa.Select[Any]],
    keys: Sequence[GroupKey],
    kinds: Mapping[int, DatasetType],
) -> sa.Select[Any]:
    """Add figures up and name the values of keys as they are called outside of the registry, in their order.

    Parameters
    ----------
    repository
        Whose registry.
    figures
        Selections of the columns ``parent``, one a key, ``datasets``, ``artifacts``, ``bytes`` and ``unsized``.
    keys
        What they are broken down by.
    kinds
        Dataset types by the numbers that stand for them in the figures.
    """
    grouped = ["parent", *keys]
    every = sa.union_all(*figures).subquery()
    sums = {name: sa.cast(sa.func.sum(every.c[name]), sa.BigInteger) for name in _FIGURES}
    found = each_once(every, grouped, **sums).subquery()
    values = [_value(repository, key, found.c[key], kinds).label(key) for key in keys]
    named = sa.select(found.c.parent, *values, *(found.c[name] for name in sums)).subquery()
    return sa.select(named).order_by(named.c.parent, *(named.c[key].nulls_last() for key in keys))


def each_once(table: sa.FromClause, names: Sequence[str], **figures: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """Select each combination of values once, with figures of the rows that have it."""
    columns = [table.c[name] for name in names]
    return sa.select(*columns, *(figure.label(name) for name, figure in figures.items())).group_by(*columns)


def _files(repository: Repository, members: sa.FromClause, condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    """Count files: each path is one, but that the members of a zip file, which have one each, are together one."""
    is_member = sa.or_(*(members.c.path.contains(mark) for mark in _MEMBER_MARKS))
    file: sa.ColumnElement[str] = members.c.path
    for mark in _MEMBER_MARKS:
        file = repository.dialect.text_before(file, mark)
    zips = sa.case((sa.and_(condition, is_member), sa.cast(members.c.root, sa.Text) + " " + file))
    return sa.func.count(zips.distinct()) + sa.func.sum(sa.case((sa.and_(condition, ~is_member), 1), else_=0))


def root_of(records: sa.FromClause, datastore: FileDatastore, roots: Sequence[str]) -> sa.ColumnElement[int]:
    """Number the roots of datastores, so that the same path below another root is another artifact."""
    root: sa.ColumnElement[int] = sa.literal(roots.index(datastore.root_uri), sa.BigInteger)
    return sa.case((records.c.path.contains("://"), _ANYWHERE), else_=root) if len(roots) > 1 else root


def size_of(records: sa.FromClause) -> sa.ColumnElement[int]:
    """Give the size that was recorded; NULL where none was."""
    return sa.case((records.c.file_size >= 0, records.c.file_size))


def _records(
    repository: Repository, datasets: sa.CTE, keys: Sequence[GroupKey], sources: Sequence[RecordSource]
) -> sa.FromClause:
    """Select the records of datasets, with all keys; if there are keys of records, datasets without any as well."""
    roots = list(dict.fromkeys(source.datastore.root_uri for source in sources))
    selects = []
    unrecorded = []
    for source in sources:
        records = source.table.c
        own = [
            records.dataset_id == datasets.c.uuid,
            source.own,
            sa.or_(
                datasets.c.component.is_(None),
                is_whole(records.component),
                records.component == datasets.c.component,
            ),
        ]
        selects.append(
            sa.select(
                *_dataset(datasets, keys, {key: records[key.lower()] for key in OF_RECORDS}),
                root_of(source.table, source.datastore, roots).label("root"),
                records.path,
                size_of(source.table).label("size"),
            )
            .select_from(repository.dialect.each(datasets, source.table))
            .where(*own)
        )
        unrecorded.append(~sa.select(records.dataset_id).where(*own).correlate(datasets).exists())
    if not selects or not OF_RECORDS.isdisjoint(keys):
        text, number = sa.cast(sa.null(), sa.Text), sa.cast(sa.null(), sa.BigInteger)
        none = [number.label("root"), text.label("path"), number.label("size")]
        selects.append(sa.select(*_dataset(datasets, keys, dict.fromkeys(OF_RECORDS, text)), *none).where(*unrecorded))
    return sa.union_all(*selects).cte()


def _dataset(
    datasets: sa.CTE, keys: Sequence[GroupKey], of_records: Mapping[GroupKey, sa.ColumnElement[Any]]
) -> list[sa.ColumnElement[Any]]:
    """Give the columns that say which dataset something is of, and the keys."""
    values = [of_records[key] if key in of_records else datasets.c[key] for key in keys]
    return [
        datasets.c.parent,
        datasets.c.place,
        datasets.c.uuid,
        *(value.label(key) for key, value in zip(keys, values, strict=True)),
    ]


def _value(
    repository: Repository, key: GroupKey, column: sa.ColumnElement[Any], kinds: Mapping[int, DatasetType]
) -> sa.ColumnElement[Any]:
    """Give what a key is called outside of the registry."""
    if key is GroupKey.RUN:
        return collection_name(repository.tables, column)
    if key is GroupKey.DATASET_TYPE:
        names = [(place, kind.name) for place, kind in kinds.items()]
        listed = repository.dialect.rows("names", {"place": sa.BigInteger(), "name": sa.Text()}, names)
        return sa.select(listed.c.name).where(listed.c.place == column).scalar_subquery()
    return column
