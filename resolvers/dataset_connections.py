"""Connections of datasets: wherever datasets are listed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from butlerql.resolvers.conditions import WHERE, where_of
from butlerql.resolvers.connections import Connection, Paging, of_whole_sets, paging_of
from butlerql.resolvers.context import RequestContext
from butlerql.resolvers.loaders import Loaders
from butlerql.resolvers.quantum_filters import quantum_filter
from butlerql.storage.datastores.tree import Datastore
from butlerql.storage.registry.collections import Collection
from butlerql.storage.registry.data_id_values import DataId, expand
from butlerql.storage.registry.dataset_counts import existing
from butlerql.storage.registry.dataset_groups import GroupKey
from butlerql.storage.registry.dataset_types import DatasetType, pages
from butlerql.storage.registry.matching import DataIdMatch, matching_datasets
from butlerql.storage.registry.pages import Page
from butlerql.storage.registry.ranges import Wanted
from butlerql.storage.registry.selection import (
    DatasetSelection,
    DatasetSets,
    datasets_of_collections,
    datasets_of_types,
    select,
)
from butlerql.storage.snapshot import Snapshot

__all__ = ["loaders", "selection_of"]

loaders = Loaders()


def selection_of(given: Mapping[str, Any]) -> DatasetSelection:
    """Make a selection of raw input; what is null is not asked for."""
    plain = {name: value for name, value in given.items() if value is not None and name not in WHERE}
    if "generated_by" in plain:
        plain["generated_by"] = quantum_filter(plain["generated_by"])
    return DatasetSelection(**plain, where=where_of(given))


async def _connections(
    context: RequestContext, sets: DatasetSets, page: Paging, order_by: Sequence[str] | None = None
) -> list[Connection]:
    context.unrelated.update(sets.unrelated)
    return page.connections(await sets.pages(context.snapshot, page.request, order_by), sets.counts, sets.groups)


@loaders.field("Query.datasets")
async def _datasets(context: RequestContext, parents: Sequence[Any], **arguments: Any) -> list[Connection]:
    page = paging_of(context, "datasets", arguments)
    sets = await select(context.snapshot, selection_of(arguments["select"]))
    return await _connections(context, sets, page, arguments.get("order_by")) * len(parents)


@loaders.field("DatasetConnection.groups")
async def _groups(context: RequestContext, parents: Sequence[Connection], *, by: Sequence[str]) -> list[Any]:
    return await of_whole_sets(context, parents, attrgetter("grouper"), [GroupKey(key) for key in by])


@loaders.field("DatasetType.datasets")
async def _datasets_of_types(
    context: RequestContext, parents: Sequence[DatasetType], **arguments: Any
) -> list[Connection]:
    wanted = Wanted.FIRST if arguments.get("find_first") else Wanted.DATASETS
    sets = await _of_types(context, parents, arguments, wanted)
    page = paging_of(context, "DatasetType.datasets", arguments)
    return await _connections(context, sets, page, arguments.get("order_by"))


@loaders.field("DatasetType.dataIds")
async def _data_ids_of_types(
    context: RequestContext, parents: Sequence[DatasetType], **arguments: Any
) -> list[Connection]:
    page = paging_of(context, "DatasetType.dataIds", arguments)
    sets = await _of_types(context, parents, arguments, Wanted.DATA_IDS)
    found = await sets.pages(context.snapshot, page.request, arguments.get("order_by"))
    keys = [(dataset.dataset_type.dimensions, dataset.data_id) for some in found for dataset in some.rows]
    data_ids = iter(await expand(context.snapshot, keys))
    return page.connections(
        [Page([next(data_ids) for _ in some.rows], some.keys, some.has_next, some.has_previous) for some in found],
        sets.counts,
    )


async def _of_types(
    context: RequestContext, parents: Sequence[DatasetType], arguments: Mapping[str, Any], wanted: Wanted
) -> DatasetSets:
    return await datasets_of_types(
        context.snapshot,
        parents,
        arguments.get("collections"),
        arguments.get("data_id"),
        where_of(arguments),
        wanted,
    )


@loaders.field("Collection.datasets")
async def _datasets_of_collections(
    context: RequestContext, parents: Sequence[Collection], **arguments: Any
) -> list[Connection]:
    sets = await datasets_of_collections(
        context.snapshot,
        parents,
        _names(arguments, "dataset_types"),
        arguments.get("data_id"),
        where_of(arguments),
        find_first=bool(arguments.get("find_first")),
    )
    page = paging_of(context, "Collection.datasets", arguments)
    return await _connections(context, sets, page, arguments.get("order_by"))


@loaders.field("Datastore.datasets")
async def _datasets_of_datastores(
    context: RequestContext, parents: Sequence[Datastore], **arguments: Any
) -> list[Connection]:
    page = paging_of(context, "Datastore.datasets", arguments)
    given = arguments.get("select") or {}
    found: list[Connection] = []
    # A repository has few datastores: one selection each.
    for datastore in parents:
        within = await select(context.snapshot, selection_of(given), within=datastore)
        found += await _connections(context, within, page)
    return found


@loaders.field("DataId.datasets")
async def _datasets_of_data_ids(
    context: RequestContext, parents: Sequence[DataId], **arguments: Any
) -> list[Connection]:
    wanted = Wanted.FIRST if arguments.get("find_first") else Wanted.DATASETS
    sets = await _matching(context, parents, arguments, _names(arguments, "dataset_types"), wanted)
    page = paging_of(context, "DataId.datasets", arguments)
    return await _connections(context, sets, page, arguments.get("order_by"))


@loaders.field("DataId.datasetTypes")
async def _dataset_types_of_data_ids(
    context: RequestContext, parents: Sequence[DataId], **arguments: Any
) -> list[Connection]:
    page = paging_of(context, "DataId.datasetTypes", arguments)
    sets = await _matching(context, parents, arguments, ["*"])
    context.unrelated.update(sets.unrelated)
    holding = await existing(context.snapshot, sets.parts)
    found: list[list[DatasetType]] = [[] for _ in parents]
    for part in sets.parts:
        if part[:2] in holding:
            found[part.parent].append(part.dataset_type)
    return page.connections(await pages(context.snapshot, found, page.request), _lengths(found))


async def _matching(
    context: RequestContext,
    parents: Sequence[DataId],
    arguments: Mapping[str, Any],
    names: Sequence[str],
    wanted: Wanted = Wanted.DATASETS,
) -> DatasetSets:
    return await matching_datasets(
        context.snapshot,
        parents,
        collections=arguments["collections"],
        names=names,
        match=DataIdMatch(arguments.get("match", DataIdMatch.CONTAINING)),
        include_dimensionless=bool(arguments.get("include_dimensionless")),
        wanted=wanted,
    )


def _names(arguments: Mapping[str, Any], argument: str) -> Sequence[str]:
    """Names or globs that an argument gives; null is everything."""
    names: Sequence[str] | None = arguments.get(argument)
    return ["*"] if names is None else names


def _lengths(found: Sequence[Sequence[Any]]) -> Callable[[Snapshot, list[int]], Any]:
    async def counts(_snapshot: Snapshot, parents: list[int]) -> list[int]:
        return [len(found[parent]) for parent in parents]

    return counts
