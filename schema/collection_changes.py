"""Changes of collections."""

from __future__ import annotations

import strawberry

from butlerql.schema.collections import Collection, CollectionType
from butlerql.schema.enums import DescribedEnum

__all__ = [
    "ChainEdit",
    "CollectionPayload",
    "CreateCollectionInput",
    "DescribeCollectionInput",
    "EditChainInput",
    "RemoveCollectionInput",
    "RemoveCollectionPayload",
]

_CLIENTS_WORD = "Anything; the payload gives it back."


@strawberry.enum
class ChainEdit(DescribedEnum):
    """What to do with some members of a chain."""

    REPLACE = "REPLACE", "They are its members, and no others."
    PREPEND = "PREPEND", "They come first, in their order; members among them leave their places."
    EXTEND = "EXTEND", "They come last, in their order; members among them leave their places."
    REMOVE = "REMOVE", "They are no members any more; those that are none are no error."


@strawberry.input
class CreateCollectionInput:
    """A collection to make."""

    name: str = strawberry.field(description="Its name.")
    type: CollectionType = strawberry.field(description="What kind of collection it is.")
    doc: str | None = strawberry.field(default=None, description="What to write about it.")
    children: list[str] | None = strawberry.field(
        default=None, description="Members, in search order; only of a CHAINED collection. Null for none."
    )
    client_mutation_id: str | None = strawberry.field(default=None, description=_CLIENTS_WORD)


@strawberry.input
class EditChainInput:
    """What to do with the members of a chain."""

    name: str = strawberry.field(description="The chain's name.")
    children: list[str] = strawberry.field(
        description="Names, in search order. One that comes twice counts where it comes first."
    )
    mode: ChainEdit = strawberry.field(default=ChainEdit.REPLACE, description="What to do with them.")
    client_mutation_id: str | None = strawberry.field(default=None, description=_CLIENTS_WORD)


@strawberry.input
class DescribeCollectionInput:
    """What to write about a collection."""

    name: str = strawberry.field(description="Its name.")
    doc: str | None = strawberry.field(default=None, description="In place of what is written; null takes it away.")
    client_mutation_id: str | None = strawberry.field(default=None, description=_CLIENTS_WORD)


@strawberry.input
class RemoveCollectionInput:
    """A collection to take away."""

    name: str = strawberry.field(description="Its name.")
    unlink_from_parents: bool | None = strawberry.field(
        default=False, description="Whether to take it out of the chains that hold it, too."
    )
    client_mutation_id: str | None = strawberry.field(default=None, description=_CLIENTS_WORD)


@strawberry.type
class CollectionPayload:
    """The collection that was made or changed."""

    collection: Collection = strawberry.field(description="The collection, as it is after the change.")
    client_mutation_id: str | None = strawberry.field(description="What the input said.")


@strawberry.type
class RemoveCollectionPayload:
    """The collection that was taken away."""

    name: str = strawberry.field(description="Its name.")
    client_mutation_id: str | None = strawberry.field(description="What the input said.")
