"""Nonsense sent to a real repository: a coded error each time, and the service lives on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from butlerql.app import create_app
from butlerql.opening import open_services
from butlerql.settings import Settings
from tests.support.repositories import RealRepository

HUGE = 2**70
NUL = "a\0b"
LONG = "x" * 1_000_000
IMAGES = '{datasetTypes: ["calexp"], collections: ["HSC/runs/ci_hsc"]}'


@pytest.fixture(scope="module")
async def real(demonstration: RealRepository) -> AsyncIterator[httpx.AsyncClient]:
    """Talk to a service of the demonstration repository."""
    settings = Settings()
    async with open_services({"demo": demonstration.uri}, settings) as services:
        transport = httpx.ASGITransport(create_app(services, settings))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            yield client


async def ask(client: httpx.AsyncClient, query: str, variables: dict[str, Any] | None = None) -> httpx.Response:
    return await client.post(
        "/graphql",
        json={"query": query, "variables": variables},
        headers={"Accept": "application/graphql-response+json"},
    )


async def assert_refused(client: httpx.AsyncClient, response: httpx.Response) -> set[str]:
    """See coded errors that blame nobody but the client, short ones, and a service that goes on answering."""
    assert response.status_code < 500
    errors = response.json()["errors"]
    codes = {error["extensions"]["code"] for error in errors}
    assert not codes & {"INTERNAL", "TIMED_OUT", "BUSY"}
    assert len(response.content) < 30_000
    assert (await ask(client, "{ repository { name } }")).json()["data"]["repository"]["name"]
    return codes


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ('{ dataset(uuid: "nonsense") { uuid } }', "GRAPHQL_VALIDATION_FAILED"),
        ('{ findDataset(datasetType: "nothing", dataId: {}, collections: ["*"]) { uuid } }', "UNKNOWN_DATASET_TYPE"),
        ('{ findDataset(datasetType: "calexp", dataId: {}, collections: ["*"]) { uuid } }', None),
        ('{ datasets(select: {datasetTypes: ["nothing"]}) { nodes { uuid } } }', "UNKNOWN_DATASET_TYPE"),
        ('{ datasets(select: {collections: ["nothing"]}) { nodes { uuid } } }', "UNKNOWN_COLLECTION"),
        ('{ datasets(select: {runs: ["HSC/calib"]}) { nodes { uuid } } }', None),
        ('{ datasets(select: {inDatastore: "nothing"}) { nodes { uuid } } }', "UNKNOWN_DATASTORE"),
        ('{ dataIds(dimensions: ["nothing"]) { nodes { values } } }', "UNKNOWN_DIMENSION"),
        ('{ dimensionRecords(element: "nothing") { nodes { values } } }', "UNKNOWN_DIMENSION"),
        ("{ dataId(values: {nothing: 1}) { values } }", "INVALID_DATA_ID"),
        ('{ dataId(values: {instrument: "HSC", visit: []}) { values } }', None),
        (f'{{ dataId(values: {{instrument: "HSC", visit: {HUGE}}}) {{ values }} }}', None),
        ('{ dataId(values: "nonsense") { values } }', None),
        (f"{{ datasets(select: {IMAGES}, first: -1) {{ nodes {{ uuid }} }} }}", "INVALID_ARGUMENT"),
        (f"{{ datasets(select: {IMAGES}, first: 10001) {{ nodes {{ uuid }} }} }}", "LIMIT_EXCEEDED"),
        (f"{{ datasets(select: {IMAGES}, first: {HUGE}) {{ nodes {{ uuid }} }} }}", "GRAPHQL_VALIDATION_FAILED"),
        (f"{{ datasets(select: {IMAGES}, first: 1, last: 1) {{ nodes {{ uuid }} }} }}", "INVALID_ARGUMENT"),
        (f'{{ datasets(select: {IMAGES}, after: "nonsense") {{ nodes {{ uuid }} }} }}', "BAD_CURSOR"),
        (f'{{ datasets(select: {IMAGES}, after: "") {{ nodes {{ uuid }} }} }}', "BAD_CURSOR"),
        (f'{{ datasets(select: {IMAGES}, before: "bnVsbA==") {{ nodes {{ uuid }} }} }}', "BAD_CURSOR"),
        ('{ collections(after: "gICAgA") { nodes { name } } }', "BAD_CURSOR"),
    ],
)
async def test_nonsense_in_the_document(real: httpx.AsyncClient, query: str, code: str | None) -> None:
    codes = await assert_refused(real, await ask(real, query))
    assert code is None or codes == {code}


@pytest.mark.parametrize("value", [NUL, LONG, "", "*" * 5_000, "[" * 5_000, "a" * 5_000 + "*", "\N{BLACK HEART SUIT}"])
@pytest.mark.parametrize(
    "query",
    [
        "query ($s: String!) { datasetType(name: $s) { name } }",
        "query ($s: String!) { collection(name: $s) { name } }",
        "query ($s: String!) { run(name: $s) { name } }",
        "query ($s: String!) { datastore(name: $s) { name } }",
        "query ($s: String!) { dimension(name: $s) { name } }",
        "query ($s: String!) { datasetTypes(names: [$s]) { nodes { name } totalCount } }",
        "query ($s: String!) { collections(names: [$s]) { nodes { name } totalCount } }",
        "query ($s: String!) { datasets(select: {datasetTypes: [$s]}) { nodes { uuid } totalCount } }",
        "query ($s: String!) { datasets(select: {collections: [$s]}) { nodes { uuid } totalCount } }",
        "query ($s: String!) { datasets(select: {runs: [$s]}) { nodes { uuid } totalCount } }",
        "query ($s: String!) { collections(after: $s) { nodes { name } } }",
        "query ($s: String!) { dataIds(dimensions: [$s]) { nodes { values } } }",
        "query ($s: String!) { dimensionRecords(element: $s) { nodes { values } } }",
        "query ($s: String!) { findDataset(datasetType: $s, dataId: {instrument: $s}, collections: [$s]) { uuid } }",
        'query ($s: String!) { datasetType(name: "raw") { dataIds(dataId: {instrument: $s}) { nodes { values } } } }',
        "query ($s: ID!) { node(id: $s) { id } }",
        "query ($s: ID!) { nodes(ids: [$s, $s]) { id } }",
        "query ($s: UUID!) { dataset(uuid: $s) { uuid } }",
        "query ($s: DataIdValues!) { dataId(values: $s) { values } }",
    ],
)
async def test_any_string_anywhere(real: httpx.AsyncClient, query: str, value: str) -> None:
    response = await ask(real, query, {"s": value})
    if "errors" in response.json():
        await assert_refused(real, response)
    elif value == NUL:
        assert all(found is None for found in response.json()["data"].values())


@pytest.mark.parametrize("value", [HUGE, -HUGE, 2**63, 1.5, True, None, [1], {"a": 1}, str(HUGE), "1e400", NUL, LONG])
@pytest.mark.parametrize("dimension", ["instrument", "visit", "detector.full_name", "htm7", "day_obs", NUL, LONG])
async def test_any_value_in_a_data_id(real: httpx.AsyncClient, dimension: str, value: Any) -> None:
    data_id = {"instrument": "HSC", dimension: value}
    for query in (
        "query ($v: DataIdValues!) { dataId(values: $v) { values } }",
        "query ($v: DataIdValues!) { datasets(select: {dataId: $v}, first: 1) { nodes { uuid } } }",
    ):
        response = await ask(real, query, {"v": data_id})
        if "errors" in response.json():
            await assert_refused(real, response)
        else:
            assert value != NUL
            assert dimension != NUL


async def test_ten_megabytes(real: httpx.AsyncClient) -> None:
    response = await ask(real, "query ($s: String!) { datasetType(name: $s) { name } }", {"s": "x" * 10_000_000})
    assert response.status_code == 413
    assert await assert_refused(real, response) == {"PAYLOAD_TOO_LARGE"}
    response = await ask(real, '{ datasetType(name: "' + "x" * 7_000_000 + '") { name } }')
    assert await assert_refused(real, response) == {"LIMIT_EXCEEDED"}
