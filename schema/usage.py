"""Storage usage, and how it is broken down."""

from __future__ import annotations

import strawberry

from butlerql.schema.enums import DescribedEnum
from butlerql.schema.scalars import JSON, BigInt

__all__ = ["UsageGroup", "UsageKey"]


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
