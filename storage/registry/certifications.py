"""Certifications: when a dataset is valid, in a CALIBRATION collection."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from butlerql.storage.dialect import UuidText
from butlerql.storage.registry import dataset_types
from butlerql.storage.registry.collections import Collection
from butlerql.storage.registry.dataset_types import DatasetType
from butlerql.storage.registry.datasets import Dataset
from butlerql.storage.registry.page_filling import fill
from butlerql.storage.registry.pages import Key, Page, PageRequest, bounds, cut, ordered
from butlerql.storage.registry.ranges import Part, TableGroup, groups_of
from butlerql.storage.registry.summaries import candidates
from butlerql.storage.registry.timespans import Timespan
from butlerql.storage.snapshot import Snapshot

__all__ = ["Certification", "certification_counts", "certification_pages", "certifications_of"]


class Certification(NamedTuple):
    """A dataset, and a timespan for which a collection says it is valid."""

    dataset: Dataset
    timespan: Timespan


_Found = tuple[Key, Certification]


async def certifications_of(snapshot: Snapshot, datasets: Sequence[Dataset]) -> list[list[Certification]]:
    """List all certifications of each dataset, by their begin.

    One statement for each calibs table; by its index on ``dataset_id``.
    """
    tables, dialect = snapshot.repository.tables, snapshot.repository.dialect
    wanted: dict[tuple[str, DatasetType], list[Dataset]] = {}
    for dataset in datasets:
        kind = await dataset_types.parent(snapshot, dataset.dataset_type)
        if kind.calibs_table is not None:
            wanted.setdefault((kind.calibs_table, kind), []).append(dataset)
    by_table: dict[str, list[tuple[DatasetType, list[Dataset]]]] = {}
    for (name, kind), some in wanted.items():
        by_table.setdefault(name, []).append((kind, some))
    found: dict[str, list[Timespan]] = {}
    for name, entries in by_table.items():
        calibs = tables.calibs(name, entries[0][0].dimensions)
        uuids = {dataset.uuid for _, some in entries for dataset in some}
        keys = dialect.rows("wanted", {"id": UuidText()}, [(uuid,) for uuid in uuids])
        begin, end = dialect.timespan(calibs, "timespan")
        statement = sa.select(calibs.c.dataset_id, begin, end).join_from(keys, calibs, calibs.c.dataset_id == keys.c.id)
        statement = statement.order_by(begin, end, calibs.c.id)
        for uuid, begin, end in await snapshot.rows(statement):
            found.setdefault(uuid, []).append(_timespan(begin, end))
    return [[Certification(dataset, timespan) for timespan in found.get(dataset.uuid, ())] for dataset in datasets]


async def certification_pages(
    snapshot: Snapshot,
    collections: Sequence[Collection],
    kinds: Iterable[DatasetType],
    overlaps: Timespan | None,
    request: PageRequest,
) -> list[Page[Certification]]:
    """Read the same page of the certifications of each of several CALIBRATION collections.

    Their order is that of dataset types by name, then data ID, begin, and the number of the certification.
    """

    async def read(batch: Sequence[Part]) -> dict[tuple[int, int], list[_Found]]:
        rows: dict[tuple[int, int], list[_Found]] = {}
        for group in groups_of(snapshot.repository, batch):
            kinds = {part[:2]: part.dataset_type for part in group.parts}
            for parent, place, uuid, begin, end, number, *values in await snapshot.rows(_selected(group, request)):
                kind = kinds[parent, place]
                certification = Certification(Dataset(uuid, kind, tuple(values)), _timespan(begin, end))
                rows.setdefault((parent, place), []).append(((kind.name, *values, begin, number), certification))
        return rows

    parts = await _parts(snapshot, collections, kinds, overlaps)
    found = await fill(snapshot, parts, len(collections), request, read)
    return [cut(rows, request) for rows in found]


async def certification_counts(
    snapshot: Snapshot, collections: Sequence[Collection], kinds: Iterable[DatasetType], overlaps: Timespan | None
) -> list[int]:
    """Count the certifications of each CALIBRATION collection."""
    result = [0] * len(collections)
    for group in groups_of(snapshot.repository, await _parts(snapshot, collections, kinds, overlaps)):
        for source in group.sources():
            parent = source.ranges.c.parent
            rows = source.rows(source.table.alias(), [source.ranges])
            for index, count in await snapshot.rows(rows.add_columns(parent, sa.func.count()).group_by(parent)):
                result[index] += count
    return result


async def _parts(
    snapshot: Snapshot, collections: Sequence[Collection], kinds: Iterable[DatasetType], overlaps: Timespan | None
) -> list[Part]:
    where = await candidates(snapshot, collections, [kind for kind in kinds if kind.is_calibration])
    return [
        Part(parent, await dataset_types.position(snapshot, kind), kind, [collection], validity=overlaps)
        for parent, collection in enumerate(collections)
        for kind, some in where.items()
        if collection in some
    ]


def _selected(group: TableGroup, request: PageRequest) -> sa.Select[Any]:
    """Select one more certification of each range than the page can take."""
    (source,) = group.sources()
    names = group.dimensions.required

    def order(table: sa.FromClause) -> list[sa.ColumnElement[Any]]:
        begin, _ = source.dialect.timespan(table, "timespan")
        return [*(table.c[name] for name in names), begin, table.c.id]

    def first_rows(table: sa.FromClause) -> sa.Select[Any]:
        key = order(table)
        limited = source.rows(table).where(*_between(table, key, group, request))
        return limited.order_by(*ordered(key, request)).limit(request.limit + 1)

    joined, table, conditions = source.dialect.top_rows(source.ranges, source.table, first_rows)
    begin, end = source.dialect.timespan(table, "timespan")
    parent, place = source.ranges.c.parent, source.ranges.c.place
    columns = [parent, place, table.c.dataset_id, begin, end, table.c.id, *(table.c[name] for name in names)]
    return (
        sa.select(*columns)
        .select_from(joined)
        .where(*conditions)
        .order_by(parent, place, *ordered(order(table), request))
    )


def _between(
    table: sa.FromClause, key: Sequence[sa.ColumnElement[Any]], group: TableGroup, request: PageRequest
) -> list[sa.ColumnElement[bool]]:
    """Conditions of the request's keys, each for the dataset type that it names."""
    numbers = {part.dataset_type.name: part.dataset_type.key for part in group.parts}
    conditions: list[sa.ColumnElement[bool]] = []
    for limits in (PageRequest(request.limit, after=request.after), PageRequest(request.limit, before=request.before)):
        limit = limits.after or limits.before
        if limit is not None and limit[0] in numbers:
            own = PageRequest(request.limit, after=limits.after and limit[1:], before=limits.before and limit[1:])
            conditions.append(sa.or_(table.c.dataset_type_id != numbers[limit[0]], *bounds(key, own)))
    return conditions


def _timespan(begin: int, end: int) -> Timespan:
    timespan = Timespan.from_columns(begin, end)
    assert timespan is not None
    return timespan
