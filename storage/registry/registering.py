"""Registering collections: making one that is not there yet.

Source: the Butler's ``register``, but that one of another type is an error.
"""

from __future__ import annotations

from typing import Any

from butlerql.storage.changes import Change
from butlerql.storage.errors import InvalidArgumentError, UnknownCollectionError
from butlerql.storage.globs import is_glob
from butlerql.storage.registry.collections import Collection, CollectionType, by_names, type_number

__all__ = ["registered"]


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
    """
    found = (await by_names(change, [name])).get(name)
    if found is None:
        if not create:
            raise UnknownCollectionError(f"There is no collection '{name}'. Have it made (create), or name another.")
        if not name or is_glob(name):
            raise InvalidArgumentError("The name of a collection is neither empty nor a glob.")
        table = change.repository.tables.collection
        values: dict[str, Any] = {"name": name, "type": type_number(wanted), "doc": doc}
        if not change.repository.tables.layout.collections_by_name:
            values |= change.repository.dialect.new_number(table, "collection_id")
        await change.execute(change.repository.dialect.insert(table).values(values).on_conflict_do_nothing())
        found = (await by_names(change, [name]))[name]
    if found.type is not wanted:
        raise InvalidArgumentError(f"'{name}' is a {found.type} collection; name one that is {wanted}.")
    return found
