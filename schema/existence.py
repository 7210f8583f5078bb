"""Whether datasets exist in a datastore."""

from __future__ import annotations

import strawberry

from butlerql.schema.connections import After, Before, First, Last
from butlerql.schema.fields import loaded
from butlerql.schema.references import DatasetConnection, Datastore
from butlerql.schema.scalars import BigInt

__all__ = ["ChildExistence", "Existence"]


@strawberry.type
class ChildExistence:
    """How many of the selected datasets one member of a chain has."""

    datastore: Datastore = strawberry.field(description="The member.")
    present: BigInt = strawberry.field(description="Datasets that it has.")
    absent: BigInt = strawberry.field(description="Datasets that it does not have.")
    unreadable: BigInt = strawberry.field(description="Datasets that could not be looked at in it.")


@strawberry.type
class Existence:
    """Whether datasets exist in a datastore.

    A dataset is present if all its files are, and in a chain if one of its members has it so. `present`, `absent` and
    `unreadable` add up to `selected`.
    """

    selected: BigInt = strawberry.field(description="Datasets that were asked for.")
    present: BigInt = strawberry.field(description="Datasets that are there.")
    absent: BigInt = strawberry.field(description="Datasets that are not there.")
    unreadable: BigInt = strawberry.field(description="Could not be looked at; they may be there all the same.")
    all: bool | None = strawberry.field(
        description="Whether all are there. Null where some are unreadable and none is absent."
    )

    @loaded
    def missing(
        self, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> DatasetConnection | None:
        """The datasets that are absent. Null, with an error, if they cannot be listed."""

    children: list[ChildExistence] = strawberry.field(
        description="The members of a chain, in the order in which they are asked; empty for any other datastore."
    )
