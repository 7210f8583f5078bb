"""What the blocks of a quantum graph tell of the units of work, and of what they read and write.

Hosts and ends are in the metadata of the executions, which have a member of their own; and so have logs, which are
looked at only where nothing else tells what became of an execution.

Sources: ``lsst.pipe.base.quantum_graph._provenance`` and ``._predicted``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain, islice
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import orjson

from butlerql.storage.errors import InvalidSourceError
from butlerql.storage.provenance.batches import columns_of, written_data_id
from butlerql.storage.provenance.blocks import Addresses, Blocks, Unpacker
from butlerql.storage.provenance.lenient_json import (
    array_of,
    count_of,
    data_id_of,
    digits_of_uuids,
    duration_of,
    moment_of,
    name_of,
    object_of,
    parse,
    text_of,
)
from butlerql.storage.provenance.records import (
    DatasetColumns,
    ExecutionRow,
    Many,
    QuantumRow,
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
_WITHOUT_LOG = frozenset(map(int, (QuantumStatus.UNKNOWN, QuantumStatus.ABORTED, QuantumStatus.ABORTED_SUCCESS)))
_FAILED, _UNKNOWN = int(QuantumStatus.FAILED), int(QuantumStatus.UNKNOWN)
# No execution is BLOCKED.
_STATUSES = frozenset(map(int, QuantumStatus)) - {int(QuantumStatus.BLOCKED)}
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


class _DataIds:
    """Data IDs as they are written down. Those of a quantum and of what it writes mostly are the same."""

    def __init__(self) -> None:
        self._known: dict[tuple[Dimensions, bytes], str] = {}

    def written(self, dimensions: Dimensions, values: Any) -> str:
        """Write the required values, which come first."""
        try:
            # Not by the values themselves: 1 is the same as true.
            key = dimensions, orjson.dumps(values)
        except TypeError:
            return written_data_id(data_id_of(dimensions, array_of(values)))
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[key] = written_data_id(data_id_of(dimensions, array_of(values)))
        return known


class _Datasets:
    """Datasets of a graph."""

    def __init__(self, plan: Plan, data_ids: _DataIds) -> None:
        self._types = plan.types
        self._data_ids = data_ids

    def columns(
        self, digits: list[str], datasets: Sequence[dict[str, Any]], produced: Sequence[bool | None]
    ) -> DatasetColumns:
        types, written = self._types, self._data_ids.written
        names = [dataset.get("dataset_type_name") for dataset in datasets]
        data_ids: list[str | None] = []
        for name, dataset in zip(names, datasets, strict=True):
            dimensions = types.get(name) if type(name) is str else None
            if dimensions is None:
                raise InvalidSourceError("A dataset type is not in the pipeline.")
            data_ids.append(written(dimensions, dataset.get("data_coordinate")))
        return digits, names, data_ids, [name_of(dataset.get("run")) for dataset in datasets], list(produced)


class PlannedQuanta:
    """Quanta of a graph without provenance."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._data_ids = _DataIds()
        self._datasets = _Datasets(plan, self._data_ids)
        self._seen: set[str] = set()

    def told_by(self, blocks: Sequence[Any]) -> Sequence[Record]:
        """Tell of quanta, and of the datasets that they are to read and write."""
        quanta: list[QuantumRow] = []
        seen = set() if len(self._seen) > _REMEMBERED else self._seen
        datasets: dict[str, dict[str, Any]] = {}
        for quantum in map(object_of, blocks):
            inputs, outputs = _values(quantum.get("inputs")), _values(quantum.get("outputs"))
            named = [object_of(dataset) for dataset in chain(inputs, outputs)]
            uuid, *digits = digits_of_uuids([quantum.get("quantum_id"), *(one.get("dataset_id") for one in named)])
            read, written = digits[: len(inputs)], digits[len(inputs) :]
            quanta.append(_quantum(self._plan, self._data_ids, quantum, uuid, None, read, written))
            for one, dataset in zip(digits, named, strict=True):
                if one not in seen:
                    datasets.setdefault(one, dataset)
        columns = self._datasets.columns(list(datasets), list(datasets.values()), [None] * len(datasets))
        seen.update(datasets)
        self._seen = seen
        return (Many(columns, columns_of(quanta)),)


