"""Membership: which collections hold datasets of a type now, and which hold one dataset.

The summaries say where to look; whether something is there is looked up in the tables of the memberships, one seek a
dataset type and collection.
"""

from __future__ import annotations

from collections.abc import Collection as AnyOf
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from butlerql.storage.dialect import UuidText
from butlerql.storage.registry.chains import ancestors, flatten
from butlerql.storage.registry.collections import (
    Collection,
    CollectionKey,
    CollectionType,
    by_keys,
    collection_columns,
    collection_of,
    in_name_order,
    type_number,
)
from butlerql.storage.registry.dataset_types import DatasetType
from butlerql.storage.registry.pages import Page, PageRequest, pages_of
from butlerql.storage.registry.summaries import positions_by_key, read_positions, wanted_collections
from butlerql.storage.snapshot import Snapshot
from butlerql.storage.tables import Tables

__all__ = ["collections_of", "holder_counts", "holder_pages", "types_held"]

_HOLDING = frozenset({CollectionType.RUN, CollectionType.TAGGED, CollectionType.CALIBRATION})
_TABLES_A_STATEMENT = 100
"""SQLite takes 500 parts in one UNION."""


async def types_held(
    snapshot: Snapshot, collections: Sequence[Collection], dataset_types: Iterable[DatasetType]
) -> list[set[DatasetType]]:
    """Find for each collection those of some dataset types of which it holds at least one dataset now.

    A chain holds what its members hold. Two statements, however many collections and dataset types. Uses the primary
    key of the summary, and of the memberships the unique index (dataset type, collection, ...).
    """
    by_key: dict[int, list[DatasetType]] = {}
    for dataset_type in dataset_types:
        by_key.setdefault(dataset_type.key, []).append(dataset_type)
    flattened = await flatten(snapshot, collections)
    members = list({member.key: member for below in flattened for member in below}.values())
    if not by_key or not members:
        return [set() for _ in collections]
    tables = snapshot.repository.tables
    wanted = wanted_collections(snapshot, members)
    types = snapshot.repository.dialect.rows("wanted_types", {"key": sa.BigInteger()}, [(key,) for key in by_key])
    summary, registered = tables.summary, tables.dataset_type
    positions = await read_positions(
        snapshot,
        positions_by_key(summary.c.dataset_type_id, wanted)
        .select_from(
            wanted.join(summary, summary.c.collection == wanted.c["key"]).join(
                registered, registered.c.id == summary.c.dataset_type_id
            )
        )
        # The sum keeps SQLite from seeking each of many types in each collection.
        .where((summary.c.dataset_type_id + 0).in_(sa.select(types.c["key"])))
        .where(_holds(tables, (of_key[0] for of_key in by_key.values()))),
    )
    held: dict[CollectionKey, set[DatasetType]] = {}
    for key, found in positions.items():
        for position in found:
            held.setdefault(members[position].key, set()).update(by_key[key])
    return [set().union(*(held.get(member.key, ()) for member in below)) for below in flattened]


async def holder_pages(
    snapshot: Snapshot,
    dataset_types: Sequence[DatasetType],
    types: AnyOf[CollectionType] | None,
    request: PageRequest,
) -> list[Page[Collection]]:
    """Read for each dataset type a page of the collections that hold at least one dataset of it now.

    They are in the order of their names as the database has it; the key of a row is the name. One statement, however
    many dataset types. Uses the summary's index of dataset types, and of the memberships the unique index (dataset
    type, collection, ...).

    Parameters
    ----------
    snapshot
        What to read from.
    dataset_types
        What is held; of a component, its parent.
    types
        Only collections of these types. Chains, which hold nothing themselves but reach what does, are listed only if
        their type is named here.
    request
        Which page.
    """
    tables = snapshot.repository.tables
    holders = _holders(snapshot, dataset_types, types)
    if holders is None:
        return [Page([], [], has_next=False, has_previous=False) for _ in dataset_types]
    statement = sa.select(*collection_columns(tables)).select_from(
        tables.collection.join(holders, holders.c["key"] == tables.collection_key)
    )
    key = [tables.collection.c.name]
    found = await pages_of(snapshot, statement, holders.c.position, key, len(dataset_types), request)
    return [
        Page([collection_of(row) for row in page.rows], page.keys, page.has_next, page.has_previous) for page in found
    ]


async def holder_counts(
    snapshot: Snapshot, dataset_types: Sequence[DatasetType], types: AnyOf[CollectionType] | None
) -> list[int]:
    """Count for each dataset type what `holder_pages` goes through."""
    counts = [0] * len(dataset_types)
    holders = _holders(snapshot, dataset_types, types)
    if holders is not None:
        statement = sa.select(holders.c.position, sa.func.count().label("number")).group_by(holders.c.position)
        for row in await snapshot.rows(statement):
            counts[row.position] = row.number
    return counts


async def collections_of(
    snapshot: Snapshot, datasets: Sequence[tuple[str, DatasetType]], *, chains: bool = False
) -> list[list[Collection]]:
    """List the RUN, TAGGED and CALIBRATION collections that hold each dataset, by name as the database orders them.

    One statement for each hundred tables that the dataset types are spread over, and two or three more. Uses the
    memberships' indexes of dataset ids.

    Parameters
    ----------
    snapshot
        What to read from.
    datasets
        UUIDs, and the dataset types they are of.
    chains
        List also the chains that reach one of those collections.
    """
    holders: list[set[CollectionKey]] = [set() for _ in datasets]
    for position, key in await _memberships(snapshot, datasets):
        holders[position].add(key)
    direct = list(set().union(*holders))
    if chains:
        found = await by_keys(snapshot, direct)
        above = {
            collection.key: {chain.key for chain in reaching}
            for collection, reaching in zip(found, await ancestors(snapshot, found), strict=True)
        }
        holders = [keys.union(*(above[key] for key in keys)) for keys in holders]
    ordered = await in_name_order(snapshot, set().union(*holders))
    places = {collection.key: place for place, collection in enumerate(ordered)}
    return [[ordered[place] for place in sorted(places[key] for key in keys)] for keys in holders]


