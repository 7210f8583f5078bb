"""Deletions: planned, carried out, and undone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from butlerql.resolvers.connections import Connection, page_by_uuid, paging, paging_of
from butlerql.resolvers.context import RequestContext
from butlerql.resolvers.dataset_connections import selection_of
from butlerql.resolvers.identifiers import decode, digits, encode
from butlerql.resolvers.jobs import ANYBODY, JobPayload, instant
from butlerql.resolvers.loaders import Loaders
from butlerql.scopes import Scope
from butlerql.storage.datastores.deletion import plans
from butlerql.storage.datastores.deletion.asking import PlanRequest, ask_to_plan, begin_deletion, begin_restoring
from butlerql.storage.datastores.deletion.plans import DeletionScope, Item, Outcome, Plan, Reason, Trace, find_plan
from butlerql.storage.datastores.tree import Datastore
from butlerql.storage.errors import InvalidArgumentError, UnknownPlanError
from butlerql.storage.registry.dataset_groups import DatasetGroup, GroupKey
from butlerql.storage.snapshot import Snapshot
from butlerql.storage.state.jobs import Job, JobState, watch_job

__all__ = ["loaders", "plans_by_key"]

loaders = Loaders()

_TYPE = "DeletionPlan"

_WAIT_SECONDS = 5.0
"""How long a mutation waits for what it asked for, so that what is small is done when it answers."""

_LOOK_SECONDS = 0.1


class _PlanPayload(NamedTuple):
    plan: Plan
    job: Job | None
    client_mutation_id: str | None


@loaders.mutation("planDeletion", scope=Scope.DELETE)
async def _plan(
    context: RequestContext,
    parents: Sequence[Any],
    *,
    input: Mapping[str, Any],  # noqa: A002 - the contract's name
) -> list[_PlanPayload]:
    request = PlanRequest(
        selection_of(input["select"]),
        DeletionScope(input["scope"]),
        input.get("datastore"),
        [Reason(reason) for reason in input.get("override") or ()],
    )
    async with context.outside():
        number, job = await ask_to_plan(context.repository, request, ANYBODY)
        return [await _payload(context, number, job, input)] * len(parents)


@loaders.mutation("deleteDatasets", scope=Scope.DELETE)
async def _delete(
    context: RequestContext,
    parents: Sequence[Any],
    *,
    input: Mapping[str, Any],  # noqa: A002
) -> list[JobPayload]:
    number, rules = _required(input["plan"]), context.limits.deletion
    asked = input.get("grace_seconds")
    grace = rules.grace_seconds if asked is None else asked
    if grace < 0:
        raise InvalidArgumentError("A grace period cannot be negative.")
    if grace < rules.grace_floor_seconds:
        context.require_scope(Scope.ADMIN)
    async with context.outside():
        job = await begin_deletion(
            context.repository, number, grace, ANYBODY, idempotency_key=input.get("idempotency_key")
        )
    context.wake()
    return [JobPayload(job, input.get("client_mutation_id"))] * len(parents)


@loaders.mutation("restoreDeletion", scope=Scope.DELETE)
async def _restore(
    context: RequestContext,
    parents: Sequence[Any],
    *,
    input: Mapping[str, Any],  # noqa: A002
) -> list[_PlanPayload]:
    number = _required(input["plan"])
    async with context.outside():
        job = await begin_restoring(context.repository, number, ANYBODY)
        return [await _payload(context, number, job, input)] * len(parents)


async def _payload(
    context: RequestContext,
    number: int,
    job: Job,
    input: Mapping[str, Any],  # noqa: A002
) -> _PlanPayload:
    """Tell what became of a plan, when its job has ended or takes long."""
    state = context.repository.state
    context.wake()
    with suppress(TimeoutError):
        async with asyncio.timeout(_WAIT_SECONDS):
            async for now in await watch_job(state, job.id, seconds=_LOOK_SECONDS):
                job = now
    plan = await find_plan(state, number)
    done = job.state is JobState.SUCCEEDED
    return _PlanPayload(plan, None if done else job, input.get("client_mutation_id"))


@loaders.field("PlanningJob.plan", database=False)
@loaders.field("DeletionJob.plan", database=False)
async def _plans_of_jobs(context: RequestContext, parents: Sequence[Job]) -> list[Plan]:
    return [await find_plan(context.repository.state, job.request["plan"]) for job in parents]


@loaders.column(f"{_TYPE}.id")
def _ids(parents: Sequence[Plan]) -> list[str]:
    return [encode(_TYPE, str(plan.id)) for plan in parents]


@loaders.field(f"{_TYPE}.datastore", database=False)
async def _datastores(context: RequestContext, parents: Sequence[Plan]) -> list[Datastore | None]:
    root = context.repository.datastore
    return [None if plan.datastore is None else root.find(plan.datastore) for plan in parents]


@loaders.column(f"{_TYPE}.createdAt")
def _created(parents: Sequence[Plan]) -> list[int | None]:
    return [instant(plan.created_at) for plan in parents]


@loaders.column(f"{_TYPE}.expiresAt")
def _expiring(parents: Sequence[Plan]) -> list[int | None]:
    return [instant(plan.expires_at) for plan in parents]


@loaders.column(f"{_TYPE}.unlinkAfter")
def _unlinking(parents: Sequence[Plan]) -> list[int | None]:
    return [instant(plan.unlink_after) for plan in parents]


@loaders.column(f"{_TYPE}.override")
def _overridden(parents: Sequence[Plan]) -> list[list[Reason]]:
    return [[reason for reason in Reason if reason in plan.overridden] for plan in parents]


@loaders.field(f"{_TYPE}.freedBytes", database=False)
async def _freed(context: RequestContext, parents: Sequence[Plan]) -> list[int]:
    return [await plans.freed_bytes(context.repository.state, plan.id) for plan in parents]


@loaders.field(f"{_TYPE}.groups", database=False)
async def _groups(context: RequestContext, parents: Sequence[Plan], *, by: Sequence[str]) -> list[list[DatasetGroup]]:
    keys = [GroupKey(key) for key in by]
    return [await plans.groups(context.repository.state, plan.id, keys) for plan in parents]


@loaders.field(f"{_TYPE}.blocked", database=False)
async def _blocked(context: RequestContext, parents: Sequence[Plan]) -> list[list[plans.ReasonCount]]:
    return [await plans.reason_counts(context.repository.state, plan, blocks=True) for plan in parents]


@loaders.field(f"{_TYPE}.warnings", database=False)
async def _warnings(context: RequestContext, parents: Sequence[Plan]) -> list[list[plans.ReasonCount]]:
    return [await plans.reason_counts(context.repository.state, plan, blocks=False) for plan in parents]


@loaders.field(f"{_TYPE}.outcomes", database=False)
async def _outcomes(context: RequestContext, parents: Sequence[Plan]) -> list[list[plans.OutcomeCount]]:
    return [await plans.outcome_counts(context.repository.state, plan.id) for plan in parents]


@loaders.field(f"{_TYPE}.items", database=False)
async def _items(
    context: RequestContext, parents: Sequence[Plan], *, outcomes: Sequence[str] | None = None, **pages: Any
) -> list[Connection]:
    state = context.repository.state
    page = paging(context, f"{_TYPE}.items", {"outcomes": outcomes}, **pages)
    chosen = None if outcomes is None else [Outcome(outcome) for outcome in outcomes]

    async def counts(_snapshot: Snapshot, indexes: list[int]) -> list[int]:
        return [await plans.count_items(state, parents[index].id, chosen) for index in indexes]

    found = [await plans.find_items(state, plan.id, page.request, chosen) for plan in parents]
    return page.connections(found, counts)


@loaders.field("DeletionItem.datasetCount", database=False)
async def _dataset_counts(context: RequestContext, parents: Sequence[Item]) -> list[int]:
    return [len(traces) for traces in await plans.traces(context.repository.state, parents)]


@loaders.field("DeletionItem.datasets", database=False)
async def _datasets(context: RequestContext, parents: Sequence[Item], **arguments: Any) -> list[Connection]:
    page = paging_of(context, "DeletionItem.datasets", arguments, [(item.plan, item.number) for item in parents])
    found: list[list[Trace]] = await plans.traces(context.repository.state, parents)

    async def counts(_snapshot: Snapshot, indexes: list[int]) -> list[int]:
        return [len(found[index]) for index in indexes]

    return page.connections([page_by_uuid(traces, page.request) for traces in found], counts)


async def plans_by_key(context: RequestContext, keys: Iterable[str]) -> list[Plan | None]:
    """Find plans by what their identifiers hold."""
    return [await _plan_or_none(context, digits(key)) for key in keys]


async def _plan_or_none(context: RequestContext, number: int | None) -> Plan | None:
    if number is not None:
        with suppress(UnknownPlanError):
            return await find_plan(context.repository.state, number)
    return None


def _required(identifier: str) -> int:
    kind, key = decode(identifier)
    number = digits(key) if kind == _TYPE else None
    if number is None:
        raise UnknownPlanError("This is not the id of a plan. The mutation planDeletion makes one.")
    return number
