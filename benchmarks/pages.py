"""Pages of 100: the first beside the thousandth, a large repository beside one ten times as large, and 500 runs.

usage: python -m benchmarks.pages SMALL LARGE MANY_RUNS      each a repository that benchmarks.repositories makes
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks.measure import race, report
from benchmarks.repositories import CHAIN
from butlerql.storage.registry.datasets import Dataset
from butlerql.storage.registry.pages import Key, Page, PageRequest
from butlerql.storage.registry.selection import DatasetSelection, select
from butlerql.storage.repository import Repository

_SIZE = 100
_THOUSANDTH = 999


async def _page(repository: Repository, request: PageRequest, *, find_first: bool) -> Page[Dataset]:
    """Read a page as a request does: what is selected, and then the page, in one snapshot."""
    selection = DatasetSelection(dataset_types=["calexp"], collections=[CHAIN], find_first=find_first)
    async with repository.snapshot() as snapshot:
        (page,) = await (await select(snapshot, selection)).pages(snapshot, request)
    return page


def _reader(repository: Repository, after: Key | None, *, find_first: bool) -> Callable[[], Awaitable[Any]]:
    async def read() -> None:
        page = await _page(repository, PageRequest(_SIZE, after=after), find_first=find_first)
        assert len(page.rows) == _SIZE

    return read


async def _sql_of(repository: Repository, read: Callable[[], Awaitable[Any]]) -> tuple[float, int]:
    """Seconds that the best of several readings spends in the database, and the statements it takes."""
    spent: list[float] = []

    def begin(connection: sa.Connection, *_: Any) -> None:
        connection.info["begin"] = time.perf_counter()

    def end(connection: sa.Connection, *_: Any) -> None:
        spent.append(time.perf_counter() - connection.info["begin"])

    engine = repository.engine.sync_engine
    sa.event.listen(engine, "before_cursor_execute", begin)
    sa.event.listen(engine, "after_cursor_execute", end)
    best, statements = float("inf"), 0
    for _ in range(10):
        spent.clear()
        await read()
        best, statements = min(best, sum(spent)), len(spent)
    sa.event.remove(engine, "before_cursor_execute", begin)
    sa.event.remove(engine, "after_cursor_execute", end)
    return best, statements


async def main(small: Path, large: Path, many: Path) -> None:
    """Race them."""
    opened = {path: await Repository.open(str(path), snapshot_seconds=60) for path in (small, large, many)}
    for find_first in (False, True):
        readers: dict[str, Callable[[], Awaitable[Any]]] = {}
        for path in (small, large):
            readers[f"{path.name}: first page"] = _reader(opened[path], None, find_first=find_first)
            before = await _page(opened[path], PageRequest(_THOUSANDTH * _SIZE), find_first=find_first)
            after = before.keys[-1]
            readers[f"{path.name}: thousandth page"] = _reader(opened[path], after, find_first=find_first)
        title = f"Pages of {_SIZE} calexp in a chain, {'find-first' if find_first else 'each dataset once'}"
        report(title, await race(readers, 30), f"{small.name}: first page")
        seconds, statements = await _sql_of(opened[many], _reader(opened[many], None, find_first=find_first))
        print(f"  {many.name}: {seconds * 1e3:.1f} ms of SQL in {statements} statements")
    for repository in opened.values():
        await repository.close()


if __name__ == "__main__":
    asyncio.run(main(*(Path(argument) for argument in sys.argv[1:])))
