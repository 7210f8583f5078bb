"""Subscriptions are answered by streams of events, and leave nothing behind."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from butlerql import event_stream
from tests.support.repositories import Layout, Repositories
from tests.support.rich import RICH
from tests.support.served import serving
from tests.support.tiny_service import TinyService

EVENTS = {"accept": "text/event-stream"}


def events_of(text: str) -> list[Any]:
    """Take a stream apart: the data of each event, ``None`` for the one that ends it."""
    found = []
    for block in text.split("\n\n")[:-1]:
        if block == ":":
            continue
        name, data = block.split("\n")
        assert name in ("event: next", "event: complete")
        found.append(json.loads(data.removeprefix("data: ")) if name == "event: next" else None)
    return found


async def test_each_result_is_an_event_and_the_end_is_told(client: httpx.AsyncClient) -> None:
    answer = await client.post("/graphql", json={"query": "subscription { ticks }"}, headers=EVENTS)
    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] == "text/event-stream"
    assert events_of(answer.text) == [{"data": {"ticks": 1}}, {"data": {"ticks": 2}}, None]


async def test_an_error_in_the_stream_is_its_last_result(client: httpx.AsyncClient) -> None:
    async def codes(trouble: str) -> list[str]:
        query = f'subscription {{ ticks(trouble: "{trouble}") }}'
        text = (await client.post("/graphql", json={"query": query}, headers=EVENTS)).text
        assert "hunter2" not in text
        *_, last, end = events_of(text)
        assert end is None
        return [error["extensions"]["code"] for error in last["errors"]]

    assert await codes("broken") == ["INTERNAL"]
    assert await codes("busy") == ["BUSY"]


@pytest.mark.parametrize("accept", [None, "application/json", "*/*", "text/event-stream;q=0"])
async def test_who_does_not_accept_events_is_told(client: httpx.AsyncClient, accept: str | None) -> None:
    headers = {} if accept is None else {"accept": accept}
    answer = await client.post("/graphql", json={"query": "subscription { ticks }"}, headers=headers)
    assert answer.status_code == 406
    assert answer.json()["errors"][0]["extensions"]["code"] == "NOT_ACCEPTABLE"


async def test_queries_are_not_answered_by_events(client: httpx.AsyncClient) -> None:
    answer = await client.post("/graphql", json={"query": "{ hello }"}, headers=EVENTS)
    assert answer.status_code == 406
    both = {"accept": "application/json, text/event-stream"}
    answer = await client.post("/graphql", json={"query": "{ hello }"}, headers=both)
    assert (answer.status_code, answer.json()) == (200, {"data": {"hello": "Hello, world!"}})


async def test_silence_is_broken(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "KEEP_ALIVE_SECONDS", 0.01)
    answer = await client.post("/graphql", json={"query": "subscription { ticks }"}, headers=EVENTS)
    assert ":\n\n" in answer.text
    assert len(events_of(answer.text)) == 3


async def test_who_goes_away_leaves_nothing_behind(app: Starlette, service: TinyService) -> None:
    """The stream is asked for without a client that would wait for its end."""
    body = json.dumps({"query": 'subscription { ticks(trouble: "endless") }'}).encode()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "method": "POST",
        "path": "/graphql",
        "raw_path": b"/graphql",
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "http_version": "1.1",
        "server": ("test", 80),
        "client": ("test", 1),
        "headers": [(b"host", b"test"), (b"accept", b"text/event-stream"), (b"content-type", b"application/json")],
    }
    seen = asyncio.Event()
    sent: list[bytes] = []
    messages: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await seen.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))
        if b'"ticks":2' in message.get("body", b""):
            seen.set()

    async with asyncio.timeout(10):
        await app(scope, receive, send)
        while service.running:
            await asyncio.sleep(0.01)


async def test_a_validation_is_asked_for_and_watched_over_http(repositories: Repositories, tmp_path: Path) -> None:
    with repositories.private(RICH, Layout("sqlite")) as real:
        mutation = """mutation ($datastore: String!) {
            validateDatastore(input: {datastore: $datastore, graceSeconds: 0}) { job { id state } } }"""
        subscription = """subscription ($id: ID!) { jobProgress(id: $id) {
            state ... on ValidationJob { verdict coverage } } }"""
        with serving(real.uri, log=tmp_path / "log") as address:
            async with httpx.AsyncClient(base_url=address, timeout=60) as client:
                asked = {"query": mutation, "variables": {"datastore": real.butler._datastore.name}}
                job = (await client.post("/graphql", json=asked)).json()["data"]["validateDatastore"]["job"]
                watched = {"query": subscription, "variables": {"id": job["id"]}}
                async with client.stream("POST", "/graphql", json=watched, headers=EVENTS) as answer:
                    lines = [line async for line in answer.aiter_lines() if line.startswith("data: {")]
        seen = [json.loads(line.removeprefix("data: "))["data"]["jobProgress"] for line in lines]
        assert job["state"] == "QUEUED"
        assert seen[-1]["state"] == "SUCCEEDED", seen
        # Three of its files are gone.
        assert seen[-1]["verdict"] == "INVALID"
        assert seen[-1]["coverage"]["artifacts"] == 57
