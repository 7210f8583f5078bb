"""Validations through the graph: what the storage's own tests find is shown, page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from graphql import parse

from butlerql.resolvers.context import Limits
from butlerql.resolvers.service import Service, build_service
from butlerql.storage.datastores.validation.job import Validation
from butlerql.storage.repository import Repository
from butlerql.storage.state.coordinator import Coordinator
from tests.support.asking import codes_of, data_of
from tests.support.repositories import Layout, RealRepository, Repositories
from tests.support.rich import RICH

VALIDATE = """mutation ($input: ValidateDatastoreInput!) { validateDatastore(input: $input) {
    clientMutationId job { __typename id kind state createdBy } } }"""
REPORT = """query ($id: ID!, $kinds: [FindingKind!], $first: Int, $after: String) { job(id: $id) {
    state progress { done total unit fraction } ... on ValidationJob {
        datastore { name } checks verdict coverage summary { kind count bytes }
        findings(kinds: $kinds, first: $first, after: $after) { totalCount pageInfo { hasNextPage endCursor } nodes {
            kind uri expected observed datastore { name } datasetCount datasets { totalCount nodes { uuid filename } }
        } } } } }"""


@pytest.fixture
def real(repositories: Repositories, dialect: Any) -> Iterator[RealRepository]:
    with repositories.private(RICH, Layout(dialect)) as made:
        yield made


@pytest.fixture
async def service(real: RealRepository) -> AsyncIterator[Service]:
    repository = await Repository.open(real.uri, snapshot_seconds=60)
    served = build_service(repository, Limits())
    await served.jobs.close()
    served.jobs = Coordinator(repository.state, [Validation(repository, 2)], lambda: ThreadPoolExecutor(2), width=2)
    yield served
    await served.close()


async def ask(service: Service, query: str, **variables: Any) -> Any:
    return data_of(await service.execute(parse(query), variables=variables))


async def report(service: Service, **given: Any) -> tuple[str, Any]:
    """Ask for a validation, run it, and read all that it says."""
    request = {"datastore": service.repository.datastore.name, "graceSeconds": 0, **given}
    begun = (await ask(service, VALIDATE, input=request))["validateDatastore"]["job"]
    assert begun["state"] == "QUEUED" and begun["__typename"] == "ValidationJob" and begun["kind"] == "VALIDATION"
    assert await service.jobs.run_next()
    return begun["id"], (await ask(service, REPORT, id=begun["id"]))["job"]


def lengthen(file: Path) -> None:
    with file.open("a") as opened:
        opened.write("\n")


async def test_a_report(service: Service, real: RealRepository) -> None:
    first, second = (child.name for child in service.repository.datastore.children)
    stray = real.directory / "FileDatastore_1" / "50% #1 é.yaml"
    stray.write_text("stray")
    [raw] = real.butler.query_datasets("raw", "HSC/raw/all", where="instrument='HSC' AND exposure=102 AND detector=0")
    shared = Path(real.butler.getURI(raw).ospath)
    lengthen(shared)
    everything = ["MISSING", "UNTRACKED", "SIZE", "CHECKSUM", "REGISTRY"]
    identifier, found = await report(service, checks=everything)
    assert found["state"] == "SUCCEEDED" and found["verdict"] == "INVALID"
    assert found["checks"] == everything
    assert found["datastore"] == {"name": service.repository.datastore.name}
    assert found["progress"]["fraction"] == 1
    assert {one["kind"]: one["count"] for one in found["summary"]} == {
        "MISSING": 3,
        "UNTRACKED": 1,
        "SIZE_MISMATCH": 1,
        "STALE_TRASH": 1,
        "CHECKSUM_NOT_RECORDED": found["coverage"]["CHECKSUM_NOT_RECORDED"],
    }
    assert found["findings"]["totalCount"] == len(found["findings"]["nodes"]) == 6
    by_kind: dict[str, list[Any]] = {}
    for node in found["findings"]["nodes"]:
        by_kind.setdefault(node["kind"], []).append(node)
    [untracked] = by_kind["UNTRACKED"]
    assert untracked["uri"] == stray.as_uri()
    assert untracked["datastore"] == {"name": second}
    assert untracked["datasetCount"] == 0 and untracked["datasets"]["nodes"] == []
    [wrong] = by_kind["SIZE_MISMATCH"]
    assert wrong["uri"] == shared.as_uri() and wrong["datastore"] == {"name": first}
    assert wrong["datasetCount"] == wrong["datasets"]["totalCount"] == 3
    assert all(node["filename"] == str(shared) for node in wrong["datasets"]["nodes"])
    assert int(wrong["observed"].split()[0]) == int(wrong["expected"].split()[0]) + 1
    [trash] = by_kind["STALE_TRASH"]
    assert trash["datasetCount"] == 1 and len(trash["datasets"]["nodes"]) == 1
    # Page by page, and by kind.
    seen, after = [], None
    while True:
        page = (await ask(service, REPORT, id=identifier, first=4, after=after))["job"]["findings"]
        seen += page["nodes"]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert seen == found["findings"]["nodes"]
    missing = (await ask(service, REPORT, id=identifier, kinds=["MISSING"]))["job"]["findings"]
    assert missing["totalCount"] == 3 and missing["nodes"] == by_kind["MISSING"]


async def test_a_selection_by_default_checks_what_is_there_and_how_large(service: Service) -> None:
    select = {"datasetTypes": ["both"], "collections": ["u/alice/run1"], "where": "visit = 102 AND instrument = 'HSC'"}
    _, found = await report(service, select=select)
    assert found["checks"] == ["MISSING", "SIZE"]
    assert [node["kind"] for node in found["findings"]["nodes"]] == ["MISSING"]
    assert found["coverage"]["datasets"] == 2
    _, nothing = await report(service, select={"uuids": []})
    assert nothing["verdict"] == "VALID" and nothing["coverage"] == {}


async def test_the_validations_of_a_datastore(service: Service) -> None:
    chain = service.repository.datastore
    query = """query ($first: Int) { datastores { name validations(first: $first) {
        totalCount nodes { id } pageInfo { hasNextPage } } } }"""
    for name, wanted in ((chain.name, 2), (chain.children[1].name, 1)):
        for _ in range(wanted):
            await report(service, datastore=name)
    found = {one["name"]: one["validations"] for one in (await ask(service, query))["datastores"]}
    assert {name: one["totalCount"] for name, one in found.items() if one["totalCount"]} == {
        chain.name: 2,
        chain.children[1].name: 1,
    }
    ids = [node["id"] for node in found[chain.name]["nodes"]]
    page = (await ask(service, query, first=1))["datastores"][0]["validations"]
    assert [node["id"] for node in page["nodes"]] == ids[:1] and page["pageInfo"]["hasNextPage"]


async def test_the_same_key_is_the_same_job(service: Service) -> None:
    request = {"datastore": service.repository.datastore.name, "idempotencyKey": "k", "clientMutationId": "c"}
    first, second = [(await ask(service, VALIDATE, input=request))["validateDatastore"] for _ in range(2)]
    assert first == second and first["clientMutationId"] == "c"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"datastore": "nowhere"}, "UNKNOWN_DATASTORE"),
        ({"checks": []}, "INVALID_ARGUMENT"),
        ({"checks": ["UNTRACKED"], "select": {}}, "INVALID_ARGUMENT"),
        ({"sample": 2.0}, "INVALID_ARGUMENT"),
        ({"graceSeconds": -1}, "INVALID_ARGUMENT"),
        ({"rateLimit": 0}, "INVALID_ARGUMENT"),
        ({"select": {"datasetTypes": ["no_such_type"]}}, "UNKNOWN_DATASET_TYPE"),
        ({"select": {"where": "visit ="}}, "INVALID_EXPRESSION"),
    ],
    ids=str,
)
async def test_what_makes_no_sense_is_told_at_once(service: Service, change: dict[str, Any], code: str) -> None:
    request = {"datastore": service.repository.datastore.name, **change}
    result = await service.execute(parse(VALIDATE), variables={"input": request})
    assert codes_of(result) == [(["validateDatastore"], code)]
    assert not await service.jobs.run_next()
