"""What the blocks of a quantum graph tell of the units of work, and of what they read and write.

Hosts and ends are in the metadata of the executions, which have a member of their own; and so have logs, which are
looked at only where nothing else tells what became of an execution.

Sources: ``lsst.pipe.base.quantum_graph._provenance`` and ``._predicted``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from butlerql.storage.errors import InvalidSourceError
from butlerql.storage.provenance.blocks import Addresses, Blocks, Unpacker
from butlerql.storage.provenance.lenient_json import (
    array_of,
    count_of,
    data_id_of,
    duration_of,
    moment_of,
    name_of,
    object_of,
    parse,
    text_of,
    uuid_of,
)
from butlerql.storage.provenance.records import (
    DatasetRecord,
    ExecutionRecord,
    QuantumRecord,
    QuantumStatus,
    Record,
    Skipped,
)
from butlerql.storage.provenance.task_logs import span_of
from butlerql.storage.provenance.task_metadata import caveats_of, hosts_of

__all__ = ["ADDRESSES", "Dimensions", "ExecutedQuanta", "Plan", "PlannedQuanta"]

ADDRESSES = 4
"""Kinds of addresses that the table of a graph with provenance has."""

_OF_LOGS, _OF_METADATA = 2, 3
_LOG, _METADATA = "_log", "_metadata"
# They have no log, so that nobody tells what the process did before.
_WITHOUT_LOG = frozenset({QuantumStatus.UNKNOWN, QuantumStatus.ABORTED, QuantumStatus.ABORTED_SUCCESS})
# No execution is BLOCKED.
_STATUSES = {int(status): status for status in QuantumStatus if status is not QuantumStatus.BLOCKED}
# As many datasets are remembered, so that one that many quanta read is told of once, or not often.
_REMEMBERED = 100_000

T = TypeVar("T")

Dimensions = tuple[str, ...]
"""Names of the required ones."""


class Plan(NamedTuple):
    """What all quanta of a graph have in common."""

    uuid: UUID
    run: str
    tasks: Mapping[str, Dimensions]
    types: Mapping[str, Dimensions]


class _Datasets:
    """Datasets of a graph. Those of one quantum come together, and mostly have its data ID."""

    def __init__(self, plan: Plan) -> None:
        self._types = plan.types
        self._dimensions: Dimensions = ()
        self._values: list[Any] = []
        self._data_id: Mapping[str, int | str] = {}

    def record(self, uuid: UUID, dataset: dict[str, Any], produced: bool | None) -> DatasetRecord:
        dataset_type, values = dataset.get("dataset_type_name"), dataset.get("data_coordinate")
        dimensions = self._types.get(dataset_type) if type(dataset_type) is str else None
        if dimensions is None:
            raise InvalidSourceError("A dataset type is not in the pipeline.")
        if values != self._values or dimensions != self._dimensions:
            self._data_id = data_id_of(dimensions, array_of(values))
            self._dimensions, self._values = dimensions, array_of(values)
        return DatasetRecord(uuid, dataset_type, self._data_id, name_of(dataset.get("run")), produced)


class PlannedQuanta:
    """Quanta of a graph without provenance."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._datasets = _Datasets(plan)
        self._seen: set[str] = set()

    def told_by(self, block: Any) -> Iterator[Record]:
        """Tell of a quantum, and of the datasets that it is to read and write."""
        quantum = object_of(block)
        inputs, outputs = _values(quantum.get("inputs")), _values(quantum.get("outputs"))
        datasets = [object_of(dataset) for dataset in chain(inputs, outputs)]
        uuids = [uuid_of(dataset.get("dataset_id")) for dataset in datasets]
        yield _quantum(self._plan, quantum, None, tuple(uuids[: len(inputs)]), tuple(uuids[len(inputs) :]))
        if len(self._seen) > _REMEMBERED:
            self._seen.clear()
        for uuid, dataset in zip(uuids, datasets, strict=True):
            if dataset["dataset_id"] not in self._seen:
                self._seen.add(dataset["dataset_id"])
                yield self._datasets.record(uuid, dataset, None)


