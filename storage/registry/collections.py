"""Collections: by name, by glob, by page, and what the registry says of runs. Chains are in ``chains.py``."""

from __future__ import annotations

from collections.abc import Collection as AnyOf
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

import sqlalchemy as sa

from butlerql.storage.errors import InvalidArgumentError, UnknownCollectionError
from butlerql.storage.globs import EVERYTHING, split_names
from butlerql.storage.registry.field_orders import field_order
from butlerql.storage.registry.pages import Page, PageRequest, page_of
from butlerql.storage.registry.timespans import Timespan
from butlerql.storage.snapshot import Snapshot
from butlerql.storage.tables import Tables

__all__ = [
    "Collection",
    "CollectionKey",
    "CollectionSelection",
    "CollectionType",
    "RunDetails",
    "by_keys",
    "by_names",
    "collection_columns",
    "collection_of",
    "count",
    "find",
    "find_by_patterns",
    "in_name_order",
    "page",
    "run_by_name",
    "run_details",
    "type_number",
]

CollectionKey: TypeAlias = int | str
"""What tables refer to a collection by: its number, or its name, as the repository was made."""

_COLLECTIONS = "collections"
_NAMED = "collection of the name"
_RUN_DETAILS = "run details"

_WORTH_KEEPING = 100
"""So many collections of one question are kept for the next: more would leave no room for others."""


class CollectionType(StrEnum):
    """What a collection is."""

    RUN = "RUN"
    TAGGED = "TAGGED"
    CALIBRATION = "CALIBRATION"
    CHAINED = "CHAINED"


_NUMBERS: Mapping[CollectionType, int] = {
    CollectionType.RUN: 1,
    CollectionType.TAGGED: 2,
    CollectionType.CHAINED: 3,
    CollectionType.CALIBRATION: 4,
}
_TYPES = {number: name for name, number in _NUMBERS.items()}


class Collection(NamedTuple):
    """A collection of any type."""

    key: CollectionKey
    name: str
    type: CollectionType
    doc: str | None
    """None where nothing is written; the Butler makes no difference between that and an empty text."""


class RunDetails(NamedTuple):
    """What the registry says of a run; the Butler leaves both empty."""

    host: str | None
    timespan: Timespan | None


class CollectionSelection(NamedTuple):
    """Which collections: what `page` and `count` work on."""

    names: Sequence[str] = (EVERYTHING,)
    """Names and globs."""

    types: AnyOf[CollectionType] | None = None
    """Only of these types."""

    flatten_chains: bool = False
    """Replace chains by the collections that they reach; the types are looked at afterwards."""


def type_number(collection_type: CollectionType) -> int:
    """Tell how the registry writes a type."""
    return _NUMBERS[collection_type]


def collection_columns(tables: Tables) -> list[sa.ColumnElement[Any]]:
    """List the columns of the collection table that `collection_of` takes."""
    c = tables.collection.c
    return [tables.collection_key.label("key"), c.name.label("name"), c.type, c.doc]


def collection_of(row: Sequence[Any]) -> Collection:
    """Make a collection of the first columns of a row; they are those of `collection_columns`."""
    return Collection(row[0], row[1], _TYPES[row[2]], row[3] or None)


async def by_keys(snapshot: Snapshot, keys: Iterable[CollectionKey]) -> list[Collection]:
    """Find the collections that other tables of the same snapshot refer to."""
    keys = list(keys)
    known: dict[CollectionKey, Collection] = snapshot.cache.setdefault(_COLLECTIONS, {})
    missing = {key for key in keys if key not in known}
    known |= {key: kept for key in missing if (kept := snapshot.kept.get((_COLLECTIONS, key))) is not None}
    missing.difference_update(known)
    if missing:
        found = await in_name_order(snapshot, missing)
        known |= {collection.key: collection for collection in found}
        for collection in found[:_WORTH_KEEPING]:
            snapshot.kept.setdefault((_COLLECTIONS, collection.key), collection)
    return [known[key] for key in keys]


