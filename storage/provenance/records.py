"""What readers of provenance yield and ingest takes, the same whatever the source was.

Readers look nothing up in the own state, and ingest reads no file. Records may come in any order, and some of them
several times: ingest knows by their keys that they are about the same thing, and puts together what each tells.

Moments are whole microseconds since 1970 in UTC, and durations seconds. None says that the source does not tell.

What there are many of is not frozen, though nobody changes it: to make a frozen one takes four times as long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum, IntFlag
from typing import NamedTuple
from uuid import UUID

__all__ = [
    "Caveats",
    "DatasetColumns",
    "DatasetRecord",
    "ExecutionColumns",
    "ExecutionRecord",
    "Many",
    "PipelineExecutionRecord",
    "QuantumColumns",
    "QuantumRecord",
    "QuantumStatus",
    "Record",
    "RunRecord",
    "Skipped",
    "Source",
    "SourceKind",
    "TaskRecord",
    "no_quanta",
]


class QuantumStatus(IntEnum):
    """How a unit of work, or one attempt at it, ended; the numbers are those of provenance graphs."""

    ABORTED = -4
    """A workflow system tells that it ran, and it left nothing."""

    UNKNOWN = -3
    """It was planned, and nobody tells what became of it.

    So is an attempt that a graph calls FAILED without a log, metadata or an exception: it may never have run.
    """

    ABORTED_SUCCESS = -2
    """Outputs are there, the log is not."""

    FAILED = -1

    BLOCKED = 0
    """It could not run, since what it needs failed; a graph says so, or it follows. No attempt has this status."""

    SUCCESSFUL = 1


class Caveats(IntFlag):
    """What a success lacks: ``lsst.pipe.base.QuantumSuccessCaveats``."""

    NO_CAVEATS = 0
    ANY_OUTPUTS_MISSING = 1
    ALL_OUTPUTS_MISSING = 2
    NO_WORK = 4
    ADJUST_QUANTUM_RAISED = 8
    UPSTREAM_FAILURE_NO_WORK = 16
    UNPROCESSABLE_DATA = 32
    PARTIAL_OUTPUTS_ERROR = 64


class SourceKind(Enum):
    """Where records come from. Of two that contradict each other the one that comes first here is believed."""

    PROVENANCE_GRAPH = "PROVENANCE_GRAPH"
    JSON_LINES = "JSON_LINES"
    TASK_RECORDS = "TASK_RECORDS"
    """Datasets of metadata and logs in a run."""

    PREDICTED_GRAPH = "PREDICTED_GRAPH"
    """It says what is planned, and nothing of what became of it."""


@dataclass(frozen=True, slots=True)
class Source:
    """One thing that is read from its beginning to its end: a file, or what a run holds of metadata and logs."""

    kind: SourceKind

    name: str
    """Of the file, without its directories; or of the run."""

    digest: str
    """By what one knows that it holds the same as before. The same digest gives the same records in the same order."""


@dataclass(frozen=True, slots=True)
class PipelineExecutionRecord:
    """One quantum graph, executed or to be executed into one run."""

    uuid: UUID
    """That of the graph, the same in the predicted one and in the one with provenance."""

    run: str
    pipeline: str | None = None
    """The description of the pipeline."""

    user: str | None = None
    command: str | None = None

    created_at: int | None = None
    """When the graph was made. Starts and ends are those of the executions."""

    packages: Mapping[str, str] | None = None
    """Versions by name of the package."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run, as one pipeline execution, the last that began to write into it, left it."""

    run: str
    packages: Mapping[str, str]
    """Versions by name of the package, as they were for whoever made the run ready."""


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A task, as it is in one pipeline execution, or in a run where nothing tells of pipeline executions.

    The key is run, pipeline execution and label.
    """

    label: str
    run: str
    pipeline_execution: UUID | None = None
    task_class: str | None = None
    """Its full name."""

    inputs: tuple[str, ...] | None = None
    """Names of dataset types, those of prerequisites with them, those of initialization without."""

    outputs: tuple[str, ...] | None = None
    """Names of dataset types, with those of metadata and logs."""

    initial_outputs: tuple[str, ...] | None = None
    """Names of dataset types that it writes when the pipeline is initialised, without that of its configuration."""

    config: UUID | None = None
    """The dataset of its configuration."""

    config_digest: str | None = None
    """Of the text of its configuration: 32 hexadecimal digits of BLAKE2b."""


@dataclass(slots=True)
class DatasetRecord:
    """A dataset that is read or written."""

    uuid: UUID
    dataset_type: str | None = None
    data_id: Mapping[str, int | str] | None = None
    """The required dimensions."""

    run: str | None = None
    produced: bool | None = None
    """Whether it was written; an overall input of a graph counts as written. None where it is only planned."""


@dataclass(slots=True)
class ExecutionRecord:
    """One attempt at a quantum.

    Two records of a quantum are of the same attempt if they start at the same moment, or have the same log or metadata
    and the same number. Where one of them tells neither, as workflow systems do, who also number attempts that were
    killed: if the one was going on when the other began, or if they have the same number. Of an event of theirs no more
    may be known than when it began, or when it ended: it is the same as an attempt that began after that, or before
    that, if its own number is no lower. Of several the nearest is taken, and what are two attempts for one source is
    never one.

    They never are if the one ended before the other began, or if the one is ABORTED and the other one, of which there
    is a log or metadata, is not, unless it is UNKNOWN.
    """

    attempt: int
    """How many there were before it, as far as the source knows."""

    status: QuantumStatus
    host: str | None = None
    started_at: int | None = None
    """The beginning of its preparation; without metadata, the time of the first record of its log."""

    ended_at: int | None = None
    """The end of its work; without metadata, the time of the last record of its log."""

    run_time: float | None = None
    """Wall-clock, from the start of the work to its end."""

    cpu_time: float | None = None
    """Of the process, within `run_time`."""

    max_rss: int | None = None
    """Peak of the resident set of the process, in bytes."""

    process_index: int | None = None
    """How many quanta the same process had executed before."""

    exception: str | None = None
    """The type's full name, or the short one where no other is told."""

    message: str | None = None
    caveats: Caveats | None = None
    """None for failures, and where the source is too old to tell."""

    log: UUID | None = None
    """The dataset of its log, whether or not it was written."""

    metadata: UUID | None = None
    """The dataset of its metadata, whether or not it was written."""


