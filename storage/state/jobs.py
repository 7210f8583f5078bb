"""Jobs: what is asked to be done, how far it is, and what came out. Who does them is in `coordinator`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.errors import UnknownJobError
from butlerql.storage.registry.pages import Ordering, Page, PageRequest, bounds, cut, ordered
from butlerql.storage.state.database import State
from butlerql.storage.state.tables import JOB, NOW

__all__ = [
    "ENDED",
    "Job",
    "JobKind",
    "JobState",
    "Progress",
    "cancel_in",
    "cancel_job",
    "count_jobs",
    "find_asked",
    "find_in",
    "find_job",
    "find_job_of_key",
    "find_jobs",
    "insert_job",
    "job_of",
    "watch_job",
]


class JobKind(StrEnum):
    """What a job does."""

    VALIDATION = "VALIDATION"
    PLANNING = "PLANNING"
    DELETION = "DELETION"
    TAGGING = "TAGGING"
    INGEST = "INGEST"


class JobState(StrEnum):
    """How far a job is."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    WAITING = "WAITING"
    """Until a moment that it was told."""
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    INTERRUPTED = "INTERRUPTED"
    """Whoever ran it stopped, or died; another goes on with it."""


ENDED = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is, in its own units."""

    done: int
    total: int | None
    """None until it is known."""
    unit: str
    message: str | None
    bytes_done: int
    seconds: float
    """How long it has run, pauses left out."""

    @property
    def fraction(self) -> float | None:
        """The share that is done, 0 to 1."""
        return self.done / self.total if self.total else None

    @property
    def rate_per_second(self) -> float | None:
        """Units a second, on average."""
        return self.done / self.seconds if self.seconds > 0 else None

    @property
    def eta_seconds(self) -> float | None:
        """How long the rest takes at that rate."""
        if self.total is None or not self.done:
            return None
        return (self.total - self.done) * self.seconds / self.done


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it was when it was looked at. Moments are microseconds since 1970."""

    id: int
    kind: JobKind
    state: JobState
    subject: str | None
    """Name of what it is about, see `find_jobs`."""
    request: Any
    created_by: str
    created_at: int
    started_at: int | None
    ended_at: int | None
    wait_until: int | None
    cancelled_by: str | None
    """Who asked to stop it; what runs is finished first."""
    progress: Progress
    result: Any
    error: str | None


# The dead cannot say that they are.
_STATE = sa.case(
    (sa.and_(JOB.c.state == JobState.RUNNING, JOB.c.lease_until <= NOW), JobState.INTERRUPTED), else_=JOB.c.state
)
_NEWEST_FIRST = [Ordering(JOB.c.id, is_descending=True)]
_SELECT = sa.select(*(column for column in JOB.c if column is not JOB.c.state), _STATE.label("state"))


async def insert_job(
    connection: AsyncConnection,
    kind: JobKind,
    request: Any,
    *,
    unit: str,
    user: str,
    subject: str | None = None,
    idempotency_key: str | None = None,
    result: Any = None,
) -> Job:
    """Ask for a job, in a transaction of the state that writes; a coordinator takes it up.

    Parameters
    ----------
    kind
        Which.
    request
        What is to be done, as JSON that its kind understands.
    unit
        What its progress counts.
    user
        Who asks.
    subject
        Name of what it is about, see `find_jobs`.
    idempotency_key
        If this user has asked for a job of this kind with the same key before, that one is meant.
    result
        What came of it, as JSON, where it is done already and only to be remembered.
    """
    ended = {} if result is None else {"started_at": NOW, "ended_at": NOW, "result": orjson.dumps(result).decode()}
    # Both databases say it in the same way, and SQLAlchemy twice.
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    new = (
        insert(JOB)
        .values(
            kind=kind,
            state=JobState.SUCCEEDED if ended else JobState.QUEUED,
            subject=subject,
            request=orjson.dumps(request).decode(),
            created_by=user,
            idempotency_key=idempotency_key,
            created_at=NOW,
            planned=bool(ended),
            done=0,
            total=0,
            unit=unit,
            bytes_done=0,
            active_micros=0,
            **ended,
        )
        .on_conflict_do_nothing()
        .returning(JOB.c.id)
    )
    number = await connection.scalar(new)
    if number is None:
        assert idempotency_key is not None
        before = await find_asked(connection, kind, user, idempotency_key)
        assert before is not None
        return before
    return job_of((await connection.execute(_SELECT.where(JOB.c.id == number))).one())


async def find_asked(connection: AsyncConnection, kind: JobKind, user: str, idempotency_key: str) -> Job | None:
    """Look for the job that a user has asked for with a key, within a transaction; see `insert_job`."""
    asked = (JOB.c.created_by == user, JOB.c.kind == kind, JOB.c.idempotency_key == idempotency_key)
    row = (await connection.execute(_SELECT.where(*asked))).one_or_none()
    return None if row is None else job_of(row)


async def find_job(state: State, number: int) -> Job | None:
    """Look at a job; None if there is none with this number."""
    return await state.read(lambda connection: find_in(connection, number), absent=None)


