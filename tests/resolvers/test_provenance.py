"""Provenance in the graph: who asks is told what was taken in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from butlerql.resolvers.identifiers import encode
from butlerql.storage.provenance.ingest import ingest
from butlerql.storage.provenance.records import (
    Caveats,
    DatasetRecord,
    ExecutionRecord,
    PipelineExecutionRecord,
    QuantumRecord,
    QuantumStatus,
    Record,
    Source,
    SourceKind,
    TaskRecord,
)
from butlerql.storage.repository import Repository
from tests.support.asking import Ask, asking, codes_of, data_of
from tests.support.provenance_state import in_batches
from tests.support.repositories import Dialect, Layout, RealRepository, Repositories
from tests.support.small import SMALL

GRAPH, GONE = UUID(int=1), UUID(int=2)
START = int(datetime(2026, 11, 22, 3, tzinfo=UTC).timestamp()) * 1_000_000
SECOND = 1_000_000


@pytest.fixture(scope="module")
def real(repositories: Repositories, dialect: Dialect) -> Iterator[RealRepository]:
    with repositories.private(SMALL, Layout(dialect)) as made:
        yield made


@pytest.fixture(scope="module")
def flats(real: RealRepository) -> list[UUID]:
    found = real.butler.query_datasets("flat", collections="run", order_by="detector")
    return [ref.id for ref in found]


@pytest.fixture(scope="module")
async def question(real: RealRepository, flats: list[UUID]) -> AsyncIterator[Ask]:
    """Let one unit of work fail on a bad machine and succeed on another, one succeed, and one be blocked."""
    repository = await Repository.open(real.uri)
    source = Source(SourceKind.PROVENANCE_GRAPH, "graph.qg", "1")
    await ingest(repository.state, source, in_batches(records(flats)))
    await repository.close()
    async with asking(real) as given:
        yield given


def records(flats: list[UUID]) -> list[Record]:
    failed = ExecutionRecord(
        0,
        QuantumStatus.FAILED,
        "bad",
        START,
        START + 2 * SECOND,
        run_time=1.0,
        max_rss=100,
        exception="lsst.Broken",
        message="no scratch",
    )
    good = ExecutionRecord(
        1,
        QuantumStatus.SUCCESSFUL,
        "good",
        START + 3 * SECOND,
        START + 9 * SECOND,
        5.0,
        4.0,
        2**40,
        0,
        caveats=Caveats.ANY_OUTPUTS_MISSING | Caveats.NO_WORK,
        log=flats[0],
        metadata=GONE,
    )
    alone = ExecutionRecord(0, QuantumStatus.SUCCESSFUL, None, START + 4 * SECOND, caveats=Caveats(0))

    def quantum(task: str, detector: int, *executions: ExecutionRecord, **given: Any) -> QuantumRecord:
        uuid = UUID(int=100 + detector)
        data_id: dict[str, int | str] = {"instrument": "Cam", "detector": detector}
        return QuantumRecord("run", task, data_id, uuid, GRAPH, executions=executions, **given)

    return [
        PipelineExecutionRecord(GRAPH, "run", "make flats", "alice", "pipetask run", START),
        TaskRecord("makeFlat", "run", GRAPH, "lsst.MakeFlat", ("raw",), ("flat", "makeFlat_log")),
        TaskRecord("useFlat", "run", GRAPH, "lsst.UseFlat", ("flat",), ()),
        DatasetRecord(flats[0], "flat", {"instrument": "Cam", "detector": 0}, "run", produced=True),
        DatasetRecord(GONE, "raw", {"instrument": "Cam", "detector": 0}, "raws", produced=True),
        quantum("makeFlat", 0, failed, good, inputs=(GONE,), outputs=(flats[0],)),
        quantum("makeFlat", 1, alone, outputs=(flats[1],)),
        quantum("useFlat", 9, is_blocked=True, inputs=(flats[0], flats[1])),
    ]


async def test_summaries_of_tasks(question: Ask) -> None:
    fields = """task { label taskClass } runName run { name } expected quanta executions successful failed blocked
        aborted abortedSuccess unknown retried recovered failedExecutions hosts
        exceptions { exception count sampleMessage } caveats { code meaning count }
        runTime { count median max total } cpuTime { count } maxRss { max }"""
    query = f"""{{ taskSummaries(filter: {{runs: ["r*"]}}) {{ {fields} }}
        run(name: "run") {{ provenance {{ summary {{ {fields} }} }} }}
        some: taskSummaries(filter: {{hosts: ["bad"]}}) {{
            quanta executions runTime {{ max }} cpuTime {{ count }} }} }}"""
    answer = data_of(await question(query))
    made, used = answer["taskSummaries"]
    assert [one["meaning"].endswith(".") for one in made.pop("caveats")] == [True, True]
    made_again = answer["run"]["provenance"]["summary"][0]
    assert [one["code"] for one in made_again.pop("caveats")] == ["ANY_OUTPUTS_MISSING", "NO_WORK"]
    assert made == made_again
    assert made == {
        "task": {"label": "makeFlat", "taskClass": "lsst.MakeFlat"},
        "runName": "run",
        "run": {"name": "run"},
        "expected": 2,
        "quanta": 2,
        "executions": 3,
        "successful": 2,
        **dict.fromkeys(("failed", "blocked", "aborted", "abortedSuccess", "unknown"), 0),
        "retried": 1,
        "recovered": 1,
        "failedExecutions": 1,
        "hosts": 2,
        "exceptions": [{"exception": "lsst.Broken", "count": 1, "sampleMessage": "no scratch"}],
        "runTime": {"count": 2, "median": 3.0, "max": 5.0, "total": 6.0},
        "cpuTime": {"count": 1},
        "maxRss": {"max": 2.0**40},
    }
    assert (used["task"]["label"], used["quanta"], used["blocked"], used["executions"]) == ("useFlat", 1, 1, 0)
    assert used["runTime"] is None
    assert answer["some"] == [{"quanta": 1, "executions": 1, "runTime": {"max": 1.0}, "cpuTime": None}]


async def test_summaries_of_hosts(question: Ask) -> None:
    fields = """host executions successful failed failureRate allFailed recoveredElsewhere tasks quanta
        runTime { median } maxRss { max } firstSeen lastSeen lastSuccess"""
    query = f"""{{ all: hostSummaries(filter: {{}}) {{ {fields} }}
        late: hostSummaries(filter: {{startedAfter: "2026-11-22T03:00:03Z"}}) {{ host }}
        early: hostSummaries(filter: {{startedBefore: "2026-11-22T03:00:03Z"}}) {{ host }}
        many: hostSummaries(filter: {{}}, minExecutions: 2) {{ host }}
        run(name: "run") {{ provenance {{ hosts {{ {fields} }} }} }} }}"""
    answer = data_of(await question(query))
    bad, *others = answer["all"]
    assert bad == {
        "host": "bad",
        "executions": 1,
        "successful": 0,
        "failed": 1,
        "failureRate": 1.0,
        "allFailed": True,
        "recoveredElsewhere": 1,
        "tasks": 1,
        "quanta": 1,
        "runTime": {"median": 1.0},
        "maxRss": {"max": 100.0},
        "firstSeen": "2026-11-22T03:00:00.000000Z",
        "lastSeen": "2026-11-22T03:00:02.000000Z",
        "lastSuccess": None,
    }
    assert {one["host"] for one in others} == {"good", None}
    assert {one["host"] for one in answer["late"]} == {"good", None}
    assert [one["host"] for one in answer["early"]] == ["bad"]
    assert answer["many"] == []
    assert answer["run"]["provenance"]["hosts"] == answer["all"]


async def test_units_of_work(question: Ask, flats: list[UUID]) -> None:
    query = """{ quanta(filter: {tasks: ["makeFlat"], dataId: {instrument: "Cam", detector: "0"}}, first: 5) {
        totalCount pageInfo { hasNextPage } nodes { id uuid task { label } dataIdValues dataId { values } runName
            run { name } status attempts
            inputs(first: 5) { totalCount nodes { uuid datasetTypeName dataIdValues runName dataset { uuid } } }
            outputs { nodes { uuid dataset { datasetType { name } } } }
            executions { attempt status host startedAt endedAt runTime cpuTime maxRss exception message caveats
                processIndex log { uuid } metadata { uuid } quantum { uuid } pipelineExecution { command } } } } }"""
    found = data_of(await question(query))["quanta"]
    assert (found["totalCount"], found["pageInfo"]["hasNextPage"]) == (1, False)
    [one] = found["nodes"]
    identifier = one.pop("id")
    failed, good = one.pop("executions")
    assert one == {
        "uuid": str(UUID(int=100)),
        "task": {"label": "makeFlat"},
        "dataIdValues": {"instrument": "Cam", "detector": 0},
        "dataId": {"values": {"instrument": "Cam", "detector": 0}},
        "runName": "run",
        "run": {"name": "run"},
        "status": "SUCCESSFUL",
        "attempts": 2,
        "inputs": {
            "totalCount": 1,
            "nodes": [
                {
                    "uuid": str(GONE),
                    "datasetTypeName": "raw",
                    "dataIdValues": {"instrument": "Cam", "detector": 0},
                    "runName": "raws",
                    "dataset": None,
                }
            ],
        },
        "outputs": {"nodes": [{"uuid": str(flats[0]), "dataset": {"datasetType": {"name": "flat"}}}]},
    }
    assert (failed["attempt"], failed["status"], failed["message"]) == (0, "FAILED", "no scratch")
    assert (failed["caveats"], failed["log"], failed["maxRss"]) == ([], None, 100)
    assert good == {
        "attempt": 1,
        "status": "SUCCESSFUL",
        "host": "good",
        "startedAt": "2026-11-22T03:00:03.000000Z",
        "endedAt": "2026-11-22T03:00:09.000000Z",
        "runTime": 5.0,
        "cpuTime": 4.0,
        "maxRss": 2**40,
        "exception": None,
        "message": None,
        "caveats": ["ANY_OUTPUTS_MISSING", "NO_WORK"],
        "processIndex": 0,
        "log": {"uuid": str(flats[0])},
        "metadata": None,
        "quantum": {"uuid": str(UUID(int=100))},
        "pipelineExecution": {"command": "pipetask run"},
    }
    node = "query ($id: ID!) { node(id: $id) { id ... on Quantum { attempts dataId { values } } } }"
    assert data_of(await question(node, id=identifier))["node"]["attempts"] == 2
    lost = 'quanta(filter: {tasks: ["useFlat"]}) { nodes { status dataIdValues dataId { values } } }'
    assert data_of(await question(f"{{ {lost} }}"))["quanta"]["nodes"] == [
        {"status": "BLOCKED", "dataIdValues": {"instrument": "Cam", "detector": 9}, "dataId": None}
    ]


async def test_attempts_in_pages_and_chosen(question: Ask) -> None:
    query = """query ($filter: QuantumFilter!, $after: String) { executions(filter: $filter, orderBy: ["-startedAt"],
        first: 2, after: $after) { totalCount pageInfo { hasNextPage endCursor } nodes { attempt host } } }"""
    first = data_of(await question(query, filter={}))["executions"]
    assert [one["host"] for one in first["nodes"]] == [None, "good"]
    assert (first["totalCount"], first["pageInfo"]["hasNextPage"]) == (3, True)
    cursor = first["pageInfo"]["endCursor"]
    assert data_of(await question(query, filter={}, after=cursor))["executions"]["nodes"][0]["host"] == "bad"
    assert codes_of(await question(query, filter={"tasks": ["x"]}, after=cursor)) == [(["executions"], "BAD_CURSOR")]
    graph, other = encode("PipelineExecution", str(GRAPH)), encode("PipelineExecution", str(GONE))
    for chosen, count in (
        ({"statuses": ["FAILED"]}, 1),
        ({"statuses": []}, 0),
        ({"exception": "lsst.*"}, 1),
        ({"pipelineExecutions": [graph]}, 3),
        ({"pipelineExecutions": [other]}, 0),
        ({"minRunTime": 2}, 1),
        ({"minMaxRss": str(2**40)}, 1),
        ({"dataId": {"detector": 1}}, 1),
        ({"dataId": {"detector.full_name": "detector 1"}}, 1),
        ({"dataId": {"detector.full_name": "nothing"}}, 0),
    ):
        assert data_of(await question(query, filter=chosen))["executions"]["totalCount"] == count, chosen
    for wrong, code in (
        ({"pipelineExecutions": [encode("Task", "x")]}, "INVALID_ARGUMENT"),
        ({"dataId": {"colour": 1}}, "INVALID_DATA_ID"),
        ({"runs": ["a\0"]}, "INVALID_ARGUMENT"),
    ):
        assert codes_of(await question(query, filter=wrong)) == [(["executions"], code)]


async def test_tasks_and_what_they_use(question: Ask) -> None:
    query = """{ tasks(labels: ["*Flat"], runs: ["run"]) { totalCount nodes { id label taskClasses inputs { name }
        outputs { name } summaries(runs: ["run"]) { quanta } } }
        task(label: "makeFlat") { id taskClass } nobody: task(label: "x") { id }
        datasetType(name: "flat") { producedBy { label } consumedBy { label } } }"""
    answer = data_of(await question(query))
    made, used = answer["tasks"]["nodes"]
    assert answer["tasks"]["totalCount"] == 2 and answer["nobody"] is None
    assert (made["label"], made["taskClasses"], made["inputs"]) == ("makeFlat", ["lsst.MakeFlat"], [])
    # The registry does not have the dataset type of logs.
    assert made["outputs"] == [{"name": "flat"}] == used["inputs"]
    assert (made["summaries"], used["summaries"]) == ([{"quanta": 2}], [{"quanta": 1}])
    assert answer["datasetType"] == {"producedBy": [{"label": "makeFlat"}], "consumedBy": [{"label": "useFlat"}]}
    node = "query ($id: ID!) { node(id: $id) { id ... on Task { label } } }"
    assert data_of(await question(node, id=made["id"]))["node"]["label"] == "makeFlat"


async def test_provenance_of_a_run(question: Ask) -> None:
    query = """{ run(name: "run") { provenance { tasks { label }
        pipelineExecutions { id runName run { name } pipeline user command startedAt endedAt tasks { label }
            summary { quanta } }
        quanta(filter: {statuses: [BLOCKED]}) { totalCount nodes { attempts } }
        executions(first: 1) { totalCount nodes { host } } } } }"""
    found = data_of(await question(query))["run"]["provenance"]
    [graph] = found.pop("pipelineExecutions")
    both = [{"label": "makeFlat"}, {"label": "useFlat"}]
    assert found == {
        "tasks": both,
        "quanta": {"totalCount": 1, "nodes": [{"attempts": 0}]},
        "executions": {"totalCount": 3, "nodes": [{"host": "bad"}]},
    }
    assert graph == {
        "id": encode("PipelineExecution", str(GRAPH)),
        "runName": "run",
        "run": {"name": "run"},
        "pipeline": "make flats",
        "user": "alice",
        "command": "pipetask run",
        "startedAt": "2026-11-22T03:00:00.000000Z",
        "endedAt": "2026-11-22T03:00:09.000000Z",
        "tasks": both,
        "summary": [{"quanta": 2}, {"quanta": 1}],
    }
    node = "query ($id: ID!) { node(id: $id) { id ... on PipelineExecution { user } } }"
    assert data_of(await question(node, id=graph["id"]))["node"]["user"] == "alice"


async def test_where_a_dataset_came_from(question: Ask, flats: list[UUID]) -> None:
    query = """query ($uuid: UUID!) { dataset(uuid: $uuid) { provenance {
        generatedBy { id task { label } executions { attempt host } } inputs { totalCount nodes { uuid } }
        usedBy(first: 20) { totalCount nodes { id task { label } } } derived { totalCount nodes { uuid } }
        up: lineage(direction: UPSTREAM, depth: 5) { datasets { uuid datasetTypeName } quanta { uuid }
            edges { dataset quantum role } truncated }
        down: lineage(direction: DOWNSTREAM, depth: 0) { quanta { id } truncated } } } }"""
    found = data_of(await question(query, uuid=str(flats[0])))["dataset"]["provenance"]
    by = found["generatedBy"]
    assert (by["task"]["label"], [one["host"] for one in by["executions"]]) == ("makeFlat", ["bad", "good"])
    assert found["inputs"] == {"totalCount": 1, "nodes": [{"uuid": str(GONE)}]}
    assert found["usedBy"]["totalCount"] == 1 and found["usedBy"]["nodes"][0]["task"]["label"] == "useFlat"
    assert found["derived"] == {"totalCount": 0, "nodes": []}
    assert found["up"] == {
        "datasets": [
            {"uuid": str(flats[0]), "datasetTypeName": "flat"},
            {"uuid": str(GONE), "datasetTypeName": "raw"},
        ],
        "quanta": [{"uuid": str(UUID(int=100))}],
        "edges": [
            {"dataset": str(flats[0]), "quantum": by["id"], "role": "OUTPUT"},
            {"dataset": str(GONE), "quantum": by["id"], "role": "INPUT"},
        ],
        "truncated": False,
    }
    assert found["down"] == {"quanta": [], "truncated": True}
    unknown = data_of(await question(query, uuid=str(flats[2])))["dataset"]["provenance"]
    assert unknown["generatedBy"] is None and unknown["usedBy"]["nodes"] == [] == unknown["up"]["datasets"]


async def test_without_state_nothing_is_known_and_nothing_is_made(repositories: Repositories, dialect: Dialect) -> None:
    query = """{ quanta(filter: {}) { totalCount nodes { id } } executions(filter: {}) { nodes { id } }
        taskSummaries(filter: {}) { quanta } hostSummaries(filter: {}) { host } tasks { nodes { id } }
        task(label: "x") { id }
        run(name: "run") { provenance { summary { quanta } hosts { host } pipelineExecutions { id } } }
        datasetType(name: "flat") { producedBy { id } } }"""
    with repositories.private(SMALL, Layout(dialect)) as real:
        async with asking(real) as ask:
            answer = data_of(await ask(query))
        assert answer["quanta"] == {"totalCount": 0, "nodes": []} and answer["taskSummaries"] == []
        assert answer["run"]["provenance"] == {"summary": [], "hosts": [], "pipelineExecutions": []}
        repository = await Repository.open(real.uri)
        assert await repository.state.revision() is None
        await repository.close()
