"""A client of each kind on one server, asked as if they were one: both must give the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from butlerql.client import AsyncClient, Client

__all__ = ["BothClients"]


class BothClients:
    """Ask each question through both clients.

    Parameters
    ----------
    address
        Of the server.
    **options
        What both clients are made with.
    """

    def __init__(self, address: str, **options: Any) -> None:
        self.address = address
        self.options = options

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def ask(*arguments: Any, **keywords: Any) -> Any:
            with Client(self.address, **self.options) as client:
                found = getattr(client, method)(*arguments, **keywords)
                found = list(found) if hasattr(found, "__next__") else found
            assert asyncio.run(self._ask(method, *arguments, **keywords)) == found
            return found

        return ask

    async def _ask(self, method: str, *arguments: Any, **keywords: Any) -> Any:
        async with AsyncClient(self.address, **self.options) as client:
            found = getattr(client, method)(*arguments, **keywords)
            return [row async for row in found] if hasattr(found, "__anext__") else await found
