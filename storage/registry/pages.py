"""Keyset pages: a page begins behind the last row of the one before, wherever that row is now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from butlerql.storage.errors import BadCursorError
from butlerql.storage.snapshot import Snapshot

__all__ = ["Key", "Page", "PageRequest", "bounds", "check_key", "cut", "cut_page", "ordered", "page_of", "pages_of"]

Row = TypeVar("Row")

Key = tuple[Any, ...]
"""Values of the columns that order a connection, of one row: what a cursor holds. No two rows have the same."""


class PageRequest(NamedTuple):
    """Which part of an ordered set: up to ``limit`` rows between two keys, both exclusive, from either end."""

    limit: int
    backward: bool = False
    after: Key | None = None
    before: Key | None = None


class Page(NamedTuple, Generic[Row]):
    """A part of an ordered set, always in the set's order, and whether there is more on either side."""

    rows: list[Row]
    keys: Sequence[Key]
    has_next: bool
    has_previous: bool


def check_key(key: Key, types: Sequence[TypeEngine[Any]]) -> None:
    """See that a key has the values that a cursor of this connection would have.

    Raises
    ------
    BadCursorError
        Raised if it has not: somebody made the cursor up.
    """
    fits = len(key) == len(types) and all(
        type(value) is kind.python_type and (type(value) is not int or -(2**63) <= value < 2**63)
        for value, kind in zip(key, types, strict=True)
    )
    if not fits:
        raise BadCursorError("This is not a cursor of this field. Use one that it gave, as it was given.")


def bounds(columns: Sequence[sa.ColumnElement[Any]], request: PageRequest) -> list[sa.ColumnElement[bool]]:
    """Conditions that a row is between the keys of a request."""
    conditions: list[sa.ColumnElement[bool]] = []
    for key, operator in ((request.after, ">"), (request.before, "<")):
        if key is not None:
            check_key(key, [column.type for column in columns])
            values = [
                sa.bindparam(None, value, type_=column.type, unique=True)
                for value, column in zip(key, columns, strict=True)
            ]
            conditions.append(sa.tuple_(*columns).op(operator, is_comparison=True)(sa.tuple_(*values)))
    return conditions


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


def ordered(columns: Sequence[sa.ColumnElement[Any]], request: PageRequest) -> list[sa.ColumnElement[Any]]:
    """Columns of an order, in the direction of a request."""
    return [column.desc() if request.backward else column.asc() for column in columns]


async def page_of(
    snapshot: Snapshot, statement: sa.Select[Any], key: Sequence[sa.ColumnElement[Any]], request: PageRequest
) -> Page[sa.Row[*tuple[Any, ...]]]:
    """Read one page of a statement.

    Parameters
    ----------
    snapshot
        What to read from.
    statement
        What to page through, without order and limit.
    key
        Columns of the order; together they are unique and not NULL. They are appended to the rows that come back.
    request
        Which page.
    """
    found = await snapshot.rows(
        statement.add_columns(*key)
        .where(*bounds(key, request))
        .order_by(*ordered(key, request))
        .limit(request.limit + 1)
    )
    size = len(key)
    return cut([(tuple(row[-size:]), row) for row in found], request)


async def pages_of(
    snapshot: Snapshot,
    statement: sa.Select[Any],
    parent: sa.ColumnElement[int],
    key: Sequence[sa.ColumnElement[Any]],
    parents: int,
    request: PageRequest,
) -> list[Page[sa.Row[*tuple[Any, ...]]]]:
    """Read the same page of a statement for each of many parents, in one statement.

    ``parent`` is the column that holds a parent's index, 0 to ``parents - 1``. The database reads all rows of each
    parent, so this is for sets that stay small (dataset types, collections), not for datasets.
    """
    order = ordered(key, request)
    ranked = (
        statement.add_columns(*key, parent.label("_parent"))
        .where(*bounds(key, request))
        .add_columns(sa.func.row_number().over(partition_by=parent, order_by=order).label("_rank"))
        .subquery()
    )
    found = await snapshot.rows(
        sa.select(ranked).where(ranked.c["_rank"] <= request.limit + 1).order_by(ranked.c["_parent"], ranked.c["_rank"])
    )
    size = len(key)
    by_parent: list[list[tuple[Key, sa.Row[*tuple[Any, ...]]]]] = [[] for _ in range(parents)]
    for row in found:
        by_parent[row[-2]].append((tuple(row[-2 - size : -2]), row))
    return [cut(rows, request) for rows in by_parent]
