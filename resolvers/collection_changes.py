"""Changes of collections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from butlerql.resolvers.audit import make_change
from butlerql.resolvers.context import RequestContext
from butlerql.resolvers.loaders import Loaders
from butlerql.scopes import Scope
from butlerql.storage.changes import Change
from butlerql.storage.datastores.deletion.plans import restorable_runs
from butlerql.storage.errors import ConflictError
from butlerql.storage.registry import collection_changes
from butlerql.storage.registry.collection_changes import ChainEdit
from butlerql.storage.registry.collections import Collection, CollectionType

__all__ = ["loaders"]

loaders = Loaders()


class _CollectionPayload(NamedTuple):
    collection: Collection
    client_mutation_id: str | None


class _RemoveCollectionPayload(NamedTuple):
    name: str
    client_mutation_id: str | None


@loaders.mutation("createCollection", scope=Scope.TAG)
async def _create(
    context: RequestContext,
    parents: Sequence[Any],
    *,
    input: Mapping[str, Any],  # noqa: A002 - the contract's name
) -> list[_CollectionPayload]:
    name, kind, doc, children = input["name"], CollectionType(input["type"]), input.get("doc"), input.get("children")
    detail = {"type": kind, "doc": doc, "children": children}

    async def work(change: Change) -> Collection:
        return await collection_changes.create(change, name, kind, doc, children)

    made = await make_change(context, "createCollection", name, detail, work)
    return [_CollectionPayload(made, input.get("client_mutation_id"))] * len(parents)


@loaders.mutation("editChain", scope=Scope.TAG)
async def _edit_chain(
    context: RequestContext,
    parents: Sequence[Any],
    *,
    input: Mapping[str, Any],  # noqa: A002 - the contract's name
) -> list[_CollectionPayload]:
    name, children, mode = input["name"], input["children"], ChainEdit(input["mode"])

    async def work(change: Change) -> Collection:
        return await collection_changes.edit_chain(change, name, children, mode)

    edited = await make_change(context, "editChain", name, {"mode": mode, "children": children}, work)
    return [_CollectionPayload(edited, input.get("client_mutation_id"))] * len(parents)


@loaders.mutation("describeCollection", scope=Scope.TAG)
async def _describe(
    context: RequestContext,
    parents: Sequence[Any],
    *,
    input: Mapping[str, Any],  # noqa: A002 - the contract's name
) -> list[_CollectionPayload]:
    name, doc = input["name"], input.get("doc")

    async def work(change: Change) -> Collection:
        return await collection_changes.describe(change, name, doc)

    described = await make_change(context, "describeCollection", name, {"doc": doc}, work)
    return [_CollectionPayload(described, input.get("client_mutation_id"))] * len(parents)


@loaders.mutation("removeCollection", scope=Scope.TAG)
async def _remove(
    context: RequestContext,
    parents: Sequence[Any],
    *,
    input: Mapping[str, Any],  # noqa: A002 - the contract's name
) -> list[_RemoveCollectionPayload]:
    name, unlink = input["name"], bool(input.get("unlink_from_parents"))

    async def work(change: Change) -> None:
        await collection_changes.remove(change, name, unlink=unlink)
        # Nobody can put a dataset there, or delete one from there, from here on.
        if await restorable_runs(context.repository.state, [name]):
            raise ConflictError(
                f"Datasets of the run '{name}' have been deleted and can still be restored. Restore them, or wait "
                "until their files are removed; with what could not be restored deleteDatasets comes to an end."
            )

    await make_change(context, "removeCollection", name, {"unlinkFromParents": unlink}, work)
    return [_RemoveCollectionPayload(name, input.get("client_mutation_id"))] * len(parents)
