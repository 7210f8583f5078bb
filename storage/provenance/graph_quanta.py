"""What the blocks of a quantum graph tell of the units of work, and of what they read and write.

Hosts and ends are in the metadata of the executions, which have a member of their own; and so have logs, which are
looked at only where nothing else tells what became of an execution.

Sources: ``lsst.pipe.base.quantum_graph._provenance`` and ``._predicted``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain, compress, islice
from typing import Annotated, Any, NamedTuple, TypeVar
from uuid import UUID

import numpy as np
from msgspec import Meta, Raw, Struct, field
from msgspec.json import Decoder

from butlerql.storage.errors import InvalidSourceError
from butlerql.storage.provenance.batches import repeated, written_data_id
from butlerql.storage.provenance.blocks import Addresses, Blocks, Unpacker
from butlerql.storage.provenance.lenient_json import (
    array_of,
    count_of,
    data_id_of,
    digits_of_uuids,
    moment_of,
    name_of,
    names_of,
    object_of,
    parse,
    text_of,
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

__all__ = ["ADDRESSES", "DATASETS", "EXECUTED", "PLANNED", "Dimensions", "ExecutedQuanta", "Plan", "PlannedQuanta"]

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

_Seconds = Annotated[float, Meta(ge=-1e10, le=1e10)]
_Bytes = Annotated[float, Meta(ge=0, lt=1 << 63, multiple_of=1)]

Dimensions = tuple[str, ...]
"""Names of the required ones."""


class Plan(NamedTuple):
    """What all quanta of a graph have in common."""

    uuid: UUID
    run: str
    tasks: Mapping[str, Dimensions]
    types: Mapping[str, Dimensions]


class _Dataset(Struct, gc=False, kw_only=True):
    dataset_id: str
    name: str = field(name="dataset_type_name")
    data_coordinate: Raw
    run: str
    produced: bool = False


class _Quantum(Struct, gc=False, kw_only=True):
    quantum_id: str
    name: str = field(name="task_label")
    data_coordinate: Raw = Raw(b"[]")


class _Planned(_Quantum, gc=False):
    inputs: dict[str, list[_Dataset]]
    outputs: dict[str, list[_Dataset]]


class _Usage(Struct, gc=False):
    start: str
    prep_time: _Seconds
    init_time: _Seconds
    run_time: _Seconds
    run_time_cpu: _Seconds
    memory: _Bytes


class _Failure(Struct, gc=False):
    type_name: str
    message: str


class _Attempt(Struct, gc=False):
    attempt: int | float
    status: int
    caveats: int | float | None = None
    exception: _Failure | None = None
    resource_usage: _Usage | None = None
    previous_process_quanta: list[Any] = []


class _Executed(_Quantum, gc=False, kw_only=True):
    inputs: dict[str, list[str]]
    outputs: dict[str, list[str]]
    attempts: list[_Attempt] = []


DATASETS, PLANNED, EXECUTED = Decoder(_Dataset), Decoder(_Planned), Decoder(_Executed)
"""What the blocks of datasets and of quanta are read as."""


class _Written(dict[bytes, str]):
    """Data IDs of some dimensions as they are written down, by their values as JSON has them."""

    def __init__(self, dimensions: Dimensions) -> None:
        super().__init__()
        self._dimensions = dimensions

    def __missing__(self, values: bytes) -> str:
        if len(self) >= _REMEMBERED_DATA_IDS:
            self.clear()
        # The required ones come first.
        written = self[values] = written_data_id(data_id_of(self._dimensions, array_of(parse(values))))
        return written


class _Columns:
    """What quanta and datasets of a graph have in common."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._uuid = plan.uuid.hex
        written = {dimensions: _Written(dimensions) for dimensions in {*plan.tasks.values(), *plan.types.values()}}
        self._tasks = {label: (label, written[dimensions]) for label, dimensions in plan.tasks.items()}
        self._types = {name: (name, written[dimensions]) for name, dimensions in plan.types.items()}

    def datasets(
        self, digits: list[str], datasets: Sequence[_Dataset], produced: Sequence[bool | None]
    ) -> DatasetColumns:
        types, data_ids = _named(self._types, datasets)
        return digits, [*types], [*data_ids], [*names_of([dataset.run for dataset in datasets])], [*produced]

    def quanta(
        self,
        quanta: Sequence[_Quantum],
        attempts: list[int] | None,
        executions: ExecutionColumns,
        uuids: list[str],
        inputs: list[int],
        read: list[str],
        outputs: list[int],
        written: list[str],
    ) -> QuantumColumns:
        """Put columns together; there are no `attempts` where nothing is told of them."""
        tasks, data_ids = _named(self._tasks, quanta)
        number = len(quanta)
        return QuantumColumns(
            [self._plan.run] * number,
            tasks,
            data_ids,
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

    def told_by(self, quanta: Sequence[_Planned]) -> Sequence[Record]:
        """Tell of quanta, and of the datasets that they are to read and write."""
        uuids = digits_of_uuids([quantum.quantum_id for quantum in quanta])
        seen = set() if len(self._seen) > _REMEMBERED else self._seen
        named, numbers = _values([side for quantum in quanta for side in (quantum.inputs, quantum.outputs)])
        digits = digits_of_uuids([dataset.dataset_id for dataset in named])
        datasets: dict[str, _Dataset] = {}
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

    def told_by(self, quanta: Sequence[_Executed]) -> Sequence[Record]:
        """Tell of quanta."""
        uuids = digits_of_uuids([quantum.quantum_id for quantum in quanta])
        connections = [quantum.outputs for quantum in quanta]
        read, inputs = _values([quantum.inputs for quantum in quanta])
        written, outputs = _values(connections)
        written_digits = digits_of_uuids(written)
        digits = dict(zip(written, written_digits, strict=True))
        logs, metadata = (
            [digits[uuid[0]] if (uuid := each.get(name)) else None for each in connections]
            for name in (_LOG, _METADATA)
        )
        attempts = list(chain.from_iterable([quantum.attempts for quantum in quanta]))
        numbers = [len(quantum.attempts) for quantum in quanta]
        skipped: list[Skipped] = []
        executions = self._executions(
            attempts,
            repeated(uuids, numbers),
            self._hosts(uuids, numbers, skipped),
            repeated(logs, numbers),
            repeated(metadata, numbers),
            skipped,
        )
        told = self._columns.quanta(
            quanta, numbers, executions, uuids, inputs, digits_of_uuids(read), outputs, written_digits
        )
        return (Many(quanta=told), *skipped)

    def told_by_datasets(self, datasets: Sequence[_Dataset]) -> Sequence[Record]:
        """Tell of datasets."""
        uuids = digits_of_uuids([dataset.dataset_id for dataset in datasets])
        return (Many(self._columns.datasets(uuids, datasets, [dataset.produced for dataset in datasets])),)

    def _executions(
        self,
        attempts: Sequence[_Attempt],
        uuids: list[str],
        hosts: list[str | None],
        logs: list[str | None],
        metadata: list[str | None],
        skipped: list[Skipped],
    ) -> ExecutionColumns:
        numbers = list(map(count_of, [attempt.attempt for attempt in attempts]))
        statuses = [attempt.status for attempt in attempts]
        if not set(statuses) <= _STATUSES:
            raise InvalidSourceError("The status of an execution is none that is known here.")
        failures = [attempt.exception for attempt in attempts]
        usages = [attempt.resource_usage for attempt in attempts]
        used = _used([usage for usage in usages if usage is not None])
        # What was killed left nothing, and the same is said of what never ran.
        unused = [place for place, usage in enumerate(usages) if usage is None]
        wanted = [uuids[place] for place in unused], [numbers[place] for place in unused]
        for place, span in zip(unused, self._told(_OF_LOGS, *wanted, _span_of_attempt, skipped), strict=True):
            for column, value in zip(used, (*(span or (None, None)), None, None, None), strict=True):
                column.insert(place, value)
            if span is None and statuses[place] == _FAILED and failures[place] is None:
                statuses[place] = _UNKNOWN
        caveats = [attempt.caveats for attempt in attempts]
        known = {told: None if told is None else int(caveats_of(told)) for told in set(caveats)}
        return ExecutionColumns(
            numbers,
            statuses,
            hosts,
            *used,
            [
                None if status in _WITHOUT_LOG else len(attempt.previous_process_quanta)
                for status, attempt in zip(statuses, attempts, strict=True)
            ],
            [None if failure is None else name_of(failure.type_name) for failure in failures],
            [None if failure is None else text_of(failure.message) for failure in failures],
            [known[told] for told in caveats],
            logs,
            metadata,
        )

    def _hosts(self, uuids: list[str], attempts: list[int], skipped: list[Skipped]) -> list[str | None]:
        """Tell where each attempt at each quantum was made."""
        numbers = list(filter(None, attempts))
        told = self._told(_OF_METADATA, list(compress(uuids, attempts)), numbers, hosts_of, skipped)
        return [host for hosts, number in zip(told, numbers, strict=True) for host in hosts or [None] * number]

    def _told(
        self,
        kind: int,
        uuids: list[str],
        numbers: list[int],
        take: Callable[[bytes, int], T],
        skipped: list[Skipped],
    ) -> list[T | None]:
        """Take something of the metadata or the logs of quanta, with a number for each: together, or else one by one.

        It is None where there is nothing, or nothing readable.
        """
        if not uuids or self._table is None or kind not in self._blocks:
            return [None] * len(uuids)
        blocks = self._blocks[kind]
        try:
            offsets, sizes = self._table.find(uuids, kind)
            contents = map(bytes, self._unpacker.contents(blocks.at(offsets, sizes)))
            return [take(next(contents), number) if size else None for size, number in zip(sizes, numbers, strict=True)]
        except InvalidSourceError as error:
            if len(uuids) == 1:
                skipped.append(Skipped(f"{blocks.name}, {UUID(uuids[0])}", str(error)))
                return [None]
            each = zip(uuids, numbers, strict=True)
            return [told for uuid, number in each for told in self._told(kind, [uuid], [number], take, skipped)]


def _named(
    known: Mapping[str, tuple[str, _Written]], told: Sequence[_Dataset | _Quantum]
) -> tuple[list[str], list[str]]:
    """Take names, each of which is one object then, and write data IDs down."""
    try:
        found = list(map(known.__getitem__, [each.name for each in told]))
    except KeyError as error:
        raise InvalidSourceError(f"{error} is not in the pipeline.") from None
    data_ids = [written[bytes(each.data_coordinate)] for (_, written), each in zip(found, told, strict=True)]
    return [name for name, _ in found], data_ids


def _values(connections: Sequence[dict[str, list[T]]]) -> tuple[list[T], list[int]]:
    """Return what some quanta read or write, whatever the connection, and how many there are of each."""
    values, numbers = list[T](), list[int]()
    for each in connections:
        before = len(values)
        for some in each.values():
            values += some
        numbers.append(len(values) - before)
    return values, numbers


def _used(usages: Sequence[_Usage]) -> tuple[list[Any], list[Any], list[Any], list[Any], list[Any]]:
    """Tell from when to when attempts lasted, how long they ran, and what they took of the processor and of memory."""
    started_at = list(map(moment_of, [usage.start for usage in usages]))
    run_time, cpu_time = [usage.run_time for usage in usages], [usage.run_time_cpu for usage in usages]
    # They were whole microseconds.
    parts = np.array([[usage.prep_time for usage in usages], [usage.init_time for usage in usages], run_time])
    ended_at = (started_at + np.rint(parts * 1e6).astype(np.int64).sum(axis=0)).tolist()
    return started_at, ended_at, run_time, cpu_time, [int(usage.memory) for usage in usages]


def _span_of_attempt(content: bytes, number: int) -> tuple[int, int] | None:
    attempts = array_of(object_of(parse(content)).get("attempts"))
    return span_of(attempts[number]) if number < len(attempts) and attempts[number] is not None else None
