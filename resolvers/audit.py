"""The log of changes, and how each change is made so that it is in it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from butlerql.resolvers.connections import Connection, paging
from butlerql.resolvers.context import RequestContext
from butlerql.resolvers.jobs import ANYBODY, instant
from butlerql.resolvers.loaders import Loaders
from butlerql.storage.changes import Change
from butlerql.storage.snapshot import Snapshot
from butlerql.storage.state.audit import AuditEntry, audited, count_entries, find_entries
from butlerql.storage.state.database import Work

__all__ = ["loaders", "make_change", "make_own_change"]

T = TypeVar("T")

loaders = Loaders()


async def make_change(
    context: RequestContext, action: str, target: str, detail: Mapping[str, Any], work: Callable[[Change], Awaitable[T]]
) -> T:
    """Change the registry in one transaction, and write it down; whoever waits for it may go away meanwhile.

    Parameters
    ----------
    context
        The request's; what is read in it afterwards is read of a later state.
    action
        Name of the mutation.
    target
        Name of what is changed.
    detail
        What was asked for, as JSON.
    work
        The statements, see `Repository.write`.

    Raises
    ------
    ReadOnlyError
        Raised if the repository cannot be changed; that is not written down.
    """

    async def make(done: Work[None]) -> T:
        async def both(change: Change) -> T:
            change.note(done)
            return await work(change)

        return await context.repository.write(both)

    return await _write_down(context, action, target, detail, make)


async def make_own_change(
    context: RequestContext, action: str, target: str, detail: Mapping[str, Any], work: Work[T]
) -> T:
    """Change own state in one transaction, and write it down; see `make_change`."""

    async def make(done: Work[None]) -> T:
        return await context.repository.state.write(work, done)

    return await _write_down(context, action, target, detail, make)


async def _write_down(
    context: RequestContext,
    action: str,
    target: str,
    detail: Mapping[str, Any],
    make: Callable[[Work[None]], Awaitable[T]],
) -> T:
    repository = context.repository
    repository.require_writable()

    async def change() -> T:
        async with audited(repository.state, user=ANYBODY, action=action, target=target, detail=detail) as done:
            return await make(done)

    async with context.outside():
        return await repository.to_the_end(change())


@loaders.field("Query.auditLog", database=False)
async def _audit_log(context: RequestContext, parents: Sequence[Any], **pages: Any) -> list[Connection]:
    page = paging(context, "auditLog", {}, **pages)
    state = context.repository.state

    async def counts(_snapshot: Snapshot, indexes: list[int]) -> list[int]:
        return [await count_entries(state)] * len(indexes)

    return [page.connection(await find_entries(state, page.request), counts)] * len(parents)


@loaders.column("AuditEntry.at")
def _moments(parents: Sequence[AuditEntry]) -> list[int | None]:
    return [instant(entry.at) for entry in parents]
