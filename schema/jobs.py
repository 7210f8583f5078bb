"""Long work: jobs, and how far they are."""

from __future__ import annotations

import strawberry

from butlerql.schema.connections import After, Before, Connection, First, Last
from butlerql.schema.enums import DescribedEnum
from butlerql.schema.fields import loaded
from butlerql.schema.nodes import Node
from butlerql.schema.references import Collection, Datastore, DeletionPlan
from butlerql.schema.scalars import JSON, BigInt, DateTime
from butlerql.schema.validation import FindingConnection, FindingCount, FindingKind, ValidationCheck, Verdict

__all__ = [
    "CancelJobInput",
    "DeletionJob",
    "IngestJob",
    "Job",
    "JobConnection",
    "JobKind",
    "JobPayload",
    "JobState",
    "PlanningJob",
    "Progress",
    "TaggingJob",
    "ValidationJob",
]


@strawberry.enum
class JobKind(DescribedEnum):
    """What a job does."""

    VALIDATION = "VALIDATION", "Looks whether a datastore holds what is recorded, and as it was put there."
    PLANNING = "PLANNING", "Lists what a deletion would touch."
    DELETION = "DELETION", "Carries a plan of deletion out, or undoes it."
    TAGGING = "TAGGING", "Puts many datasets into a TAGGED collection, or takes them out."
    INGEST = "INGEST", "Reads provenance."


@strawberry.enum
class JobState(DescribedEnum):
    """How far a job is."""

    QUEUED = "QUEUED", "Nobody has begun with it."
    RUNNING = "RUNNING", "Somebody works on it."
    WAITING = "WAITING", "For a grace period to pass."
    SUCCEEDED = "SUCCEEDED", "It came to its end."
    FAILED = "FAILED", "It cannot go on; `error` says why."
    CANCELLED = "CANCELLED", "Somebody stopped it."
    INTERRUPTED = "INTERRUPTED", "Whoever ran it stopped or died; it goes on when somebody takes it up."


@strawberry.type
class Progress:
    """How far a job is, in units of its own."""

    done: BigInt = strawberry.field(description="How many units are done.")
    total: BigInt | None = strawberry.field(description="How many there are; null until that is known.")
    unit: str = strawberry.field(description="What is counted, in the plural: `artifacts`.")
    fraction: float | None = strawberry.field(description="Share that is done, 0 to 1; null until the total is known.")
    message: str | None = strawberry.field(description="What it is at; null if there is nothing to say.")
    bytes_done: BigInt = strawberry.field(description="Bytes that were read or removed.")
    rate_per_second: float | None = strawberry.field(
        description="Units a second, on average, pauses left out; null before it has run."
    )
    eta_seconds: float | None = strawberry.field(
        description="Seconds that the rest takes at that rate; null while nobody can tell."
    )


@strawberry.interface
class Job:
    """Work that takes longer than a request; it goes on when its client, or the service, goes away."""

    id: strawberry.ID = strawberry.field(
        description="Identity among everything served here; opaque, and the same as long as the job is remembered."
    )
    kind: JobKind = strawberry.field(description="What it does.")
    state: JobState = strawberry.field(description="How far it is.")
    created_by: str = strawberry.field(description="Who asked for it.")
    created_at: DateTime = strawberry.field(description="When it was asked for.")
    started_at: DateTime | None = strawberry.field(description="When it began; null if it has not.")
    ended_at: DateTime | None = strawberry.field(description="When it came to its end; null if it has not.")
    progress: Progress = strawberry.field(description="How far it is, in figures.")
    error: str | None = strawberry.field(description="Why it failed; null if it did not.")


@strawberry.type
class ValidationJob(Node, Job):
    """Looks whether a datastore holds what is recorded, and as it was put there."""

    @loaded
    def datastore(self) -> Datastore:
        """What it looks at."""

    @loaded
    def checks(self) -> list[ValidationCheck]:
        """What it looks for."""

    @loaded
    def verdict(self) -> Verdict | None:
        """What came of it. Null until it ends."""

    @loaded
    def coverage(self) -> JSON:
        """What was looked at, and how many were not, by the reason.

        `datasets`, `artifacts` and their `bytes`; `contents` and `bytesRead` of those that were read.
        """

    @loaded
    def summary(self) -> list[FindingCount]:
        """How many findings there are of each kind, as yet."""

    @loaded
    def findings(
        self,
        kinds: list[FindingKind] | None = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> FindingConnection:
        """What is wrong, in the order in which it was found.

        Parameters
        ----------
        kinds
            Only these; null for all.
        """


@strawberry.type
class PlanningJob(Node, Job):
    """Lists what a deletion would touch."""

    @loaded
    def plan(self) -> DeletionPlan:
        """The list, as far as it is made."""


@strawberry.type
class DeletionJob(Node, Job):
    """Carries a plan of deletion out, or undoes it."""

    @loaded
    def plan(self) -> DeletionPlan:
        """What it works on."""


@strawberry.type
class IngestJob(Node, Job):
    """Reads provenance, and remembers it."""

    @loaded
    def quanta(self) -> BigInt:
        """How many units of work its sources have made known, as yet."""

    @loaded
    def executions(self) -> BigInt:
        """How many attempts its sources have made known, as yet."""

    @loaded
    def skipped(self) -> BigInt:
        """How many files, or lines, could not be read, as yet."""


@strawberry.type
class TaggingJob(Node, Job):
    """Puts many datasets into a TAGGED collection, or takes them out: all of them or, if anything is wrong, none."""

    @loaded
    def collection(self) -> Collection | None:
        """Where; null while it is not made, or if it was removed since."""

    @loaded
    def changed(self) -> BigInt | None:
        """How many datasets were put in or taken out. Null until it ends."""

    @loaded
    def replaced(self) -> BigInt | None:
        """How many others gave way. Null until it ends."""


@strawberry.type
class JobConnection(Connection[Job]):
    """A page of jobs."""


@strawberry.input
class CancelJobInput:
    """Which job to stop."""

    id: strawberry.ID = strawberry.field(description="Its `id`.")
    client_mutation_id: str | None = strawberry.field(default=None, description="Anything; the payload gives it back.")


@strawberry.type
class JobPayload:
    """The job that a change began or altered."""

    job: Job = strawberry.field(description="The job, as it is after the change.")
    client_mutation_id: str | None = strawberry.field(description="What the input said.")
