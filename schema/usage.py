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
    STORAGE_CLASS = "STORAGE_CLASS", "By the storage class that the artifact was written as."
    INSTRUMENT = "INSTRUMENT", "By the instrument of the data ID; null if it has none."
    FORMATTER = "FORMATTER", "By the Python class that reads and writes the artifact."
    INGEST_DAY = "INGEST_DAY", "By the day, UTC, on which the dataset was put into the repository."


@strawberry.type
class UsageGroup:
    """The figures of the datasets that have something in common.

    An artifact that several datasets share is counted once in `bytes` and `artifacts`.
    """

    key: JSON = strawberry.field(description="What they have in common: an object, name of the `UsageKey` to value.")
    bytes: BigInt = strawberry.field(description="Size of their artifacts, by the records.")
    artifacts: BigInt = strawberry.field(description="How many artifacts they have.")
    datasets: BigInt = strawberry.field(description="How many datasets they are.")
