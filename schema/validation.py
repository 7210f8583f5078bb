"""Whether a datastore holds what is recorded, nothing else, and as it was put there."""

from __future__ import annotations

import strawberry

from butlerql.schema.connections import After, Connection
from butlerql.schema.enums import DescribedEnum
from butlerql.schema.fields import loaded
from butlerql.schema.references import DatasetConnection, Datastore
from butlerql.schema.scalars import BigInt
from butlerql.schema.selection import DatasetSelection

__all__ = [
    "Finding",
    "FindingConnection",
    "FindingCount",
    "FindingKind",
    "ValidateDatastoreInput",
    "ValidationCheck",
    "Verdict",
]


@strawberry.enum
class Verdict(DescribedEnum):
    """What came of a validation."""

    VALID = "VALID", "Nothing is wrong with what was looked at."
    INVALID = "INVALID", "Something is wrong; the findings say what."
    SUSPECT = (
        "SUSPECT",
        "So much is missing or untracked that the store itself is in doubt; findings may not be acted on.",
    )


@strawberry.enum
class ValidationCheck(DescribedEnum):
    """What a validation looks for."""

    MISSING = "MISSING", "Every tracked artifact is on the store."
    UNTRACKED = "UNTRACKED", "Nothing on the store is untracked."
    SIZE = "SIZE", "Sizes agree."
    CHECKSUM = "CHECKSUM", "Contents agree with the recorded checksum, else with what was read the first time."
    REGISTRY = "REGISTRY", "Registry and datastore agree about what exists."


@strawberry.enum
class FindingKind(DescribedEnum):
    """What is wrong."""

    MISSING = "MISSING", "Recorded, and not there."
    UNTRACKED = "UNTRACKED", "There, and not recorded."
    SIZE_MISMATCH = "SIZE_MISMATCH", "Its size is not the recorded one."
    CHECKSUM_MISMATCH = "CHECKSUM_MISMATCH", "Its content is not what it was."
    UNREADABLE = "UNREADABLE", "There, but it cannot be read: never called missing."
    WRONG_TYPE = "WRONG_TYPE", "A directory, a dangling link, a device."
    ZIP_MEMBER_MISSING = "ZIP_MEMBER_MISSING", "The zip file is there, and lacks the member, or is no whole zip file."
    STALE_TRASH = "STALE_TRASH", "A dataset that somebody began to delete waits in the Butler's trash."
    RECORD_WITHOUT_DATASET = "RECORD_WITHOUT_DATASET", "The datastore has records of it, the registry does not know it."
    RECORD_WITHOUT_LOCATION = (
        "RECORD_WITHOUT_LOCATION",
        "The datastore has records of it, the registry does not say that it has.",
    )
    LOCATION_WITHOUT_RECORD = (
        "LOCATION_WITHOUT_RECORD",
        "The registry says that the datastore has it, which has no record of it.",
    )
    CHECKSUM_NOT_RECORDED = (
        "CHECKSUM_NOT_RECORDED",
        "Counted, not a fault: there was no checksum to compare with; now there is one.",
    )


@strawberry.type
class FindingCount:
    """How many findings there are of a kind."""

    kind: FindingKind = strawberry.field(description="What is wrong.")
    count: BigInt = strawberry.field(description="With how many artifacts, or datasets.")
    bytes: BigInt = strawberry.field(description="Their size, by the records; of what is untracked, as found.")


@strawberry.type
class Finding:
    """Something that is wrong with an artifact, or with what is recorded of a dataset."""

    kind: FindingKind = strawberry.field(description="What is wrong.")
    datastore: Datastore = strawberry.field(description="Where.")
    uri: str = strawberry.field(
        description=("Of the artifact, or of one of the dataset's; the datastore's root where nothing tells of any.")
    )

    @loaded
    def dataset_count(self) -> BigInt:
        """How many datasets it is of, by the records of now."""

    @loaded
    def datasets(self, first: int | None = 10, after: After = None) -> DatasetConnection | None:
        """The datasets that it is of and that the registry knows, in the order of their UUIDs.

        Parameters
        ----------
        first
            At most so many.
        """

    expected: str | None = strawberry.field(description="How it should be; null if the kind says it all.")
    observed: str | None = strawberry.field(description="How it is; null if the kind says it all.")


@strawberry.type
class FindingConnection(Connection[Finding]):
    """A page of findings."""


@strawberry.input
class ValidateDatastoreInput:
    """What to validate, and how."""

    datastore: str = strawberry.field(description="Name of the datastore; of a chain, all its members.")
    select: DatasetSelection | None = strawberry.field(
        default=None, description="Only the artifacts of these datasets; null for the whole datastore."
    )
    checks: list[ValidationCheck] | None = strawberry.field(
        default=None,
        description=(
            "What to look for. Default: MISSING, SIZE, and without `select` UNTRACKED, which a selection cannot have."
        ),
    )
    grace_seconds: int | None = strawberry.field(
        default=86400,
        description="Files younger than this many seconds are not called untracked: they may be in flight.",
    )
    sample: float | None = strawberry.field(
        default=1.0, description="Check the contents of this share only, 0 to 1, by a seeded choice."
    )
    seed: int | None = strawberry.field(default=None, description="Which share; the same for the same seed.")
    max_age_seconds: int | None = strawberry.field(
        default=None, description="Skip contents verified more recently than this."
    )
    rate_limit: BigInt | None = strawberry.field(default=None, description="Bytes a second at most.")
    idempotency_key: str | None = strawberry.field(
        default=None, description="A second call with the same key returns the first one's result."
    )
    client_mutation_id: str | None = strawberry.field(default=None, description="Anything; the payload gives it back.")
