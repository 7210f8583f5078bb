"""Which rows count among all that are found: each dataset once, or the first of each data ID; all in SQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from butlerql.storage.errors import AmbiguousCalibrationError
from butlerql.storage.registry.dataset_types import DatasetType
from butlerql.storage.registry.looked_rows import settled
from butlerql.storage.registry.pages import Ordering, PageRequest, ordered
from butlerql.storage.registry.ranges import Filter, Part, Source, TableGroup, Wanted
from butlerql.storage.snapshot import Snapshot

__all__ = ["Fields", "ambiguous", "chosen_rows", "settled_groups"]

Fields = Callable[[Source, sa.FromClause], tuple[sa.Select[Any], Sequence[sa.ColumnElement[Any]]]]
"""Selects the rows of an alias of the table that are in a range, and gives columns of what is wanted of them."""


async def settled_groups(
    snapshot: Snapshot, parts: Sequence[Part], wanted: Wanted, filters: Sequence[Filter]
) -> list[TableGroup]:
    """Put the parts together that one selection can answer, all regions looked at; see `settled`."""
    merged: dict[tuple[Any, ...], TableGroup] = {}
    for part in parts:
        for group in await settled(snapshot, part, wanted, filters):
            key = (group.tags.name, group.constrained, group.condition, tuple(map(id, group.filters)))
            if key in merged:
                merged[key].parts += group.parts
                merged[key].calibs = merged[key].calibs if group.calibs is None else group.calibs
            else:
                merged[key] = group
    return list(merged.values())


def chosen_rows(group: TableGroup, wanted: Wanted, fields: Fields, descending: Sequence[bool] = ()) -> sa.Select[Any]:
    """Select each dataset once, or the first found of each data ID.

    Of a dataset that is found several times in a collection, as it is certified more than once, it is the row that
    comes first in the order of the fields.

    Parameters
    ----------
    group
        Where they are.
    wanted
        What of the datasets that are found counts.
    fields
        Gives what else to select.
    descending
        For each of the fields by which they are ordered, the first ones, whether it descends.

    Returns
    -------
    select
        Columns ``parent``, ``place``, ``uuid``, ``field_0`` and so on, and ``several``: how many there are of the first
        found, which should be one.
    """
    names = group.dimensions.required
    rows = sa.union_all(*(_rows(source, fields, names) for source in group.sources())).subquery()
    columns = [rows.c.parent, rows.c.place, rows.c.uuid]
    columns += [column for name, column in rows.c.items() if name.startswith("field_")]
    if wanted is Wanted.DATASETS and group.disjoint:
        return sa.select(*columns, sa.literal(1).label("several"))
    same = [rows.c.uuid] if wanted is Wanted.DATASETS else [rows.c[name] for name in names]
    alike = [rows.c.parent, rows.c.place, *same]
    order = [Ordering(rows.c[f"field_{index}"], down) for index, down in enumerate(descending)]
    first = [rows.c.rank, *ordered(order, PageRequest(0)), rows.c.uuid]
    number = sa.func.row_number().over(partition_by=alike, order_by=first).label("number")
    several: sa.ColumnElement[int] = sa.literal(1)
    if wanted is Wanted.FIRST:
        several = sa.func.count().over(partition_by=[*alike, rows.c.rank])
    ranked = sa.select(*columns, several.label("several"), number).subquery()
    return sa.select(*(column for name, column in ranked.c.items() if name != "number")).where(ranked.c.number == 1)


def ambiguous(dataset_type: DatasetType) -> AmbiguousCalibrationError:
    """Make the error for several that are found first."""
    return AmbiguousCalibrationError(
        f"A collection has several certified datasets of type '{dataset_type.name}' for one data ID. "
        "Give a timespan (findDataset), or do not ask for the first only."
    )


def _rows(source: Source, fields: Fields, names: Sequence[str]) -> sa.Select[Any]:
    table = source.table.alias()
    statement, columns = fields(source, table)
    ranges = source.ranges.c
    return statement.add_columns(
        ranges.parent,
        ranges.place,
        ranges.rank,
        table.c.dataset_id.label("uuid"),
        *(table.c[name].label(name) for name in names),
        *(column.label(f"field_{index}") for index, column in enumerate(columns)),
    )
