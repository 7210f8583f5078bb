"""Registering collections: making one that is not there yet.

Source: the Butler's ``register``, but that one of another type is an error.
"""

from __future__ import annotations

from butlerql.storage.changes import Change
from butlerql.storage.errors import BusyError, ConflictError, InvalidArgumentError, UnknownCollectionError
from butlerql.storage.registry.collection_changes import create as create_collection
from butlerql.storage.registry.collections import Collection, CollectionType, by_names
from butlerql.storage.snapshot import Snapshot

__all__ = ["check_registered", "registered"]


async def registered(
    change: Change, name: str, wanted: CollectionType, *, create: bool, doc: str | None = None
) -> Collection:
    """Find a collection of a type, and make it if it is not there.

    Parameters
    ----------
    change
        The transaction.
    name
        What it is called.
    wanted
        Its type; RUN and CHAINED need more than is done here.
    create
        Whether it may be made.
    doc
        What is written about it if it is made.

    Raises
    ------
    UnknownCollectionError
        Raised if it is not there and shall not be made.
    InvalidArgumentError
        Raised if it is of another type, or if nothing can have such a name.
    BusyError
        Raised if somebody else makes it at the same time.
    """
    found = await check_registered(change, name, wanted, create=create)
    if found is not None:
        return found
    try:
        return await create_collection(change, name, wanted, doc)
    except ConflictError as error:
        raise BusyError(f"Another program made the collection '{name}' at the same time. Try again.") from error


async def check_registered(snapshot: Snapshot, name: str, wanted: CollectionType, *, create: bool) -> Collection | None:
    """Find a collection of a type; None if it is not there, and may be made. See `registered`."""
    found = (await by_names(snapshot, [name])).get(name)
    if found is None:
        if not create:
            raise UnknownCollectionError(f"There is no collection '{name}'. The field collections lists them all.")
    elif found.type is not wanted:
        raise InvalidArgumentError(f"'{name}' is a {found.type} collection; name one that is {wanted}.")
    return found
