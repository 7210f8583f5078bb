"""How the databases go about summaries of one run: by indexes, in as many statements whatever the number of runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any
from uuid import UUID

import orjson
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.provenance import distributions
from butlerql.storage.provenance.anomalies import examples_of, find_anomalies
from butlerql.storage.provenance.distributions import Measure
from butlerql.storage.provenance.executions import count_executions
from butlerql.storage.provenance.filters import QuantumFilter
from butlerql.storage.provenance.host_summaries import (
    HostSummary,
    find_host_summaries,
    host_summaries_of_runs,
    measured_hosts,
)
from butlerql.storage.provenance.ingest import ingest
from butlerql.storage.provenance.pipeline_executions import PipelineExecution, graph_of, times_of
from butlerql.storage.provenance.records import ExecutionRecord, QuantumRecord, QuantumStatus, Source, SourceKind
from butlerql.storage.provenance.summing import sum_up
from butlerql.storage.provenance.tables import EXECUTION, PIPELINE_EXECUTION, PLAN, RUN, TASK_SUMMARY
from butlerql.storage.provenance.task_summaries import find_task_summaries, measured_tasks, task_summaries_of_graphs
from butlerql.storage.state.bulk import add_rows
from butlerql.storage.state.database import State
from tests.support.provenance_state import emptied, in_batches, noted

RUNS = [f"night/{number}" for number in range(3)]
LARGE = {"execution", "quantum", "plan", "host_summary", "task_summary"}
SECOND = 1_000_000


@pytest.fixture(scope="module")
async def told(state: State) -> AsyncIterator[State]:
    """Give a state that knows of some runs; in the first one all takes longer, and some of it fails."""
    records = []
    for place, run in enumerate(RUNS):
        for unit in range(40):
            failed = place == 0 and unit % 4 == 0
            status = QuantumStatus.FAILED if failed else QuantumStatus.SUCCESSFUL
            start, seconds = place * 86_400 * SECOND, 30.0 if place == 0 else 3.0
            host = f"node-{unit % 7}"
            one = ExecutionRecord(0, status, host, start, start + SECOND, seconds, seconds, 10**9, 0)
            records.append(QuantumRecord(run, f"task-{unit % 2}", {"exposure": unit}, executions=(one,)))
    await emptied(state)
    await ingest(state, Source(SourceKind.JSON_LINES, "nights", "1"), in_batches(records))
    yield state
    await emptied(state)


async def ask_of_tasks(state: State, chosen: QuantumFilter) -> None:
    summaries = await find_task_summaries(state, chosen)
    assert summaries and all(await measured_tasks(state, summaries, Measure.RUN_TIME))


async def ask_of_hosts(state: State, chosen: QuantumFilter) -> None:
    summaries = await find_host_summaries(state, chosen)
    assert summaries and all(await measured_hosts(state, summaries, Measure.MAX_RSS))


async def ask_of_runs(state: State, runs: list[str]) -> None:
    found = await host_summaries_of_runs(state, runs)
    assert all(found) and len(found) == len(runs)
    assert all(await measured_hosts(state, [one for some in found for one in some], Measure.RUN_TIME))


async def ask_of_anomalies(state: State) -> None:
    found = await find_anomalies(state, RUNS[0], [RUNS[1]], 2.0, 3)
    assert found and all(await examples_of(state, found, 2))


async def ask_of_graphs(state: State) -> None:
    graph = PipelineExecution(1, 1, str(UUID(int=1)), RUNS[0], None, None, None)
    assert await times_of(state, [graph]) == [(None, None)]
    assert await count_executions(state, QuantumFilter(pipeline_executions=[graph.uuid])) == 0
    assert await task_summaries_of_graphs(state, [graph]) == [[]]


ONE = QuantumFilter(only_runs=RUNS[:1])
SOME = QuantumFilter(runs=RUNS[:1], statuses=[QuantumStatus.SUCCESSFUL])
QUESTIONS: dict[str, Callable[[State], Awaitable[None]]] = {
    "tasks": lambda state: ask_of_tasks(state, ONE),
    "some of tasks": lambda state: ask_of_tasks(state, SOME),
    "hosts": lambda state: ask_of_hosts(state, ONE),
    "some of hosts": lambda state: ask_of_hosts(state, SOME),
    "runs": lambda state: ask_of_runs(state, RUNS[:1]),
    "anomalies": ask_of_anomalies,
    "graphs": ask_of_graphs,
}


@pytest.mark.parametrize("is_summed", [True, False], ids=["summed up", "not summed up"])
@pytest.mark.parametrize("question", QUESTIONS)
async def test_one_run_is_found_by_indexes(told: State, question: str, *, is_summed: bool) -> None:
    await mark(told, is_summed=is_summed)
    with noted(told) as statements:
        await QUESTIONS[question](told)
    explain = explain_on_sqlite if told.dialect.name == "sqlite" else explain_on_postgresql

    async def check(connection: AsyncConnection) -> None:
        for statement, parameters in statements:
            await explain(connection, statement, parameters)

    assert statements
    await told.read(check, absent=None)


async def mark(state: State, *, is_summed: bool) -> None:
    """Have runs summed up, or not."""

    async def change(connection: AsyncConnection) -> None:
        await connection.execute(sa.update(RUN).values(hosts_summed=False))
        await connection.execute(sa.update(TASK_SUMMARY).values(content=None))

    await state.write(change)
    if is_summed:
        await sum_up(state)


async def explain_on_sqlite(connection: AsyncConnection, statement: str, parameters: Any) -> None:
    plan = [row[3] for row in await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
    for step in plan:
        words = step.split()
        assert words[0] != "SCAN" or words[1].rstrip("_0123456789") not in LARGE, (step, statement)


async def explain_on_postgresql(connection: AsyncConnection, statement: str, parameters: Any) -> None:
    # Small tables are read as a whole, whatever their indexes; what is asked is whether an index serves.
    await connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
    found = await connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters)
    plan = found.scalar_one()
    for node in nodes_of(orjson.loads(plan)[0]["Plan"] if isinstance(plan, str) else plan[0]["Plan"]):
        if node.get("Relation Name") in LARGE:
            assert "Index Cond" in node or "Recheck Cond" in node, (node, statement)


def nodes_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes_of(part)


async def test_many_runs_take_as_many_statements_as_one(told: State) -> None:
    await mark(told, is_summed=True)
    counts = []
    for number in (1, len(RUNS)):
        with noted(told) as statements:
            await ask_of_runs(told, RUNS[:number])
        counts.append(len(statements))
    assert counts[0] == counts[1] > 0


async def test_each_run_has_the_hosts_that_it_has_alone(told: State) -> None:
    for is_summed in (True, False):
        await mark(told, is_summed=is_summed)
        together = await host_summaries_of_runs(told, [*RUNS, "nobody"])
        alone = [await find_host_summaries(told, QuantumFilter(runs=[run])) for run in [*RUNS, "nobody"]]
        assert [[counts_of(one) for one in some] for some in together] == [
            [counts_of(one) for one in some] for some in alone
        ]
        for some, others in zip(together, alone, strict=True):
            assert await measured_hosts(told, some, Measure.RUN_TIME) == await measured_hosts(
                told, others, Measure.RUN_TIME
            )


@pytest.mark.parametrize("rows", [1, 7, 30])
async def test_it_does_not_matter_how_many_values_are_read_at_once(
    told: State, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    hosts = await find_host_summaries(told, QuantumFilter(statuses=[QuantumStatus.SUCCESSFUL]))
    whole = await measured_hosts(told, hosts, Measure.RUN_TIME)
    monkeypatch.setattr(distributions, "_ROWS", rows)
    assert await measured_hosts(told, hosts, Measure.RUN_TIME) == whole
    assert [one and one.count for one in whole] == [one.executions for one in hosts]


async def test_graphs_of_attempts_are_looked_up_without_statistics(state: State) -> None:
    if state.dialect.name == "sqlite":
        pytest.skip("Without statistics SQLite looks it up in any case.")
    graphs = [(number, UUID(int=number).hex, 1, *(None,) * 5) for number in range(1, 501)]

    async def fill(connection: AsyncConnection) -> None:
        await add_rows(connection, state.dialect, RUN, [(1, "night", False, None, None, None)])
        await add_rows(connection, state.dialect, PIPELINE_EXECUTION, graphs)
        await add_rows(connection, state.dialect, PLAN, [(unit, 1 + unit % 500) for unit in range(40_000)])

    async def check(connection: AsyncConnection) -> None:
        attempts = sa.select(EXECUTION.c.id, graph_of()).compile(dialect=connection.dialect)
        found = await connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {attempts}", (1,) * len(attempts.params))
        plan = found.scalar_one()
        nodes = nodes_of(orjson.loads(plan)[0]["Plan"] if isinstance(plan, str) else plan[0]["Plan"])
        [graph] = [node for node in nodes if node.get("Relation Name") == "pipeline_execution"]
        assert "Index Cond" in graph

    await emptied(state)
    await state.write(fill)
    await state.read(check, absent=None)
    await emptied(state)


def counts_of(one: HostSummary) -> dict[str, Any]:
    return {name: getattr(one, name) for name in HostSummary.__slots__ if name not in {"chosen", "run_id"}}
