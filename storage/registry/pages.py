"""Keyset pages: a page begins behind the last row of the one before, wherever that row is now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import sqlalchemy as sa

from butlerql.storage.errors import BadCursorError
from butlerql.storage.snapshot import Snapshot
from butlerql.storage.statements import Slot, placed

__all__ = [
    "MOST",
    "Key",
    "OrderBy",
    "Ordering",
    "Page",
    "PageRequest",
    "bounds",
    "check_key",
    "columns_of",
    "cut",
    "cut_page",
    "ordered",
    "page_in",
    "page_of",
    "page_statement",
    "pages_of",
]

Row = TypeVar("Row")

Key = tuple[Any, ...]
"""Values of the columns that order a connection, of one row: what a cursor holds. No two rows have the same."""


class PageRequest(NamedTuple):
    """Which part of an ordered set: up to ``limit`` rows between two keys, both exclusive, from either end."""

    limit: int
    backward: bool = False
    after: Key | None = None
    before: Key | None = None

    def shape(self, name: str = "") -> PageRequest:
        """Give the same with slots in place of what is in the keys, and without the limit, which is `MOST`.

        Parameters
        ----------
        name
            What the slots' names begin with: different, where one statement is made of several requests.
        """
        after, before = (
            None if key is None else tuple(None if value is None else slot for slot, value in _slots(end, key))
            for end, key in ((f"{name}after", self.after), (f"{name}before", self.before))
        )
        return PageRequest(0, self.backward, after, before)

    def parameters(self, name: str = "") -> dict[str, Any]:
        """Give the values of the slots. One row more than the page has tells whether there are more."""
        keys = ((f"{name}after", self.after or ()), (f"{name}before", self.before or ()))
        found = {slot.name: value for end, key in keys for slot, value in _slots(end, key)}
        return {**found, "most": self.limit + 1}


MOST = placed(Slot("most"), sa.Integer())
"""How many rows to read, in what is made of the shape of a request."""


def _slots(name: str, key: Key) -> Iterator[tuple[Slot, Any]]:
    return ((Slot(f"{name}_{place}"), value) for place, value in enumerate(key))


class Page(NamedTuple, Generic[Row]):
    """A part of an ordered set, always in the set's order, and whether there is more on either side."""

    rows: list[Row]
    keys: Sequence[Key]
    has_next: bool
    has_previous: bool


class Ordering(NamedTuple):
    """A column that orders a set, and may be NULL: NULLs come last, whichever way it goes."""

    column: sa.ColumnElement[Any]
    is_descending: bool = False


OrderBy = sa.ColumnElement[Any] | Ordering
"""A column that orders a set; one by itself ascends and is never NULL, so that indexes serve."""


def columns_of(order: Sequence[OrderBy]) -> list[sa.ColumnElement[Any]]:
    """List the columns of an order."""
    return [term.column if isinstance(term, Ordering) else term for term in order]


def check_key(key: Key, order: Sequence[OrderBy]) -> None:
    """See that a key has the values that a cursor of this connection would have.

    Raises
    ------
    BadCursorError
        Raised if it has not: somebody made the cursor up.
    """
    fits = len(key) == len(order) and all(
        (value is None and isinstance(term, Ordering))
        or isinstance(value, Slot)
        or (type(value) is column.type.python_type and (type(value) is not int or -(2**63) <= value < 2**63))
        for value, term, column in zip(key, order, columns_of(order), strict=True)
    )
    if not fits:
        raise BadCursorError("This is not a cursor of this field. Use one that it gave, as it was given.")


def bounds(order: Sequence[OrderBy], request: PageRequest) -> list[sa.ColumnElement[bool]]:
    """Conditions that a row is between the keys of a request."""
    conditions: list[sa.ColumnElement[bool]] = []
    columns = columns_of(order)
    for key, is_after in ((request.after, True), (request.before, False)):
        if key is None:
            continue
        check_key(key, order)
        values = [placed(value, column.type) for value, column in zip(key, columns, strict=True)]
        if any(isinstance(term, Ordering) for term in order):
            conditions.append(_beyond(order, key, values, is_after=is_after))
        else:
            operator = ">" if is_after else "<"
            conditions.append(sa.tuple_(*columns).op(operator, is_comparison=True)(sa.tuple_(*values)))
    return conditions


