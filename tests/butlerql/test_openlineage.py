"""Workflow systems send events of OpenLineage with its own client to the service as it is really run."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import attr
import httpx
import pytest
from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import (
    DatasetFacet,
    JobFacet,
    RunFacet,
    error_message_run,
    nominal_time_run,
    parent_run,
    processing_engine_run,
)
from openlineage.client.serde import Serde
from openlineage.client.transport.file import FileConfig, FileTransport
from openlineage.client.transport.http import HttpConfig, HttpTransport

from butlerql.app import create_app
from butlerql.resolvers.context import Limits
from butlerql.resolvers.service import build_service
from butlerql.scopes import Scope
from butlerql.settings import Settings
from butlerql.storage.errors import BusyError
from butlerql.storage.provenance.openlineage import DATASET_KEYS, EXECUTION_KEYS
from butlerql.storage.repository import Repository
from tests.support.repositories import Dialect, Layout, Repositories
from tests.support.served import serving
from tests.support.small import SMALL
from tests.support.tiny_service import TinyService

BEGIN = datetime(2026, 11, 22, 3, tzinfo=UTC)
GRAPH, QUANTUM, RAW, FLAT = (UUID(int=number) for number in range(1, 5))
PRODUCER = "https://example.org/workflows"
DATA_ID = {"instrument": "Cam", "detector": 7}


@attr.define
class Execution(RunFacet):
    """The facet that says what a run of theirs is an attempt at."""

    run: str
    task: str
    dataId: dict[str, Any]  # noqa: N815 - as it is sent
    attempt: int
    quantum: str
    pipelineExecution: str  # noqa: N815
    host: str | None = None
    maxRss: int | None = None  # noqa: N815
    exception: str | None = None


@attr.define
class Dataset(DatasetFacet):
    """The facet that says which dataset of the repository it is."""

    uuid: str
    datasetType: str  # noqa: N815
    run: str


@pytest.fixture(scope="module")
def address(repositories: Repositories, dialect: Dialect, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with repositories.private(SMALL, Layout(dialect)) as real:
        log = tmp_path_factory.mktemp("served") / "log"
        with serving(f"main={real.uri}", "--writable", log=log) as found:
            yield found


def event(kind: RunState, attempt: int, seconds: float, run: str, **facets: Any) -> RunEvent:
    """Make an event as a workflow system does."""
    execution = Execution(run, "makeFlat", DATA_ID, attempt, str(QUANTUM), str(GRAPH), f"node-{attempt}")
    for name in [name for name in facets if name in attr.fields_dict(Execution)]:
        setattr(execution, name, facets.pop(name))
    parent = parent_run.ParentRunFacet(parent_run.Run(str(uuid4())), parent_run.Job("site", "whole"))
    raw = InputDataset("main", "raw", facets={"butler_dataset": Dataset(str(RAW), "raw", "raws")})
    scratch = InputDataset("file", "/scratch/list")
    flat = OutputDataset("main", "flat", facets={"butler_dataset": Dataset(str(FLAT), "flat", run)})
    return RunEvent(
        eventTime=(BEGIN + timedelta(seconds=seconds)).isoformat(),
        producer=PRODUCER,
        run=Run(
            str(UUID(int=100 + attempt)),
            {
                "butler_execution": execution,
                "parent": parent,
                "nominalTime": nominal_time_run.NominalTimeRunFacet(BEGIN.isoformat()),
                "processing_engine": processing_engine_run.ProcessingEngineRunFacet("1.0", "wms"),
                **facets,
            },
        ),
        job=Job("site", "makeFlat", {"ownership": JobFacet()}),
        eventType=kind,
        inputs=[raw, scratch],
        outputs=[flat],
    )


def events(run: str) -> list[RunEvent]:
    """Let an attempt fail, one succeed, and one be killed."""
    trouble = error_message_run.ErrorMessageRunFacet("no scratch", "python")
    return [
        event(RunState.START, 0, 0, run),
        event(RunState.FAIL, 0, 10, run, exception="lsst.Broken", errorMessage=trouble),
        event(RunState.START, 1, 20, run),
        event(RunState.RUNNING, 1, 25, run),
        event(RunState.COMPLETE, 1, 30, run),
        event(RunState.OTHER, 1, 31, run, maxRss=1 << 30),
        event(RunState.START, 2, 40, run),
        event(RunState.ABORT, 2, 50, run),
    ]


QUESTION = """query ($runs: [String!]) {
    taskSummaries(filter: {runs: $runs}) {
        quanta executions successful aborted retried exceptions { exception count sampleMessage } }
    quanta(filter: {runs: $runs}, first: 9) { nodes { uuid status dataIdValues
        executions { attempt status host startedAt endedAt maxRss exception message }
        inputs(first: 9) { nodes { uuid datasetTypeName runName } } outputs(first: 9) { nodes { uuid } } } }
}"""


def asked(address: str, query: str, **variables: Any) -> Any:
    answer = httpx.post(f"{address}/graphql", json={"query": query, "variables": variables}).json()
    assert "errors" not in answer, answer
    return answer["data"]


def known(address: str, run: str) -> Any:
    return asked(address, QUESTION, runs=[run])


def as_json(event: RunEvent) -> dict[str, Any]:
    return json.loads(Serde.to_json(event))


EXPECTED = {
    "taskSummaries": [
        {
            "quanta": 1,
            "executions": 3,
            "successful": 0,
            "aborted": 1,
            "retried": 1,
            "exceptions": [{"exception": "lsst.Broken", "count": 1, "sampleMessage": "no scratch"}],
        }
    ],
    "quanta": {
        "nodes": [
            {
                "uuid": str(QUANTUM),
                "status": "ABORTED",
                "dataIdValues": DATA_ID,
                "executions": [
                    {
                        "attempt": 0,
                        "status": "FAILED",
                        "host": "node-0",
                        "startedAt": "2026-11-22T03:00:00.000000Z",
                        "endedAt": "2026-11-22T03:00:10.000000Z",
                        "maxRss": None,
                        "exception": "lsst.Broken",
                        "message": "no scratch",
                    },
                    {
                        "attempt": 1,
                        "status": "SUCCESSFUL",
                        "host": "node-1",
                        "startedAt": "2026-11-22T03:00:20.000000Z",
                        "endedAt": "2026-11-22T03:00:30.000000Z",
                        "maxRss": 1 << 30,
                        "exception": None,
                        "message": None,
                    },
                    {
                        "attempt": 2,
                        "status": "ABORTED",
                        "host": "node-2",
                        "startedAt": "2026-11-22T03:00:40.000000Z",
                        "endedAt": "2026-11-22T03:00:50.000000Z",
                        "maxRss": None,
                        "exception": None,
                        "message": None,
                    },
                ],
                "inputs": {"nodes": [{"uuid": str(RAW), "datasetTypeName": "raw", "runName": "raws"}]},
                "outputs": {"nodes": [{"uuid": str(FLAT)}]},
            }
        ]
    },
}


def test_events_are_known_as_soon_as_they_are_sent(address: str) -> None:
    """The client raises if an answer is no success."""
    client = OpenLineageClient(transport=HttpTransport(HttpConfig(address, "main/openlineage")))
    for one in events("u/wms"):
        client.emit(one)
    assert known(address, "u/wms") == EXPECTED
    # Again, the other way round and at once, they change nothing.
    for again in (events("u/wms")[::-1], events("u/wms")):
        answer = httpx.post(f"{address}/openlineage", json=[as_json(one) for one in again])
        assert answer.json() == {
            "status": "success",
            "summary": {"received": 8, "successful": 8, "failed": 0, "retriable": 0, "non_retriable": 0},
            "failed_events": [],
            "quanta": 0,
            "executions": 0,
        }
        assert known(address, "u/wms") == EXPECTED


def test_the_file_that_the_client_writes_is_taken_for_lines(address: str, tmp_path: Path) -> None:
    client = OpenLineageClient(transport=FileTransport(FileConfig(str(tmp_path / "events.jsonl"), append=True)))
    for one in events("u/file"):
        client.emit(one)
    given = f"""mutation {{ ingestProvenance(input: {{source: JSON_LINES, uri: "{tmp_path}/events.jsonl"}}) {{
        job {{ id }} }} }}"""
    job = asked(address, given)["ingestProvenance"]["job"]["id"]
    report = f"""{{ job(id: "{job}") {{ state ... on IngestJob {{ quanta executions skipped }} }} }}"""
    while (found := asked(address, report)["job"])["state"] in ("QUEUED", "RUNNING"):
        time.sleep(0.05)
    assert found == {"state": "SUCCEEDED", "quanta": 1, "executions": 3, "skipped": 0}
    assert known(address, "u/file") == EXPECTED


def test_what_cannot_be_understood_is_named_and_the_rest_taken(address: str) -> None:
    good = as_json(events("u/part")[0])
    no_facet = {**good, "run": {"runId": str(uuid4())}}
    answer = httpx.post(f"{address}/openlineage", json=[no_facet, good, 7]).json()
    assert (answer["status"], answer["summary"]["successful"], answer["executions"]) == ("partial_success", 1, 1)
    assert [one["index"] for one in answer["failed_events"]] == [0, 2]
    assert "butler_execution" in answer["failed_events"][0]["reason"]
    alone = httpx.post(f"{address}/openlineage", json=no_facet)
    assert alone.status_code == 200 and alone.json()["summary"]["failed"] == 1


@pytest.mark.parametrize(
    ("path", "request_", "status", "code"),
    [
        ("openlineage", {"content": b"{", "headers": {"Content-Type": "application/json"}}, 400, "BAD_REQUEST"),
        ("openlineage", {"content": b"{}"}, 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("openlineage", {"json": [], "headers": {"Content-Encoding": "gzip"}}, 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("openlineage", {"json": ["x" * (9 << 20)]}, 413, "PAYLOAD_TOO_LARGE"),
        ("openlineage", {"json": [], "headers": {"Origin": "http://evil.example"}}, 403, "FORBIDDEN"),
        ("other/openlineage", {"json": []}, 404, "NOT_FOUND"),
    ],
)
def test_requests_that_are_no_good_are_refused(
    address: str, path: str, request_: dict[str, Any], status: int, code: str
) -> None:
    answer = httpx.post(f"{address}/{path}", **request_)
    assert (answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) == (status, code)


def test_only_posts_are_taken(address: str) -> None:
    answer = httpx.get(f"{address}/openlineage")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("scopes", "writable", "code"),
    [(None, False, "FORBIDDEN"), ([Scope.READ], True, "FORBIDDEN"), ([Scope.READ, Scope.INGEST], False, "READ_ONLY")],
)
async def test_who_may_not_is_refused(
    repositories: Repositories, scopes: list[Scope] | None, writable: bool, code: str
) -> None:
    with repositories.private(SMALL, Layout("sqlite")) as real:
        repository = await Repository.open(real.uri, writable=writable)
        service = build_service(repository, Limits(), scopes=scopes)
        transport = httpx.ASGITransport(create_app({"main": service}, Settings()))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            answer = await client.post("/openlineage", json=as_json(events("u/wms")[0]))
        await service.close()
    assert (answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) == (403, code)


async def test_a_repository_that_cannot_just_now_says_that_trying_again_helps() -> None:
    class Busy(TinyService):
        async def take_in(self, events: Any) -> Any:
            if events == ["slow"]:
                await asyncio.sleep(60)
            raise BusyError("Another program holds it.")

    transport = httpx.ASGITransport(create_app({"main": Busy()}, Settings(request_seconds=0.05)))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        for given, code in ((7, "BUSY"), ("slow", "TIMED_OUT")):
            answer = await client.post("/openlineage", json=given)
            assert (answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) == (503, code)
            assert "retry-after" in answer.headers


def test_the_reference_tells_of_every_key_and_its_example_is_taken(address: str) -> None:
    page = (Path(__file__).parents[2] / "docs/reference/openlineage.md").read_text()
    [example] = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    answer = httpx.post(f"{address}/openlineage", content=example, headers={"Content-Type": "application/json"})
    assert answer.json()["summary"] == {
        "received": 1, "successful": 1, "failed": 0, "retriable": 0, "non_retriable": 0
    }  # fmt: skip
    tables = [set(re.findall(r"^\| `(\w+)`", part, re.MULTILINE)) for part in page.split("## ")]
    assert EXECUTION_KEYS in tables and DATASET_KEYS in tables
