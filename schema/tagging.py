"""Changes of which datasets collections hold: tags and certifications."""

from __future__ import annotations

import strawberry

from butlerql.schema.collections import CalibrationCollection, TaggedCollection
from butlerql.schema.enums import DescribedEnum
from butlerql.schema.jobs import Job
from butlerql.schema.scalars import BigInt
from butlerql.schema.selection import DatasetSelection
from butlerql.schema.timespans import TimespanInput

__all__ = [
    "CertifyDatasetsInput",
    "CertifyDatasetsPayload",
    "DecertifyDatasetsInput",
    "TagConflict",
    "TagDatasetsInput",
    "TagDatasetsPayload",
    "UntagDatasetsInput",
]

_SELECT = (
    "Which datasets: as a query shows them, but that `uuids`, `collections` or `runs` have to be named, and that "
    "components are refused."
)
_MUTATION_ID = "Anything; the payload gives it back."


@strawberry.enum
class TagConflict(DescribedEnum):
    """What happens where another dataset with the same type and data ID is tagged already.

    Two datasets of one selection that clash with each other are a CONFLICT whatever this says.
    """

    ERROR = "ERROR", "Change nothing and name them, as the Butler does."
    REPLACE = "REPLACE", "The selected dataset takes the place of the other."
    KEEP = "KEEP", "The other stays, and the selected one is left out."


@strawberry.input
class TagDatasetsInput:
    """What to tag, and where."""

    collection: str = strawberry.field(description="Name of the TAGGED collection.")
    select: DatasetSelection = strawberry.field(description=_SELECT)
    create: bool | None = strawberry.field(default=True, description="Make the collection if it is not there.")
    doc: str | None = strawberry.field(default=None, description="What is written about it if it is made.")
    on_conflict: TagConflict | None = strawberry.field(
        default=TagConflict.ERROR,
        description="Where another dataset with the same type and data ID is tagged already.",
    )
    idempotency_key: str | None = strawberry.field(
        default=None, description="A second call with the same key returns the first one's result."
    )
    client_mutation_id: str | None = strawberry.field(default=None, description=_MUTATION_ID)


@strawberry.input
class UntagDatasetsInput:
    """What to take out, and where."""

    collection: str = strawberry.field(description="Name of the TAGGED collection.")
    select: DatasetSelection = strawberry.field(description=_SELECT)
    client_mutation_id: str | None = strawberry.field(default=None, description=_MUTATION_ID)


@strawberry.type
class TagDatasetsPayload:
    """What was tagged or untagged.

    Small selections are done at once; large ones, and those that need a test outside the database, become a job.
    """

    collection: TaggedCollection | None = strawberry.field(
        description="The collection as it is now; null where a job is at it."
    )
    changed: BigInt | None = strawberry.field(
        description="How many datasets were put in or taken out; those that were already as wanted do not count."
    )
    replaced: BigInt | None = strawberry.field(description="How many others gave way.")
    job: Job | None = strawberry.field(description="What goes on; null where everything is done.")
    client_mutation_id: str | None = strawberry.field(description="What the input had.")


@strawberry.input
class CertifyDatasetsInput:
    """What is valid, where and when."""

    collection: str = strawberry.field(description="Name of the CALIBRATION collection.")
    select: DatasetSelection = strawberry.field(description=f"{_SELECT} Of calibration types only.")
    timespan: TimespanInput = strawberry.field(description="When they are valid; its end is not part of it.")
    create: bool | None = strawberry.field(default=True, description="Make the collection if it is not there.")
    client_mutation_id: str | None = strawberry.field(default=None, description=_MUTATION_ID)


@strawberry.input
class DecertifyDatasetsInput:
    """What is not valid any more, where and when."""

    collection: str = strawberry.field(description="Name of the CALIBRATION collection.")
    select: DatasetSelection = strawberry.field(description=f"{_SELECT} Of calibration types only.")
    timespan: TimespanInput = strawberry.field(description="When they are not valid; its end is not part of it.")
    client_mutation_id: str | None = strawberry.field(default=None, description=_MUTATION_ID)


@strawberry.type
class CertifyDatasetsPayload:
    """What was certified or decertified."""

    collection: CalibrationCollection = strawberry.field(description="The collection as it is now.")
    changed: BigInt = strawberry.field(
        description="How many datasets were certified; or how many validity ranges were cut or taken away."
    )
    client_mutation_id: str | None = strawberry.field(description="What the input had.")
