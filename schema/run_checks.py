"""Whether registry, datastores and provenance tell the same of a run."""

from __future__ import annotations

import strawberry

from butlerql.schema.connections import After, Before, Connection, First, Last
from butlerql.schema.enums import DescribedEnum
from butlerql.schema.fields import loaded
from butlerql.schema.references import Dataset, DatasetType, Quantum, Run
from butlerql.schema.scalars import UUID, BigInt

__all__ = ["RunCheck", "RunProblem", "RunProblemConnection", "RunProblemCount", "RunProblemKind"]


@strawberry.enum
class RunProblemKind(DescribedEnum):
    """What may be wrong with a run."""

    OUTPUT_NOT_IN_REGISTRY = (
        "OUTPUT_NOT_IN_REGISTRY",
        (
            "Provenance says that a unit of work wrote it, or that it was written when a pipeline was initialised: "
            "configurations, schemas, versions. Logs and metadata have kinds of their own."
        ),
    )
    OUTPUT_NOT_STORED = "OUTPUT_NOT_STORED", "In the registry, and no datastore has a record of it."
    NO_PRODUCER = (
        "NO_PRODUCER",
        (
            "In the registry, and no recorded work wrote it. Told where recorded work says what it wrote, and not of "
            "what pipelines write when they are initialised: configurations, versions, schemas, whatever has no "
            "dimensions."
        ),
    )
    QUANTUM_WITHOUT_LOG = (
        "QUANTUM_WITHOUT_LOG",
        "A unit of work that was successful or failed, and its log is not in the registry, though its task keeps logs.",
    )
    QUANTUM_WITHOUT_METADATA = (
        "QUANTUM_WITHOUT_METADATA",
        "A unit of work that was successful, and its metadata are not in the registry.",
    )
    NEVER_RAN = (
        "NEVER_RAN",
        (
            "A unit of work that a graph planned, and nothing is known of any attempt: it was killed without a trace, "
            "or never ran. Those that are blocked are not among them."
        ),
    )
    INCOMPLETE_RECORD = (
        "INCOMPLETE_RECORD",
        "A datastore's record without a size, or without a checksum where the datastore keeps them.",
    )


@strawberry.type
class RunProblemCount:
    """How much is wrong in one respect."""

    kind: RunProblemKind = strawberry.field(description="What is wrong.")
    count: BigInt = strawberry.field(description="Of how many datasets or units of work.")


@strawberry.type
class RunProblem:
    """Something that is wrong with a run."""

    kind: RunProblemKind = strawberry.field(description="What is wrong.")
    dataset: Dataset | None = strawberry.field(
        description="The dataset that it is about; null if the registry does not have it, and where it is about work."
    )
    uuid: UUID | None = strawberry.field(
        description="UUID of the dataset, of a log or of metadata; null where none is known."
    )

    @loaded
    def dataset_type(self) -> DatasetType | None:
        """Dataset type of what has the UUID; null where nothing tells, or the registry does not have it."""

    quantum: Quantum | None = strawberry.field(
        description="The unit of work that it is about, or that was to write the dataset; null where nothing tells."
    )
    detail: str = strawberry.field(description="The same in words.")


@strawberry.type
class RunProblemConnection(Connection[RunProblem]):
    """A page of what is wrong with a run."""


@strawberry.type
class RunCheck:
    """Whether registry, datastores and provenance tell the same of a run.

    All that is in the run is looked at when it is asked for; nothing is remembered.
    """

    run: Run = strawberry.field(description="Which run.")

    @loaded
    def consistent(self) -> bool | None:
        """Whether nothing is wrong but records that are incomplete, which contradict nothing.

        Null where no provenance of the run is known.
        """

    @loaded
    def summary(self) -> list[RunProblemCount]:
        """How many problems there are of each kind; those of which there is none are left out."""

    @loaded
    def problems(
        self,
        kinds: list[RunProblemKind] | None = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> RunProblemConnection:
        """What is wrong: by kind, then by dataset, or by task and data ID of the unit of work.

        Parameters
        ----------
        kinds
            Only of these kinds; null for all.
        """
