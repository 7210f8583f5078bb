"""Carrying a plan of deletion out, or undoing it, as a job."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.datastores.deletion.chunks import (
    DETACHING,
    Done,
    datasets_left,
    end_of_chunk,
    files_left,
    note,
    read_chunk,
    read_files,
    read_journal,
)
from butlerql.storage.datastores.deletion.detaching import detach
from butlerql.storage.datastores.deletion.exports import Exports
from butlerql.storage.datastores.deletion.plans import RESTORABLE, Outcome, Plan, PlanState, find_plan, read_plan
from butlerql.storage.datastores.deletion.restoring import restore
from butlerql.storage.datastores.deletion.unlinking import require_roots, unlink, unlink_detached
from butlerql.storage.errors import InvalidArgumentError, StalePlanError
from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.repository import Repository
from butlerql.storage.state.audit import ended
from butlerql.storage.state.jobs import (
    ENDED,
    Job,
    JobKind,
    JobState,
    cancel_in,
    find_asked,
    find_in,
    find_jobs,
    insert_job,
)
from butlerql.storage.state.kinds import Kind, Planned, Step, Waiting
from butlerql.storage.state.tables import DELETION_DATASET, DELETION_ITEM, DELETION_PLAN, NOW

__all__ = ["Deletion", "ask_to_delete", "ask_to_restore", "stop"]

_RETRIES = (10.0, 60.0)
"""Seconds after which files that could not be removed are tried again."""

_WRITING = 4
"""Chunks whose rows are taken out, or put back, at once; more would only wait for each other."""

_DETACH, _UNLINK, _RESTORE = "detach", "unlink", "restore"
_OUTCOMES = {_DETACH: (Outcome.PENDING, DETACHING), _RESTORE: RESTORABLE}
"""To which datasets each step has to do something."""

_NOT_RESTORED = (Outcome.RESTORE_CONFLICT, Outcome.LOST)

_WAIT_SECONDS = 0.2


async def ask_to_delete(
    connection: AsyncConnection,
    number: int,
    grace_seconds: int,
    user: str,
    *,
    idempotency_key: str | None = None,
    audit: int | None = None,
) -> Job:
    """Have a plan carried out, in a transaction of the state that writes.

    One that is carried out already is left to the job that does. Of one that has ended, what failed is tried again; of
    one that was undone in part, what could not be restored goes, after the grace period.

    Parameters
    ----------
    number
        The plan's.
    grace_seconds
        How long files stay after their datasets are gone, or after they could not be restored.
    user
        Who asks.
    idempotency_key
        If this user has asked with the same key before, that job is meant, whatever became of it.
    audit
        Number of the entry of the audit log that gets the outcome.

    Raises
    ------
    StalePlanError
        Raised if it is not planned yet, has expired, or has been undone.
    InvalidArgumentError
        Raised if the key was used for another plan.
    """
    plan = await read_plan(connection, number, lock=True)
    if idempotency_key is not None:
        asked = await find_asked(connection, JobKind.DELETION, user, idempotency_key)
        if asked is not None:
            _require_same_plan(asked, number)
            return asked
    job = None if plan.job_id is None else await find_in(connection, plan.job_id)
    if job is not None and job.kind is JobKind.DELETION and job.state not in ENDED:
        if job.request["restore"]:
            raise StalePlanError("This plan was carried out and is being undone. Plan anew when that has ended.")
        return job
    if plan.state is PlanState.PLANNED:
        changes: dict[str, Any] = {"state": PlanState.DETACHING, "unlink_after": NOW + grace_seconds * 1_000_000}
    elif plan.state in _UNFINISHED and plan.unlink_after is not None:
        changes = await _again(connection, plan)
        if job is not None and job.request["restore"]:
            changes["unlink_after"] = NOW + grace_seconds * 1_000_000
    else:
        raise StalePlanError(_STALE[plan.state])
    return await _insert(connection, plan, user, restores=False, key=idempotency_key, audit=audit, **changes)


async def ask_to_restore(connection: AsyncConnection, number: int, user: str, *, audit: int | None = None) -> Job:
    """Have a deletion undone, in a transaction of the state that writes; what is carrying it out is stopped first.

    Where it was undone in part, what could not be restored is tried again.

    Raises
    ------
    StalePlanError
        Raised if there is nothing that could be undone.
    """
    plan = await read_plan(connection, number, lock=True)
    why = "it was not carried out." if plan.unlink_after is None else _NOTHING_LEFT.get(plan.state)
    if why is not None:
        raise StalePlanError(f"Of this plan nothing can be restored: {why}")
    job = None if plan.job_id is None else await find_in(connection, plan.job_id)
    if job is not None and job.state not in ENDED:
        if job.request.get("restore"):
            return job
        await stop(connection, job, user)
    return await _insert(connection, plan, user, restores=True, audit=audit)


async def stop(connection: AsyncConnection, job: Job, user: str) -> Job:
    """Stop a job of a deletion, in a transaction of the state that writes, and undo nothing; see `cancel_in`."""
    stopped = await cancel_in(connection, job.id, user)
    if stopped.state is JobState.CANCELLED:
        await _note_stopped(connection, stopped)
    return stopped


async def _note_stopped(connection: AsyncConnection, job: Job) -> None:
    if job.request["audit"] is not None:
        await ended(job.request["audit"], job.state)(connection)


def _require_same_plan(job: Job, number: int) -> None:
    if job.request["plan"] != number:
        raise InvalidArgumentError("This idempotencyKey was used for another plan. Give each plan one of its own.")


_UNFINISHED = frozenset(
    {
        *(PlanState.DETACHING, PlanState.DETACHED, PlanState.UNLINKING, PlanState.UNLINKED),
        *(PlanState.PARTLY_RESTORED, PlanState.FAILED),
    }
)
_STALE = {
    PlanState.PLANNING: "This plan is still being made. Ask again when its job has ended.",
    PlanState.EXPIRED: "This plan has expired: too much may have changed since. Plan anew.",
    PlanState.FAILED: "This plan could not be made; its job says why. Plan anew.",
    PlanState.RESTORED: "This plan was carried out and undone. Plan anew.",
}
_NOTHING_LEFT = {
    PlanState.RESTORED: "all is restored.",
    PlanState.UNLINKING: "its files are being removed. If its job is cancelled, what is left can be restored.",
    PlanState.UNLINKED: "its files have been removed.",
}


async def _again(connection: AsyncConnection, plan: Plan) -> dict[str, Any]:
    """Have what failed, and what could not be restored, done again, and tell what becomes of the plan."""
    dataset, item = DELETION_DATASET.c, DELETION_ITEM.c
    for table in (DELETION_DATASET, DELETION_ITEM):
        back = sa.update(table).where(table.c.plan_id == plan.id, table.c.outcome.in_(_NOT_RESTORED))
        await connection.execute(back.values(outcome=Outcome.DETACHED, reason=None))
    untouched = [dataset.plan_id == plan.id, dataset.outcome == Outcome.FAILED]
    pending = sa.update(DELETION_DATASET).where(*untouched).values(outcome=Outcome.PENDING, reason=None)
    await connection.execute(pending)
    await connection.execute(
        sa.update(DELETION_ITEM)
        .where(item.plan_id == plan.id, item.outcome == Outcome.FAILED, item.tries == 0)
        .values(outcome=Outcome.PENDING, reason=None)
    )
    return {"state": PlanState.DETACHING}


async def _insert(
    connection: AsyncConnection,
    plan: Plan,
    user: str,
    *,
    restores: bool,
    key: str | None = None,
    audit: int | None = None,
    **changes: Any,
) -> Job:
    request = {"plan": plan.id, "restore": restores, "audit": audit}
    job = await insert_job(
        connection,
        Deletion.name,
        request,
        unit=Deletion.unit,
        user=user,
        subject=str(plan.id),
        idempotency_key=key,
    )
    _require_same_plan(job, plan.id)
    change = sa.update(DELETION_PLAN).where(DELETION_PLAN.c.id == plan.id)
    await connection.execute(change.values(job_id=job.id, **changes))
    return job


class Deletion(Kind):
    """Detaches what a plan holds, waits, and unlinks the files; or puts back what was detached.

    Parameters
    ----------
    repository
        Whose datasets, and whose own state.
    retry_seconds
        After how long files that could not be removed are tried again, one after another.
    """

    name = JobKind.DELETION
    unit = "datasets and files"

    def __init__(self, repository: Repository, retry_seconds: Sequence[float] = _RETRIES) -> None:
        self._repository = repository
        self._state = repository.state
        self._exports = Exports(repository)
        self._retries = retry_seconds
        # On SQLite who writes is alone, and who waits long enough is told that it is busy.
        self._writing = asyncio.Semaphore(1 if repository.dialect.name == "sqlite" else _WRITING)
        # All at once would be read as late as the last: while one is, another is gone on with.
        self._reading = asyncio.Lock()

    async def plan(self, job: Job, after: Any) -> AsyncGenerator[Planned]:
        """Cut the plan into chunks, each of whole bundles, for the step that it has come to."""
        plan = await find_plan(self._state, job.request["plan"])
        step = _RESTORE if job.request["restore"] else _DETACH
        if step == _RESTORE:
            await self._wait_for_others(job, plan)
        elif plan.state is not PlanState.DETACHING:
            step = _UNLINK
            await self._state.write(lambda connection: _set_state(connection, plan, PlanState.UNLINKING))
        tries = await self._state.read(lambda connection: _tries(connection, plan), absent=0)
        work = {"step": step, "tries": tries}
        until = after["until"] if after is not None and work.items() <= after.items() else 0
        left = files_left(plan.id) if step == _UNLINK else datasets_left(plan.id, _OUTCOMES[step])
        while (found := await end_of_chunk(self._state, left, until)) is not None:
            last, count = found
            yield Planned({**work, "after": until, "until": last, "count": count}, count)
            until = last

    async def _wait_for_others(self, job: Job, plan: Plan) -> None:
        """Wait for the chunk to end that another job of the same plan is at; it was told to stop."""
        kinds, states = [JobKind.DELETION], [JobState.RUNNING, JobState.INTERRUPTED]
        while True:
            page = await find_jobs(self._state, PageRequest(10), kinds=kinds, states=states, subject=str(plan.id))
            if all(other.id == job.id for other in page.rows):
                return
            await asyncio.sleep(_WAIT_SECONDS)

    async def review(self, job: Job, work: Any, result: Any) -> Done:
        """Do a step of a chunk."""
        plan = await find_plan(self._state, job.request["plan"])
        if work["step"] == _UNLINK:
            async with self._reading:
                files = await read_files(self._repository, plan.id, work["after"], work["until"])
            return await unlink(self._repository, plan, *files)
        async with self._reading:
            chunk = await read_chunk(self._repository, plan.id, work["after"], work["until"])
        async with self._writing:
            if work["step"] == _RESTORE:
                journal = await read_journal(self._state, plan.id, work["after"], work["until"])
                return await restore(self._repository, plan, chunk, journal)
            await require_roots(self._repository, plan)
            detached = await detach(self._repository, plan, chunk, self._exports)
        # So they are not read once more, nor written down as waiting; and while they are removed, the next chunk is
        # detached.
        if await self._state.write(lambda connection: _may_unlink(connection, job)):
            return await unlink_detached(self._repository, plan, chunk, detached)
        return detached

    async def absorb(self, connection: AsyncConnection, job: Job, work: Any, result: Done) -> Step:
        """Write down what became of the chunk."""
        plan, dialect = job.request["plan"], self._state.dialect
        await note(connection, dialect, DELETION_ITEM, plan, result.items)
        await note(connection, dialect, DELETION_DATASET, plan, result.datasets)
        return Step(work["count"], result.bytes)

    async def stopped(self, connection: AsyncConnection, job: Job) -> None:
        """Write down in the audit log that it did not come to its end."""
        await _note_stopped(connection, job)

    async def finish(self, connection: AsyncConnection, job: Job) -> Any | Waiting:
        """Wait for the grace period after detaching, and for another try after unlinking; else conclude."""
        plan = await read_plan(connection, job.request["plan"], lock=True)
        if job.request["restore"]:
            state = await _restored_state(connection, plan)
        else:
            state, waits = PlanState.UNLINKED, []
            if (tries := await _tries(connection, plan)) and tries <= len(self._retries):
                waits.append(await _now(connection) + round(self._retries[tries - 1] * 1e6))
            if plan.state is PlanState.DETACHING or await _has(connection, DELETION_ITEM, plan, Outcome.DETACHED):
                await _set_state(connection, plan, PlanState.DETACHED)
                waits.append(plan.unlink_after or 0)
            if waits:
                return Waiting(max(waits))
        await _set_state(connection, plan, state)
        if job.request["audit"] is not None:
            await ended(job.request["audit"], state)(connection)
        return {"state": state}


async def _set_state(connection: AsyncConnection, plan: Plan, state: PlanState) -> None:
    await connection.execute(sa.update(DELETION_PLAN).where(DELETION_PLAN.c.id == plan.id).values(state=state))


async def _now(connection: AsyncConnection) -> int:
    return int((await connection.execute(sa.select(NOW))).scalar_one())


async def _may_unlink(connection: AsyncConnection, job: Job) -> bool:
    """Write down that files are being removed, if the grace period has passed and nobody has begun to undo it."""
    plan = DELETION_PLAN.c
    is_time = [plan.id == job.request["plan"], plan.job_id == job.id, plan.unlink_after <= NOW]
    begun = await connection.execute(sa.update(DELETION_PLAN).where(*is_time).values(state=PlanState.UNLINKING))
    return begun.rowcount > 0


async def _has(connection: AsyncConnection, table: sa.Table, plan: Plan, *outcomes: Outcome) -> bool:
    """Whether any file, or dataset, of a plan has one of some outcomes."""
    some = sa.select(table.c.number).where(table.c.plan_id == plan.id, table.c.outcome.in_(outcomes)).limit(1)
    return await connection.scalar(some) is not None


async def _tries(connection: AsyncConnection, plan: Plan) -> int:
    """Tell how often the files were tried that could not be removed; 0 if there are none."""
    item = DELETION_ITEM.c
    tries = sa.select(sa.func.max(item.tries)).where(item.plan_id == plan.id, item.outcome == Outcome.FAILED)
    return int(await connection.scalar(tries) or 0)


async def _restored_state(connection: AsyncConnection, plan: Plan) -> PlanState:
    is_part = await _has(connection, DELETION_DATASET, plan, *_NOT_RESTORED)
    return PlanState.PARTLY_RESTORED if is_part else PlanState.RESTORED
