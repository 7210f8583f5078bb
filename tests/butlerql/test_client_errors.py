"""What keeps a client from its answer is told, and what may pass is waited for."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from uvicorn import Config, Server

from butlerql import graphql_http
from butlerql.app import create_app
from butlerql.client import AsyncClient, BadAnswerError, Client, ClientError, NoAnswerError, QueryError
from butlerql.serving import bind
from butlerql.settings import Settings
from butlerql.storage.errors import BusyError, TimedOutError
from tests.support.client_questions import BothClients
from tests.support.repositories import RealRepository
from tests.support.served import serving
from tests.support.tiny_service import TinyService


@contextlib.contextmanager
def running(app: Any) -> Iterator[str]:
    """Serve an application in a thread, and give its address."""
    listener = bind("127.0.0.1", 0)
    server = Server(Config(app, ws="none", log_config=None, access_log=False, timeout_graceful_shutdown=1))
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)


@pytest.fixture
def address(service: TinyService, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve the tiny service, which wants nobody to wait."""
    monkeypatch.setattr(graphql_http, "RETRY_SECONDS", 0)
    with running(create_app({"tiny": service, "other one": TinyService()}, Settings())) as address:
        yield address


class Busy(TinyService):
    """Is busy for some requests."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times
        self.asked = 0

    async def execute(self, *arguments: Any, **options: Any) -> Any:
        self.asked += 1
        if self.asked <= self.times:
            raise BusyError("Another program is writing. Try again.")
        return await super().execute(*arguments, **options)


@pytest.mark.parametrize("times", [1, 3])
def test_what_is_busy_is_asked_again(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    monkeypatch.setattr(graphql_http, "RETRY_SECONDS", 0)
    for ask in (_ask, _ask_without_blocking):
        service = Busy(times)
        with running(create_app({"busy": service}, Settings())) as address:
            assert ask(address, "{ hello }") == {"hello": "Hello, world!"}
        assert service.asked == times + 1


def test_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphql_http, "RETRY_SECONDS", 0)
    for ask in (_ask, _ask_without_blocking):
        service = Busy(100)
        with running(create_app({"busy": service}, Settings())) as address:
            with pytest.raises(QueryError) as caught:
                ask(address, "{ hello }")
            assert caught.value.code == "BUSY"
            assert service.asked == 4
            with pytest.raises(QueryError):
                ask(address, "mutation { set(value: 1) }")
        assert service.asked == 5


def _ask(address: str, document: str) -> dict[str, Any]:
    with Client(address) as client:
        return client.execute(document)


def _ask_without_blocking(address: str, document: str) -> dict[str, Any]:
    async def ask() -> dict[str, Any]:
        async with AsyncClient(address) as client:
            return await client.execute(document)

    return asyncio.run(ask())


def test_other_failures_are_told_at_once(address: str, service: TinyService) -> None:
    service.trouble = TimedOutError("The request took too long. Ask for less.")
    with pytest.raises(QueryError, match="took too long") as caught:
        BothClients(address).execute("{ hello }")
    assert caught.value.code == "TIMED_OUT"
    assert caught.value.data is None


def test_a_refusal_has_all_that_the_server_says(address: str) -> None:
    with pytest.raises(QueryError) as caught:
        BothClients(address).execute('{ hello one: collection(name: "a") two: collection(name: "b") }')
    error = caught.value
    assert (error.code, error.message) == ("UNKNOWN_COLLECTION", "There is no collection 'a'.")
    assert str(error) == "There is no collection 'a'. (UNKNOWN_COLLECTION)"
    assert [each["path"] for each in error.errors] == [["one"], ["two"]]
    assert error.data == {"hello": "Hello, world!", "one": None, "two": None}


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ("{ nope }", "GRAPHQL_VALIDATION_FAILED"),
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("query ($n: String!) { hello(name: $n) }", "BAD_USER_INPUT"),
    ],
)
def test_a_question_that_is_none_is_refused(address: str, document: str, code: str) -> None:
    with pytest.raises(QueryError) as caught:
        BothClients(address).execute(document)
    assert caught.value.code == code


def test_a_repository_is_chosen_by_its_label(address: str) -> None:
    for url, options in (
        (address, {}),
        (address + "/", {"repository": "tiny"}),
        (address, {"repository": "other one"}),
        (address + "/graphql", {}),
        (address + "/tiny/graphql", {}),
    ):
        assert BothClients(url, **options).execute("{ hello }") == {"hello": "Hello, world!"}
    with pytest.raises(QueryError) as caught:
        BothClients(address, repository="absent/or not").execute("{ hello }")
    assert caught.value.code == "NOT_FOUND"


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8080", "/graphql", "ftp://127.0.0.1", "http://", "http://[]", "http://127.0.0.1:port"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(ValueError, match="is no URL"):
            kind(url)


def test_an_endpoint_leaves_no_choice() -> None:
    with pytest.raises(ValueError, match="names an endpoint"):
        Client("http://127.0.0.1/graphql", "other")


def test_a_server_that_is_not_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://someone:secret@127.0.0.1:{taken.getsockname()[1]}"
        for ask in (_ask, _ask_without_blocking):
            with pytest.raises(NoAnswerError, match="See that butlerql serve runs there") as caught:
                ask(url, "{ hello }")
            assert "secret" not in str(caught.value)


def test_a_server_that_does_not_answer(address: str) -> None:
    with pytest.raises(NoAnswerError, match="did not answer in time"):
        BothClients(address, timeout=0.2).execute("{ sleep }")


def test_something_else_that_answers() -> None:
    async def page(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": answers[scope["path"]]})

    answers = {"/page/graphql": b"<html>", "/list/graphql": b"[]", "/text/graphql": b'"x"', "/null/graphql": b"{}"}
    with running(page) as address:
        for path in answers:
            with pytest.raises(BadAnswerError, match="answers 200 OK, and not in GraphQL"):
                BothClients(address + path).execute("{ hello }")


@pytest.mark.parametrize("value", [2**63, float("nan"), "\ud800", object(), 1j])
def test_what_cannot_be_sent_is_not(address: str, value: object) -> None:
    with pytest.raises((TypeError, ValueError), match="cannot be sent"):
        BothClients(address).execute("query ($value: Anything) { echo(value: $value) }", value=value)


async def test_a_transport_can_be_given(service: TinyService) -> None:
    transport = httpx.ASGITransport(create_app({"tiny": service}, Settings()))
    async with AsyncClient("http://anywhere", transport=transport, headers={"X-Request-ID": "mine"}) as client:
        assert await client.execute("query ($n: String) { hello(name: $n) }", n="there") == {"hello": "Hello, there!"}
    with Client("http://anywhere", transport=httpx.MockTransport(_echo), headers={"X-Mine": "1"}) as own:
        assert own.execute("{ hello }") == {"mine": "1"}


def _echo(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"data": {"mine": request.headers["x-mine"]}})


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
def test_no_more_is_read_than_is_wanted(rich: RealRepository, tmp_path: Path) -> None:
    asked: list[bytes] = []

    class Counting(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            asked.append(request.read())
            return super().handle_request(request)

    with serving(f"rich={rich.uri}", log=tmp_path / "log") as address, Client(address) as whole:
        expected = list(whole.query_data_ids(["visit", "detector"], instrument="HSC"))
        with Client(address, page_size=2, transport=Counting()) as client:
            rows = client.query_data_ids(["visit", "detector"], instrument="HSC")
            assert asked == []
            assert [next(rows), next(rows)] == expected[:2]
            assert len(asked) == 2, "what is a number, and one page"
            # Others go on while one is interrupted.
            assert list(client.query_data_ids(["visit", "detector"], instrument="HSC", limit=3)) == expected[:3]
            assert len(asked) == 4
            assert b'"first":1,' in asked[-1]
            assert next(rows) == expected[2]
            rows.close()  # type: ignore[attr-defined]
            assert list(rows) == []
            with pytest.raises(QueryError) as caught:
                next(client.query_datasets("nothing_of_the_kind", "*", find_first=False))
            assert caught.value.code == "UNKNOWN_DATASET_TYPE"
            with pytest.raises(QueryError) as caught:
                next(client.query_datasets("calexp"))
            assert caught.value.code == "INVALID_ARGUMENT"
            assert isinstance(caught.value, ClientError)
            with pytest.raises(ValueError, match="must not be negative"):
                client.query_datasets("calexp", limit=-1)
