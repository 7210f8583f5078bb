"""Provenance is taken in by a job that says how much it was."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from graphql import ExecutionResult, parse
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.resolvers.context import Limits
from butlerql.resolvers.service import Service, build_service
from butlerql.scopes import Scope
from butlerql.storage.provenance import summing
from butlerql.storage.provenance.job import Ingestion
from butlerql.storage.provenance.tables import RUN
from butlerql.storage.repository import Repository
from butlerql.storage.state.coordinator import Coordinator
from tests.support.asking import codes_of, data_of
from tests.support.pipelines.recorded import Recorded

INGEST = """mutation ($input: IngestProvenanceInput!) { ingestProvenance(input: $input) {
    clientMutationId job { __typename id state kind } } }"""
REPORT = """query ($id: ID!) { job(id: $id) { state error progress { done total unit } ... on IngestJob {
    quanta executions skipped } } }"""
COUNTS = "{ taskSummaries(filter: {}) { runName quanta executions } }"


@pytest.fixture
async def service(pipelines: Recorded, tmp_path: Path) -> AsyncIterator[Service]:
    repository = await Repository.open(
        str(pipelines.repository), state=str(tmp_path / "state.sqlite3"), snapshot_seconds=60, writable=True
    )
    served = build_service(repository, Limits())
    await served.jobs.close()
    served.jobs = Coordinator(repository.state, [Ingestion(repository)], lambda: ThreadPoolExecutor(2), width=2)
    yield served
    await served.close()


async def ask(service: Service, query: str, **variables: Any) -> ExecutionResult:
    return await service.execute(parse(query), variables=variables)


async def taken_in(service: Service, **given: Any) -> Any:
    """Ask for provenance to be taken in, have it done, and read what the job says."""
    begun = data_of(await ask(service, INGEST, input=given))["ingestProvenance"]["job"]
    assert (begun["__typename"], begun["kind"], begun["state"]) == ("IngestJob", "INGEST", "QUEUED")
    waiting = data_of(await ask(service, REPORT, id=begun["id"]))["job"]
    assert (waiting["quanta"], waiting["executions"], waiting["skipped"]) == (0, 0, 0)
    assert await service.jobs.run_next()
    found = data_of(await ask(service, REPORT, id=begun["id"]))["job"]
    assert (found["state"], found["error"]) == ("SUCCEEDED", None)
    return found


async def counts(service: Service) -> tuple[int, int, set[str]]:
    """Count units of work and attempts that are known, and name the runs."""
    rows = data_of(await ask(service, COUNTS))["taskSummaries"]
    return sum(row["quanta"] for row in rows), sum(row["executions"] for row in rows), {row["runName"] for row in rows}


async def test_what_runs_and_files_hold_is_taken_in_once(service: Service, pipelines: Recorded) -> None:
    some = await taken_in(service, runs=["batch/s*", "full/one"])
    assert some["progress"] == {"done": 2, "total": 2, "unit": "sources"} and some["skipped"] == 0
    quanta, executions, runs = await counts(service)
    assert (some["quanta"], some["executions"], runs) == (quanta, executions, {"batch/steps", "full/one"})
    rest = await taken_in(service)
    more_quanta, more_executions, runs = await counts(service)
    assert rest["quanta"] == more_quanta > quanta and rest["executions"] == more_executions
    assert runs == {"batch/steps", "batch/retried", "batch/heavy", "full/one", "full/many"}
    graph = str(pipelines.graph("step1.provenance"))
    of_file = await taken_in(service, source="QUANTUM_GRAPH", uri=graph)
    assert (of_file["quanta"], of_file["executions"]) == (0, 0)
    assert await counts(service) == (more_quanta, more_executions, runs)


async def test_what_events_leave_behind_them_is_blocked_soon(
    service: Service, pipelines: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summing, "_PAUSE_SECONDS", 0.05)
    await taken_in(service, source="QUANTUM_GRAPH", uri=str(pipelines.graph("heavy")))
    unit = {"run": "batch/heavy", "task": "isr", "dataId": {"instrument": "Cam", "exposure": 1, "detector": 1}}
    event = {
        "eventType": "ABORT",
        "eventTime": "2026-03-01T10:15:42Z",
        "run": {"runId": "1", "facets": {"butler_execution": unit | {"attempt": 0}}},
    }
    assert (await service.take_in([event]))["executions"] == 1
    question = "{ taskSummaries(filter: {statuses: [BLOCKED]}) { task { label } blocked } }"
    async with asyncio.timeout(30):
        while not (found := data_of(await ask(service, question))["taskSummaries"]):
            await asyncio.sleep(0.05)
    assert [one["task"]["label"] for one in found] == ["calibrate", "gather"]
    assert await service.repository.state.read(all_summed_up, absent=False)


async def all_summed_up(connection: AsyncConnection) -> bool:
    return not list(await connection.scalars(sa.select(RUN.c.id).where(sa.not_(RUN.c.hosts_summed))))


async def test_a_file_of_lines(service: Service, tmp_path: Path) -> None:
    line = (
        '{"run": "r", "task": "t", "dataId": {"exposure": 1}, "attempt": 0, "status": "FAILED", "host": "h"}\n'
        "nonsense\n"
    )
    (tmp_path / "lines.jsonl").write_text(line)
    found = await taken_in(service, source="JSON_LINES", uri=(tmp_path / "lines.jsonl").as_uri())
    assert (found["executions"], found["skipped"]) == (1, 1)
    assert await counts(service) == (1, 1, {"r"})


async def test_data_ids_are_those_of_the_task(service: Service, tmp_path: Path) -> None:
    """Of what is known; of a task that the repository does not know they stay as they are."""
    right = {"instrument": "Cam", "exposure": 1, "detector": 2}
    data_ids = [right, right | {"detector": "2"}, right | {"band": "r"}]
    wrong = [right | {"detector": "R2"}, {"instrument": "Cam", "exposure": 1}, right | {"instrument": 3}]
    wrong += [right | {"detector": "9" * 40}]
    event = {"eventType": "START", "eventTime": "2026-03-01T10:15:42Z"}
    events, lines = [], []
    for task, data_id in [*(("isr", one) for one in data_ids + wrong), ("unheardOf", {"detector": "2", "band": "r"})]:
        unit = {"run": "u/lines", "task": task, "dataId": data_id, "attempt": 0}
        lines.append(json.dumps(unit | {"status": "FAILED"}))
        facet = {"butler_execution": unit | {"run": "u/events"}}
        events.append(event | {"run": {"runId": "1", "facets": facet}})
    (tmp_path / "lines.jsonl").write_text("\n".join(lines))
    found = await taken_in(service, source="JSON_LINES", uri=str(tmp_path / "lines.jsonl"))
    assert (found["quanta"], found["executions"], found["skipped"]) == (2, 2, 4)
    answer = await service.take_in(events)
    assert (answer["quanta"], [one["index"] for one in answer["failed_events"]]) == (2, [3, 4, 5, 6])
    question = "{ quanta(filter: {}, first: 9) { nodes { dataIdValues } } }"
    known = [one["dataIdValues"] for one in data_of(await ask(service, question))["quanta"]["nodes"]]
    assert len(known) == 4 and all(one in (right, {"detector": "2", "band": "r"}) for one in known)


async def test_what_makes_no_sense_is_told_at_once(service: Service) -> None:
    for wrong, code in (
        ({"runs": ["nobody"]}, "UNKNOWN_COLLECTION"),
        ({"uri": "/x"}, "INVALID_ARGUMENT"),
        ({"source": "QUANTUM_GRAPH"}, "INVALID_ARGUMENT"),
        ({"source": "QUANTUM_GRAPH", "uri": "/x", "runs": ["*"]}, "INVALID_ARGUMENT"),
        ({"source": "QUANTUM_GRAPH", "uri": "x"}, "INVALID_ARGUMENT"),
        ({"source": "QUANTUM_GRAPH", "uri": "ftp://somewhere/x"}, "INVALID_ARGUMENT"),
    ):
        assert codes_of(await ask(service, INGEST, input=wrong)) == [(["ingestProvenance"], code)], wrong


async def test_a_file_that_is_not_there_fails_the_job(service: Service, tmp_path: Path) -> None:
    asked = {"source": "QUANTUM_GRAPH", "uri": str(tmp_path / "nothing.qg")}
    job = data_of(await ask(service, INGEST, input=asked))["ingestProvenance"]["job"]
    await service.jobs.run_next()
    found = data_of(await ask(service, REPORT, id=job["id"]))["job"]
    assert found["state"] == "FAILED" and found["error"].startswith(f"{asked['uri']}: ")


@pytest.mark.parametrize(
    ("scopes", "code"), [(None, "FORBIDDEN"), ({Scope.READ}, "FORBIDDEN"), ({Scope.READ, Scope.INGEST}, "READ_ONLY")]
)
async def test_files_are_read_only_where_things_may_be_changed(
    pipelines: Recorded, tmp_path: Path, scopes: set[Scope] | None, code: str
) -> None:
    repository = await Repository.open(str(pipelines.repository), state=str(tmp_path / "state.sqlite3"))
    served = build_service(repository, Limits(), scopes=scopes)
    asked = {"source": "JSON_LINES", "uri": "/etc/passwd"}
    assert codes_of(await ask(served, INGEST, input=asked)) == [(["ingestProvenance"], code)]
    await served.close()
