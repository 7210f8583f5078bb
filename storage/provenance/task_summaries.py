"""How often each task ran in each run, and how it went."""

from __future__ import annotations

from collections import Counter
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
from butlerql.storage.state.bulk import change_rows
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
            answers += await distributions(connection, [measure], by, conditions)
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
    measured = await distributions(connection, list(Measure), by[-1:], conditions)
    rows: list[tuple[str, int, int]] = []
    for summary in summed:
        content = {
            name: getattr(summary, name)
            for name in TaskSummary.__slots__
            if name not in {"run_id", "task_id", "run_name", "task_label", "chosen", "graph", "measured"}
        }
        of_task = (found.get((summary.task_id,)) for found in measured)
        content["measured"] = dict(zip((measure.value for measure in Measure), of_task, strict=True))
        rows.append((orjson.dumps(content).decode(), run, summary.task_id))
    await change_rows(connection, TASK_SUMMARY, rows, "content")


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
    exceptions, caveats = await _sum_troubles(connection, *of_executions)
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


async def _sum_troubles(
    connection: AsyncConnection, by: Sequence[sa.ColumnElement[int]], conditions: Sequence[sa.ColumnElement[bool]]
) -> tuple[dict[_Key, list[ExceptionCount]], dict[_Key, list[CaveatCount]]]:
    """Count exceptions, the most frequent first, and caveats."""
    c = EXECUTION.c
    counted = (
        sa.select(
            *by,
            c.exception_id,
            c.caveats,
            sa.func.count().label("count"),
            sa.func.min(c.id).filter(c.message.is_not(None)).label("sample"),
        )
        .where(*conditions, sa.or_(c.exception_id.is_not(None), c.caveats > 0))
        .group_by(*by, c.exception_id, c.caveats)
        .subquery()
    )
    sample = EXECUTION.alias()
    key = [counted.c[column.name] for column in by]
    statement = (
        sa.select(*key, counted.c.caveats, counted.c.count, EXCEPTION.c.name, sample.c.message)
        .outerjoin_from(counted, EXCEPTION, EXCEPTION.c.id == counted.c.exception_id)
        .outerjoin(sample, sample.c.id == counted.c.sample)
        .order_by(EXCEPTION.c.name, counted.c.sample.nulls_last())
    )
    exceptions: dict[_Key, dict[str, ExceptionCount]] = {}
    caveats: dict[_Key, Counter[Caveats]] = {}
    for *key, flags, count, name, message in await connection.execute(statement):
        if name is not None:
            of_task = exceptions.setdefault(tuple(key), {})
            known = of_task.get(name, ExceptionCount(name, 0, message))
            of_task[name] = replace(known, count=known.count + count)
        caveats.setdefault(tuple(key), Counter()).update({flag: count for flag in _MEANINGS if flag & (flags or 0)})
    return (
        {key: sorted(some.values(), key=lambda one: -one.count) for key, some in exceptions.items()},
        {
            key: [CaveatCount(str(flag.name), _MEANINGS[flag], some[flag]) for flag in _MEANINGS if some[flag]]
            for key, some in caveats.items()
        },
    )


def _among(dialect: Dialect, table: sa.Table, pairs: Sequence[tuple[int, int]]) -> list[sa.ColumnElement[bool]]:
    """Condition that rows are of one of these runs and tasks."""
    given = dialect.rows("given", {"run_id": sa.BigInteger(), "task_id": sa.BigInteger()}, pairs)
    if len({run for run, _ in pairs}) == 1:
        # This way SQLite finds one group after the other, and has nothing to sort.
        return [table.c.run_id == pairs[0][0], table.c.task_id.in_(sa.select(given.c.task_id))]
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
