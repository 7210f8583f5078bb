"""Looking for single rows."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

__all__ = ["one_of"]


def one_of(rows: sa.Select[Any], outer: sa.FromClause) -> sa.ScalarSelect[Any]:
    """Give the value of one row, NULL if there is none: looked up by index for each row of an outer table.

    PostgreSQL makes a join of EXISTS. Without statistics, as it has none of a state that was just filled, it goes
    through all of a table for some thousand rows of the other.
    """
    return rows.limit(1).correlate(outer).scalar_subquery()
