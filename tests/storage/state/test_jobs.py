"""Jobs come to their end once, whoever dies meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from butlerql.storage.errors import StateUnavailableError, UnknownJobError
from butlerql.storage.registry.pages import Page, PageRequest
from butlerql.storage.state.coordinator import Coordinator
from butlerql.storage.state.database import State
from butlerql.storage.state.jobs import Job, JobKind, JobState, cancel_job, count_jobs, find_job, find_jobs, watch_job
from butlerql.storage.state.leases import LeaseLostError, claim, kept
from butlerql.storage.state.place import StatePlace
from butlerql.storage.state.tables import JOB
from tests.support.killed_jobs import NUMBERS
from tests.support.repositories import Dialect
from tests.support.squares import Squares, ask, squares_of

MANY = range(50)
ALL = PageRequest(10)


@pytest.fixture
def place(dialect: Dialect, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[StatePlace]:
    if dialect == "sqlite":
        yield StatePlace(f"sqlite+aiosqlite:///{tmp_path}/butlerql.sqlite3", None, "registry")
        return
    server = request.getfixturevalue("postgres")
    database = server.create_database()
    yield StatePlace(server.url(database).replace("psycopg2", "asyncpg"), "butlerql", "registry")
    server.drop_database(database)


@pytest.fixture
async def state(place: StatePlace) -> AsyncIterator[State]:
    opened = State(place, "tested")
    yield opened
    await opened.close()


@asynccontextmanager
async def coordinator(state: State, executor: Any = None, **options: Any) -> AsyncIterator[Coordinator]:
    made = Coordinator(state, [Squares()], executor or (lambda: ThreadPoolExecutor(4)), width=4, **options)
    try:
        yield made
    finally:
        await made.close()


async def look(state: State, job: Job) -> Job:
    found = await find_job(state, job.id)
    assert found is not None
    return found


async def until(state: State, job: Job, *states: JobState, seconds: float = 30) -> Job:
    async with asyncio.timeout(seconds):
        while (found := await look(state, job)).state not in states:
            await asyncio.sleep(0.01)
    return found


def assert_done(job: Job, numbers: Any) -> None:
    squares = [number * number for number in numbers]
    assert (job.state, job.error) == (JobState.SUCCEEDED, None)
    assert job.result == {"sum": sum(squares)}
    assert (job.progress.done, job.progress.total) == (len(squares), len(squares))
    assert job.progress.bytes_done == sum(squares)
    assert job.progress.fraction == 1
    assert job.started_at is not None and job.ended_at is not None
    assert job.created_at <= job.started_at <= job.ended_at


async def expire(state: State) -> None:
    """Let so much time pass that nobody has a lease any more."""
    await state.write(lambda connection: connection.execute(sa.update(JOB).values(lease_until=0)))


async def test_without_state_there_are_no_jobs(state: State, dialect: Dialect) -> None:
    assert await find_job(state, 1) is None
    assert await find_jobs(state, ALL) == Page([], [], has_next=False, has_previous=False)
    assert await count_jobs(state) == 0
    with pytest.raises(UnknownJobError):
        await watch_job(state, 1)
    async with coordinator(state) as made:
        assert not await made.run_next()
    with pytest.raises(UnknownJobError):
        await cancel_job(state, 1, "somebody")
    assert await state.revision() is None


def processes() -> Executor:
    return ProcessPoolExecutor(2, mp_context=get_context("forkserver"))


@pytest.mark.parametrize("executor", [lambda: ThreadPoolExecutor(4), processes])
async def test_a_job_is_queued_run_and_done(state: State, executor: Any) -> None:
    job = await ask(state, MANY)
    assert (job.state, job.progress.total, job.progress.fraction) == (JobState.QUEUED, None, None)
    async with coordinator(state, executor) as made:
        assert await made.run_next()
        assert not await made.run_next()
    assert_done(found := await look(state, job), MANY)
    assert found.progress.message is not None and found.progress.message.endswith("is squared")
    assert found.progress.rate_per_second is not None and found.progress.rate_per_second > 0
    assert found.progress.eta_seconds == 0
    assert await squares_of(state, job) == [(number, number * number) for number in MANY]


async def test_a_job_of_nothing_is_done(state: State) -> None:
    job = await ask(state, [])
    async with coordinator(state) as made:
        await made.run_next()
    found = await look(state, job)
    assert (found.state, found.result, found.progress.total) == (JobState.SUCCEEDED, {"sum": 0}, 0)


async def test_more_chunks_than_are_planned_at_once(state: State) -> None:
    job = await ask(state, range(205))
    async with coordinator(state) as made:
        await made.run_next()
    assert_done(await look(state, job), range(205))


async def test_a_job_waits_between_its_stages(state: State) -> None:
    job = await ask(state, MANY, stages=3)
    async with coordinator(state) as made:
        for done in (17, 34):
            assert await made.run_next()
            found = await look(state, job)
            assert (found.state, found.progress.done, found.wait_until) == (JobState.WAITING, done, 0)
        assert await made.run_next()
    assert_done(await look(state, job), MANY)


async def test_the_same_key_means_the_same_job(state: State) -> None:
    first, again = await ask(state, [1], key="k"), await ask(state, [2], key="k")
    assert first == again
    others = [await ask(state, [1], key="l"), await ask(state, [1]), await ask(state, [1])]
    assert len({job.id for job in (first, *others)}) == 4
    same = await asyncio.gather(*(ask(state, [1], key="m") for _ in range(8)))
    assert len({job.id for job in same}) == 1


async def test_jobs_are_found_newest_first(state: State) -> None:
    jobs = [await ask(state, [number]) for number in range(5)]
    numbers = [job.id for job in jobs]

    async def found(request: PageRequest = ALL, **options: Any) -> list[int]:
        page = await find_jobs(state, request, **options)
        assert page.keys == [(job.id,) for job in page.rows]
        return [job.id for job in page.rows]

    assert await found() == numbers[::-1]
    assert await found(PageRequest(2)) == numbers[:2:-1]
    assert await found(PageRequest(2, after=(numbers[3],))) == [numbers[2], numbers[1]]
    assert await found(PageRequest(2, backward=True)) == [numbers[1], numbers[0]]
    assert await found(PageRequest(2, backward=True, before=(numbers[0],))) == [numbers[2], numbers[1]]
    page = await find_jobs(state, PageRequest(2, after=(numbers[3],)))
    assert (page.has_next, page.has_previous) == (True, True)
    await cancel_job(state, numbers[1], "somebody")
    assert await found(states=[JobState.CANCELLED]) == [numbers[1]]
    assert await found(states=[]) == await found(kinds=[JobKind.INGEST]) == []
    queued: Any = {"states": [JobState.QUEUED], "kinds": [JobKind.VALIDATION]}
    assert len(await found(**queued)) == await count_jobs(state, **queued) == 4
    assert await count_jobs(state) == 5
    # Whom nobody keeps alive is interrupted, and is found as that.
    await claim(state, [JobKind.VALIDATION], 30)
    assert await found(states=[JobState.RUNNING]) == [numbers[0]]
    await expire(state)
    assert await found(states=[JobState.RUNNING]) == []
    assert await found(states=[JobState.INTERRUPTED]) == [numbers[0]]


async def test_a_started_coordinator_takes_up_what_it_finds_and_what_comes(state: State) -> None:
    left = await ask(state, MANY)
    assert await claim(state, [JobKind.VALIDATION], 30)
    await expire(state)
    waiting = await ask(state, MANY, stages=2)
    async with coordinator(state, look_seconds=60) as made:
        made.start()
        assert_done(await until(state, left, JobState.SUCCEEDED), MANY)
        assert_done(await until(state, waiting, JobState.SUCCEEDED), MANY)
        new = await ask(state, MANY)
        made.wake()
        assert_done(await until(state, new, JobState.SUCCEEDED), MANY)


async def test_who_watches_a_job_sees_each_step_and_its_end(state: State) -> None:
    job = await ask(state, MANY, seconds=0.02)

    async def watch() -> list[Job]:
        return [seen async for seen in await watch_job(state, job.id, seconds=0.005)]

    async with coordinator(state) as made:
        watching = asyncio.create_task(watch())
        await asyncio.sleep(0.05)
        await made.run_next()
        seen = await watching
    assert (seen[0].state, seen[-1].state) == (JobState.QUEUED, JobState.SUCCEEDED)
    done = [step.progress.done for step in seen]
    assert done == sorted(done)
    assert len(set(done)) > 5
    assert all(one != other for one, other in pairwise(seen))
    assert [step.state async for step in await watch_job(state, job.id)] == [JobState.SUCCEEDED]


async def test_what_is_cancelled_stops_between_chunks(state: State) -> None:
    job = await ask(state, MANY, seconds=0.02)
    async with coordinator(state) as made:
        running = asyncio.create_task(made.run_next())
        while not (await look(state, job)).progress.done:
            await asyncio.sleep(0.01)
        assert (await cancel_job(state, job.id, "somebody")).cancelled_by == "somebody"
        await running
        found = await look(state, job)
        assert found.state is JobState.CANCELLED and found.ended_at is not None
        squares = await squares_of(state, job)
        assert 0 < len(squares) < len(MANY)
        assert found.progress.done == len(squares)
        assert not await made.run_next()
        assert await cancel_job(state, job.id, "another") == found


async def test_what_nobody_runs_is_cancelled_at_once(state: State) -> None:
    queued, left = await ask(state, [2]), await ask(state, [3])
    assert (await cancel_job(state, queued.id, "somebody")).state is JobState.CANCELLED
    assert await claim(state, [JobKind.VALIDATION], 30)
    await expire(state)
    assert (await cancel_job(state, left.id, "somebody")).state is JobState.CANCELLED
    async with coordinator(state) as made:
        assert not await made.run_next()


async def test_a_job_that_fails_says_why_and_no_secret(state: State) -> None:
    bad, refused = await ask(state, MANY, fail=[7]), await ask(state, MANY, refuse=[8])
    async with coordinator(state) as made:
        await made.run_next()
        await made.run_next()
        assert not await made.run_next()
    found = await look(state, bad)
    assert found.state is JobState.FAILED and found.ended_at is not None
    assert found.error == f"A fault of ours. The operators find more in the log, under job {bad.id}."
    assert (await look(state, refused)).error == "8 is no number to square."


async def test_a_process_that_dies_takes_no_chunk_with_it(state: State, tmp_path: Path) -> None:
    job = await ask(state, range(10), die={"4": str(tmp_path / "died")})
    async with coordinator(state, processes) as made:
        await made.run_next()
    assert (tmp_path / "died").exists()
    assert_done(await look(state, job), range(10))


async def test_a_chunk_that_kills_every_process_is_given_up(state: State) -> None:
    job = await ask(state, [4], die={"4": "always"})
    async with coordinator(state, processes) as made:
        await made.run_next()
    assert (await look(state, job)).state is JobState.FAILED


class GivesUp(ThreadPoolExecutor):
    """Loses what it is given, as Dask does that lost its scheduler."""

    def submit(self, *_: Any, **__: Any) -> Future[Any]:
        lost: Future[Any] = Future()
        lost.cancel()
        lost.set_running_or_notify_cancel()
        return lost


async def test_a_chunk_that_was_lost_is_not_taken_for_done(state: State) -> None:
    job = await ask(state, MANY)
    executors = [ThreadPoolExecutor(2), GivesUp()]
    async with coordinator(state, executors.pop) as made:
        await made.run_next()
    assert_done(await look(state, job), MANY)


async def test_a_coordinator_can_be_told_which_job(state: State) -> None:
    first, second = [await ask(state, [number]) for number in (1, 2)]
    async with coordinator(state) as made:
        assert await made.run_next(second.id)
        assert not await made.run_next(second.id)
    assert (await look(state, first)).state is JobState.QUEUED
    assert_done(await look(state, second), [2])


async def test_a_coordinator_that_is_stopped_leaves_the_job_to_the_next(state: State) -> None:
    job = await ask(state, MANY, seconds=0.02)
    async with coordinator(state) as made:
        made.start()
        while not (await look(state, job)).progress.done:
            await asyncio.sleep(0.01)
    found = await look(state, job)
    assert found.state is JobState.INTERRUPTED and found.progress.done < len(MANY)
    async with coordinator(state) as made:
        await made.run_next()
    assert_done(await look(state, job), MANY)


async def test_many_coordinators_share_jobs_and_none_is_done_twice(place: StatePlace) -> None:
    states = [State(place, "tested") for _ in range(3)]
    jobs = [await ask(states[0], range(12)) for _ in range(6)]
    made = [Coordinator(state, [Squares()], lambda: ThreadPoolExecutor(2), width=2) for state in states]

    async def run_all(one: Coordinator) -> int:
        number = 0
        while await one.run_next():
            number += 1
        return number

    assert sum(await asyncio.gather(*map(run_all, made))) == len(jobs)
    for job in jobs:
        assert_done(await look(states[0], job), range(12))
        assert len(await squares_of(states[0], job)) == 12
    for one, state in zip(made, states, strict=True):
        await one.close()
        await state.close()


async def test_who_lost_its_lease_writes_no_more(state: State) -> None:
    job = await ask(state, MANY, seconds=0.02)
    async with coordinator(state) as slow, coordinator(state) as other:
        running = asyncio.create_task(slow.run_next())
        while not (await look(state, job)).progress.done:
            await asyncio.sleep(0.01)
        await expire(state)
        await other.run_next()
        await running
    assert_done(await look(state, job), MANY)
    assert Counter(number for number, _ in await squares_of(state, job)) == Counter(MANY)


async def test_a_lease_that_cannot_be_renewed_stops_its_holder_before_another_may_begin(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ask(state, MANY)
    lease = await claim(state, [JobKind.VALIDATION], 1.5)
    assert lease is not None
    clock = asyncio.get_running_loop().time
    began = clock()
    async with kept(lease):
        await asyncio.sleep(2.5)  # As long as it is renewed, it lasts.
        assert await claim(state, [JobKind.VALIDATION], 30) is None

    async def fail(*_: Any, **__: Any) -> None:
        raise StateUnavailableError("the disk is full")

    async def work() -> None:
        async with kept(lease):
            await lease.renew()
            monkeypatch.setattr(lease.state, "write", fail)
            await asyncio.sleep(60)

    with pytest.raises(LeaseLostError):
        await work()
    monkeypatch.undo()
    assert await claim(state, [JobKind.VALIDATION], 30) is None
    assert clock() - began < 10
    while await claim(state, [JobKind.VALIDATION], 30) is None:
        await asyncio.sleep(0.05)
        assert clock() - began < 20


async def test_who_was_asleep_too_long_begins_nothing(state: State) -> None:
    await ask(state, MANY)
    lease = await claim(state, [JobKind.VALIDATION], 30)
    assert lease is not None
    lease.require()
    lease.deadline = asyncio.get_running_loop().time()
    with pytest.raises(LeaseLostError):
        lease.require()


@pytest.mark.slow
def test_a_job_killed_anywhere_comes_to_the_same_end(place: StatePlace) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.killed_jobs", place.url, place.schema or ""],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    ends = [json.loads(line) for line in done.stdout.splitlines()]
    squares = [[number, number * number] for number in NUMBERS]
    total = sum(square for _, square in squares)
    assert len(ends) > 80
    assert all(end[1:] == ["SUCCEEDED", {"sum": total}, [3, 3, total], squares] for end in ends)
    # It was killed before it was asked for, in the middle, in its pause, and when it was done.
    assert {end[0] for end in ends} == {"QUEUED", "INTERRUPTED", "WAITING", "SUCCEEDED"}
