"""Summaries: which collections may hold which dataset types, by the registry's own bookkeeping.

A summary never misses a dataset type that a collection holds, but may name ones whose datasets are all gone. The Butler
looks for datasets only where the summaries let it, so what they deny is not seen even if a table has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import sqlalchemy as sa

from butlerql.storage.registry.collections import Collection
from butlerql.storage.registry.dataset_types import DatasetType
from butlerql.storage.snapshot import Snapshot

__all__ = ["candidates", "positions_by_key", "read_positions", "wanted_collections"]

_FEW = 16
"""Up to so many dataset types a seek for each is cheaper than reading all that a summary says of a collection."""

_WORTH_KEEPING = 5_000
"""Answers to questions about more pairs of a collection and a dataset type than that are not kept."""

_SUMMARISED = "summaries"
_NO_VALUES: Mapping[str, str] = MappingProxyType({})


async def candidates(
    snapshot: Snapshot,
    collections: Sequence[Collection],
    dataset_types: Iterable[DatasetType],
    governors: Mapping[str, str] = _NO_VALUES,
) -> dict[DatasetType, list[Collection]]:
    """Find the collections in which datasets of each type have to be looked for.

    One statement, and one more for each governor dimension that has a value and that some of the types have. Uses the
    primary keys of the summary tables.

    Parameters
    ----------
    snapshot
        What to read from.
    collections
        Where to look, in the order of the search, without chains.
    dataset_types
        What to look for; components are where their parents are.
    governors
        Values that a query gives to dimensions; those of other dimensions than governors change nothing. As in the
        Butler, a collection that has a summary of a governor without that value is left out for the dataset types that
        have the dimension; one that has no summary of it is not.

    Returns
    -------
    collections
        For each dataset type, those of the given ones that may hold it, in the order given.
    """
    dataset_types = list(dataset_types)
    found: dict[DatasetType, list[Collection]] = {dataset_type: [] for dataset_type in dataset_types}
    if not found or not collections:
        return found
    positions = await _summarised(snapshot, collections, {dataset_type.key for dataset_type in found})
    without = {
        governor: await _without(snapshot, collections, governor, value)
        for governor, value in governors.items()
        if governor in snapshot.repository.universe.governors
        and any(governor in dataset_type.dimensions.names for dataset_type in found)
    }
    for dataset_type, chosen in found.items():
        ruled_out = [out for governor, out in without.items() if governor in dataset_type.dimensions.names]
        kept = set(positions.get(dataset_type.key, ())).difference(*ruled_out)
        chosen += [collections[position] for position in sorted(kept)]
    return found


def wanted_collections(snapshot: Snapshot, collections: Iterable[Collection]) -> sa.FromClause:
    """Make a table of collections, with columns ``position`` (0, 1, ... as given) and ``key``."""
    kinds = {"position": sa.Integer(), "key": snapshot.repository.tables.collection_type}
    rows = [(position, collection.key) for position, collection in enumerate(collections)]
    return snapshot.repository.dialect.rows("wanted_collections", kinds, rows)


def positions_by_key(key: sa.ColumnElement[int], wanted: sa.FromClause) -> sa.Select[int, str]:
    """Begin a selection that lists the positions of `wanted_collections` in one row a key.

    One row each would take most of the time where many collections hold many dataset types. Read the rows of it with
    `read_positions`.
    """
    text = sa.cast(wanted.c.position, sa.Text)
    return sa.select(key, sa.func.aggregate_strings(text, ",")).group_by(key)


async def read_positions(snapshot: Snapshot, statement: sa.Select[int, str]) -> dict[int, list[int]]:
    """Read what `positions_by_key` began to select: positions, in no order, by key."""
    return {key: list(map(int, text.split(","))) for key, text in await snapshot.rows(statement)}


async def _summarised(
    snapshot: Snapshot, collections: Sequence[Collection], keys: set[int]
) -> Mapping[int, Sequence[int]]:
    """Read which collections, by position, are said to hold each dataset type, by number."""
    asked = (_SUMMARISED, tuple(collection.key for collection in collections), frozenset(keys))
    known: Mapping[int, Sequence[int]] | None = snapshot.kept.get(asked)
    if known is not None:
        return known
    summary = snapshot.repository.tables.summary
    wanted = wanted_collections(snapshot, collections)
    types = snapshot.repository.dialect.rows("wanted_types", {"key": sa.BigInteger()}, [(key,) for key in keys])
    # The sum keeps SQLite from seeking each of many types in each collection.
    compared = summary.c.dataset_type_id if len(keys) <= _FEW else summary.c.dataset_type_id + 0
    positions = await read_positions(
        snapshot,
        positions_by_key(summary.c.dataset_type_id, wanted)
        .join_from(wanted, summary, summary.c.collection == wanted.c["key"])
        .where(compared.in_(sa.select(types.c["key"]))),
    )
    if len(collections) * len(keys) <= _WORTH_KEEPING:
        snapshot.kept.setdefault(asked, positions)
    return positions


async def _without(snapshot: Snapshot, collections: Sequence[Collection], governor: str, value: str) -> set[int]:
    """Find the collections, by position, whose summary of a governor dimension lacks a value."""
    wanted = wanted_collections(snapshot, collections)
    summary = snapshot.repository.tables.summary_of_governor(governor)
    values = sa.select(summary.c[governor]).where(summary.c.collection == wanted.c["key"])
    rows = await snapshot.rows(
        sa.select(wanted.c.position).where(values.exists(), ~values.where(summary.c[governor] == value).exists())
    )
    return {row.position for row in rows}
