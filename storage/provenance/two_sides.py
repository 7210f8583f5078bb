"""What was measured of tasks now, beside what was measured before.

The database finds which values belong to the same data ID. How they lie among each other is found out here, some six
times as fast as its window functions do it, for one task after the other: only the values of one are kept at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.dialect import Dialect
from butlerql.storage.provenance.distributions import Measure
from butlerql.storage.provenance.records import Caveats, QuantumStatus
from butlerql.storage.provenance.tables import EXECUTION, QUANTUM

__all__ = ["TwoSides", "compare_sides", "is_compared"]

_MEASURES = tuple(Measure)
_ROWS = 20_000
"""Data IDs that are read at once."""

_NOTHING = np.empty((0, 2 * len(_MEASURES)))
_CUT_SHORT = int(Caveats.NO_WORK | Caveats.PARTIAL_OUTPUTS_ERROR)


class TwoSides(NamedTuple):
    """Values of a task, one a data ID, now and before: their medians, and how they lie among each other."""

    measure: Measure
    task_id: int
    now: int
    """How many data IDs have a value now."""

    before: int
    both: int
    """How many have one on both sides."""

    now_median: float
    before_median: float
    both_now_median: float
    """Of those data IDs alone that have a value on both sides; 0 if there are none."""

    both_before_median: float
    up: int
    """How many of them have more than before."""

    down: int
    wins: float
    """How often, all values combined with all, there is more now; half where there is as much."""

    ties: float
    """Sum of ``t**3 - t`` over values of which there are ``t`` that are the same."""


def is_compared(table: sa.FromClause, measure: Measure) -> list[sa.ColumnElement[bool]]:
    """Give the conditions on attempts that are compared: what was measured, of work that was done.

    Failures end early or hang, and so does what finds nothing to do. Memory never falls within a process, so that only
    attempts that began with a clean one tell of their own.
    """
    return [*_is_done(table), *_is_measured(table, measure)]


def _is_done(table: sa.FromClause) -> list[sa.ColumnElement[bool]]:
    cut_short = sa.func.coalesce(table.c.caveats, 0).bitwise_and(_CUT_SHORT)
    return [table.c.status == int(QuantumStatus.SUCCESSFUL), cut_short == 0]


def _is_measured(table: sa.FromClause, measure: Measure) -> list[sa.ColumnElement[bool]]:
    is_known = table.c[measure.value].is_not(None)
    return [is_known, table.c.process_index == 0] if measure is Measure.MAX_RSS else [is_known]


async def compare_sides(
    connection: AsyncConnection, dialect: Dialect, sides: Sequence[tuple[int, int, bool]]
) -> list[TwoSides]:
    """Compare what was measured.

    A data ID that has several values on a side has their mean there, without the least and the greatest if they are
    more than two. For up to four it is their median, and for more that would take the database twice as long.

    Parameters
    ----------
    connection
        A transaction of the state.
    dialect
        Of its database.
    sides
        Runs and tasks, and whether they are of now.

    Returns
    -------
    list
        Of each measure, of the tasks that have values on both sides.
    """
    columns = {name: sa.BigInteger() for name in ("run_id", "task_id", "is_now")}
    given = dialect.rows("given", columns, [(run, task, int(is_now)) for run, task, is_now in sides])
    found: list[TwoSides] = []
    rows = await connection.stream(_by_data_id(dialect, given))
    task, parts = 0, [_NOTHING]
    async for some in rows.partitions(_ROWS):
        values = np.array([tuple(row) for row in some], dtype=float)
        for part in np.split(values, np.flatnonzero(np.diff(values[:, 0])) + 1):
            if part[0, 0] != task:
                found += await asyncio.to_thread(_of_task, task, parts)
                task, parts = int(part[0, 0]), []
            parts.append(part[:, 1:])
    found += await asyncio.to_thread(_of_task, task, parts)
    return sorted(found, key=lambda one: (_MEASURES.index(one.measure), one.task_id))


def _by_data_id(dialect: Dialect, given: sa.FromClause) -> sa.Select[Any]:
    """Select what each data ID of a task, one after the other, has of each measure, now and before."""
    values: list[sa.ColumnElement[float]] = []
    for measure in _MEASURES:
        for name, is_now in (("now", 1), ("before", 0)):
            here = sa.and_(given.c.is_now == is_now, *_is_measured(EXECUTION, measure))
            value = sa.case((here, sa.cast(EXECUTION.c[measure.value], sa.Double)))
            number, total = sa.func.count(value), sa.func.sum(value)
            inner = (total - sa.func.min(value) - sa.func.max(value)) / (number - 2)
            values.append(sa.case((number > 2, inner), else_=sa.func.avg(value)).label(f"{measure.value}_{name}"))
    c = EXECUTION.c
    return (
        sa.select(given.c.task_id, *values)
        .select_from(dialect.each(given, EXECUTION).join(QUANTUM, QUANTUM.c.id == c.quantum_id))
        .where(c.run_id == given.c.run_id, c.task_id == given.c.task_id, *_is_done(EXECUTION))
        .group_by(given.c.task_id, QUANTUM.c.data_id)
        .order_by(given.c.task_id)
    )


def _of_task(task: int, parts: Sequence[np.ndarray[Any, Any]]) -> list[TwoSides]:
    """Compare the values of a task: of each data ID one now and one before, of one measure after the other."""
    columns = np.concatenate(parts).T
    sides = ((measure, *columns[2 * place : 2 * place + 2]) for place, measure in enumerate(_MEASURES))
    return [
        _compared(measure, task, now, before)
        for measure, now, before in sides
        if not np.isnan(now).all() and not np.isnan(before).all()
    ]


def _compared(measure: Measure, task: int, now: np.ndarray[Any, Any], before: np.ndarray[Any, Any]) -> TwoSides:
    """Compare values, which are NaN where a data ID has none."""
    is_both = ~(np.isnan(now) | np.isnan(before))
    both_now, both_before = now[is_both], before[is_both]
    now, before = now[~np.isnan(now)], np.sort(before[~np.isnan(before)])
    below = np.searchsorted(before, now, "left").sum() + np.searchsorted(before, now, "right").sum()
    same = np.unique(np.concatenate((now, before)), return_counts=True)[1].astype(float)
    return TwoSides(
        measure,
        task,
        now=now.size,
        before=before.size,
        both=both_now.size,
        now_median=float(np.median(now)),
        before_median=float(np.median(before)),
        both_now_median=float(np.median(both_now)) if both_now.size else 0.0,
        both_before_median=float(np.median(both_before)) if both_now.size else 0.0,
        up=int((both_now > both_before).sum()),
        down=int((both_now < both_before).sum()),
        wins=float(below) / 2,
        ties=float((same**3 - same).sum()),
    )
