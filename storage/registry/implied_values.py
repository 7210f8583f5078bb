"""Values that a data ID implies, looked up in SQL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from butlerql.storage.tables import Tables
from butlerql.storage.universe import DimensionGroup

__all__ = ["implied_value"]


def implied_value(
    tables: Tables, group: DimensionGroup, columns: Mapping[str, sa.ColumnElement[Any]], dimension: str
) -> sa.ColumnElement[Any]:
    """Value of any dimension of a group, looked up in records where no column has it.

    Parameters
    ----------
    tables
        The repository's tables.
    group
        Dimensions of the rows that ``columns`` are of.
    columns
        Columns that hold the required dimensions.
    dimension
        What is looked for; one of the group.
    """
    if dimension in columns:
        return columns[dimension]
    element = next(element for element in group.elements if dimension in element.implied)
    records = tables.element(element).alias()
    keys = [
        records.c[element.column_of(name)] == implied_value(tables, group, columns, name) for name in element.required
    ]
    return sa.select(records.c[dimension]).where(*keys).correlate_except(records).scalar_subquery()
