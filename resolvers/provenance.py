"""Where datasets and runs came from, and where they went."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from butlerql.resolvers.connections import Connection, paging, paging_of
from butlerql.resolvers.context import RequestContext
from butlerql.resolvers.identifiers import encode
from butlerql.resolvers.loaders import Loaders
from butlerql.resolvers.quanta import filter_of
from butlerql.storage.provenance.executions import count_executions_of_runs, executions_of_runs
from butlerql.storage.provenance.filters import QuantumFilter
from butlerql.storage.provenance.host_summaries import HostSummary, host_summaries_of_runs
from butlerql.storage.provenance.lineage import Lineage, LineageEdge, lineages
from butlerql.storage.provenance.pipeline_executions import PipelineExecution, pipeline_executions_of_runs
from butlerql.storage.provenance.quanta import Quantum, count_quanta_of_runs, quanta_of_runs
from butlerql.storage.provenance.run_comparisons import packages_of_runs
from butlerql.storage.provenance.task_summaries import TaskSummary, find_task_summaries
from butlerql.storage.provenance.tasks import Task, tasks_of_runs
from butlerql.storage.provenance.traces import (
    DatasetTrace,
    count_derived,
    count_edges,
    dataset_numbers,
    derived_traces,
    producers_of,
    traces_of_quanta,
    users_of,
)
from butlerql.storage.registry.collections import Collection
from butlerql.storage.registry.datasets import Dataset, by_uuids
from butlerql.storage.snapshot import Snapshot

__all__ = ["loaders"]

loaders = Loaders()

_NOBODY = 0
"""In place of the number of what provenance does not know."""


class _Provenance(NamedTuple):
    """Of one dataset."""

    uuid: str


class _RunProvenance(NamedTuple):
    """Of one run."""

    run: str


@loaders.column("Dataset.provenance")
def _of_datasets(parents: Sequence[Dataset]) -> list[_Provenance]:
    return [_Provenance(dataset.uuid) for dataset in parents]


@loaders.column("Run.provenance")
def _of_runs(parents: Sequence[Collection]) -> list[_RunProvenance]:
    return [_RunProvenance(run.name) for run in parents]


async def _numbers(context: RequestContext, parents: Sequence[_Provenance]) -> list[int]:
    found = await dataset_numbers(context.repository.state, [one.uuid for one in parents])
    return [found.get(one.uuid, _NOBODY) for one in parents]


@loaders.field("Provenance.generatedBy", database=False)
async def _generated_by(context: RequestContext, parents: Sequence[_Provenance]) -> list[Quantum | None]:
    numbers = await _numbers(context, parents)
    found = await producers_of(context.repository.state, numbers)
    return [found.get(number) for number in numbers]


@loaders.field("Provenance.usedBy", database=False)
async def _used_by(context: RequestContext, parents: Sequence[_Provenance], **pages: Any) -> list[Connection]:
    page = paging(context, "Provenance.usedBy", {}, **pages)
    state, numbers = context.repository.state, await _numbers(context, parents)

    async def counts(_snapshot: Snapshot, indexes: list[int]) -> list[int]:
        return await count_edges(state, [numbers[index] for index in indexes], "dataset_id", is_output=False)

    return page.connections(await users_of(state, numbers, page.request), counts)


@loaders.field("Provenance.inputs", database=False)
async def _inputs(context: RequestContext, parents: Sequence[_Provenance], **pages: Any) -> list[Connection]:
    page = paging(context, "Provenance.inputs", {}, **pages)
    state, numbers = context.repository.state, await _numbers(context, parents)
    producers = await producers_of(state, numbers)
    quanta = [producers[number].id if number in producers else _NOBODY for number in numbers]

    async def counts(_snapshot: Snapshot, indexes: list[int]) -> list[int]:
        return await count_edges(state, [quanta[index] for index in indexes], "quantum_id", is_output=False)

    return page.connections(await traces_of_quanta(state, quanta, page.request, is_output=False), counts)


@loaders.field("Provenance.derived", database=False)
async def _derived(context: RequestContext, parents: Sequence[_Provenance], **pages: Any) -> list[Connection]:
    page = paging(context, "Provenance.derived", {}, **pages)
    state, numbers = context.repository.state, await _numbers(context, parents)

    async def counts(_snapshot: Snapshot, indexes: list[int]) -> list[int]:
        return await count_derived(state, [numbers[index] for index in indexes])

    return page.connections(await derived_traces(state, numbers, page.request), counts)


@loaders.field("Provenance.lineage", database=False)
async def _lineages(
    context: RequestContext, parents: Sequence[_Provenance], *, direction: str, depth: int | None = None
) -> list[Lineage]:
    return await lineages(
        context.repository.state,
        [one.uuid for one in parents],
        is_upstream=direction == "UPSTREAM",
        depth=3 if depth is None else depth,
    )


@loaders.column("LineageEdge.quantum")
def _quantum_ids(parents: Sequence[LineageEdge]) -> list[str]:
    return [encode("Quantum", str(edge.quantum_id)) for edge in parents]


@loaders.column("LineageEdge.role")
def _roles(parents: Sequence[LineageEdge]) -> list[str]:
    return ["OUTPUT" if edge.is_output else "INPUT" for edge in parents]


@loaders.field("DatasetTrace.dataset")
async def _datasets(context: RequestContext, parents: Sequence[DatasetTrace]) -> list[Dataset | None]:
    return await by_uuids(context.snapshot, [trace.uuid for trace in parents])


@loaders.field("RunProvenance.summary", database=False)
async def _summaries(context: RequestContext, parents: Sequence[_RunProvenance]) -> list[list[TaskSummary]]:
    chosen = QuantumFilter(only_runs=[one.run for one in parents])
    by_run: dict[str, list[TaskSummary]] = {}
    for summary in await find_task_summaries(context.repository.state, chosen):
        by_run.setdefault(summary.run_name, []).append(summary)
    return [by_run.get(one.run, []) for one in parents]


@loaders.field("RunProvenance.hosts", database=False)
async def _hosts(context: RequestContext, parents: Sequence[_RunProvenance]) -> list[list[HostSummary]]:
    return await host_summaries_of_runs(context.repository.state, [one.run for one in parents])


@loaders.field("RunProvenance.tasks", database=False)
async def _tasks(context: RequestContext, parents: Sequence[_RunProvenance]) -> list[list[Task]]:
    return await tasks_of_runs(context.repository.state, [one.run for one in parents])


@loaders.field("RunProvenance.pipelineExecutions", database=False)
async def _graphs(context: RequestContext, parents: Sequence[_RunProvenance]) -> list[list[PipelineExecution]]:
    return await pipeline_executions_of_runs(context.repository.state, [one.run for one in parents])


@loaders.field("RunProvenance.packages", database=False)
async def _packages(context: RequestContext, parents: Sequence[_RunProvenance]) -> list[Mapping[str, str] | None]:
    found = await packages_of_runs(context.repository.state, [one.run for one in parents])
    return [found.get(one.run) for one in parents]


def _in_runs(name: str, find_pages: Callable[..., Any], count: Callable[..., Awaitable[list[int]]]) -> None:
    """Have a connection of each run looked at by its filter, all runs at once."""

    @loaders.field(f"RunProvenance.{name}", database=False)
    async def connections(
        context: RequestContext, parents: Sequence[_RunProvenance], **arguments: Any
    ) -> list[Connection]:
        page = paging_of(context, f"RunProvenance.{name}", arguments)
        state, runs = context.repository.state, [one.run for one in parents]
        chosen = await filter_of(context, arguments.get("filter"))

        async def counts(_snapshot: Snapshot, indexes: list[int]) -> list[int]:
            return await count(state, [runs[index] for index in indexes], chosen)

        return page.connections(await find_pages(state, runs, chosen, page.request), counts)


_in_runs("quanta", quanta_of_runs, count_quanta_of_runs)
_in_runs("executions", executions_of_runs, count_executions_of_runs)
