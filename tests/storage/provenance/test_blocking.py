"""What a plan and the end of some of its work say of the rest: it is blocked, and it is not when it can go on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.provenance.blocking import mark_blocked
from butlerql.storage.provenance.filters import QuantumFilter
from butlerql.storage.provenance.graph_file import GraphFile
from butlerql.storage.provenance.ingest import ingest, ingest_at_once
from butlerql.storage.provenance.quanta import find_quanta
from butlerql.storage.provenance.records import (
    ExecutionRecord,
    QuantumRecord,
    QuantumStatus,
    Record,
    Source,
    SourceKind,
)
from butlerql.storage.provenance.task_summaries import find_task_summaries
from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.state.database import State
from tests.storage.provenance.test_plans import noted
from tests.support.pipelines.recorded import Recorded
from tests.support.provenance_state import dumped, emptied, in_batches

RUN = "batch/heavy"
Unit = tuple[str, int, int | None]
"""Task, exposure, and detector where it has one."""


def attempt(unit: Unit, number: int, status: QuantumStatus) -> QuantumRecord:
    task, exposure, detector = unit
    data_id = {"instrument": "Cam", "exposure": exposure} | ({} if detector is None else {"detector": detector})
    one = ExecutionRecord(number, status, "node", 1_000_000 * (number + 1))
    return QuantumRecord(RUN, task, data_id, executions=(one,))


async def take_in(state: State, name: str, records: Iterable[Record]) -> None:
    await ingest(state, Source(SourceKind.JSON_LINES, name, "1"), in_batches(records))


async def plan(state: State, pipelines: Recorded, name: str = "heavy", digest: str = "") -> None:
    with pipelines.graph(name).open("rb") as file:
        graph = GraphFile(file, f"{name}.qg")
        source = Source(graph.source.kind, graph.source.name, graph.source.digest + digest)
        await ingest(state, source, in_batches(graph.records()))


async def with_status(state: State, status: QuantumStatus) -> set[Unit]:
    rows = (await find_quanta(state, QuantumFilter(statuses=[status]), PageRequest(1000))).rows
    found = {(one.task_label, one.data_id_values["exposure"], one.data_id_values.get("detector")) for one in rows}
    counts = await find_task_summaries(state, QuantumFilter())
    assert sum(getattr(one, status.name.lower()) for one in counts) == len(rows) == len(found)
    return found


async def blocked(state: State) -> Sequence[Unit]:
    return sorted(await with_status(state, QuantumStatus.BLOCKED), key=str)


async def test_what_needs_what_failed_is_blocked_until_it_can_go_on(state: State, pipelines: Recorded) -> None:
    await emptied(state)
    await plan(state, pipelines)
    assert await blocked(state) == []
    unknown = await with_status(state, QuantumStatus.UNKNOWN)
    first, second = ("isr", 1, 1), ("isr", 2, 3)
    await take_in(state, "one", [attempt(first, 0, QuantumStatus.FAILED), attempt(second, 0, QuantumStatus.UNKNOWN)])
    assert await blocked(state) == [("calibrate", 1, 1), ("gather", 1, None)]
    assert await with_status(state, QuantumStatus.UNKNOWN) == unknown - {first, *await blocked(state)}
    # Told again, and planned again, it is the same.
    before = await dumped(state)
    await plan(state, pipelines, digest="again")
    assert await dumped(state) == before
    # Events sum nothing up; whoever takes in a whole source next does.
    events = Source(SourceKind.JSON_LINES, "events", "")
    await ingest_at_once(state, events, [attempt(second, 1, QuantumStatus.ABORTED)])
    await take_in(state, "two", [attempt(first, 1, QuantumStatus.SUCCESSFUL)])
    assert await blocked(state) == [("calibrate", 2, 3), ("gather", 2, None)]
    # It ran all the same, or was done again: of what is behind it no more is known.
    await take_in(state, "three", [attempt(("calibrate", 2, 3), 0, QuantumStatus.SUCCESSFUL)])
    assert await blocked(state) == []
    await take_in(state, "four", [attempt(("calibrate", 1, 2), 0, QuantumStatus.FAILED)])
    assert await blocked(state) == [("gather", 1, None)]
    await plan(state, pipelines, "heavy.provenance")
    assert await with_status(state, QuantumStatus.SUCCESSFUL) == unknown


async def test_what_is_planned_again_sums_up_what_events_left(state: State, pipelines: Recorded) -> None:
    await emptied(state)
    await plan(state, pipelines)
    events = Source(SourceKind.JSON_LINES, "events", "")
    await ingest_at_once(state, events, [attempt(("isr", 1, 1), 0, QuantumStatus.FAILED)])
    assert await blocked(state) == []
    await plan(state, pipelines)
    assert await blocked(state) == [("calibrate", 1, 1), ("gather", 1, None)]


async def test_what_a_graph_says_is_blocked_stays(state: State, pipelines: Recorded) -> None:
    for order in (("retried", "retried.provenance"), ("retried.provenance", "retried")):
        await emptied(state)
        for name in order:
            await plan(state, pipelines, name)
        assert await blocked(state) == [("gather", 1, None), ("gather", 2, None)]


async def test_sqlite_seeks_what_is_behind_work(state: State, pipelines: Recorded) -> None:
    """Not the whole run for each unit of work that failed."""
    if state.dialect.name != "sqlite":
        return
    await emptied(state)
    await plan(state, pipelines)

    async def look(connection: AsyncConnection) -> list[str]:
        with noted(state) as statements:
            await mark_blocked(connection, state.dialect, 1)
        [(statement, parameters)] = statements
        found = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        return [row[3] for row in found]

    steps = await state.write(look)
    assert not [step for step in steps if "AUTOMATIC" in step or step.startswith("SCAN quantum")], steps
