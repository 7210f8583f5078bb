"""What was measured of tasks now, beside what was measured before: counted by the database, however many there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.dialect import Dialect
from butlerql.storage.provenance.distributions import Measure
from butlerql.storage.provenance.records import Caveats, QuantumStatus
from butlerql.storage.provenance.tables import EXECUTION, QUANTUM

__all__ = ["TwoSides", "compare_sides", "is_compared"]

_MEASURES = tuple(Measure)
_SIDES = ("now", "before", "both_now", "both_before")
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
    rows = await connection.execute(_sum_up(_by_value(_by_data_id(dialect, given))))
    return [TwoSides(_MEASURES[measure], *counts) for measure, *counts in rows]


def _by_data_id(dialect: Dialect, given: sa.FromClause) -> sa.CTE:
    """Select what each data ID has of each measure, now and before."""
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
        .cte("by_data_id")
    )


def _by_value(data_ids: sa.CTE) -> sa.Subquery:
    """Count how often each value is there on each side, and on both where the data ID has both."""
    sides: list[sa.Select[Any]] = []
    for place, measure in enumerate(_MEASURES):
        now, before = data_ids.c[f"{measure.value}_now"], data_ids.c[f"{measure.value}_before"]
        for value, other, is_now in ((now, before, 1), (before, now, 0)):
            is_both = _as_number(other.is_not(None))
            counts = {
                "now": sa.literal(is_now),
                "before": sa.literal(1 - is_now),
                "both_now": is_both if is_now else sa.literal(0),
                "both_before": sa.literal(0) if is_now else is_both,
                "up": _as_number(value > other) if is_now else sa.literal(0),
                "down": _as_number(value < other) if is_now else sa.literal(0),
            }
            columns = {"measure": sa.literal(place), "task_id": data_ids.c.task_id, "value": value, **counts}
            labelled = [column.label(name) for name, column in columns.items()]
            sides.append(sa.select(*labelled).where(value.is_not(None)))
    each = sa.union_all(*sides).subquery()
    key = [each.c.measure, each.c.task_id, each.c.value]
    counted = (sa.cast(sa.func.sum(each.c[name]), sa.BigInteger).label(name) for name in (*_SIDES, "up", "down"))
    return sa.select(*key, *counted).group_by(*key).subquery()


def _sum_up(values: sa.Subquery) -> sa.Select[Any]:
    """Find medians, and how values lie among each other, of how many there are up to each."""
    c = values.c

    def running(name: str, **order: Any) -> sa.ColumnElement[int]:
        window = sa.func.sum(c[name]).over(partition_by=[c.measure, c.task_id], **order)
        return sa.cast(window, sa.BigInteger)

    # Each value is there once, and to look for equal ones would take longer.
    until = [running(name, order_by=c.value, rows=(None, 0)).label(f"{name}_until") for name in _SIDES]
    r = sa.select(*c, *until, *(running(name).label(f"{name}_all") for name in _SIDES)).subquery().c

    def total(expression: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return sa.func.sum(sa.cast(expression, sa.Double))

    def count(name: str) -> sa.ColumnElement[int]:
        return sa.cast(sa.func.sum(r[name]), sa.BigInteger)

    def median(name: str) -> sa.ColumnElement[Any]:
        end, whole = r[f"{name}_until"], r[f"{name}_all"]
        lower, upper = ((whole + more) // 2 for more in (1, 2))
        halves = (_as_number(sa.and_(end - r[name] < middle, middle <= end)) for middle in (lower, upper))
        return total(r.value * sum(halves, sa.literal(0))) / 2

    same = sa.cast(r.now + r.before, sa.Double)
    lower = sa.cast(r.before_until, sa.Double) - sa.cast(r.before, sa.Double) / 2
    return (
        sa.select(
            *(r.measure, r.task_id),
            *(count(name) for name in ("now", "before", "both_now")),
            *map(median, _SIDES),
            *(count(name) for name in ("up", "down")),
            total(r.now * lower),
            total(same * same * same - same),
        )
        .where(r.now_all > 0, r.before_all > 0)
        .group_by(r.measure, r.task_id)
        .order_by(r.measure, r.task_id)
    )


def _as_number(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.case((condition, 1), else_=0)
