"""Storage usage, and how it is broken down."""

from __future__ import annotations

import strawberry

from butlerql.schema.enums import DescribedEnum
from butlerql.schema.fields import loaded
from butlerql.schema.references import Datastore
from butlerql.schema.scalars import JSON, BigInt

__all__ = ["ChildUsage", "StorageUsage", "UsageGroup", "UsageKey"]


@strawberry.enum
class UsageKey(DescribedEnum):
    """What figures are broken down by."""

    DATASET_TYPE = "DATASET_TYPE", "By the dataset type."
    RUN = "RUN", "By the run that the dataset was written into."
    STORAGE_CLASS = (
        "STORAGE_CLASS",
        "By the storage class that the artifact was written as; null for datasets without any artifact.",
    )
    INSTRUMENT = "INSTRUMENT", "By the instrument of the data ID; null if it has none."
    FORMATTER = (
        "FORMATTER",
        "By the Python class that reads and writes the artifact; null for datasets without any artifact.",
    )
    INGEST_DAY = (
        "INGEST_DAY",
        "By the day, UTC, on which the dataset was put into the repository, such as `2026-11-23`.",
    )


@strawberry.type
class UsageGroup:
    """The figures of the datasets that have something in common.

    An artifact that several datasets share is counted once in `bytes` and `artifacts`. A dataset that several
    datastores keep has an artifact in each. By `STORAGE_CLASS` or `FORMATTER`, a dataset whose artifacts differ in that
    is in each of their groups, with those artifacts.
    """

    key: JSON = strawberry.field(
        description="What they have in common: an object, name of the `UsageKey` to value, null where there is none."
    )
    bytes: BigInt = strawberry.field(
        description=(
            "Size of their artifacts, by the records; 0 for what was not recorded. Of a zip file, of which only the "
            "sizes of members are recorded, the members that hold these datasets."
        )
    )
    artifacts: BigInt = strawberry.field(description="How many artifacts they have, by the records. A zip file is one.")
    datasets: BigInt = strawberry.field(description="How many datasets they are.")


@strawberry.type
class ChildUsage:
    """The part of a chain's figures that is one of its members'."""

    datastore: Datastore = strawberry.field(description="The member.")
    bytes: BigInt = strawberry.field(description="Size of the artifacts, by its records.")
    artifacts: BigInt = strawberry.field(description="How many artifacts it has, by its records.")
    datasets: BigInt = strawberry.field(
        description="How many of the datasets it has. One that several members have is in the figures of each."
    )


@strawberry.type
class StorageUsage:
    """How much space datasets take in a datastore, by its records; nothing is looked at.

    An artifact (a file or object of one datastore) that several datasets share is counted once in `bytes` and
    `artifacts`. A dataset that several members of a chain have has an artifact in each, and is one in `datasets`.
    """

    bytes: BigInt = strawberry.field(
        description=(
            "Size of the artifacts, by the records; 0 for those that are `unsized`. Of a zip file, of which only the "
            "sizes of members are recorded, the members."
        )
    )
    artifacts: BigInt = strawberry.field(description="How many artifacts there are. A zip file is one.")
    datasets: BigInt = strawberry.field(description="How many datasets there are.")
    unsized: BigInt = strawberry.field(description="Artifacts whose size is not recorded.")
    groups: list[UsageGroup] = strawberry.field(
        description=(
            "The same, broken down by what `by` names, in the order of the values, null last; one of all if it names "
            "nothing. An artifact that datasets of several groups share is in each of them."
        )
    )

    @loaded
    def children(self) -> list[ChildUsage]:
        """The members of a chain and what each has; empty for other datastores."""
