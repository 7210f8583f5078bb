"""Documents and bodies that are too large: refused at once, whatever their shape."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import httpx
import pytest
from graphql import DocumentNode, GraphQLError, GraphQLSchema, get_introspection_query, parse, validate

from butlerql.limits import CEILING, check_size, measure
from butlerql.settings import Settings
from tests.support.tiny_service import TinyService

DEFAULTS = Settings()


def doubling(levels: int, spread: str = "...f{0} ...f{0}") -> str:
    """Write fragments of which each spreads the next one twice."""
    fragments = (f"fragment f{level} on Query {{ {spread.format(level + 1)} }}" for level in range(levels))
    return "{ ...f0 } " + " ".join(fragments) + f" fragment f{levels} on Query {{ a: hello }}"


@pytest.mark.parametrize(
    ("document", "size"),
    [
        ("{ hello }", (1, 0, 1, 0)),
        ("{ a: hello b: hello item { self { id } } }", (3, 2, 5, 0)),
        ("{ ... on Query { ... { hello } } }", (1, 0, 1, 0)),
        ("{ item { ...f } item2: item { self { ...f } } } fragment f on Item { self { i: id } }", (4, 3, 7, 0)),
        ("{ ...missing hello }", (1, 0, 1, 0)),
        ("{ ...a } fragment a on Query { hello ...b } fragment b on Query { hello ...a }", (1, 0, 2, 0)),
        ('{ __schema { types { name } } x: __type(name: "A") { name } }', (3, 1, 5, 2)),
        (doubling(20), (1, 2**20, 2**20, 0)),
        (doubling(1_500), (1, CEILING, CEILING, 0)),
    ],
)
def test_size(document: str, size: tuple[int, int, int, int]) -> None:
    ((_, found),) = measure(parse(document))
    assert (found.depth, found.aliases, found.selections, found.introspections) == size


def test_a_chain_of_fragments_is_no_recursion() -> None:
    chain = " ".join(f"fragment f{level} on Item {{ self {{ ...f{level + 1} }} }}" for level in range(1_000))
    ((_, size),) = measure(parse(f"{{ item {{ ...f0 }} }} {chain} fragment f1000 on Item {{ id }}"))
    assert size.depth == 1_002


def test_walking_takes_no_longer_than_reading() -> None:
    document = parse(doubling(2_000))
    started = time.perf_counter()
    errors = check_size(document, DEFAULTS)
    assert time.perf_counter() - started < 5
    assert {error.extensions["limit"] for error in errors if error.extensions} == {
        "maximum_aliases",
        "maximum_selections",
    }


def test_every_operation_counts() -> None:
    errors = check_size(parse("query Small { hello } query Large { " + "a: hello " * 101 + "}"), DEFAULTS)
    (error,) = errors
    assert error.message.startswith("The operation Large uses 101 aliases, fragments included; at most 100 are allowed")


def test_clients_that_ask_for_the_schema_are_not_refused() -> None:
    for options in ({}, {"input_value_deprecation": True, "specified_by_url": True, "directive_is_repeatable": True}):
        assert not check_size(parse(get_introspection_query(**options)), DEFAULTS)


@pytest.fixture
async def default_client() -> AsyncIterator[httpx.AsyncClient]:
    """Talk to an application with the limits that it has where nothing is said."""
    from butlerql.app import create_app

    transport = httpx.ASGITransport(create_app({"tiny": TinyService()}, DEFAULTS))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


@pytest.mark.parametrize(
    ("document", "limit"),
    [
        ("{ " + "self { " * 31 + "id" + " }" * 31 + " }", "maximum_depth"),
        ("{ " + " ".join(f"a{i}: hello" for i in range(101)) + " }", "maximum_aliases"),
        ("{ " + "hello " * 2_001 + "}", "maximum_selections"),
        ("{ " + "hello " * 10_001 + "}", "maximum_tokens"),
        ("#\n" * 10_001 + "{ hello }", "maximum_tokens"),
        ("{ hello " + " " * 200_000 + "}", "maximum_document_characters"),
        ('{ hello(name: "' + "x" * 1_000_000 + '") }', "maximum_document_characters"),
        ("{ " + " ".join(f'a{i}: __type(name: "Item") {{ name }}' for i in range(6)) + " }", "introspections"),
        ("{ " + "item { id } " * 900 + "}", "comparisons"),
        (doubling(30), "maximum_aliases"),
        (doubling(12, "x{0}: item {{ id }} ...f{0} ...f{0}"), "maximum_aliases"),
        ("mutation { " + " ".join(f"a{i}: set(value: {i})" for i in range(500)) + " }", "maximum_aliases"),
    ],
)
async def test_a_document_that_is_too_large_is_refused_before_it_costs_anything(
    default_client: httpx.AsyncClient, document: str, limit: str
) -> None:
    started = time.perf_counter()
    response = await default_client.post(
        "/graphql", json={"query": document}, headers={"Accept": "application/graphql-response+json"}
    )
    assert time.perf_counter() - started < 5
    assert response.status_code == 400
    errors = response.json()["errors"]
    assert {error["extensions"]["code"] for error in errors} == {"LIMIT_EXCEEDED"}
    assert limit in {error["extensions"]["limit"] for error in errors}
    assert all(limit["extensions"]["limit"] in limit["message"] for limit in errors)
    assert len(response.content) < 10_000


async def test_no_document_within_the_limits_keeps_others_waiting(default_client: httpx.AsyncClient) -> None:
    import asyncio

    worst = "{ " + "item { id } " * 900 + "}"
    slow = asyncio.ensure_future(default_client.post("/graphql", json={"query": worst}))
    await asyncio.sleep(0.05)
    started = time.perf_counter()
    assert (await default_client.post("/graphql", json={"query": "{ hello }"})).status_code == 200
    waited = time.perf_counter() - started
    response = await slow
    assert "data" in response.json() or response.json()["errors"][0]["extensions"]["code"]
    assert waited < 2


@pytest.mark.parametrize("size", [20_001, 100_000, 10_000_000])
async def test_a_body_that_is_too_large_is_refused(client: httpx.AsyncClient, size: int) -> None:
    response = await client.post("/graphql", content=b" " * size, headers={"Content-Type": "application/json"})
    assert response.status_code == 413
    assert response.json()["errors"][0]["extensions"]["code"] == "PAYLOAD_TOO_LARGE"
    assert response.headers["connection"] == "close"


async def test_an_endless_body_is_cut_off(client: httpx.AsyncClient) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1_000
            yield b" " * 1_000

    response = await client.post("/graphql", content=endless(), headers={"Content-Type": "application/json"})
    assert response.status_code == 413
    assert sent < 200_000


async def test_a_document_is_validated_once(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from butlerql import documents

    validated: list[DocumentNode] = []

    def counted_validate(schema: GraphQLSchema, document: DocumentNode) -> list[GraphQLError]:
        validated.append(document)
        return validate(schema, document)

    monkeypatch.setattr(
        documents,
        "validate",
        counted_validate,
    )
    monkeypatch.setattr(documents, "KEPT", 2)
    for name in ("a", "a", "b", "a", "c", "a", "b"):
        query = f'{{ hello(name: "{name}") }}'
        response = await client.post("/graphql", json={"query": query})
        assert response.json() == {"data": {"hello": f"Hello, {name}!"}}
    assert len(validated) == 4