async def _memberships(
    snapshot: Snapshot, datasets: Sequence[tuple[str, DatasetType]]
) -> Iterator[tuple[int, CollectionKey]]:
    """Read what holds datasets: positions of datasets, keys of collections; the same may come several times."""
    tables, dialect = snapshot.repository.tables, snapshot.repository.dialect
    kinds: dict[str, TypeEngine[Any]] = {"position": sa.Integer(), "uuid": UuidText()}
    by_table: dict[sa.Table, list[tuple[int, str]]] = {}
    for position, (uuid, dataset_type) in enumerate(datasets):
        for table in _tables_of(tables, dataset_type):
            by_table.setdefault(table, []).append((position, uuid))
    found: list[sa.Row[Any]] = []
    ordered = sorted(by_table.items(), key=lambda item: item[0].name)
    for start in range(0, len(ordered), _TABLES_A_STATEMENT):
        parts = []
        for number, (table, uuids) in enumerate(ordered[start : start + _TABLES_A_STATEMENT]):
            wanted = dialect.rows(f"wanted_{number}", kinds, uuids)
            held = sa.select(wanted.c.position, table.c.collection.label("key"))
            parts.append(held.join_from(wanted, table, table.c.dataset_id == wanted.c.uuid))
        found += await snapshot.rows(sa.union_all(*parts))
    return ((row.position, row.key) for row in found)


def _holders(
    snapshot: Snapshot, dataset_types: Sequence[DatasetType], types: AnyOf[CollectionType] | None
) -> sa.FromClause | None:
    """Select the collections that hold each dataset type, by its position; None if there cannot be any."""
    if not dataset_types or (types is not None and not types):
        return None
    tables, summary = snapshot.repository.tables, snapshot.repository.tables.summary
    kinds = {"position": sa.Integer(), "type": sa.BigInteger()}
    rows = [(position, dataset_type.key) for position, dataset_type in enumerate(dataset_types)]
    wanted = snapshot.repository.dialect.rows("wanted_types", kinds, rows)
    direct = (
        sa.select(wanted.c.position, summary.c.collection.label("key"))
        .select_from(
            wanted.join(summary, summary.c.dataset_type_id == wanted.c["type"]).join(
                tables.dataset_type, tables.dataset_type.c.id == summary.c.dataset_type_id
            )
        )
        .where(_holds(tables, dataset_types))
    )
    if types is None or (_HOLDING.issubset(types) and CollectionType.CHAINED not in types):
        return direct.subquery("holders")
    allowed = tables.collection.c.type.in_(sorted(type_number(CollectionType(one)) for one in types))
    if CollectionType.CHAINED not in types:
        among = sa.select(tables.collection_key).where(allowed)
        return direct.where(summary.c.collection.in_(among)).subquery("holders")
    reached = direct.cte("reached", recursive=True)
    above = sa.select(reached.c.position, tables.chain.c.parent)
    reached = reached.union(above.join_from(reached, tables.chain, tables.chain.c.child == reached.c["key"]))
    chosen = sa.select(reached.c.position, reached.c["key"])
    return (
        chosen.join_from(reached, tables.collection, tables.collection_key == reached.c["key"])
        .where(allowed)
        .subquery("holders")
    )


def _tables_of(tables: Tables, dataset_type: DatasetType) -> list[sa.Table]:
    """List the tables of the memberships of a dataset type."""
    found = [tables.tags(dataset_type.tags_table, dataset_type.dimensions)]
    if dataset_type.calibs_table is not None:
        found.append(tables.calibs(dataset_type.calibs_table, dataset_type.dimensions))
    return found


def _holds(tables: Tables, dataset_types: Iterable[DatasetType]) -> sa.ColumnElement[bool]:
    """Condition that the collection of a summary's row holds a dataset of the type of that row.

    The tables of dataset types and of summaries are what it refers to; each row looks only into the tables of its own
    dataset type.
    """
    # Many dataset types share few tables; one of each pair stands for all.
    pairs = {(one.tags_table, one.calibs_table or ""): one for one in dataset_types}
    by_tags: dict[str, list[sa.ColumnElement[bool]]] = {}
    for (tags, _), dataset_type in sorted(pairs.items(), key=itemgetter(0)):
        lookups = by_tags.setdefault(tags, [])
        found = _tables_of(tables, dataset_type)
        # Of the table that all have, one lookup is enough.
        lookups += [_is_there(tables.summary, table, dataset_type) for table in (found[1:] if lookups else found)]
    choices = {name: sa.or_(*lookups) for name, lookups in by_tags.items()}
    return sa.case(choices, value=tables.dataset_type.c.tag_association_table, else_=sa.false())


def _is_there(summary: sa.Table, table: sa.Table, dataset_type: DatasetType) -> sa.ColumnElement[bool]:
    """Condition that a table of memberships has a row of the summary's dataset type and collection.

    It is a seek whatever the database believes of the tables' sizes: a scalar subquery is not made into a join, and
    its order is that of the index.
    """
    row = sa.select(sa.literal_column("1", sa.Integer)).where(
        table.c.dataset_type_id == summary.c.dataset_type_id, table.c.collection == summary.c.collection
    )
    if table.name == dataset_type.tags_table:
        row = row.order_by(*(table.c[name] for name in dataset_type.dimensions.required))
    return row.limit(1).correlate(summary).scalar_subquery().is_not(None)
