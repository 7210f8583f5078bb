"""The datastores of a repository."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from butlerql.resolvers.context import RequestContext
from butlerql.resolvers.identifiers import encode
from butlerql.resolvers.loaders import Loaders
from butlerql.storage.datastores.tree import Datastore, FileDatastore

__all__ = ["loaders"]

loaders = Loaders()


@loaders.interface("Datastore")
def _type_of(datastore: Datastore) -> str:
    return type(datastore).__name__


@loaders.column("Datastore.id")
def _ids(parents: Sequence[Datastore]) -> list[str]:
    return [encode(type(datastore).__name__, datastore.name) for datastore in parents]


@loaders.field("Datastore.root", database=False)
async def _roots(_context: RequestContext, parents: Sequence[Datastore]) -> list[str | None]:
    return [datastore.root if isinstance(datastore, FileDatastore) else None for datastore in parents]


@loaders.field("Query.datastores", database=False)
async def _datastores(context: RequestContext, parents: Sequence[Any]) -> list[list[Datastore]]:
    return [list(context.repository.datastore)] * len(parents)


@loaders.field("Query.datastore", database=False)
async def _datastore(context: RequestContext, parents: Sequence[Any], *, name: str) -> list[Datastore | None]:
    found = next((datastore for datastore in context.repository.datastore if datastore.name == name), None)
    return [found] * len(parents)
