"""Pages of datasets in an order that was asked for: one pass over all that is selected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from butlerql.storage.errors import AmbiguousCalibrationError
from butlerql.storage.registry.dataset_types import DatasetType
from butlerql.storage.registry.datasets import Dataset, by_uuids
from butlerql.storage.registry.looked_rows import settled
from butlerql.storage.registry.orders import Order
from butlerql.storage.registry.pages import OrderBy, Ordering, Page, PageRequest, pages_of
from butlerql.storage.registry.ranges import Filter, Part, Source, TableGroup, Wanted
from butlerql.storage.snapshot import Snapshot

__all__ = ["sorted_pages"]


async def sorted_pages(
    snapshot: Snapshot,
    parts: Sequence[Part],
    parents: int,
    request: PageRequest,
    order: Callable[[DatasetType], Sequence[Order]],
    *,
    wanted: Wanted = Wanted.DATASETS,
    filters: Sequence[Filter] = (),
) -> list[Page[Dataset]]:
    """Read the same page of the datasets of each of several parents.

    Parameters
    ----------
    snapshot, parts, parents, wanted, filters
        See `dataset_pages`.
    request
        Which page. Its keys are what is ordered by, a UUID, and the place of a dataset type.
    order
        Tells what to order by, for datasets of a type; of the same kinds for all.

    Raises
    ------
    BadCursorError
        Raised if a key of the request is none of such a page.
    AmbiguousCalibrationError
        Raised if several certifications of one data ID are found first.
    """
    groups = [group for part in parts for group in await settled(snapshot, part, wanted, filters)]
    selects = [_select(group, order(group.parts[0].dataset_type), wanted) for group in _merged(groups)]
    if not selects:
        return [Page([], [], has_next=False, has_previous=False) for _ in range(parents)]
    entries = sa.union_all(*selects).subquery()
    fields = [column for name, column in entries.c.items() if name.startswith("field_")]
    descending = [term.is_descending for term in order(parts[0].dataset_type)]
    key: list[OrderBy] = [Ordering(*term) for term in zip(fields, descending, strict=True)]
    key += [entries.c.uuid, entries.c.place]
    statement = sa.select(entries.c.uuid, entries.c.place, entries.c.several)
    pages = await pages_of(snapshot, statement, entries.c.parent, key, parents, request)
    return await _datasets(snapshot, parts, pages)


def _merged(groups: Sequence[TableGroup]) -> list[TableGroup]:
    """Put the parts together that one selection can answer."""
    merged: dict[tuple[Any, ...], TableGroup] = {}
    for group in groups:
        key = (group.tags.name, group.constrained, group.condition, tuple(map(id, group.filters)))
        if key in merged:
            merged[key].parts += group.parts
            merged[key].calibs = merged[key].calibs if group.calibs is None else group.calibs
        else:
            merged[key] = group
    return list(merged.values())


def _select(group: TableGroup, order: Sequence[Order], wanted: Wanted) -> sa.Select[Any]:
    """Select what is ordered by, of each dataset once, or of the first found of each data ID."""
    names = group.dimensions.required
    rows = sa.union_all(*(_rows(source, order, names) for source in group.sources())).subquery()
    fields = [rows.c[f"field_{index}"] for index in range(len(order))]
    columns = [rows.c.parent, rows.c.place, rows.c.uuid, *fields]
    same = [rows.c.uuid] if wanted is Wanted.DATASETS else [rows.c[name] for name in names]
    if wanted is Wanted.DATASETS and group.disjoint:
        return sa.select(*columns, sa.literal(1).label("several"))
    alike = [rows.c.parent, rows.c.place, *same]
    number = sa.func.row_number().over(partition_by=alike, order_by=[rows.c.rank, rows.c.uuid]).label("number")
    several: sa.ColumnElement[int] = sa.literal(1)
    if wanted is Wanted.FIRST:
        several = sa.func.count().over(partition_by=[*alike, rows.c.rank])
    ranked = sa.select(*columns, several.label("several"), number).subquery()
    return sa.select(*(column for name, column in ranked.c.items() if name != "number")).where(ranked.c.number == 1)


def _rows(source: Source, order: Sequence[Order], names: Sequence[str]) -> sa.Select[Any]:
    table = source.table.alias()
    statement, fields = source.fields(table, [term.operand for term in order])
    ranges = source.ranges.c
    return statement.add_columns(
        ranges.parent,
        ranges.place,
        ranges.rank,
        table.c.dataset_id.label("uuid"),
        *(table.c[name].label(name) for name in names),
        *(field.label(f"field_{index}") for index, field in enumerate(fields)),
    )


async def _datasets(snapshot: Snapshot, parts: Sequence[Part], pages: Sequence[Page[Any]]) -> list[Page[Dataset]]:
    """Look up the datasets of pages."""
    kinds = {part.place: part.dataset_type for part in parts}
    ambiguous = next((row for page in pages for row in page.rows if row.several > 1), None)
    if ambiguous is not None:
        raise AmbiguousCalibrationError(
            f"A collection has several certified datasets of type '{kinds[ambiguous.place].name}' for one data ID. "
            "Give a timespan (findDataset), or do not ask for the first only."
        )
    found = await by_uuids(snapshot, [row.uuid for page in pages for row in page.rows])
    known = iter([dataset for dataset in found if dataset is not None])
    return [
        Page(
            [next(known)._replace(dataset_type=kinds[row.place]) for row in page.rows],
            page.keys,
            page.has_next,
            page.has_previous,
        )
        for page in pages
    ]
