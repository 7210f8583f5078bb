"""How tasks went, and how machines fared."""

from __future__ import annotations

import strawberry

from butlerql.schema.fields import loaded
from butlerql.schema.references import Run, Task
from butlerql.schema.scalars import BigInt, DateTime

__all__ = ["CaveatCount", "Distribution", "ExceptionCount", "HostSummary", "TaskSummary"]


@strawberry.type
class Distribution:
    """How values spread. A percentile that lies between two of them is taken in proportion."""

    count: BigInt = strawberry.field(description="How many values there are.")
    min: float = strawberry.field(description="The least.")
    p05: float = strawberry.field(description="A twentieth are less.")
    p32: float = strawberry.field(description="About a third are less (32 %).")
    median: float = strawberry.field(description="Half are less.")
    p68: float = strawberry.field(description="About two thirds are less (68 %).")
    p95: float = strawberry.field(description="Nineteen in twenty are less.")
    p99: float = strawberry.field(description="Ninety-nine in a hundred are less.")
    max: float = strawberry.field(description="The greatest.")
    mean: float = strawberry.field(description="Their mean.")
    total: float = strawberry.field(description="Their sum.")


@strawberry.type
class ExceptionCount:
    """How many attempts met an exception; of some it was tolerated."""

    exception: str = strawberry.field(description="Its type.")
    count: BigInt = strawberry.field(description="How many attempts.")
    sample_message: str | None = strawberry.field(description="What it said in one of them; null if nothing.")


@strawberry.type
class CaveatCount:
    """How many attempts were successful with a caveat; one may have several."""

    code: str = strawberry.field(description="Name of the caveat, as in the pipelines' own reports.")
    meaning: str = strawberry.field(description="What it says.")
    count: BigInt = strawberry.field(description="How many attempts.")


@strawberry.type
class TaskSummary:
    """How often a task ran in a run, and how it went.

    Units of work and attempts at them are told apart. Counts by status are of units of work and add up to `quanta`.
    """

    @loaded
    def task(self) -> Task:
        """Which task."""

    run_name: str = strawberry.field(description="Which run.")

    @loaded
    def run(self) -> Run | None:
        """Which run; null if the registry does not have it now."""

    expected: BigInt | None = strawberry.field(description="Planned units of work; null where no graph says.")
    quanta: BigInt = strawberry.field(description="Units of work.")
    executions: BigInt = strawberry.field(description="Attempts at them that are known.")
    successful: BigInt = strawberry.field(description="Units of work whose last attempt was successful.")
    failed: BigInt = strawberry.field(description="Units of work whose last attempt raised an exception.")
    blocked: BigInt = strawberry.field(description="Units of work that could not run since what they need failed.")
    aborted: BigInt = strawberry.field(description="Units of work whose last attempt ran and left nothing.")
    aborted_success: BigInt = strawberry.field(description="Units of work with outputs and without a log.")
    unknown: BigInt = strawberry.field(description="Planned units of work of which nobody tells what became of them.")
    retried: BigInt = strawberry.field(description="Units of work with more than one attempt.")
    recovered: BigInt = strawberry.field(description="Units of work that were retried and in the end successful.")
    failed_executions: BigInt = strawberry.field(description="Attempts that failed or were aborted.")

    @loaded
    def run_time(self) -> Distribution | None:
        """Wall-clock seconds of the attempts; null if none is known."""

    @loaded
    def max_rss(self) -> Distribution | None:
        """Peak resident sets of the attempts, bytes; null if none is known.

        It never falls within a process: see `Execution.processIndex`.
        """

    @loaded
    def cpu_time(self) -> Distribution | None:
        """CPU seconds of the attempts; null if none is known."""

    hosts: int = strawberry.field(description="How many machines are known.")
    exceptions: list[ExceptionCount] = strawberry.field(description="Exceptions, the most frequent first.")
    caveats: list[CaveatCount] = strawberry.field(description="Caveats of successful attempts.")


@strawberry.type
class HostSummary:
    """How a machine fared. Attempts whose machine is not recorded are under `host: null`, never dropped."""

    host: str | None = strawberry.field(description="The machine; null for all that are not recorded.")
    executions: BigInt = strawberry.field(description="Attempts on it.")
    successful: BigInt = strawberry.field(description="Attempts that were successful.")
    failed: BigInt = strawberry.field(description="Attempts that failed or were aborted.")
    failure_rate: float = strawberry.field(description="Share of the attempts that failed, 0 to 1.")
    all_failed: bool = strawberry.field(description="Whether all attempts failed: a bad machine.")
    recovered_elsewhere: BigInt = strawberry.field(
        description=(
            "Attempts that failed here, and the same unit of work succeeded on another machine: the machine's fault "
            "rather than the data's."
        )
    )
    tasks: int = strawberry.field(description="How many tasks were tried.")
    quanta: BigInt = strawberry.field(description="How many units of work were tried.")

    @loaded
    def run_time(self) -> Distribution | None:
        """Wall-clock seconds of the attempts; null if none is known."""

    @loaded
    def max_rss(self) -> Distribution | None:
        """Peak resident sets of the attempts, bytes; null if none is known."""

    first_seen: DateTime | None = strawberry.field(description="When the first attempt began; null if not known.")
    last_seen: DateTime | None = strawberry.field(description="When the last attempt ended; null if not known.")
    last_success: DateTime | None = strawberry.field(
        description="When the last successful attempt ended; null if there is none, or it is not known."
    )
