"""Which datasets are in which collections.

A *part* asks for the datasets of one type in some collections. It becomes *ranges*: stretches of an index, one a
collection and data ID. All ranges of one table travel in one statement, so that the number of statements depends on how
many dataset types differ in their dimensions, never on how many collections, data IDs or datasets there are.

Index: the unique ``(dataset_type_id, collection, <required dimensions>)`` of the tags tables, and the one of the same
columns of the calibs tables.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property, partial, reduce
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.sql.base import ReadOnlyColumnCollection
from sqlalchemy.types import TypeEngine

from butlerql.storage.registry.collections import Collection, CollectionType
from butlerql.storage.registry.combinations import Combinations, combine, looks_of
from butlerql.storage.registry.conditions import Condition, Look, key_of
from butlerql.storage.registry.dataset_fields import dataset_field
from butlerql.storage.registry.dataset_searches import EVER, Columns, DatasetColumns, Given, Validity
from butlerql.storage.registry.dataset_types import DatasetType
from butlerql.storage.registry.expressions.tree import Operand
from butlerql.storage.registry.implied_values import implied_value
from butlerql.storage.registry.timespans import MAXIMUM, MINIMUM, Timespan
from butlerql.storage.repository import Repository
from butlerql.storage.statements import Slot, placed
from butlerql.storage.universe import DimensionGroup, Element

__all__ = ["Filter", "Part", "Source", "TableGroup", "Wanted", "groups_of"]

_ANY = MINIMUM - 1, MAXIMUM + 1
"""What every validity overlaps, also one that is empty."""


class Wanted(StrEnum):
    """What of the datasets that are found counts."""

    DATASETS = "datasets"
    """Each once."""

    FIRST = "first"
    """Of each data ID the first in search order."""

    DATA_IDS = "data IDs"
    """Each data ID once; which dataset stands for it is left open."""


Filter = Callable[[sa.FromClause], sa.ColumnElement[bool]]
"""Condition on a row of a tags or calibs table."""


_AMONG = "among"


@dataclass(frozen=True, eq=False)
class Among:
    """Values that some dimensions of a data ID have to have together."""

    names: tuple[str, ...]
    keys: Sequence[tuple[Any, ...]] | None
    """Any of these; None if they are given when a statement is run."""

    def table(self, repository: Repository) -> sa.FromClause:
        """Make a table of the keys."""
        if self.keys is None:
            return repository.dialect.slots(_AMONG, self._kinds(repository))
        return repository.dialect.rows(_AMONG, self._kinds(repository), self.keys)

    def parameters(self, repository: Repository) -> Mapping[str, Any]:
        """Give the keys as they are given when a statement is run."""
        return repository.dialect.given(_AMONG, self._kinds(repository), self.keys or ())

    def _kinds(self, repository: Repository) -> Mapping[str, TypeEngine[Any]]:
        return {name: repository.tables.dimension_type(name) for name in self.names}


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
        What their data IDs must hold, any of these, all of the same dimensions; what is not among those of the
        dataset type is related to it.
    validity
        What the validity of certified ones must overlap; None where any will do.
    condition
        What has to hold of them, or of something that is related to them.
    among
        What their data IDs have to hold beside one of ``data_ids``.
    """

    parent: int
    place: int
    dataset_type: DatasetType
    collections: Sequence[Collection]
    data_ids: Sequence[Mapping[str, Any]] = ({},)
    validity: Timespan | None = None
    condition: Condition | None = None
    among: Among | None = None

    @property
    def size(self) -> int:
        """Number of ranges."""
        return len(self.collections) * len(self.data_ids)

    @property
    def is_timed(self) -> bool:
        """Whether calibrations have to be valid at the time of what is related to them."""
        return any(one.type is CollectionType.CALIBRATION for one in self.collections)


