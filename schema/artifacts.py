"""Artifacts: the files and objects of datasets."""

from __future__ import annotations

import strawberry

from butlerql.schema.enums import DescribedEnum
from butlerql.schema.fields import loaded
from butlerql.schema.references import Datastore
from butlerql.schema.scalars import BigInt

__all__ = ["Artifact", "ExistenceCheck"]


@strawberry.enum
class ExistenceCheck(DescribedEnum):
    """How it is found out whether something exists."""

    RECORDED = "RECORDED", "By the datastore's records."
    ARTIFACT = "ARTIFACT", "Looks at the store itself."


@strawberry.type
class Artifact:
    """A file or object that a datastore keeps for a dataset, or for one component of it."""

    datastore: Datastore = strawberry.field(description="The datastore that keeps it.")
    uri: str = strawberry.field(description="Its absolute URI.")
    path: str | None = strawberry.field(description="Local path where the datastore is a file system, else null.")
    component: str | None = strawberry.field(
        description="The component that it holds; null if it holds the whole dataset."
    )
    formatter: str = strawberry.field(description="Full name of the Python class that reads and writes it.")
    storage_class: str = strawberry.field(description="Name of the storage class that it was written as.")
    size: BigInt | None = strawberry.field(description="Bytes by the records; null if not recorded.")
    checksum: str | None = strawberry.field(description="Checksum by the records; null if not recorded.")

    @loaded
    def exists(self) -> bool | None:
        """Whether it is there: looks at the store itself. Null, with an error, where it cannot be told.

        Of the member of a zip file, whether the zip file is there.
        """
