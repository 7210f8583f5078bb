"""How tasks went, and how machines fared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from butlerql.resolvers.context import RequestContext
from butlerql.resolvers.jobs import instant
from butlerql.resolvers.loaders import Loaders
from butlerql.resolvers.quanta import filter_of, runs_by_name
from butlerql.storage.provenance.distributions import Distribution, Measure
from butlerql.storage.provenance.host_summaries import HostSummary, find_host_summaries, measured_hosts
from butlerql.storage.provenance.task_summaries import TaskSummary, find_task_summaries, measured_tasks
from butlerql.storage.provenance.tasks import Task, tasks_by_label
from butlerql.storage.registry.collections import Collection

__all__ = ["loaders"]

loaders = Loaders()


@loaders.field("Query.taskSummaries", database=False)
async def _task_summaries(
    context: RequestContext,
    parents: Sequence[Any],
    *,
    filter: dict[str, Any],  # noqa: A002 - the contract's name
) -> list[list[TaskSummary]]:
    return [await find_task_summaries(context.repository.state, await filter_of(context, filter))] * len(parents)


@loaders.field("Query.hostSummaries", database=False)
async def _host_summaries(
    context: RequestContext,
    parents: Sequence[Any],
    *,
    filter: dict[str, Any],  # noqa: A002 - the contract's name
    min_executions: int | None = None,
) -> list[list[HostSummary]]:
    least = 1 if min_executions is None else min_executions
    found = await find_host_summaries(context.repository.state, await filter_of(context, filter), least)
    return [found] * len(parents)


@loaders.field("TaskSummary.task", database=False)
async def _tasks(context: RequestContext, parents: Sequence[TaskSummary]) -> list[Task]:
    found = await tasks_by_label(context.repository.state, [summary.task_label for summary in parents])
    return [found[summary.task_label] for summary in parents]


@loaders.field("TaskSummary.run")
async def _runs(context: RequestContext, parents: Sequence[TaskSummary]) -> list[Collection | None]:
    return await runs_by_name(context, [summary.run_name for summary in parents])


@loaders.field("TaskSummary.runTime", database=False)
async def _run_times(context: RequestContext, parents: Sequence[TaskSummary]) -> list[Distribution | None]:
    return await measured_tasks(context.repository.state, parents, Measure.RUN_TIME)


@loaders.field("TaskSummary.cpuTime", database=False)
async def _cpu_times(context: RequestContext, parents: Sequence[TaskSummary]) -> list[Distribution | None]:
    return await measured_tasks(context.repository.state, parents, Measure.CPU_TIME)


@loaders.field("TaskSummary.maxRss", database=False)
async def _memory(context: RequestContext, parents: Sequence[TaskSummary]) -> list[Distribution | None]:
    return await measured_tasks(context.repository.state, parents, Measure.MAX_RSS)


@loaders.field("HostSummary.runTime", database=False)
async def _run_times_of_hosts(context: RequestContext, parents: Sequence[HostSummary]) -> list[Distribution | None]:
    return await measured_hosts(context.repository.state, parents, Measure.RUN_TIME)


@loaders.field("HostSummary.maxRss", database=False)
async def _memory_of_hosts(context: RequestContext, parents: Sequence[HostSummary]) -> list[Distribution | None]:
    return await measured_hosts(context.repository.state, parents, Measure.MAX_RSS)


@loaders.column("HostSummary.firstSeen")
def _first_seen(parents: Sequence[HostSummary]) -> list[int | None]:
    return [instant(summary.first_seen) for summary in parents]


@loaders.column("HostSummary.lastSeen")
def _last_seen(parents: Sequence[HostSummary]) -> list[int | None]:
    return [instant(summary.last_seen) for summary in parents]


@loaders.column("HostSummary.lastSuccess")
def _last_success(parents: Sequence[HostSummary]) -> list[int | None]:
    return [instant(summary.last_success) for summary in parents]
