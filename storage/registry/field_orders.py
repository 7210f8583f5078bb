"""Orders by fields: their names as the API spells them, a minus in front of what descends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from butlerql.storage.errors import InvalidExpressionError
from butlerql.storage.registry.pages import OrderBy, Ordering

__all__ = ["field_order"]


def field_order(
    names: Sequence[str],
    fields: Mapping[str, Sequence[sa.ColumnElement[Any]]],
    unique: Sequence[sa.ColumnElement[Any]],
) -> list[OrderBy]:
    """Find what names of fields say to order by.

    Parameters
    ----------
    names
        What was asked for, the most significant first.
    fields
        What may be ordered by, and the columns that each of them means.
    unique
        Columns, never NULL, that no two rows have the same: they put in order what is alike in all that was asked for.

    Returns
    -------
    order
        Each column once.

    Raises
    ------
    InvalidExpressionError
        Raised if something is not one of the fields.
    """
    order: dict[sa.ColumnElement[Any], OrderBy] = {}
    for name in names:
        columns = fields.get(name.removeprefix("-"))
        if columns is None:
            raise InvalidExpressionError(
                f"Nothing can be ordered by '{name}'. What can be ordered by is {', '.join(fields)}, "
                "each with or without a minus in front."
            )
        for column in columns:
            order.setdefault(column, Ordering(column, name.startswith("-")))
    for column in unique:
        order.setdefault(column, column)
    return list(order.values())
