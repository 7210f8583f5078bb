"""The lease by which one coordinator at a time has a job."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import uuid
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.state.database import State
from butlerql.storage.state.jobs import Job, JobKind, JobState, job_of
from butlerql.storage.state.tables import JOB, NOW

__all__ = ["Lease", "LeaseLostError", "claim", "kept"]

_USED = 2 / 3
"""The share of a lease after which a holder that could not renew it stops; then there is time for chunks to end."""

_RENEWALS = 6
"""How often a lease is renewed within its time."""

_log = logging.getLogger(__name__)


class LeaseLostError(Exception):
    """Somebody else may have the job now."""


@dataclass(eq=False)
class Lease:
    """The right to change a job. Make one with `claim`."""

    state: State
    job: Job
    seconds: float
    holder: str
    deadline: float
    """By the clock of the event loop: until when it is certain that nobody else has the job, with time to spare."""
    counted: float
    """Up to which moment, by the same clock, the job's time is counted."""
    cancelled: bool = False
    released: bool = False
    """Whether it is given up by the holder itself."""

    async def hold(self, connection: AsyncConnection, **changes: Any) -> Job:
        """Make sure, in a transaction that writes, that the job is still ours; lock it, count its time, and change it.

        Raises
        ------
        LeaseLostError
            Raised if it is not; the transaction must not be committed then.
        """
        ours = sa.and_(JOB.c.id == self.job.id, JOB.c.holder == self.holder, JOB.c.lease_until > NOW)
        now = asyncio.get_running_loop().time()
        change = (
            sa.update(JOB)
            .where(ours)
            .values(active_micros=JOB.c.active_micros + round((now - self.counted) * 1e6), **changes)
            .returning(*JOB.c)
        )
        row = (await connection.execute(change)).one_or_none()
        if row is None:
            raise LeaseLostError
        self.cancelled = row.cancelled_by is not None
        self.counted = now
        return job_of(row)

    def require(self) -> None:
        """Make sure that nobody else can have the job.

        Raises
        ------
        LeaseLostError
            Raised if somebody can, as after this process was asleep.
        """
        if asyncio.get_running_loop().time() >= self.deadline:
            raise LeaseLostError

    async def renew(self) -> None:
        """Have it last longer.

        Raises
        ------
        LeaseLostError
            Raised if it is over.
        """
        before = asyncio.get_running_loop().time()
        await self.state.write(lambda connection: self.hold(connection, lease_until=_from_now(self.seconds)))
        self.deadline = before + self.seconds * _USED

    async def release(self, state: JobState, **changes: Any) -> None:
        """Give it up, and say what becomes of the job."""
        self.released = True
        await self.state.write(
            lambda connection: self.hold(connection, state=state, holder=None, lease_until=None, **changes)
        )


async def claim(state: State, kinds: Collection[JobKind], seconds: float, only: int | None = None) -> Lease | None:
    """Take the first job that is to be done and that nobody has.

    Parameters
    ----------
    kinds
        Which kinds of job.
    seconds
        How long the lease lasts if it is not renewed.
    only
        Number of the job that is meant; None: any.
    """
    idle = sa.or_(
        JOB.c.state.in_([JobState.QUEUED, JobState.INTERRUPTED]),
        sa.and_(JOB.c.state == JobState.RUNNING, JOB.c.lease_until <= NOW),
        sa.and_(JOB.c.state == JobState.WAITING, JOB.c.wait_until <= NOW),
    )
    first = sa.select(JOB.c.id).where(idle, JOB.c.kind.in_(kinds)).order_by(JOB.c.id).limit(1)
    if only is not None:
        first = first.where(JOB.c.id == only)
    holder = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex}"
    loop = asyncio.get_running_loop()
    before = loop.time()

    async def look(connection: AsyncConnection) -> bool:
        return await connection.scalar(first) is not None

    async def take(connection: AsyncConnection) -> Job | None:
        number = await connection.scalar(first.with_for_update(skip_locked=True))
        change = (
            sa.update(JOB)
            .where(JOB.c.id == number)
            .values(
                state=JobState.RUNNING,
                holder=holder,
                lease_until=_from_now(seconds),
                started_at=sa.func.coalesce(JOB.c.started_at, NOW),
                wait_until=None,
            )
            .returning(*JOB.c)
        )
        row = (await connection.execute(change)).one_or_none()
        return None if row is None else job_of(row)

    # Those who only look lock nothing, and make no state.
    if not await state.read(look, absent=False):
        return None
    job = await state.write(take)
    if job is None:
        return None
    return Lease(state, job, seconds, holder, before + seconds * _USED, loop.time(), job.cancelled_by is not None)


@asynccontextmanager
async def kept(lease: Lease) -> AsyncIterator[None]:
    """Renew a lease within the block, and end the block where that fails, before another can have the job.

    Raises
    ------
    LeaseLostError
        Raised where the block was ended.
    """
    try:
        async with asyncio.timeout_at(lease.deadline) as limit:
            renewing = asyncio.create_task(_renew(lease, limit))
            try:
                yield
            finally:
                renewing.cancel()
                await asyncio.wait({renewing})
    except TimeoutError:
        if limit.expired():
            raise LeaseLostError from None
        raise


async def _renew(lease: Lease, limit: asyncio.Timeout) -> None:
    while True:
        await asyncio.sleep(lease.seconds / _RENEWALS)
        try:
            await lease.renew()
        except LeaseLostError:
            lease.deadline = 0
        except Exception:  # noqa: BLE001 - whatever it is, the deadline ends it
            # Until the deadline there may be better luck.
            _log.warning("The lease of job %s could not be renewed.", lease.job.id, exc_info=True)
        if limit.expired() or lease.released:
            return
        limit.reschedule(lease.deadline)


def _from_now(seconds: float) -> sa.ColumnElement[int]:
    return NOW + round(seconds * 1e6)
