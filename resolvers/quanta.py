"""Units of work, and attempts at them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from butlerql.resolvers.connections import Connection, paging, paging_of
from butlerql.resolvers.context import RequestContext
from butlerql.resolvers.identifiers import encode
from butlerql.resolvers.jobs import instant
from butlerql.resolvers.loaders import Loaders
from butlerql.resolvers.quantum_filters import quantum_filter
from butlerql.storage.errors import UnknownNameError
from butlerql.storage.provenance.executions import Execution, count_executions, executions_of, find_executions
from butlerql.storage.provenance.filters import QuantumFilter
from butlerql.storage.provenance.pipeline_executions import PipelineExecution, pipeline_executions_by_uuid
from butlerql.storage.provenance.quanta import Quantum, count_quanta, find_quanta, quanta_by_id
from butlerql.storage.provenance.tasks import Task, tasks_by_label
from butlerql.storage.provenance.traces import count_edges, traces_of_quanta
from butlerql.storage.registry import collections as collection_rows
from butlerql.storage.registry.collections import Collection, CollectionType
from butlerql.storage.registry.data_id_values import DataId, constraint, existing
from butlerql.storage.registry.datasets import Dataset, by_uuids
from butlerql.storage.snapshot import Snapshot
from butlerql.storage.universe import DimensionGroup, Universe

__all__ = ["filter_of", "loaders", "quanta_by_key", "runs_by_name"]

loaders = Loaders()

_NOTHING = QuantumFilter(runs=[])


async def filter_of(context: RequestContext, given: Mapping[str, Any] | None) -> QuantumFilter:
    """Read a filter that was given.

    Raises
    ------
    InvalidArgumentError
        Raised if an id is not that of a pipeline execution.
    InvalidDataIdError
        Raised if a data ID cannot be understood.
    """
    chosen = quantum_filter(given or {})
    if chosen.data_id is not None:
        async with context.savepoint() as snapshot:
            values = await constraint(snapshot, chosen.data_id)
        if values is None:
            return _NOTHING
        chosen = replace(chosen, data_id=values)
    return chosen


async def runs_by_name(context: RequestContext, names: Sequence[str]) -> list[Collection | None]:
    """Find runs in the registry; None for each that it does not have."""
    found = await collection_rows.by_names(context.snapshot, list(dict.fromkeys(names)))
    runs = (found.get(name) for name in names)
    return [run if run is not None and run.type is CollectionType.RUN else None for run in runs]


async def quanta_by_key(context: RequestContext, keys: Sequence[str]) -> list[Quantum | None]:
    """Find units of work by what their identifiers hold."""
    numbers = [int(key) if key.isascii() and key.isdigit() and len(key) < 19 else 0 for key in keys]
    found = await quanta_by_id(context.repository.state, numbers)
    return [found.get(number) for number in numbers]


@loaders.field("Query.quanta", database=False)
async def _quanta(context: RequestContext, parents: Sequence[Any], **arguments: Any) -> list[Connection]:
    page = paging_of(context, "quanta", arguments)
    state, chosen = context.repository.state, await filter_of(context, arguments["filter"])

    async def counts(_snapshot: Snapshot, indexes: list[int]) -> list[int]:
        return [await count_quanta(state, chosen)] * len(indexes)

    found = await find_quanta(state, chosen, page.request, arguments.get("order_by"))
    return [page.connection(found, counts)] * len(parents)


@loaders.field("Query.executions", database=False)
async def _executions(context: RequestContext, parents: Sequence[Any], **arguments: Any) -> list[Connection]:
    page = paging_of(context, "executions", arguments)
    state, chosen = context.repository.state, await filter_of(context, arguments["filter"])

    async def counts(_snapshot: Snapshot, indexes: list[int]) -> list[int]:
        return [await count_executions(state, chosen)] * len(indexes)

    found = await find_executions(state, chosen, page.request, arguments.get("order_by"))
    return [page.connection(found, counts)] * len(parents)


@loaders.column("Quantum.id")
def _ids(parents: Sequence[Quantum]) -> list[str]:
    return [encode("Quantum", str(quantum.id)) for quantum in parents]


@loaders.column("Quantum.status")
def _statuses(parents: Sequence[Quantum]) -> list[str]:
    return [quantum.status.name for quantum in parents]


@loaders.field("Quantum.task", database=False)
async def _tasks(context: RequestContext, parents: Sequence[Quantum]) -> list[Task]:
    found = await tasks_by_label(context.repository.state, [quantum.task_label for quantum in parents])
    return [found[quantum.task_label] for quantum in parents]


@loaders.field("Quantum.run")
async def _runs(context: RequestContext, parents: Sequence[Quantum]) -> list[Collection | None]:
    return await runs_by_name(context, [quantum.run_name for quantum in parents])


@loaders.field("Quantum.dataId")
async def _data_ids(context: RequestContext, parents: Sequence[Quantum]) -> list[DataId | None]:
    universe = context.snapshot.repository.universe
    found: list[DataId | None] = [None] * len(parents)
    known: list[int] = []
    asked: list[tuple[DimensionGroup, tuple[Any, ...]]] = []
    for place, quantum in enumerate(parents):
        if (key := _key_of(universe, quantum.data_id_values)) is not None:
            known.append(place)
            asked.append(key)
    for place, data_id in zip(known, await existing(context.snapshot, asked), strict=True):
        found[place] = data_id
    return found


def _key_of(universe: Universe, values: Mapping[str, int | str]) -> tuple[DimensionGroup, tuple[Any, ...]] | None:
    """Give the dimensions of a data ID and its values; None if this universe does not have them."""
    try:
        group = universe.group(values)
    except UnknownNameError:
        return None
    return (group, tuple(values[name] for name in group.required)) if set(group.required) <= values.keys() else None


@loaders.field("Quantum.executions", database=False)
async def _attempts(context: RequestContext, parents: Sequence[Quantum]) -> list[list[Execution]]:
    return await executions_of(context.repository.state, [quantum.id for quantum in parents])


@loaders.field("Quantum.inputs", database=False)
async def _inputs(context: RequestContext, parents: Sequence[Quantum], **pages: Any) -> list[Connection]:
    return await _traces(context, parents, "Quantum.inputs", pages, is_output=False)


@loaders.field("Quantum.outputs", database=False)
async def _outputs(context: RequestContext, parents: Sequence[Quantum], **pages: Any) -> list[Connection]:
    return await _traces(context, parents, "Quantum.outputs", pages, is_output=True)


async def _traces(
    context: RequestContext, parents: Sequence[Quantum], field: str, pages: Mapping[str, Any], *, is_output: bool
) -> list[Connection]:
    page = paging(context, field, {}, **pages)
    state, numbers = context.repository.state, [quantum.id for quantum in parents]

    async def counts(_snapshot: Snapshot, indexes: list[int]) -> list[int]:
        return await count_edges(state, [numbers[index] for index in indexes], "quantum_id", is_output=is_output)

    return page.connections(await traces_of_quanta(state, numbers, page.request, is_output=is_output), counts)


@loaders.column("Execution.id")
def _execution_ids(parents: Sequence[Execution]) -> list[str]:
    return [encode("Execution", str(execution.id)) for execution in parents]


@loaders.column("Execution.status")
def _execution_statuses(parents: Sequence[Execution]) -> list[str]:
    return [execution.status.name for execution in parents]


@loaders.column("Execution.startedAt")
def _started(parents: Sequence[Execution]) -> list[int | None]:
    return [instant(execution.started_at) for execution in parents]


@loaders.column("Execution.endedAt")
def _ended(parents: Sequence[Execution]) -> list[int | None]:
    return [instant(execution.ended_at) for execution in parents]


@loaders.field("Execution.quantum", database=False)
async def _quanta_of_executions(context: RequestContext, parents: Sequence[Execution]) -> list[Quantum]:
    found = await quanta_by_id(context.repository.state, [execution.quantum_id for execution in parents])
    return [found[execution.quantum_id] for execution in parents]


@loaders.field("Execution.pipelineExecution", database=False)
async def _graphs(context: RequestContext, parents: Sequence[Execution]) -> list[PipelineExecution | None]:
    uuids = [execution.pipeline_execution_uuid for execution in parents]
    found = await pipeline_executions_by_uuid(context.repository.state, [uuid for uuid in uuids if uuid is not None])
    return [None if uuid is None else found[uuid] for uuid in uuids]


@loaders.field("Execution.log")
async def _logs(context: RequestContext, parents: Sequence[Execution]) -> list[Dataset | None]:
    return await _datasets(context, [execution.log_uuid for execution in parents])


@loaders.field("Execution.metadata")
async def _metadata(context: RequestContext, parents: Sequence[Execution]) -> list[Dataset | None]:
    return await _datasets(context, [execution.metadata_uuid for execution in parents])


async def _datasets(context: RequestContext, uuids: Sequence[str | None]) -> list[Dataset | None]:
    known = list(dict.fromkeys(uuid for uuid in uuids if uuid is not None))
    found = dict(zip(known, await by_uuids(context.snapshot, known), strict=True))
    return [None if uuid is None else found[uuid] for uuid in uuids]
