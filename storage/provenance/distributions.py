"""How values spread: of the attempts of a task in a run, or on a host."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.provenance.tables import EXECUTION

__all__ = ["Distribution", "Measure", "distributions"]

_ROWS = 20_000
"""Attempts that are read at once."""

_PERCENTS = np.array([0, 5, 32, 50, 68, 95, 99, 100])[:, np.newaxis]
"""From the least value to the greatest, as `Distribution` has them."""

_Found = dict[tuple[int, ...], "Distribution"]


@dataclass(frozen=True, slots=True)
class Distribution:
    """A distribution of values; percentiles lie between neighbours in proportion, as NumPy has them."""

    count: int
    min: float
    p05: float
    p32: float
    median: float
    p68: float
    p95: float
    p99: float
    max: float
    mean: float
    total: float


class Measure(Enum):
    """What is measured of an attempt."""

    RUN_TIME = "run_time"
    CPU_TIME = "cpu_time"
    MAX_RSS = "max_rss"


async def distributions(
    connection: AsyncConnection,
    measures: Sequence[Measure],
    by: Sequence[sa.ColumnElement[int]],
    conditions: Sequence[sa.ColumnElement[bool]],
) -> list[_Found]:
    """Find the distributions of what is measured of attempts, of each group of them that has something measured.

    The database tells which attempts belong together. How their values lie is found out here, several times as fast as
    its window functions do it; only those of the largest group, and a few more, are kept at once.

    Parameters
    ----------
    connection
        A transaction of the state.
    measures
        What is measured.
    by
        Columns of `EXECUTION` that tell the groups apart.
    conditions
        Which attempts.

    Returns
    -------
    list
        Of each measure, by the values of the columns.
    """
    found: list[_Found] = [{} for _ in measures]
    values = (EXECUTION.c[measure.value] for measure in measures)
    rows = await connection.stream(sa.select(*by, *values).where(*conditions).order_by(*by))
    parts: list[np.ndarray[Any, Any]] = []
    async for some in rows.partitions(_ROWS):
        part = np.array(list(zip(*some, strict=True)), dtype=float).T
        if last := _begins(part, len(by))[-1]:
            await asyncio.to_thread(_add_groups, [*parts, part[:last]], len(by), found)
            parts.clear()
        parts.append(part[last:])
    if parts:
        await asyncio.to_thread(_add_groups, parts, len(by), found)
    return found


def _begins(rows: np.ndarray[Any, Any], width: int) -> np.ndarray[Any, Any]:
    """Tell where groups begin: rows that are the same in their first columns."""
    return np.flatnonzero(np.append(True, (rows[1:, :width] != rows[:-1, :width]).any(axis=1)))


def _add_groups(parts: Sequence[np.ndarray[Any, Any]], width: int, found: Sequence[_Found]) -> None:
    """Find the distributions in whole groups.

    Parameters
    ----------
    parts
        Rows: what tells the groups apart, and what is measured, NaN where it is not.
    width
        How many columns tell them apart.
    found
        Of each measure, what is added to.
    """
    rows = np.concatenate(parts)
    begins = _begins(rows, width)
    keys = list(map(tuple, rows[begins, :width].astype(int).tolist()))
    columns = np.ascontiguousarray(rows[:, width:].T)
    for group in np.split(columns, begins[1:], axis=1):
        group.sort(axis=1)  # NaN comes last
    for by_key, column in zip(found, columns, strict=True):
        counts = np.add.reduceat(~np.isnan(column), begins, dtype=int)
        known = np.flatnonzero(counts)
        count, begin = counts[known], begins[known]
        # From the least on: in another order the last digit may differ, and the same attempts must give the same.
        total = np.add.reduceat(np.nan_to_num(column), begins)[known]
        whole, rest = np.divmod(_PERCENTS * (count - 1), 100)
        low, high = (column[begin + np.minimum(rank, count - 1)] for rank in (whole, whole + 1))
        values = np.vstack((low + (high - low) * rest / 100, total / count, total)).T.tolist()
        for place, number, of_group in zip(known.tolist(), count.tolist(), values, strict=True):
            by_key[keys[place]] = Distribution(number, *of_group)
