"""Units of work, and attempts at them."""

from __future__ import annotations

import strawberry

from butlerql.schema.connections import After, Connection, First
from butlerql.schema.enums import DescribedEnum
from butlerql.schema.fields import loaded
from butlerql.schema.nodes import Node
from butlerql.schema.references import DataId, Dataset, DatasetTraceConnection, PipelineExecution, Run, Task
from butlerql.schema.scalars import UUID, BigInt, DataIdValues, DateTime

__all__ = ["Execution", "ExecutionConnection", "Quantum", "QuantumConnection", "QuantumFilter", "QuantumStatus"]


@strawberry.enum
class QuantumStatus(DescribedEnum):
    """How a unit of work, or one attempt at it, ended."""

    SUCCESSFUL = "SUCCESSFUL", "It was done, maybe with caveats."
    FAILED = "FAILED", "It raised an exception."
    BLOCKED = "BLOCKED", "It could not run, since what it needs failed. Only units of work are."
    ABORTED = "ABORTED", "A workflow system tells that it ran, and it left nothing."
    ABORTED_SUCCESS = "ABORTED_SUCCESS", "Outputs are there, the log is not."
    UNKNOWN = "UNKNOWN", "It was planned, and nobody tells what became of it: it was killed, or never ran."


@strawberry.type
class Quantum(Node):
    """One unit of work: a task applied to a data ID in a run."""

    uuid: UUID | None = strawberry.field(
        description="Its UUID in the latest graph that it is in. Null where only metadata and logs tell of it."
    )

    @loaded
    def task(self) -> Task:
        """What was to be done."""

    data_id_values: DataIdValues | None = strawberry.field(description="What it is of: the required dimensions.")

    @loaded
    def data_id(self) -> DataId | None:
        """The same, with what the registry knows of it; null if it has no such records now."""

    run_name: str = strawberry.field(description="The run that its outputs go to.")

    @loaded
    def run(self) -> Run | None:
        """The run that its outputs go to; null if the registry does not have it now."""

    status: QuantumStatus = strawberry.field(description="How its last attempt ended.")
    attempts: int = strawberry.field(description="How many attempts at it are known.")

    @loaded
    def executions(self) -> list[Execution]:
        """The attempts at it, the first one first."""

    @loaded
    def inputs(self, first: First = None, after: After = None) -> DatasetTraceConnection:
        """What it was to read, as it became known. Some of it may have turned out missing."""

    @loaded
    def outputs(self, first: First = None, after: After = None) -> DatasetTraceConnection:
        """What it was to write, as it became known. Some of it may not have been written."""


@strawberry.type
class Execution:
    """One attempt at a unit of work, on one machine."""

    id: strawberry.ID = strawberry.field(description="Tells it from other attempts; opaque.")

    @loaded
    def quantum(self) -> Quantum:
        """What it was an attempt at."""

    attempt: int = strawberry.field(
        description=(
            "How many known attempts at the same unit of work there were before it. One that was killed may have left "
            "no trace."
        )
    )
    status: QuantumStatus = strawberry.field(description="How it ended.")
    host: str | None = strawberry.field(description="The machine; null where nothing tells.")

    @loaded
    def pipeline_execution(self) -> PipelineExecution | None:
        """What it was a part of; null where no graph tells.

        A full Butler does not record it: then it is the latest of the graphs that planned the unit of work before the
        attempt began, or the first where times do not tell.
        """

    started_at: DateTime | None = strawberry.field(description="When it began; null where nothing tells.")
    ended_at: DateTime | None = strawberry.field(description="When it ended; null where nothing tells.")
    run_time: float | None = strawberry.field(
        description="Wall-clock seconds, without what was to be prepared; null where nothing tells."
    )
    cpu_time: float | None = strawberry.field(description="CPU seconds in that time; null where nothing tells.")
    max_rss: BigInt | None = strawberry.field(
        description="Peak resident set of the process until its end, bytes; null where nothing tells."
    )
    exception: str | None = strawberry.field(
        description="Type of the exception that it ended with, or that was tolerated; null if there was none."
    )
    message: str | None = strawberry.field(description="What the exception says.")
    caveats: list[str] = strawberry.field(
        description="What its success lacks: codes of `CaveatCount`. Empty for failures, and where nothing tells."
    )
    process_index: int | None = strawberry.field(
        description=(
            "Earlier units of work in the same process: with some, `maxRss` is an upper bound. Null where nothing "
            "tells."
        )
    )

    @loaded
    def log(self) -> Dataset | None:
        """Its log, together with those of other attempts; null if the registry has none."""

    @loaded
    def metadata(self) -> Dataset | None:
        """Its metadata; null if the registry has none."""


@strawberry.type
class QuantumConnection(Connection[Quantum]):
    """A page of units of work."""


@strawberry.type
class ExecutionConnection(Connection[Execution]):
    """A page of attempts."""


@strawberry.input
class QuantumFilter:
    """Which units of work, or which attempts at them.

    Everything given must hold; an empty list selects nothing. Of a unit of work, `hosts`, `startedAfter`,
    `startedBefore`, `minRunTime`, `minMaxRss` and `exception` must hold of one of its attempts, all of one.
    """

    runs: list[str] | None = strawberry.field(default=None, description="Names or globs of runs; null for all.")
    tasks: list[str] | None = strawberry.field(default=None, description="Labels or globs of tasks; null for all.")
    hosts: list[str] | None = strawberry.field(default=None, description="Names or globs of machines; null for all.")
    statuses: list[QuantumStatus] | None = strawberry.field(
        default=None,
        description=(
            "How they ended; null for all. Where units of work are counted it is theirs, where attempts are, that of "
            "the attempt."
        ),
    )
    pipeline_executions: list[strawberry.ID] | None = strawberry.field(
        default=None, description="Ids of pipeline executions that planned or ran them; null for all."
    )
    data_id: DataIdValues | None = strawberry.field(
        default=None, description="Only those that have these dimensions with these values; null for all."
    )
    started_after: DateTime | None = strawberry.field(
        default=None, description="Only attempts that began then or later; null for all."
    )
    started_before: DateTime | None = strawberry.field(
        default=None, description="Only attempts that began before; null for all."
    )
    min_run_time: float | None = strawberry.field(
        default=None, description="Only attempts that took so many seconds or more; null for all."
    )
    min_max_rss: BigInt | None = strawberry.field(
        default=None, description="Only attempts whose peak resident set is so many bytes or more; null for all."
    )
    exception: str | None = strawberry.field(
        default=None, description="Only attempts with an exception of this type: its name or a glob; null for all."
    )
