"""What a machine wrote: counted, tagged, validated and deleted; the tasks' own journal says what it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from graphql import ExecutionResult, parse, validate
from lsst.daf.butler import Butler

from butlerql import validation_report
from butlerql.resolvers.context import Limits
from butlerql.resolvers.identifiers import decode
from butlerql.resolvers.service import Service, build_service
from butlerql.storage.datastores.deletion.deleting import Deletion
from butlerql.storage.datastores.deletion.planning import Planning
from butlerql.storage.datastores.deletion.rules import Rules
from butlerql.storage.datastores.validation.job import Validation
from butlerql.storage.provenance.job import Ingestion
from butlerql.storage.registry.tagging_jobs import Tagging
from butlerql.storage.repository import Repository
from butlerql.storage.state.coordinator import Coordinator
from butlerql.storage.state.jobs import find_job
from tests.support.asking import codes_of, data_of
from tests.support.pipelines.recorded import Recorded

RUN = "batch/retried"
OUTPUTS = {"isr": ["postISRCCD"], "calibrate": ["calexp", "src"], "gather": ["summary"]}
RECORDS = ["{}_log", "{}_metadata"]
WRITTEN = """query ($select: DatasetSelection!) { datasets(select: $select, first: 100) {
    totalCount groups(by: [DATASET_TYPE]) { key datasets } nodes { uuid } }
    datastores { name usage(select: $select) { datasets } existence(select: $select) { selected present absent } } }"""
TAG = "mutation ($input: TagDatasetsInput!) { tagDatasets(input: $input) { changed job { id } } }"
CHECK = "mutation ($input: ValidateDatastoreInput!) { validateDatastore(input: $input) { job { id } } }"
REPORT = "query ($id: ID!) { job(id: $id) { state error ... on ValidationJob { verdict coverage } } }"
PLAN = "mutation ($input: PlanDeletionInput!) { planDeletion(input: $input) { plan { id } job { id } } }"
LOOK = """query ($id: ID!) { node(id: $id) { ... on DeletionPlan {
    state datasets blocked { reason datasets } warnings { reason datasets } } } }"""
DELETE = "mutation ($input: DeleteDatasetsInput!) { deleteDatasets(input: $input) { job { id } } }"
OUTPUTS_OF = """query ($filter: QuantumFilter!) { quanta(filter: $filter) { nodes {
    outputs { nodes { uuid dataset { uuid } } } } } }"""


@pytest.fixture(scope="module")
def directory(pipelines: Recorded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(pipelines.repository, tmp_path_factory.mktemp("written") / "repository"))


@pytest.fixture(scope="module")
async def service(directory: Path) -> AsyncIterator[Service]:
    """Give a service that has taken in what the run holds."""
    repository = await Repository.open(str(directory), snapshot_seconds=60, writable=True)
    served = build_service(repository, Limits(deletion=Rules(grace_floor_seconds=0)))
    await served.jobs.close()
    kinds = [kind(repository) for kind in (Ingestion, Tagging, Planning, Deletion)]
    served.jobs = Coordinator(
        repository.state, [*kinds, Validation(repository, 2)], lambda: ThreadPoolExecutor(2), width=2
    )
    data_of(await ask(served, f'mutation {{ ingestProvenance(input: {{runs: ["{RUN}"]}}) {{ job {{ id }} }} }}'))
    assert await served.jobs.run_next()
    yield served
    await served.close()


async def ask(service: Service, query: str, **variables: Any) -> ExecutionResult:
    document = parse(query)
    assert not validate(service.schema, document)
    return await service.execute(document, variables=variables)


async def do(service: Service, mutation: str, **given: Any) -> Any:
    """Ask for a change, and have its job done."""
    [answer] = data_of(await ask(service, mutation, input=given)).values()
    while await service.jobs.run_next():
        pass
    return answer


def wrote(pipelines: Recorded, directory: Path, host: str, names: Iterable[str] = ()) -> set[str]:
    """Ask the Butler for the outputs of all work whose last attempt ended, as its journal says, on a machine."""
    last = {(entry.task, *sorted(entry.data_id.items())): entry for entry in pipelines.journal if entry.run == RUN}
    found = set()
    with Butler.from_config(str(directory)) as butler:
        for entry in last.values():
            if entry.host == host and entry.end is not None:
                kinds = [*OUTPUTS[entry.task], *(name.format(entry.task) for name in RECORDS)]
                for kind in set(kinds) & set(names or kinds):
                    refs = butler.query_datasets(kind, RUN, data_id=dict(entry.data_id), explain=False)
                    found |= {str(ref.id) for ref in refs}
    return found


def on(host: str, **more: Any) -> dict[str, Any]:
    return {"generatedBy": {"hosts": [host], "runs": [RUN]}, **more}


@pytest.mark.parametrize("host", ["alpha", "beta", "wreck", "head"])
async def test_it_is_found(service: Service, pipelines: Recorded, directory: Path, host: str) -> None:
    """On `wreck` everything failed, and was done again elsewhere: it wrote nothing that is there."""
    expected = wrote(pipelines, directory, host)
    assert bool(expected) is (host in {"alpha", "beta"})
    found = data_of(await ask(service, WRITTEN, select=on(host)))
    assert {node["uuid"] for node in found["datasets"]["nodes"]} == expected
    assert found["datasets"]["totalCount"] == len(expected)
    assert sum(group["datasets"] for group in found["datasets"]["groups"]) == len(expected)
    [datastore] = found["datastores"]
    assert datastore["usage"]["datasets"] == len(expected)
    assert datastore["existence"] == {"selected": len(expected), "present": len(expected), "absent": 0}


async def test_it_is_tagged_validated_and_deleted(service: Service, pipelines: Recorded, directory: Path) -> None:
    names = OUTPUTS["calibrate"]
    everything = wrote(pipelines, directory, "beta")
    expected = wrote(pipelines, directory, "beta", names)
    assert 0 < len(expected) < len(everything)
    selected = on("beta", datasetTypes=names)
    more = {"statuses": ["SUCCESSFUL"], "startedAfter": "2020-01-01T00:00:00+00:00", "tasks": ["calibrate"]}
    selected["generatedBy"] |= more
    result = await ask(service, TAG, input={"collection": "bad", "select": selected})
    assert codes_of(result) == [(["tagDatasets"], "INVALID_ARGUMENT")]
    tagged = await do(service, TAG, collection="bad", select={**selected, "collections": ["*"]})
    assert tagged == {"changed": len(expected), "job": None}
    with Butler.from_config(str(directory)) as butler:
        for name in names:
            assert {str(ref.id) for ref in butler.query_datasets(name, "bad")} <= expected
    [datastore] = data_of(await ask(service, "{ datastores { name } }"))["datastores"]
    begun = await do(service, CHECK, datastore=datastore["name"], select=selected)
    report = data_of(await ask(service, REPORT, id=begun["job"]["id"]))["job"]
    assert (report["state"], report["verdict"]) == ("SUCCEEDED", "VALID")
    assert report["coverage"]["artifacts"] == len(expected)
    job = await find_job(service.repository.state, int(decode(begun["job"]["id"])[1]))
    assert job is not None
    told = [text async for text in validation_report.as_json(service.repository, str(directory), job, None)]
    assert json.loads("".join(told))["select"] == selected
    before = data_of(await ask(service, OUTPUTS_OF, filter=selected["generatedBy"]))
    planned = await do(service, PLAN, scope="PURGE", select={**selected, "collections": [RUN, "bad"]})
    plan = data_of(await ask(service, LOOK, id=planned["plan"]["id"]))["node"]
    catalogs = wrote(pipelines, directory, "beta", ["src"])
    assert plan == {
        "state": "PLANNED",
        "datasets": len(expected),
        "blocked": [],
        "warnings": [{"reason": "USED_AS_INPUT", "datasets": len(catalogs)}],
    }
    await do(service, DELETE, plan=planned["plan"]["id"], graceSeconds=0)
    assert data_of(await ask(service, LOOK, id=planned["plan"]["id"]))["node"]["state"] == "UNLINKED"
    assert wrote(pipelines, directory, "beta") == everything - expected
    left = data_of(await ask(service, WRITTEN, select=on("beta")))["datasets"]
    assert {node["uuid"] for node in left["nodes"]} == everything - expected
    after = data_of(await ask(service, OUTPUTS_OF, filter=selected["generatedBy"]))
    assert uuids(after) == uuids(before) >= expected
    assert {one["uuid"] for one in outputs(before) if one["dataset"]} >= expected
    assert not {one["uuid"] for one in outputs(after) if one["dataset"]} & expected


def outputs(found: Any) -> list[Any]:
    return [output for quantum in found["quanta"]["nodes"] for output in quantum["outputs"]["nodes"]]


def uuids(found: Any) -> set[str]:
    return {one["uuid"] for one in outputs(found)}
