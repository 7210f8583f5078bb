"""A snapshot sees one state, ends in time, and leaves nothing behind however it ends."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import sqlalchemy as sa
import uvloop
from sqlalchemy.exc import DBAPIError

from butlerql.storage.errors import BusyError, TimedOutError
from butlerql.storage.repository import Repository
from butlerql.storage.snapshot import Snapshot
from tests.support.leaks import connections_of, nothing_left_behind
from tests.support.repositories import Dialect, Layout, RealRepository, Repositories
from tests.support.small import DATASETS, SMALL, add_datasets

ENDLESS = {
    "sqlite": "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c",
    "postgresql": "SELECT pg_sleep(1000)",
}
WRONG = "SELECT nope"


@pytest.fixture(scope="module")
def small(repositories: Repositories, dialect: Dialect) -> RealRepository:
    return repositories.shared(SMALL, Layout(dialect))


@pytest.fixture
def written(repositories: Repositories, dialect: Dialect) -> Iterator[RealRepository]:
    """Give a repository that the test may write to."""
    with repositories.private(SMALL, Layout(dialect)) as real:
        yield real


@asynccontextmanager
async def opened(real: RealRepository, seconds: float = 5.0) -> AsyncIterator[Repository]:
    repository = await Repository.open(real.uri, snapshot_seconds=seconds)
    try:
        yield repository
    finally:
        await repository.close()


async def count(snapshot: Snapshot) -> int:
    [(number,)] = await snapshot.rows(sa.select(sa.func.count()).select_from(snapshot.repository.tables.dataset))
    return int(number)


async def endless(snapshot: Snapshot) -> Any:
    return await snapshot.rows(sa.text(ENDLESS[snapshot.repository.dialect.name]))


async def test_the_transaction_reads_only(small: RealRepository) -> None:
    async with opened(small) as repository, repository.snapshot() as snapshot:
        if repository.dialect.name == "postgresql":
            assert await snapshot.rows(sa.text("SHOW transaction_isolation")) == [("repeatable read",)]
            assert await snapshot.rows(sa.text("SHOW transaction_read_only")) == [("on",)]
        table = repository.tables.collection
        for write in (sa.insert(table).values(name="new", type=1), sa.delete(table), sa.text("CREATE TABLE t (a INT)")):
            with pytest.raises(DBAPIError, match=r"read-?only"):
                await snapshot.rows(write)
        assert await count(snapshot) == DATASETS


async def test_what_is_committed_meanwhile_is_seen_by_the_next(written: RealRepository) -> None:
    butler = written.open(writeable=True)
    async with opened(written) as repository:
        async with repository.snapshot() as snapshot:
            assert await count(snapshot) == DATASETS
            writing = asyncio.create_task(asyncio.to_thread(add_datasets, butler, 10, 5))
            done, _ = await asyncio.wait([writing], timeout=0.5)
            # A reader holds up a commit on SQLite.
            assert bool(done) == (repository.dialect.name == "postgresql")
            assert await count(snapshot) == DATASETS
        await writing
        async with repository.snapshot() as snapshot:
            assert await count(snapshot) == DATASETS + 5


async def test_a_writer_waits_for_no_longer_than_a_snapshot_may_last(written: RealRepository) -> None:
    butler = written.open(writeable=True)
    async with opened(written, seconds=1) as repository, repository.snapshot() as snapshot:
        assert await count(snapshot) == DATASETS
        began = time.monotonic()
        await asyncio.to_thread(add_datasets, butler, 10, 5)
        assert time.monotonic() - began < 3
        await asyncio.sleep(1)
        with pytest.raises(TimedOutError, match="longer than 1 seconds"):
            await count(snapshot)
        async with repository.snapshot() as another:
            assert await count(another) == DATASETS + 5


async def test_a_statement_is_stopped_in_time(small: RealRepository) -> None:
    async with nothing_left_behind(small), opened(small, seconds=0.5) as repository:
        began = time.monotonic()
        with pytest.raises(TimedOutError, match=r"longer than 0\.5 seconds"):
            async with repository.snapshot() as snapshot:
                await endless(snapshot)
        assert time.monotonic() - began < 1.5
        async with repository.snapshot() as snapshot:
            assert await count(snapshot) == DATASETS


@pytest.mark.slow
async def test_a_hundred_statements_are_stopped(small: RealRepository) -> None:
    async def ask(repository: Repository) -> None:
        with pytest.raises((TimedOutError, BusyError)):
            async with repository.snapshot() as snapshot:
                await endless(snapshot)

    async with nothing_left_behind(small), opened(small) as repository:
        repository._snapshot_seconds = 0.05
        for _ in range(100):
            await ask(repository)
        repository._snapshot_seconds = 0.3
        await asyncio.gather(*(ask(repository) for _ in range(50)))
        if small.database is not None:
            await asyncio.sleep(0.2)
            assert all(state != "active" for state, _ in connections_of(small))
        repository._snapshot_seconds = 5
        async with repository.snapshot() as snapshot:
            assert await count(snapshot) == DATASETS


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_cancelled_at_any_moment(small: RealRepository, loop_factory: Any) -> None:
    """Tasks that open a snapshot, read, stumble and linger are cancelled after random delays; twice, now and then."""
    chance = random.Random(7)

    async def request(repository: Repository) -> None:
        async with repository.snapshot() as snapshot:
            async with snapshot.savepoint():
                assert await count(snapshot) == DATASETS
            with suppress(DBAPIError):
                async with snapshot.savepoint():
                    await snapshot.rows(sa.text(WRONG))
            assert await count(snapshot) == DATASETS
            if chance.random() < 0.3:
                await endless(snapshot)

    async def cancelled(repository: Repository) -> None:
        task = asyncio.create_task(request(repository))
        await asyncio.sleep(chance.random() ** 2 * 0.08)
        task.cancel()
        if chance.random() < 0.2:
            await asyncio.sleep(0)
            task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def storm() -> None:
        async with opened(small):
            pass  # uvloop keeps a file of its own from the first connection on.
        async with nothing_left_behind(small):
            for _ in range(3):
                async with opened(small) as repository:
                    for _ in range(15):
                        await cancelled(repository)
                    await asyncio.gather(*(cancelled(repository) for _ in range(60)))
                    async with repository.snapshot() as snapshot:
                        assert await count(snapshot) == DATASETS

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(storm())


async def test_opening_may_be_cancelled(small: RealRepository) -> None:
    chance = random.Random(3)
    async with nothing_left_behind(small):
        for _ in range(40):
            task = asyncio.create_task(Repository.open(small.uri))
            await asyncio.sleep(chance.random() * 0.05)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await (await task).close()


async def test_a_failing_statement_leaves_the_snapshot_usable(small: RealRepository) -> None:
    async with opened(small) as repository, repository.snapshot() as snapshot:
        for _ in range(3):
            with pytest.raises(DBAPIError):
                async with snapshot.savepoint():
                    await snapshot.rows(sa.text(WRONG))
            with pytest.raises(DBAPIError):
                await snapshot.rows(sa.text("SELEKT"))
            async with snapshot.savepoint():
                assert await count(snapshot) == DATASETS


async def test_savepoints_cost_no_statement(small: RealRepository) -> None:
    async with opened(small) as repository, repository.snapshot() as snapshot:
        seen: list[str] = []
        link = snapshot._lease.link
        if repository.dialect.name == "sqlite":
            await link.set_trace_callback(seen.append)
        else:
            link.add_query_logger(lambda record: seen.append(record.query))
        async with snapshot.savepoint():
            await snapshot.rows(sa.text("SELECT 1"))
        async with snapshot.savepoint():
            await snapshot.rows(sa.text("SELECT 2"))
        assert not [statement for statement in seen if not statement.startswith("SELECT")]


async def test_savepoints_let_one_reader_work_at_a_time(small: RealRepository) -> None:
    working: list[int] = []

    async def reader(snapshot: Snapshot, number: int) -> None:
        async with snapshot.savepoint():
            working.append(number)
            for _ in range(3):
                await count(snapshot)
                assert working[-1] == number
            if number % 3 == 0:
                raise ZeroDivisionError

    async with opened(small) as repository, repository.snapshot() as snapshot:
        results = await asyncio.gather(*(reader(snapshot, n) for n in range(9)), return_exceptions=True)
        assert [isinstance(result, ZeroDivisionError) for result in results] == [n % 3 == 0 for n in range(9)]
        assert await asyncio.gather(*(count(snapshot) for _ in range(5))) == [DATASETS] * 5


async def test_fifty_at_once(small: RealRepository) -> None:
    async def ask(repository: Repository, seconds: float) -> int:
        async with repository.snapshot() as snapshot:
            await asyncio.sleep(seconds)
            return await count(snapshot)

    async with nothing_left_behind(small), opened(small) as repository:
        assert await asyncio.gather(*(ask(repository, 0.1) for _ in range(50))) == [DATASETS] * 50
    async with nothing_left_behind(small), opened(small, seconds=0.6) as repository:
        answers = await asyncio.gather(*(ask(repository, 0.4) for _ in range(50)), return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, BusyError)]
        assert refused and "connections to the registry" in str(refused[0])
        assert [answer for answer in answers if not isinstance(answer, BusyError)] == [DATASETS] * (50 - len(refused))


async def test_closing_waits_for_open_snapshots(small: RealRepository) -> None:
    async with nothing_left_behind(small):
        repository = await Repository.open(small.uri, snapshot_seconds=1)
        async with repository.snapshot() as snapshot:
            closing = asyncio.create_task(repository.close())
            await asyncio.sleep(0.1)
            assert await count(snapshot) == DATASETS and not closing.done()
        await closing
        await repository.close()
        with pytest.raises(BusyError):
            async with repository.snapshot():
                pass


def test_each_event_loop_has_its_own(small: RealRepository) -> None:
    async def ask() -> int:
        async with opened(small) as repository, repository.snapshot() as snapshot:
            return await count(snapshot)

    assert [asyncio.run(ask()) for _ in range(3)] == [DATASETS] * 3
