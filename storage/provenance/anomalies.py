"""Where the tasks of a run depart from what they were in earlier runs.

What is said of a task is a median or a share, so that a few extremes do not count, and that it is no chance is tested:

- Run time, CPU time and memory are those of units of work that were done: of successful attempts, without those that
  found nothing to do or stopped half-way, since failures end early or hang. Memory never falls within a process, and
  is that of attempts that began with a clean one (`process_index` 0) only. A data ID has one value on each side,
  also where there are several earlier runs: see `compare_sides`.
- Where enough data IDs are on both sides, they alone are compared, each with itself, by the sign test: what differs
  from one data ID to the next does not matter then. Else all values are compared, by the test of Mann and Whitney.
- Failures are compared by Fisher's exact test, as shares of all attempts, those of all earlier runs together.
- How often a task runs is decided by who plans it, not by chance, so there is nothing to be tested. It is compared
  with the median of the earlier runs that it ran in, also where it did not run at all now.

Only what is worse departs: what takes less, or fails less often, does not. How often a task runs departs either way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from math import inf
from statistics import median
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.dialect import Dialect
from butlerql.storage.errors import InvalidArgumentError
from butlerql.storage.provenance.distributions import Measure
from butlerql.storage.provenance.executions import Execution, executions_by_id
from butlerql.storage.provenance.filters import QuantumFilter
from butlerql.storage.provenance.significance import FEWEST_PAIRS, LIKELY_CHANCE, fisher, mann_whitney, sign_test
from butlerql.storage.provenance.tables import EXECUTION
from butlerql.storage.provenance.task_summaries import FAILURES, TaskSummary, find_task_summaries
from butlerql.storage.provenance.two_sides import TwoSides, compare_sides, is_compared
from butlerql.storage.state.database import State

__all__ = ["Anomaly", "AnomalyKind", "examples_of", "find_anomalies"]


class AnomalyKind(Enum):
    """What departs."""

    RUN_TIME = "RUN_TIME"
    MEMORY = "MEMORY"
    CPU_TIME = "CPU_TIME"
    FAILURE_RATE = "FAILURE_RATE"
    EXECUTION_COUNT = "EXECUTION_COUNT"


@dataclass(frozen=True, slots=True)
class Anomaly:
    """A task of a run departs from what it was."""

    kind: AnomalyKind
    run_id: int
    task_id: int
    run_name: str
    task_label: str
    observed: float
    """Seconds, bytes, a share from 0 to 1, or a number, as all that is compared."""

    baseline: float
    ratio: float
    executions: int
    """How many attempts it was seen in."""

    p_value: float | None
    """How likely chance makes as much; None with too few, and where there is nothing to be tested."""


class _Scale(NamedTuple):
    """What of a kind matters."""

    floor: float
    """A difference of less does not."""

    least: float
    """What there was before is taken for at least this, so that the ratio is finite."""


class _Compared(NamedTuple):
    """What is told of both sides."""

    observed: float
    baseline: float
    executions: int
    p_value: float | None


_MEASURES = {
    AnomalyKind.RUN_TIME: (Measure.RUN_TIME, _Scale(floor=0.1, least=0.001)),
    AnomalyKind.MEMORY: (Measure.MAX_RSS, _Scale(floor=50e6, least=1.0)),
    AnomalyKind.CPU_TIME: (Measure.CPU_TIME, _Scale(floor=0.1, least=0.001)),
}
_RATE_FLOOR = 0.01

_Pair = tuple[TaskSummary, Sequence[TaskSummary]]
"""A task in the run, and in those that it is compared with."""


async def find_anomalies(
    state: State, run: str, baseline: Sequence[str], ratio: float, min_executions: int
) -> list[Anomaly] | None:
    """Find where the tasks of a run depart from other runs, what departs the most first.

    Parameters
    ----------
    state
        Where provenance is.
    run
        Name of the run.
    baseline
        Names or globs of the runs that it is compared with; it is left out itself.
    ratio
        From how many times as much something departs.
    min_executions
        From how many attempts on each side something is said.

    Returns
    -------
    list or None
        None if nothing is known of the run, or of none of those that it is compared with: then nobody can tell.

    Raises
    ------
    InvalidArgumentError
        Raised if the ratio is less than 1, or the number of attempts.
    """
    if not ratio >= 1:
        raise InvalidArgumentError("ratio must be 1 or more: by how many times something has to depart.")
    if min_executions < 1:
        raise InvalidArgumentError("minExecutions must be 1 or more.")
    summaries = await find_task_summaries(state, QuantumFilter(only_runs=[run]))
    others = await find_task_summaries(state, QuantumFilter(runs=baseline))
    before: dict[int, list[TaskSummary]] = {}
    for other in others:
        if other.run_name != run:
            before.setdefault(other.task_id, []).append(other)
    if not summaries or not before:
        return None
    pairs = [(summary, before[summary.task_id]) for summary in summaries if summary.task_id in before]
    found = [
        anomaly
        for summary, earlier in pairs
        for compare in (_rates, _counts)
        for anomaly in compare(summary, earlier, ratio, min_executions)
    ]
    found += await _measures(state, pairs, ratio, min_executions)
    there = {summary.task_id for summary in summaries}
    # A task that did not run at all, under the names of the run.
    gone = [
        replace(earlier[0], run_id=summaries[0].run_id, run_name=run, executions=0)
        for task, earlier in before.items()
        if task not in there
    ]
    for one in gone:
        found += _counts(one, before[one.task_id], ratio, min_executions)
    places = {summary.task_id: place for place, summary in enumerate([*summaries, *gone])}
    kinds = list(AnomalyKind)
    return sorted(found, key=lambda one: (-_severity(one.ratio), kinds.index(one.kind), places[one.task_id]))


async def examples_of(state: State, anomalies: Sequence[Anomaly], first: int) -> list[list[Execution]]:
    """Give the attempts that show each anomaly best.

    What took most, for failures the latest, and for how often a task ran the units of work that were tried most often.
    """
    by_kind: dict[AnomalyKind, set[tuple[int, int]]] = {}
    for anomaly in anomalies:
        by_kind.setdefault(anomaly.kind, set()).add((anomaly.run_id, anomaly.task_id))

    async def find(connection: AsyncConnection) -> dict[tuple[AnomalyKind, int, int], list[int]]:
        found: dict[tuple[AnomalyKind, int, int], list[int]] = {}
        for kind, pairs in by_kind.items():
            for run, task, number in await connection.execute(_examples(state.dialect, kind, sorted(pairs), first)):
                found.setdefault((kind, run, task), []).append(number)
        return found

    numbers: dict[tuple[AnomalyKind, int, int], list[int]] = await state.read(find, absent={})
    known = await executions_by_id(state, [number for some in numbers.values() for number in some])
    return [
        [known[number] for number in numbers.get((one.kind, one.run_id, one.task_id), ()) if number in known]
        for one in anomalies
    ]


def _severity(ratio: float) -> float:
    """By how many times something departs, in whatever direction."""
    return inf if ratio == 0 else max(ratio, 1 / ratio)


def _departure(
    kind: AnomalyKind, summary: TaskSummary, compared: _Compared, scale: _Scale, least_ratio: float
) -> list[Anomaly]:
    """Make an anomaly if something is so much greater than it was, and that is no chance."""
    ratio = compared.observed / max(compared.baseline, scale.least)
    if ratio < least_ratio or compared.observed - compared.baseline < scale.floor:
        return []
    if compared.p_value is not None and compared.p_value > LIKELY_CHANCE:
        return []
    return [_anomaly(kind, summary, compared, ratio)]


def _anomaly(kind: AnomalyKind, summary: TaskSummary, compared: _Compared, ratio: float) -> Anomaly:
    observed, baseline, executions, p_value = compared
    names = (summary.run_id, summary.task_id, summary.run_name, summary.task_label)
    return Anomaly(kind, *names, float(observed), float(baseline), ratio, executions, p_value)


def _rates(summary: TaskSummary, before: Sequence[TaskSummary], least_ratio: float, least: int) -> list[Anomaly]:
    """Compare shares of failures."""
    number, failed = summary.executions, summary.failed_executions
    other_number, other_failed = sum(one.executions for one in before), sum(one.failed_executions for one in before)
    if min(number, other_number) < least:
        return []
    p_value = fisher(failed, number, other_failed, other_number)
    compared = _Compared(failed / number, other_failed / other_number, number, p_value)
    # Where none failed, as though half an attempt had.
    scale = _Scale(_RATE_FLOOR, 0.5 / other_number)
    return _departure(AnomalyKind.FAILURE_RATE, summary, compared, scale, least_ratio)


def _counts(summary: TaskSummary, before: Sequence[TaskSummary], least_ratio: float, least: int) -> list[Anomaly]:
    """Compare how often a task ran."""
    number, other_number = summary.executions, median(one.executions for one in before)
    ratio = number / max(other_number, 1)
    if abs(number - other_number) < least or _severity(ratio) < least_ratio:
        return []
    compared = _Compared(number, other_number, number, None)
    return [_anomaly(AnomalyKind.EXECUTION_COUNT, summary, compared, ratio)]


async def _measures(state: State, pairs: Sequence[_Pair], least_ratio: float, least: int) -> list[Anomaly]:
    """Compare what was measured."""
    sides = [(one.run_id, one.task_id, one is summary) for summary, before in pairs for one in (summary, *before)]
    summaries = {summary.task_id: summary for summary, _ in pairs}

    async def find(connection: AsyncConnection) -> list[TwoSides]:
        return await compare_sides(connection, state.dialect, sides)

    both: list[TwoSides] = await state.read(find, absent=[])
    kinds = {measure: (kind, scale) for kind, (measure, scale) in _MEASURES.items()}
    found: list[Anomaly] = []
    for one in both:
        kind, scale = kinds[one.measure]
        if (compared := _values(one, least)) is not None:
            found += _departure(kind, summaries[one.task_id], compared, scale, least_ratio)
    return found


def _values(one: TwoSides, least: int) -> _Compared | None:
    """Choose what is compared: the data IDs that are on both sides, if they are enough, or else all."""
    if one.both >= max(FEWEST_PAIRS, least) and 2 * one.both >= min(one.now, one.before):
        return _Compared(one.both_now_median, one.both_before_median, one.both, sign_test(one.up, one.down))
    if min(one.now, one.before) < least:
        return None
    p_value = mann_whitney(one.wins, one.now, one.before, one.ties)
    return _Compared(one.now_median, one.before_median, one.now, p_value)


def _examples(dialect: Dialect, kind: AnomalyKind, pairs: Sequence[tuple[int, int]], first: int) -> sa.Select[Any]:
    given = dialect.rows("given", {"run_id": sa.BigInteger(), "task_id": sa.BigInteger()}, pairs)

    def order(table: sa.FromClause) -> list[sa.ColumnElement[Any]]:
        columns = {AnomalyKind.FAILURE_RATE: "started_at", AnomalyKind.EXECUTION_COUNT: "attempt"}
        name = columns[kind] if kind in columns else _MEASURES[kind][0].value
        return [table.c[name].desc().nulls_last(), table.c.id]

    def rows(table: sa.FromClause) -> sa.Select[Any]:
        conditions = [table.c.run_id == given.c.run_id, table.c.task_id == given.c.task_id]
        if kind is AnomalyKind.FAILURE_RATE:
            conditions.append(table.c.status.in_(FAILURES))
        elif kind in _MEASURES:
            conditions += is_compared(table, _MEASURES[kind][0])
        return sa.select().where(*conditions).order_by(*order(table)).limit(first)

    joined, table, conditions = dialect.top_rows(given, EXECUTION, rows)
    key = (given.c.run_id, given.c.task_id)
    return sa.select(*key, table.c.id).select_from(joined).where(*conditions).order_by(*key, *order(table))
