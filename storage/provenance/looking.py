"""Looking for single rows."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

__all__ = ["one_of"]


def one_of(rows: sa.Select[Any], outer: sa.FromClause) -> sa.ScalarSelect[Any]:
    """Give the value of one row, NULL if there is none: looked up by index for each row of an outer table.

    The databases make a join of EXISTS. Without statistics, as there are none of a state that was just filled, that
    goes through all of a table for some thousand rows of the other; or a page looks at more rows than it goes through.
    """
    return rows.limit(1).correlate(outer).scalar_subquery()
