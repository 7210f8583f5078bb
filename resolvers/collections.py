"""Collections: runs, tags, calibrations and chains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from butlerql.resolvers.connections import Connection, paging
from butlerql.resolvers.context import RequestContext
from butlerql.resolvers.identifiers import encode
from butlerql.resolvers.loaders import Loaders
from butlerql.storage.registry import chains, collections, dataset_types
from butlerql.storage.registry.collections import Collection, CollectionSelection, CollectionType
from butlerql.storage.registry.membership import types_held
from butlerql.storage.registry.timespans import Timespan
from butlerql.storage.snapshot import Snapshot

__all__ = ["loaders", "type_of_collection"]

loaders = Loaders()

_TYPES = {
    CollectionType.RUN: "Run",
    CollectionType.TAGGED: "TaggedCollection",
    CollectionType.CALIBRATION: "CalibrationCollection",
    CollectionType.CHAINED: "ChainedCollection",
}


@loaders.interface("Collection")
def type_of_collection(collection: Collection) -> str:
    """Name the type of the schema that a collection is of."""
    return _TYPES[collection.type]


@loaders.column("Collection.id")
def _ids(parents: Sequence[Collection]) -> list[str]:
    return [encode(_TYPES[collection.type], collection.name) for collection in parents]


@loaders.field("Query.collection")
async def _collection(context: RequestContext, parents: Sequence[Any], *, name: str) -> list[Collection | None]:
    found = await collections.by_names(context.snapshot, [name])
    return [found.get(name)] * len(parents)


@loaders.field("Query.run")
async def _run(context: RequestContext, parents: Sequence[Any], *, name: str) -> list[Collection | None]:
    found = (await collections.by_names(context.snapshot, [name])).get(name)
    return [found if found is not None and found.type is CollectionType.RUN else None] * len(parents)


@loaders.field("Query.collections")
async def _collections(
    context: RequestContext,
    parents: Sequence[Any],
    *,
    names: Sequence[str] | None = None,
    types: Sequence[str] | None = None,
    flatten_chains: bool | None = None,
    order_by: Sequence[str] | None = None,
    **pages: Any,
) -> list[Connection]:
    wanted = None if types is None else {CollectionType(name) for name in types}
    selection = CollectionSelection(["*"] if names is None else names, wanted, bool(flatten_chains))
    return [await _page(context, "collections", selection, pages, order_by)] * len(parents)


@loaders.field("Query.runs")
async def _runs(
    context: RequestContext, parents: Sequence[Any], *, names: Sequence[str] | None = None, **pages: Any
) -> list[Connection]:
    selection = CollectionSelection(["*"] if names is None else names, {CollectionType.RUN})
    return [await _page(context, "runs", selection, pages)] * len(parents)


async def _page(
    context: RequestContext,
    field: str,
    selection: CollectionSelection,
    pages: dict[str, Any],
    order_by: Sequence[str] | None = None,
) -> Connection:
    types = None if selection.types is None else sorted(selection.types)
    page = paging(context, field, {"filters": [selection.names, types, selection.flatten_chains, order_by]}, **pages)

    async def counts(snapshot: Snapshot, indexes: list[int]) -> list[int]:
        number = await collections.count(snapshot, selection)
        return [number for _ in indexes]

    return page.connection(await collections.page(context.snapshot, selection, page.request, order_by), counts)


@loaders.field("Collection.parents")
async def _parents(context: RequestContext, parents: Sequence[Collection]) -> list[list[Collection]]:
    return await chains.parents(context.snapshot, parents)


@loaders.field("ChainedCollection.children")
async def _children(context: RequestContext, parents: Sequence[Collection]) -> list[list[Collection]]:
    return await chains.children(context.snapshot, parents)


@loaders.field("ChainedCollection.flattened")
async def _flattened(context: RequestContext, parents: Sequence[Collection]) -> list[list[Collection]]:
    return await chains.flatten(context.snapshot, parents)


@loaders.field("Collection.datasetTypes")
async def _dataset_types(
    context: RequestContext, parents: Sequence[Collection], *, names: Sequence[str] | None = None, **pages: Any
) -> list[Connection]:
    page = paging(context, "Collection.datasetTypes", {"names": names}, **pages)
    wanted = await dataset_types.match(context.snapshot, ["*"] if names is None else names)
    held = await types_held(context.snapshot, parents, wanted)

    async def counts(_snapshot: Snapshot, indexes: list[int]) -> list[int]:
        return [len(held[index]) for index in indexes]

    return page.connections(await dataset_types.pages(context.snapshot, held, page.request), counts)


@loaders.field("Run.host")
async def _hosts(context: RequestContext, parents: Sequence[Collection]) -> list[str | None]:
    return [details.host for details in await collections.run_details(context.snapshot, [run.key for run in parents])]


@loaders.field("Run.timespan")
async def _timespans(context: RequestContext, parents: Sequence[Collection]) -> list[Timespan | None]:
    details = await collections.run_details(context.snapshot, [run.key for run in parents])
    return [each.timespan for each in details]
