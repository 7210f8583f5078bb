"""Stopping jobs of any kind: a deletion that is stopped in time is undone."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.datastores.deletion.deleting import ask_to_restore, stop
from butlerql.storage.datastores.deletion.plans import PlanState, read_plan
from butlerql.storage.repository import Repository
from butlerql.storage.state.audit import begin
from butlerql.storage.state.jobs import ENDED, Job, JobKind, cancel_job, find_in, find_job

__all__ = ["cancel"]


async def cancel(repository: Repository, number: int, user: str) -> Job:
    """Stop a job: at once if nobody runs it, else after the chunks that run. One that has ended stays as it is.

    What a deletion has detached is restored by another job, unless it has begun to remove files.

    Raises
    ------
    UnknownJobError
        Raised if there is no such job.
    ReadOnlyError
        Raised if it is a deletion, and the repository cannot be changed.
    """
    state = repository.state
    found = await find_job(state, number)
    if found is None or found.kind is not JobKind.DELETION:
        return await cancel_job(state, number, user)
    repository.require_writable()

    async def undo(connection: AsyncConnection) -> Job:
        plan = await read_plan(connection, found.request["plan"], lock=True)
        job = await find_in(connection, number)
        assert job is not None
        if job.state in ENDED:
            return job
        if job.request["restore"] or plan.state is PlanState.UNLINKING:
            return await stop(connection, job, user)
        audit = await begin(connection, user=user, action="cancelJob", target=f"plan {plan.id}", detail={"job": number})
        await ask_to_restore(connection, plan.id, user, audit=audit)
        cancelled = await find_in(connection, number)
        assert cancelled is not None
        return cancelled

    return await state.write(undo)
