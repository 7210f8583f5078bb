"""What one request carries through its loaders."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

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
    """

    def __init__(self, repository: Repository, limits: Limits) -> None:
        self.repository = repository
        self.limits = limits
        self._stack = AsyncExitStack()
        self._snapshot: Snapshot | None = None
        self._opening = asyncio.Lock()

    async def __aenter__(self) -> RequestContext:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    @property
    def snapshot(self) -> Snapshot:
        """The request's snapshot; for loaders, which run inside `savepoint`."""
        assert self._snapshot is not None
        return self._snapshot

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Let one loader read, alone."""
        async with self._opening:
            if self._snapshot is None:
                self._snapshot = await self._stack.enter_async_context(self.repository.snapshot())
        async with self._snapshot.savepoint():
            yield
