"""What pipelines left behind, taken in and asked for: it agrees with what the tasks say themselves."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import pytest

from butlerql.storage.provenance.anomalies import AnomalyKind, examples_of, find_anomalies
from butlerql.storage.provenance.executions import count_executions, executions_of, find_executions
from butlerql.storage.provenance.filters import QuantumFilter
from butlerql.storage.provenance.graph_file import GraphFile
from butlerql.storage.provenance.host_summaries import find_host_summaries
from butlerql.storage.provenance.ingest import ingest
from butlerql.storage.provenance.pipeline_executions import pipeline_executions_of_runs, times_of
from butlerql.storage.provenance.quanta import find_quanta
from butlerql.storage.provenance.records import QuantumStatus, Skipped
from butlerql.storage.provenance.run_sources import sources_of_run
from butlerql.storage.provenance.task_summaries import find_task_summaries, task_summaries_of_graphs
from butlerql.storage.provenance.tasks import dataset_types_of, tasks_by_label, tasks_that_use, written_by_work
from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.repository import Repository
from butlerql.storage.state.database import State
from tests.support.pipelines.recorded import Entry, Recorded
from tests.support.provenance_state import dumped, emptied, in_batches

RUNS = ["full/one", "full/many", "batch/retried", "batch/steps", "batch/heavy"]
GRAPHS = ["retried", "step1", "step2", "heavy"]


@pytest.fixture(scope="module")
async def told(state: State, pipelines: Recorded) -> State:
    """Give a state that has taken in all runs, and all graphs, some of which the runs hold too."""
    await emptied(state)
    await take_all_in(state, pipelines)
    return state


async def take_all_in(state: State, pipelines: Recorded) -> list[tuple[int, int]]:
    """Take in whatever there is; tell how many units of work and attempts were new in each source."""
    graphs = [f"{name}{kind}" for name in GRAPHS for kind in ("", ".provenance")]
    return await take_in(state, pipelines, RUNS, graphs)


async def take_in(
    state: State, pipelines: Recorded, runs: Sequence[str], graphs: Sequence[str]
) -> list[tuple[int, int]]:
    added = []
    repository = await Repository.open(str(pipelines.repository))
    for run in runs:
        async for found in sources_of_run(repository, run):
            assert not isinstance(found, Skipped), found
            result = await ingest(state, found.source, found.batches)
            added.append((result.quanta, result.executions))
    await repository.close()
    for name in graphs:
        with pipelines.graph(name).open("rb") as file:
            graph = GraphFile(file, f"{name}.qg")
            result = await ingest(state, graph.source, in_batches(graph.records()))
            added.append((result.quanta, result.executions))
    return added


def journal_of(pipelines: Recorded, run: str) -> dict[tuple[str, Any], list[Entry]]:
    found: dict[tuple[str, Any], list[Entry]] = defaultdict(list)
    for entry in pipelines.journal:
        if entry.run == run:
            found[entry.task, tuple(sorted(entry.data_id.items()))].append(entry)
    return found


def told_by(entry: Entry) -> str:
    return "FAILED" if entry.outcome == "raise" else "SUCCESSFUL"


@pytest.mark.parametrize("run", RUNS)
async def test_attempts_are_those_of_the_journal(told: State, pipelines: Recorded, run: str) -> None:
    quanta = (await find_quanta(told, QuantumFilter(runs=[run]), PageRequest(1000))).rows
    attempts = await executions_of(told, [one.id for one in quanta])
    journal = journal_of(pipelines, run)
    for quantum, executions in zip(quanta, attempts, strict=True):
        entries = journal.pop((quantum.task_label, tuple(sorted(quantum.data_id_values.items()))), [])
        known = [(one.status.name, one.host) for one in executions]
        if entries and entries[-1].end is None:
            # Who is killed takes along what was written of earlier attempts.
            assert known == [("UNKNOWN", None)] and quantum.status is QuantumStatus.UNKNOWN
        elif entries:
            # A process for each quantum of a full Butler leaves no metadata of failures.
            has_no_host = {"FAILED"} if run == "full/many" else set()
            ends = [(told_by(entry), entry.host) for entry in entries]
            assert known == [(how, None if how in has_no_host else host) for how, host in ends]
        else:
            # There was nothing to do, or nothing to do it with.
            assert known == [] or all(one.caveats for one in executions)
    # Nothing is known of what was killed, if there is no graph.
    assert all(entries[-1].end is None for entries in journal.values()) and (run == "full/many" or not journal)


async def test_the_bad_machine_is_found(told: State, pipelines: Recorded) -> None:
    bad, *others = await find_host_summaries(told, QuantumFilter(runs=["batch/retried"]))
    entries = [one for own in journal_of(pipelines, "batch/retried").values() if own[-1].end for one in own]
    wrecked = [entry for entry in entries if entry.host == "wreck"]
    assert (bad.host, bad.executions, bad.failed, bad.all_failed) == ("wreck", len(wrecked), len(wrecked), True)
    assert bad.recovered_elsewhere == len(wrecked) > 0 and bad.last_success is None
    assert not any(one.all_failed for one in others)
    by_host = Counter(entry.host for entry in entries)
    assert {one.host: one.executions for one in others if one.host} == {
        host: count for host, count in by_host.items() if host != "wreck"
    }
    # What was killed is there, on no host.
    assert [(one.executions, one.failed) for one in others if one.host is None] == [(1, 0)]


async def test_summaries_are_those_of_the_journal(told: State, pipelines: Recorded) -> None:
    summaries = {one.task_label: one for one in await find_task_summaries(told, QuantumFilter(runs=["batch/retried"]))}
    journal = journal_of(pipelines, "batch/retried")
    for label in ("isr", "calibrate"):
        own = [entries for (task, _), entries in journal.items() if task == label]
        one = summaries[label]
        assert (one.expected, one.quanta) == (len(own), len(own))
        ends = Counter("killed" if entries[-1].end is None else told_by(entries[-1]) for entries in own)
        assert (one.successful, one.failed, one.unknown) == (ends["SUCCESSFUL"], ends["FAILED"], ends["killed"])
        retried = [entries for entries in own if len(entries) > 1 and entries[-1].end is not None]
        assert one.retried == one.recovered == len(retried)
    gathered = summaries["gather"]
    assert (gathered.expected, gathered.quanta, gathered.blocked, gathered.executions) == (2, 2, 2, 0)


async def test_what_takes_more_is_found(told: State) -> None:
    found = await find_anomalies(told, "batch/heavy", ["batch/retried"], 1.3, 3) or []
    departs = {one.kind: one for one in found if one.task_label == "isr"}
    time, memory = departs[AnomalyKind.RUN_TIME], departs[AnomalyKind.MEMORY]
    assert time.observed > 0.15 > time.baseline + 0.1 and memory.observed > memory.baseline + 100e6
    assert (time.executions, time.p_value) == (memory.executions, memory.p_value) == (6, pytest.approx(2**-6))
    shown = await examples_of(told, [time, memory], 6)
    assert all({one.host for one in some} == {"alpha"} and len(some) == 6 for some in shown)
    assert all(one.max_rss is not None and one.max_rss > 160e6 for one in shown[1])


async def test_what_fails_more_often_is_found(told: State, pipelines: Recorded) -> None:
    found = await find_anomalies(told, "batch/retried", ["batch/heavy", "batch/steps"], 2.0, 3) or []
    [one] = [one for one in found if (one.task_label, one.kind) == ("isr", AnomalyKind.FAILURE_RATE)]
    entries = [entry for entry in pipelines.journal if (entry.run, entry.task) == ("batch/retried", "isr")]
    assert (one.executions, one.observed, one.baseline) == (len(entries), 0.5, 0.0)
    assert one.p_value is not None and one.p_value < 0.05
    [shown] = await examples_of(told, [one], 20)
    assert [(example.host, example.status) for example in shown] == [("wreck", QuantumStatus.FAILED)] * 6
    # What ran in vain does not count as what took less.
    assert {other.kind for other in found if other.task_label == "gather"} <= {AnomalyKind.EXECUTION_COUNT}


async def test_sub_pipelines_share_a_run(told: State) -> None:
    [steps, one] = await pipeline_executions_of_runs(told, ["batch/steps", "batch/heavy"])
    assert (len(steps), len(one)) == (2, 1)
    whole = await find_task_summaries(told, QuantumFilter(runs=["batch/steps"]))
    parts = [
        summary
        for graph in steps
        for summary in await find_task_summaries(told, QuantumFilter(pipeline_executions=[graph.uuid]))
    ]
    assert Counter(one.task_label for one in whole) == Counter(one.task_label for one in parts)
    assert sum(one.quanta for one in whole) == sum(one.quanta for one in parts) > 0


async def test_what_is_written_when_a_pipeline_is_initialised_is_an_output(told: State) -> None:
    known = await tasks_by_label(told, ["calibrate", "isr"])
    isr, calibrate = await dataset_types_of(told, [known["isr"], known["calibrate"]], is_output=True)
    assert isr == ["isr_config", "isr_log", "isr_metadata", "postISRCCD"]
    assert calibrate == ["calexp", "calibrate_config", "calibrate_log", "calibrate_metadata", "src", "src_schema"]
    named = ["src_schema", "isr_config", "calexp", "packages", "raw"]
    users = await tasks_that_use(told, named, is_output=True)
    assert [[task.label for task in tasks] for tasks in users] == [["calibrate"], ["isr"], ["calibrate"], [], []]
    # Nobody reads what is written, and only some of it is written by work.
    assert await tasks_that_use(told, named[:2], is_output=False) == [[], []]
    assert await written_by_work(told, named) == {"calexp"}


async def test_what_a_full_butler_did_is_shared_out_among_its_graphs(state: State, pipelines: Recorded) -> None:
    await emptied(state)
    await take_in(state, pipelines, ["full/one"], ["one", "extended"])
    [graphs] = await pipeline_executions_of_runs(state, ["full/one"])
    whole = Counter({one.task_label: one.executions for one in await find_task_summaries(state, QuantumFilter())})
    parts = await task_summaries_of_graphs(state, graphs)
    assert whole == sum((Counter({one.task_label: one.executions for one in part}) for part in parts), Counter())
    assert whole == {"isr": 6, "calibrate": 7, "gather": 2}
    times = await times_of(state, graphs)
    # The first one ran on one host, what extended it on another.
    for graph, host, number, time in zip(graphs, ("alpha", "beta"), (13, 2), times, strict=True):
        chosen = QuantumFilter(pipeline_executions=[graph.uuid])
        made = (await find_executions(state, chosen, PageRequest(100))).rows
        assert len(made) == number == await count_executions(state, chosen)
        assert {(one.host, one.pipeline_execution_uuid) for one in made} == {(host, graph.uuid)}
        assert time == (min(one.started_at or 0 for one in made), max(one.ended_at or 0 for one in made))


async def test_runs_without_graphs_tell_what_tasks_write(state: State, pipelines: Recorded) -> None:
    await emptied(state)
    repository = await Repository.open(str(pipelines.repository))
    async for found in sources_of_run(repository, "full/one"):
        assert not isinstance(found, Skipped), found
        await ingest(state, found.source, found.batches)
    await repository.close()
    users = await tasks_that_use(state, ["calexp", "calibrate_log"], is_output=True)
    assert [[task.label for task in tasks] for tasks in users] == [["calibrate"]] * 2


async def test_graphs_and_runs_tell_of_the_same(state: State, pipelines: Recorded) -> None:
    await emptied(state)
    first = await take_all_in(state, pipelines)
    # The graphs, which come last, have nothing to add to what was found in the runs.
    assert first[-2 * len(GRAPHS) :] == [(0, 0)] * 2 * len(GRAPHS)
    before = await dumped(state)
    assert await take_all_in(state, pipelines) == first
    assert await dumped(state) == before
