"""We read beside a stock Butler that writes, that waits, and that was killed in the middle."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from butlerql.storage.errors import BusyError, NeedsRecoveryError
from butlerql.storage.repository import Repository
from tests.support.repositories import Dialect, Layout, RealRepository, Repositories
from tests.support.rights import may_not_write
from tests.support.small import DATASETS, SMALL, add_datasets
from tests.support.writing_butler import writing_butler

SPILLING = {"datasets": 2000, "cache_pages": 10}
"""Enough to be written to the file before it is committed."""


@pytest.fixture
def on_sqlite(repositories: Repositories) -> Iterator[RealRepository]:
    with repositories.private(SMALL, Layout("sqlite")) as real:
        yield real


@pytest.fixture
def in_wal_mode(on_sqlite: RealRepository) -> RealRepository:
    with closing(sqlite3.connect(on_sqlite.sqlite_file)) as link:
        assert link.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
    return on_sqlite


@pytest.fixture
def written(repositories: Repositories, dialect: Dialect) -> Iterator[RealRepository]:
    with repositories.private(SMALL, Layout(dialect)) as real:
        yield real


@asynccontextmanager
async def opened(real: RealRepository, seconds: float = 5.0) -> AsyncIterator[Repository]:
    repository = await Repository.open(real.uri, snapshot_seconds=seconds)
    try:
        yield repository
    finally:
        await repository.close()


async def count(repository: Repository) -> int:
    async with repository.snapshot() as snapshot:
        [(number,)] = await snapshot.rows(sa.select(sa.func.count()).select_from(repository.tables.dataset))
        return int(number)


def journal(real: RealRepository) -> Path:
    return real.directory / "gen3.sqlite3-journal"


async def test_a_butler_writes_while_we_read(written: RealRepository) -> None:
    """On SQLite it holds the RESERVED lock, which lets readers in."""
    async with writing_butler(written) as writer, opened(written, seconds=0.5) as repository:
        assert await count(repository) == DATASETS
        await writer.commit()
        assert await count(repository) == DATASETS + 10


async def test_a_large_transaction_keeps_readers_out_until_it_commits(on_sqlite: RealRepository) -> None:
    async with opened(on_sqlite, seconds=0.5) as repository, writing_butler(on_sqlite, **SPILLING) as writer:
        for _ in range(2):
            with pytest.raises(BusyError, match="another program is writing to it"):
                await count(repository)
        with pytest.raises(BusyError):
            await Repository.open(on_sqlite.uri, snapshot_seconds=0.2)
        repository._snapshot_seconds = 20
        reading = [asyncio.create_task(count(repository)) for _ in range(20)]
        await asyncio.sleep(0.3)
        assert not any(task.done() for task in reading)
        await writer.commit()
        assert await asyncio.gather(*reading) == [DATASETS + 2000] * 20


async def test_a_waiting_writer_goes_before_new_readers(on_sqlite: RealRepository) -> None:
    """It holds the PENDING lock until the last snapshot ends; those who come then wait for it."""
    butler = on_sqlite.open(writeable=True)
    async with opened(on_sqlite) as repository:
        async with repository.snapshot() as snapshot:
            await snapshot.rows(sa.select(repository.tables.dataset))
            writing = asyncio.create_task(asyncio.to_thread(add_datasets, butler, 10, 5))
            await asyncio.sleep(0.5)
            reading = asyncio.create_task(count(repository))
            await asyncio.sleep(0.3)
            assert not writing.done() and not reading.done()
        await writing
        assert await reading == DATASETS + 5


async def test_a_killed_writer_is_recovered_from(on_sqlite: RealRepository) -> None:
    async with opened(on_sqlite) as repository:
        assert await count(repository) == DATASETS
        async with writing_butler(on_sqlite, **SPILLING) as writer:
            await writer.kill()
        assert journal(on_sqlite).exists()
        assert await asyncio.gather(*(count(repository) for _ in range(30))) == [DATASETS] * 30
        assert not journal(on_sqlite).exists()
    with closing(sqlite3.connect(on_sqlite.sqlite_file)) as link:
        assert link.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_a_killed_writer_is_recovered_from_when_opening(on_sqlite: RealRepository) -> None:
    async with writing_butler(on_sqlite, **SPILLING) as writer:
        await writer.kill()
    async with opened(on_sqlite) as repository:
        assert await count(repository) == DATASETS


@pytest.mark.parametrize("which", ["file", "directory"])
async def test_what_may_not_be_recovered_is_told(on_sqlite: RealRepository, which: str) -> None:
    protected = on_sqlite.sqlite_file if which == "file" else on_sqlite.directory
    async with opened(on_sqlite) as repository:
        await repository.ready()
        async with writing_butler(on_sqlite, **SPILLING) as writer:
            await writer.kill()
        with may_not_write(protected):
            for ask in (repository.ready, lambda: count(repository), lambda: Repository.open(on_sqlite.uri)):
                with pytest.raises(NeedsRecoveryError, match="Open the repository once with a Butler"):
                    await ask()
        assert journal(on_sqlite).exists()
        # Somebody with more rights recovers it.
        assert len(on_sqlite.open(writeable=True).query_datasets("flat", "run")) == DATASETS
        await repository.ready()
        with may_not_write(on_sqlite.sqlite_file, on_sqlite.directory):
            assert await count(repository) == DATASETS


async def test_a_small_transaction_that_was_killed_needs_no_recovery(written: RealRepository) -> None:
    async with opened(written) as repository:
        async with writing_butler(written) as writer:
            await writer.kill()
        assert await count(repository) == DATASETS


async def test_in_wal_mode_nobody_waits(in_wal_mode: RealRepository) -> None:
    butler = in_wal_mode.open(writeable=True)
    async with opened(in_wal_mode) as repository, repository.snapshot() as snapshot:
        [(before,)] = await snapshot.rows(sa.select(sa.func.count()).select_from(repository.tables.dataset))
        began = time.monotonic()
        await asyncio.to_thread(add_datasets, butler, 10, 5)
        assert time.monotonic() - began < 4
        [(after,)] = await snapshot.rows(sa.select(sa.func.count()).select_from(repository.tables.dataset))
        assert before == after == DATASETS
        assert await count(repository) == DATASETS + 5


async def test_in_wal_mode_a_killed_writer_leaves_no_trouble(in_wal_mode: RealRepository) -> None:
    async with opened(in_wal_mode) as repository:
        async with writing_butler(in_wal_mode, **SPILLING) as writer:
            assert await count(repository) == DATASETS
            await writer.kill()
        assert await count(repository) == DATASETS
    async with opened(in_wal_mode) as repository:
        assert await count(repository) == DATASETS
