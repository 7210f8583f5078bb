"""Deletions planned, carried out and undone, here and now."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import sqlalchemy as sa

from butlerql.storage.datastores.deletion.asking import begin_deletion, begin_restoring
from butlerql.storage.datastores.deletion.deleting import Deletion
from butlerql.storage.datastores.deletion.planning import Bounds, Planning, insert_plan
from butlerql.storage.datastores.deletion.plans import (
    DeletionScope,
    Item,
    Outcome,
    Plan,
    Reason,
    find_items,
    find_plan,
    outcome_counts,
    reason_counts,
)
from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.registry.selection import DatasetSelection
from butlerql.storage.repository import Repository
from butlerql.storage.state.audit import find_entries
from butlerql.storage.state.coordinator import Coordinator
from butlerql.storage.state.jobs import Job, find_job
from butlerql.storage.state.tables import DELETION_PLAN, JOB

__all__ = ["Deleter", "deleter"]


class Deleter:
    """Does what the service does, of one repository."""

    def __init__(self, repository: Repository, bounds: Bounds = Bounds()) -> None:  # noqa: B008 - it is frozen
        self.repository = repository
        self.state = repository.state
        self._bounds = bounds
        self.retry_seconds: Sequence[float] = (0.0, 0.0)

    async def plan(
        self,
        scope: DeletionScope = DeletionScope.UNSTORE,
        datastore: str | None = None,
        override: Sequence[Reason] = (),
        **selection: Any,
    ) -> Plan:
        """Make a plan."""
        chosen = DatasetSelection(**selection)
        number, job = await self.state.write(
            lambda connection: insert_plan(connection, chosen, scope, datastore, override, "tester")
        )
        await self.run(job)
        return await find_plan(self.state, number)

    async def delete(self, plan: Plan, grace_seconds: int = 0) -> Plan:
        """Carry a plan out: as far as the grace period lets."""
        await self.run(await begin_deletion(self.repository, plan.id, grace_seconds, "tester"))
        return await find_plan(self.state, plan.id)

    async def delete_after(self, plan: Plan, grace_seconds: int) -> Plan:
        """Carry a plan out to its end: after a grace period, or with none."""
        plan = await self.delete(plan, grace_seconds)
        return await self.go_on(plan) if grace_seconds else plan

    async def go_on(self, plan: Plan) -> Plan:
        """Have the grace period pass."""
        now = await find_plan(self.state, plan.id)

        async def pass_(connection: Any) -> None:
            await connection.execute(sa.update(JOB).where(JOB.c.id == now.job_id).values(wait_until=0))
            await connection.execute(sa.update(DELETION_PLAN).values(unlink_after=0))

        await self.state.write(pass_)
        job = await find_job(self.state, now.job_id or 0)
        assert job is not None
        await self.run(job)
        return await find_plan(self.state, plan.id)

    async def restore(self, plan: Plan) -> Plan:
        """Undo what was carried out."""
        await self.run(await begin_restoring(self.repository, plan.id, "tester"))
        return await find_plan(self.state, plan.id)

    async def expire(self) -> None:
        """Let so much time pass that the leases of those that stopped are over."""
        await self.state.write(lambda connection: connection.execute(sa.update(JOB).values(lease_until=0)))

    async def run(self, job: Job) -> Job:
        """Run a job until it ends or waits."""
        kinds = [Planning(self.repository, self._bounds), Deletion(self.repository, self.retry_seconds)]
        coordinator = Coordinator(self.state, kinds, lambda: ThreadPoolExecutor(1), width=2)
        while await coordinator.run_next(job.id):
            pass
        await coordinator.close()
        found = await find_job(self.state, job.id)
        assert found is not None
        return found

    async def job(self, plan: Plan) -> Job:
        """Look at the job that last worked on a plan."""
        return await self.job_of(plan.job_id or 0)

    async def job_of(self, number: int) -> Job:
        """Look at a job."""
        found = await find_job(self.state, number)
        assert found is not None
        return found

    async def outcomes(self, plan: Plan) -> dict[Outcome, int]:
        """Count files by what became of them; the counts add up to the plan."""
        counts = {one.outcome: one.artifacts for one in await outcome_counts(self.state, plan.id)}
        assert sum(counts.values()) == len(await self.items(plan))
        return counts

    async def log(self) -> list[str]:
        """List the outcomes in the audit log, the newest first."""
        return [entry.outcome for entry in (await find_entries(self.state, PageRequest(1000))).rows]

    async def items(self, plan: Plan) -> list[Item]:
        """List all files of a plan."""
        return (await find_items(self.state, plan.id, PageRequest(100_000))).rows

    async def blocked(self, plan: Plan) -> dict[Reason, int]:
        """Count the datasets that are left alone, by the reason."""
        return {one.reason: one.datasets for one in await reason_counts(self.state, plan, blocks=True)}

    async def warned(self, plan: Plan) -> dict[Reason, int]:
        """Count the datasets that go all the same, by what there is to know."""
        return {one.reason: one.datasets for one in await reason_counts(self.state, plan, blocks=False)}


@asynccontextmanager
async def deleter(uri: str, bounds: Bounds = Bounds()) -> AsyncIterator[Deleter]:  # noqa: B008 - it is frozen
    """Open a repository to delete from."""
    repository = await Repository.open(uri, snapshot_seconds=60, writable=True)
    try:
        yield Deleter(repository, bounds)
    finally:
        await repository.close()
