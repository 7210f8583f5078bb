"""The page, its files and its ready-made queries, without a browser."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from graphql import build_schema, parse, validate
from starlette.requests import Request

from butlerql import explorer
from butlerql.explorer import explorer_page, ready_made_queries
from butlerql.limits import check_size
from butlerql.settings import Settings

SCHEMA = build_schema((Path(__file__).parents[2] / "schema" / "schema.graphql").read_text(encoding="utf-8"))


@pytest.mark.parametrize("ready", ready_made_queries(), ids=lambda ready: ready["name"])
def test_each_ready_made_query_is_valid_and_within_the_limits(ready: dict[str, str]) -> None:
    document = parse(ready["query"])
    assert len(document.definitions) == 1
    assert validate(SCHEMA, document) == []
    assert check_size(document, Settings()) == []
    assert ready["description"]
    assert ready["query"].startswith(f"query {ready['name']}")


def test_the_names_of_ready_made_queries_are_distinct() -> None:
    names = [ready["name"] for ready in ready_made_queries()]
    assert len(names) == len(set(names)) > 5


async def test_the_page_learns_what_is_served(client: httpx.AsyncClient) -> None:
    response = await client.get("/explorer.json")
    told = response.json()
    assert told["repositories"] == [
        {"label": "first", "endpoint": "first/graphql"},
        {"label": "second", "endpoint": "second/graphql"},
    ]
    assert told["queries"] == list(ready_made_queries())
    assert response.headers["cache-control"] == "no-store"


async def test_the_page_allows_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    response = await client.get("/")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().split(" ", 1) for part in response.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["connect-src"] == "'self'"
    assert policy["script-src"] == "'self' 'wasm-unsafe-eval'"
    assert policy["frame-ancestors"] == "'none'"
    assert "http" not in response.headers["content-security-policy"]


async def test_without_a_build_the_page_says_so(tmp_path: Path) -> None:
    page = explorer_page(tmp_path)(Request({"type": "http", "headers": []}))
    assert page.status_code == 200
    assert b"has not been built" in bytes(page.body)
    assert b"npm run build" in bytes(page.body)


async def test_files_of_the_page_may_be_kept_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    from butlerql.app import create_app

    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "index-abc123.js").write_text("1")
    monkeypatch.setattr(explorer, "STATIC", tmp_path)
    transport = httpx.ASGITransport(create_app({}, settings))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        response = await client.get("/assets/index-abc123.js")
        assert response.status_code == 200
        assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert (await client.get("/assets/index-other.js")).status_code == 404
        assert (await client.post("/assets/index-abc123.js")).status_code == 405


def test_what_is_bundled_is_pinned_and_names_no_registry() -> None:
    web = Path(__file__).parents[2] / "web"
    declared = json.loads((web / "package.json").read_text(encoding="utf-8"))
    for versions in (declared["dependencies"], declared["devDependencies"]):
        assert all(version[0].isdigit() for version in versions.values())
    locked = json.loads((web / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    assert not [name for name, package in locked.items() if "resolved" in package]
    assert all("integrity" in package for name, package in locked.items() if name)
