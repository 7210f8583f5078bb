"""Which datasets are in which collections.

A *part* asks for the datasets of one type in some collections. It becomes *ranges*: stretches of an index, one a
collection and data ID. All ranges of one table travel in one statement, so that the number of statements depends on how
many dataset types differ in their dimensions, never on how many collections, data IDs or datasets there are.

Index: the unique ``(dataset_type_id, collection, <required dimensions>)`` of the tags tables, and the one of the same
columns of the calibs tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from enum import StrEnum
from functools import reduce
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from butlerql.storage.registry.collections import Collection, CollectionType
from butlerql.storage.registry.dataset_types import DatasetType
from butlerql.storage.registry.implied_values import implied_value
from butlerql.storage.registry.timespans import Timespan
from butlerql.storage.repository import Repository
from butlerql.storage.snapshot import Snapshot
from butlerql.storage.universe import DimensionGroup, Element

__all__ = ["Filter", "Part", "Source", "TableGroup", "Wanted", "counts", "existing", "groups_of"]


class Wanted(StrEnum):
    """What of the datasets that are found counts."""

    DATASETS = "datasets"
    """Each once."""

    FIRST = "first"
    """Of each data ID the first in search order."""

    DATA_IDS = "data IDs"
    """Each data ID once; which dataset stands for it is left open."""


Filter = Callable[[sa.FromClause], sa.ColumnElement[bool]]
"""Condition on the ``dataset_id`` of a row of a tags or calibs table."""


class Part(NamedTuple):
    """The datasets of one type in some collections.

    Attributes
    ----------
    parent
        Index of the object that they are asked for.
    place
        Position of the dataset type in the order of names.
    dataset_type
        What they are.
    collections
        Where to look, in search order, without chains.
    data_ids
        What their data IDs must hold, any of these. All name the same dimensions, required or implied ones.
    validity
        What the validity of certified ones must overlap; None where any will do.
    """

    parent: int
    place: int
    dataset_type: DatasetType
    collections: Sequence[Collection]
    data_ids: Sequence[Mapping[str, Any]] = ({},)
    validity: Timespan | None = None

    @property
    def size(self) -> int:
        """Number of ranges."""
        return len(self.collections) * len(self.data_ids)


@dataclass(eq=False)
class TableGroup:
    """Parts whose rows are in the same tables and are constrained in the same dimensions: one statement."""

    repository: Repository
    dimensions: DimensionGroup
    tags: sa.Table
    calibs: sa.Table | None
    constrained: tuple[str, ...]
    filters: Sequence[Filter]
    parts: list[Part] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Number of ranges."""
        return sum(part.size for part in self.parts)

    @property
    def disjoint(self) -> bool:
        """Whether no dataset can be found twice: each is in one RUN only."""
        return all(collection.type is CollectionType.RUN for part in self.parts for collection in part.collections)

    def sources(
        self, name: str = "ranges", kept: Callable[[Part, int], bool] = lambda _part, _rank: True
    ) -> list[Source]:
        """Ranges of the tags table and of the calibs table, as far as there are any that are kept by part and rank.

        Those that go into one statement need different names.
        """
        rows: dict[bool, list[tuple[Any, ...]]] = {False: [], True: []}
        for part in self.parts:
            validity = (part.validity or Timespan(None, None)).bounds
            for rank, collection in enumerate(part.collections):
                if kept(part, rank):
                    certified = collection.type is CollectionType.CALIBRATION
                    head = (part.parent, part.place, part.dataset_type.key, rank, collection.key, *validity)
                    for data_id in part.data_ids:
                        rows[certified].append((*head, *(data_id[name] for name in self.constrained)))
        return [
            Source(
                self, table, certified=certified, name=f"certified_{name}" if certified else name, rows=rows[certified]
            )
            for certified, table in ((False, self.tags), (True, self.calibs))
            if rows[certified] and table is not None
        ]


