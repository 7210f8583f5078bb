"""Dataset types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from butlerql.resolvers.connections import Connection, paging
from butlerql.resolvers.context import RequestContext
from butlerql.resolvers.identifiers import encode
from butlerql.resolvers.loaders import Loaders
from butlerql.storage.registry import dataset_types
from butlerql.storage.registry.collections import CollectionType
from butlerql.storage.registry.dataset_types import DatasetType
from butlerql.storage.registry.membership import holder_counts, holder_pages
from butlerql.storage.snapshot import Snapshot
from butlerql.storage.storage_classes import StorageClass
from butlerql.storage.universe import Element

__all__ = ["loaders"]

loaders = Loaders()


@loaders.field("Query.datasetType")
async def _dataset_type(context: RequestContext, parents: Sequence[Any], *, name: str) -> list[DatasetType | None]:
    return [await dataset_types.find_or_none(context.snapshot, name)] * len(parents)


@loaders.field("Query.datasetTypes")
async def _dataset_types(
    context: RequestContext,
    parents: Sequence[Any],
    *,
    names: Sequence[str] | None = None,
    storage_classes: Sequence[str] | None = None,
    dimensions: Sequence[str] | None = None,
    components: bool | None = None,
    order_by: Sequence[str] | None = None,
    **pages: Any,
) -> list[Connection]:
    filters = [names, storage_classes, dimensions, components, order_by]
    page = paging(context, "datasetTypes", {"filters": filters}, **pages)
    found = await dataset_types.match(
        context.snapshot,
        ["*"] if names is None else names,
        components=bool(components),
        storage_classes=storage_classes,
        dimensions=dimensions,
    )

    async def counts(_snapshot: Snapshot, indexes: list[int]) -> list[int]:
        return [len(found) for _ in indexes]

    connection = page.connection(await dataset_types.page(context.snapshot, found, page.request, order_by), counts)
    return [connection] * len(parents)


@loaders.column("DatasetType.id")
def _ids(parents: Sequence[DatasetType]) -> list[str]:
    return [encode("DatasetType", dataset_type.name) for dataset_type in parents]


@loaders.field("DatasetType.storageClass", database=False)
async def _storage_classes(context: RequestContext, parents: Sequence[DatasetType]) -> list[StorageClass]:
    known = context.repository.storage_classes
    return [known.get(dataset_type.storage_class) for dataset_type in parents]


@loaders.field("DatasetType.dimensions", database=False)
async def _dimensions(_context: RequestContext, parents: Sequence[DatasetType]) -> list[list[Element]]:
    return [
        [dataset_type.dimensions.universe.elements[name] for name in dataset_type.dimensions.names]
        for dataset_type in parents
    ]


@loaders.field("DatasetType.parent")
async def _parents(context: RequestContext, parents: Sequence[DatasetType]) -> list[DatasetType | None]:
    return [
        await dataset_types.parent(context.snapshot, dataset_type) if dataset_type.is_component else None
        for dataset_type in parents
    ]


@loaders.field("DatasetType.components")
async def _components(context: RequestContext, parents: Sequence[DatasetType]) -> list[list[DatasetType]]:
    return [dataset_types.components(context.snapshot, dataset_type) for dataset_type in parents]


@loaders.field("DatasetType.collections")
async def _collections(
    context: RequestContext, parents: Sequence[DatasetType], *, types: Sequence[str] | None = None, **pages: Any
) -> list[Connection]:
    page = paging(context, "DatasetType.collections", {"types": types}, **pages)
    wanted = None if types is None else {CollectionType(name) for name in types}

    async def counts(snapshot: Snapshot, indexes: list[int]) -> list[int]:
        return await holder_counts(snapshot, [parents[index] for index in indexes], wanted)

    return page.connections(await holder_pages(context.snapshot, parents, wanted, page.request), counts)
