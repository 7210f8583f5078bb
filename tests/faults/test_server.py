"""The PostgreSQL server breaks connections, hangs, has none left, and goes away."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from butlerql.storage.errors import BusyError, ConnectionFailedError, TimedOutError
from butlerql.storage.repository import Repository
from tests.support.leaks import connections_of, nothing_left_behind
from tests.support.postgres import find_binaries, run_server
from tests.support.raw_sql import execute
from tests.support.repositories import Layout, RealRepository, Repositories
from tests.support.small import DATASETS, SMALL

SLEEP = sa.text("SELECT pg_sleep(1000)")


@pytest.fixture
def real(repositories: Repositories) -> Iterator[RealRepository]:
    with repositories.private(SMALL, Layout("postgresql")) as made:
        yield made


@asynccontextmanager
async def opened(real: RealRepository, seconds: float = 5.0) -> AsyncIterator[Repository]:
    repository = await Repository.open(real.uri, snapshot_seconds=seconds)
    try:
        yield repository
    finally:
        await repository.close()


async def count(repository: Repository, then_wait: float = 0) -> int:
    async with repository.snapshot() as snapshot:
        [(number,)] = await snapshot.rows(sa.select(sa.func.count()).select_from(repository.tables.dataset))
        await asyncio.sleep(then_wait)
        return int(number)


def break_connections(real: RealRepository) -> None:
    execute(real, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'butlerql'")


async def test_broken_connections_are_replaced(real: RealRepository) -> None:
    async with nothing_left_behind(real), opened(real) as repository:
        await asyncio.gather(*(count(repository, then_wait=0.3) for _ in range(8)))
        assert len(connections_of(real)) >= 8
        # Once without a chance to notice, once with.
        break_connections(real)
        assert await asyncio.gather(*(count(repository, then_wait=0.1) for _ in range(8))) == [DATASETS] * 8
        break_connections(real)
        await asyncio.sleep(0.1)
        assert await asyncio.gather(*(count(repository) for _ in range(8))) == [DATASETS] * 8


async def test_a_connection_that_breaks_in_a_snapshot_ends_it(real: RealRepository) -> None:
    async with nothing_left_behind(real), opened(real) as repository:
        async with repository.snapshot() as snapshot:
            sleeping = asyncio.create_task(snapshot.rows(SLEEP))
            await asyncio.sleep(0.2)
            break_connections(real)
            with pytest.raises(ConnectionFailedError, match="says: "):
                await sleeping
            with pytest.raises(ConnectionFailedError):
                await snapshot.rows(sa.text("SELECT 1"))
        async with repository.snapshot() as snapshot:
            break_connections(real)
            with pytest.raises(ConnectionFailedError):
                await snapshot.rows(sa.text("SELECT 1"))
        assert await count(repository) == DATASETS


async def test_a_server_that_hangs_keeps_nobody_waiting(real: RealRepository) -> None:
    async def hang(repository: Repository) -> None:
        async with repository.snapshot() as snapshot:
            [(pid,)] = await snapshot.rows(sa.text("SELECT pg_backend_pid()"))
            hung.append(pid)
            os.kill(pid, signal.SIGSTOP)
            await snapshot.rows(SLEEP)

    hung: list[int] = []
    async with nothing_left_behind(real):
        try:
            began = time.monotonic()
            async with opened(real, seconds=0.5) as repository:
                with pytest.raises(TimedOutError):
                    await hang(repository)
                assert time.monotonic() - began < 2
                assert await count(repository) == DATASETS
            # Closing waits for the driver to give up.
            assert time.monotonic() - began < 10
        finally:
            for pid in hung:
                os.kill(pid, signal.SIGCONT)


async def test_a_server_without_connections_to_spare_is_waited_for(real: RealRepository) -> None:
    execute(
        real,
        "DROP ROLE IF EXISTS plain",
        "CREATE ROLE plain LOGIN",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO plain",
        f"ALTER DATABASE {real.database} CONNECTION LIMIT 3",
    )
    try:
        real.rewrite_config(lambda config: config["registry"].update(db=_as_role(real, "plain")))
        async with nothing_left_behind(real), opened(real, seconds=20) as repository:
            answers = await asyncio.gather(*(count(repository, then_wait=0.05) for _ in range(10)))
            assert answers == [DATASETS] * 10
            async with repository.snapshot(), repository.snapshot(), repository.snapshot():
                repository._snapshot_seconds = 0.5
                with pytest.raises(BusyError, match=r"too many connections|in time"):
                    await count(repository)
    finally:
        execute(real, "DROP OWNED BY plain", "DROP ROLE plain")


def _as_role(real: RealRepository, role: str) -> str:
    assert real.server is not None and real.database is not None
    return real.server.url(real.database, user=role)


async def test_a_server_that_accepts_and_says_nothing(real: RealRepository) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        real.rewrite_config(lambda config: config["registry"].update(db=f"postgresql://u:secret@127.0.0.1:{port}/db"))
        began = time.monotonic()
        with pytest.raises(BusyError, match=rf"127\.0\.0\.1:{port} does not answer in time"):
            await Repository.open(real.uri, snapshot_seconds=0.5)
        assert time.monotonic() - began < 15


async def test_a_server_that_stops(tmp_path: Path) -> None:
    binaries = find_binaries()
    assert binaries is not None
    with run_server(binaries) as server:
        made = Repositories(tmp_path / "made", lambda: server)
        repository = await Repository.open(made.shared(SMALL, Layout("postgresql")).uri, snapshot_seconds=1)
        assert await count(repository) == DATASETS
        sleeping = asyncio.create_task(sleep(repository))
        await asyncio.sleep(0.2)
        made.close()
    with pytest.raises(ConnectionFailedError):
        await sleeping
    with pytest.raises(ConnectionFailedError, match=r"no PostgreSQL server answers at 127\.0\.0\.1:\d+"):
        await repository.ready()
    await repository.close()


async def sleep(repository: Repository) -> None:
    async with repository.snapshot() as snapshot:
        await snapshot.rows(SLEEP)