class ExecutedQuanta:
    """Quanta of a graph with provenance."""

    def __init__(self, plan: Plan, unpacker: Unpacker) -> None:
        self._plan = plan
        self._unpacker = unpacker
        self._datasets = _Datasets(plan)
        self._table: Addresses | None = None
        self._blocks: dict[int, Blocks] = {}

    def find_in(self, table: Addresses, metadata: Blocks | None, logs: Blocks | None) -> None:
        """Take hosts from metadata, and from logs what there is of executions without any."""
        self._table = table
        self._blocks = {kind: blocks for kind, blocks in ((_OF_METADATA, metadata), (_OF_LOGS, logs)) if blocks}

    def told_by(self, block: Any) -> Sequence[Record]:
        """Tell of a quantum."""
        quantum = object_of(block)
        skipped: list[Skipped] = []
        attempts = array_of(quantum.get("attempts", []))
        inputs, outputs = _values(quantum.get("inputs")), object_of(quantum.get("outputs"))
        written = {name: list(map(uuid_of, array_of(values))) for name, values in outputs.items()}
        executions: tuple[ExecutionRecord, ...] = ()
        if attempts:
            uuid = uuid_of(quantum.get("quantum_id"))
            log, metadata = _at(written.get(_LOG, ()), 0), _at(written.get(_METADATA, ()), 0)
            hosts = self._told(uuid, _OF_METADATA, hosts_of, skipped) or ()
            executions = tuple(
                [
                    self._execution(uuid, object_of(attempt), _at(hosts, place), log, metadata, skipped)
                    for place, attempt in enumerate(attempts)
                ]
            )
        read = tuple(map(uuid_of, inputs))
        return (
            _quantum(self._plan, quantum, executions, read, tuple(chain.from_iterable(written.values()))),
            *skipped,
        )

    def told_by_dataset(self, block: Any) -> Sequence[Record]:
        """Tell of a dataset."""
        dataset = object_of(block)
        return (self._datasets.record(uuid_of(dataset.get("dataset_id")), dataset, dataset.get("produced") is True),)

    def _execution(
        self,
        uuid: UUID,
        attempt: dict[str, Any],
        host: str | None,
        log: UUID | None,
        metadata: UUID | None,
        skipped: list[Skipped],
    ) -> ExecutionRecord:
        number, status = count_of(attempt.get("attempt")), _status(attempt.get("status"))
        usage, failure, caveats = attempt.get("resource_usage"), attempt.get("exception"), attempt.get("caveats")
        started_at = ended_at = run_time = cpu_time = max_rss = None
        if usage is not None:
            usage = object_of(usage)
            started_at, run_time = moment_of(usage.get("start")), duration_of(usage.get("run_time"))
            prepared, initialized = duration_of(usage.get("prep_time")), duration_of(usage.get("init_time"))
            # They were whole microseconds.
            ended_at = started_at + round(prepared * 1e6) + round(initialized * 1e6) + round(run_time * 1e6)
            cpu_time, max_rss = duration_of(usage.get("run_time_cpu")), count_of(usage.get("memory"))
        else:
            # What was killed left nothing, and the same is said of what never ran.
            span = self._told(uuid, _OF_LOGS, partial(_span_of_attempt, number), skipped)
            if span is not None:
                started_at, ended_at = span
            elif status is QuantumStatus.FAILED and failure is None:
                status = QuantumStatus.UNKNOWN
        return ExecutionRecord(
            attempt=number,
            status=status,
            host=host,
            started_at=started_at,
            ended_at=ended_at,
            run_time=run_time,
            cpu_time=cpu_time,
            max_rss=max_rss,
            process_index=None if status in _WITHOUT_LOG else len(array_of(attempt.get("previous_process_quanta", []))),
            exception=None if failure is None else name_of(object_of(failure).get("type_name")),
            message=None if failure is None else text_of(failure.get("message")),
            caveats=None if caveats is None else caveats_of(caveats),
            log=log,
            metadata=metadata,
        )

    def _told(self, uuid: UUID, kind: int, take: Callable[[bytes], T | None], skipped: list[Skipped]) -> T | None:
        """Take something of the metadata or the logs of a quantum; None if there is nothing, or nothing readable."""
        if self._table is None or kind not in self._blocks:
            return None
        try:
            address = self._table.find(uuid, kind)
            return None if address is None else take(self._unpacker.content(self._blocks[kind].at(address)))
        except InvalidSourceError as error:
            skipped.append(Skipped(f"{self._blocks[kind].name}, {uuid}", str(error)))
            return None


def _quantum(
    plan: Plan,
    quantum: dict[str, Any],
    executions: tuple[ExecutionRecord, ...] | None,
    inputs: tuple[UUID, ...],
    outputs: tuple[UUID, ...],
) -> QuantumRecord:
    task = quantum.get("task_label")
    if type(task) is not str or task not in plan.tasks:
        raise InvalidSourceError("A task is not in the pipeline.")
    return QuantumRecord(
        run=plan.run,
        task=task,
        data_id=data_id_of(plan.tasks[task], array_of(quantum.get("data_coordinate", []))),
        uuid=uuid_of(quantum.get("quantum_id")),
        pipeline_execution=plan.uuid,
        is_blocked=executions == (),
        executions=executions or (),
        inputs=inputs,
        outputs=outputs,
    )


def _values(connections: Any) -> list[Any]:
    """Return what is read or written, whatever the connection."""
    return [value for values in object_of(connections).values() for value in array_of(values)]


def _at(values: Sequence[T], number: int) -> T | None:
    return values[number] if number < len(values) else None


def _span_of_attempt(number: int, content: bytes) -> tuple[int, int] | None:
    records = _at(array_of(object_of(parse(content)).get("attempts")), number)
    return None if records is None else span_of(records)


def _status(value: Any) -> QuantumStatus:
    status = _STATUSES.get(value) if type(value) is int else None
    if status is None:
        raise InvalidSourceError("The status of an execution is none that is known here.")
    return status
