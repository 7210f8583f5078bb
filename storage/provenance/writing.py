"""Rows of provenance: their numbers, and those of what is known by a name."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.dialect import Dialect
from butlerql.storage.state.bulk import add_rows
from butlerql.storage.state.tables import REGISTRY

__all__ = ["alone", "cleaned", "next_number", "numbers_of"]


async def alone(connection: AsyncConnection) -> None:
    """Wait until nobody else takes anything in; numbers of rows can be given out until the transaction ends."""
    # On SQLite whoever writes is alone in any case.
    await connection.execute(sa.select(REGISTRY).with_for_update())


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
