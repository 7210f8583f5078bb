"""What one request carries through its loaders."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple, Self

from butlerql.storage.repository import Repository
from butlerql.storage.snapshot import Snapshot

__all__ = ["Limits", "RequestContext"]


class Limits(NamedTuple):
    """What a request may ask for."""

    default_page: int = 100
    maximum_page: int = 10_000


class RequestContext:
    """The repository, its limits, and one snapshot that begins when it is first needed.

    Use it as an asynchronous context manager: its end is the snapshot's.

    Attributes
    ----------
    unrelated
        Names of dataset types that were left out because nothing relates them to what was asked.
    """

    def __init__(self, repository: Repository, limits: Limits) -> None:
        self.repository = repository
        self.limits = limits
        self.unrelated: set[str] = set()
        self._stack = AsyncExitStack()
        self._opening: asyncio.Task[Snapshot] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._opening is not None and not self._opening.done():
            self._opening.cancel()
            await asyncio.wait([self._opening])
        await self._stack.aclose()

    @property
    def snapshot(self) -> Snapshot:
        """The request's snapshot; for loaders, which run inside `savepoint`."""
        assert self._opening is not None
        return self._opening.result()

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Let one loader read, alone.

        Raises
        ------
        RepositoryError
            Raised if the snapshot cannot begin; whoever needs it in this request is told the same.
        """
        if self._opening is None:
            self._opening = asyncio.create_task(self._stack.enter_async_context(self.repository.snapshot()))
            # If all who wait for it are cancelled, nobody asks why it failed.
            self._opening.add_done_callback(lambda opening: opening.cancelled() or opening.exception())
        # Shielded: one who is cancelled does not take it from the others.
        snapshot = await asyncio.shield(self._opening)
        async with snapshot.savepoint():
            yield
