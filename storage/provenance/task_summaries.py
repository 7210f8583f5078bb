"""How often each task ran in each run, and how it went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from butlerql.storage.provenance.pipeline_executions import PipelineExecution, graph_of
from butlerql.storage.provenance.records import Caveats, QuantumStatus
from butlerql.storage.provenance.tables import EXCEPTION, EXECUTION, PLAN, QUANTUM, RUN, TASK, TASK_SUMMARY
from butlerql.storage.state.database import State

__all__ = [
    "CaveatCount",
    "ExceptionCount",
    "TaskSummary",
    "find_task_summaries",
    "measured_tasks",
    "sum_up_tasks",
    "task_summaries_of_graphs",
]

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

    graph: PipelineExecution | None = None
    """Only what this one planned, and did."""

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


async def task_summaries_of_graphs(state: State, graphs: Sequence[PipelineExecution]) -> list[list[TaskSummary]]:
    """Sum up what each pipeline execution planned and did, one row a task, all of them in a few statements."""
    chosen, once = QuantumFilter(), list(dict.fromkeys(graphs))

    async def find(connection: AsyncConnection) -> list[TaskSummary]:
        return await _in_order(connection, state.dialect, await _sum(connection, state.dialect, chosen, graphs=once))

    by_graph: dict[PipelineExecution | None, list[TaskSummary]] = {}
    summaries: list[TaskSummary] = await state.read(find, absent=[])
    for summary in summaries:
        by_graph.setdefault(summary.graph, []).append(summary)
    return [by_graph.get(graph, []) for graph in graphs]


async def measured_tasks(state: State, summaries: Sequence[TaskSummary], measure: Measure) -> list[Distribution | None]:
    """Give the distribution of what is measured of the attempts of each summary; None where nothing is."""
    left: dict[int, list[int]] = {}
    for place, summary in enumerate(summaries):
        if summary.measured is None:
            left.setdefault(id(summary.chosen), []).append(place)
    found = [None if summary.measured is None else summary.measured[measure] for summary in summaries]

    async def find(connection: AsyncConnection) -> list[dict[Any, Distribution]]:
        answers: list[dict[Any, Distribution]] = []
        for places in left.values():
            pairs = [(summaries[place].run_id, summaries[place].task_id) for place in places]
            graphs = {graph for place in places if (graph := summaries[place].graph) is not None}
            by, conditions = _of_executions(state.dialect, summaries[places[0]].chosen, pairs, list(graphs))
            answers.append(await distributions(connection, measure, by, conditions))
        return answers

    if left:
        answers: list[dict[Any, Distribution]] = await state.read(find, absent=[{}] * len(left))
        for places, answer in zip(left.values(), answers, strict=True):
            for place in places:
                one = summaries[place]
                of_graph = () if one.graph is None else (one.graph.id,)
                found[place] = answer.get((*of_graph, one.run_id, one.task_id))
    return found


async def sum_up_tasks(connection: AsyncConnection, dialect: Dialect, run: int) -> None:
    """Sum up the tasks of a run of which there is more than was summed up; nobody takes anything in meanwhile."""
    stale = sa.select(TASK_SUMMARY.c.task_id).where(TASK_SUMMARY.c.run_id == run, TASK_SUMMARY.c.content.is_(None))
    pairs = [(run, task) for task in await connection.scalars(stale)]
    if not pairs:
        return
    summed = await _sum(connection, dialect, QuantumFilter(), pairs)
    by, conditions = _of_executions(dialect, QuantumFilter(), pairs)
    measured = {measure: await distributions(connection, measure, by, conditions) for measure in Measure}
    for summary in summed:
        key = (summary.run_id, summary.task_id)
        content = {
            name: getattr(summary, name)
            for name in TaskSummary.__slots__
            if name not in {"run_id", "task_id", "run_name", "task_label", "chosen", "graph", "measured"}
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


_Key = tuple[int, ...]
"""A run and a task, and in front of them a pipeline execution if several are asked of."""

_Grouped = tuple[list[sa.ColumnElement[int]], list[sa.ColumnElement[bool]]]
"""Columns that make a key, and conditions."""


def _of_quanta(
    dialect: Dialect,
    chosen: QuantumFilter,
    pairs: Sequence[tuple[int, int]] | None,
    graphs: Sequence[PipelineExecution] = (),
) -> _Grouped:
    by, conditions, given = _grouped(dialect, QUANTUM, pairs, graphs)
    if given is not None:
        conditions += [PLAN.c.pipeline_execution_id == given.c.graph_id, QUANTUM.c.id == PLAN.c.quantum_id]
    return by, [*quantum_conditions(dialect, chosen), *conditions]


def _of_executions(
    dialect: Dialect,
    chosen: QuantumFilter,
    pairs: Sequence[tuple[int, int]] | None,
    graphs: Sequence[PipelineExecution] = (),
) -> _Grouped:
    by, conditions, given = _grouped(dialect, EXECUTION, pairs, graphs)
    if given is not None:
        conditions += [EXECUTION.c.run_id == given.c.run_id, graph_of() == given.c.graph_id]
    return by, [*execution_conditions(dialect, chosen), *conditions]


def _grouped(
    dialect: Dialect, table: sa.Table, pairs: Sequence[tuple[int, int]] | None, graphs: Sequence[PipelineExecution]
) -> tuple[list[sa.ColumnElement[int]], list[sa.ColumnElement[bool]], sa.FromClause | None]:
    """Give the key, conditions, and the graphs to be joined, if any are asked of."""
    by: list[sa.ColumnElement[int]] = [table.c.run_id, table.c.task_id]
    conditions = [] if pairs is None else _among(dialect, table, pairs)
    if not graphs:
        return by, conditions, None
    columns = {"graph_id": sa.BigInteger(), "run_id": sa.BigInteger()}
    given = dialect.rows("graphs", columns, [(graph.id, graph.run_id) for graph in graphs])
    return [given.c.graph_id, *by], conditions, given


async def _sum(
    connection: AsyncConnection,
    dialect: Dialect,
    chosen: QuantumFilter,
    pairs: Sequence[tuple[int, int]] | None = None,
    graphs: Sequence[PipelineExecution] = (),
) -> list[TaskSummary]:
    """Sum up what is chosen; names are not filled in.

    Parameters
    ----------
    pairs
        Only of these runs and tasks, if they are given.
    graphs
        Only what these pipeline executions planned and did, each by itself, if any are given.
    """
    quanta = await _sum_quanta(connection, *_of_quanta(dialect, chosen, pairs, graphs))
    of_executions = _of_executions(dialect, chosen, pairs, graphs)
    executions = await _sum_executions(connection, *of_executions)
    exceptions = await _sum_exceptions(connection, *of_executions)
    caveats = await _sum_caveats(connection, *of_executions)
    by_number = {graph.id: graph for graph in graphs}
    result: list[TaskSummary] = []
    for key in quanta.keys() | executions.keys():
        counts = quanta.get(key) or _QuantumCounts()
        attempts = executions.get(key, (0, 0, 0))
        by_status = counts.by_status
        result.append(
            TaskSummary(
                run_id=key[-2],
                task_id=key[-1],
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
                graph=by_number.get(key[0]) if graphs else None,
            )
        )
    return result


class _QuantumCounts:
    """Counts of units of work of a task in a run."""

    def __init__(self) -> None:
        self.by_status: dict[int, int] = {}
        self.planned = self.retried = self.recovered = 0


async def _sum_quanta(
    connection: AsyncConnection, by: Sequence[sa.ColumnElement[int]], conditions: Sequence[sa.ColumnElement[bool]]
) -> dict[_Key, _QuantumCounts]:
    c, plan = QUANTUM.c, PLAN.alias()
    is_planned = sa.exists().where(plan.c.quantum_id == c.id)
    statement = (
        sa.select(
            *by,
            c.status,
            sa.func.count(),
            sa.func.sum(sa.case((c.attempts > 1, 1), else_=0)),
            sa.func.sum(sa.case((is_planned, 1), else_=0)),
        )
        .where(*conditions)
        .group_by(*by, c.status)
    )
    found: dict[_Key, _QuantumCounts] = {}
    for *key, status, count, retried, planned in await connection.execute(statement):
        counts = found.setdefault(tuple(key), _QuantumCounts())
        counts.by_status[status] = count
        counts.planned += planned
        counts.retried += retried
        counts.recovered += retried if status == QuantumStatus.SUCCESSFUL else 0
    return found


async def _sum_executions(
    connection: AsyncConnection, by: Sequence[sa.ColumnElement[int]], conditions: Sequence[sa.ColumnElement[bool]]
) -> dict[_Key, tuple[int, int, int]]:
    c = EXECUTION.c
    statement = (
        sa.select(
            *by,
            sa.func.count(),
            sa.func.sum(sa.case((c.status.in_(FAILURES), 1), else_=0)),
            sa.func.count(c.host_id.distinct()),
        )
        .where(*conditions)
        .group_by(*by)
    )
    return {tuple(key): (count, failed, hosts) for *key, count, failed, hosts in await connection.execute(statement)}


async def _sum_exceptions(
    connection: AsyncConnection, by: Sequence[sa.ColumnElement[int]], conditions: Sequence[sa.ColumnElement[bool]]
) -> dict[_Key, list[ExceptionCount]]:
    """Count exceptions, the most frequent first."""
    c = EXECUTION.c
    counted = (
        sa.select(
            *by,
            c.exception_id,
            sa.func.count().label("count"),
            sa.func.min(sa.case((c.message.is_not(None), c.id))).label("sample"),
        )
        .where(*conditions, c.exception_id.is_not(None))
        .group_by(*by, c.exception_id)
        .subquery()
    )
    sample = EXECUTION.alias()
    statement = (
        sa.select(*(counted.c[column.name] for column in by), EXCEPTION.c.name, counted.c.count, sample.c.message)
        .join_from(counted, EXCEPTION, EXCEPTION.c.id == counted.c.exception_id)
        .outerjoin(sample, sample.c.id == counted.c.sample)
        .order_by(counted.c.count.desc(), EXCEPTION.c.name)
    )
    found: dict[_Key, list[ExceptionCount]] = {}
    for *key, name, count, message in await connection.execute(statement):
        found.setdefault(tuple(key), []).append(ExceptionCount(name, count, message))
    return found


async def _sum_caveats(
    connection: AsyncConnection, by: Sequence[sa.ColumnElement[int]], conditions: Sequence[sa.ColumnElement[bool]]
) -> dict[_Key, list[CaveatCount]]:
    c = EXECUTION.c
    statement = sa.select(*by, c.caveats, sa.func.count()).where(*conditions, c.caveats > 0).group_by(*by, c.caveats)
    counts: dict[_Key, dict[Caveats, int]] = {}
    for *key, caveats, count in await connection.execute(statement):
        of_task = counts.setdefault(tuple(key), dict.fromkeys(_MEANINGS, 0))
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
