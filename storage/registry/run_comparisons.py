"""Two runs side by side: which datasets of each type they have in common.

Datasets of a type are the same in two runs if their data IDs are: there is at most one of each in a run, and the unique
index of the tags tables leads from the one to the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from butlerql.storage.errors import InvalidArgumentError, UnknownCollectionError
from butlerql.storage.registry import collections, dataset_types
from butlerql.storage.registry.collections import Collection, CollectionType
from butlerql.storage.registry.dataset_types import DatasetType
from butlerql.storage.registry.ranges import Filter, Part
from butlerql.storage.registry.selection import DatasetSets
from butlerql.storage.registry.summaries import candidates
from butlerql.storage.snapshot import Snapshot

__all__ = [
    "ComparedType",
    "Runs",
    "by_table",
    "compare_types",
    "datasets_of",
    "find_runs",
    "in_both",
    "only_in",
    "pairs_of",
]


_COMMON = 2
"""Which count is that of both; those of the sides come before."""


class Runs(NamedTuple):
    """Two runs; they may be the same."""

    base: Collection
    other: Collection


class ComparedType(NamedTuple):
    """How many datasets of a type two runs have."""

    dataset_type: DatasetType
    base_count: int
    other_count: int
    common: int
    """Data IDs that both have."""


async def find_runs(snapshot: Snapshot, base: str, other: str) -> Runs:
    """Find two runs by name.

    Raises
    ------
    UnknownCollectionError
        Raised if one is not there, or is no RUN.
    """
    found = await collections.by_names(snapshot, [base, other])
    for name in (base, other):
        if name not in found:
            raise UnknownCollectionError(f"No collection is named '{name}'.")
        if found[name].type is not CollectionType.RUN:
            raise UnknownCollectionError(f"'{name}' is a {found[name].type} collection, not a RUN.")
    return Runs(found[base], found[other])


async def compare_types(snapshot: Snapshot, runs: Runs, names: Sequence[str]) -> list[ComparedType]:
    """Count what the runs have of each dataset type, and have in common; one statement a tags table.

    Parameters
    ----------
    snapshot
        What to read from.
    runs
        The runs.
    names
        Names or globs of dataset types.

    Returns
    -------
    list
        Dataset types of which one of the runs has a dataset, by name as the database orders them.

    Raises
    ------
    UnknownDatasetTypeError, UnknownComponentError
        Raised if one is named in full and is not there.
    InvalidArgumentError
        Raised if a component is named.
    """
    wanted = await dataset_types.match(snapshot, names)
    component = next((kind for kind in wanted if kind.is_component), None)
    if component is not None:
        raise InvalidArgumentError(f"'{component.name}' is a component. Runs are compared by whole datasets.")
    places = await candidates(snapshot, runs, wanted)
    counts: dict[int, list[int]] = {}
    for kinds in by_table([kind for kind in wanted if places[kind]]):
        for key, place, number in await snapshot.rows(_counts(snapshot, runs, kinds)):
            counts.setdefault(key, [0, 0, 0])[place] = number
    return [ComparedType(kind, *counts[kind.key]) for kind in wanted if kind.key in counts]


def by_table(kinds: Sequence[DatasetType]) -> list[list[DatasetType]]:
    """Put dataset types together whose datasets are in one table."""
    found: dict[str, list[DatasetType]] = {}
    for kind in kinds:
        found.setdefault(kind.tags_table, []).append(kind)
    return list(found.values())


def datasets_of(snapshot: Snapshot, runs: Runs, kinds: Sequence[DatasetType]) -> sa.FromClause:
    """Select the datasets of two runs of dataset types that share a tags table.

    Columns are the ``type`` (number of the dataset type), the ``side`` (0 for the base, 1 for the other) and ``uuid``.
    """
    tables, dialect = snapshot.repository.tables, snapshot.repository.dialect
    columns: dict[str, TypeEngine[Any]] = {"side": sa.BigInteger(), "key": tables.collection_type}
    sides = dialect.rows("sides", columns, [(side, run.key) for side, run in enumerate(runs)])
    types, tags = _types(snapshot, kinds), _tags(snapshot, kinds)
    return (
        sa.select(types.c["key"].label("type"), sides.c.side, tags.c.dataset_id.label("uuid"))
        .select_from(dialect.each(dialect.each(types, sides), tags))
        .where(tags.c.dataset_type_id == types.c["key"], tags.c.collection == sides.c["key"])
        .subquery()
    )


def pairs_of(snapshot: Snapshot, runs: Runs, kinds: Sequence[DatasetType]) -> sa.FromClause:
    """Select what two runs have in common of dataset types that share a tags table.

    Columns are the ``type`` (number of the dataset type), ``base`` and ``other`` (UUIDs).
    """
    dialect = snapshot.repository.dialect
    types, base, other = _types(snapshot, kinds), _tags(snapshot, kinds), _tags(snapshot, kinds)
    return (
        sa.select(types.c["key"].label("type"), base.c.dataset_id.label("base"), other.c.dataset_id.label("other"))
        .select_from(dialect.each(dialect.each(types, base), other))
        .where(*_within(base, types, runs.base), *_within(other, types, runs.other), *_same(base, other, kinds[0]))
        .subquery()
    )


def _counts(snapshot: Snapshot, runs: Runs, kinds: Sequence[DatasetType]) -> sa.CompoundSelect[Any]:
    """Select dataset types, which count of `ComparedType` it is, and the count, unless it is 0."""
    each, pairs = datasets_of(snapshot, runs, kinds), pairs_of(snapshot, runs, kinds)
    return sa.union_all(
        sa.select(each.c.type, each.c.side, sa.func.count()).group_by(each.c.type, each.c.side),
        sa.select(pairs.c.type, sa.literal(_COMMON), sa.func.count()).group_by(pairs.c.type),
    )


def _tags(snapshot: Snapshot, kinds: Sequence[DatasetType]) -> sa.FromClause:
    return snapshot.repository.tables.tags(kinds[0].tags_table, kinds[0].dimensions).alias()


def _types(snapshot: Snapshot, kinds: Sequence[DatasetType]) -> sa.FromClause:
    rows = [(kind.key,) for kind in kinds]
    return snapshot.repository.dialect.rows("types", {"key": sa.BigInteger()}, rows)


def _within(table: sa.FromClause, types: sa.FromClause, run: Collection) -> list[sa.ColumnElement[bool]]:
    return [table.c.dataset_type_id == types.c["key"], table.c.collection == run.key]


def _same(base: sa.FromClause, other: sa.FromClause, kind: DatasetType) -> list[sa.ColumnElement[bool]]:
    return [base.c[name] == other.c[name] for name in kind.dimensions.required]


async def only_in(
    snapshot: Snapshot, present: Collection, absent: Collection, asked: Mapping[int, DatasetType], parents: int
) -> DatasetSets:
    """Say which datasets are in one run and not in the other.

    Parameters
    ----------
    snapshot
        What to read from.
    present, absent
        The runs.
    asked
        Dataset types, each by the place of its parent. Those of which there is nothing should be left out.
    parents
        How many parents there are.
    """
    parts = [
        Part(parent, await dataset_types.position(snapshot, kind), kind, [present]) for parent, kind in asked.items()
    ]
    return DatasetSets(list(asked.values()), parts, parents, filters=[_counterpart(absent, is_there=False)])


async def in_both(snapshot: Snapshot, run: Collection, other: Collection, kinds: Sequence[DatasetType]) -> DatasetSets:
    """Say which datasets of a run have one in the other with the same data ID; their order is the same in both."""
    parts = [Part(0, await dataset_types.position(snapshot, kind), kind, [run]) for kind in kinds]
    return DatasetSets(kinds, parts, filters=[_counterpart(other, is_there=True)])


def _counterpart(run: Collection, *, is_there: bool) -> Filter:
    """Only datasets with the data ID of one in a run, or only others."""

    def condition(table: sa.FromClause) -> sa.ColumnElement[bool]:
        others = table.alias()
        own = set(table.c.keys()) - {"dataset_id", "collection"}
        same = [others.c[name] == table.c[name] for name in sorted(own)]
        found = sa.exists().where(others.c.collection == run.key, *same).correlate(table)
        return found if is_there else ~found

    return condition
