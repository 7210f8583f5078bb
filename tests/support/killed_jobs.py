"""Jobs that are killed at every point there is, and gone on with; in a process of its own, because it forks.

For n = 1, 2, ... a child asks for a job and runs it, and kills itself before the n-th of: a statement, a commit, what
follows a commit, a chunk's work, its result. Then another child goes on with the job. The first n at which nothing is
left to be killed is the last.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import sqlalchemy as sa

from butlerql.storage.state import migrating  # noqa: F401 - so that it is there before the forks
from butlerql.storage.state.coordinator import Coordinator
from butlerql.storage.state.database import State
from butlerql.storage.state.jobs import find_job
from butlerql.storage.state.kinds import Kind
from butlerql.storage.state.place import StatePlace
from butlerql.storage.state.tables import JOB
from tests.support.squares import Squares, ask, squares_of

NUMBERS = [2, 3, 5]
Step = Callable[[int], Coroutine[Any, Any, None]]
REQUEST: dict[str, Any] = {"stages": 2}


class Killer:
    """Counts the points, and kills this process at one of them."""

    def __init__(self, at: int) -> None:
        self.left = at

    def point(self, *_: Any) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch_statements(self, state: State) -> None:
        sa.event.listen(state._engine.sync_engine, "before_cursor_execute", self.point)

    def watch_commits(self, state: State) -> None:
        commit = state._driver.commit

        async def watched(link: Any) -> None:
            self.point()
            await commit(link)
            self.point()

        state._driver.commit = watched  # type: ignore[method-assign]

    def watch_runs(self, kind: type[Kind]) -> None:
        run = kind.run

        def watched_run(argument: Any) -> Any:
            self.point()
            result = run(argument)
            self.point()
            return result

        kind.run = staticmethod(watched_run)  # type: ignore[method-assign]


async def run_jobs(state: State) -> None:
    coordinator = Coordinator(state, [Squares()], lambda: ThreadPoolExecutor(2), width=2)
    while await coordinator.run_next():
        pass
    await coordinator.close()


async def first(place: StatePlace, at: int) -> None:
    state = State(place, "killed")
    killer = Killer(at)
    killer.watch_statements(state)
    killer.watch_commits(state)
    killer.watch_runs(Squares)
    await ask(state, NUMBERS, key=str(at), **REQUEST)
    await run_jobs(state)
    await state.close()


async def second(place: StatePlace, at: int) -> None:
    state = State(place, "killed")
    if await state.revision() is not None:
        await expire(state)
    job = await ask(state, NUMBERS, key=str(at), **REQUEST)
    before = job.state
    await run_jobs(state)
    found = await find_job(state, job.id)
    assert found is not None
    progress = [found.progress.done, found.progress.total, found.progress.bytes_done]
    print(json.dumps([before, found.state, found.result, progress, await squares_of(state, job)]), flush=True)
    await state.close()


async def expire(state: State) -> None:
    """Let so much time pass that the leases of the dead are over."""
    await state.write(lambda connection: connection.execute(sa.update(JOB).values(lease_until=0)))


def in_child(work: Coroutine[Any, Any, None]) -> int:
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(work)
        except BaseException as error:  # noqa: BLE001 - a child that failed must not go on as its parent
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    work.close()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_everywhere(first: Step, second: Step) -> int:
    """Run both for n = 1, 2, ..., the first to be killed at the n-th point; tell how it ended, as a program does."""
    at = 0
    while True:
        at += 1
        ended = in_child(first(at))
        if ended not in {0, -signal.SIGKILL}:
            return 1
        if in_child(second(at)) != 0:
            return 1
        if ended == 0:
            return 0


def main(url: str, schema: str) -> int:
    place = StatePlace(url, schema or None, "registry")
    return killed_everywhere(partial(first, place), partial(second, place))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