async def find_job_of_key(state: State, kind: JobKind, user: str, idempotency_key: str) -> Job | None:
    """Look at the job that a user asked for with a key; None if there is none."""
    statement = _SELECT.where(JOB.c.created_by == user, JOB.c.kind == kind, JOB.c.idempotency_key == idempotency_key)

    async def find(connection: AsyncConnection) -> Job | None:
        row = (await connection.execute(statement)).one_or_none()
        return None if row is None else job_of(row)

    return await state.read(find, absent=None)


async def find_jobs(
    state: State,
    request: PageRequest,
    *,
    kinds: Sequence[JobKind] | None = None,
    states: Sequence[JobState] | None = None,
    subject: str | None = None,
) -> Page[Job]:
    """Look at a page of jobs, the newest first.

    Parameters
    ----------
    request
        Which page; keys are numbers of jobs.
    kinds, states
        Which jobs; None is all.
    subject
        Only jobs about this; None is all.
    """
    statement = (
        _SELECT.where(*_chosen(kinds, states, subject), *bounds(_NEWEST_FIRST, request))
        .order_by(*ordered(_NEWEST_FIRST, request))
        .limit(request.limit + 1)
    )

    async def find(connection: AsyncConnection) -> list[Job]:
        return [job_of(row) for row in await connection.execute(statement)]

    jobs: list[Job] = await state.read(find, absent=[])
    return cut([((job.id,), job) for job in jobs], request)


async def count_jobs(
    state: State,
    *,
    kinds: Sequence[JobKind] | None = None,
    states: Sequence[JobState] | None = None,
    subject: str | None = None,
) -> int:
    """Count jobs, see `find_jobs`."""
    statement = sa.select(sa.func.count()).select_from(JOB).where(*_chosen(kinds, states, subject))

    async def count(connection: AsyncConnection) -> int:
        return int((await connection.execute(statement)).scalar_one())

    return await state.read(count, absent=0)


async def watch_job(state: State, number: int, *, seconds: float = 1.0) -> AsyncIterator[Job]:
    """Look at a job again and again: as it is now, after each step of its progress, and last when it has ended.

    Parameters
    ----------
    number
        Its number.
    seconds
        How long to wait between two looks.

    Raises
    ------
    UnknownJobError
        Raised if there is no such job.
    """
    first = await find_job(state, number)
    if first is None:
        raise UnknownJobError(_unknown(number))
    return _watch(state, first, seconds)


async def _watch(state: State, job: Job, seconds: float) -> AsyncIterator[Job]:
    yield job
    while job.state not in ENDED:
        await asyncio.sleep(seconds)
        now = await find_job(state, job.id)
        if now is None:
            return
        if now != job:
            yield now
        job = now


async def cancel_job(state: State, number: int, user: str) -> Job:
    """Stop a job: at once if nobody runs it, else after the chunks that run. One that has ended stays as it is.

    Raises
    ------
    UnknownJobError
        Raised if there is no such job.
    """
    if await find_job(state, number) is None:  # Which makes no state.
        raise UnknownJobError(_unknown(number))
    return await state.write(lambda connection: cancel_in(connection, number, user))


async def cancel_in(connection: AsyncConnection, number: int, user: str) -> Job:
    """Stop a job that there is, in a transaction that writes; see `cancel_job`."""
    locked = _SELECT.where(JOB.c.id == number).with_for_update()
    job = job_of((await connection.execute(locked)).one())
    if job.state in ENDED:
        return job
    change = sa.update(JOB).where(JOB.c.id == number).values(cancelled_by=sa.func.coalesce(JOB.c.cancelled_by, user))
    if job.state is not JobState.RUNNING:
        change = change.values(state=JobState.CANCELLED, ended_at=NOW, holder=None, lease_until=None)
    await connection.execute(change)
    return job_of((await connection.execute(_SELECT.where(JOB.c.id == number))).one())


async def find_in(connection: AsyncConnection, number: int) -> Job | None:
    """Look at a job within a transaction; None if there is none with this number."""
    row = (await connection.execute(_SELECT.where(JOB.c.id == number))).one_or_none()
    return None if row is None else job_of(row)


def job_of(row: sa.Row[*tuple[Any, ...]]) -> Job:
    """Make a job of a row of its table."""
    return Job(
        id=row.id,
        kind=JobKind(row.kind),
        state=JobState(row.state),
        subject=row.subject,
        request=orjson.loads(row.request),
        created_by=row.created_by,
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        wait_until=row.wait_until,
        cancelled_by=row.cancelled_by,
        progress=Progress(
            done=row.done,
            total=row.total if row.planned or row.state == JobState.WAITING else None,
            unit=row.unit,
            message=row.message,
            bytes_done=row.bytes_done,
            seconds=row.active_micros / 1e6,
        ),
        result=None if row.result is None else orjson.loads(row.result),
        error=row.error,
    )


def _chosen(
    kinds: Sequence[JobKind] | None, states: Sequence[JobState] | None, subject: str | None
) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = []
    if kinds is not None:
        conditions.append(JOB.c.kind.in_(kinds))
    if states is not None:
        conditions.append(_STATE.in_(states))
    if subject is not None:
        conditions.append(JOB.c.subject == subject)
    return conditions


def _unknown(number: int) -> str:
    return f"There is no job {number}. The field jobs lists them."