@dataclass(eq=False)
class TableGroup:
    """Parts whose rows are in the same tables and are constrained in the same dimensions: one statement."""

    repository: Repository
    dimensions: DimensionGroup
    tags: sa.Table
    calibs: sa.Table | None
    constrained: tuple[str, ...]
    filters: Sequence[Filter]
    condition: Condition | None = None
    among: Among | None = None
    is_timed: bool = False
    """Whether calibrations have to be valid at the time of what is related to them."""
    parts: list[Part] = field(default_factory=list)

    @cached_property
    def shape(self) -> TableGroup:
        """The same with slots in place of all values, and without the parts."""
        return replace(
            self,
            condition=None if self.condition is None else self.condition.shape,
            among=None if self.among is None else Among(self.among.names, None),
            parts=[],
        )

    @cached_property
    def key(self) -> Hashable:
        """What tells its shape from others; None if it is not worth keeping what is made of it."""
        if self.filters:
            return None
        calibs = None if self.calibs is None else self.calibs.name
        among = None if self.among is None else self.among.names
        return key_of(self.condition, self.dimensions, self.tags.name, calibs, self.constrained, among, self.is_timed)

    @cached_property
    def parameters(self) -> Mapping[str, Any]:
        """The values of its slots, but for those of the parts."""
        found = {} if self.condition is None else self.condition.parameters
        return found if self.among is None else {**found, **self.among.parameters(self.repository)}

    @cached_property
    def listed(self) -> sa.FromClause:
        """The table of what is `among`, the same wherever a statement needs it: it is unpacked once."""
        assert self.among is not None
        return self.among.table(self.repository)

    @property
    def size(self) -> int:
        """Number of ranges."""
        return sum(part.size for part in self.parts)

    @cached_property
    def is_complete(self) -> bool:
        """Whether all data IDs are named."""
        among = () if self.among is None else self.among.names
        return set(self.dimensions.required) <= {*self.constrained, *among}

    @cached_property
    def foreign(self) -> list[str]:
        """Constrained dimensions that the dataset types do not have."""
        return [name for name in self.constrained if name not in self.dimensions.names]

    @cached_property
    def looks(self) -> Sequence[Look]:
        """Regions that have to be looked at: the database finds more than there is."""
        if self.condition is None and not self.foreign:
            return ()
        return looks_of(self.repository, self.dimensions, [self.dimensions], self.foreign, self.condition)

    def related(
        self,
        columns: Columns,
        validity: Validity,
        row: ReadOnlyColumnCollection[str, Any],
        values: Columns,
    ) -> Combinations:
        """Join what the condition speaks of, and the dimensions that are foreign, to a row.

        Parameters
        ----------
        columns
            Of the row's required dimensions.
        validity
            When it is valid.
        row
            Its columns, among them ``dataset_id`` and ``collection``.
        values
            Columns of the values of the constrained dimensions.
        """
        given = self.given(columns, validity, row)
        constraint = {name: values[name] for name in self.foreign}
        return combine(self.repository, self.dimensions, constraint=constraint, condition=self.condition, given=given)

    def given(self, columns: Columns, validity: Validity, row: ReadOnlyColumnCollection[str, Any]) -> Given:
        """Say what a row is; see `related`."""
        field = partial(dataset_field, self.repository, row.dataset_id, row.collection)
        return Given(self.dimensions, columns, DatasetColumns(field, validity), self.is_timed)

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
            validity = _ANY if part.validity is None else part.validity.bounds
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


_COLUMNS: Mapping[str, TypeEngine[Any]] = {
    "parent": sa.BigInteger(),
    "place": sa.BigInteger(),
    "dataset_type_id": sa.BigInteger(),
    "rank": sa.BigInteger(),
    "collection": sa.BigInteger(),
    "valid_from": sa.BigInteger(),
    "valid_to": sa.BigInteger(),
}
"""Columns of ranges; those of the values that data IDs have to hold follow."""


