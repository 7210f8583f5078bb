"""What the blocks of a quantum graph tell of the units of work, and of what they read and write.

Hosts and ends are in the metadata of the executions, which have a member of their own; and so have logs, which are
looked at only where nothing else tells what became of an execution.

Sources: ``lsst.pipe.base.quantum_graph._provenance`` and ``._predicted``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain, islice, repeat
from sys import intern
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import orjson

from butlerql.storage.errors import InvalidSourceError
from butlerql.storage.provenance.batches import written_data_id
from butlerql.storage.provenance.blocks import Addresses, Blocks, Unpacker
from butlerql.storage.provenance.lenient_json import (
    array_of,
    arrays_of,
    count_of,
    data_id_of,
    digits_of_uuids,
    duration_of,
    moment_of,
    name_of,
    names_of,
    object_of,
    objects_of,
    parse,
    text_of,
    values_of,
)
from butlerql.storage.provenance.records import (
    DatasetColumns,
    ExecutionColumns,
    Many,
    QuantumColumns,
    QuantumStatus,
    Record,
    Skipped,
    no_quanta,
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
# And as many data IDs of the same dimensions: those of a quantum and of what it writes mostly are the same.
_REMEMBERED_DATA_IDS = 10_000

T = TypeVar("T")

Dimensions = tuple[str, ...]
"""Names of the required ones."""


class Plan(NamedTuple):
    """What all quanta of a graph have in common."""

    uuid: UUID
    run: str
    tasks: Mapping[str, Dimensions]
    types: Mapping[str, Dimensions]


class _Written(dict[bytes, str]):
    """Data IDs of some dimensions as they are written down, by their values as JSON has them without its brackets.

    Not by the values themselves: 1 is the same as true.
    """

    def __init__(self, dimensions: Dimensions) -> None:
        super().__init__()
        self._dimensions = dimensions

    def __missing__(self, values: bytes) -> str:
        if len(self) >= _REMEMBERED_DATA_IDS:
            self.clear()
        written = self[values] = self.of(orjson.loads(b"[%b]" % values))
        return written

    def of(self, values: Any) -> str:
        """Write the required values, which come first."""
        return written_data_id(data_id_of(self._dimensions, array_of(values)))


class _Columns:
    """What quanta and datasets of a graph have in common."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._uuid = plan.uuid.hex
        written = {dimensions: _Written(dimensions) for dimensions in {*plan.tasks.values(), *plan.types.values()}}
        self._tasks = {label: written[dimensions] for label, dimensions in plan.tasks.items()}
        self._types = {name: written[dimensions] for name, dimensions in plan.types.items()}

    def datasets(
        self, digits: list[str], datasets: Sequence[dict[str, Any]], produced: list[bool | None]
    ) -> DatasetColumns:
        types = _names_within(self._types, values_of(datasets, "dataset_type_name"), "dataset type")
        data_ids = _data_ids(self._types, types, values_of(datasets, "data_coordinate"))
        return digits, [*types], [*data_ids], [*names_of(values_of(datasets, "run"))], produced

    def quanta(
        self,
        quanta: Sequence[dict[str, Any]],
        attempts: list[int] | None,
        executions: ExecutionColumns,
        uuids: list[str],
        inputs: list[int],
        read: list[str],
        outputs: list[int],
        written: list[str],
    ) -> QuantumColumns:
        """Put columns together; there are no `attempts` where nothing is told of them."""
        tasks = _names_within(self._tasks, values_of(quanta, "task_label"), "task")
        number = len(quanta)
        return QuantumColumns(
            [self._plan.run] * number,
            tasks,
            _data_ids(self._tasks, tasks, [quantum.get("data_coordinate", []) for quantum in quanta]),
            [*uuids],
            [self._uuid] * number,
            [False] * number if attempts is None else [not attempted for attempted in attempts],
            [0] * number if attempts is None else attempts,
            inputs,
            outputs,
            executions,
            read,
            written,
        )


