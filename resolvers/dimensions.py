"""The dimensions of the universe, and their records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from butlerql.resolvers.conditions import where_of
from butlerql.resolvers.connections import Connection, paging_of
from butlerql.resolvers.context import RequestContext
from butlerql.resolvers.extents import region_json, timespan_json
from butlerql.resolvers.loaders import Loaders
from butlerql.storage.errors import ButlerQLError
from butlerql.storage.registry import data_ids, dimension_records
from butlerql.storage.registry.data_ids import DataIdConditions
from butlerql.storage.registry.dimension_records import DimensionRecord
from butlerql.storage.registry.spatial import Region, decode_base64, describe
from butlerql.storage.snapshot import Snapshot
from butlerql.storage.universe import Column, Element, Universe

__all__ = ["loaders"]

loaders = Loaders()


@loaders.field("Query.dimensions", database=False)
async def _all_dimensions(context: RequestContext, parents: Sequence[object]) -> list[list[Element]]:
    return [list(context.repository.universe.dimensions.values())] * len(parents)


@loaders.field("Query.dimension", database=False)
async def _dimension(context: RequestContext, parents: Sequence[object], *, name: str) -> list[Element | None]:
    return [context.repository.universe.elements.get(name)] * len(parents)


@loaders.field("Query.dimensionRecords")
async def _dimension_records(
    context: RequestContext,
    parents: Sequence[object],
    *,
    element: str,
    data_id: Mapping[str, Any] | None = None,
    dataset_types: Sequence[str] | None = None,
    collections: Sequence[str] | None = None,
    order_by: Sequence[str] | None = None,
    **arguments: Any,
) -> list[Connection]:
    chosen = context.repository.universe.element(element)
    conditions = await data_ids.find_conditions(
        context.snapshot,
        dimension_records.dimensions_of(chosen, context.repository.universe.group),
        types=dataset_types,
        collections=collections,
        values=data_id,
        where=where_of(arguments),
        order_by=order_by,
    )
    filters = [element, dataset_types, collections, data_id, order_by]
    asked = paging_of(context, "dimensionRecords", arguments, filters)
    page = await dimension_records.page(context.snapshot, chosen, conditions, asked.request)

    async def count(snapshot: Snapshot, indexes: Sequence[int]) -> list[int]:
        return [await dimension_records.count(snapshot, chosen, conditions)] * len(indexes)

    return [asked.connection(page, count)] * len(parents)


@loaders.column("DimensionUniverse.dimensions")
def _dimensions(parents: Sequence[Universe]) -> list[list[Element]]:
    return [list(universe.dimensions.values()) for universe in parents]


@loaders.column("DimensionUniverse.elements")
def _elements(parents: Sequence[Universe]) -> list[list[Element]]:
    return [list(universe.elements.values()) for universe in parents]


@loaders.column("Dimension.description")
def _description(parents: Sequence[Element]) -> list[str | None]:
    return [element.doc or None for element in parents]


@loaders.field("Dimension.required", database=False)
async def _required(context: RequestContext, parents: Sequence[Element]) -> list[list[Element]]:
    universe = context.repository.universe
    return [[universe.dimensions[name] for name in element.required] for element in parents]


@loaders.field("Dimension.implied", database=False)
async def _implied(context: RequestContext, parents: Sequence[Element]) -> list[list[Element]]:
    universe = context.repository.universe
    return [[universe.dimensions[name] for name in element.implied] for element in parents]


@loaders.column("Dimension.keyType")
def _key_type(parents: Sequence[Element]) -> list[str]:
    return [element.primary_key.type if element.is_dimension else "" for element in parents]


@loaders.field("Dimension.records")
async def _records(
    context: RequestContext,
    parents: Sequence[Element],
    *,
    data_id: Mapping[str, Any] | None = None,
    order_by: Sequence[str] | None = None,
    **arguments: Any,
) -> list[Connection | ButlerQLError]:
    """Read a page for each element: they are in tables of their own, and a universe has few."""
    where = where_of(arguments)
    asked = paging_of(context, "Dimension.records", arguments, [data_id, order_by])

    async def conditions(snapshot: Snapshot, element: Element) -> DataIdConditions:
        group = dimension_records.dimensions_of(element, snapshot.repository.universe.group)
        return await data_ids.find_conditions(snapshot, group, values=data_id, where=where, order_by=order_by)

    async def count(snapshot: Snapshot, indexes: Sequence[int]) -> list[int]:
        chosen = [parents[index] for index in indexes]
        return [await dimension_records.count(snapshot, one, await conditions(snapshot, one)) for one in chosen]

    result: list[Connection | ButlerQLError] = []
    for index, element in enumerate(parents):
        try:
            found = await conditions(context.snapshot, element)
            page = await dimension_records.page(context.snapshot, element, found, asked.request)
        except ButlerQLError as error:
            # What cannot be related to one element may well be to the next.
            result.append(error)
        else:
            result.append(asked.connection(page, count, index))
    return result


@loaders.column("DimensionColumn.description")
def _column_description(parents: Sequence[Column]) -> list[str | None]:
    return [column.doc or None for column in parents]


@loaders.column("DimensionRecord.values")
def _values(parents: Sequence[DimensionRecord]) -> list[dict[str, Any]]:
    result = []
    for record in parents:
        values = record.values
        if record.element.spatial is not None:
            values["region"] = region_json(_described(record))
        if record.element.temporal is not None:
            values["timespan"] = timespan_json(record.timespan)
        result.append(values)
    return result


@loaders.column("DimensionRecord.region")
def _region(parents: Sequence[DimensionRecord]) -> list[Region | None]:
    return [_described(record) for record in parents]


def _described(record: DimensionRecord) -> Region | None:
    return None if record.region is None else describe(decode_base64(record.region))
