"""Deletions: planned, carried out, and undone."""

from __future__ import annotations

import strawberry

from butlerql.schema.connections import After, Before, Connection, First, Last
from butlerql.schema.enums import DescribedEnum
from butlerql.schema.fields import loaded
from butlerql.schema.jobs import Job
from butlerql.schema.nodes import Node
from butlerql.schema.references import DatasetTraceConnection, Datastore
from butlerql.schema.scalars import BigInt, DateTime
from butlerql.schema.selection import DatasetSelection
from butlerql.schema.usage import UsageGroup, UsageKey

__all__ = [
    "BlockReason",
    "BlockedCount",
    "DeleteDatasetsInput",
    "DeletionItem",
    "DeletionItemConnection",
    "DeletionOutcome",
    "DeletionPlan",
    "DeletionPlanPayload",
    "DeletionScope",
    "OutcomeCount",
    "PlanDeletionInput",
    "PlanState",
    "RestoreDeletionInput",
]

_MUTATION_ID = "Anything; the payload gives it back."


@strawberry.enum
class DeletionScope(DescribedEnum):
    """What goes."""

    UNSTORE = (
        "UNSTORE",
        "The files and their records, as the Butler's unstore; the registry still knows the dataset.",
    )
    PURGE = "PURGE", "The dataset itself, everywhere, as the Butler's purge; takes no `datastore`."


@strawberry.enum
class PlanState(DescribedEnum):
    """How far a deletion is."""

    PLANNING = "PLANNING", "The list is being made."
    PLANNED = "PLANNED", "The list is frozen, and nothing is changed as yet."
    DETACHING = "DETACHING", "Readers stop seeing the datasets, one part after another; all files are there."
    DETACHED = "DETACHED", "Nobody sees the datasets, all files are there, and all can be restored."
    UNLINKING = "UNLINKING", "The files are being removed; nothing can be restored any more."
    UNLINKED = "UNLINKED", "It is done; `outcomes` says what became of each file."
    RESTORED = "RESTORED", "All is as it was before."
    PARTLY_RESTORED = (
        "PARTLY_RESTORED",
        "What could be restored is, not the rest; `restoreDeletion` tries that again, `deleteDatasets` gives it up.",
    )
    EXPIRED = "EXPIRED", "It was not carried out in time; too much may have changed since."
    FAILED = (
        "FAILED",
        "Its job failed or was cancelled. If it was carried out, `deleteDatasets` goes on, or `restoreDeletion`.",
    )


@strawberry.enum
class BlockReason(DescribedEnum):
    """What speaks against the deletion of a dataset, or what to know about it."""

    TAGGED = "TAGGED", "Blocks: in a TAGGED collection other than those that `select.collections` names."
    CALIBRATION = (
        "CALIBRATION",
        "Blocks: certified in a CALIBRATION collection other than those that `select.collections` names.",
    )
    SHARED_ARTIFACT = (
        "SHARED_ARTIFACT",
        "Blocks: datasets outside the plan use the same file; overridden, records go and the file stays.",
    )
    LAST_COPY = "LAST_COPY", "Blocks: UNSTORE from one child of a chain that is the only one to have it."
    OUTSIDE_ROOT = (
        "OUTSIDE_ROOT",
        "Blocks: the file is outside the datastore's root; overridden, records go and the file stays.",
    )
    IN_CHAIN = "IN_CHAIN", "Warns: its RUN is a member of a chain."
    USED_AS_INPUT = "USED_AS_INPUT", "Warns: other recorded work used it."
    TRUST_MODE = (
        "TRUST_MODE",
        "Warns: the datastore trusts files without records, so readers may see them until they are unlinked.",
    )


@strawberry.enum
class DeletionOutcome(DescribedEnum):
    """What became of a file, or of a dataset that has none."""

    PENDING = "PENDING", "Nothing as yet."
    DETACHED = "DETACHED", "Nobody sees it any more, and it is there."
    REMOVED = "REMOVED", "File and records are gone."
    RECORDS_REMOVED = "RECORDS_REMOVED", "The records are gone; the file is left."
    ALREADY_GONE = "ALREADY_GONE", "The records are gone; the file was not there."
    BLOCKED = "BLOCKED", "Something speaks against it: untouched."
    SKIPPED_CHANGED = "SKIPPED_CHANGED", "Changed before it was detached: untouched."
    CHANGED_LATER = "CHANGED_LATER", "Changed after: records stay in the journal, the new file is not ours."
    RESTORED = "RESTORED", "It is as it was."
    RESTORE_CONFLICT = "RESTORE_CONFLICT", "Somebody took its place meanwhile; it stays in the journal."
    LOST = "LOST", "Its file vanished meanwhile."
    FAILED = "FAILED", "It could not be done; `reason` says why."


@strawberry.type
class BlockedCount:
    """How much there is a reason for. What there are several reasons for counts with each."""

    reason: BlockReason = strawberry.field(description="Which reason.")
    datasets: BigInt = strawberry.field(description="How many datasets.")
    artifacts: BigInt = strawberry.field(description="How many files or objects of these.")
    bytes: BigInt = strawberry.field(description="Size of those files.")