class Source:
    """Ranges of one table."""

    def __init__(
        self, group: TableGroup, table: sa.Table, *, certified: bool, name: str, rows: Sequence[tuple[Any, ...]] | None
    ) -> None:
        tables = group.repository.tables
        self._columns: dict[str, TypeEngine[Any]] = {
            **_COLUMNS,
            "collection": tables.collection_type,
            **{f"value_{dimension}": tables.dimension_type(dimension) for dimension in group.constrained},
        }
        self.group = group
        self.table = table
        self.certified = certified
        self.dialect = group.repository.dialect
        self.size = 0 if rows is None else len(rows)
        self.name = name
        self._rows = rows

    @property
    def shape(self) -> Source:
        """The same with slots in place of all values."""
        made = Source(self.group.shape, self.table, certified=self.certified, name=self.name, rows=None)
        made.size = self.size
        return made

    @property
    def key(self) -> Hashable:
        """What tells its shape from others; None if it is not worth keeping what is made of it."""
        return None if self.group.key is None else (self.group.key, self.certified, self.name)

    @cached_property
    def ranges(self) -> sa.FromClause:
        """The ranges as a table."""
        if self._rows is None:
            return self.dialect.slots(self.name, self._columns)
        return self.dialect.rows(self.name, self._columns, self._rows)

    @cached_property
    def values(self) -> Mapping[str, sa.ColumnElement[Any]]:
        """The columns of the ranges."""
        return dict(self.ranges.c)

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The values of its slots."""
        return {**self.group.parameters, **self.dialect.given(self.name, self._columns, self._rows or ())}

    def apart(self) -> list[Source]:
        """Give each range by itself: its values are parameters, and what it selects refers to no other table."""
        ranges = []
        for number in range(self.size):
            one = copy(self)
            one.values = {name: placed(self._slot(number, name), kind) for name, kind in self._columns.items()}
            ranges.append(one)
        return ranges

    @property
    def parameters_apart(self) -> Mapping[str, Any]:
        """The values of its slots, where each range is by itself."""
        found = dict(self.group.parameters)
        for number, row in enumerate(self._rows or ()):
            found |= {self._slot(number, name).name: value for name, value in zip(self._columns, row, strict=True)}
        return found

    def _slot(self, number: int, column: str) -> Slot:
        return Slot(f"{self.name}_{number}_{column}")

    def rows(
        self, table: sa.FromClause, outer: Sequence[sa.FromClause] = (), inner: Sequence[sa.FromClause] = ()
    ) -> sa.Select[Any]:
        """Select the rows of an alias of the table that are in a range, as conditions without columns.

        It refers to the ranges, or holds them if they are among the tables to combine, which stand around the rows or
        within.
        """
        related = self._related(table)
        statement = self._within(table, outer, inner)
        if related is None:
            return statement
        if related.source is None:
            return statement.where(*related.conditions)
        something = related.select().add_columns(sa.literal(1)).correlate(table, self.ranges)
        return statement.where(something.exists())

    def looked_at(self, table: sa.FromClause, elements: Sequence[Element]) -> sa.Select[Any]:
        """Select the rows of an alias of the table that are in a range, with what is related to them.

        Columns are the ``dataset_id``, the ``collection``, and the required dimensions of some elements.
        """
        related = self._related(table)
        assert related is not None
        keys = [related.columns[name][0] for element in elements for name in element.required]
        inner = [] if related.source is None else [related.source]
        statement = self._within(table, [self.ranges], inner).where(*related.conditions)
        return statement.add_columns(table.c.dataset_id, table.c.collection, *keys).distinct()

    def fields(
        self, table: sa.FromClause, operands: Sequence[Operand]
    ) -> tuple[sa.Select[Any], list[sa.ColumnElement[Any]]]:
        """Select the rows of an alias of the table that are in a range, and give columns of what is asked of them."""
        given = self.group.given(
            {name: table.c[name] for name in self.group.dimensions.required}, self._validity(table), table.c
        )
        made = combine(self.group.repository, self.group.dimensions, fields=operands, given=given)
        statement = self.rows(table, [self.ranges], [] if made.source is None else [made.source])
        return statement.where(*made.conditions), made.fields

    def _within(
        self, table: sa.FromClause, outer: Sequence[sa.FromClause], inner: Sequence[sa.FromClause]
    ) -> sa.Select[Any]:
        """Select the rows in a range, but for what is related to them, combined with other tables."""
        group, of_range = self.group, self.values
        tables = group.repository.tables
        values = {name: table.c[name] for name in group.dimensions.required}
        conditions = [
            table.c.dataset_type_id == of_range["dataset_type_id"],
            table.c.collection == of_range["collection"],
            *(
                implied_value(tables, group.dimensions, values, name) == of_range[f"value_{name}"]
                for name in group.constrained
                if name not in group.foreign
            ),
            *self._own(table),
        ]
        sources = list(outer)
        if group.among is not None:
            if group.is_complete:
                sources.append(group.listed)
                conditions += [table.c[name] == column for name, column in group.listed.c.items()]
            else:
                columns = [table.c[name] for name in group.among.names]
                conditions.append(
                    (columns[0] if len(columns) == 1 else sa.tuple_(*columns)).in_(sa.select(*group.listed.c))
                )
        known: dict[str, sa.ColumnElement[Any]] = {name: of_range[f"value_{name}"] for name in group.constrained}
        for element in self._skipped():
            records = tables.element(element).alias()
            sources.append(records)
            conditions += [records.c[name] == known[name] for name in element.required if name in known]
            known[element.name] = records.c[element.primary_key.name]
            conditions.append(table.c[element.name] == known[element.name])
        return sa.select().select_from(reduce(self.dialect.each, [*sources, table, *inner])).where(*conditions)

    def first_certification(self, table: sa.FromClause, wanted: Wanted) -> sa.ColumnElement[bool]:
        """Condition that what is certified several times in a collection is seen once."""
        other = self.table.alias()
        same = ["dataset_id"] if wanted is Wanted.DATASETS else ["dataset_type_id", *self.group.dimensions.required]
        earlier = [*(other.c[name] == table.c[name] for name in ("collection", *same)), other.c.id < table.c.id]
        return ~self.rows(other).add_columns(other.c.id).where(*earlier).correlate(table, self.ranges).exists()

    def _own(self, table: sa.FromClause) -> list[sa.ColumnElement[bool]]:
        """Conditions on a row beside those of its range and of what is related to it."""
        conditions = [condition(table) for condition in self.group.filters]
        if self.certified:
            begin, end = self.dialect.timespan(table, "timespan")
            conditions.append(sa.and_(begin < self.values["valid_to"], end > self.values["valid_from"]))
        return conditions

    def _related(self, table: sa.FromClause) -> Combinations | None:
        """Join to a row what conditions speak of; None if they speak of nothing."""
        group = self.group
        if group.condition is None and not group.foreign:
            return None
        columns = {name: table.c[name] for name in group.dimensions.required}
        values = {name: self.values[f"value_{name}"] for name in group.constrained}
        return group.related(columns, self._validity(table), table.c, values)

    def _validity(self, table: sa.FromClause) -> Validity:
        return self.dialect.timespan(table, "timespan") if self.certified else EVER

    def _skipped(self) -> list[Element]:
        """Elements whose values are tried one after another, so that the index can be used behind them.

        A dimension that is not constrained, in front of one that is, would have the database read the whole collection.
        Only small tables (those that the Butler itself keeps in memory) are worth that.
        """
        if self.group.is_complete:
            return []
        required = self.group.dimensions.required
        behind = max((required.index(name) for name in self.group.constrained if name in required), default=0)
        universe = self.group.dimensions.universe
        free = (universe.elements[name] for name in required[:behind] if name not in self.group.constrained)
        return [element for element in free if element.is_cached and not element.is_skypix]


def groups_of(repository: Repository, parts: Iterable[Part], filters: Sequence[Filter] = ()) -> list[TableGroup]:
    """Put the parts together that one statement can answer; parts that can have nothing are left out."""
    groups: dict[tuple[Any, ...], TableGroup] = {}
    for part in parts:
        if not part.collections or not part.data_ids:
            continue
        kind = part.dataset_type
        constrained: tuple[str, ...] = ()
        if part.data_ids[0]:
            constrained = tuple(name for name in repository.universe.dimensions if name in part.data_ids[0])
        identity = (kind.tags_table, constrained, part.condition, part.among)
        group = groups.get(identity)
        if group is None:
            tags = repository.tables.tags(kind.tags_table, kind.dimensions)
            group = TableGroup(
                repository, kind.dimensions, tags, None, constrained, filters, part.condition, part.among
            )
            groups[identity] = group
        if kind.calibs_table is not None and group.calibs is None:
            group.calibs = repository.tables.calibs(kind.calibs_table, kind.dimensions)
        group.is_timed |= part.is_timed
        group.parts.append(part)
    return list(groups.values())
