"""Records of an element by the values of its required dimensions, however many at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import Any

import sqlalchemy as sa

from butlerql.storage.snapshot import Snapshot
from butlerql.storage.statements import Slot, placed
from butlerql.storage.universe import Element

__all__ = ["Key", "known_implied", "read_records", "remember_implied"]

Key = tuple[Any, ...]
"""Values of dimensions."""

Columns = Callable[[sa.FromClause], Sequence[sa.ColumnElement[Any]]]
"""Gives columns of a table of records."""

_WANTED = "wanted"


def known_implied(snapshot: Snapshot, element: Element) -> dict[Key, Key]:
    """Give what records are known to imply, by their required dimensions."""
    known: dict[Key, Key] = snapshot.cache.setdefault(("implied by", element.name), {})
    return known


def remember_implied(snapshot: Snapshot, element: Element, names: Sequence[str], rows: Iterable[Key]) -> None:
    """Note what records imply, of which these columns were read."""
    columns = list(zip(*rows, strict=True))
    if columns:
        required = zip(*(columns[names.index(element.column_of(name))] for name in element.required), strict=True)
        implied = zip(*(columns[names.index(name)] for name in element.implied), strict=True)
        known_implied(snapshot, element).update(zip(required, implied if element.implied else repeat(()), strict=False))


async def read_records(
    snapshot: Snapshot, element: Element, keys: Sequence[Key], what: str, columns: Columns
) -> dict[Key, Key]:
    """Read columns of some records, by their required dimensions; what does not exist is left out.

    What they imply is read with it, since that is nearly always asked next. Uses the primary key.

    Parameters
    ----------
    snapshot
        What to read from.
    element
        Has a table, or its values are those of another one's records.
    keys
        Values of its required dimensions; at least one, each once.
    what
        Names the columns: what was made of them is kept.
    columns
        Gives them.
    """
    repository = snapshot.repository
    kinds = {name: repository.tables.dimension_type(name) for name in element.required}
    *others, last = kinds
    first = keys[0][:-1]
    # Of one instrument, as nearly always: a list of numbers is twice as fast as a table of pairs.
    is_list = all(key[:-1] == first for key in keys)
    if is_list:
        parameters = repository.dialect.given(_WANTED, {last: kinds[last]}, [key[-1:] for key in keys])
        parameters |= {_slot(name).name: value for name, value in zip(others, first, strict=True)}
    else:
        parameters = repository.dialect.given(_WANTED, kinds, keys)

    def make() -> sa.Select[Any]:
        table = repository.tables.element(element)
        own = {name: table.c[element.column_of(name)] for name in kinds}
        implied = (table.c[name] for name in element.implied)
        statement = sa.select(*own.values(), *implied, *columns(table)).select_from(table)
        if is_list:
            wanted = repository.dialect.slots(_WANTED, {last: kinds[last]})
            return statement.where(
                *(own[name] == placed(_slot(name), kinds[name]) for name in others),
                own[last].in_(sa.select(wanted.c[last])),
            )
        wanted = repository.dialect.slots(_WANTED, kinds)
        return statement.join(wanted, sa.and_(*(own[name] == wanted.c[name] for name in kinds)))

    statement = repository.statements.get(("records", element, what, is_list), make)
    size, end = len(kinds), len(kinds) + len(element.implied)
    known = known_implied(snapshot, element)
    found: dict[Key, Key] = {}
    for row in map(tuple, await snapshot.rows(statement, parameters)):
        found[row[:size]] = row[end:]
        known[row[:size]] = row[size:end]
    return found


def _slot(name: str) -> Slot:
    return Slot(f"of_{name}")
