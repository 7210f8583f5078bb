"""Every query of the documentation, run on the demonstration repository, gives the answer that stands below it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from butlerql.app import create_app
from butlerql.opening import open_services
from butlerql.settings import Settings
from tests.docs.pages import PAGES, Block, blocks
from tests.support.repositories import RealRepository
from tests.support.served import serving

_LEFT_OUT = "..."
_ADDRESS = "http://127.0.0.1:8080"

# A query, and the block behind it if that is an answer.
QUERIES = [
    (block, following if following and following.language == "json" else None)
    for page in PAGES
    for block, following in zip(blocks(page), [*blocks(page)[1:], None], strict=False)
    if block.language == "graphql" and not block.text.startswith("mutation")
]
CHANGES = {
    page: [block for block in blocks(page) if block.language == "graphql" and block.text.startswith("mutation")]
    for page in PAGES
}


@asynccontextmanager
async def talking(repository: RealRepository, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """Talk to a service of a repository."""
    async with open_services({"demo": repository.uri}, settings) as services:
        transport = httpx.ASGITransport(create_app(services, settings))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            yield client


@pytest.fixture(scope="module")
async def client(demonstration: RealRepository) -> AsyncIterator[httpx.AsyncClient]:
    """Talk to a service of the demonstration repository."""
    async with talking(demonstration, Settings()) as client:
        yield client


@pytest.mark.parametrize("changes", [pytest.param(some, id=some[0].place) for some in CHANGES.values() if some])
async def test_the_changes_of_a_page_are_made_one_after_the_other(
    demonstration: RealRepository, fresh: Callable[[RealRepository], RealRepository], changes: list[Block]
) -> None:
    async with talking(fresh(demonstration), Settings(writable=True)) as client:
        for change in changes:
            real = (await client.post("/graphql", json={"query": change.text})).json()
            assert real["data"] and "errors" not in real, (change.place, real)


@pytest.mark.parametrize(("query", "answer"), QUERIES, ids=[query.place for query, _ in QUERIES])
async def test_each_query_has_its_answer(client: httpx.AsyncClient, query: Block, answer: Block | None) -> None:
    response = await client.post("/graphql", json={"query": query.text})
    real = response.json()
    assert real["data"], real
    if answer is None:
        assert "errors" not in real, real
    else:
        assert differences(json.loads(answer.text), real) == []


def differences(shown: Any, real: Any, place: str = "") -> list[str]:
    """Compare what a page shows with what it stands for.

    ``"..."`` stands for any text, at the end of a list for more of its items, and as the key of an object for more
    of its keys. Numbers may be rounded.
    """
    if isinstance(shown, dict) and isinstance(real, dict):
        named = shown.keys() - {_LEFT_OUT}
        wrong = named - real.keys() if _LEFT_OUT in shown else named ^ real.keys()
        if _LEFT_OUT in shown and not real.keys() - named:
            wrong = {_LEFT_OUT}
        if wrong:
            return [f"{place}: keys {sorted(wrong)}"]
        return [found for key in named for found in differences(shown[key], real[key], f"{place}.{key}")]
    if isinstance(shown, list) and isinstance(real, list):
        is_cut = shown[-1:] == [_LEFT_OUT]
        items = shown[:-1] if is_cut else shown
        if len(items) >= len(real) if is_cut else len(items) != len(real):
            return [f"{place}: {len(items)} items of {len(real)}"]
        pairs = zip(items, real, strict=False)
        return [
            found for index, (one, other) in enumerate(pairs) for found in differences(one, other, f"{place}[{index}]")
        ]
    if isinstance(shown, str) and isinstance(real, str):
        pattern = ".*".join(map(re.escape, shown.split(_LEFT_OUT)))
        return [] if re.fullmatch(pattern, real, re.DOTALL) else [f"{place}: {shown!r} for {real!r}"]
    if isinstance(shown, float) and isinstance(real, float):
        real = round(real, len(str(shown).partition(".")[2]))
    return [] if shown == real and type(shown) is type(real) else [f"{place}: {shown!r} for {real!r}"]


def test_what_is_left_out_is_told_from_what_is_wrong() -> None:
    real = {"a": [1, 2], "b": {"c": "one two", "d": None}, "e": 1.23456}
    assert differences({"a": [1, "..."], "b": {"c": "...two", "...": "..."}, "e": 1.235}, real) == []
    for wrong in (
        {**real, "a": [1]},
        {**real, "a": [1, 2, "..."]},
        {**real, "a": [1, 3]},
        {**real, "b": {"c": "one two"}},
        {**real, "b": {**real["b"], "...": "..."}},
        {**real, "b": {"c": "...three", "d": None}},
        {**real, "e": 1.24},
        {**real, "f": 1},
    ):
        assert differences(wrong, real) != []


SCRIPTS = [
    block
    for page in PAGES
    for block in blocks(page)
    if _ADDRESS in block.text and (block.language == "python" or "curl " in block.text)
]


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.place)
def test_each_script_works(script: Block, demonstration: RealRepository, tmp_path: Path) -> None:
    if "curl " in script.text and shutil.which("curl") is None:
        pytest.skip("No curl was found, so what uses it is not tried. Install it (Debian: apt-get install curl).")
    with serving(f"demo={demonstration.uri}", log=tmp_path / "log") as address:
        text = script.text.replace(_ADDRESS, address)
        command = [sys.executable, "-c", text] if script.language == "python" else ["sh", "-euc", text]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert '"errors"' not in done.stdout