@dataclass(slots=True)
class QuantumRecord:
    """A unit of work: a task applied to a data ID in a run, which are its key.

    A graph that extends a run has new UUIDs for the same units of work.
    """

    run: str
    task: str
    data_id: Mapping[str, int | str]
    """The required dimensions of the task."""

    uuid: UUID | None = None
    """In the graph of `pipeline_execution`."""

    pipeline_execution: UUID | None = None
    """The graph that planned it and in which its `executions` are; None where no graph is known."""

    is_blocked: bool = False
    """Whether a graph that tells of executions tells of none, since what it needs failed."""

    executions: tuple[ExecutionRecord, ...] = ()
    """The oldest first."""

    inputs: tuple[UUID, ...] = ()
    """What it was to read; what turned out missing with it."""

    outputs: tuple[UUID, ...] = ()
    """What it was to write, metadata and logs with it; whether it did is told by `DatasetRecord.produced`."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something in a source that could not be read; the rest was."""

    name: str
    """What it was: the path of a file in the datastore, or a line's number."""

    reason: str
    """For people."""


DatasetColumns = tuple[list[str], list[str | None], list[str | None], list[str | None], list[bool | None]]
"""Each field of some `DatasetRecord`, in their order: a UUID as 32 digits, a data ID as `written_data_id` has it."""


class ExecutionColumns(NamedTuple):
    """Each field of some `ExecutionRecord`, likewise."""

    attempt: list[int]
    status: list[int]
    host: list[str | None]
    started_at: list[int | None]
    ended_at: list[int | None]
    run_time: list[float | None]
    cpu_time: list[float | None]
    max_rss: list[int | None]
    process_index: list[int | None]
    exception: list[str | None]
    message: list[str | None]
    caveats: list[int | None]
    log: list[str | None]
    metadata: list[str | None]


class QuantumColumns(NamedTuple):
    """Each field of some `QuantumRecord`, likewise, and what belongs to them."""

    run: list[str]
    task: list[str]
    data_id: list[str]
    uuid: list[str | None]
    pipeline_execution: list[str | None]
    is_blocked: list[bool]

    attempts: list[int]
    """How many of `executions` are of each."""

    inputs: list[int]
    """How many of `read`."""

    outputs: list[int]
    """How many of `written`."""

    executions: ExecutionColumns
    """Those of a quantum behind those of the one before."""

    read: list[str]
    """Datasets, likewise."""

    written: list[str]


def no_quanta() -> QuantumColumns:
    """Give columns to which nothing belongs as yet."""
    return QuantumColumns([], [], [], [], [], [], [], [], [], ExecutionColumns(*([] for _ in range(14))), [], [])


@dataclass(slots=True)
class Many:
    """Datasets, or quanta, by the hundred: in this form they are quicker to make, to send elsewhere, and to take in."""

    datasets: DatasetColumns = ([], [], [], [], [])
    quanta: QuantumColumns = field(default_factory=no_quanta)

    def __len__(self) -> int:
        """Count them."""
        return len(self.datasets[0]) + len(self.quanta.run)


Record = PipelineExecutionRecord | RunRecord | TaskRecord | DatasetRecord | QuantumRecord | Skipped | Many
"""Pipeline executions come before what names them."""