@strawberry.type
class OutcomeCount:
    """How much had an outcome."""

    outcome: DeletionOutcome = strawberry.field(description="Which outcome.")
    artifacts: BigInt = strawberry.field(
        description="How many files or objects; each dataset without any counts as one."
    )
    bytes: BigInt = strawberry.field(description="Their size.")


@strawberry.type
class DeletionItem:
    """One file or object, or a dataset without any."""

    uri: str | None = strawberry.field(description="Where it is; null for a dataset without a file.")
    bytes: BigInt | None = strawberry.field(description="Its size when it was planned; null where nobody knows.")
    outcome: DeletionOutcome = strawberry.field(description="What became of it.")
    reason: str | None = strawberry.field(description="Why; null where the outcome says it all.")
    tries: int = strawberry.field(description="How often it was tried to remove it.")

    @loaded
    def dataset_count(self) -> BigInt:
        """How many datasets of the plan have it."""

    @loaded
    def datasets(self, first: int | None = 10, after: After = None) -> DatasetTraceConnection:
        """The datasets of the plan that have it, in the order of their UUIDs.

        Parameters
        ----------
        first
            At most so many.
        """


@strawberry.type
class DeletionItemConnection(Connection[DeletionItem]):
    """A page of the files of a plan."""


@strawberry.type
class DeletionPlan(Node):
    """A frozen list of what a deletion would touch. Nothing outside it is ever touched.

    A dataset goes with all its files in the plan's datastores, or not at all.
    """

    state: PlanState = strawberry.field(description="How far it is.")

    @loaded
    def datastore(self) -> Datastore | None:
        """Where files are taken from; null for everywhere."""

    scope: DeletionScope = strawberry.field(description="What goes.")
    created_by: str = strawberry.field(description="Who asked for the plan.")
    created_at: DateTime = strawberry.field(description="When it was asked for.")
    expires_at: DateTime = strawberry.field(description="From when on it cannot be carried out any more.")
    unlink_after: DateTime | None = strawberry.field(
        description=(
            "Files are unlinked no earlier than this; until then the plan can be restored. Null if it was not carried "
            "out."
        )
    )
    datasets: BigInt = strawberry.field(
        description="How many datasets are on the list, those that are left alone among them."
    )
    artifacts: BigInt = strawberry.field(description="How many files or objects these have.")
    bytes: BigInt = strawberry.field(description="What would be freed: the size of the files that go.")

    @loaded
    def override(self) -> list[BlockReason]:
        """Reasons that were told not to block."""

    @loaded
    def freed_bytes(self) -> BigInt:
        """What has been freed."""

    @loaded
    def groups(self, by: list[UsageKey]) -> list[UsageGroup]:
        """What is on the list, broken down, in the order of the values, null last; one of all if `by` names nothing.

        Parameters
        ----------
        by
            What by.
        """

    @loaded
    def blocked(self) -> list[BlockedCount]:
        """What is left alone, and why."""

    @loaded
    def warnings(self) -> list[BlockedCount]:
        """What goes all the same, and what to know about it: also reasons that were overridden."""

    @loaded
    def outcomes(self) -> list[OutcomeCount]:
        """What became of each item; the counts add up to the plan."""

    @loaded
    def items(
        self,
        outcomes: list[DeletionOutcome] | None = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> DeletionItemConnection:
        """The files, and the datasets that have none, in the order of the datasets.

        Parameters
        ----------
        outcomes
            Only what became this; null for all.
        """


@strawberry.input
class PlanDeletionInput:
    """What is to be deleted."""

    select: DatasetSelection = strawberry.field(
        description=(
            "Which datasets: as a query shows them, but that `uuids`, `collections` or `runs` have to be named, and "
            "that components are refused."
        )
    )
    datastore: str | None = strawberry.field(
        default=None, description="Name of the one that files are taken from. Null: every one; must be null for PURGE."
    )
    scope: DeletionScope = strawberry.field(description="What goes.")
    override: list[BlockReason] | None = strawberry.field(
        default_factory=list, description="Reasons that shall not block; the plan and the log of changes tell them."
    )
    client_mutation_id: str | None = strawberry.field(default=None, description=_MUTATION_ID)


@strawberry.type
class DeletionPlanPayload:
    """A plan, and what is still at work on it."""

    plan: DeletionPlan = strawberry.field(description="The plan, as it is now.")
    job: Job | None = strawberry.field(
        description=(
            "What works on it, where that takes time or has failed; null if it is done. A plan is PLANNING until its "
            "job ends."
        )
    )
    client_mutation_id: str | None = strawberry.field(description="What the input said.")


@strawberry.input
class DeleteDatasetsInput:
    """Which plan to carry out."""

    plan: strawberry.ID = strawberry.field(description="Its `id`.")
    grace_seconds: int | None = strawberry.field(
        default=None,
        description=(
            "Seconds until files are unlinked; default and floor are settings, below the floor needs the scope ADMIN. "
            "It counts when the plan is carried out first."
        ),
    )
    idempotency_key: str | None = strawberry.field(
        default=None, description="A second call with the same key returns the first one's result."
    )
    client_mutation_id: str | None = strawberry.field(default=None, description=_MUTATION_ID)


@strawberry.input
class RestoreDeletionInput:
    """Which deletion to undo."""

    plan: strawberry.ID = strawberry.field(description="The `id` of its plan.")
    client_mutation_id: str | None = strawberry.field(default=None, description=_MUTATION_ID)
