"""Statements that are put together once and run with other values each time.

To put a statement together takes longer than to run it. So what it is made of is taken apart into its shape, which
stays the same from one question to the next of the kind, and its values, for which the shape has slots. It is put
together of the shape alone: what makes it never sees a value, so that none can stay in it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from butlerql.storage.kept import Kept

__all__ = ["Slot", "Statements", "placed"]

T = TypeVar("T")

_MOST = 300
"""How many are kept: each takes about a hundred kilobytes."""


class Slot(NamedTuple):
    """Stands for a value that is given when the statement is run, as the parameter of this name."""

    name: str


def placed(value: Any, kind: TypeEngine[Any]) -> sa.ColumnElement[Any]:
    """Give what stands for a value, or for the value of a slot, in SQL; a column stands for itself."""
    if isinstance(value, Slot):
        return sa.bindparam(value.name, type_=kind)
    return value if isinstance(value, sa.ColumnElement) else sa.literal(value, kind)


class Statements:
    """What was put together lately, by shape.

    Parameters
    ----------
    most
        How many are kept.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._kept = Kept(most)

    def get(self, shape: Hashable, make: Callable[[], T]) -> T:
        """Give what has a shape, made if it is not there.

        Parameters
        ----------
        shape
            Everything that it is made of; None if that has no shape, so that it is made anew.
        make
            Puts it together.
        """
        if shape is None:
            return make()
        found: T | None = self._kept.get(shape)
        if found is None:
            found = make()
            if isinstance(found, sa.Executable):
                _remember_key(found)
            self._kept.setdefault(shape, found)
        return found


def _remember_key(statement: Any) -> None:
    """Let SQLAlchemy find the compiled statement without going through all parts of this one each time."""
    key = statement._generate_cache_key()  # noqa: SLF001 - it has no other name
    statement._generate_cache_key = lambda: key  # noqa: SLF001
