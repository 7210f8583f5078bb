"""Chains: members, what they reach, what reaches a collection, and the order in which collections are searched.

The registry lets chains be members of chains, positions be negative or have gaps, and a collection be reached in
several ways. It is meant to have no cycles, but nothing in it forbids them, so nothing here goes round in one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import sqlalchemy as sa

from butlerql.storage.registry.collections import (
    Collection,
    CollectionKey,
    CollectionType,
    collection_columns,
    collection_of,
    find_by_patterns,
)
from butlerql.storage.snapshot import Snapshot

__all__ = ["ancestors", "children", "expand", "flatten", "parents", "search_path"]

_BELOW = "members of chains"


async def children(snapshot: Snapshot, chains: Sequence[Collection]) -> list[list[Collection]]:
    """List the members of each chain in search order; what is not a chain has none.

    One statement; uses the primary key (parent, position).
    """
    below = await _members(snapshot, chains, deep=False)
    return [below.get(chain.key, []) for chain in chains]


async def flatten(snapshot: Snapshot, collections: Sequence[Collection]) -> list[list[Collection]]:
    """List for each collection what is searched in its place: depth first, each collection once, no chains.

    One statement, however many collections and however deep; uses the primary key (parent, position).
    """
    below = await _members(snapshot, collections, deep=True)
    return [_flattened([collection], below) for collection in collections]


async def expand(snapshot: Snapshot, collections: Sequence[Collection]) -> list[Collection]:
    """List what is searched if these collections are searched one after another; see `flatten`."""
    return _flattened(collections, await _members(snapshot, collections, deep=True))


async def search_path(snapshot: Snapshot, patterns: Iterable[str]) -> list[Collection]:
    """List what is searched for names and globs, in the Butler's order, each collection once, no chains.

    Without globs the collections are in the order given, each chain replaced by its members. What globs match comes
    before that, except for the chains among it, which come last.

    Raises
    ------
    UnknownCollectionError
        Raised if one is named in full and is not there.
    """
    matched, named = await find_by_patterns(snapshot, patterns)
    chains = [collection for collection in matched if collection.type is CollectionType.CHAINED]
    others = [collection for collection in matched if collection.type is not CollectionType.CHAINED]
    return await expand(snapshot, others + named + chains)


async def parents(snapshot: Snapshot, collections: Sequence[Collection]) -> list[list[Collection]]:
    """List the chains that each collection is a member of, directly, by name as the database orders them.

    One statement; uses the index of the children.
    """
    above = await _containers(snapshot, collections, deep=False)
    return [list(dict.fromkeys(above.get(collection.key, ()))) for collection in collections]


async def ancestors(snapshot: Snapshot, collections: Sequence[Collection]) -> list[set[Collection]]:
    """Find the chains that reach each collection, directly or through others.

    One statement, however many collections and however high; uses the index of the children.
    """
    above = await _containers(snapshot, collections, deep=True)
    result = []
    for collection in collections:
        found: set[Collection] = set()
        pending = [collection]
        while pending:
            new = set(above.get(pending.pop().key, ())) - found
            found |= new
            pending += new
        result.append(found)
    return result


async def _members(
    snapshot: Snapshot, collections: Iterable[Collection], *, deep: bool
) -> Mapping[CollectionKey, list[Collection]]:
    """Read the members of chains, in order, and if ``deep`` those of all chains that they reach."""
    known: dict[CollectionKey, list[Collection]] = {}
    seeds = set()
    for chain in {one.key for one in collections if one.type is CollectionType.CHAINED}:
        below = snapshot.kept.get((_BELOW, deep, chain))
        if below is None:
            seeds.add(chain)
        else:
            known |= below
    if seeds:
        tables = snapshot.repository.tables
        keys = _reached(snapshot, seeds, tables.chain.c.parent, tables.chain.c.child, deep=deep)
        statement = (
            sa.select(*collection_columns(tables), tables.chain.c.parent)
            .select_from(tables.chain.join(tables.collection, tables.collection_key == tables.chain.c.child))
            .where(tables.chain.c.parent.in_(keys))
            .order_by(tables.chain.c.parent, tables.chain.c.position)
        )
        read: dict[CollectionKey, list[Collection]] = {key: [] for key in seeds}
        for row in await snapshot.rows(statement):
            read.setdefault(row[-1], []).append(collection_of(row))
        for key in seeds:
            snapshot.kept.setdefault((_BELOW, deep, key), read)
        known |= read
    return known


async def _containers(
    snapshot: Snapshot, collections: Iterable[Collection], *, deep: bool
) -> Mapping[CollectionKey, list[Collection]]:
    """Read which chains collections are members of, by name, and if ``deep`` also of which those chains are."""
    seeds = {collection.key for collection in collections}
    if not seeds:
        return {}
    tables = snapshot.repository.tables
    chain = tables.chain
    keys = _reached(snapshot, seeds, chain.c.child, chain.c.parent, deep=deep)
    statement = (
        sa.select(*collection_columns(tables), chain.c.child)
        .select_from(chain.join(tables.collection, tables.collection_key == chain.c.parent))
        .where(chain.c.child.in_(keys))
        .order_by(tables.collection.c.name)
    )
    above: dict[CollectionKey, list[Collection]] = {}
    for row in await snapshot.rows(statement):
        above.setdefault(row[-1], []).append(collection_of(row))
    return above


def _reached(
    snapshot: Snapshot,
    seeds: Iterable[CollectionKey],
    start: sa.Column[CollectionKey],
    end: sa.Column[CollectionKey],
    *,
    deep: bool,
) -> sa.Select[CollectionKey]:
    """Select the keys, and if ``deep`` all that going from ``start`` to ``end`` along chains reaches from them."""
    repository = snapshot.repository
    given = repository.dialect.rows("given", {"key": repository.tables.collection_type}, [(key,) for key in seeds])
    keys = sa.select(given.c["key"])
    if not deep:
        return keys
    reached = keys.cte("reached", recursive=True)
    # UNION, not UNION ALL: what was reached before is not followed again, so that cycles come to an end.
    reached = reached.union(sa.select(end).join_from(reached, repository.tables.chain, start == reached.c["key"]))
    return sa.select(reached.c["key"])


def _flattened(
    collections: Iterable[Collection], below: Mapping[CollectionKey, Sequence[Collection]]
) -> list[Collection]:
    """Walk through chains depth first. A chain that comes again is passed over: all it holds was seen before."""
    found: dict[CollectionKey, Collection] = {}
    entered: set[CollectionKey] = set()
    pending = [*collections][::-1]
    while pending:
        collection = pending.pop()
        if collection.type is not CollectionType.CHAINED:
            found.setdefault(collection.key, collection)
        elif collection.key not in entered:
            entered.add(collection.key)
            pending += reversed(below.get(collection.key, ()))
    return list(found.values())
