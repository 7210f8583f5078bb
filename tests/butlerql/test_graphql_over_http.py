"""GraphQL over HTTP by the book: media types, methods, parameters and statuses."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from tests.support.tiny_service import TinyService

MODERN = "application/graphql-response+json"
PLAIN = "application/json"
NO_STRING: list[Any] = [{}, 1, True, []]
NO_MAP: list[Any] = ["{}", 1, True, []]
BOTH = pytest.mark.parametrize("accept", [MODERN, PLAIN])


async def post(client: httpx.AsyncClient, body: Any, accept: str | None = MODERN, **headers: str) -> httpx.Response:
    sent = {"Content-Type": PLAIN, **headers} | ({"Accept": accept} if accept else {})
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await client.post("/graphql", content=content, headers=sent)


def code_of(response: httpx.Response) -> str:
    """Give the code of the first error, having checked that each is one of GraphQL with a code."""
    body = response.json()
    assert response.headers["content-type"].endswith("; charset=utf-8")
    assert all(isinstance(error["message"], str) and error["message"] for error in body["errors"])
    assert all(error["extensions"]["code"] for error in body["errors"])
    code: str = body["errors"][0]["extensions"]["code"]
    return code


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (MODERN, MODERN),
        (PLAIN, PLAIN),
        ("*/*", PLAIN),
        ("application/*", PLAIN),
        (None, PLAIN),
        ("", PLAIN),
        (f"{MODERN}, {PLAIN}", MODERN),
        (f"{PLAIN}, {MODERN}", MODERN),
        (f"{MODERN};q=0.5, {PLAIN}", PLAIN),
        (f"{MODERN}; q=0.5 , */*;q=0.9", PLAIN),
        (f"{MODERN}, */*", MODERN),
        (f"{PLAIN};q=0, */*", MODERN),
        (f"{MODERN.upper()}", MODERN),
        (f"text/event-stream, {PLAIN};q=0.9", PLAIN),
        (f"{PLAIN}; charset=utf-8", PLAIN),
    ],
)
async def test_the_answer_has_the_type_that_is_preferred(
    client: httpx.AsyncClient, accept: str | None, expected: str
) -> None:
    response = await post(client, {"query": "{ hello }"}, accept)
    assert response.status_code == 200
    assert response.headers["content-type"] == f"{expected}; charset=utf-8"
    assert response.json() == {"data": {"hello": "Hello, world!"}}


@pytest.mark.parametrize(
    "accept", ["text/html", "text/event-stream", f"{PLAIN};q=0", f"{PLAIN};q=nonsense", "application/jsonx", ",;,"]
)
async def test_other_types_are_not_acceptable(client: httpx.AsyncClient, accept: str) -> None:
    response = await post(client, {"query": "{ hello }"}, accept)
    assert response.status_code == 406
    assert code_of(response) == "NOT_ACCEPTABLE"


@pytest.mark.parametrize("content_type", [PLAIN, f"{PLAIN}; charset=utf-8", 'Application/JSON;charset="UTF-8"'])
async def test_a_body_is_json_in_utf_8(client: httpx.AsyncClient, content_type: str) -> None:
    body = {"query": '{ hello(name: "Björn ☃ 🔭") }'}
    response = await client.post(
        "/graphql", content=json.dumps(body, ensure_ascii=False).encode(), headers={"Content-Type": content_type}
    )
    assert response.json() == {"data": {"hello": "Hello, Björn ☃ 🔭!"}}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/jsonx"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": f"{PLAIN}; charset=iso-8859-1"},
        {"Content-Type": PLAIN, "Content-Encoding": "gzip"},
    ],
)
async def test_other_bodies_are_not_taken(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    response = await client.post("/graphql", content=b'{"query": "{ hello }"}', headers=headers)
    assert response.status_code == 415
    assert code_of(response) == "UNSUPPORTED_MEDIA_TYPE"


@BOTH
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"1",
        b'"x"',
        b"true",
        b"[]",
        b'[{"query": "{ hello }"}]',
        b'{"query": "\xff"}',
        b'{"query": "\\ud800"}',
        b'{"query": NaN}',
        b'{"query": "{ hello }", "variables": {"x": ' + b"9" * 6_000 + b"}}",
        b'{"query": "{ hello }", "variables": {"x": ' + b"[" * 5_000 + b"]" * 5_000 + b"}}",
        {},
        *({"query": wrong} for wrong in NO_STRING),
        {"query": None},
        *({"query": "{ hello }", "operationName": wrong} for wrong in NO_STRING),
        *({"query": "{ hello }", "variables": wrong} for wrong in NO_MAP),
        *({"query": "{ hello }", "extensions": wrong} for wrong in NO_MAP),
    ],
)
async def test_what_is_no_request_is_refused(client: httpx.AsyncClient, body: Any, accept: str) -> None:
    response = await post(client, body, accept)
    assert response.status_code == 400
    assert code_of(response) == "BAD_REQUEST"
    assert "data" not in response.json()


@BOTH
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"operationName": None, "variables": None, "extensions": None},
        {"operationName": "Named"},
        {"operationName": ""},
        {"variables": {"unused": 1}},
        {"extensions": {"anything": [1]}},
        {"unheardOf": 1},
    ],
)
async def test_parameters_may_be_absent_null_or_of_their_type(
    client: httpx.AsyncClient, parameters: dict[str, Any], accept: str
) -> None:
    response = await post(client, {"query": "query Named { hello }", **parameters}, accept)
    assert response.status_code == 200
    assert response.json() == {"data": {"hello": "Hello, world!"}}


@pytest.mark.parametrize(
    ("query", "variables", "code"),
    [
        ("{", None, "GRAPHQL_PARSE_FAILED"),
        ("", None, "GRAPHQL_PARSE_FAILED"),
        ("\0", None, "GRAPHQL_PARSE_FAILED"),
        ('{ hello(name: "\\uD800") }', None, "GRAPHQL_PARSE_FAILED"),
        ("{" * 9_000, None, "GRAPHQL_PARSE_FAILED"),
        ("{ nothing }", None, "GRAPHQL_VALIDATION_FAILED"),
        ("{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }", None, "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { ticks nothing }", None, "GRAPHQL_VALIDATION_FAILED"),
        ("query ($n: String!) { hello(name: $n) }", None, "BAD_USER_INPUT"),
        ("query ($n: String!) { hello(name: $n) }", {"n": None}, "BAD_USER_INPUT"),
        ("query ($n: Int) { items(first: $n) { id } }", {"n": 2**70}, "BAD_USER_INPUT"),
        ("query ($n: Int) { items(first: $n) { id } }", {"n": "x" * 10_000}, "BAD_USER_INPUT"),
        ("query A { hello } query B { hello }", None, "OPERATION_RESOLUTION_FAILURE"),
        ("fragment a on Query { hello }", None, "GRAPHQL_VALIDATION_FAILED"),
    ],
)
async def test_a_request_error_has_no_data_and_a_status_that_the_media_type_allows(
    client: httpx.AsyncClient, query: str, variables: dict[str, Any] | None, code: str
) -> None:
    for accept, status in ((MODERN, 400), (PLAIN, 200)):
        response = await post(client, {"query": query, "variables": variables}, accept)
        assert response.status_code == status
        assert code_of(response) == code
        assert "data" not in response.json()
        assert len(response.content) < 20_000


async def test_the_operation_is_chosen_by_name(client: httpx.AsyncClient, service: TinyService) -> None:
    query = 'query A { hello } query B { hello(name: "B") }'
    assert (await post(client, {"query": query, "operationName": "B"})).json() == {"data": {"hello": "Hello, B!"}}
    executed = service.executed
    assert code_of(await post(client, {"query": query, "operationName": "C"})) == "OPERATION_RESOLUTION_FAILURE"
    assert service.executed == executed


async def test_get_runs_queries(client: httpx.AsyncClient) -> None:
    response = await client.get(
        "/graphql",
        params={
            "query": "query Named($name: String) { hello(name: $name) }",
            "variables": '{"name": "☃"}',
            "operationName": "Named",
            "extensions": "{}",
        },
        headers={"Accept": MODERN},
    )
    assert response.status_code == 200
    assert response.json() == {"data": {"hello": "Hello, ☃!"}}
    assert response.headers["vary"] == "Accept"
    assert response.headers["cache-control"] == "no-store"


async def test_get_takes_empty_parameters_for_absent_ones(client: httpx.AsyncClient) -> None:
    response = await client.get("/graphql?query={hello}&variables=&operationName=&extensions=")
    assert response.json() == {"data": {"hello": "Hello, world!"}}


@pytest.mark.parametrize(
    "query_string",
    [
        "",
        "variables={}",
        "query=%ff",
        "query={hello}&variables=x",
        "query={hello}&variables=[]",
        "query={hello}&variables=%22x%22",
        "query={hello}&extensions=1",
        "query={hello}&query={hello}",
        "&".join("a=1" for _ in range(200)),
    ],
)
async def test_get_without_sense_is_refused(client: httpx.AsyncClient, query_string: str) -> None:
    response = await client.get(f"/graphql?{query_string}")
    assert response.status_code == 400
    assert code_of(response) == "BAD_REQUEST"


@BOTH
async def test_get_does_not_change_anything(client: httpx.AsyncClient, service: TinyService, accept: str) -> None:
    change = "mutation M { set(value: 5) } query Q { hello }"
    response = await client.get("/graphql", params={"query": change, "operationName": "M"}, headers={"Accept": accept})
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"
    assert code_of(response) == "METHOD_NOT_ALLOWED"
    assert service.value == 0
    allowed = await client.get("/graphql", params={"query": change, "operationName": "Q"})
    assert allowed.json() == {"data": {"hello": "Hello, world!"}}
    assert (await post(client, {"query": change, "operationName": "M"})).json() == {"data": {"set": 5}}
    assert service.value == 5


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_other_methods_are_not_allowed(client: httpx.AsyncClient, method: str) -> None:
    response = await client.request(method, "/graphql")
    assert response.status_code == 405
    assert response.headers["allow"] == "GET, POST"
    assert code_of(response) == "METHOD_NOT_ALLOWED"


async def test_each_repository_has_an_address(client: httpx.AsyncClient, service: TinyService) -> None:
    for path, executed in (("/graphql", 1), ("/first/graphql", 2), ("/second/graphql", 2)):
        response = await client.post(path, json={"query": "{ hello }"})
        assert response.json() == {"data": {"hello": "Hello, world!"}}
        assert service.executed == executed
    response = await client.post("/third/graphql", json={"query": "{ hello }"})
    assert response.status_code == 404
    assert code_of(response) == "NOT_FOUND"
    assert "first, second" in response.json()["errors"][0]["message"]


@pytest.mark.parametrize("path", ["/nothing", "/graphql/x", "/assets/nothing.js", "/assets/../app.py", "/a/b/graphql"])
async def test_where_nothing_is_a_program_can_read_so(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path)
    assert response.status_code == 404
    assert code_of(response) == "NOT_FOUND"


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/graphql", "./"),
        ("/second/graphql", "../?repository=second"),
        ("/%0d%0aX:1/graphql", "../?repository=%0D%0AX%3A1"),
    ],
)
async def test_a_browser_is_led_to_the_page(client: httpx.AsyncClient, path: str, location: str) -> None:
    visit = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    response = await client.get(path, headers=visit)
    assert response.status_code == 303
    assert response.headers["location"] == location
    if path == "/graphql":
        assert (await client.get("/graphql?query={hello}", headers=visit)).json() == {
            "data": {"hello": "Hello, world!"}
        }


async def test_every_answer_names_its_request_and_keeps_browsers_from_guessing(client: httpx.AsyncClient) -> None:
    for path in ("/graphql?query={hello}", "/graphql", "/", "/nothing", "/health/live"):
        response = await client.get(path)
        assert len(response.headers["x-request-id"]) == 32
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
        assert "server" not in response.headers
    given = await client.get("/health/live", headers={"X-Request-ID": "trace-1"})
    assert given.headers["x-request-id"] == "trace-1"
    unfit = await client.get("/health/live", headers={"X-Request-ID": "a b" * 100})
    assert len(unfit.headers["x-request-id"]) == 32


async def test_large_answers_are_compressed_for_who_asks(client: httpx.AsyncClient) -> None:
    body = {"query": "{ items(first: 500) { id name } }"}
    plain = await client.post("/graphql", json=body, headers={"Accept-Encoding": "identity"})
    packed = await client.post("/graphql", json=body, headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < len(plain.content) / 10
    assert packed.json() == plain.json()
    assert "Accept-Encoding" in plain.headers["vary"]


async def test_the_application_can_be_empty_of_repositories(app: Starlette) -> None:
    from butlerql.app import create_app
    from butlerql.settings import Settings

    transport = httpx.ASGITransport(create_app({}, Settings()))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.post("/graphql", json={"query": "{ hello }"})).status_code == 404
        assert (await client.get("/health/ready")).status_code == 503
