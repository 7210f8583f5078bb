"""What the reports of the pipelines' own makers say of the same work: each number is held against ours.

Where they differ, it is written down in `DIFFERENCES`, and why, in ``docs/explanation/conformance.md``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache, reduce
from operator import or_
from tempfile import NamedTemporaryFile
from typing import Any, NamedTuple

import pytest
import yaml
from lsst.ctrl.mpexec.cli.script.report import report, report_v2
from lsst.pipe.base import QuantumAttemptStatus, QuantumSuccessCaveats
from lsst.pipe.base.quantum_graph import ProvenanceQuantumGraph

from butlerql.storage.provenance.executions import Execution, executions_of
from butlerql.storage.provenance.filters import QuantumFilter
from butlerql.storage.provenance.graph_file import GraphFile
from butlerql.storage.provenance.ingest import ingest
from butlerql.storage.provenance.quanta import Quantum, find_quanta
from butlerql.storage.provenance.records import QuantumStatus
from butlerql.storage.provenance.task_summaries import find_task_summaries
from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.state.database import State
from tests.storage.provenance.test_recorded import take_all_in
from tests.support.pipelines.recorded import Recorded
from tests.support.provenance_state import emptied, in_batches

PREDICTED = ["one", "extended", "many", "retried", "step1", "step2", "heavy"]
EXECUTED = ["retried", "step1", "step2", "heavy"]

# By report, graph and task: what theirs says, and what ours does.
DIFFERENCES: dict[tuple[str, str, str], dict[str, tuple[Any, Any]]] = {
    # Looked up by the UUIDs of a graph, what a later graph of the same run made is not found.
    ("report", "one", "calibrate"): {"successful": (5, 6), "failed": (1, 0)},
    ("report", "one", "gather"): {"successful": (1, 2), "blocked": (1, 0)},
    # What was killed left nothing that tells whether it ran at all.
    ("report", "many", "isr"): {"failed": (1, 0), "unknown": (None, 1)},
    ("report", "retried", "calibrate"): {"failed": (2, 1), "unknown": (None, 1)},
    ("report v2", "retried", "calibrate"): {"failed": (2, 1), "unknown": (0, 1)},
    ("provenance-report", "retried", "calibrate"): {"failed": (2, 1), "unknown": (0, 1)},
    # Nor is anything known of what is behind it.
    ("report", "many", "calibrate"): {"blocked": (1, 0), "unknown": (None, 1)},
}


class Known(NamedTuple):
    """What we know of the work of a graph."""

    graph: str
    """Its UUID."""

    counts: dict[str, dict[str, int]]
    """By task."""

    executions: dict[str, int]
    work: list[tuple[Quantum, list[Execution]]]


@pytest.fixture(scope="module")
async def told(state: State, pipelines: Recorded) -> Mapping[str, Known]:
    """Take everything in, and ask of the work of each graph."""
    await emptied(state)
    await take_all_in(state, pipelines)
    known = {}
    for name in PREDICTED:
        with pipelines.graph(name).open("rb") as file:
            graph = GraphFile(file, f"{name}.qg")
            await ingest(state, graph.source, in_batches(graph.records()))
            [uuid] = {str(one.uuid) for one in graph.records() if type(one).__name__ == "PipelineExecutionRecord"}
        of_graph = QuantumFilter(pipeline_executions=[uuid])
        quanta = (await find_quanta(state, of_graph, PageRequest(1000))).rows
        attempts = await executions_of(state, [quantum.id for quantum in quanta])
        summaries = await find_task_summaries(state, of_graph)
        counts = {
            one.task_label: {
                "expected": one.expected,
                "successful": one.successful,
                "failed": one.failed,
                "blocked": one.blocked,
                "unknown": one.unknown,
                "aborted": one.aborted,
                "aborted_success": one.aborted_success,
            }
            for one in summaries
        }
        executions = {one.task_label: one.executions for one in summaries}
        known[name] = Known(uuid, counts, executions, list(zip(quanta, attempts, strict=True)))
    return known


def differences(theirs: Mapping[str, Mapping[str, int]], ours: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """Find numbers that differ, by task; what a report does not tell is None."""
    assert theirs.keys() == ours.keys()
    found = {
        task: {name: (counts.get(name), number) for name, number in ours[task].items() if counts.get(name, 0) != number}
        for task, counts in theirs.items()
    }
    return {task: numbers for task, numbers in found.items() if numbers}


def expected(kind: str, name: str) -> dict[str, Any]:
    return {task: numbers for (report, graph, task), numbers in DIFFERENCES.items() if (report, graph) == (kind, name)}


def key_of(task: str, data_id: Mapping[str, Any], quantum: Quantum | None = None) -> tuple[Any, ...]:
    """Name a unit of work; a report may tell more of its data ID than is required."""
    names = data_id if quantum is None else quantum.data_id_values
    return task, tuple(sorted((name, data_id[name]) for name in names))


def ours_by_key(known: Known) -> dict[tuple[Any, ...], tuple[Quantum, list[Execution]]]:
    return {key_of(one.task_label, one.data_id_values): (one, attempts) for one, attempts in known.work}


def concise(caveats: list[str]) -> str:
    return reduce(or_, (QuantumSuccessCaveats[name] for name in caveats), QuantumSuccessCaveats.NO_CAVEATS).concise()


@cache
def report_of(pipelines: Recorded, *names: str, is_second: bool = False) -> Any:
    """Have `pipetask report` written: its first form of one graph, or its second form of several."""
    graphs = [str(pipelines.graph(name)) for name in names]
    with NamedTemporaryFile() as file:
        if is_second:
            report_v2(str(pipelines.repository), graphs, None, "", file.name, read_caveats="exhaustive")
        else:
            report(str(pipelines.repository), *graphs, file.name)
        return yaml.safe_load(file.read())


@pytest.mark.parametrize("name", PREDICTED)
def test_attempts_at_what_a_graph_planned(told: Mapping[str, Known], name: str) -> None:
    """They are counted with the graph that was there though nobody tells for which graph a full Butler made them."""
    counted = Counter[str]()
    for quantum, attempts in told[name].work:
        counted[quantum.task_label] += sum(one.pipeline_execution_uuid == told[name].graph for one in attempts)
    assert counted == told[name].executions and counted.total() > 0


@pytest.mark.parametrize("name", PREDICTED)
async def test_report(told: Mapping[str, Known], pipelines: Recorded, name: str) -> None:
    theirs = report_of(pipelines, name)
    counts = {
        task: {
            "expected": one["n_expected"],
            "successful": one["n_succeeded"],
            "failed": len(one["failed_quanta"]),
            "blocked": one["n_quanta_blocked"],
        }
        for task, one in theirs.items()
    }
    assert differences(counts, told[name].counts) == expected("report", name)
    known = ours_by_key(told[name])
    for task, one in theirs.items():
        for uuid, failed in one["failed_quanta"].items():
            quantum, attempts = known[key_of(task, failed["data_id"])]
            if failed["error"]:
                assert quantum.status is QuantumStatus.FAILED and quantum.uuid == uuid
                assert failed["error"][-1].endswith(f": {attempts[-1].message}")
            else:
                # Killed, or made again by a later graph.
                assert quantum.status is QuantumStatus.UNKNOWN or len(attempts) > 1


# Of a graph that extends a run, theirs raises a KeyError by itself.
@pytest.mark.parametrize("names", [[name] for name in PREDICTED if name != "extended"] + [["one", "extended"]])
async def test_report_of_several(told: Mapping[str, Known], pipelines: Recorded, names: list[str]) -> None:
    theirs = report_of(pipelines, *names, is_second=True)["tasks"]
    ours = told[names[0]]
    counts = {
        task: {
            "expected": one["n_expected"],
            "successful": one["n_successful"],
            "failed": one["n_failed"],
            "blocked": one["n_blocked"],
            "unknown": one["n_unknown"],
        }
        for task, one in theirs.items()
    }
    assert differences(counts, ours.counts) == expected("report v2", names[0])
    caveats = {
        key_of(task, data_id): code
        for task, one in theirs.items()
        for code, data_ids in one["caveats"].items()
        for data_id in data_ids
    }
    raised = {
        key_of(task, each["data_id"]): (exception, each["exception"]["message"])
        for task, one in theirs.items()
        for exception, found in one["exceptions"].items()
        for each in found
    }
    last = {
        key: attempts[-1]
        for key, (quantum, attempts) in ours_by_key(ours).items()
        if attempts and quantum.status is QuantumStatus.SUCCESSFUL
    }
    assert caveats == {key: concise(one.caveats) for key, one in last.items() if one.caveats}
    # It tells of exceptions where there is a success all the same.
    assert raised == {key: (one.exception, one.message) for key, one in last.items() if one.exception}
    assert not any(one["wonky_quanta"] for one in theirs.values())


@pytest.mark.parametrize("name", EXECUTED)
async def test_provenance_report(told: Mapping[str, Known], pipelines: Recorded, name: str) -> None:
    path = str(pipelines.graph(f"{name}.provenance"))
    with ProvenanceQuantumGraph.from_args(path, datasets=()) as (graph, _):
        table = graph.make_quantum_table(drop_unused_columns=False)
        exceptions = graph.make_exception_table()
        found = graph.make_status_report(list(QuantumAttemptStatus), with_caveats=None).root
    titles = {status.title: status.name.lower() for status in QuantumAttemptStatus}
    counts = {
        str(row["Task"]): {"expected": int(row["EXPECTED"])} | {titles[title]: int(row[title]) for title in titles}
        for row in table
    }
    assert differences(counts, told[name].counts) == expected("provenance-report", name)
    known = ours_by_key(told[name])
    raised: Counter[tuple[str, str, bool]] = Counter()
    for quantum, attempts in known.values():
        if attempts and attempts[-1].exception:
            raised[quantum.task_label, attempts[-1].exception, quantum.status is QuantumStatus.SUCCESSFUL] += 1
    assert raised == {
        (str(row["Task"]), str(row["Exception"]), is_success): int(row[column])
        for row in exceptions
        for is_success, column in ((True, "Successes"), (False, "Failures"))
        if row[column]
    }
    for task, by_status in found.items():
        for status, by_exception in by_status.items():
            for quanta in by_exception.values():
                for one in quanta:
                    [key] = [key for key in known if key[0] == task and set(key[1]) <= set(one.data_id.items())]
                    quantum, attempts = known.pop(key)
                    assert quantum.uuid == str(one.quantum_id)
                    is_lost = quantum.status is QuantumStatus.UNKNOWN
                    assert quantum.status.name == ("UNKNOWN" if is_lost else status)
                    assert [told_of(attempt, is_lost=is_lost) for attempt in one.attempts] == [
                        ours_of(attempt) for attempt in attempts
                    ]
    assert not known


def told_of(attempt: Any, *, is_lost: bool) -> tuple[Any, ...]:
    usage, failure, caveats = attempt.resource_usage, attempt.exception, attempt.caveats
    return (
        attempt.attempt,
        "UNKNOWN" if is_lost else attempt.status.name,
        None if failure is None else (failure.type_name, failure.message),
        caveats.concise() if caveats else "",
        None if usage is None else (usage.start, usage.run_time, usage.run_time_cpu, usage.memory),
    )


def ours_of(attempt: Execution) -> tuple[Any, ...]:
    start = attempt.started_at
    return (
        attempt.attempt,
        attempt.status.name,
        None if attempt.exception is None else (attempt.exception, attempt.message),
        concise(attempt.caveats),
        None
        if attempt.run_time is None or start is None
        else (
            datetime.fromtimestamp(start // 1_000_000, UTC).replace(microsecond=start % 1_000_000),
            attempt.run_time,
            attempt.cpu_time,
            attempt.max_rss,
        ),
    )
