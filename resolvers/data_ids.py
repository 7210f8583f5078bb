"""Data IDs: one, pages of them, and what each of them is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
from graphql import GraphQLObjectType, GraphQLSchema

from butlerql.resolvers.conditions import where_of
from butlerql.resolvers.connections import Connection, paging_of
from butlerql.resolvers.context import RequestContext
from butlerql.resolvers.identifiers import encode
from butlerql.resolvers.loaders import Loaders
from butlerql.storage.registry import data_ids, dimension_records, extents
from butlerql.storage.registry.collections import Collection
from butlerql.storage.registry.data_id_values import DataId, existing, mappings, resolve
from butlerql.storage.registry.data_ids import DataIdConditions
from butlerql.storage.registry.dimension_records import DimensionRecord
from butlerql.storage.registry.spatial import Region, describe
from butlerql.storage.registry.timespans import Timespan
from butlerql.storage.snapshot import Snapshot
from butlerql.storage.universe import DimensionGroup, Element, Universe

__all__ = ["data_id_key", "data_ids_by_key", "dimension_columns", "loaders"]

loaders = Loaders()


def dimension_columns(schema: GraphQLSchema) -> Loaders:
    """Make the columns of the fields that the repository's universe adds to data IDs."""
    columns = Loaders()
    data_id = schema.type_map["DataId"]
    assert isinstance(data_id, GraphQLObjectType)
    for name, field in data_id.fields.items():
        if "dimension" in field.extensions:
            columns.column(f"DataId.{name}")(_column_of(field.extensions["dimension"]))
    return columns


def _column_of(dimension: str) -> Callable[[Sequence[DataId]], list[Any]]:
    def column(parents: Sequence[DataId]) -> list[Any]:
        places: dict[DimensionGroup, int | None] = {}
        for group in {data_id.dimensions for data_id in parents}:
            places[group] = group.names.index(dimension) if dimension in group.names else None
        if len(places) == 1:
            [place] = places.values()
            return [None] * len(parents) if place is None else [data_id.values[place] for data_id in parents]
        chosen = [places[data_id.dimensions] for data_id in parents]
        return [None if place is None else one.values[place] for place, one in zip(chosen, parents, strict=True)]

    return column


def data_id_key(data_id: DataId) -> str:
    """Write what tells a data ID from every other, for its node id."""
    return orjson.dumps(dict(zip(data_id.dimensions.required, data_id.required, strict=True))).decode()


async def data_ids_by_key(context: RequestContext, keys: Sequence[str]) -> list[DataId | None]:
    """Find the data IDs that keys stand for; None where there is none, or where it is no such key."""
    ids = [_parse_key(context.repository.universe, key) for key in keys]
    found = iter(await existing(context.snapshot, [one for one in ids if one is not None]))
    return [None if one is None else next(found) for one in ids]


def _parse_key(universe: Universe, key: str) -> tuple[DimensionGroup, tuple[Any, ...]] | None:
    try:
        values = orjson.loads(key)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(values, dict) or not universe.dimensions.keys() >= values.keys():
        return None
    # No table holds what is of another type, or cannot be.
    kinds = {"int": int, "string": str}
    for name, value in values.items():
        if type(value) is not kinds.get(universe.dimensions[name].primary_key.type):
            return None
        if (isinstance(value, int) and value >= 2**63) or (isinstance(value, str) and "\0" in value):
            return None
    group = universe.group(values)
    return (group, tuple(values.values())) if group.required == tuple(values) else None


@loaders.field("Query.dataId")
async def _data_id(
    context: RequestContext, parents: Sequence[object], *, values: Mapping[str, Any]
) -> list[DataId | None]:
    return [await resolve(context.snapshot, values)] * len(parents)


