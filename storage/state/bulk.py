"""Rows of own state, written by the ten thousand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.dialect import Dialect

__all__ = ["add_columns", "add_rows", "change_rows"]


_TOGETHER = 100
"""How many rows SQLite is given in one statement: to begin and end one takes as long as to insert a short row."""

# The driver looks for somebody who can write a truth value down, for each of them.
_NUMBERS = {None: None, False: 0, True: 1}


async def add_rows(
    connection: AsyncConnection, dialect: Dialect, table: sa.Table, rows: Sequence[Sequence[Any]], *names: str
) -> int:
    """Insert rows; those that are there already stay as they are.

    Parameters
    ----------
    rows
        Values of the columns, fit for the driver: a UUID is 32 digits.
    names
        Of the columns; all if none is named.

    Returns
    -------
    added
        How many were not there.
    """
    return await add_columns(connection, dialect, table, list(zip(*rows, strict=True)), *names)


async def add_columns(
    connection: AsyncConnection, dialect: Dialect, table: sa.Table, columns: Sequence[Sequence[Any]], *names: str
) -> int:
    """Insert rows, as `add_rows` does, of columns of the same length."""
    number = len(columns[0]) if columns else 0
    if not number:
        return 0
    chosen = names or tuple(table.c.keys())
    if dialect.takes_arrays:
        kinds = {name: table.c[name].type for name in chosen}
        given = dialect.columns("given", kinds, columns)
        new = dialect.insert(table).from_select(chosen, sa.select(given))
        return (await connection.execute(new.on_conflict_do_nothing())).rowcount
    values = _in_one(table, chosen, columns)
    whole, size = len(chosen) * (number - number % _TOGETHER), len(chosen) * _TOGETHER
    added = 0
    if whole:
        many = [tuple(values[begin : begin + size]) for begin in range(0, whole, size)]
        added += (await connection.exec_driver_sql(_insert(connection, table, chosen, _TOGETHER), many)).rowcount
    if left := tuple(values[whole:]):
        statement = _insert(connection, table, chosen, number % _TOGETHER)
        added += (await connection.exec_driver_sql(statement, left)).rowcount
    return added


def _insert(connection: AsyncConnection, table: sa.Table, names: Sequence[str], rows: int) -> str:
    """Write a statement for SQLite that inserts so many rows."""
    quoted = connection.dialect.identifier_preparer
    columns = ", ".join(quoted.format_column(table.c[name]) for name in names)
    row = f"({', '.join('?' * len(names))})"
    # Whoever fails here gives the transaction up. By default SQLite would keep a copy of each page that a statement
    # changes, to undo it alone.
    return (
        f"INSERT OR FAIL INTO {quoted.format_table(table)} ({columns}) "  # noqa: S608 - names of ours, quoted
        f"VALUES {', '.join([row] * rows)} ON CONFLICT DO NOTHING"
    )


def _in_one(table: sa.Table, names: Sequence[str], columns: Sequence[Sequence[Any]]) -> list[Any]:
    """Put the values of rows one behind the other."""
    values: list[Any] = [None] * (len(names) * len(columns[0]))
    for place, (name, column) in enumerate(zip(names, columns, strict=True)):
        is_truth = isinstance(table.c[name].type, sa.Boolean)
        values[place :: len(names)] = map(_NUMBERS.__getitem__, column) if is_truth else column
    return values


async def change_rows(connection: AsyncConnection, table: sa.Table, rows: Sequence[Sequence[Any]], *names: str) -> None:
    """Change columns of rows that are told by their primary key.

    Parameters
    ----------
    rows
        Values of the columns, and after them of the key.
    names
        Of the columns that change.
    """
    if rows:
        values = {name: sa.bindparam(f"new_{name}", type_=table.c[name].type) for name in names}
        key = [column == sa.bindparam(f"key_{column.name}", type_=column.type) for column in table.primary_key]
        # The driver gets the rows as they are: to have SQLAlchemy look at each takes longer than to write it.
        compiled = sa.update(table).values(values).where(*key).compile(dialect=connection.dialect)
        await connection.exec_driver_sql(str(compiled), list(map(tuple, rows)))
