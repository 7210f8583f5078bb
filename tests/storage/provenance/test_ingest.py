"""Whatever tells of it, in whatever order and however often: what was done is known once, and all of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.provenance import ingest as ingesting
from butlerql.storage.provenance.batches import written_data_id
from butlerql.storage.provenance.executions import Execution, executions_of
from butlerql.storage.provenance.filters import QuantumFilter
from butlerql.storage.provenance.ingest import ingest
from butlerql.storage.provenance.pipeline_executions import pipeline_executions_of_runs
from butlerql.storage.provenance.quanta import Quantum, find_quanta
from butlerql.storage.provenance.records import (
    ExecutionRecord,
    PipelineExecutionRecord,
    QuantumRecord,
    QuantumStatus,
    Record,
    Skipped,
    Source,
    SourceKind,
)
from butlerql.storage.provenance.tables import DATASET, EDGE, QUANTUM, RUN, TASK
from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.state.database import State
from tests.support.provenance_filters import attempts_at
from tests.support.provenance_state import dumped, emptied, in_batches, take_in
from tests.support.provenance_worlds import RUNS, Graph, Work, World, worlds

ALL = PageRequest(1000)
SETTINGS = settings(
    max_examples=settings.default.max_examples // 6,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingesting, "_BATCH", 4)


def key_of(run: str, task: str, data_id: dict[str, int | str]) -> tuple[Any, ...]:
    return (run, task, tuple(sorted(data_id.items())))


def told(graph: Graph | None, record: ExecutionRecord, attempt: int) -> tuple[Any, ...]:
    """Give what is to be known of an attempt."""
    return (
        attempt,
        record.status,
        record.host,
        None if graph is None else str(graph.uuid),
        record.started_at,
        record.ended_at,
        record.run_time,
        record.cpu_time,
        record.max_rss,
        record.exception,
        record.message,
        [flag.name for flag in record.caveats or ()],
        record.process_index,
        None if record.log is None else str(record.log),
        None,
    )


def expected(world: World, work: Work) -> tuple[Any, ...]:
    attempts = [told(one.graph, one.record, one.place) for one in attempts_at(world, work)]
    uuid = max(map(str, work.planned_in.values()), default=None)
    return (uuid, work.status, len(work.attempts), attempts)


async def known(state: State) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    quanta: list[Quantum] = (await find_quanta(state, QuantumFilter(), ALL)).rows
    attempts: list[list[Execution]] = await executions_of(state, [quantum.id for quantum in quanta])
    return {
        key_of(one.run_name, one.task_label, one.data_id_values): (
            one.uuid,
            one.status,
            one.attempts,
            [tuple(attempt[2:]) for attempt in executions],
        )
        for one, executions in zip(quanta, attempts, strict=True)
    }


async def edges(state: State) -> set[tuple[Any, ...]]:
    statement = (
        sa.select(RUN.c.name, TASK.c.name, QUANTUM.c.data_id, EDGE.c.is_output, DATASET.c.uuid)
        .join_from(EDGE, QUANTUM, QUANTUM.c.id == EDGE.c.quantum_id)
        .join(TASK, TASK.c.id == QUANTUM.c.task_id)
        .join(RUN, RUN.c.id == QUANTUM.c.run_id)
        .join(DATASET, DATASET.c.id == EDGE.c.dataset_id)
    )

    async def find(connection: AsyncConnection) -> set[tuple[Any, ...]]:
        return set(map(tuple, await connection.execute(statement)))

    return await state.read(find, absent=set())


async def datasets(state: State) -> set[tuple[Any, ...]]:
    c = DATASET.c
    statement = sa.select(c.uuid, c.dataset_type, c.data_id, RUN.c.name, c.produced).join(RUN, RUN.c.id == c.run_id)

    async def find(connection: AsyncConnection) -> set[tuple[Any, ...]]:
        return set(map(tuple, await connection.execute(statement)))

    return await state.read(find, absent=set())


@SETTINGS
@given(data=st.data(), world=worlds())
async def test_all_is_known_whatever_order_it_is_told_in(state: State, data: st.DataObject, world: World) -> None:
    await emptied(state)
    tellings = data.draw(st.permutations(world.tellings))
    for telling in tellings:
        result = await take_in(state, telling)
        skipped = sum(isinstance(record, Skipped) for record in telling.records)
        assert (result.records, result.skipped) == (len(telling.records), skipped)
    assert await known(state) == {key_of(one.run, one.task, one.data_id): expected(world, one) for one in world.works}
    made = sorted(world.graphs, key=lambda graph: graph.created_at or float("inf"))
    graphs = [[str(graph.uuid) for graph in made if graph.run == run] for run in RUNS]
    found = await pipeline_executions_of_runs(state, RUNS)
    assert [[graph.uuid for graph in of_run] for of_run in found] == graphs
    assert await edges(state) == {
        (work.run, work.task, written_data_id(work.data_id), is_output, str(uuid))
        for work in world.works
        for is_output, uuids in ((False, work.inputs), (True, work.outputs))
        for uuid in uuids
    }
    assert await datasets(state) == {
        (str(uuid), dataset_type, written_data_id(data_id), run, written)
        for uuid, (dataset_type, data_id, run, written) in world.datasets.items()
    }
    # Told once more, it is the same.
    before = await dumped(state)
    for telling in data.draw(st.permutations(world.tellings)):
        again = await take_in(state, telling, digest="2")
        assert (again.quanta, again.executions) == (0, 0)
        assert await take_in(state, telling, digest="2") == again
    assert await dumped(state) == before


class Died(Exception):
    pass


@SETTINGS
@given(data=st.data(), world=worlds())
async def test_who_dies_is_followed_by_who_goes_on(state: State, data: st.DataObject, world: World) -> None:
    await emptied(state)
    for telling in world.tellings:
        await take_in(state, telling)
    whole = await dumped(state)
    await emptied(state)
    for telling in world.tellings:

        def records(last: int, records: list[Record] = telling.records) -> Iterator[Record]:
            for place, record in enumerate(records):
                if place == last:
                    raise Died
                yield record

        source = Source(telling.kind, telling.name, "1")
        for last in sorted(data.draw(st.lists(st.integers(0, 30), max_size=3))):
            if last < len(telling.records):
                with pytest.raises(Died):
                    await ingest(state, source, in_batches(records(last)))
        assert (await ingest(state, source, in_batches(records(-1)))).records == len(telling.records)
    assert await dumped(state) == whole


def quantum(*executions: ExecutionRecord, **given: Any) -> QuantumRecord:
    return QuantumRecord("u/one", "isr", {"instrument": "Cam1", "exposure": 1}, executions=executions, **given)


async def test_times_add_up_to_the_same_in_whatever_order_they_came(state: State) -> None:
    sums = []
    for times in ((0.1, 0.2, 0.3), (0.3, 0.2, 0.1)):
        assert sum(times) != sum(reversed(times))
        await emptied(state)
        for exposure, run_time in enumerate(times):
            attempt = ExecutionRecord(0, QuantumStatus.SUCCESSFUL, run_time=run_time)
            record = QuantumRecord("u/one", "isr", {"exposure": exposure}, executions=(attempt,))
            await ingest(state, Source(SourceKind.TASK_RECORDS, str(exposure), "1"), in_batches([record]))
        sums.append((await dumped(state))["task_summary"])
    assert sums[0] == sums[1]


async def test_the_more_believed_wins_and_fills_what_it_lacks(state: State) -> None:
    seen = ExecutionRecord(0, QuantumStatus.FAILED, "node-1", 1_000_000, run_time=2.0, exception="X")
    for kinds in (
        [SourceKind.PROVENANCE_GRAPH, SourceKind.TASK_RECORDS],
        [SourceKind.TASK_RECORDS, SourceKind.PROVENANCE_GRAPH],
    ):
        await emptied(state)
        for kind in kinds:
            is_best = kind is SourceKind.PROVENANCE_GRAPH
            one = replace(seen, host="node-2", exception=None) if is_best else replace(seen, run_time=3.0)
            await ingest(state, Source(kind, "file", "1"), in_batches([quantum(one)]))
        [[attempt]] = await executions_of(state, [1])
        assert (attempt.host, attempt.run_time, attempt.exception) == ("node-2", 2.0, "X")


KILLED = ExecutionRecord(0, QuantumStatus.ABORTED, "node-17", 15_000_000, 42_000_000, message="Killed.")
WHOLE = ExecutionRecord(
    0, QuantumStatus.SUCCESSFUL, "node-3", 51_000_000, 59_000_000, run_time=8.0, log=UUID(int=1), metadata=UUID(int=2)
)
COUNTED = ExecutionRecord(1, QuantumStatus.SUCCESSFUL, "node-3", 50_000_000, 60_000_000, max_rss=9)
GRAPH = {"uuid": UUID(int=3), "pipeline_execution": UUID(int=4)}
SOURCES = {
    "killed": (SourceKind.JSON_LINES, quantum(KILLED)),
    "lines": (SourceKind.JSON_LINES, quantum(KILLED), quantum(COUNTED)),
    "run": (SourceKind.TASK_RECORDS, quantum(WHOLE)),
    "graph": (SourceKind.PROVENANCE_GRAPH, PipelineExecutionRecord(UUID(int=4), "u/one"), quantum(WHOLE, **GRAPH)),
    "plan": (SourceKind.PREDICTED_GRAPH, PipelineExecutionRecord(UUID(int=4), "u/one"), quantum(**GRAPH)),
}


@pytest.mark.parametrize(
    "names",
    [("killed", "run"), ("killed", "graph"), ("killed", "plan", "run"), ("lines", "run"), ("lines", "graph", "run")],
)
async def test_what_was_killed_is_not_what_succeeded_later(state: State, names: tuple[str, ...]) -> None:
    for order in permutations(names):
        await emptied(state)
        for again in range(2):
            for name in order:
                kind, *records = SOURCES[name]
                await ingest(state, Source(kind, name, str(again)), in_batches(records))
            [[killed, whole]] = await executions_of(state, [1])
            planned = None if {"graph", "plan"}.isdisjoint(names) else Graph(UUID(int=4), "u/one", 0)
            assert tuple(killed)[2:] == told(planned, KILLED, 0)
            # Who is believed most is that.
            begin = 50_000_000 if "lines" in names and "graph" not in names else 51_000_000
            assert (whole.attempt, whole.status, whole.log_uuid) == (1, QuantumStatus.SUCCESSFUL, str(UUID(int=1)))
            assert (whole.started_at, whole.host, whole.run_time, whole.message) == (begin, "node-3", 8.0, None)
            assert whole.max_rss == (9 if "lines" in names else None)
            assert [one.status for one in (await find_quanta(state, QuantumFilter(), ALL)).rows] == [whole.status]


async def test_a_failure_that_nobody_heard_of_may_have_been_killed(state: State) -> None:
    """A graph names the log of what may never have run, too."""
    unknown = ExecutionRecord(0, QuantumStatus.UNKNOWN, log=UUID(int=1), metadata=UUID(int=2))
    sources = [
        (SourceKind.PROVENANCE_GRAPH, quantum(unknown, **GRAPH)),
        (SourceKind.JSON_LINES, quantum(KILLED)),
    ]
    for order in permutations(sources):
        await emptied(state)
        for kind, record in order:
            await ingest(state, Source(kind, "file", "1"), in_batches([record]))
        [[one]] = await executions_of(state, [1])
        assert (one.status, one.host, one.log_uuid) == (QuantumStatus.ABORTED, "node-17", str(UUID(int=1)))


async def test_attempts_with_one_number_are_told_apart_by_their_times(state: State) -> None:
    failed = ExecutionRecord(0, QuantumStatus.FAILED, "node-1", 1_000_000, 2_000_000, exception="E")
    later = ExecutionRecord(0, QuantumStatus.SUCCESSFUL, "node-2", 3_000_000, 4_000_000)
    for order in permutations([failed, later]):
        await emptied(state)
        await ingest(state, Source(SourceKind.JSON_LINES, "file", "1"), in_batches(map(quantum, order)))
        [[first, second]] = await executions_of(state, [1])
        assert (first.host, first.exception, second.host, second.exception) == ("node-1", "E", "node-2", None)


async def test_what_no_database_holds_is_left_out(state: State) -> None:
    await emptied(state)
    odd = ExecutionRecord(
        0, QuantumStatus.FAILED, run_time=float("nan"), cpu_time=float("inf"), exception="X", message="a\0b\ud800"
    )
    await ingest(
        state, Source(SourceKind.TASK_RECORDS, "run", "1"), in_batches([quantum(odd), Skipped("a\0", "b\ud800")])
    )
    [[attempt]] = await executions_of(state, [1])
    assert (attempt.run_time, attempt.cpu_time, attempt.message) == (None, None, "a\N{REPLACEMENT CHARACTER}b?")


async def test_many_take_in_at_once(state: State) -> None:
    await emptied(state)
    sources = [
        (Source(SourceKind.TASK_RECORDS, str(number), "1"), [quantum(ExecutionRecord(number, QuantumStatus.FAILED))])
        for number in range(6)
    ]
    await asyncio.gather(*(ingest(state, source, in_batches(records)) for source, records in sources))
    [attempts] = await executions_of(state, [1])
    assert [attempt.attempt for attempt in attempts] == list(range(6))
