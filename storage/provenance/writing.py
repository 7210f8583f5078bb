"""Rows of provenance: written by the ten thousand, and the numbers of what is known by a name."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.dialect import Dialect
from butlerql.storage.state.tables import REGISTRY

__all__ = ["add_rows", "alone", "change_rows", "cleaned", "next_number", "numbers_of"]


async def alone(connection: AsyncConnection) -> None:
    """Wait until nobody else takes anything in; numbers of rows can be given out until the transaction ends."""
    # On SQLite whoever writes is alone in any case.
    await connection.execute(sa.select(REGISTRY).with_for_update())


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


async def next_number(connection: AsyncConnection, table: sa.Table) -> int:
    """Give the first number that no row has, to who is `alone`."""
    return int(await connection.scalar(sa.select(sa.func.coalesce(sa.func.max(table.c.id), 0))) or 0) + 1


async def numbers_of(
    connection: AsyncConnection, dialect: Dialect, table: sa.Table, names: Collection[str], **others: Any
) -> dict[str, int]:
    """Find the numbers of names in a table of names; those that are not there are added.

    Parameters
    ----------
    others
        What other columns hold in rows that are added.
    """
    given = dialect.rows("given", {"name": sa.Text()}, [(name,) for name in names])
    found = sa.select(table.c.name, table.c.id).join(given, given.c.name == table.c.name)
    known = {row.name: row.id for row in await connection.execute(found)} if names else {}
    new = sorted(set(names) - known.keys())
    if new:
        start = await next_number(connection, table)
        added = {name: start + place for place, name in enumerate(new)}
        await add_rows(
            connection,
            dialect,
            table,
            [(number, name, *others.values()) for name, number in added.items()],
            "id",
            "name",
            *others,
        )
        known |= added
    return known


def cleaned(text: str | None) -> str | None:
    """Take out of a text for people what no database holds."""
    if text is None or (text.isascii() and "\0" not in text):
        return text
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()
