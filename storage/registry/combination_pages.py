"""Pages of combinations of dimensions, and how many there are, with a look at the regions where only that tells."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Mapping, Sequence
from copy import copy
from itertools import repeat
from types import MappingProxyType
from typing import Any, NamedTuple

import sqlalchemy as sa

from butlerql.storage.errors import UnsupportedJoinError
from butlerql.storage.registry.combinations import Combinations
from butlerql.storage.registry.conditions import Condition
from butlerql.storage.registry.dataset_searches import PARENT, Lead
from butlerql.storage.registry.keyed_records import Key
from butlerql.storage.registry.looking import elements_of, holding
from butlerql.storage.registry.pages import (
    MOST,
    OrderBy,
    Ordering,
    Page,
    PageRequest,
    bounds,
    check_key,
    columns_of,
    cut,
    ordered,
    page_in,
    page_statement,
    pages_of,
)
from butlerql.storage.snapshot import Snapshot
from butlerql.storage.statements import Slot, Statements, placed
from butlerql.storage.universe import Element

__all__ = [
    "Leading",
    "Wanted",
    "count",
    "count_each",
    "first_of_each",
    "given_slots",
    "page",
    "page_each",
    "page_of_records",
]

_LOOKED_AT = 1_000
"""Combinations whose regions are looked at first; twice as many each time that they were not enough."""

_MOST_LOOKED_AT = 50_000

_STATEMENTS = 16
"""Statements that are kept of each shape of combinations."""


class Leading(NamedTuple):
    """How combinations are found where each collection is searched on its own; see `lead_of`."""

    lead: Lead

    combine: Callable[[Lead], Combinations]
    """Makes the combinations by an alias of the table of the lead."""


def given_slots(names: Iterable[str]) -> dict[str, Slot]:
    """Give slots for the values of dimensions; see `Wanted.of`."""
    return {name: Slot(f"given_{name}") for name in names}


class Wanted:
    """Dimensions of combinations that are wanted, in the order that they come in.

    Those that have one value by a constraint are not part of keys, so that indexes serve for the others.

    Parameters
    ----------
    combinations
        What exists.
    names
        Dimensions that are wanted.
    constraint
        Values of dimensions, or slots for them.
    leading
        Given if each collection can be searched on its own.
    descending
        For each of the combinations' fields, by which they are ordered before all else, whether it descends.
    """

    def __init__(
        self,
        combinations: Combinations,
        names: Sequence[str],
        constraint: Mapping[str, Any],
        leading: Leading | None = None,
        descending: Sequence[bool] = (),
    ) -> None:
        self.combinations = combinations
        self.leading = leading
        self.constraint = constraint
        self.names = names
        self.free = [name for name in names if name not in constraint]
        self.columns = [combinations.columns[name][0] for name in self.free]
        by: list[OrderBy] = (
            [Ordering(*term) for term in zip(combinations.fields, descending, strict=True)] if self.free else []
        )
        self.order: list[OrderBy] = [*by, *self.columns]
        self.looks = combinations.looks
        self.parameters: Mapping[str, Any] = {}
        self._statements = Statements(_STATEMENTS)

    def of(self, constraint: Mapping[str, Any], condition: Condition | None) -> Wanted:
        """Give the same with the values of the constraint and of the condition of whose shape it was made."""
        asked = copy(self)
        asked.constraint = constraint
        asked.parameters = {slot.name: constraint[name] for name, slot in given_slots(constraint).items()}
        if condition is not None:
            asked.parameters |= condition.parameters
            regions = [look for look in condition.looks if not isinstance(look.other, Element)]
            asked.looks = [look for look in self.looks if isinstance(look.other, Element)] + regions
        return asked

    async def rows(
        self,
        snapshot: Snapshot,
        shape: Hashable,
        make: Callable[[], sa.Select[Any]],
        parameters: Mapping[str, Any] = MappingProxyType({}),
    ) -> Sequence[sa.Row[*tuple[Any, ...]]]:
        """Read what is selected of the combinations.

        Parameters
        ----------
        snapshot
            What to read from.
        shape
            What the statement is made of beside the combinations.
        make
            Puts it together.
        parameters
            The values of its own slots.
        """
        return await snapshot.rows(self._statements.get(shape, make), {**self.parameters, **parameters})

    @property
    def can_share(self) -> bool:
        """Whether one statement can read the combinations of several parents."""
        return bool(self.free) and not self.looks

    def complete(self, keys: Sequence[Key]) -> list[Key]:
        """Make combinations of the keys of a page."""
        if not keys:
            return []
        # Tens of thousands at a time: by columns.
        columns = list(zip(*keys, strict=True))
        known = dict(zip(self.free, columns[len(self.order) - len(self.free) :], strict=True))
        every = (
            repeat(self.constraint[name], len(keys)) if name in self.constraint else known[name] for name in self.names
        )
        return list(zip(*every, strict=True))

    @property
    def records(self) -> sa.FromClause | None:
        """The table of records, if there is one row of it for each row of a page."""
        is_plain = self.free and self.combinations.is_unique and not self.looks and self.leading is None
        return self.combinations.records if is_plain else None

    def select(self) -> sa.Select[Any]:
        """Make a statement without columns that gives each combination once."""
        statement = self.combinations.select()
        return statement if self.combinations.is_unique else statement.distinct()


def first_of_each(combinations: Combinations, names: Iterable[str], descending: Sequence[bool]) -> Combinations:
    """Keep the first of the rows of each combination of some dimensions, in the order of the fields.

    Parameters
    ----------
    combinations
        What exists.
    names
        The dimensions that tell combinations apart.
    descending
        For each of the fields, whether it descends.

    Raises
    ------
    UnsupportedJoinError
        Raised if regions of other dimensions have to be looked at: only that tells which rows there are.
    """
    own = {name: combinations.columns[name][0] for name in (PARENT, *names) if name in combinations.columns}
    if not own.keys() >= {name for element in elements_of(combinations.looks) for name in element.required}:
        raise UnsupportedJoinError(
            "There is no order by what datasets have where the regions of other dimensions than those asked for have "
            "to overlap. Ask for these dimensions, too."
        )
    order = ordered(list(map(Ordering, combinations.fields, descending)), PageRequest(0))
    rows = (
        combinations.select()
        .add_columns(
            *(column.label(name) for name, column in own.items()),
            *(column.label(f"#field{place}") for place, column in enumerate(combinations.fields)),
            sa.func.row_number().over(partition_by=list(own.values()), order_by=order).label("#number"),
        )
        .subquery()
    )
    return Combinations(
        combinations.group,
        columns={name: [rows.c[name]] for name in own},
        source=rows,
        conditions=[rows.c["#number"] == 1],
        looks=combinations.looks,
        fields=[rows.c[f"#field{place}"] for place in range(len(combinations.fields))],
    )


async def page(snapshot: Snapshot, wanted: Wanted, request: PageRequest) -> Page[Key]:
    """Read a page of combinations; a key has what they are ordered by, and the dimensions that are not given.

    Raises
    ------
    BadCursorError
        Raised if the request's keys are not such keys.
    """
    _check_keys(wanted, request)
    if not wanted.free:
        return await _page_of_one(snapshot, wanted, request)
    if wanted.looks:
        keys = [(key, key) async for key in _overlapping(snapshot, wanted, request, request.limit + 1)]
        found: Page[Any] = cut(keys, request)
    elif wanted.leading is not None:
        found = await _page_of_collections(snapshot, wanted, wanted.leading, request)
    else:
        found = await _plain_page(snapshot, wanted, request, "page", wanted.select)
    return _completed(wanted, found)


async def page_of_records(
    snapshot: Snapshot,
    wanted: Wanted,
    request: PageRequest,
    columns: Callable[[sa.FromClause], Sequence[sa.ColumnElement[Any]]],
) -> Page[sa.Row[*tuple[Any, ...]]]:
    """Read a page of combinations, see `page`, with columns of their records: the first ones of the rows.

    Only for those that have `Wanted.records`, and always with the same columns.
    """
    _check_keys(wanted, request)
    records = wanted.records
    assert records is not None
    return await _plain_page(
        snapshot, wanted, request, "records", lambda: wanted.select().add_columns(*columns(records))
    )


def _check_keys(wanted: Wanted, request: PageRequest) -> None:
    for key in (request.after, request.before):
        if key is not None:
            check_key(key, wanted.order)


async def _plain_page(
    snapshot: Snapshot, wanted: Wanted, request: PageRequest, what: str, select: Callable[[], sa.Select[Any]]
) -> Page[Any]:
    """Read a page by one statement."""
    shape = request.shape()

    def statement() -> sa.Select[Any]:
        selected = select()
        if len(wanted.order) == len(wanted.free):
            selected = selected.where(*_first_table_bounds(wanted.columns, shape))
        return page_statement(selected, wanted.order, shape, MOST)

    rows = await wanted.rows(snapshot, (what, shape), statement, request.parameters())
    return page_in(rows, len(wanted.order), request)


async def _page_of_collections(snapshot: Snapshot, wanted: Wanted, leading: Leading, request: PageRequest) -> Page[Any]:
    """Read the begin of what each collection has, and make one page of it.

    Index: the unique one of the tags table, one range a collection.
    """
    shape = request.shape()

    def first_rows(table: sa.FromClause) -> sa.Select[Any]:
        made = leading.combine(Lead(leading.lead.collections, table))
        columns = [made.columns[name][0] for name in wanted.free]
        statement = made.select().where(*bounds(columns, shape)).order_by(*ordered(columns, shape))
        return statement.limit(MOST)

    def statement() -> sa.Select[Any]:
        dialect = snapshot.repository.dialect
        source, table, tied = dialect.top_rows(leading.lead.collections, leading.lead.table, first_rows)
        selected = sa.select().select_from(source).where(*tied).distinct()
        return page_statement(selected, [table.c[name] for name in wanted.free], shape, MOST)

    rows = await wanted.rows(snapshot, ("page of collections", shape), statement, request.parameters())
    return page_in(rows, len(wanted.free), request)


async def page_each(snapshot: Snapshot, wanted: Wanted, parents: int, request: PageRequest) -> list[Page[Key]]:
    """Read the same page for each of several parents in one statement, which reads all combinations of all of them.

    Not for combinations whose regions have to be looked at.
    """
    named = [column.label(f"_{place}") for place, column in enumerate(columns_of(wanted.order))]
    each = wanted.select().add_columns(wanted.combinations.parent.label("_parent"), *named).subquery()
    order = [
        Ordering(each.c[f"_{place}"], term.is_descending) if isinstance(term, Ordering) else each.c[f"_{place}"]
        for place, term in enumerate(wanted.order)
    ]
    pages = await pages_of(
        snapshot, sa.select(), each.c["_parent"], order, parents, request, parameters=wanted.parameters
    )
    return [_completed(wanted, found) for found in pages]


async def count(snapshot: Snapshot, wanted: Wanted) -> int:
    """Count all combinations."""
    if not wanted.free:
        return len((await _page_of_one(snapshot, wanted, PageRequest(1))).rows)
    if wanted.looks:
        return len([None async for _ in _overlapping(snapshot, wanted, PageRequest(0), None)])

    def statement() -> sa.Select[Any]:
        if wanted.combinations.is_unique:
            return wanted.select().add_columns(sa.func.count())
        return sa.select(sa.func.count()).select_from(wanted.select().add_columns(*wanted.columns).subquery())

    return int((await wanted.rows(snapshot, "count", statement))[0][0])


async def count_each(snapshot: Snapshot, wanted: Wanted, parents: int) -> list[int]:
    """Count the combinations of each of several parents in one statement; see `page_each`."""

    def statement() -> sa.Select[Any]:
        each = wanted.select().add_columns(wanted.combinations.parent.label("_parent"), *wanted.columns).subquery()
        parent = each.c["_parent"]
        return sa.select(parent, sa.func.count()).group_by(parent)

    counts = [0] * parents
    for index, number in await wanted.rows(snapshot, "count of each", statement):
        counts[index] = number
    return counts


def _completed(wanted: Wanted, found: Page[Any]) -> Page[Key]:
    return Page(wanted.complete(found.keys), found.keys, found.has_next, found.has_previous)


async def _page_of_one(snapshot: Snapshot, wanted: Wanted, request: PageRequest) -> Page[Key]:
    """Read the page of the one combination that there can be if every dimension is given."""
    if request.after is not None or request.before is not None:
        return Page([], [], has_next=request.before is not None, has_previous=request.after is not None)
    if wanted.looks:
        exists = bool([None async for _ in _overlapping(snapshot, wanted, request, 1)])
    else:

        def statement() -> sa.Select[Any]:
            return wanted.combinations.select().add_columns(sa.literal(1)).limit(1)

        exists = bool(await wanted.rows(snapshot, "one", statement))
    rows: list[tuple[Key, Key]] = [((), tuple(map(wanted.constraint.__getitem__, wanted.names)))] if exists else []
    return cut(rows, request)


def _first_table_bounds(columns: Sequence[sa.ColumnElement[Any]], request: PageRequest) -> list[sa.ColumnElement[bool]]:
    """Bounds of the columns that the order begins with and that are of one table.

    They follow from those of all columns, but those no index can use if they are of several tables.
    """
    tables = [getattr(column, "table", None) for column in columns]
    size = next((index for index, table in enumerate(tables) if table is not tables[0]), len(tables))
    if size == len(tables):
        return []
    return [
        sa.tuple_(*columns[:size]).op(operator, is_comparison=True)(
            sa.tuple_(*(placed(value, column.type) for value, column in zip(key[:size], columns[:size], strict=True)))
        )
        for key, operator in ((request.after, ">="), (request.before, "<="))
        if key is not None
    ]


async def _overlapping(
    snapshot: Snapshot, wanted: Wanted, request: PageRequest, limit: int | None
) -> AsyncIterator[Key]:
    """Go through the keys of combinations whose regions overlap as they have to, in the order of the request."""
    looks = wanted.looks
    size = len(wanted.order)
    more = [name for element in elements_of(looks) for name in element.required]
    names = [name for name in dict.fromkeys(more) if name not in wanted.constraint and name not in wanted.free]
    order = [*wanted.order, *(wanted.combinations.columns[name][0] for name in names)]
    # Where everything is given, a row is all that is asked for.
    columns = columns_of(order) or [sa.literal(1)]
    shape = request.shape()
    number = _LOOKED_AT
    last: Key | None = None
    found: Key | None = None
    while True:
        rest = PageRequest(number - 1, before=last) if request.backward else PageRequest(number - 1, after=last)

        keys = rest.shape("rest_")

        def statement(keys: PageRequest = keys) -> sa.Select[Any]:
            selected = wanted.combinations.select().distinct().add_columns(*columns)
            selected = selected.where(*bounds(wanted.order, shape), *bounds(order, keys))
            return selected.order_by(*ordered(order, request)).limit(MOST)

        parameters = {**request.parameters(), **rest.parameters("rest_")}
        rows = await wanted.rows(snapshot, ("overlapping", shape, keys), statement, parameters)
        if not rows:
            return
        for row, holds in zip(rows, await holding(snapshot, looks, _known(wanted, names, rows)), strict=True):
            key = tuple(row[:size])
            if holds and key != found:
                found = key
                yield key
                if limit is not None:
                    limit -= 1
                    if not limit:
                        return
        if len(rows) < number:
            return
        last = tuple(rows[-1])
        number = min(2 * number, _MOST_LOOKED_AT)


def _known(wanted: Wanted, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, Sequence[Any]]:
    """Values of the dimensions of rows, by dimension."""
    free = [*wanted.free, *names]
    begin = len(wanted.order) - len(wanted.free)
    given = {name: [value] * len(rows) for name, value in wanted.constraint.items()}
    return given | dict(zip(free, list(zip(*rows, strict=True))[begin : begin + len(free)], strict=True))