class ExecutedQuanta:
    """Quanta of a graph with provenance."""

    def __init__(self, plan: Plan, unpacker: Unpacker) -> None:
        self._plan = plan
        self._unpacker = unpacker
        self._data_ids = _DataIds()
        self._datasets = _Datasets(plan, self._data_ids)
        self._table: Addresses | None = None
        self._blocks: dict[int, Blocks] = {}

    def find_in(self, table: Addresses, metadata: Blocks | None, logs: Blocks | None) -> None:
        """Take hosts from metadata, and from logs what there is of executions without any."""
        self._table = table
        self._blocks = {kind: blocks for kind, blocks in ((_OF_METADATA, metadata), (_OF_LOGS, logs)) if blocks}

    def told_by(self, blocks: Sequence[Any]) -> Sequence[Record]:
        """Tell of quanta."""
        named: list[Any] = []
        parts: list[tuple[dict[str, Any], dict[str, Any], int, int]] = []
        for quantum in map(object_of, blocks):
            outputs = object_of(quantum.get("outputs"))
            read, written = _values(quantum.get("inputs")), _values(outputs)
            parts.append((quantum, outputs, len(read), len(written)))
            named += (quantum.get("quantum_id"), *read, *written)
        digits = iter(digits_of_uuids(named))
        skipped: list[Skipped] = []
        quanta: list[QuantumRow] = []
        for quantum, outputs, inputs_number, outputs_number in parts:
            uuid, read = next(digits), list(islice(digits, inputs_number))
            written = list(islice(digits, outputs_number))
            executions: list[ExecutionRow] = []
            if attempts := array_of(quantum.get("attempts", [])):
                log, metadata = _first_digits(outputs.get(_LOG)), _first_digits(outputs.get(_METADATA))
                hosts = self._told(uuid, _OF_METADATA, hosts_of, skipped) or ()
                executions = [
                    self._execution(uuid, object_of(attempt), _at(hosts, place), log, metadata, skipped)
                    for place, attempt in enumerate(attempts)
                ]
            quanta.append(_quantum(self._plan, self._data_ids, quantum, uuid, executions, read, written))
        return (Many(quanta=columns_of(quanta)), *skipped)

    def told_by_datasets(self, blocks: Sequence[Any]) -> Sequence[Record]:
        """Tell of datasets."""
        datasets = list(map(object_of, blocks))
        uuids = digits_of_uuids([dataset.get("dataset_id") for dataset in datasets])
        produced = [dataset.get("produced") is True for dataset in datasets]
        return (Many(self._datasets.columns(uuids, datasets, produced)),)

    def _execution(
        self,
        uuid: str,
        attempt: dict[str, Any],
        host: str | None,
        log: str | None,
        metadata: str | None,
        skipped: list[Skipped],
    ) -> ExecutionRow:
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
            elif status == _FAILED and failure is None:
                status = _UNKNOWN
        return ExecutionRow(
            number,
            status,
            host,
            started_at,
            ended_at,
            run_time,
            cpu_time,
            max_rss,
            None if status in _WITHOUT_LOG else len(array_of(attempt.get("previous_process_quanta", []))),
            None if failure is None else name_of(object_of(failure).get("type_name")),
            None if failure is None else text_of(failure.get("message")),
            None if caveats is None else int(caveats_of(caveats)),
            log,
            metadata,
        )

    def _told(self, uuid: str, kind: int, take: Callable[[bytes], T | None], skipped: list[Skipped]) -> T | None:
        """Take something of the metadata or the logs of a quantum; None if there is nothing, or nothing readable."""
        if self._table is None or kind not in self._blocks:
            return None
        try:
            address = self._table.find(uuid, kind)
            return None if address is None else take(self._unpacker.content(self._blocks[kind].at(address)))
        except InvalidSourceError as error:
            skipped.append(Skipped(f"{self._blocks[kind].name}, {UUID(uuid)}", str(error)))
            return None


def _quantum(
    plan: Plan,
    data_ids: _DataIds,
    quantum: dict[str, Any],
    uuid: str,
    executions: Sequence[ExecutionRow] | None,
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> QuantumRow:
    task = quantum.get("task_label")
    if type(task) is not str or task not in plan.tasks:
        raise InvalidSourceError("A task is not in the pipeline.")
    data_id = data_ids.written(plan.tasks[task], quantum.get("data_coordinate", []))
    is_blocked = executions is not None and not executions
    return QuantumRow(plan.run, task, data_id, uuid, plan.uuid.hex, is_blocked, executions or (), inputs, outputs)


def _values(connections: Any) -> list[Any]:
    """Return what is read or written, whatever the connection."""
    return [value for values in object_of(connections).values() for value in array_of(values)]


def _first_digits(uuids: Sequence[str] | None) -> str | None:
    """Give the digits of the first of some UUIDs, which were looked at."""
    return uuids[0].replace("-", "").lower() if uuids else None


def _at(values: Sequence[T], number: int) -> T | None:
    return values[number] if number < len(values) else None


def _span_of_attempt(number: int, content: bytes) -> tuple[int, int] | None:
    records = _at(array_of(object_of(parse(content)).get("attempts")), number)
    return None if records is None else span_of(records)


def _status(value: Any) -> int:
    if type(value) is not int or value not in _STATUSES:
        raise InvalidSourceError("The status of an execution is none that is known here.")
    return value
