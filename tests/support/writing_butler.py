"""A stock Butler in a process of its own, in the middle of a transaction that writes; it can be killed there."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import sqlalchemy
from lsst.daf.butler import Butler

from tests.support.repositories import RealRepository
from tests.support.small import add_datasets

__all__ = ["WritingButler", "writing_butler"]

FIRST = 1000
"""Number of the first detector that it writes."""


class WritingButler:
    """A process that has written and not committed yet."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def commit(self) -> None:
        """Have it commit, and wait for its end."""
        assert await self._finish() == 0

    async def kill(self) -> None:
        """Kill it where it is, as ``kill -9`` does."""
        self._process.kill()
        await self._process.wait()

    async def _finish(self) -> int:
        assert self._process.stdin is not None
        self._process.stdin.close()
        return await self._process.wait()


@asynccontextmanager
async def writing_butler(
    repository: RealRepository, *, datasets: int = 10, cache_pages: int | None = None
) -> AsyncIterator[WritingButler]:
    """Start a Butler that writes datasets in a transaction, and wait until it has.

    Parameters
    ----------
    repository
        Where; a private copy of the small one.
    datasets
        How many.
    cache_pages
        SQLite only: how many pages it keeps in memory before it writes them to the file although nothing is committed;
        `None` is SQLite's own number, about 2 MB.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __name__, repository.uri, str(datasets), str(cache_pages or "")),
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"written\n"
        yield WritingButler(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _main(uri: str, datasets: str, cache_pages: str) -> None:
    if cache_pages:

        @sqlalchemy.event.listens_for(sqlalchemy.Engine, "connect")
        def limit(link: object, record: object) -> None:
            link.execute(f"PRAGMA cache_size = {cache_pages}")  # type: ignore[attr-defined]

    butler = Butler.from_config(uri, writeable=True)
    with butler.transaction():
        add_datasets(butler, FIRST, int(datasets))
        print("written", flush=True)
        sys.stdin.read()
    butler.close()


if __name__ == "__main__":
    _main(*sys.argv[1:])
