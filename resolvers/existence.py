"""Whether datasets exist in a datastore, by its records or by looking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from butlerql.resolvers.connections import Connection, paging_of
from butlerql.resolvers.context import RequestContext
from butlerql.resolvers.dataset_connections import selection_of
from butlerql.resolvers.loaders import Loaders
from butlerql.storage.datastores.existence import Existence, Tally, are_there, are_whole, files_of, looked_for, recorded
from butlerql.storage.datastores.records import Artifact, stored
from butlerql.storage.datastores.tree import Datastore
from butlerql.storage.registry.datasets import Dataset

__all__ = ["loaders"]

loaders = Loaders()

_RECORDED = "RECORDED"


class _Answer(NamedTuple):
    """What was found, and of what."""

    existence: Existence
    question: Any

    @property
    def present(self) -> int:
        return self.existence.whole.present

    @property
    def absent(self) -> int:
        return self.existence.whole.absent

    @property
    def unreadable(self) -> int:
        return self.existence.whole.unreadable

    @property
    def selected(self) -> int:
        return self.present + self.absent + self.unreadable

    @property
    def all(self) -> bool | None:
        if self.absent:
            return False
        return None if self.unreadable else True

    @property
    def children(self) -> Sequence[Tally]:
        return list(self.existence.children)


@loaders.field("Datastore.existence", database=False)
async def _existence(
    context: RequestContext, parents: Sequence[Datastore], *, select: Mapping[str, Any], check: str
) -> list[_Answer]:
    selection = selection_of(select)
    found: list[_Answer] = []
    # A repository has few datastores: one after the other.
    for datastore in parents:
        if check == _RECORDED:
            async with context.savepoint() as snapshot:
                existence = await recorded(snapshot, selection, datastore)
        else:
            async with context.outside():
                existence = await looked_for(context.savepoint, context.repository.stores, selection, datastore)
        context.unrelated.update(existence.missing.unrelated)
        found.append(_Answer(existence, [datastore.name, select, check]))
    return found


@loaders.field("Existence.missing")
async def _missing(context: RequestContext, parents: Sequence[_Answer], **arguments: Any) -> list[Connection]:
    found: list[Connection] = []
    for answer in parents:
        page = paging_of(context, "Existence.missing", arguments, answer.question)
        sets = answer.existence.missing
        found += page.connections(await sets.pages(context.snapshot, page.request), sets.counts, sets.groups)
    return found


@loaders.field("Dataset.isStored", database=False)
async def _is_stored(
    context: RequestContext, parents: Sequence[Dataset], *, datastore: str | None = None, check: str
) -> Sequence[Any]:
    root = context.repository.datastore
    where = root if datastore is None else root.find(datastore)
    async with context.savepoint() as snapshot:
        if check == _RECORDED:
            return await stored(snapshot, parents, where)
        files = await files_of(snapshot, parents, where)
    async with context.outside():
        return await are_whole(context.repository.stores, files)


@loaders.field("Artifact.exists", database=False)
async def _exists(context: RequestContext, parents: Sequence[Artifact]) -> Sequence[Any]:
    async with context.outside():
        return await are_there(context.repository.stores, parents)
