"""Clients of the web application, in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette

from butlerql.app import create_app
from butlerql.settings import Settings
from tests.support.tiny_service import TinyService


@pytest.fixture
def service() -> TinyService:
    """Give a service of its own to each test."""
    return TinyService()


@pytest.fixture
def settings() -> Settings:
    """Give limits that a test soon reaches."""
    return Settings(maximum_body_bytes=20_000, maximum_document_characters=10_000, maximum_tokens=1_000)


@pytest.fixture
def app(service: TinyService, settings: Settings) -> Starlette:
    """Serve the service under two labels."""
    return create_app({"first": service, "second": TinyService()}, settings)


@pytest.fixture
async def client(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    """Talk to the application."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        del client.headers["accept"]
        yield client
