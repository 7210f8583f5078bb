"""Combinations of dimensions: which tables say that they exist, and how they are joined.

The rules are those of the Butler's queries. A combination exists if every table that relates its dimensions has it:
records that imply others, the elements that are always joined, overlaps of regions, datasets. What nothing relates is
combined freely.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import sqlalchemy as sa

from butlerql.storage.dialect import Dialect
from butlerql.storage.errors import UnsupportedJoinError
from butlerql.storage.registry.calibration_times import CalibrationTimes
from butlerql.storage.registry.conditions import Condition, Look
from butlerql.storage.registry.dataset_fields import dataset_field
from butlerql.storage.registry.dataset_searches import (
    PARENT,
    Columns,
    DatasetColumns,
    DatasetSearch,
    Given,
    Lead,
    Validity,
    overlaps,
    searched_tables,
)
from butlerql.storage.registry.expressions.compiler import Compiler, operand_column
from butlerql.storage.registry.expressions.tree import (
    Column,
    DatasetField,
    DimensionKey,
    Kind,
    Operand,
    columns_of,
    elements_of,
)
from butlerql.storage.registry.implied_values import implied_value
from butlerql.storage.registry.topology import overlap_to_join, split_skypix
from butlerql.storage.repository import Repository
from butlerql.storage.statements import Slot, placed
from butlerql.storage.universe import DimensionGroup, Element

__all__ = ["Combinations", "check_relations", "combine", "datasets_of", "lead_of", "looks_of"]

_PIXEL = "#pixel"
"""How what tables of overlaps share beside dimensions is named; no dimension can have such a name."""


@dataclass
class Combinations:
    """What to select from, and under which conditions, to get all combinations that exist."""

    group: DimensionGroup
    """All dimensions that take part."""

    columns: dict[str, list[sa.ColumnElement[Any]]] = field(default_factory=dict)
    """Columns that hold a dimension; all those of one dimension are equal."""

    source: sa.FromClause | None = None
    """None if no table is needed: there is one combination, of nothing."""

    conditions: list[sa.ColumnElement[bool]] = field(default_factory=list)

    looks: list[Look] = field(default_factory=list)
    """Regions that may overlap; only a look at them tells whether they do."""

    fields: list[sa.ColumnElement[Any]] = field(default_factory=list)
    """Columns of the fields that were asked for."""

    is_unique: bool = True
    """Whether each combination of the required dimensions is one row."""

    is_complete: bool = True
    """Whether all required dimensions are asked for, or given."""

    records: sa.FromClause | None = None
    """The table of the element of which there has to be a record."""

    in_order: Dialect | None = None
    """Given if the tables have to be read in the order in which they are added."""

    def select(self) -> sa.Select[Any]:
        """Make a statement without columns."""
        statement = sa.select().where(*self.conditions)
        return statement if self.source is None else statement.select_from(self.source)

    @property
    def parent(self) -> sa.ColumnElement[Any]:
        """Column that tells which of several parents a row belongs to."""
        return self.columns[PARENT][0]

    def add(self, table: sa.FromClause, provided: Columns) -> None:
        """Join a table on all that it shares with those before it."""
        self.conditions += [
            self.columns[name][0] == column for name, column in provided.items() if name in self.columns
        ]
        if self.source is None:
            self.source = table
        elif self.in_order is None:
            self.source = self.source.join(table, sa.true())
        else:
            self.source = self.in_order.each(self.source, table)
        for name, column in provided.items():
            self.columns.setdefault(name, []).append(column)


def combine(
    repository: Repository,
    group: DimensionGroup,
    *,
    searches: Sequence[DatasetSearch] = (),
    constraint: Mapping[str, Any] | None = None,
    condition: Condition | None = None,
    fields: Sequence[Operand] = (),
    element: Element | None = None,
    lead: Lead | None = None,
    given: Given | None = None,
) -> Combinations:
    """Join the tables that say which combinations of some dimensions exist.

    Parameters
    ----------
    repository
        Whose registry.
    group
        The dimensions that are asked for.
    searches
        What there has to be a dataset of.
    constraint
        Values of dimensions, or columns that have them; they need not be among those asked for.
    condition
        What has to hold of the combinations.
    fields
        What to select of records of elements of the group, or of datasets that are searched for.
    element
        An element of which there has to be a record.
    lead
        How the datasets that lead are found, if not all at once.
    given
        A row that is there, which the combinations have to agree with.

    Raises
    ------
    UnsupportedJoinError
        Raised if some of the dimensions cannot be related, or in more than one way.
    """
    constraint = constraint or {}
    joined = [search.dimensions for search in searches] + ([] if given is None else [given.dimensions])
    full, overlap = _related(repository, group, joined, constraint, element, condition)
    made = Combinations(full, in_order=None if lead is None else repository.dialect, looks=_looks(overlap, condition))
    calibrations: set[str | None] = {search.name for search in searches if search.is_calibration}
    waiting = _in_order(searches)
    spoken_of = datasets_of(fields) | (frozenset() if condition is None else condition.dataset_types)
    datasets: dict[str | None, DatasetColumns] = {}
    if given is not None:
        made.columns |= {name: [column] for name, column in given.columns.items()}
        datasets |= {} if given.dataset is None else {None: given.dataset}
        calibrations |= {None} if given.is_calibration else set()
    timed = CalibrationTimes(full, calibrations, condition)
    if waiting:
        leading = waiting.pop(0)
        datasets[leading.name] = _join_datasets(repository, made, leading, lead)
    for number, pair in enumerate((*_named_overlaps(condition), *([] if overlap is None else [overlap]))):
        _join_overlap(repository, made, number, *pair)
    # Where datasets are read in the order of an index, what they imply is looked up for each: a join might go astray.
    looked_up = set(full.implied).intersection(constraint) if lead is not None else set()
    needed = {*full.required, *group.required, *constraint} - looked_up
    needed.update(*(repository.universe.dimensions[name].required for name in full.required))
    tables = {}
    forced = {*timed.elements, *elements_of(fields), *([] if element is None else [element])}
    forced |= set() if condition is None else condition.elements
    for related in _relations(full, needed, joined, forced):
        tables[related.name] = table = _records(repository, related, given)
        made.add(table, _keys(related, table))
    made.records = None if element is None else tables[element.name]
    for search in list(waiting):
        if search.name in spoken_of or not made.columns.keys() >= set(search.dimensions.required):
            waiting.remove(search)
            datasets[search.name] = _join_datasets(repository, made, search)
    _join_missing(repository, made, needed, given)
    known = {name: columns[0] for name, columns in made.columns.items()}
    for name, value in constraint.items():
        columns = made.columns.get(name) or [implied_value(repository.tables, full, known, name)]
        kind = repository.tables.dimension_type(name)
        made.conditions += [column == placed(value, kind) for column in columns]
    resolver = _resolver(repository, made, tables, datasets)
    made.fields = [operand_column(repository.dialect, operand, resolver) for operand in fields]
    if condition is not None:
        _add_condition(repository, made, condition, resolver)
    validities = {name: dataset.validity for name, dataset in datasets.items() if name in calibrations}
    times = [repository.dialect.timespan(tables[element.name], "timespan") for element in timed.elements]
    made.conditions += timed.conditions(validities, times)
    for search in waiting:
        made.conditions.append(_has_datasets(repository, made, search, times or list(validities.values())))
    made.is_complete = set(full.required) <= {*group.required, *constraint}
    made.is_unique &= made.is_complete
    return made


def lead_of(
    repository: Repository,
    made: Combinations,
    names: Sequence[str],
    searches: Sequence[DatasetSearch],
    condition: Condition | None,
) -> Lead | None:
    """Find out whether each collection can be searched on its own, in the order of the data IDs, by an index.

    That is so if the datasets that lead have exactly the dimensions that are asked for, and nothing makes several rows
    of one of them. It is of use if there are several collections.
    """
    leading = next(iter(_in_order(searches)), None)
    if leading is None or leading.is_calibration or len(leading.collections) > 1 or len(leading.collections[0]) < 2:
        return None
    if made.looks or not made.is_complete or set(leading.dimensions.required) != set(names):
        return None
    if condition is not None and condition.dataset_types - {leading.name}:
        return None
    kinds = {"key": repository.tables.collection_type}
    collections = repository.dialect.rows("leading", kinds, [(one.key,) for one in leading.collections[0]])
    dataset_type = leading.dataset_type
    return Lead(collections, repository.tables.tags(dataset_type.tags_table, dataset_type.dimensions))


def looks_of(
    repository: Repository,
    group: DimensionGroup,
    joined: Sequence[DimensionGroup],
    constraint: Iterable[str],
    condition: Condition | None,
) -> list[Look]:
    """List the regions that have to be looked at, without making a statement; see `check_relations`."""
    _, overlap = _related(repository, group, joined, constraint, None, condition)
    return _looks(overlap, condition)


def check_relations(
    repository: Repository,
    group: DimensionGroup,
    joined: Sequence[DimensionGroup],
    constraint: Iterable[str],
    element: Element | None = None,
    condition: Condition | None = None,
) -> None:
    """Find out whether dimensions can be related, without reading anything.

    Parameters
    ----------
    repository, group, element, condition
        As for `combine`.
    joined
        Dimensions of the dataset types that take part.
    constraint
        Dimensions that have values.

    Raises
    ------
    UnsupportedJoinError
        Raised as by `combine`.
    """
    _related(repository, group, joined, constraint, element, condition)


def datasets_of(operands: Iterable[Operand]) -> frozenset[str | None]:
    """List the types of the datasets that operands speak of; see `DatasetField`."""
    columns = (column for operand in operands for column in columns_of(operand))
    return frozenset(column.dataset_type for column in columns if isinstance(column, DatasetField))


def _related(
    repository: Repository,
    group: DimensionGroup,
    joined: Sequence[DimensionGroup],
    constraint: Iterable[str],
    element: Element | None,
    condition: Condition | None,
) -> tuple[DimensionGroup, tuple[Element, Element] | None]:
    """Tell which dimensions take part, and which regions have to overlap."""
    own = () if element is None else (*element.required, *element.implied)
    names = {*group.names, *constraint, *own, *(() if condition is None else condition.dimensions)}
    full = repository.universe.group(names.union(*(dimensions.names for dimensions in joined)))
    named = _named_overlaps(condition)
    overlap = overlap_to_join(full, joined, named)
    listed = {name for dimensions in joined for name in dimensions.required}
    listed.update(one.name for pair in (*named, overlap or ()) for one in pair)
    for name in full.required:
        if repository.universe.dimensions[name].is_skypix and name not in listed:
            raise UnsupportedJoinError(
                f"The registry does not list the pixels of {name}. Ask for them together with what overlaps them, "
                "or with a dataset type that has them."
            )
    return full, overlap


def _looks(overlap: tuple[Element, Element] | None, condition: Condition | None) -> list[Look]:
    pairs = (*_named_overlaps(condition), *([] if overlap is None else [overlap]))
    looks = [] if condition is None else [look for look in condition.looks if not isinstance(look.other, Element)]
    return [Look(first, second) for first, second in pairs if not second.is_skypix] + looks


def _in_order(searches: Sequence[DatasetSearch]) -> list[DatasetSearch]:
    """Let the datasets with the most dimensions lead: of the others it is enough to know that they are there."""
    return sorted(searches, key=lambda one: (-len(one.dimensions.required), sum(map(len, one.collections))))


def _join_datasets(
    repository: Repository,
    made: Combinations,
    search: DatasetSearch,
    lead: Lead | None = None,
) -> DatasetColumns:
    """Join the tables that hold the datasets of a type."""
    parts = searched_tables(repository, search, lead)
    if search.is_calibration or len(parts) > 1:
        selects = []
        for part in parts:
            begin, end = part.validity
            labelled = (column.label(name) for name, column in part.columns.items())
            own = (part.dataset_id.label("_dataset_id"), part.collection.label("_collection"))
            selects.append(
                sa.select(*labelled, *own, begin.label("_begin"), end.label("_end"))
                .select_from(part.table)
                .where(*part.conditions)
            )
        union = sa.union_all(*selects).subquery()
        made.add(union, {name: union.c[name] for name in parts[0].columns})
        made.is_unique = False
        field = partial(dataset_field, repository, union.c["_dataset_id"], union.c["_collection"])
        return DatasetColumns(field, (union.c["_begin"], union.c["_end"]))
    [part] = parts
    made.add(part.table, part.columns)
    made.conditions += part.conditions
    made.is_unique &= lead is not None or sum(map(len, search.collections)) == 1
    return DatasetColumns(partial(dataset_field, repository, part.dataset_id, part.collection), part.validity)


def _has_datasets(
    repository: Repository, made: Combinations, search: DatasetSearch, validities: Sequence[Validity]
) -> sa.ColumnElement[bool]:
    """Condition that there is a dataset of a type."""
    there = []
    for part in searched_tables(repository, search):
        statement = sa.exists().select_from(part.table).where(*part.conditions)
        statement = statement.where(*(made.columns[name][0] == column for name, column in part.columns.items()))
        if search.is_calibration:
            statement = statement.where(*(overlaps(part.validity, validity) for validity in validities))
        there.append(statement)
    return sa.or_(*there)


def _join_overlap(repository: Repository, made: Combinations, number: int, first: Element, second: Element) -> None:
    """Join what touches the same pixels. Elements with regions may still not overlap; pixels do."""
    common = repository.universe.skypix_common
    system, level = split_skypix(common)
    for element in (first, second):
        if not element.is_skypix:
            table = repository.tables.overlap(element).alias()
            pixel = common if second.is_skypix else f"{_PIXEL}{number}"
            made.conditions += [table.c.skypix_system == system, table.c.skypix_level == level]
            made.add(table, {**{name: table.c[name] for name in element.required}, pixel: table.c.skypix_index})
    if not second.is_skypix:
        made.is_unique = False


def _constrain_region(
    repository: Repository, made: Combinations, element: Element, region: Slot, compiler: Compiler
) -> None:
    """Keep what touches the pixels of a region; only a look tells whether it overlaps the region itself."""
    common = repository.universe.skypix_common
    system, level = split_skypix(common)
    pixels = compiler.pixels(region)
    if element.is_skypix:
        pixel = made.columns[element.name][0]
        made.conditions.append(sa.exists().where(pixels.c.begin <= pixel, pixel < pixels.c.end))
        return
    table = repository.tables.overlap(element).alias()
    touching = (
        sa.select(*(table.c[name] for name in element.required))
        .select_from(repository.dialect.each(pixels, table))
        .where(
            table.c.skypix_system == system,
            table.c.skypix_level == level,
            table.c.skypix_index >= pixels.c.begin,
            table.c.skypix_index < pixels.c.end,
        )
    )
    made.conditions.append(sa.tuple_(*(made.columns[name][0] for name in element.required)).in_(touching))


def _named_overlaps(condition: Condition | None) -> list[tuple[Element, Element]]:
    """List the pairs of elements whose overlap a condition asks for, pixels behind what overlaps them."""
    looks = () if condition is None else condition.looks
    pairs = [(look.element, look.other) for look in looks if isinstance(look.other, Element)]
    return [(second, first) if first.is_skypix else (first, second) for first, second in pairs]


def _add_condition(
    repository: Repository, made: Combinations, condition: Condition, resolver: Callable[[Column], Any]
) -> None:
    made.conditions += condition.terms(resolver)
    for look in condition.looks:
        if not isinstance(look.other, Element):
            assert isinstance(look.other, Slot)
            _constrain_region(repository, made, look.element, look.other, condition.compiler)


def _resolver(
    repository: Repository,
    made: Combinations,
    tables: Mapping[str, sa.FromClause],
    datasets: Mapping[str | None, DatasetColumns],
) -> Callable[[Column], Any]:
    """Find the SQL of what a condition speaks of."""
    known = {name: columns[0] for name, columns in made.columns.items()}

    def column(one: Column) -> Any:
        if isinstance(one, DatasetField):
            dataset = datasets[one.dataset_type]
            return dataset.validity if one.kind is Kind.TIMESPAN else dataset.field(one.column)
        if isinstance(one, DimensionKey):
            return implied_value(repository.tables, made.group, known, one.element.name)
        table = tables[one.element.name]
        return repository.dialect.timespan(table, one.column) if one.kind is Kind.TIMESPAN else table.c[one.column]

    return column


def _relations(
    full: DimensionGroup, needed: set[str], joined: Sequence[DimensionGroup], forced: set[Element]
) -> Iterable[Element]:
    """Choose the elements whose tables are joined for what they relate.

    Those that imply dimensions that nobody else speaks of are left out: every record has what it implies, so that they
    would change nothing.
    """
    datasets = [set(dimensions.required) for dimensions in joined]
    chosen = []
    for element in full.elements:
        known_by_datasets = any(known.issuperset((*element.required, *element.implied)) for known in datasets)
        if (
            element in forced
            or (element.always_join and not known_by_datasets)
            or (element.implied and not known_by_datasets)
        ):
            chosen.append(element)
    # What is implied comes first in the universe's order, so that chains fall away from their ends.
    for element in list(chosen):
        if not element.always_join and element not in forced:
            others = [{*other.required, *other.implied} for other in chosen if other is not element]
            if not any(name in names for names in (needed, *datasets, *others) for name in element.implied):
                chosen = [other for other in chosen if other is not element]
    # What is known leads to what it implies.
    return chosen[::-1]


def _join_missing(repository: Repository, made: Combinations, needed: set[str], given: Given | None) -> None:
    """Join tables of dimensions that no other table has, those first that have several of them."""
    universe = repository.universe
    while missing := needed - made.columns.keys():
        groups = {name: universe.group([name]) for name in universe.dimensions if name in missing}
        best = max(groups, key=lambda name: len(missing.intersection(groups[name].names)))
        element = universe.dimensions[best]
        table = _records(repository, element, given)
        made.add(table, _keys(element, table))


def _records(repository: Repository, element: Element, given: Given | None) -> sa.FromClause:
    """Give the table of an element, apart from one of the same name in the statement around."""
    table = repository.tables.element(element)
    return table if given is None else table.alias()


def _keys(element: Element, table: sa.FromClause) -> dict[str, sa.ColumnElement[Any]]:
    return {name: table.c[element.column_of(name)] for name in (*element.required, *element.implied)}
