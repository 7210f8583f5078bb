"""The whole graph on real repositories: engine and stock agree, statements do not grow, errors have codes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from inspect import isawaitable
from typing import Any

import pytest
import sqlalchemy as sa
from graphql import GraphQLError, execute, parse, validate

from butlerql.explorer import ready_made_queries
from butlerql.resolvers.context import Limits, RequestContext
from butlerql.resolvers.service import Service, build_service, every_loader
from butlerql.resolvers.stock import install_stock
from butlerql.schema.build import build_schema
from butlerql.storage.errors import ButlerQLError
from butlerql.storage.repository import Repository
from tests.support.repositories import RealRepository

_EVERYTHING = """{
  datasetTypes(names: ["calexp", "bias", "config"]) { totalCount nodes { id name isCalibration parent { name }
    components { name parent { name } } storageClass { name components } dimensions { name }
    collections(first: 2) { totalCount nodes { id name type } }
    dataIds(collections: ["chain/all"], first: 2) { totalCount nodes { id values band } }
    datasets(collections: ["chain/inner"], first: 2, findFirst: true) { totalCount
      edges { cursor node { uuid run { name } } } } } }
  collections { nodes { id name type doc parents { name } datasetTypes(first: 3) { totalCount nodes { name } }
    datasets(first: 2) { totalCount pageInfo { hasNextPage endCursor } nodes { uuid filename isStored ingestDate
      dataId { id values } collections(chains: true) { name } certifications { timespan { begin end } }
      component(name: "summary") { uuid datasetType { name } } artifacts { uri size component datastore { name } } } }
    ... on Run { host timespan { begin } } ... on ChainedCollection { children { name } flattened { name } }
    ... on CalibrationCollection { certifications(first: 3) { totalCount nodes { timespan { begin end isEmpty }
      dataset { uuid } } } } } }
  datastores { __typename id name root parent { name } datasets(first: 1) { totalCount nodes { uuid } } }
  dataIds(dimensions: ["visit", "detector"], first: 3) { nodes { values
    datasetTypes(collections: ["chain/all"]) { totalCount nodes { name } }
    datasets(collections: ["chain/all"], match: WITHIN, first: 2, includeDimensionless: true) { nodes { uuid } } } }
}"""


async def _serve(repository: RealRepository) -> AsyncIterator[Service]:
    opened = await Repository.open(repository.uri, snapshot_seconds=60)
    service = build_service(opened, Limits())
    yield service
    await service.close()


@pytest.fixture
async def service(rich: RealRepository) -> AsyncIterator[Service]:
    """Serve the rich repository."""
    async for service in _serve(rich):
        yield service


@pytest.fixture
async def demonstration_service(demonstration: RealRepository) -> AsyncIterator[Service]:
    """Serve the demonstration repository."""
    async for service in _serve(demonstration):
        yield service


async def _ask(service: Service, query: str, **variables: Any) -> dict[str, Any]:
    document = parse(query)
    assert validate(service.schema, document) == []
    result = await service.execute(document, variables=variables)
    assert result.errors is None
    assert result.data is not None
    return result.data


async def _ask_stock(service: Service, query: str) -> dict[str, Any]:
    schema = build_schema(service.repository.universe)
    install_stock(schema, every_loader(schema))
    async with RequestContext(service.repository, Limits()) as context:
        result = execute(schema, parse(query), context_value=context)
        answer = await result if isawaitable(result) else result
    assert answer.errors is None
    assert answer.data is not None
    return answer.data


async def test_engine_and_stock_agree(service: Service) -> None:
    assert await _ask(service, _EVERYTHING) == await _ask_stock(service, _EVERYTHING)


async def test_ready_made_queries_agree(demonstration_service: Service) -> None:
    for query in ready_made_queries():
        assert await _ask(demonstration_service, query["query"]) == await _ask_stock(
            demonstration_service, query["query"]
        )


async def test_statements_do_not_grow_with_rows(service: Service) -> None:
    async def statements(first: int) -> int:
        seen: list[str] = []

        def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
            seen.append(statement)

        engine = service.repository.engine.sync_engine
        sa.event.listen(engine, "before_cursor_execute", note)
        await _ask(
            service,
            """query ($first: Int!) {
                 datasets(select: {datasetTypes: ["calexp"], collections: ["chain/all"]}, first: $first) {
                 totalCount nodes { uuid filename isStored ingestDate run { name parents { name } } datasetType { name }
                 dataId { values region { ra } datasetTypes(collections: ["chain/all"]) { totalCount nodes { name } } }
                 collections(chains: true) { name } certifications { timespan { begin } } artifacts { uri } } } }""",
            first=first,
        )
        sa.event.remove(engine, "before_cursor_execute", note)
        return len(seen)

    await statements(2)
    # Two rows are of one instrument; what is looked up by instrument takes a statement in another form with more.
    assert await statements(1000) <= await statements(2) + 2


async def test_ids_lead_back(service: Service) -> None:
    found = await _ask(
        service,
        """{ datasets(select: {collections: ["chain/all"]}, first: 30) { nodes { id __typename dataId { id __typename }
             component(name: "summary") { id __typename } datasetType { id __typename } run { id __typename } } }
             collections { nodes { id __typename } } datastores { id __typename } }""",
    )
    nodes: list[dict[str, str]] = [*found["collections"]["nodes"], *found["datastores"]]
    for dataset in found["datasets"]["nodes"]:
        nodes += [{"id": dataset["id"], "__typename": dataset["__typename"]}]
        nodes += [dataset[name] for name in ("dataId", "component", "datasetType", "run") if dataset[name]]
    again = await _ask(
        service, "query ($ids: [ID!]!) { nodes(ids: $ids) { id __typename } }", ids=[node["id"] for node in nodes]
    )
    assert again["nodes"] == nodes
    one = await _ask(service, "query ($id: ID!) { node(id: $id) { id } }", id=nodes[0]["id"])
    assert one["node"]["id"] == nodes[0]["id"]


@pytest.mark.parametrize(
    "identifier",
    ["", "nope", "RGF0YXNldDpub3Bl", "RGF0YUlkOnt9Og", "UnVuOm5vcGU", "UnVuOmNoYWluL2FsbA", "w6k6eA", "a" * 10_000],
)
async def test_ids_of_nothing(service: Service, identifier: str) -> None:
    result = await service.execute(
        parse("query ($ids: [ID!]!) { nodes(ids: $ids) { id } }"), variables={"ids": [identifier]}
    )
    assert result.data == {"nodes": [None]}
    assert _codes(result.errors) == ["INVALID_ARGUMENT"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ('{ datasets(select: {datasetTypes: ["nope"]}) { totalCount } }', "UNKNOWN_DATASET_TYPE"),
        ('{ datasets(select: {collections: ["nope"]}) { totalCount } }', "UNKNOWN_COLLECTION"),
        ("{ datasets(select: {dataId: {nope: 1}}) { totalCount } }", "INVALID_DATA_ID"),
        ("{ datasets(select: {}, first: 10001) { totalCount } }", "LIMIT_EXCEEDED"),
        ("{ datasets(select: {}, first: -1) { totalCount } }", "INVALID_ARGUMENT"),
        ("{ datasets(select: {}, first: 1, last: 1) { totalCount } }", "INVALID_ARGUMENT"),
        ('{ datasets(select: {}, after: "nope") { totalCount } }', "BAD_CURSOR"),
        ('{ datasets(select: {inDatastore: "nope"}) { totalCount } }', "UNKNOWN_DATASTORE"),
        ('{ dataIds(dimensions: ["nope"]) { totalCount } }', "UNKNOWN_DIMENSION"),
        (
            '{ findDataset(datasetType: "calexp.nope", dataId: {}, collections: ["chain/all"]) { uuid } }',
            "UNKNOWN_COMPONENT",
        ),
        (
            """{ findDataset(datasetType: "bias", dataId: {instrument: "HSC", detector: 0},
                 collections: ["HSC/calib"]) { uuid } }""",
            "AMBIGUOUS_CALIBRATION",
        ),
    ],
)
async def test_errors_have_codes(service: Service, query: str, code: str) -> None:
    result = await service.execute(parse(query))
    assert _codes(result.errors) == [code]


async def test_cursor_of_another_field(service: Service) -> None:
    found = await _ask(
        service, '{ datasets(select: {collections: ["chain/all"]}, first: 1) { pageInfo { endCursor } } }'
    )
    cursor = found["datasets"]["pageInfo"]["endCursor"]
    for query in (
        "query ($after: String) { datasets(select: {}, after: $after) { totalCount } }",
        "query ($after: String) { collections(after: $after) { totalCount } }",
    ):
        result = await service.execute(parse(query), variables={"after": cursor})
        assert _codes(result.errors) == ["BAD_CURSOR"]


def _codes(errors: list[GraphQLError] | None) -> list[str]:
    originals = [error.original_error for error in errors or ()]
    return [original.code if isinstance(original, ButlerQLError) else repr(original) for original in originals]
