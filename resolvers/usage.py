"""How much space datasets take."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from butlerql.resolvers.context import RequestContext
from butlerql.resolvers.dataset_connections import selection_of
from butlerql.resolvers.loaders import Loaders
from butlerql.storage.datastores.tree import ChainedDatastore, Datastore, FileDatastore
from butlerql.storage.datastores.usage import FileSystem, Usage, file_system, selected_usage, usage
from butlerql.storage.registry.dataset_groups import DatasetGroup, GroupKey

__all__ = ["loaders"]

loaders = Loaders()


class _StorageUsage(NamedTuple):
    """Figures of a datastore, and what is needed to have those of its members."""

    datastore: Datastore
    select: Mapping[str, Any] | None
    bytes: int
    artifacts: int
    datasets: int
    unsized: int
    groups: Sequence[DatasetGroup]


class _ChildUsage(NamedTuple):
    datastore: Datastore
    bytes: int
    artifacts: int
    datasets: int


@loaders.field("Datastore.usage")
async def _usages(
    context: RequestContext,
    parents: Sequence[Datastore],
    *,
    by: Sequence[str] | None,
    select: Mapping[str, Any] | None = None,
) -> list[_StorageUsage]:
    found = []
    # A repository has few datastores: one statement each.
    for datastore in parents:
        (_, datasets, artifacts, size, unsized), groups, _ = await _usage(
            context, datastore, select, [GroupKey(key) for key in by or ()]
        )
        found.append(_StorageUsage(datastore, select, size, artifacts, datasets, unsized, groups))
    return found


@loaders.field("StorageUsage.children")
async def _children(context: RequestContext, parents: Sequence[_StorageUsage]) -> list[list[_ChildUsage]]:
    return [
        [await _child(context, child, parent.select) for child in parent.datastore.children]
        if isinstance(parent.datastore, ChainedDatastore)
        else []
        for parent in parents
    ]


async def _child(context: RequestContext, child: Datastore, select: Mapping[str, Any] | None) -> _ChildUsage:
    total = (await _usage(context, child, select, [])).total
    return _ChildUsage(child, total.bytes, total.artifacts, total.datasets)


async def _usage(
    context: RequestContext, datastore: Datastore, select: Mapping[str, Any] | None, by: Sequence[GroupKey]
) -> Usage:
    if select is None:
        return await usage(context.snapshot, datastore, by)
    found = await selected_usage(context.snapshot, datastore, selection_of(select), by)
    context.unrelated.update(found.unrelated)
    return found


@loaders.field("FileDatastore.freeSpace", database=False)
async def _free_spaces(context: RequestContext, parents: Sequence[FileDatastore]) -> list[Any]:
    return [found.free if isinstance(found, FileSystem) else found for found in await _file_systems(context, parents)]


@loaders.field("FileDatastore.totalSpace", database=False)
async def _total_spaces(context: RequestContext, parents: Sequence[FileDatastore]) -> list[Any]:
    return [found.total if isinstance(found, FileSystem) else found for found in await _file_systems(context, parents)]


async def _file_systems(
    context: RequestContext, parents: Sequence[FileDatastore]
) -> list[FileSystem | BaseException | None]:
    # In threads: one that does not answer must not hold up everything else.
    async with context.outside():
        looking = (asyncio.to_thread(file_system, datastore) for datastore in parents)
        return await asyncio.gather(*looking, return_exceptions=True)
