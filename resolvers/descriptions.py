"""What dataset types and storage classes are, in words."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from butlerql.resolvers.audit import make_own_change
from butlerql.resolvers.context import RequestContext
from butlerql.resolvers.loaders import Loaders
from butlerql.scopes import Scope
from butlerql.storage.descriptions import Descriptions
from butlerql.storage.registry.dataset_types import DatasetType, find
from butlerql.storage.state.descriptions import describe_dataset_type, descriptions_of_dataset_types
from butlerql.storage.storage_classes import StorageClass

__all__ = ["loaders"]

loaders = Loaders()

_log = logging.getLogger(__name__)


class _DatasetTypePayload(NamedTuple):
    dataset_type: DatasetType
    client_mutation_id: str | None


@loaders.field("DatasetType.description", database=False)
async def _of_dataset_types(context: RequestContext, parents: Sequence[DatasetType]) -> list[str | None]:
    descriptions = await _latest(context)
    async with context.outside():
        said = await descriptions_of_dataset_types(context.repository.state)
    return [said.get(one.name) or descriptions.of_dataset_type(one.name) for one in parents]


@loaders.field("StorageClass.description", database=False)
async def _of_storage_classes(context: RequestContext, parents: Sequence[StorageClass]) -> list[str | None]:
    descriptions = await _latest(context)
    return [descriptions.of_storage_class(storage_class.name) for storage_class in parents]


@loaders.mutation("describeDatasetType", scope=Scope.TAG)
async def _describe(
    context: RequestContext,
    parents: Sequence[Any],
    *,
    input: Mapping[str, Any],  # noqa: A002 - the contract's name
) -> list[_DatasetTypePayload]:
    text: str | None = (input.get("description") or "").strip() or None
    async with context.savepoint() as snapshot:
        found = await find(snapshot, input["name"])

    said = describe_dataset_type(found.name, text)
    await make_own_change(context, "describeDatasetType", found.name, {"description": text}, said)
    return [_DatasetTypePayload(found, input.get("client_mutation_id"))] * len(parents)


async def _latest(context: RequestContext) -> Descriptions:
    descriptions = context.repository.descriptions
    async with context.outside():
        for problem in await asyncio.to_thread(descriptions.refresh):
            _log.warning(problem)
    return descriptions
