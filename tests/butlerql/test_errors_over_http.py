"""What clients see when something fails, and what they do not see."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import httpx
import pytest
import structlog
from graphql import ExecutionResult, GraphQLError

from butlerql.answers import encode, present
from butlerql.app import create_app
from butlerql.settings import Settings
from butlerql.storage.errors import (
    BusyError,
    ConnectionFailedError,
    InvalidArgumentError,
    InvalidExpressionError,
    LimitExceededError,
    NeedsRecoveryError,
    TimedOutError,
)
from tests.support.tiny_service import TinyService

MODERN = "application/graphql-response+json"
PLAIN = "application/json"


async def ask(client: httpx.AsyncClient, query: str, accept: str = MODERN, **variables: Any) -> httpx.Response:
    return await client.post("/graphql", json={"query": query, "variables": variables}, headers={"Accept": accept})


def client_of(service: TinyService, settings: Settings | None = None) -> httpx.AsyncClient:
    app = create_app({"tiny": service}, settings or Settings())
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


async def test_an_error_of_a_field_has_its_code_and_path_beside_the_data(client: httpx.AsyncClient) -> None:
    response = await ask(client, '{ hello collection(name: "u/nobody") }')
    assert response.status_code == 200
    assert response.json() == {
        "errors": [
            {
                "message": "There is no collection 'u/nobody'.",
                "locations": [{"line": 1, "column": 9}],
                "path": ["collection"],
                "extensions": {"code": "UNKNOWN_COLLECTION"},
            }
        ],
        "data": {"hello": "Hello, world!", "collection": None},
    }


def test_an_expression_that_is_wrong_says_where() -> None:
    located = GraphQLError("x", original_error=InvalidExpressionError("There is no 'vist' here.", 10))
    shown = present(ExecutionResult(data={"datasets": None}, errors=[located]), "id")["errors"]
    assert shown[0]["extensions"] == {"code": "INVALID_EXPRESSION", "position": 10}


@pytest.mark.parametrize("query", ["{ broken }", "{ brokenItem { id } }", "{ unwritable }"])
async def test_what_nobody_foresaw_is_logged_and_masked(client: httpx.AsyncClient, query: str) -> None:
    with structlog.testing.capture_logs() as logged:
        response = await ask(client, query)
    assert response.status_code == 200
    assert "hunter2" not in response.text
    error = response.json()["errors"][0]
    assert error["extensions"] == {"code": "INTERNAL"}
    found = re.fullmatch(r"Internal error; the operators find it in the log under (\w+)\.", error["message"])
    assert found and found[1] == response.headers["x-request-id"]
    entry = next(entry for entry in logged if entry["event"] == "unexpected error")
    assert entry["error_id"] == found[1]
    assert "hunter2" in str(entry["exc_info"])


@pytest.mark.parametrize("accept", [MODERN, PLAIN])
@pytest.mark.parametrize(
    ("trouble", "status", "retry"),
    [
        (BusyError("Busy."), 503, True),
        (TimedOutError("Slow."), 503, True),
        (ConnectionFailedError("Gone."), 503, False),
        (NeedsRecoveryError("Broken off."), 503, False),
        (InvalidArgumentError("Nonsense."), 400, False),
        (LimitExceededError("Too much."), 400, False),
    ],
)
async def test_a_request_that_fails_as_a_whole_says_whether_trying_again_helps(
    trouble: Exception, status: int, retry: bool, accept: str
) -> None:
    async with client_of(TinyService(trouble)) as client:
        response = await ask(client, "{ hello }", accept)
    assert response.status_code == (status if accept == MODERN else 200)
    assert ("retry-after" in response.headers) == retry
    assert "data" not in response.json()
    assert response.json()["errors"][0]["message"] == str(trouble)


async def test_busy_fields_beside_others_are_no_reason_to_ask_all_again(client: httpx.AsyncClient) -> None:
    response = await ask(client, "{ hello busy }")
    assert response.status_code == 200
    assert response.json()["data"] == {"hello": "Hello, world!", "busy": None}
    assert "retry-after" not in response.headers


@pytest.mark.parametrize("accept", [MODERN, PLAIN])
async def test_an_unforeseen_failure_of_the_whole_is_masked_too(accept: str) -> None:
    async with client_of(TinyService(RuntimeError("password=hunter2"))) as client:
        with structlog.testing.capture_logs() as logged:
            response = await ask(client, "{ hello }", accept)
            ready = await client.get("/health/ready")
    assert response.status_code == 500
    assert response.json()["errors"][0]["extensions"]["code"] == "INTERNAL"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert ready.status_code == 503
    assert "hunter2" not in response.text + ready.text
    assert sum(entry["event"] == "unexpected error" for entry in logged) == 2


async def test_time_runs_out() -> None:
    service = TinyService()
    async with client_of(service, Settings(request_seconds=0.05)) as client:
        for accept, status in ((MODERN, 503), (PLAIN, 200)):
            response = await ask(client, "{ hello sleep }", accept)
            assert response.status_code == status
            assert response.headers["retry-after"]
            assert response.json()["errors"][0]["extensions"]["code"] == "TIMED_OUT"
            assert "request_seconds" in response.json()["errors"][0]["message"]
    assert (service.cancelled, service.running) == (2, 0)


async def test_an_operation_ends_with_who_asked_for_it(service: TinyService) -> None:
    app = create_app({"tiny": service}, Settings())
    left = asyncio.Event()
    incoming = [{"type": "http.request", "body": b'{"query": "{ sleep }"}', "more_body": False}]
    sent = []

    async def receive() -> dict[str, Any]:
        if incoming:
            return incoming.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/graphql",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    request = asyncio.ensure_future(app(scope, receive, send))
    while not service.running:
        await asyncio.sleep(0.01)
    left.set()
    with structlog.testing.capture_logs() as logged:
        await request
    assert (service.cancelled, service.running, sent) == (1, 0, [])
    assert logged[-1]["event"] == "request"
    assert logged[-1]["status"] is None


async def test_one_line_a_request_is_logged(client: httpx.AsyncClient) -> None:
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logged:
        response = await ask(client, "query Mine { busy }")
    (line,) = logged
    assert line["event"] == "request"
    assert (line["method"], line["path"], line["status"]) == ("POST", "/graphql", 200)
    assert (line["operation"], line["errors"]) == ("Mine", ["BUSY"])
    assert line["request_id"] == response.headers["x-request-id"]
    assert line["milliseconds"] > 0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("surrogate", "name \udcff of a file"),
        ("large", 2**70),
        ("nan", [None, "\udcff", [1, {"a": None}]]),
        ("\0", "\0"),
    ],
)
async def test_what_orjson_refuses_is_written_all_the_same(
    client: httpx.AsyncClient, value: str, expected: Any
) -> None:
    response = await ask(client, "query ($v: Anything) { echo(value: $v) }", v=value)
    assert response.json() == {"data": {"echo": expected}}


def test_a_response_is_plain_json() -> None:
    assert encode({"data": {"n": float("nan"), "s": "é"}}) == '{"data":{"n":null,"s":"é"}}'.encode()


def test_long_messages_are_cut() -> None:
    result = ExecutionResult(None, [GraphQLError("x" * 10_000, extensions={"code": "BAD_USER_INPUT"})])
    assert len(present(result, "id")["errors"][0]["message"]) == 2_001
