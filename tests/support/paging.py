"""Walks through all pages of something, from either end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from butlerql.storage.registry.pages import Page, PageRequest

__all__ = ["walk"]

Row = TypeVar("Row")


async def walk(read: Callable[[PageRequest], Awaitable[Page[Row]]], size: int, *, backward: bool = False) -> list[Row]:
    """Give the rows of all pages; each but the last has to be full."""
    rows: list[Row] = []
    request = PageRequest(size, backward)
    while True:
        page = await read(request)
        rows = page.rows + rows if backward else rows + page.rows
        if not (page.has_previous if backward else page.has_next):
            return rows
        assert len(page.rows) == len(page.keys) == size
        request = PageRequest(size, backward, *((None, page.keys[0]) if backward else (page.keys[-1], None)))