@loaders.field("Query.dataIds")
async def _data_ids(
    context: RequestContext,
    parents: Sequence[object],
    *,
    dimensions: Sequence[str],
    dataset_types: Sequence[str] | None = None,
    collections: Sequence[str] | None = None,
    data_id: Mapping[str, Any] | None = None,
    order_by: Sequence[str] | None = None,
    **arguments: Any,
) -> list[Connection]:
    group = context.repository.universe.group(dimensions)
    conditions = await data_ids.find_conditions(
        context.snapshot,
        group,
        types=dataset_types,
        collections=collections,
        values=data_id,
        where=where_of(arguments),
        order_by=order_by,
    )
    filters = [dimensions, dataset_types, collections, data_id, order_by]
    asked = paging_of(context, "dataIds", arguments, filters)
    page = await data_ids.page(context.snapshot, group, conditions, asked.request)

    async def count(snapshot: Snapshot, indexes: Sequence[int]) -> list[int]:
        return [await data_ids.count(snapshot, group, conditions)] * len(indexes)

    return [asked.connection(page, count)] * len(parents)


@loaders.field("Collection.dataIds")
async def _data_ids_of_collections(
    context: RequestContext,
    parents: Sequence[Collection],
    *,
    dimensions: Sequence[str],
    dataset_types: Sequence[str],
    order_by: Sequence[str] | None = None,
    **arguments: Any,
) -> list[Connection]:
    group = context.repository.universe.group(dimensions)
    conditions = await data_ids.find_conditions_in(
        context.snapshot, group, dataset_types, parents, where_of(arguments), order_by
    )
    asked = paging_of(context, "Collection.dataIds", arguments, [dimensions, dataset_types, order_by])
    pages = await data_ids.page_each(context.snapshot, group, conditions, asked.request)
    return asked.connections(pages, _counter(group, conditions))


def _counter(group: DimensionGroup, conditions: DataIdConditions) -> Callable[[Snapshot, list[int]], Any]:
    async def count(snapshot: Snapshot, indexes: list[int]) -> list[int]:
        counts = await data_ids.count_each(snapshot, group, conditions)
        return [counts[index] for index in indexes]

    return count


@loaders.column("DataId.id")
def _ids(parents: Sequence[DataId]) -> list[str]:
    return [encode("DataId", data_id_key(data_id)) for data_id in parents]


@loaders.column("DataId.values")
def _values(parents: Sequence[DataId]) -> list[dict[str, Any]]:
    return mappings(parents)


@loaders.column("DataId.dimensions")
def _dimensions(parents: Sequence[DataId]) -> list[list[Element]]:
    groups = {data_id.dimensions for data_id in parents}
    known = {group: [group.universe.dimensions[name] for name in group.names] for group in groups}
    return [known[data_id.dimensions] for data_id in parents]


@loaders.field("DataId.record")
async def _record(context: RequestContext, parents: Sequence[DataId], *, element: str) -> list[DimensionRecord | None]:
    found = context.repository.universe.element(element)
    return await dimension_records.of_data_ids(context.snapshot, found, parents)


@loaders.field("DataId.records")
async def _records(context: RequestContext, parents: Sequence[DataId]) -> list[list[DimensionRecord]]:
    """Read one element after another, each for all data IDs that have its dimensions."""
    result: list[list[DimensionRecord]] = [[] for _ in parents]
    for element in context.repository.universe.elements.values():
        having = {group for group in {one.dimensions for one in parents} if element in group.elements}
        indexes = [index for index, data_id in enumerate(parents) if data_id.dimensions in having]
        if indexes:
            chosen = [parents[index] for index in indexes]
            found = await dimension_records.of_data_ids(context.snapshot, element, chosen)
            for index, record in zip(indexes, found, strict=True):
                if record is not None:
                    result[index].append(record)
    return result


@loaders.field("DataId.region")
async def _region(context: RequestContext, parents: Sequence[DataId]) -> list[Region | None]:
    found = await extents.regions(context.snapshot, parents)
    return [None if region is None else describe(region) for region in found]


@loaders.field("DataId.timespan")
async def _timespan(context: RequestContext, parents: Sequence[DataId]) -> list[Timespan | None]:
    return await extents.timespans(context.snapshot, parents)
