"""Checks of runs in the graph."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID

import pytest

from butlerql.storage.provenance.ingest import ingest
from butlerql.storage.provenance.records import (
    DatasetRecord,
    ExecutionRecord,
    PipelineExecutionRecord,
    QuantumRecord,
    QuantumStatus,
    Record,
    Source,
    SourceKind,
)
from butlerql.storage.repository import Repository
from tests.resolvers.test_dataset_groups import every_statement
from tests.support.asking import Ask, asking, codes_of, data_of
from tests.support.provenance_state import in_batches
from tests.support.repositories import Dialect, Layout, RealRepository, Repositories
from tests.support.small import SMALL

GRAPH, GONE, LOG = UUID(int=1), UUID(int=2), UUID(int=3)

# As operators have it.
CHECK = """query Check { run(name: "run") { check { consistent summary { kind count } }
    provenance { pipelineExecutions { id command startedAt tasks { label } } } } }"""
PROBLEMS = """query ($kinds: [RunProblemKind!], $first: Int, $after: String, $last: Int, $before: String) {
    run(name: "run") { check { problems(kinds: $kinds, first: $first, after: $after, last: $last, before: $before) {
        totalCount pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
        edges { cursor node { kind } } nodes {
            kind uuid dataset { uuid } datasetType { name } quantum { task { label } dataIdValues } detail } } } } }"""


@pytest.fixture(scope="module")
def real(repositories: Repositories, dialect: Dialect) -> Iterator[RealRepository]:
    with repositories.private(SMALL, Layout(dialect)) as made:
        made.open(writeable=True).collections.register("other")
        yield made


@pytest.fixture(scope="module")
def flats(real: RealRepository) -> list[str]:
    """Give the datasets of the run, none of which is in a datastore."""
    return [str(ref.id) for ref in real.butler.query_datasets("flat", collections="run", order_by="detector")]


@pytest.fixture(scope="module")
async def question(real: RealRepository, flats: list[str]) -> AsyncIterator[Ask]:
    """Have one flat made by whom one knows, one that is gone, a log that is gone, and something that never ran."""

    def quantum(detector: int, *executions: ExecutionRecord, **given: Any) -> QuantumRecord:
        data_id: dict[str, int | str] = {"instrument": "Cam", "detector": detector}
        return QuantumRecord("run", "makeFlat", data_id, UUID(int=9 + detector), GRAPH, executions=executions, **given)

    good = ExecutionRecord(0, QuantumStatus.SUCCESSFUL, "node", 1, log=LOG)
    records: list[Record] = [
        PipelineExecutionRecord(GRAPH, "run", command="pipetask run"),
        DatasetRecord(GONE, "flat", {"instrument": "Cam", "detector": 1}, "run", produced=True),
        quantum(0, good, outputs=(UUID(flats[0]),)),
        quantum(1, ExecutionRecord(0, QuantumStatus.ABORTED, "node", 2), outputs=(GONE,)),
        quantum(2, outputs=(UUID(int=4),)),
    ]
    repository = await Repository.open(real.uri)
    await ingest(repository.state, Source(SourceKind.PROVENANCE_GRAPH, "graph.qg", "1"), in_batches(records))
    await repository.close()
    async with asking(real) as given:
        yield given


async def test_what_is_wrong_is_summed_up(question: Ask) -> None:
    run = data_of(await question(CHECK))["run"]
    summary = [
        {"kind": "OUTPUT_NOT_IN_REGISTRY", "count": "1"},
        {"kind": "OUTPUT_NOT_STORED", "count": "3"},
        {"kind": "NO_PRODUCER", "count": "2"},
        {"kind": "QUANTUM_WITHOUT_LOG", "count": "1"},
        {"kind": "NEVER_RAN", "count": "1"},
    ]
    assert [{**one, "count": str(one["count"])} for one in run["check"]["summary"]] == summary
    assert run["check"]["consistent"] is False
    assert run["provenance"]["pipelineExecutions"][0]["command"] == "pipetask run"
    every = "{ runs { nodes { name check { run { name } consistent summary { count } problems { totalCount } } } } }"
    other, same = data_of(await question(every))["runs"]["nodes"]
    check = {"run": {"name": "other"}, "consistent": None, "summary": [], "problems": {"totalCount": 0}}
    assert other == {"name": "other", "check": check}
    assert (same["check"]["consistent"], len(same["check"]["summary"])) == (False, 5)
    assert same["check"]["problems"]["totalCount"] == 8


async def test_what_is_wrong_in_pages(question: Ask, flats: list[str]) -> None:
    async def asked(**variables: Any) -> dict[str, Any]:
        found: dict[str, Any] = data_of(await question(PROBLEMS, **variables))["run"]["check"]["problems"]
        return found

    whole = (await asked())["nodes"]
    gone, *unstored, nobody, _, without, never = whole
    assert (gone["uuid"], gone["dataset"], gone["datasetType"]) == (str(GONE), None, {"name": "flat"})
    assert gone["quantum"] == {"task": {"label": "makeFlat"}, "dataIdValues": {"instrument": "Cam", "detector": 1}}
    assert [one["dataset"]["uuid"] for one in unstored] == flats
    assert [one["quantum"] is None for one in unstored] == [False, True, True]
    assert (nobody["kind"], nobody["uuid"], nobody["quantum"]) == ("NO_PRODUCER", flats[1], None)
    assert (without["uuid"], without["dataset"], without["datasetType"]) == (str(LOG), None, None)
    assert (never["uuid"], never["quantum"]["dataIdValues"]["detector"]) == (None, 2)
    assert all(one["detail"].endswith(".") for one in whole)

    page = await asked(first=4)
    assert (page["totalCount"], page["nodes"]) == (8, whole[:4])
    assert (page["pageInfo"]["hasNextPage"], page["pageInfo"]["endCursor"]) == (True, page["edges"][-1]["cursor"])
    cursor = page["pageInfo"]["endCursor"]
    rest = await asked(first=9, after=cursor)
    assert (rest["nodes"], rest["pageInfo"]["hasNextPage"]) == (whole[4:], False)
    assert (await asked(last=2, before=cursor))["nodes"] == whole[1:3]
    two = await asked(kinds=["NEVER_RAN", "OUTPUT_NOT_IN_REGISTRY"], last=1)
    assert (two["totalCount"], two["nodes"], two["pageInfo"]["hasPreviousPage"]) == (2, [never], True)
    assert (await asked(kinds=[]))["nodes"] == []

    place = ["run", "check", "problems"]
    assert codes_of(await question(PROBLEMS, kinds=["NEVER_RAN"], after=cursor)) == [(place, "BAD_CURSOR")]


async def test_statements_do_not_grow_with_the_runs(question: Ask, real: RealRepository) -> None:
    """However many runs are checked together, as long as little is in them."""
    names = [f"many{number}" for number in range(20)]
    butler = real.open(writeable=True)
    for name in names:
        butler.collections.register(name)
    log = ExecutionRecord(0, QuantumStatus.SUCCESSFUL, "node", 1, run_time=1.0, log=LOG)
    works = [
        QuantumRecord(name, "makeFlat", {}, None, UUID(int=1000 + place), executions=(log,), outputs=(GONE,))
        for place, name in enumerate(names)
    ]
    repository = await Repository.open(real.uri)
    await ingest(repository.state, Source(SourceKind.TASK_RECORDS, "many", "1"), in_batches(works))
    await repository.close()
    query = """query ($names: [String!]!) { runs(names: $names) { nodes {
        check { consistent summary { kind } }
        provenance { quanta(first: 1, filter: {tasks: ["make*"]}) { totalCount nodes { run { name } } }
            executions(first: 1, filter: {hosts: ["node"]}) { totalCount nodes { quantum { runName } } }
            pipelineExecutions { summary { runName quanta executions runTime { count } } } } } } }"""
    numbers = []
    for some in (names[:1], names):
        with every_statement() as statements:
            nodes = data_of(await question(query, names=some))["runs"]["nodes"]
        kinds = [{"kind": "OUTPUT_NOT_IN_REGISTRY"}, {"kind": "QUANTUM_WITHOUT_LOG"}]
        assert [node["check"] for node in nodes] == [{"consistent": False, "summary": kinds}] * len(some)
        summaries = [{"quanta": 1, "executions": 1, "runTime": {"count": 1}}]
        assert [node["provenance"] for node in nodes] == [
            {
                "quanta": {"totalCount": 1, "nodes": [{"run": {"name": name}}]},
                "executions": {"totalCount": 1, "nodes": [{"quantum": {"runName": name}}]},
                "pipelineExecutions": [{"summary": [{"runName": name, **one} for one in summaries]}],
            }
            for name in sorted(some)
        ]
        numbers.append(len(statements))
    assert numbers[1] <= numbers[0]
