"""What dataset types and storage classes are, in words."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from butlerql.resolvers.context import RequestContext
from butlerql.resolvers.loaders import Loaders
from butlerql.storage.descriptions import Descriptions
from butlerql.storage.registry.dataset_types import DatasetType
from butlerql.storage.storage_classes import StorageClass

__all__ = ["loaders"]

loaders = Loaders()

_log = logging.getLogger(__name__)


@loaders.field("DatasetType.description", database=False)
async def _of_dataset_types(context: RequestContext, parents: Sequence[DatasetType]) -> list[str | None]:
    descriptions = await _latest(context)
    return [descriptions.of_dataset_type(dataset_type.name) for dataset_type in parents]


@loaders.field("StorageClass.description", database=False)
async def _of_storage_classes(context: RequestContext, parents: Sequence[StorageClass]) -> list[str | None]:
    descriptions = await _latest(context)
    return [descriptions.of_storage_class(storage_class.name) for storage_class in parents]


async def _latest(context: RequestContext) -> Descriptions:
    descriptions = context.repository.descriptions
    async with context.outside():
        for problem in await asyncio.to_thread(descriptions.refresh):
            _log.warning(problem)
    return descriptions
