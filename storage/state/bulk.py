"""Rows of own state, written by the ten thousand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.dialect import Dialect

__all__ = ["add_rows", "change_rows"]


async def add_rows(
    connection: AsyncConnection, dialect: Dialect, table: sa.Table, rows: Sequence[Sequence[Any]], *names: str
) -> None:
    """Insert rows; those that are there already stay as they are.

    Parameters
    ----------
    rows
        Values of the columns, fit for the driver: a UUID is 32 digits.
    names
        Of the columns; all if none is named.
    """
    chosen = names or table.c.keys()
    if rows and dialect.takes_arrays:
        given = dialect.rows("given", {name: table.c[name].type for name in chosen}, rows)
        new = dialect.insert(table).from_select(chosen, sa.select(given))
        await connection.execute(new.on_conflict_do_nothing())
    elif rows:
        values = {name: sa.bindparam(f"new_{name}", type_=table.c[name].type) for name in chosen}
        await _execute_many(connection, dialect.insert(table).values(values).on_conflict_do_nothing(), rows)


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
        await _execute_many(connection, sa.update(table).values(values).where(*key), rows)


async def _execute_many(
    connection: AsyncConnection, statement: sa.Insert | sa.Update, rows: Sequence[Sequence[Any]]
) -> None:
    # The driver gets the rows as they are: to have SQLAlchemy look at each takes longer than to write it.
    compiled = statement.compile(dialect=connection.dialect)
    await connection.exec_driver_sql(str(compiled), list(map(tuple, rows)))
