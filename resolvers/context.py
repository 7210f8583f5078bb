"""What one request carries through its loaders."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple, Self

from butlerql.scopes import CHANGING, Scope
from butlerql.storage.datastores.deletion.rules import Rules
from butlerql.storage.errors import ForbiddenError
from butlerql.storage.repository import Repository
from butlerql.storage.snapshot import Snapshot

__all__ = ["Limits", "RequestContext"]


class Limits(NamedTuple):
    """What a request may ask for."""

    default_page: int = 100
    maximum_page: int = 10_000
    deletion: Rules = Rules()


class RequestContext:
    """The repository, its limits, and one snapshot that begins when it is first needed.

    Use it as an asynchronous context manager: its end is the snapshot's. While somebody waits for files, no snapshot is
    kept open beyond what is read through it; what is read after that is read of a later state.

    Attributes
    ----------
    wake
        Tells whoever runs jobs that there is a new one.
    scopes
        What whoever asks may do.
    unrelated
        Names of dataset types that were left out because nothing relates them to what was asked.
    """

    def __init__(
        self,
        repository: Repository,
        limits: Limits,
        wake: Callable[[], object] = bool,
        scopes: frozenset[Scope] = frozenset(),
    ) -> None:
        self.repository = repository
        self.limits = limits
        self.scopes = scopes - CHANGING if repository.read_only else scopes
        self.wake = wake
        self.unrelated: set[str] = set()
        self._stack = AsyncExitStack()
        self._opening: asyncio.Task[Snapshot] | None = None
        self._readers = 0
        self._waiting = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._let_go()

    def require_scope(self, scope: Scope) -> None:
        """Make sure that whoever asks may do something.

        Raises
        ------
        ReadOnlyError
            Raised if it changes the repository, and nobody may.
        ForbiddenError
            Raised if it needs a scope that they do not have.
        """
        if scope in CHANGING:
            self.repository.require_writable()
        if scope not in self.scopes:
            raise ForbiddenError(
                f"This needs the scope {scope}, which you do not have here (see viewer). "
                "Operators give it by the setting `scopes`."
            )

    @property
    def snapshot(self) -> Snapshot:
        """The request's snapshot; for loaders, which run inside `savepoint`."""
        assert self._opening is not None
        return self._opening.result()

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[Snapshot]:
        """Let one loader read, alone.

        Raises
        ------
        RepositoryError
            Raised if the snapshot cannot begin; whoever needs it in this request is told the same.
        """
        self._readers += 1
        try:
            if self._opening is None:
                self._opening = asyncio.create_task(self._stack.enter_async_context(self.repository.snapshot()))
                # If all who wait for it are cancelled, nobody asks why it failed.
                self._opening.add_done_callback(lambda opening: opening.cancelled() or opening.exception())
            # Shielded: one who is cancelled does not take it from the others.
            snapshot = await asyncio.shield(self._opening)
            async with snapshot.savepoint():
                yield snapshot
        finally:
            self._readers -= 1
            if self._waiting and not self._readers:
                await self._let_go()

    @asynccontextmanager
    async def outside(self) -> AsyncIterator[None]:
        """Let somebody wait for files: an open snapshot would keep writers waiting, too."""
        self._waiting += 1
        try:
            if not self._readers:
                await self._let_go()
            yield
        finally:
            self._waiting -= 1

    async def _let_go(self) -> None:
        """End the snapshot, if there is one."""
        opening, self._opening = self._opening, None
        stack, self._stack = self._stack, AsyncExitStack()
        if opening is not None and not opening.done():
            opening.cancel()
            await asyncio.wait([opening])
        await stack.aclose()
