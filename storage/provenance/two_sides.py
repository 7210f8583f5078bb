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

_CUT_SHORT = int(Caveats.NO_WORK | Caveats.PARTIAL_OUTPUTS_ERROR)


class TwoSides(NamedTuple):
    """Values of a task, one a data ID, now and before: their medians, and how they lie among each other."""

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
    c = table.c
    conditions = [
        c.status == int(QuantumStatus.SUCCESSFUL),
        sa.func.coalesce(c.caveats, 0).bitwise_and(_CUT_SHORT) == 0,
        c[measure.value].is_not(None),
    ]
    return [*conditions, c.process_index == 0] if measure is Measure.MAX_RSS else conditions


async def compare_sides(
    connection: AsyncConnection, dialect: Dialect, measure: Measure, sides: Sequence[tuple[int, int, bool]]
) -> list[TwoSides]:
    """Compare what was measured; a data ID with several values on a side has their median there.

    Parameters
    ----------
    connection
        A transaction of the state.
    dialect
        Of its database.
    measure
        What.
    sides
        Runs and tasks, and whether they are of now.

    Returns
    -------
    list
        Of the tasks that have values on both sides.
    """
    statement = _statement(dialect, measure, [(run, task, int(is_now)) for run, task, is_now in sides])
    return [TwoSides(**row._mapping) for row in await connection.execute(statement)]  # noqa: SLF001 - as named


def _statement(dialect: Dialect, measure: Measure, sides: Sequence[tuple[int, int, int]]) -> sa.Select[Any]:
    columns = {name: sa.BigInteger() for name in ("run_id", "task_id", "is_now")}
    running = _running(_by_value(_by_data_id(dialect, measure, dialect.rows("given", columns, sides)))).subquery()
    c = running.c

    def total(expression: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return sa.func.sum(sa.cast(expression, sa.Double))

    def count(name: str) -> sa.ColumnElement[int]:
        return sa.cast(sa.func.sum(c[name]), sa.BigInteger)

    def median(name: str) -> sa.ColumnElement[Any]:
        middles = ((c[f"{name}_all"] + more) // 2 for more in (1, 2))
        begin = c[f"{name}_until"] - c[name]
        halves = [sa.case((sa.and_(begin < one, one <= c[f"{name}_until"]), c.value), else_=0.0) for one in middles]
        return (total(halves[0]) + total(halves[1])) / 2

    same = sa.cast(c.now + c.before, sa.Double)
    lower = sa.cast(c.before_until, sa.Double) - sa.cast(c.before, sa.Double) / 2
    return (
        sa.select(
            c.task_id,
            *(count(name).label(name) for name in ("now", "before", "up", "down")),
            count("both_now").label("both"),
            *(median(name).label(f"{name}_median") for name in ("now", "before", "both_now", "both_before")),
            total(c.now * lower).label("wins"),
            total(same * same * same - same).label("ties"),
        )
        .group_by(c.task_id)
        .having(count("now") > 0, count("before") > 0)
    )


def _by_data_id(dialect: Dialect, measure: Measure, given: sa.FromClause) -> sa.CTE:
    """Select the median of each data ID on each side."""
    c = EXECUTION.c
    value = sa.cast(c[measure.value], sa.Double)
    key = [given.c.task_id, QUANTUM.c.data_id, given.c.is_now]
    ranked = (
        sa.select(
            *key,
            value.label("value"),
            sa.func.row_number().over(partition_by=key, order_by=value).label("rank"),
            sa.func.count().over(partition_by=key).label("count"),
        )
        .select_from(dialect.each(given, EXECUTION).join(QUANTUM, QUANTUM.c.id == c.quantum_id))
        .where(c.run_id == given.c.run_id, c.task_id == given.c.task_id, *is_compared(EXECUTION, measure))
        .subquery()
    )
    of_side = (sa.func.avg(sa.case((ranked.c.is_now == side, ranked.c.value))) for side in (1, 0))
    return (
        sa.select(
            ranked.c.task_id, *(value.label(name) for name, value in zip(("now", "before"), of_side, strict=True))
        )
        .where(ranked.c.rank.in_([(ranked.c.count + 1) // 2, (ranked.c.count + 2) // 2]))
        .group_by(ranked.c.task_id, ranked.c.data_id)
        .cte("by_data_id")
    )


def _by_value(pairs: sa.CTE) -> sa.Subquery:
    """Count how often each value is there on each side, and on both where the data ID has both."""
    c = pairs.c

    def number(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
        return sa.case((condition, 1), else_=0)

    none = sa.literal(0)
    now = sa.select(
        c.task_id,
        c.now.label("value"),
        sa.literal(1).label("now"),
        none.label("before"),
        number(c.before.is_not(None)).label("both_now"),
        none.label("both_before"),
        number(c.now > c.before).label("up"),
        number(c.now < c.before).label("down"),
    ).where(c.now.is_not(None))
    both = number(c.now.is_not(None))
    before = sa.select(c.task_id, c.before, none, sa.literal(1), none, both, none, none).where(c.before.is_not(None))
    sides = sa.union_all(now, before).subquery()
    counts = [sa.func.sum(column).label(column.name) for column in list(sides.c)[2:]]
    return sa.select(sides.c.task_id, sides.c.value, *counts).group_by(sides.c.task_id, sides.c.value).subquery()


def _running(counted: sa.Subquery) -> sa.Select[Any]:
    """Add to the counts of each value how many there are up to it, and in all."""
    c = counted.c

    def add(name: str, **order: Any) -> sa.ColumnElement[int]:
        return sa.cast(sa.func.sum(c[name]).over(partition_by=c.task_id, **order), sa.BigInteger)

    names = ("now", "before", "both_now", "both_before")
    return sa.select(
        *c,
        *(add(name, order_by=c.value).label(f"{name}_until") for name in names),
        *(add(name).label(f"{name}_all") for name in names),
    )