class PlannedQuanta:
    """Quanta of a graph without provenance."""

    def __init__(self, plan: Plan) -> None:
        self._columns = _Columns(plan)
        self._seen: set[str] = set()

    def told_by(self, blocks: Sequence[Any]) -> Sequence[Record]:
        """Tell of quanta, and of the datasets that they are to read and write."""
        quanta = objects_of(blocks)
        uuids = digits_of_uuids(values_of(quanta, "quantum_id"))
        seen = set() if len(self._seen) > _REMEMBERED else self._seen
        values, numbers = _values([quantum.get(side) for quantum in quanta for side in ("inputs", "outputs")])
        named = objects_of(values)
        digits = digits_of_uuids(values_of(named, "dataset_id"))
        datasets: dict[str, dict[str, Any]] = {}
        for one, dataset in zip(digits, named, strict=True):
            if one not in seen:
                datasets.setdefault(one, dataset)
        each = iter(digits)
        connected = [list(islice(each, number)) for number in numbers]
        read, written = (list(chain.from_iterable(connected[side::2])) for side in (0, 1))
        told_quanta = self._columns.quanta(
            quanta, None, no_quanta().executions, uuids, numbers[::2], read, numbers[1::2], written
        )
        told_datasets = self._columns.datasets(list(datasets), list(datasets.values()), [None] * len(datasets))
        seen.update(datasets)
        self._seen = seen
        return (Many(told_datasets, told_quanta),)


class ExecutedQuanta:
    """Quanta of a graph with provenance."""

    def __init__(self, plan: Plan, unpacker: Unpacker) -> None:
        self._unpacker = unpacker
        self._columns = _Columns(plan)
        self._table: Addresses | None = None
        self._blocks: dict[int, Blocks] = {}

    def find_in(self, table: Addresses, metadata: Blocks | None, logs: Blocks | None) -> None:
        """Take hosts from metadata, and from logs what there is of executions without any."""
        self._table = table
        self._blocks = {kind: blocks for kind, blocks in ((_OF_METADATA, metadata), (_OF_LOGS, logs)) if blocks}

    def told_by(self, blocks: Sequence[Any]) -> Sequence[Record]:
        """Tell of quanta."""
        quanta = objects_of(blocks)
        uuids = digits_of_uuids(values_of(quanta, "quantum_id"))
        read, inputs = _values(values_of(quanta, "inputs"))
        connections = objects_of(values_of(quanta, "outputs"))
        written, outputs = _values(connections)
        written_digits = digits_of_uuids(written)
        digits = dict(zip(written, written_digits, strict=True))
        logs, metadata = (
            [digits[uuid[0]] if (uuid := each.get(name)) else None for each in connections]
            for name in (_LOG, _METADATA)
        )
        arrays = arrays_of([quantum.get("attempts", []) for quantum in quanta])
        attempts, numbers = objects_of(list(chain.from_iterable(arrays))), list(map(len, arrays))
        skipped: list[Skipped] = []
        executions = self._executions(
            attempts,
            _of_attempts(uuids, numbers),
            self._hosts(uuids, numbers, skipped),
            _of_attempts(logs, numbers),
            _of_attempts(metadata, numbers),
            skipped,
        )
        told = self._columns.quanta(
            quanta, numbers, executions, uuids, inputs, digits_of_uuids(read), outputs, written_digits
        )
        return (Many(quanta=told), *skipped)

    def told_by_datasets(self, blocks: Sequence[Any]) -> Sequence[Record]:
        """Tell of datasets."""
        datasets = objects_of(blocks)
        uuids = digits_of_uuids(values_of(datasets, "dataset_id"))
        produced: list[bool | None] = [dataset.get("produced") is True for dataset in datasets]
        return (Many(self._columns.datasets(uuids, datasets, produced)),)

    def _executions(
        self,
        attempts: Sequence[dict[str, Any]],
        uuids: list[str],
        hosts: list[str | None],
        logs: list[str | None],
        metadata: list[str | None],
        skipped: list[Skipped],
    ) -> ExecutionColumns:
        numbers = [count_of(attempt.get("attempt")) for attempt in attempts]
        statuses = [_status(attempt.get("status")) for attempt in attempts]
        failures = values_of(attempts, "exception")
        caveats = values_of(attempts, "caveats")
        used: list[tuple[Any, ...]] = []
        for place, attempt in enumerate(attempts):
            usage = attempt.get("resource_usage")
            if usage is not None:
                used.append(_used(object_of(usage)))
                continue
            # What was killed left nothing, and the same is said of what never ran.
            take = partial(_span_of_attempt, numbers[place])
            span = self._told(uuids[place], _OF_LOGS, take, skipped)
            used.append((*(span or (None, None)), None, None, None))
            if span is None and statuses[place] == _FAILED and failures[place] is None:
                statuses[place] = _UNKNOWN
        started_at, ended_at, run_time, cpu_time, max_rss = ([one[place] for one in used] for place in range(5))
        return ExecutionColumns(
            numbers,
            statuses,
            hosts,
            started_at,
            ended_at,
            run_time,
            cpu_time,
            max_rss,
            [
                None if status in _WITHOUT_LOG else len(array_of(attempt.get("previous_process_quanta", [])))
                for status, attempt in zip(statuses, attempts, strict=True)
            ],
            [None if failure is None else name_of(object_of(failure).get("type_name")) for failure in failures],
            [None if failure is None else text_of(failure.get("message")) for failure in failures],
            [None if told is None else int(caveats_of(told)) for told in caveats],
            logs,
            metadata,
        )

    def _hosts(self, uuids: list[str], attempts: list[int], skipped: list[Skipped]) -> list[str | None]:
        """Tell where each attempt at each quantum was made."""
        hosts: list[str | None] = []
        for uuid, number in zip(uuids, attempts, strict=True):
            if number:
                told = self._told(uuid, _OF_METADATA, hosts_of, skipped) or []
                hosts += told[:number] + [None] * (number - len(told))
        return hosts

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


