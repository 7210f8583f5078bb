"""Changes of collections: new ones, members of chains, what is written about them, and their end.

The rows that are written are those that the Butler would write (format of the collection managers 2.0.0).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum

import sqlalchemy as sa

from butlerql.storage.changes import Change
from butlerql.storage.errors import ConflictError, InvalidArgumentError, UnknownCollectionError
from butlerql.storage.globs import is_glob
from butlerql.storage.registry import chains
from butlerql.storage.registry.collections import (
    Collection,
    CollectionKey,
    CollectionType,
    by_names,
    collection_columns,
    collection_of,
    type_number,
)

__all__ = ["ChainEdit", "create", "describe", "edit_chain", "remove"]

_POSITIONS = range(-(2**15), 2**15)
"""What the column of positions holds."""


class ChainEdit(StrEnum):
    """What to do with some members of a chain."""

    REPLACE = "REPLACE"
    PREPEND = "PREPEND"
    EXTEND = "EXTEND"
    REMOVE = "REMOVE"


async def create(
    change: Change, name: str, kind: CollectionType, doc: str | None = None, children: Sequence[str] | None = None
) -> Collection:
    """Make a collection.

    Parameters
    ----------
    change
        What to write to.
    name
        Its name.
    kind
        What it is.
    doc
        What is written about it.
    children
        Members, of a chain.

    Raises
    ------
    ConflictError
        Raised if there is a collection of this name, whatever it is (the Butler would leave it as it is and say
        nothing), or if the chain would hold itself.
    InvalidArgumentError
        Raised if it cannot have this name, or there are members of what is not a chain.
    UnknownCollectionError
        Raised if there is no such member.
    """
    if not name.strip() or is_glob(name):
        raise InvalidArgumentError(f"'{name}' cannot be the name of a collection: it is empty, or means several names.")
    if children is not None and kind is not CollectionType.CHAINED:
        raise InvalidArgumentError("Only a CHAINED collection has children.")
    tables, dialect = change.repository.tables, change.repository.dialect
    taken = ConflictError(f"There is a collection '{name}' already.")
    if await by_names(change, [name]):
        raise taken
    number = {} if tables.layout.collections_by_name else dialect.new_number(tables.collection, "collection_id")
    with _conflicts(taken):
        await change.execute(sa.insert(tables.collection).values(**number, name=name, type=type_number(kind), doc=doc))
    made = await _locked(change, name)
    if kind is CollectionType.RUN:
        await change.execute(sa.insert(tables.run).values(collection=made.key))
    if children:
        await _edit(change, made, children, ChainEdit.REPLACE)
    return made


async def edit_chain(change: Change, name: str, children: Sequence[str], mode: ChainEdit) -> Collection:
    """Replace the members of a chain, put some in front or at the end, or take some out.

    Members that are put in front or at the end leave their place, if they had one. One that is named twice counts where
    it is named first. To take out what is no member is no error.

    Parameters
    ----------
    change
        What to write to.
    name
        The chain's name.
    children
        Names of members, in search order.
    mode
        What to do with them.

    Raises
    ------
    UnknownCollectionError
        Raised if the chain or a member does not exist.
    InvalidArgumentError
        Raised if it is not a chain.
    ConflictError
        Raised if the chain would hold itself, or has no positions left. On PostgreSQL a Butler that closes a circle in
        the same moment is not found out: it looks before it locks anything.
    """
    # Those who only take out do not mind each other, as in the Butler.
    only_removes = mode is ChainEdit.REMOVE
    chain = await _locked(change, name, shared=only_removes, linkable=not only_removes)
    if chain.type is not CollectionType.CHAINED:
        raise InvalidArgumentError(f"'{name}' is a {chain.type} collection; only a CHAINED one has children.")
    await _edit(change, chain, children, mode)
    return chain


async def describe(change: Change, name: str, doc: str | None) -> Collection:
    """Write something about a collection, in place of what is written; None takes it away.

    Raises
    ------
    UnknownCollectionError
        Raised if there is no such collection.
    """
    collection = await _locked(change, name)
    tables = change.repository.tables
    await change.execute(sa.update(tables.collection).where(tables.collection_key == collection.key).values(doc=doc))
    return collection._replace(doc=doc or None)


async def remove(change: Change, name: str, *, unlink: bool = False) -> None:
    """Take a collection away; datasets that are tagged or certified in it stay in their runs.

    Parameters
    ----------
    change
        What to write to.
    name
        Its name.
    unlink
        Whether to take it out of the chains that hold it.

    Raises
    ------
    UnknownCollectionError
        Raised if there is no such collection.
    ConflictError
        Raised if a chain holds it, or if it is a run with datasets.
    """
    tables = change.repository.tables
    collection = await _locked(change, name)
    if collection.type is CollectionType.RUN:
        # Whoever puts a dataset has a lock on this row; afterwards nobody can.
        await change.rows(
            sa.select(tables.run.c.collection).where(tables.run.c.collection == collection.key).with_for_update()
        )
        if await change.rows(sa.select(tables.dataset.c.id).where(tables.dataset.c.run == collection.key).limit(1)):
            raise ConflictError(f"There are datasets in the run '{name}'. Only an empty one can be removed.")
    if unlink:
        await change.execute(sa.delete(tables.chain).where(tables.chain.c.child == collection.key))
    else:
        [holders] = await chains.parents(change, [collection])
        if holders:
            more = f" and {len(holders) - 1} more" if len(holders) > 1 else ""
            raise ConflictError(
                f"The chain '{holders[0].name}'{more} holds '{name}'. Take it out first, or say unlinkFromParents."
            )
    with _conflicts(ConflictError(f"Something still refers to '{name}'.")):
        await change.execute(sa.delete(tables.collection).where(tables.collection_key == collection.key))


async def _edit(change: Change, chain: Collection, names: Sequence[str], mode: ChainEdit) -> None:
    table = change.repository.tables.chain
    is_member = table.c.parent == chain.key
    children = await _children(change, names)
    if mode is not ChainEdit.REMOVE:
        if any(child.type is CollectionType.CHAINED for child in children):
            await _lock_links(change, children)
        [above] = await chains.ancestors(change, [chain])
        for child in children:
            if child.key == chain.key or child in above:
                raise ConflictError(f"'{chain.name}' would hold itself: '{child.name}' is it, or holds it.")
    if mode is ChainEdit.REPLACE:
        await change.execute(sa.delete(table).where(is_member))
    else:
        keys = _rows(change, children)
        await change.execute(sa.delete(table).where(is_member, table.c.child.in_(sa.select(keys.c.child))))
    if mode is ChainEdit.REMOVE or not children:
        return
    first = 0
    if mode is not ChainEdit.REPLACE:
        edges = sa.select(sa.func.min(table.c.position), sa.func.max(table.c.position)).where(is_member)
        [(lowest, highest)] = await change.rows(edges)
        # The Butler's rule: an empty chain counts as if it had a member at 0.
        first = (lowest or 0) - len(children) if mode is ChainEdit.PREPEND else (highest or 0) + 1
    if first not in _POSITIONS or first + len(children) - 1 not in _POSITIONS:
        raise ConflictError(
            f"The chain '{chain.name}' has no positions left there: they go from {_POSITIONS[0]} to {_POSITIONS[-1]}. "
            "Replace its members by the same ones first, which numbers them anew."
        )
    rows = _rows(change, children, first)
    parent = sa.literal(chain.key, change.repository.tables.collection_type)
    with _conflicts(ConflictError(f"A child of '{chain.name}' has just been removed.")):
        await change.execute(
            sa.insert(table).from_select(
                ["parent", "position", "child"], sa.select(parent, rows.c.position, rows.c.child)
            )
        )


def _rows(change: Change, children: Sequence[Collection], first: int = 0) -> sa.FromClause:
    columns = {"position": sa.SmallInteger(), "child": change.repository.tables.collection_type}
    rows: list[tuple[int, CollectionKey]] = [(first + number, child.key) for number, child in enumerate(children)]
    return change.repository.dialect.rows("members", columns, rows)


async def _children(change: Change, names: Sequence[str]) -> list[Collection]:
    """Find members by name, each once; globs mean nothing here."""
    names = list(dict.fromkeys(names))
    found = await by_names(change, names)
    for name in names:
        if name not in found:
            raise _unknown(name)
    return [found[name] for name in names]


async def _lock_links(change: Change, children: Sequence[Collection]) -> None:
    """Keep others from linking collections until the end: links that two make at once could close a circle.

    Who links a collection has locks on it and on the chain, in this order, and so has the Butler. With all of the rows
    first, and the chain's such that others can link it, nobody waits for us while we wait for them.
    """
    tables = change.repository.tables
    keys = tables.collection_key.in_(sa.select(_rows(change, children).c.child))
    await change.rows(sa.select(tables.collection_key).where(keys).with_for_update(read=True, key_share=True))
    await change.lock(tables.chain)


async def _locked(change: Change, name: str, *, shared: bool = False, linkable: bool = False) -> Collection:
    """Find a collection, and keep others from changing it, as the Butler does; they may put it into chains, perhaps."""
    tables = change.repository.tables
    statement = sa.select(*collection_columns(tables)).where(tables.collection.c.name == name)
    rows = await change.rows(statement.with_for_update(read=shared, key_share=linkable))
    if not rows:
        raise _unknown(name)
    return collection_of(rows[0])


def _unknown(name: str) -> UnknownCollectionError:
    return UnknownCollectionError(f"No collection is named '{name}'. The field collections lists them all.")


@contextmanager
def _conflicts(conflict: ConflictError) -> Iterator[None]:
    """Name what the database refuses because of something that others have just done."""
    try:
        yield
    except sa.exc.IntegrityError as error:
        raise conflict from error
