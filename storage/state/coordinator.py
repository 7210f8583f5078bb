"""Jobs are run: a coordinator takes them up, has their chunks done, and goes on with those that others left."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import BrokenExecutor, Executor
from contextlib import aclosing, suppress
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.errors import BusyError, ButlerQLError, StateError
from butlerql.storage.state.database import State
from butlerql.storage.state.jobs import JobState
from butlerql.storage.state.kinds import Kind, Planned, Waiting
from butlerql.storage.state.leases import Lease, LeaseLostError, claim, kept
from butlerql.storage.state.tables import CHUNK, JOB, NOW

__all__ = ["Coordinator"]

_LEASE_SECONDS = 30.0
_LOOK_SECONDS = 5.0
_JOBS = 4
_BATCH = 200
_BREAKS = 3
"""How many processes of an executor may die in a row before a job is given up."""

_log = logging.getLogger(__name__)


class Coordinator:
    """Runs the jobs of a repository, as one of several perhaps, on this and other machines.

    Parameters
    ----------
    state
        Where jobs are.
    kinds
        The kinds that it can run.
    make_executor
        Makes what chunks run on; called again where its processes died.
    width
        How many chunks of a job are under way at once.
    lease_seconds
        After how long others take up the jobs of one that died.
    look_seconds
        How often it looks for jobs that others asked for or left.
    """

    def __init__(
        self,
        state: State,
        kinds: Iterable[Kind],
        make_executor: Callable[[], Executor],
        *,
        width: int,
        lease_seconds: float = _LEASE_SECONDS,
        look_seconds: float = _LOOK_SECONDS,
    ) -> None:
        self._state = state
        self._kinds = {kind.name: kind for kind in kinds}
        self._make_executor = make_executor
        self._width = width
        self._lease_seconds = lease_seconds
        self._look_seconds = look_seconds
        self._executor: Executor | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._awake = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Take up jobs from now on: also those that were left."""
        self._looking = asyncio.create_task(self._look())

    def wake(self) -> None:
        """Look for jobs at once: there is a new one."""
        self._awake.set()

    async def close(self) -> None:
        """Stop between chunks as soon as may be; whoever starts next goes on with the jobs."""
        tasks = [*self._running, *([] if self._looking is None else [self._looking])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._executor is not None:
            await asyncio.to_thread(self._executor.shutdown, cancel_futures=True)

    async def run_next(self, only: int | None = None) -> bool:
        """Run the next job that is to be done to its end, or until it has to wait; tell whether there was one.

        Parameters
        ----------
        only
            Number of the job that is meant; None: any.

        Raises
        ------
        StateError
            Raised if the state cannot be used.
        BusyError
            Raised if another program keeps it locked.
        """
        lease = await claim(self._state, self._kinds, self._lease_seconds, only)
        if lease is None:
            return False
        await self._run(lease)
        return True

    async def _look(self) -> None:
        while True:
            self._awake.clear()
            try:
                while len(self._running) < _JOBS:
                    lease = await claim(self._state, self._kinds, self._lease_seconds)
                    if lease is None:
                        break
                    task = asyncio.create_task(self._run(lease))
                    self._running.add(task)
                    task.add_done_callback(self._ended)
            except (BusyError, StateError) as error:
                _log.warning("Jobs cannot be looked for: %s", error)
            except Exception:  # noqa: BLE001 - whatever it is, the next look may be better
                _log.exception("Jobs cannot be looked for.")
            with suppress(TimeoutError):
                async with asyncio.timeout(self._look_seconds):
                    await self._awake.wait()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("A job was left: its state cannot be written.", exc_info=error)
        self.wake()

    async def _run(self, lease: Lease) -> None:
        """Run a job as far as it goes; leave it in the state that says how it ended."""
        try:
            try:
                async with kept(lease):
                    await self._go_on(lease)
            except* LeaseLostError:
                _log.warning("Job %s is left to another: its lease could not be renewed in time.", lease.job.id)
            except* (BusyError, StateError) as errors:
                # It will be taken up again, by somebody who can write, when the lease is over.
                _log.warning("Job %s is left for now: %s", lease.job.id, errors.exceptions[0])
            except* ButlerQLError as errors:
                await self._give_up(lease, JobState.FAILED, error=str(_first(errors)))
            except* Exception as errors:  # noqa: BLE001 - whatever it is, the job says that it failed
                _log.error("Job %s failed.", lease.job.id, exc_info=_first(errors))
                told = f"A fault of ours. The operators find more in the log, under job {lease.job.id}."
                await self._give_up(lease, JobState.FAILED, error=told)
        except asyncio.CancelledError:
            with suppress(LeaseLostError, BusyError, StateError):
                await asyncio.shield(lease.release(JobState.INTERRUPTED))
            raise

    async def _give_up(self, lease: Lease, state: JobState, **changes: Any) -> None:
        """End a job that did not come to its end."""

        async def give_up(connection: AsyncConnection) -> None:
            job = await lease.hold(connection, state=state, ended_at=NOW, holder=None, lease_until=None, **changes)
            await self._kinds[job.kind].stopped(connection, job)

        lease.released = True
        await self._state.write(give_up)

    async def _go_on(self, lease: Lease) -> None:
        kind = self._kinds[lease.job.kind]
        await self._plan(lease, kind)
        breaks = 0
        while not lease.cancelled:
            try:
                before = lease.job.progress.done
                await self._work(lease, kind)
                break
            except* BrokenExecutor:
                breaks = breaks + 1 if before == lease.job.progress.done else 1
                if breaks >= _BREAKS:
                    raise
        if lease.cancelled:
            await self._give_up(lease, JobState.CANCELLED)
            return
        await self._finish(lease, kind)

    async def _plan(self, lease: Lease, kind: Kind) -> None:
        """Write the chunks down, from the last on that is there."""

        async def look(connection: AsyncConnection) -> tuple[bool, int, Any]:
            planned = await connection.scalar(sa.select(JOB.c.planned).where(JOB.c.id == lease.job.id))
            last = sa.select(CHUNK.c.number, CHUNK.c.work).where(CHUNK.c.job_id == lease.job.id)
            row = (await connection.execute(last.order_by(CHUNK.c.number.desc()).limit(1))).one_or_none()
            return bool(planned), *((0, None) if row is None else (row.number, orjson.loads(row.work)))

        planned, number, after = await self._state.read(look, absent=(True, 0, None))
        if planned:
            return
        batch: list[Planned] = []
        async with aclosing(kind.plan(lease.job, after)) as chunks:
            async for chunk in chunks:
                batch.append(chunk)
                if len(batch) == _BATCH:
                    await self._note(lease, number, batch, last=False)
                    number += len(batch)
                    batch.clear()
                if lease.cancelled:
                    return
        await self._note(lease, number, batch, last=True)

    async def _note(self, lease: Lease, number: int, batch: list[Planned], *, last: bool) -> None:
        total = sum(chunk.count for chunk in batch)
        rows = [
            {"job_id": lease.job.id, "number": place, "work": orjson.dumps(chunk.work).decode(), "done": False}
            for place, chunk in enumerate(batch, start=number + 1)
        ]

        async def write(connection: AsyncConnection) -> None:
            lease.job = await lease.hold(connection, total=JOB.c.total + total, planned=last)
            if rows:
                await connection.execute(sa.insert(CHUNK), rows)

        await self._state.write(write)

    async def _work(self, lease: Lease, kind: Kind) -> None:
        """Have all chunks done that are not."""
        free = asyncio.Semaphore(self._width)

        async def do(number: int, work: Any) -> None:
            try:
                await self._do(lease, kind, number, work)
            finally:
                free.release()

        async with asyncio.TaskGroup() as group:
            async for number, work in self._left(lease):
                await free.acquire()
                if lease.cancelled:
                    return  # The group waits for those that run.
                group.create_task(do(number, work))

    async def _left(self, lease: Lease) -> AsyncIterator[tuple[int, Any]]:
        left = sa.select(CHUNK.c.number, CHUNK.c.work).where(CHUNK.c.job_id == lease.job.id, sa.not_(CHUNK.c.done))
        last = 0
        while True:
            statement = left.where(CHUNK.c.number > last).order_by(CHUNK.c.number).limit(_BATCH)

            async def read(connection: AsyncConnection, statement: sa.Select[Any] = statement) -> list[Any]:
                return list(await connection.execute(statement))

            rows: list[Any] = await self._state.read(read, absent=[])
            if not rows:
                return
            for number, work in rows:
                yield number, orjson.loads(work)
                last = number

    async def _do(self, lease: Lease, kind: Kind, number: int, work: Any) -> None:
        argument = await kind.prepare(lease.job, work)
        lease.require()
        found = argument if kind.run is Kind.run else await self._submit(kind, argument)
        result = await kind.review(lease.job, work, found)

        async def absorb(connection: AsyncConnection) -> None:
            job = await lease.hold(connection)
            mark = sa.update(CHUNK).where(
                CHUNK.c.job_id == lease.job.id, CHUNK.c.number == number, sa.not_(CHUNK.c.done)
            )
            if (await connection.execute(mark.values(done=True))).rowcount == 0:
                return  # A commit whose end was not heard of had come through.
            step = await kind.absorb(connection, job, work, result)
            message = {} if step.message is None else {"message": step.message}
            lease.job = await lease.hold(
                connection, done=JOB.c.done + step.done, bytes_done=JOB.c.bytes_done + step.bytes, **message
            )

        await self._state.write(absorb)

    async def _submit(self, kind: Kind, argument: Any) -> Any:
        if self._executor is None:
            self._executor = self._make_executor()
        executor = self._executor
        try:
            try:
                return await asyncio.wrap_future(executor.submit(kind.run, argument))
            except asyncio.CancelledError as error:
                # It is not us who are cancelled where Dask lost its scheduler. A chunk must not seem to be over then.
                if (task := asyncio.current_task()) is not None and task.cancelling():
                    raise
                raise BrokenExecutor("What chunks run on gave up.") from error
        except BrokenExecutor:
            if self._executor is executor:
                self._executor = None
            raise

    async def _finish(self, lease: Lease, kind: Kind) -> None:
        async def finish(connection: AsyncConnection) -> None:
            job = await lease.hold(connection)
            result = await kind.finish(connection, job)
            changes: dict[str, Any]
            if isinstance(result, Waiting):
                changes = {"state": JobState.WAITING, "wait_until": result.until, "planned": False}
            else:
                changes = {"state": JobState.SUCCEEDED, "ended_at": NOW, "result": orjson.dumps(result).decode()}
            await lease.hold(connection, holder=None, lease_until=None, **changes)

        lease.released = True
        await self._state.write(finish)


def _first(errors: BaseExceptionGroup[Any]) -> BaseException:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