async def in_name_order(snapshot: Snapshot, keys: AnyOf[CollectionKey]) -> list[Collection]:
    """List some collections, each once, by name as the database orders them."""
    if not keys:
        return []
    tables = snapshot.repository.tables
    wanted = snapshot.repository.dialect.rows("wanted", {"key": tables.collection_type}, [(key,) for key in keys])
    statement = (
        sa.select(*collection_columns(tables))
        .where(tables.collection_key.in_(sa.select(wanted.c["key"])))
        .order_by(tables.collection.c.name)
    )
    return [collection_of(row) for row in await snapshot.rows(statement)]


async def by_names(snapshot: Snapshot, names: AnyOf[str]) -> dict[str, Collection]:
    """Find collections by their names; those that do not exist are left out.

    Uses the unique index of the names.
    """
    known = {name: snapshot.kept.get((_NAMED, name)) for name in names}
    if missing := [(name,) for name, collection in known.items() if collection is None]:
        tables = snapshot.repository.tables
        wanted = snapshot.repository.dialect.rows("wanted", {"name": sa.Text()}, missing)
        named = tables.collection.c.name.in_(sa.select(wanted.c["name"]))
        for row in await snapshot.rows(sa.select(*collection_columns(tables)).where(named)):
            collection = collection_of(row)
            known[collection.name] = snapshot.kept.setdefault((_NAMED, collection.name), collection)
    return {name: collection for name, collection in known.items() if collection is not None}


async def run_by_name(snapshot: Snapshot, name: str) -> Collection:
    """Find a run.

    Raises
    ------
    UnknownCollectionError
        Raised if there is no such collection.
    InvalidArgumentError
        Raised if it is no run.
    """
    collection = (await by_names(snapshot, [name])).get(name)
    if collection is None:
        raise UnknownCollectionError(f"No collection is named {name!r}.")
    if collection.type is not CollectionType.RUN:
        raise InvalidArgumentError(f"{name!r} is no run. Ask of the runs that it leads to, one by one.")
    return collection


async def find_by_patterns(snapshot: Snapshot, patterns: Iterable[str]) -> tuple[list[Collection], list[Collection]]:
    """Find the collections that globs match, and those that are named in full.

    The first are in the order in which the Butler finds them: chains last, and otherwise as they were made. Where
    collections go by their names the registry does not tell that, and they are in the order of the names. The second
    are in the order given.

    Raises
    ------
    UnknownCollectionError
        Raised if one is named in full and is not there.
    """
    literals, globs = split_names(patterns)
    named = await _named(snapshot, literals)
    return (await _matching(snapshot, globs) if globs else []), named


async def find(snapshot: Snapshot, patterns: Iterable[str]) -> list[Collection]:
    """List the collections that names and globs mean, each once, chains as they are, in the Butler's order.

    Those that globs match come first; see `find_by_patterns`. Without globs the order is the one given.

    Raises
    ------
    UnknownCollectionError
        Raised if one is named in full and is not there.
    """
    matched, named = await find_by_patterns(snapshot, patterns)
    return list(dict.fromkeys(matched + named))


async def page(
    snapshot: Snapshot, selection: CollectionSelection, request: PageRequest, order_by: Sequence[str] | None = None
) -> Page[Collection]:
    """Read one page of collections; the key of a row is what was asked to order by, and its name.

    Uses the unique index of the names, where no other order was asked for.

    Parameters
    ----------
    snapshot
        What to read from.
    selection
        Which collections.
    request
        Which page.
    order_by
        ``name``, ``type``, ``doc``, each with or without a minus in front; by name, as the database orders it, if
        nothing is given.

    Raises
    ------
    UnknownCollectionError
        Raised if one is named in full and is not there.
    InvalidExpressionError
        Raised if nothing can be ordered by what was asked for.
    """
    tables = snapshot.repository.tables
    statement = sa.select(*collection_columns(tables)).where(*await _conditions(snapshot, selection))
    c = tables.collection.c
    fields: Mapping[str, Sequence[sa.ColumnElement[Any]]] = {
        "name": [c.name],
        "type": [sa.case({number: str(name) for number, name in _TYPES.items()}, value=c.type)],
        "doc": [sa.func.nullif(c.doc, "", type_=sa.Text())],
    }
    found = await page_of(snapshot, statement, field_order(order_by or (), fields, [c.name]), request)
    return Page([collection_of(row) for row in found.rows], found.keys, found.has_next, found.has_previous)


