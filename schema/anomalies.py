"""Where a run departs from earlier ones."""

from __future__ import annotations

import strawberry

from butlerql.schema.enums import DescribedEnum
from butlerql.schema.fields import loaded
from butlerql.schema.quanta import Execution
from butlerql.schema.references import Run, Task
from butlerql.schema.scalars import BigInt

__all__ = ["Anomaly", "AnomalyKind"]


@strawberry.enum
class AnomalyKind(DescribedEnum):
    """What departs."""

    RUN_TIME = "RUN_TIME", "The median of wall-clock seconds is greater; by at least 0.1 s."
    MEMORY = (
        "MEMORY",
        "The median of peak resident sets, bytes, is greater; by at least 50 MB. Only attempts with `processIndex` 0.",
    )
    CPU_TIME = "CPU_TIME", "The median of CPU seconds is greater; by at least 0.1 s."
    FAILURE_RATE = (
        "FAILURE_RATE",
        "The share of attempts that failed or were aborted, 0 to 1, is greater; by at least 0.01.",
    )
    EXECUTION_COUNT = (
        "EXECUTION_COUNT",
        "More or fewer attempts than the median of the baseline runs that have the task; by at least `minExecutions`.",
    )


@strawberry.type
class Anomaly:
    """A task of a run departs from what it was in the baseline runs, by more than chance.

    Times and memory are of attempts that did their work: successful, and without a caveat that they found nothing to do
    or were cut short. Where half of the data IDs are on both sides, each is compared with itself, else all together.
    """

    kind: AnomalyKind = strawberry.field(description="What departs.")

    @loaded
    def task(self) -> Task:
        """Which task."""

    run_name: str = strawberry.field(description="In which run.")

    @loaded
    def run(self) -> Run | None:
        """In which run; null if the registry does not have it now."""

    observed: float = strawberry.field(description="What it is in the run; the kind says of what, and the unit.")
    baseline: float = strawberry.field(description="What it is in the baseline runs together.")
    ratio: float = strawberry.field(
        description=(
            "How many times the baseline it is. Where no attempt failed there, as if half a one had; else a baseline "
            "of 0 counts as a millisecond, a byte, or one attempt."
        )
    )
    executions: BigInt = strawberry.field(
        description="How many attempts of the run it was found in; of times and memory, one a unit of work."
    )
    p_value: float | None = strawberry.field(
        description=(
            "How surely it is no chance, 0 to 1, the less the surer: how likely chance alone makes as much. What has "
            "more than 0.05 is left out. Null with too few to tell, and for `EXECUTION_COUNT`. Data IDs that are in "
            "both are compared by the sign test, others by that of Mann and Whitney, failures by Fisher's."
        )
    )

    @loaded
    def examples(self, first: int | None = 5) -> list[Execution]:
        """The attempts of the run that show it best.

        Those that took most; of failures the latest; of `EXECUTION_COUNT` the last ones at the units of work that were
        tried most often.

        Parameters
        ----------
        first
            At most so many.
        """
