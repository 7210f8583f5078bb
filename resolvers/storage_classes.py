"""Storage classes."""

from __future__ import annotations

from collections.abc import Sequence

from butlerql.resolvers.context import RequestContext
from butlerql.resolvers.loaders import Loaders
from butlerql.storage.storage_classes import StorageClass

__all__ = ["loaders"]

loaders = Loaders()


@loaders.field("StorageClass.components", database=False)
async def _components(_context: RequestContext, parents: Sequence[StorageClass]) -> list[list[str]]:
    return [sorted(storage_class.components) for storage_class in parents]
