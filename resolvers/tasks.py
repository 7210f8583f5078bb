"""Tasks, and executions of the pipelines that are made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from butlerql.resolvers.connections import Connection, paging
from butlerql.resolvers.context import RequestContext
from butlerql.resolvers.identifiers import encode
from butlerql.resolvers.jobs import instant
from butlerql.resolvers.loaders import Loaders
from butlerql.resolvers.quanta import runs_by_name
from butlerql.storage.provenance.filters import QuantumFilter
from butlerql.storage.provenance.pipeline_executions import PipelineExecution, pipeline_executions_by_uuid, times_of
from butlerql.storage.provenance.task_summaries import TaskSummary, find_task_summaries, task_summaries_of_graphs
from butlerql.storage.provenance.tasks import (
    Task,
    classes_of,
    count_tasks,
    dataset_types_of,
    find_tasks,
    tasks_by_label,
    tasks_of_pipeline_executions,
    tasks_that_use,
)
from butlerql.storage.registry import dataset_types
from butlerql.storage.registry.collections import Collection
from butlerql.storage.registry.dataset_types import DatasetType
from butlerql.storage.snapshot import Snapshot

__all__ = ["loaders", "pipeline_executions_by_key", "tasks_by_key"]

loaders = Loaders()


async def tasks_by_key(context: RequestContext, keys: Sequence[str]) -> list[Task | None]:
    """Find tasks by what their identifiers hold."""
    found = await tasks_by_label(context.repository.state, keys)
    return [found.get(key) for key in keys]


async def pipeline_executions_by_key(context: RequestContext, keys: Sequence[str]) -> list[PipelineExecution | None]:
    """Find pipeline executions by what their identifiers hold."""
    found = await pipeline_executions_by_uuid(context.repository.state, keys)
    return [found.get(key) for key in keys]


@loaders.field("Query.task", database=False)
async def _task(context: RequestContext, parents: Sequence[Any], *, label: str) -> list[Task | None]:
    return await tasks_by_key(context, [label]) * len(parents)


@loaders.field("Query.tasks", database=False)
async def _tasks(
    context: RequestContext,
    parents: Sequence[Any],
    *,
    labels: Sequence[str] | None = None,
    runs: Sequence[str] | None = None,
    **pages: Any,
) -> list[Connection]:
    page = paging(context, "tasks", {"filters": [labels, runs]}, **pages)
    state, labels = context.repository.state, ["*"] if labels is None else labels

    async def counts(_snapshot: Snapshot, indexes: list[int]) -> list[int]:
        return [await count_tasks(state, labels, runs)] * len(indexes)

    return [page.connection(await find_tasks(state, labels, runs, page.request), counts)] * len(parents)


@loaders.column("Task.id")
def _ids(parents: Sequence[Task]) -> list[str]:
    return [encode("Task", task.label) for task in parents]


@loaders.field("Task.taskClass", database=False)
async def _classes(context: RequestContext, parents: Sequence[Task]) -> list[str | None]:
    return [next(iter(classes), None) for classes in await classes_of(context.repository.state, parents)]


@loaders.field("Task.taskClasses", database=False)
async def _all_classes(context: RequestContext, parents: Sequence[Task]) -> list[list[str]]:
    return await classes_of(context.repository.state, parents)


@loaders.field("Task.inputs")
async def _inputs(context: RequestContext, parents: Sequence[Task]) -> list[list[DatasetType]]:
    return await _dataset_types(context, parents, is_output=False)


@loaders.field("Task.outputs")
async def _outputs(context: RequestContext, parents: Sequence[Task]) -> list[list[DatasetType]]:
    return await _dataset_types(context, parents, is_output=True)


async def _dataset_types(context: RequestContext, tasks: Sequence[Task], *, is_output: bool) -> list[list[DatasetType]]:
    named = await dataset_types_of(context.repository.state, tasks, is_output=is_output)
    found = {
        name: await dataset_types.find_or_none(context.snapshot, name)
        for name in dict.fromkeys(name for names in named for name in names)
    }
    return [[kind for name in names if (kind := found[name]) is not None] for names in named]


@loaders.field("Task.summaries", database=False)
async def _summaries(
    context: RequestContext, parents: Sequence[Task], *, runs: Sequence[str] | None = None
) -> list[list[TaskSummary]]:
    chosen = QuantumFilter(runs=runs, tasks=[task.label for task in parents])
    found = await find_task_summaries(context.repository.state, chosen)
    return [[summary for summary in found if summary.task_label == task.label] for task in parents]


@loaders.field("DatasetType.producedBy", database=False)
async def _produced_by(context: RequestContext, parents: Sequence[DatasetType]) -> list[list[Task]]:
    return await tasks_that_use(context.repository.state, [kind.name for kind in parents], is_output=True)


@loaders.field("DatasetType.consumedBy", database=False)
async def _consumed_by(context: RequestContext, parents: Sequence[DatasetType]) -> list[list[Task]]:
    return await tasks_that_use(context.repository.state, [kind.name for kind in parents], is_output=False)


@loaders.column("PipelineExecution.id")
def _graph_ids(parents: Sequence[PipelineExecution]) -> list[str]:
    return [encode("PipelineExecution", graph.uuid) for graph in parents]


@loaders.field("PipelineExecution.run")
async def _runs(context: RequestContext, parents: Sequence[PipelineExecution]) -> list[Collection | None]:
    return await runs_by_name(context, [graph.run_name for graph in parents])


@loaders.field("PipelineExecution.tasks", database=False)
async def _tasks_of_graphs(context: RequestContext, parents: Sequence[PipelineExecution]) -> list[list[Task]]:
    return await tasks_of_pipeline_executions(context.repository.state, [graph.uuid for graph in parents])


@loaders.field("PipelineExecution.startedAt", database=False)
async def _started(context: RequestContext, parents: Sequence[PipelineExecution]) -> list[int | None]:
    return [instant(start) for start, _ in await times_of(context.repository.state, parents)]


@loaders.field("PipelineExecution.endedAt", database=False)
async def _ended(context: RequestContext, parents: Sequence[PipelineExecution]) -> list[int | None]:
    return [instant(end) for _, end in await times_of(context.repository.state, parents)]


@loaders.field("PipelineExecution.summary", database=False)
async def _graph_summaries(context: RequestContext, parents: Sequence[PipelineExecution]) -> list[list[TaskSummary]]:
    return await task_summaries_of_graphs(context.repository.state, parents)