class Source:
    """Ranges of one table."""

    def __init__(
        self, group: TableGroup, table: sa.Table, *, certified: bool, name: str, rows: list[tuple[Any, ...]]
    ) -> None:
        tables = group.repository.tables
        columns: dict[str, TypeEngine[Any]] = {
            "parent": sa.BigInteger(),
            "place": sa.BigInteger(),
            "dataset_type_id": sa.BigInteger(),
            "rank": sa.BigInteger(),
            "collection": tables.collection_type,
            "valid_from": sa.BigInteger(),
            "valid_to": sa.BigInteger(),
        }
        columns |= {f"value_{dimension}": tables.dimension_type(dimension) for dimension in group.constrained}
        self.group = group
        self.table = table
        self.certified = certified
        self.dialect = group.repository.dialect
        self.ranges = self.dialect.rows(name, columns, rows)
        self.size = len(rows)
        self.values: Mapping[str, sa.ColumnElement[Any]] = dict(self.ranges.c)
        self._columns = columns
        self._rows = rows

    def apart(self) -> list[Source]:
        """Give each range by itself: its values are parameters, and what it selects refers to no other table."""
        ranges = []
        for row in self._rows:
            one = copy(self)
            one.values = {
                name: sa.literal(value, kind) for (name, kind), value in zip(self._columns.items(), row, strict=True)
            }
            ranges.append(one)
        return ranges

    def rows(self, table: sa.FromClause, *, with_ranges: bool = False) -> sa.Select[Any]:
        """Select the rows of an alias of the table that are in a range, as conditions without columns.

        It refers to the ranges, or, if asked for, holds them, outermost.
        """
        group, of_range = self.group, self.values
        tables = group.repository.tables
        values = {name: table.c[name] for name in group.dimensions.required}
        conditions = [
            table.c.dataset_type_id == of_range["dataset_type_id"],
            table.c.collection == of_range["collection"],
            *(
                implied_value(tables, group.dimensions, values, name) == of_range[f"value_{name}"]
                for name in group.constrained
            ),
            *(condition(table) for condition in group.filters),
        ]
        if self.certified:
            conditions.append(self._valid(table))
        sources: list[sa.FromClause] = [self.ranges] if with_ranges else []
        known: dict[str, sa.ColumnElement[Any]] = {name: of_range[f"value_{name}"] for name in group.constrained}
        for element in self._skipped():
            records = tables.element(element).alias()
            sources.append(records)
            conditions += [records.c[name] == known[name] for name in element.required if name in known]
            known[element.name] = records.c[element.primary_key.name]
            conditions.append(table.c[element.name] == known[element.name])
        return sa.select().select_from(reduce(self.dialect.each, [*sources, table])).where(*conditions)

    def first_certification(self, table: sa.FromClause, wanted: Wanted) -> sa.ColumnElement[bool]:
        """Condition that what is certified several times in a collection is seen once."""
        other = self.table.alias()
        same = ["dataset_id"] if wanted is Wanted.DATASETS else ["dataset_type_id", *self.group.dimensions.required]
        earlier = [
            *(other.c[name] == table.c[name] for name in ("collection", *same)),
            other.c.id < table.c.id,
            self._valid(other),
            *(condition(other) for condition in self.group.filters),
        ]
        return ~sa.select(other.c.id).where(*earlier).correlate(table, self.ranges).exists()

    def _valid(self, table: sa.FromClause) -> sa.ColumnElement[bool]:
        begin, end = self.dialect.timespan(table, "timespan")
        return sa.and_(begin < self.values["valid_to"], end > self.values["valid_from"])

    def _skipped(self) -> list[Element]:
        """Elements whose values are tried one after another, so that the index can be used behind them.

        A dimension that is not constrained, in front of one that is, would have the database read the whole collection.
        Only small tables (those that the Butler itself keeps in memory) are worth that.
        """
        required = self.group.dimensions.required
        behind = max((required.index(name) for name in self.group.constrained if name in required), default=0)
        universe = self.group.dimensions.universe
        free = (universe.elements[name] for name in required[:behind] if name not in self.group.constrained)
        return [element for element in free if element.is_cached and not element.is_skypix]


def groups_of(repository: Repository, parts: Iterable[Part], filters: Sequence[Filter] = ()) -> list[TableGroup]:
    """Put the parts together that one statement can answer; parts that can have nothing are left out."""
    groups: dict[tuple[str, tuple[str, ...]], TableGroup] = {}
    for part in parts:
        if not part.collections or not part.data_ids:
            continue
        kind = part.dataset_type
        constrained = tuple(name for name in kind.dimensions.names if name in part.data_ids[0])
        group = groups.get((kind.tags_table, constrained))
        if group is None:
            tags = repository.tables.tags(kind.tags_table, kind.dimensions)
            group = TableGroup(repository, kind.dimensions, tags, None, constrained, filters)
            groups[kind.tags_table, constrained] = group
        if kind.calibs_table is not None and group.calibs is None:
            group.calibs = repository.tables.calibs(kind.calibs_table, kind.dimensions)
        group.parts.append(part)
    return list(groups.values())


async def existing(snapshot: Snapshot, parts: Iterable[Part]) -> set[tuple[int, int]]:
    """Tell which parts hold anything, by parent and place."""
    found: set[tuple[int, int]] = set()
    for group in groups_of(snapshot.repository, parts):
        for source in group.sources():
            rows = source.rows(source.table.alias()).add_columns(sa.literal(1)).correlate(source.ranges)
            ranges = source.ranges
            statement = sa.select(ranges.c.parent, ranges.c.place).where(rows.exists()).distinct()
            found.update((parent, place) for parent, place in await snapshot.rows(statement))
    return found


async def counts(
    snapshot: Snapshot, parts: Iterable[Part], parents: int, wanted: Wanted, filters: Sequence[Filter] = ()
) -> list[int]:
    """Count what is wanted, for each parent."""
    result = [0] * parents
    for group in groups_of(snapshot.repository, parts, filters):
        once = wanted is Wanted.DATASETS and group.disjoint
        selects = []
        for source in group.sources():
            rows, ranges = source.table.alias(), source.ranges
            dimensions = [rows.c[name] for name in group.dimensions.required]
            columns = [
                ranges.c.parent,
                ranges.c.place,
                *([rows.c.dataset_id] if wanted is Wanted.DATASETS else dimensions),
            ]
            selects.append(source.rows(rows, with_ranges=True).add_columns(*columns))
        # A union of one select alone would not drop anything.
        entries = sa.union_all(*selects).subquery()
        if not once:
            entries = sa.select(*entries.c).distinct().subquery()
        statement = sa.select(entries.c.parent, sa.func.count()).group_by(entries.c.parent)
        for parent, count in await snapshot.rows(statement):
            result[parent] += count
    return result
