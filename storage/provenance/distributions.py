"""How values spread: of the attempts of a task in a run, or on a host."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.provenance.tables import EXECUTION

__all__ = ["Distribution", "Measure", "distributions"]

_PERCENTS = {"p05": 5, "p32": 32, "median": 50, "p68": 68, "p95": 95, "p99": 99}


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
    measure: Measure,
    by: Sequence[sa.ColumnElement[Any]],
    conditions: Sequence[sa.ColumnElement[bool]],
) -> dict[tuple[Hashable, ...], Distribution]:
    """Find the distribution of what is measured of attempts, of each group of them that has something measured.

    Parameters
    ----------
    connection
        A transaction of the state.
    measure
        What is measured.
    by
        Columns of `EXECUTION` that tell the groups apart.
    conditions
        Which attempts.

    Returns
    -------
    dict
        By the values of the columns.
    """
    column = EXECUTION.c[measure.value]
    group = [column.label(f"group_{place}") for place, column in enumerate(by)]
    value = sa.cast(column, sa.Double).label("value")
    rank = sa.func.row_number().over(partition_by=by, order_by=column).label("rank")
    # From the least on: in another order the last digit may differ, and the same attempts must give the same.
    total = sa.func.sum(value).over(partition_by=by, order_by=column, rows=(None, 0)).label("total")
    measured = [*conditions, column.is_not(None)]
    each = sa.select(*group, value, rank, total).where(*measured).subquery()
    counts = sa.select(*group, sa.func.count().label("count")).where(*measured).group_by(*by).subquery()
    same = (each.c[one.name] == counts.c[one.name] for one in group)
    whole = sa.select(each, counts.c.count).join_from(each, counts, sa.and_(*same)).subquery()
    # Ranks from 1; those on both sides of each percentile.
    sides = [(whole.c.count - 1) * percent // 100 + 1 for percent in _PERCENTS.values()]
    near = sa.or_(
        whole.c.rank == 1,
        whole.c.rank == whole.c.count,
        *(whole.c.rank.between(side, side + 1) for side in sides),
    )
    found: dict[tuple[Hashable, ...], dict[int, float]] = {}
    totals: dict[tuple[Hashable, ...], tuple[int, float]] = {}
    for row in await connection.execute(sa.select(whole).where(near)):
        *key, number, place, so_far, count = row
        found.setdefault(tuple(key), {})[place] = number
        if place == count:
            totals[tuple(key)] = count, so_far
    return {key: _distribution(values, *totals[key]) for key, values in found.items()}


def _distribution(values: dict[int, float], count: int, total: float) -> Distribution:
    """Make one of the values of the ranks that matter."""
    percentiles: dict[str, float] = {}
    for name, percent in _PERCENTS.items():
        whole, rest = divmod((count - 1) * percent, 100)
        low, high = values[whole + 1], values[min(whole + 2, count)]
        percentiles[name] = low + (high - low) * rest / 100
    return Distribution(count=count, min=values[1], **percentiles, max=values[count], mean=total / count, total=total)
