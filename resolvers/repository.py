"""The repository itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import butlerql
from butlerql.resolvers.context import RequestContext
from butlerql.resolvers.loaders import Loaders
from butlerql.storage.repository import Repository

__all__ = ["loaders"]

loaders = Loaders()


@loaders.field("Query.repository", database=False)
async def _repository(context: RequestContext, parents: Sequence[Any]) -> list[Repository]:
    return [context.repository] * len(parents)


@loaders.field("Repository.dialect", database=False)
async def _dialects(_context: RequestContext, parents: Sequence[Repository]) -> list[str]:
    return [repository.dialect.name for repository in parents]


@loaders.field("Repository.readOnly", database=False)
async def _read_only(_context: RequestContext, parents: Sequence[Repository]) -> list[bool]:
    return [repository.read_only for repository in parents]


@loaders.field("Repository.managers", database=False)
async def _managers(_context: RequestContext, parents: Sequence[Repository]) -> list[dict[str, Any]]:
    return [
        {
            role: {"name": name, "version": repository.managers.versions[role]}
            for role, name in repository.managers.classes.items()
        }
        for repository in parents
    ]


@loaders.field("Repository.version", database=False)
async def _versions(_context: RequestContext, parents: Sequence[Repository]) -> list[str]:
    return [butlerql.__version__ for _ in parents]
