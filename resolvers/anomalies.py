"""Where a run departs from earlier ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from butlerql.resolvers.connections import paging
from butlerql.resolvers.context import RequestContext
from butlerql.resolvers.loaders import Loaders
from butlerql.resolvers.quanta import runs_by_name
from butlerql.storage.provenance.anomalies import Anomaly, examples_of, find_anomalies
from butlerql.storage.provenance.executions import Execution
from butlerql.storage.provenance.tasks import Task, tasks_by_label
from butlerql.storage.registry.collections import Collection

__all__ = ["loaders"]

loaders = Loaders()


@loaders.field("Query.anomalies", database=False)
async def _anomalies(
    context: RequestContext,
    parents: Sequence[Any],
    *,
    run: str,
    baseline: Sequence[str],
    ratio: float | None = None,
    min_executions: int | None = None,
) -> list[list[Anomaly] | None]:
    least_ratio, least = 2.0 if ratio is None else ratio, 3 if min_executions is None else min_executions
    return [await find_anomalies(context.repository.state, run, baseline, least_ratio, least)] * len(parents)


@loaders.column("Anomaly.kind")
def _kinds(parents: Sequence[Anomaly]) -> list[str]:
    return [anomaly.kind.name for anomaly in parents]


@loaders.field("Anomaly.task", database=False)
async def _tasks(context: RequestContext, parents: Sequence[Anomaly]) -> list[Task]:
    found = await tasks_by_label(context.repository.state, [anomaly.task_label for anomaly in parents])
    return [found[anomaly.task_label] for anomaly in parents]


@loaders.field("Anomaly.run")
async def _runs(context: RequestContext, parents: Sequence[Anomaly]) -> list[Collection | None]:
    return await runs_by_name(context, [anomaly.run_name for anomaly in parents])


@loaders.field("Anomaly.examples", database=False)
async def _examples(
    context: RequestContext, parents: Sequence[Anomaly], *, first: int | None = None
) -> list[list[Execution]]:
    page = paging(context, "Anomaly.examples", {}, first=5 if first is None else first)
    return await examples_of(context.repository.state, parents, page.request.limit)
