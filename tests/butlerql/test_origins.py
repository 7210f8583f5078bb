"""Pages of other origins ask for no change, whatever name they give this machine."""

from __future__ import annotations

import httpx
import pytest

from butlerql.app import create_app
from butlerql.settings import Settings
from tests.support.tiny_service import TinyService

CHANGE = {"query": "mutation { set(value: 5) }"}
QUESTION = {"query": "{ hello }"}


async def ask(body: dict[str, str], origin: str | None) -> httpx.Response:
    settings = Settings(origins=["https://butler.example.org/"])
    transport = httpx.ASGITransport(create_app({"first": TinyService()}, settings))
    async with httpx.AsyncClient(transport=transport, base_url="http://evil.example:8080") as client:
        return await client.post("/graphql", json=body, headers={} if origin is None else {"Origin": origin})


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "http://127.0.0.1:8080",
        "http://localhost:3000",
        "http://[::1]:8080",
        "https://butler.example.org",
        "https://Butler.example.org",
    ],
)
async def test_programs_and_known_pages_may_ask_for_changes(origin: str | None) -> None:
    assert (await ask(CHANGE, origin)).json()["data"] == {"set": 5}


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example:8080",
        "http://127.0.0.1.evil.example",
        "http://localhost.evil.example",
        "http://butler.example.org",
        "https://butler.example.org:444",
        "null",
        "",
        "http://[",
    ],
)
async def test_other_pages_may_only_read(origin: str) -> None:
    refused = await ask(CHANGE, origin)
    assert refused.status_code == 403
    [error] = refused.json()["errors"]
    assert error["extensions"]["code"] == "FORBIDDEN"
    assert "`origins`" in error["message"]
    assert (await ask(QUESTION, origin)).json()["data"] == {"hello": "Hello, world!"}
