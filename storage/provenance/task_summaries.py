"""How often each task ran in each run, and how it went."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.dialect import Dialect
from butlerql.storage.provenance.distributions import Distribution, Measure, distributions
from butlerql.storage.provenance.filters import (
    QuantumFilter,
    common_conditions,
    execution_conditions,
    quantum_conditions,
)
from butlerql.storage.provenance.records import Caveats, QuantumStatus
from butlerql.storage.provenance.tables import EXCEPTION, EXECUTION, PLAN, QUANTUM, RUN, TASK, TASK_SUMMARY
from butlerql.storage.state.database import State

__all__ = ["CaveatCount", "ExceptionCount", "TaskSummary", "find_task_summaries", "measured_tasks", "sum_up_tasks"]

FAILURES = (int(QuantumStatus.FAILED), int(QuantumStatus.ABORTED))
"""Statuses of attempts that count as failed."""

_MEANINGS = {
    Caveats.ANY_OUTPUTS_MISSING: "At least one output that was to be written was not.",
    Caveats.ALL_OUTPUTS_MISSING: "No output but metadata and log was written.",
    Caveats.NO_WORK: "There was nothing to do, as the task or its preparation found.",
    Caveats.ADJUST_QUANTUM_RAISED: "There was nothing to do, as was found before the task began: inputs were missing.",
    Caveats.UPSTREAM_FAILURE_NO_WORK: "There was nothing to do, since something before it failed.",
    Caveats.UNPROCESSABLE_DATA: "The data cannot be processed.",
    Caveats.PARTIAL_OUTPUTS_ERROR: "The task raised an error after some outputs, and that was tolerated.",
}


@dataclass(frozen=True, slots=True)
class CaveatCount:
    """How many attempts succeeded with a caveat."""

    code: str
    meaning: str
    count: int


@dataclass(frozen=True, slots=True)
class ExceptionCount:
    """How many attempts met an exception."""

    exception: str
    count: int
    sample_message: str | None


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """Counts of a task in a run: units of work, and attempts at them."""

    run_id: int
    task_id: int
    run_name: str
    task_label: str
    expected: int | None
    quanta: int
    executions: int
    successful: int
    failed: int
    blocked: int
    aborted: int
    aborted_success: int
    unknown: int
    retried: int
    recovered: int
    failed_executions: int
    hosts: int
    exceptions: Sequence[ExceptionCount]
    caveats: Sequence[CaveatCount]
    chosen: QuantumFilter
    """What was summed up."""

    measured: Mapping[Measure, Distribution | None] | None = None
    """None where it has to be asked for, see `measured_tasks`."""


async def find_task_summaries(state: State, chosen: QuantumFilter) -> list[TaskSummary]:
    """Sum up, one row a task and run, in the order of their names.

    Where whole tasks are asked for, what is summed up already is read.
    """
    dialect = state.dialect

    async def find(connection: AsyncConnection) -> list[TaskSummary]:
        if not chosen.is_of_whole_tasks:
            return await _in_order(connection, dialect, await _sum(connection, dialect, chosen))
        known = sa.select(TASK_SUMMARY).where(*common_conditions(dialect, chosen, TASK_SUMMARY))
        rows = list(await connection.execute(known))
        summed = [_read(row.run_id, row.task_id, row.content, chosen) for row in rows if row.content is not None]
        if left := [(row.run_id, row.task_id) for row in rows if row.content is None]:
            summed += await _sum(connection, dialect, chosen, left)
        return await _in_order(connection, dialect, summed)

    return await state.read(find, absent=[])


async def measured_tasks(state: State, summaries: Sequence[TaskSummary], measure: Measure) -> list[Distribution | None]:
    """Give the distribution of what is measured of the attempts of each summary; None where nothing is."""
    left: dict[int, list[int]] = {}
    for place, summary in enumerate(summaries):
        if summary.measured is None:
            left.setdefault(id(summary.chosen), []).append(place)
    found = [None if summary.measured is None else summary.measured[measure] for summary in summaries]

    async def find(connection: AsyncConnection) -> list[dict[Any, Distribution]]:
        by = [EXECUTION.c.run_id, EXECUTION.c.task_id]
        answers: list[dict[Any, Distribution]] = []
        for places in left.values():
            pairs = [(summaries[place].run_id, summaries[place].task_id) for place in places]
            conditions = execution_conditions(state.dialect, summaries[places[0]].chosen)
            conditions += _among(state.dialect, EXECUTION, pairs)
            answers.append(await distributions(connection, measure, by, conditions))
        return answers

    if left:
        answers: list[dict[Any, Distribution]] = await state.read(find, absent=[{}] * len(left))
        for places, answer in zip(left.values(), answers, strict=True):
            for place in places:
                found[place] = answer.get((summaries[place].run_id, summaries[place].task_id))
    return found


async def sum_up_tasks(connection: AsyncConnection, dialect: Dialect, run: int) -> None:
    """Sum up the tasks of a run of which there is more than was summed up; nobody takes anything in meanwhile."""
    stale = sa.select(TASK_SUMMARY.c.task_id).where(TASK_SUMMARY.c.run_id == run, TASK_SUMMARY.c.content.is_(None))
    pairs = [(run, task) for task in await connection.scalars(stale)]
    if not pairs:
        return
    summed = await _sum(connection, dialect, QuantumFilter(), pairs)
    by = [EXECUTION.c.run_id, EXECUTION.c.task_id]
    measured = {
        measure: await distributions(connection, measure, by, _among(dialect, EXECUTION, pairs)) for measure in Measure
    }
    for summary in summed:
        key = (summary.run_id, summary.task_id)
        content = {
            name: getattr(summary, name)
            for name in TaskSummary.__slots__
            if name not in {"run_id", "task_id", "run_name", "task_label", "chosen", "measured"}
        }
        content["measured"] = {measure.value: found.get(key) for measure, found in measured.items()}
        await connection.execute(
            sa.update(TASK_SUMMARY)
            .where(TASK_SUMMARY.c.run_id == key[0], TASK_SUMMARY.c.task_id == key[1])
            .values(content=orjson.dumps(content).decode())
        )


def _read(run: int, task: int, content: str, chosen: QuantumFilter) -> TaskSummary:
    values = orjson.loads(content)
    values["exceptions"] = [ExceptionCount(**one) for one in values["exceptions"]]
    values["caveats"] = [CaveatCount(**one) for one in values["caveats"]]
    values["measured"] = {
        measure: None if (found := values["measured"][measure.value]) is None else Distribution(**found)
        for measure in Measure
    }
    return TaskSummary(run_id=run, task_id=task, run_name="", task_label="", chosen=chosen, **values)


async def _sum(
    connection: AsyncConnection,
    dialect: Dialect,
    chosen: QuantumFilter,
    pairs: Sequence[tuple[int, int]] | None = None,
) -> list[TaskSummary]:
    """Sum up what is chosen, of these runs and tasks only if they are given; names are not filled in."""
    of_quanta, of_executions = quantum_conditions(dialect, chosen), execution_conditions(dialect, chosen)
    if pairs is not None:
        of_quanta += _among(dialect, QUANTUM, pairs)
        of_executions += _among(dialect, EXECUTION, pairs)
    quanta = await _sum_quanta(connection, of_quanta)
    executions = await _sum_executions(connection, of_executions)
    exceptions = await _sum_exceptions(connection, of_executions)
    caveats = await _sum_caveats(connection, of_executions)
    result: list[TaskSummary] = []
    for key in quanta.keys() | executions.keys():
        counts = quanta.get(key) or _QuantumCounts()
        attempts = executions.get(key, (0, 0, 0))
        by_status = counts.by_status
        result.append(
            TaskSummary(
                run_id=key[0],
                task_id=key[1],
                run_name="",
                task_label="",
                expected=counts.planned or None,
                quanta=sum(by_status.values()),
                executions=attempts[0],
                successful=by_status.get(QuantumStatus.SUCCESSFUL, 0),
                failed=by_status.get(QuantumStatus.FAILED, 0),
                blocked=by_status.get(QuantumStatus.BLOCKED, 0),
                aborted=by_status.get(QuantumStatus.ABORTED, 0),
                aborted_success=by_status.get(QuantumStatus.ABORTED_SUCCESS, 0),
                unknown=by_status.get(QuantumStatus.UNKNOWN, 0),
                retried=counts.retried,
                recovered=counts.recovered,
                failed_executions=attempts[1],
                hosts=attempts[2],
                exceptions=exceptions.get(key, []),
                caveats=caveats.get(key, []),
                chosen=chosen,
            )
        )
    return result


class _QuantumCounts:
    """Counts of units of work of a task in a run."""

    def __init__(self) -> None:
        self.by_status: dict[int, int] = {}
        self.planned = self.retried = self.recovered = 0


async def _sum_quanta(
    connection: AsyncConnection, conditions: Iterable[sa.ColumnElement[bool]]
) -> dict[tuple[int, int], _QuantumCounts]:
    c = QUANTUM.c
    is_planned = sa.exists().where(PLAN.c.quantum_id == c.id)
    statement = (
        sa.select(
            c.run_id,
            c.task_id,
            c.status,
            sa.func.count(),
            sa.func.sum(sa.case((c.attempts > 1, 1), else_=0)),
            sa.func.sum(sa.case((is_planned, 1), else_=0)),
        )
        .where(*conditions)
        .group_by(c.run_id, c.task_id, c.status)
    )
    found: dict[tuple[int, int], _QuantumCounts] = {}
    for run, task, status, count, retried, planned in await connection.execute(statement):
        counts = found.setdefault((run, task), _QuantumCounts())
        counts.by_status[status] = count
        counts.planned += planned
        counts.retried += retried
        counts.recovered += retried if status == QuantumStatus.SUCCESSFUL else 0
    return found


async def _sum_executions(
    connection: AsyncConnection, conditions: Iterable[sa.ColumnElement[bool]]
) -> dict[tuple[int, int], tuple[int, int, int]]:
    c = EXECUTION.c
    statement = (
        sa.select(
            c.run_id,
            c.task_id,
            sa.func.count(),
            sa.func.sum(sa.case((c.status.in_(FAILURES), 1), else_=0)),
            sa.func.count(c.host_id.distinct()),
        )
        .where(*conditions)
        .group_by(c.run_id, c.task_id)
    )
    return {(row[0], row[1]): (row[2], row[3], row[4]) for row in await connection.execute(statement)}


async def _sum_exceptions(
    connection: AsyncConnection, conditions: Iterable[sa.ColumnElement[bool]]
) -> dict[tuple[int, int], list[ExceptionCount]]:
    """Count exceptions, the most frequent first."""
    c = EXECUTION.c
    counted = (
        sa.select(
            c.run_id,
            c.task_id,
            c.exception_id,
            sa.func.count().label("count"),
            sa.func.min(sa.case((c.message.is_not(None), c.id))).label("sample"),
        )
        .where(*conditions, c.exception_id.is_not(None))
        .group_by(c.run_id, c.task_id, c.exception_id)
        .subquery()
    )
    sample = EXECUTION.alias()
    statement = (
        sa.select(counted.c.run_id, counted.c.task_id, EXCEPTION.c.name, counted.c.count, sample.c.message)
        .join_from(counted, EXCEPTION, EXCEPTION.c.id == counted.c.exception_id)
        .outerjoin(sample, sample.c.id == counted.c.sample)
        .order_by(counted.c.count.desc(), EXCEPTION.c.name)
    )
    found: dict[tuple[int, int], list[ExceptionCount]] = {}
    for run, task, name, count, message in await connection.execute(statement):
        found.setdefault((run, task), []).append(ExceptionCount(name, count, message))
    return found


async def _sum_caveats(
    connection: AsyncConnection, conditions: Iterable[sa.ColumnElement[bool]]
) -> dict[tuple[int, int], list[CaveatCount]]:
    c = EXECUTION.c
    statement = (
        sa.select(c.run_id, c.task_id, c.caveats, sa.func.count())
        .where(*conditions, c.caveats > 0)
        .group_by(c.run_id, c.task_id, c.caveats)
    )
    counts: dict[tuple[int, int], dict[Caveats, int]] = {}
    for run, task, caveats, count in await connection.execute(statement):
        of_task = counts.setdefault((run, task), dict.fromkeys(_MEANINGS, 0))
        for flag in _MEANINGS:
            if flag & caveats:
                of_task[flag] += count
    return {
        key: [CaveatCount(str(flag.name), _MEANINGS[flag], count) for flag, count in of_task.items() if count]
        for key, of_task in counts.items()
    }


def _among(dialect: Dialect, table: sa.Table, pairs: Sequence[tuple[int, int]]) -> list[sa.ColumnElement[bool]]:
    """Condition that rows are of one of these runs and tasks."""
    given = dialect.rows("given", {"run_id": sa.BigInteger(), "task_id": sa.BigInteger()}, pairs)
    wanted = sa.select(given.c.run_id, given.c.task_id)
    return [sa.tuple_(table.c.run_id, table.c.task_id).in_(wanted)]


async def _in_order(
    connection: AsyncConnection, dialect: Dialect, summaries: Sequence[TaskSummary]
) -> list[TaskSummary]:
    """Fill in the names, and put in their order."""
    pairs = [(place, summary.run_id, summary.task_id) for place, summary in enumerate(summaries)]
    columns = {name: sa.BigInteger() for name in ("place", "run_id", "task_id")}
    given = dialect.rows("given", columns, pairs)
    statement = (
        sa.select(given.c.place, RUN.c.name, TASK.c.name)
        .join_from(given, RUN, RUN.c.id == given.c.run_id)
        .join(TASK, TASK.c.id == given.c.task_id)
        .order_by(RUN.c.name, TASK.c.name)
    )
    return [
        replace(summaries[place], run_name=run, task_label=task)
        for place, run, task in await connection.execute(statement)
    ]
