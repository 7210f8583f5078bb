"""What a load balancer asks."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from butlerql import __version__, app
from butlerql.app import create_app
from butlerql.settings import Settings
from butlerql.storage.errors import BusyError
from tests.support.tiny_service import TinyService


async def test_the_process_lives(client: httpx.AsyncClient) -> None:
    response = await client.get("/health/live")
    assert response.status_code == 200
    assert response.json() == {"status": "ok", "version": __version__}


async def test_every_repository_is_asked(client: httpx.AsyncClient) -> None:
    response = await client.get("/health/ready")
    assert response.status_code == 200
    assert response.json() == {
        "status": "ok",
        "repositories": {"first": {"ready": True}, "second": {"ready": True}},
    }


class _Silent(TinyService):
    async def ready(self) -> None:
        await asyncio.sleep(3600)


async def test_one_that_cannot_be_read_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "READY_SECONDS", 0.05)
    services = {"fine": TinyService(), "busy": TinyService(BusyError("Busy; try again.")), "silent": _Silent()}
    transport = httpx.ASGITransport(create_app(services, Settings()))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        response = await client.get("/health/ready")
    assert response.status_code == 503
    told = response.json()
    assert told["status"] == "unavailable"
    assert told["repositories"]["fine"] == {"ready": True}
    assert told["repositories"]["busy"] == {"ready": False, "code": "BUSY", "message": "Busy; try again."}
    assert told["repositories"]["silent"]["code"] == "TIMED_OUT"