async def count(snapshot: Snapshot, selection: CollectionSelection) -> int:
    """Count what `page` goes through."""
    statement = sa.select(sa.func.count()).select_from(snapshot.repository.tables.collection)
    rows = await snapshot.rows(statement.where(*await _conditions(snapshot, selection)))
    return int(rows[0][0])


async def run_details(snapshot: Snapshot, keys: Sequence[CollectionKey]) -> list[RunDetails]:
    """Read what the registry says of some runs; a run that it has no row of is one it says nothing of."""
    known: dict[CollectionKey, RunDetails] = snapshot.cache.setdefault(_RUN_DETAILS, {})
    missing = {key for key in keys if key not in known}
    if missing:
        tables, dialect = snapshot.repository.tables, snapshot.repository.dialect
        wanted = dialect.rows("wanted", {"key": tables.collection_type}, [(key,) for key in missing])
        key = tables.run.c.collection
        begin, end = dialect.timespan(tables.run, "timespan")
        statement = sa.select(key.label("key"), tables.run.c.host, begin.label("begin"), end.label("end"))
        known |= dict.fromkeys(missing, RunDetails(None, None))
        for row in await snapshot.rows(statement.where(key.in_(sa.select(wanted.c["key"])))):
            known[row.key] = RunDetails(row.host or None, Timespan.from_columns(row.begin, row.end))
    return [known[key] for key in keys]


async def _named(snapshot: Snapshot, names: Sequence[str]) -> list[Collection]:
    found = await by_names(snapshot, names)
    missing = [name for name in names if name not in found]
    if missing:
        what = f"collection is named '{missing[0]}'" if len(missing) == 1 else f"collections are named {missing}"
        raise UnknownCollectionError(
            f"No {what}. The field collections lists them all; its argument names takes globs."
        )
    return [found[name] for name in names]


async def _matching(snapshot: Snapshot, globs: Sequence[str]) -> list[Collection]:
    tables = snapshot.repository.tables
    is_chain = sa.case((tables.collection.c.type == _NUMBERS[CollectionType.CHAINED], 1), else_=0)
    statement = sa.select(*collection_columns(tables)).order_by(is_chain, tables.collection_key)
    if EVERYTHING not in globs:
        statement = statement.where(snapshot.repository.dialect.matches_globs(tables.collection.c.name, globs))
    return [collection_of(row) for row in await snapshot.rows(statement)]


async def _conditions(snapshot: Snapshot, selection: CollectionSelection) -> list[sa.ColumnElement[bool]]:
    repository = snapshot.repository
    tables = repository.tables
    c = tables.collection.c
    literals, globs = split_names(selection.names)
    named = await _named(snapshot, literals)
    conditions: list[sa.ColumnElement[bool]] = []
    if EVERYTHING not in globs:
        keys = repository.dialect.rows("named", {"key": tables.collection_type}, [(one.key,) for one in named])
        chosen = tables.collection_key.in_(sa.select(keys.c["key"]))
        conditions.append(sa.or_(chosen, repository.dialect.matches_globs(c.name, globs)) if globs else chosen)
    if selection.flatten_chains:
        if conditions:
            conditions = [tables.collection_key.in_(_reached(tables, conditions))]
        conditions.append(c.type != _NUMBERS[CollectionType.CHAINED])
    if selection.types is not None:
        conditions.append(c.type.in_([_NUMBERS[CollectionType(one)] for one in selection.types]))
    return conditions


def _reached(tables: Tables, conditions: Iterable[sa.ColumnElement[bool]]) -> sa.Select[Any]:
    """Select the keys of collections and of all that they reach if they are chains."""
    start = sa.select(tables.collection_key.label("key")).where(*conditions).cte("reached", recursive=True)
    members = sa.select(tables.chain.c.child).join_from(start, tables.chain, tables.chain.c.parent == start.c["key"])
    return sa.select(start.union(members).c["key"])