def _beyond(
    order: Sequence[OrderBy], key: Key, values: Sequence[sa.ColumnElement[Any]], *, is_after: bool
) -> sa.ColumnElement[bool]:
    """Condition that a row stands behind (or in front of) a key, term by term."""
    cases: list[sa.ColumnElement[bool]] = []
    same: list[sa.ColumnElement[bool]] = []
    for term, content, value in zip(order, key, values, strict=True):
        column, is_descending = (term.column, term.is_descending) if isinstance(term, Ordering) else (term, False)
        if content is None:
            if not is_after:
                cases.append(sa.and_(*same, column.is_not(None)))
            same.append(column.is_(None))
            continue
        farther: sa.ColumnElement[bool] = column > value if is_after is not is_descending else column < value
        if isinstance(term, Ordering) and is_after:
            farther = sa.or_(farther, column.is_(None))
        cases.append(sa.and_(*same, farther))
        same.append(column == value)
    return sa.or_(sa.false(), *cases)


def cut(rows: Sequence[tuple[Key, Row]], request: PageRequest) -> Page[Row]:
    """Make a page of up to ``limit + 1`` rows in the order of the request (from the end, if it goes backward)."""
    kept = list(rows[: request.limit])
    if request.backward:
        kept.reverse()
    more = len(rows) > request.limit
    return cut_page([row for _, row in kept], [key for key, _ in kept], request, more=more)


def cut_page(rows: list[Row], keys: Sequence[Key], request: PageRequest, *, more: bool) -> Page[Row]:
    """Make a page of its rows; ``more`` tells whether there are others behind its end, as the request goes."""
    return Page(
        rows,
        keys,
        has_next=request.before is not None if request.backward else more,
        has_previous=more if request.backward else request.after is not None,
    )


def ordered(order: Sequence[OrderBy], request: PageRequest) -> list[sa.ColumnElement[Any]]:
    """Columns of an order, in the direction of a request."""
    result: list[sa.ColumnElement[Any]] = []
    for term in order:
        if isinstance(term, Ordering):
            down = term.is_descending is not request.backward
            column = term.column.desc() if down else term.column.asc()
            result.append(column.nulls_first() if request.backward else column.nulls_last())
        else:
            result.append(term.desc() if request.backward else term.asc())
    return result


async def page_of(
    snapshot: Snapshot, statement: sa.Select[Any], key: Sequence[OrderBy], request: PageRequest
) -> Page[sa.Row[*tuple[Any, ...]]]:
    """Read one page of a statement.

    Parameters
    ----------
    snapshot
        What to read from.
    statement
        What to page through, without order and limit.
    key
        Columns of the order; together they are unique. They are appended to the rows that come back.
    request
        Which page.
    """
    found = await snapshot.rows(page_statement(statement, key, request, request.limit + 1))
    return page_in(found, len(key), request)


def page_statement(
    statement: sa.Select[Any], key: Sequence[OrderBy], request: PageRequest, most: int | sa.ColumnElement[int]
) -> sa.Select[Any]:
    """Select so many rows of a page; see `page_of`."""
    paged = statement.add_columns(*columns_of(key)).where(*bounds(key, request))
    return paged.order_by(*ordered(key, request)).limit(most)


def page_in(
    found: Sequence[sa.Row[*tuple[Any, ...]]], size: int, request: PageRequest
) -> Page[sa.Row[*tuple[Any, ...]]]:
    """Make a page of what a `page_statement` found, whose keys have so many columns."""
    return cut([(tuple(row[-size:]), row) for row in found], request)


async def pages_of(
    snapshot: Snapshot,
    statement: sa.Select[Any],
    parent: sa.ColumnElement[int],
    key: Sequence[OrderBy],
    parents: int,
    request: PageRequest,
    *,
    parameters: Mapping[str, Any] | None = None,
) -> list[Page[sa.Row[*tuple[Any, ...]]]]:
    """Read the same page of a statement for each of many parents, in one statement, which may have slots.

    ``parent`` is the column that holds a parent's index, 0 to ``parents - 1``. The database reads all rows of each
    parent, so this is for sets that stay small (dataset types, collections), not for datasets.
    """
    order = ordered(key, request)
    ranked = (
        statement.add_columns(*columns_of(key), parent.label("_parent"))
        .where(*bounds(key, request))
        .add_columns(sa.func.row_number().over(partition_by=parent, order_by=order).label("_rank"))
        .subquery()
    )
    found = await snapshot.rows(
        sa.select(ranked)
        .where(ranked.c["_rank"] <= request.limit + 1)
        .order_by(ranked.c["_parent"], ranked.c["_rank"]),
        parameters,
    )
    size = len(key)
    by_parent: list[list[tuple[Key, sa.Row[*tuple[Any, ...]]]]] = [[] for _ in range(parents)]
    for row in found:
        by_parent[row[-2]].append((tuple(row[-2 - size : -2]), row))
    return [cut(rows, request) for rows in by_parent]
