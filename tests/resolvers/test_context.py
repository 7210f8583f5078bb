"""A request has one snapshot, begun when it is first needed and ended with the request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
import sqlalchemy as sa

from butlerql.resolvers.context import Limits, RequestContext
from butlerql.storage.errors import BusyError
from butlerql.storage.repository import Repository
from tests.support.leaks import connections_of, nothing_left_behind
from tests.support.repositories import Dialect, Layout, RealRepository, Repositories
from tests.support.small import DATASETS, SMALL


@pytest.fixture(scope="module")
def real(repositories: Repositories, dialect: Dialect) -> RealRepository:
    return repositories.shared(SMALL, Layout(dialect))


@pytest.fixture
async def repository(real: RealRepository) -> AsyncIterator[Repository]:
    async with nothing_left_behind(real):
        opened = await Repository.open(real.uri)
        yield opened
        await opened.close()


async def read(context: RequestContext) -> int:
    async with context.savepoint():
        snapshot = context.snapshot
        statement = sa.select(sa.func.count()).select_from(snapshot.repository.tables.dataset)
        return int((await snapshot.rows(statement))[0][0])


def in_use(repository: Repository) -> int:
    pool = repository.engine.pool
    assert isinstance(pool, sa.AsyncAdaptedQueuePool)
    return pool.checkedout()


async def test_it_begins_when_needed_and_once(repository: Repository) -> None:
    async with RequestContext(repository, Limits()) as context:
        assert in_use(repository) == 0
        assert await asyncio.gather(*(read(context) for _ in range(30))) == [DATASETS] * 30
        first = context.snapshot
        assert in_use(repository) == 1
        await read(context)
        assert context.snapshot is first
    assert in_use(repository) == 0
    async with RequestContext(repository, Limits()):
        pass


async def test_if_it_cannot_begin_everybody_is_told(repository: Repository) -> None:
    others = [RequestContext(repository, Limits()) for _ in range(16)]
    repository._snapshot_seconds = 30
    await asyncio.gather(*(read(other) for other in others))
    repository._snapshot_seconds = 0.3
    began = asyncio.get_running_loop().time()
    async with RequestContext(repository, Limits()) as context:
        answers = await asyncio.gather(*(read(context) for _ in range(20)), return_exceptions=True)
        assert all(isinstance(answer, BusyError) for answer in answers)
        # Nobody waits a second time.
        with pytest.raises(BusyError):
            await read(context)
    assert asyncio.get_running_loop().time() - began < 1
    for other in others:
        await other.__aexit__(None, None, None)
    repository._snapshot_seconds = 5
    async with RequestContext(repository, Limits()) as context:
        assert await read(context) == DATASETS


async def test_one_that_is_cancelled_does_not_take_it_from_the_others(repository: Repository) -> None:
    async with RequestContext(repository, Limits()) as context:
        readers = [asyncio.create_task(read(context)) for _ in range(5)]
        await asyncio.sleep(0)
        readers[0].cancel()
        assert await asyncio.gather(*readers[1:]) == [DATASETS] * 4


@pytest.mark.parametrize("turns", range(0, 40, 3))
async def test_a_request_that_is_cancelled_ends_it(repository: Repository, real: RealRepository, turns: int) -> None:
    async def request() -> None:
        async with RequestContext(repository, Limits()) as context:
            await asyncio.gather(*(read(context) for _ in range(3)))

    task = asyncio.create_task(request())
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    async with asyncio.timeout(2):
        while in_use(repository):
            await asyncio.sleep(0.01)
    if real.database is not None:
        assert not [state for state, _ in connections_of(real) if state != "idle"]
