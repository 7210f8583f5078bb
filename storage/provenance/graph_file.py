"""Quantum graphs in files: what was planned, and with provenance what became of it.

They are read straight through, whatever their size, with some megabytes of memory.

Sources: ``lsst.pipe.base.quantum_graph`` and ``lsst.pipe.base.pipeline_graph.io``.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import chain
from typing import Any, BinaryIO, TypeVar
from uuid import UUID

from msgspec.json import Decoder

from butlerql.storage.errors import InvalidSourceError
from butlerql.storage.provenance.archive import Archive
from butlerql.storage.provenance.blocks import INTEGER_SIZES, Addresses, Blocks, Unpacker
from butlerql.storage.provenance.graph_quanta import (
    ADDRESSES,
    DATASETS,
    EXECUTED,
    PLANNED,
    Dimensions,
    ExecutedQuanta,
    Plan,
    PlannedQuanta,
)
from butlerql.storage.provenance.lenient_json import (
    array_of,
    decoded,
    integer_of,
    moment_of,
    name_of,
    object_of,
    text_of,
    uuid_of,
)
from butlerql.storage.provenance.package_versions import versions_of
from butlerql.storage.provenance.records import (
    Many,
    PipelineExecutionRecord,
    Record,
    Skipped,
    Source,
    SourceKind,
    TaskRecord,
)
from butlerql.storage.provenance.task_configs import config_digest

__all__ = ["GraphFile"]

T = TypeVar("T")

_VERSIONS = {"provenance": (1,), "predicted": (0, 1)}
_KINDS = {"provenance": SourceKind.PROVENANCE_GRAPH, "predicted": SourceKind.PREDICTED_GRAPH}
_CONFIG = "_config"
# It begins with the milliseconds since 1970.
_UUID_OF_TIME = 7


class GraphFile:
    """A quantum graph in a file.

    Parameters
    ----------
    file
        What it is read from; any part is, in any order.
    name
        Of the file, without its directories.

    Raises
    ------
    InvalidSourceError
        Raised if it is no quantum graph, of a type or version that is not known here, or damaged where it tells what it
        is.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._archive = Archive(file)
        self._name = name
        header = object_of(Unpacker().unpack(self._content("header.json.zst")))
        kind = header.get("graph_type")
        if type(kind) is not str or header.get("version") not in _VERSIONS.get(kind, ()):
            raise InvalidSourceError("A quantum graph of this type and version is not known here.")
        self._integer_size = integer_of(header.get("int_size"))
        if self._integer_size not in INTEGER_SIZES:
            raise InvalidSourceError(f"Integers of {self._integer_size} bytes are not known here.")
        has_dictionary = "compression_dict" in self._archive.members
        self._unpacker = Unpacker(self._content("compression_dict") if has_dictionary else b"")
        self._pipeline = object_of(self._unpacked("pipeline_graph.json.zst"))
        self._tasks = {name_of(label): object_of(task) for label, task in self._part("tasks").items()}
        self._plan = self._read_plan(header)
        self._execution = PipelineExecutionRecord(
            uuid=self._plan.uuid,
            run=self._plan.run,
            pipeline=_told_text(self._pipeline.get("description")),
            user=_told_text(header.get("user")),
            command=_told_text(header.get("command")),
            created_at=_created_at(self._plan.uuid, header.get("timestamp")),
        )
        self._kind = _KINDS[kind]

    @cached_property
    def source(self) -> Source:
        """What it is, for which all of it is read once."""
        return Source(self._kind, self._name, self._archive.digest())

    def records(self) -> Iterator[Record]:
        """Go through all that it tells, datasets before the work that writes them."""
        packages = yield from self._added("packages.json.zst", versions_of)
        yield replace(self._execution, packages=packages)
        configs = yield from self._added("init_quanta.json.zst", _configs)
        for label, task in self._tasks.items():
            try:
                yield self._task_record(label, task, (configs or {}).get(label))
            except InvalidSourceError as error:
                yield Skipped(f"pipeline_graph.json.zst, {label}", str(error))
        if self._kind is SourceKind.PREDICTED_GRAPH:
            yield from self._each("quantum_datasets.mb", PLANNED, PlannedQuanta(self._plan).told_by)
            return
        quanta = ExecutedQuanta(self._plan, self._unpacker)
        opened: dict[str, Blocks] = {}
        for name in ("metadata.mb", "logs.mb"):
            try:
                opened[name] = self._blocks(name)
            except InvalidSourceError as error:
                yield Skipped(name, str(error))
        try:
            table = Addresses(self._archive, self._archive.member("nodes.addr"), ADDRESSES)
            quanta.find_in(table, opened.get("metadata.mb"), opened.get("logs.mb"))
        except InvalidSourceError as error:
            yield Skipped("nodes.addr", str(error))
        datasets = self._each("datasets.mb", DATASETS, quanta.told_by_datasets)
        yield from _in_step(self._each("quanta.mb", EXECUTED, quanta.told_by), datasets)

    def _each(
        self, name: str, decoder: Decoder[T], told_by: Callable[[Sequence[T]], Iterable[Record]]
    ) -> Iterator[Record]:
        """Go through what blocks tell, some at a time."""
        number = 0
        try:
            for some in self._blocks(name):
                yield from self._told(name, number, some, decoder, told_by)
                number += len(some)
        except InvalidSourceError as error:
            # What is behind it cannot be found.
            yield Skipped(f"{name} from block {number} on", str(error))

    def _told(
        self,
        name: str,
        number: int,
        blocks: Sequence[bytes],
        decoder: Decoder[T],
        told_by: Callable[[Sequence[T]], Iterable[Record]],
    ) -> Iterator[Record]:
        """Say what blocks tell, the first of which has this number: together, or else one by one.

        Those that cannot be understood are skipped.
        """
        try:
            yield from told_by(decoded(decoder, self._unpacker.contents(blocks)))
        except InvalidSourceError as error:
            if len(blocks) == 1:
                yield Skipped(f"{name}, block {number}", str(error))
                return
            for place, block in enumerate(blocks, number):
                yield from self._told(name, place, [block], decoder, told_by)

    def _added(self, name: str, take: Callable[[Any], T]) -> Generator[Skipped, None, T | None]:
        """Take what a member adds to what is known without it."""
        if name in self._archive.members:
            try:
                return take(self._unpacked(name))
            except InvalidSourceError as error:
                yield Skipped(name, str(error))
        return None

    def _blocks(self, name: str) -> Blocks:
        return Blocks(self._archive, self._archive.member(name), self._integer_size)

    def _content(self, name: str) -> bytes:
        return self._archive.content(self._archive.member(name))

    def _unpacked(self, name: str) -> Any:
        return self._unpacker.unpack(self._content(name))

    def _part(self, name: str) -> dict[str, Any]:
        return object_of(self._pipeline.get(name))

    def _read_plan(self, header: dict[str, Any]) -> Plan:
        elements = object_of(self._part("dimensions").get("elements"))
        implies = {name: _names(object_of(element).get("implies", [])) for name, element in elements.items()}
        types: dict[str, Dimensions] = {}
        for name, kind in self._part("dataset_types").items():
            # In the order of the universe; values are those of the required ones, then those of the implied ones.
            dimensions = _names(object_of(kind).get("dimensions"))
            implied = set(chain.from_iterable(implies.get(dimension, ()) for dimension in dimensions))
            types[name_of(name)] = tuple(dimension for dimension in dimensions if dimension not in implied)
        tasks: dict[str, Dimensions] = {}
        for label, task in self._tasks.items():
            metadata = _dataset_type(task.get("metadata_output"))
            if metadata not in types:
                raise InvalidSourceError(f"The dataset type {metadata!r} is not in the pipeline.")
            tasks[label] = types[metadata]
        uuid = uuid_of(header.get("provenance_dataset_id"))
        return Plan(uuid, name_of(header.get("output_run")), tasks, types)

    def _task_record(self, label: str, task: dict[str, Any], config: UUID | None) -> TaskRecord:
        read = chain(object_of(task.get("inputs")).values(), object_of(task.get("prerequisite_inputs")).values())
        written = [*object_of(task.get("outputs")).values(), task.get("metadata_output"), task.get("log_output")]
        text = task.get("config_str")
        return TaskRecord(
            label=label,
            run=self._plan.run,
            pipeline_execution=self._plan.uuid,
            task_class=name_of(task.get("task_class")),
            inputs=tuple(sorted({_dataset_type(edge) for edge in read})),
            outputs=tuple(sorted({_dataset_type(edge) for edge in written if edge is not None})),
            initial_outputs=tuple(map(_dataset_type, object_of(_initial(task).get("outputs")).values())),
            config=config,
            config_digest=None if text is None else config_digest(text_of(text)),
        )


