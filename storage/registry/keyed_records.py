"""Records of an element by the values of its required dimensions, however many at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from butlerql.storage.snapshot import Snapshot
from butlerql.storage.universe import Element

__all__ = ["Key", "select_records"]

Key = tuple[Any, ...]
"""Values of dimensions."""


def select_records(snapshot: Snapshot, element: Element, table: sa.FromClause, keys: Sequence[Key]) -> sa.Select[Any]:
    """Select the required dimensions of some records; add the columns that are wanted.

    Uses the primary key.

    Parameters
    ----------
    snapshot
        What the statement is for.
    element
        Has a table, or its values are those of another one's records.
    table
        Its table, as `Tables.element` gives it.
    keys
        Values of its required dimensions; at least one, each once.
    """
    tables = snapshot.repository.tables
    kinds = {name: tables.dimension_type(name) for name in element.required}
    columns = {name: table.c[element.column_of(name)] for name in kinds}
    statement = sa.select(*columns.values()).select_from(table)
    *others, last = kinds
    first = keys[0][:-1]
    if all(key[:-1] == first for key in keys):
        # Of one instrument, as nearly always: a list of numbers is twice as fast as a table of pairs.
        wanted = snapshot.repository.dialect.rows("wanted", {last: kinds[last]}, [key[-1:] for key in keys])
        return statement.where(
            *(columns[name] == value for name, value in zip(others, first, strict=True)),
            columns[last].in_(sa.select(wanted.c[last])),
        )
    wanted = snapshot.repository.dialect.rows("wanted", kinds, keys)
    return statement.join(wanted, sa.and_(*(columns[name] == wanted.c[name] for name in kinds)))