def _names_within(known: Mapping[str, _Written], names: list[Any], what: str) -> list[str]:
    """Take names of what is in the pipeline."""
    if not set(map(type, names)) <= {str} or not known.keys() >= set(names):
        raise InvalidSourceError(f"A {what} is not in the pipeline.")
    return list(map(intern, names))


def _data_ids(known: Mapping[str, _Written], names: list[str], values: list[Any]) -> list[str]:
    """Write down data IDs of what has these names."""
    try:
        parts = orjson.dumps(values)[2:-2].split(b"],[")
    except TypeError:
        parts = []
    if len(parts) == len(values) and set(map(type, values)) == {list}:
        return [known[name][part] for name, part in zip(names, parts, strict=True)]
    # Among them are brackets, or what cannot be written.
    return [known[name].of(each) for name, each in zip(names, values, strict=True)]


def _values(connections: Sequence[Any]) -> tuple[list[Any], list[int]]:
    """Return what some quanta read or write, whatever the connection, and how many there are of each."""
    arrays = [list(each.values()) for each in objects_of(connections)]
    arrays_of(list(chain.from_iterable(arrays)))
    values = [list(chain.from_iterable(each)) for each in arrays]
    return list(chain.from_iterable(values)), list(map(len, values))


def _of_attempts(values: Iterable[T], attempts: Iterable[int]) -> list[T]:
    """Give values of quanta for each attempt."""
    return list(chain.from_iterable(map(repeat, values, attempts)))


def _used(usage: dict[str, Any]) -> tuple[int, int, float, float, int]:
    """Tell from when to when an attempt lasted, how long it ran, and what it took of the processor and of memory."""
    started_at, run_time = moment_of(usage.get("start")), duration_of(usage.get("run_time"))
    prepared, initialized = duration_of(usage.get("prep_time")), duration_of(usage.get("init_time"))
    # They were whole microseconds.
    ended_at = started_at + round(prepared * 1e6) + round(initialized * 1e6) + round(run_time * 1e6)
    return started_at, ended_at, run_time, duration_of(usage.get("run_time_cpu")), count_of(usage.get("memory"))


def _span_of_attempt(number: int, content: bytes) -> tuple[int, int] | None:
    attempts = array_of(object_of(parse(content)).get("attempts"))
    return span_of(attempts[number]) if number < len(attempts) and attempts[number] is not None else None


def _status(value: Any) -> int:
    if type(value) is not int or value not in _STATUSES:
        raise InvalidSourceError("The status of an execution is none that is known here.")
    return value