def _in_step(quanta: Iterator[Record], datasets: Iterator[Record]) -> Iterator[Record]:
    """Give quanta behind the datasets that they write; whoever wrote both into a file kept the same order."""
    ahead: list[str] = []
    for record in quanta:
        if isinstance(record, Many):
            last = record.quanta.written[-1] if record.quanta.written else None
            while last is not None and last not in ahead and (more := next(datasets, None)) is not None:
                if isinstance(more, Many):
                    ahead = more.datasets[0]
                yield more
        yield record
    yield from datasets


def _configs(init_quanta: Any) -> dict[str, UUID]:
    """Find the dataset of each task's configuration."""
    configs = {}
    for quantum in map(object_of, array_of(init_quanta)):
        config = object_of(quantum.get("outputs")).get(_CONFIG)
        if config is not None:
            # Of a plan it is a list of datasets.
            uuid = object_of(config[0]).get("dataset_id") if type(config) is list and config else config
            configs[name_of(quantum.get("task_label"))] = uuid_of(uuid)
    return configs


def _initial(task: dict[str, Any]) -> dict[str, Any]:
    """Return what a task reads and writes when the pipeline is initialised."""
    return object_of(task.get("init"))


def _dataset_type(edge: Any) -> str:
    """Return the dataset type that a task reads or writes, without the component."""
    return name_of(object_of(edge).get("dataset_type_name")).partition(".")[0]


def _names(value: Any) -> list[str]:
    return [name_of(name) for name in array_of(value)]


def _told_text(value: Any) -> str | None:
    return text_of(value) if value else None


def _created_at(uuid: UUID, timestamp: Any) -> int | None:
    """Tell when a graph was made.

    Its time stamp is that of a clock on a wall, somewhere; its UUID, made at the same moment, tells the time.
    """
    if uuid.version == _UUID_OF_TIME:
        return (uuid.int >> 80) * 1_000
    return moment_of(timestamp) if isinstance(timestamp, str) and timestamp.endswith(("Z", "+00:00")) else None
