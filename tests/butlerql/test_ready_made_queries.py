"""The ready-made queries, each run against the demonstration repository as the explorer runs it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from butlerql.app import create_app
from butlerql.explorer import ready_made_queries
from butlerql.opening import open_services
from butlerql.settings import Settings
from tests.support.repositories import RealRepository


@pytest.fixture(scope="module")
async def demonstrated(demonstration: RealRepository) -> AsyncIterator[httpx.AsyncClient]:
    """Talk to a service of the demonstration repository."""
    settings = Settings()
    async with open_services({"demo": demonstration.uri}, settings) as services:
        transport = httpx.ASGITransport(create_app(services, settings))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            yield client


def empty_pages(answer: Any, place: str = "") -> list[str]:
    """List the connections of an answer that came out empty."""
    if isinstance(answer, list):
        return [found for inside in answer for found in empty_pages(inside, place)]
    if not isinstance(answer, dict):
        return []
    here = [place] if answer.get("nodes") == [] or answer.get("totalCount") == 0 else []
    return here + [found for name, inside in answer.items() for found in empty_pages(inside, f"{place}.{name}")]


@pytest.mark.parametrize("ready", ready_made_queries(), ids=lambda ready: ready["name"])
async def test_each_has_an_answer(demonstrated: httpx.AsyncClient, ready: dict[str, str]) -> None:
    response = await demonstrated.post("/graphql", json={"query": ready["query"], "operationName": ready["name"]})
    answer = response.json()
    assert "errors" not in answer
    assert all(value is not None for value in answer["data"].values())
    assert empty_pages(answer["data"]) == []


async def test_calibrations_follow_the_exposure(demonstrated: httpx.AsyncClient) -> None:
    (ready,) = (ready for ready in ready_made_queries() if ready["name"] == "CalibrationOfAnExposure")
    for exposure, run in (("903334", "HSC/calib/2013/gen1"), ("904010", "HSC/calib/2013/gen2")):
        response = await demonstrated.post("/graphql", json={"query": ready["query"].replace("903334", exposure)})
        assert response.json()["data"]["findDataset"]["run"]["name"] == run
