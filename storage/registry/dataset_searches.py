"""Searches for datasets: the tables in which those of one type are, and the collections in which they count."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from butlerql.storage.registry.collections import Collection, CollectionType
from butlerql.storage.registry.dataset_types import DatasetType
from butlerql.storage.registry.timespans import MAXIMUM, MINIMUM
from butlerql.storage.repository import Repository
from butlerql.storage.universe import DimensionGroup

__all__ = [
    "EVER",
    "PARENT",
    "Columns",
    "DatasetColumns",
    "DatasetSearch",
    "Given",
    "Lead",
    "SearchedTable",
    "Validity",
    "overlaps",
    "searched_tables",
]

PARENT = "#parent"
"""Name of the column that tells which parent a row belongs to; no dimension can have such a name."""

Columns = Mapping[str, sa.ColumnElement[Any]]

Validity = tuple[sa.ColumnElement[Any], sa.ColumnElement[Any]]
"""Begin and end of a timespan."""


EVER: Validity = sa.literal(MINIMUM, sa.BigInteger), sa.literal(MAXIMUM, sa.BigInteger)
"""All of time."""


class DatasetSearch(NamedTuple):
    """A dataset type of which there has to be a dataset."""

    dataset_type: DatasetType

    collections: Sequence[Sequence[Collection]]
    """Where it is looked for, for each of the parents that share a query, at least one; no chains, and only collections
    whose summaries name the type."""

    @property
    def name(self) -> str:
        """How conditions call its datasets; components are called by what they are of."""
        return self.dataset_type.parent_name

    @property
    def dimensions(self) -> DimensionGroup:
        """Dimensions of its data IDs."""
        return self.dataset_type.dimensions

    @property
    def is_calibration(self) -> bool:
        """Whether it is looked for in a CALIBRATION collection, so that it has to be valid at the time."""
        return any(one.type is CollectionType.CALIBRATION for found in self.collections for one in found)


class Lead(NamedTuple):
    """How the datasets that lead are found where each collection is searched on its own."""

    collections: sa.FromClause
    """Has the column ``key``; what is combined refers to it, and selects nothing from it."""

    table: sa.FromClause
    """The tags table, or an alias of it."""


class DatasetColumns(NamedTuple):
    """What conditions may say of a dataset in a statement."""

    field: Callable[[str], sa.ColumnElement[Any]]
    """Gives ``dataset_id``, ``run``, ``collection`` or ``ingest_date``."""

    validity: Validity


class Given(NamedTuple):
    """A dataset that is there already: a row of what combinations are looked for beside."""

    dimensions: DimensionGroup
    columns: Columns
    """Of its required dimensions."""

    dataset: DatasetColumns | None = None
    """What conditions may say of it; None if nothing but its data ID is known."""

    is_calibration: bool = False
    """Whether it has to be valid at the time of what is looked for."""


class SearchedTable(NamedTuple):
    """A table in which datasets of one type are looked for."""

    table: sa.FromClause
    columns: Columns
    conditions: list[sa.ColumnElement[bool]]
    validity: Validity
    dataset_id: sa.ColumnElement[Any]
    collection: sa.ColumnElement[Any]


def searched_tables(repository: Repository, search: DatasetSearch, lead: Lead | None = None) -> list[SearchedTable]:
    """List the tables that hold the datasets of a type: certified ones are in a table of their own."""
    tables, dataset_type = repository.tables, search.dataset_type
    kinds = [(tables.tags(dataset_type.tags_table, dataset_type.dimensions), False)]
    if dataset_type.calibs_table is not None:
        kinds.append((tables.calibs(dataset_type.calibs_table, dataset_type.dimensions), True))
    parts = []
    for table, certified in kinds:
        found = [
            (parent, one.key)
            for parent, collections in enumerate(search.collections)
            for one in collections
            if (one.type is CollectionType.CALIBRATION) is certified
        ]
        if not found:
            continue
        alias = table.alias() if lead is None else lead.table
        source: sa.FromClause = alias
        columns: dict[str, sa.ColumnElement[Any]] = {name: alias.c[name] for name in dataset_type.dimensions.required}
        conditions = [alias.c.dataset_type_id == dataset_type.key]
        name = f"collections_{dataset_type.key}_{int(certified)}"
        if lead is not None:
            conditions.append(alias.c.collection == lead.collections.c["key"])
        elif len(search.collections) > 1:
            kind = {"parent": sa.Integer(), "key": tables.collection_type}
            wanted = repository.dialect.rows(name, kind, found)
            source = repository.dialect.each(wanted, alias)
            columns[PARENT] = wanted.c.parent
            conditions.append(alias.c.collection == wanted.c["key"])
        elif len(found) > 1:
            wanted = repository.dialect.rows(name, {"key": tables.collection_type}, [(key,) for _, key in found])
            conditions.append(alias.c.collection.in_(sa.select(wanted.c["key"])))
        else:
            conditions.append(alias.c.collection == found[0][1])
        validity = repository.dialect.timespan(alias, "timespan") if certified else EVER
        parts.append(SearchedTable(source, columns, conditions, validity, alias.c.dataset_id, alias.c.collection))
    return parts


def overlaps(first: Validity, second: Validity) -> sa.ColumnElement[bool]:
    """Condition that two timespans have an instant in common."""
    return sa.and_(first[0] < second[1], second[0] < first[1])
