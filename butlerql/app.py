"""The web application: what is at which address, and what every answer carries."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from butlerql import __version__
from butlerql.answers import encode, mask
from butlerql.explorer import Assets, explorer_page, explorer_settings
from butlerql.graphql_http import GraphQLEndpoint, Service, error_response
from butlerql.openlineage_http import OpenLineageEndpoint
from butlerql.request_errors import Code, RequestError
from butlerql.settings import Settings
from butlerql.storage.errors import ButlerQLError, TimedOutError

__all__ = ["RESERVED_LABELS", "create_app"]

RESERVED_LABELS = frozenset(("assets", "graphql", "health", "openlineage"))
"""A repository of such a name would hide, or be hidden by, an address of ours."""

READY_SECONDS = 5.0
"""How long a repository may take to say that it can be read."""

COMPRESSION = 4
"""Level of gzip; JSON of repeated keys shrinks to a tenth already, and higher ones cost several times as much."""

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
"""What every answer carries unless it says otherwise."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

log = structlog.stdlib.get_logger("butlerql.access")

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


def create_app(services: Mapping[str, Service], settings: Settings, *, lifespan: Lifespan | None = None) -> Starlette:
    """Make the web application.

    Each repository is at ``/{label}/graphql``, the first also at ``/graphql``; the explorer is at ``/``, and
    ``/health/live`` and ``/health/ready`` say how the service fares. Events of OpenLineage go to
    ``/{label}/openlineage``, those of the first also to ``/openlineage``.

    Parameters
    ----------
    services
        The repositories by label, ready to be asked. It may be filled by ``lifespan``; it is looked into at each
        request.
    settings
        Limits and time budgets.
    lifespan
        What opens the repositories before the first request and closes them after the last.
    """
    endpoint = GraphQLEndpoint(services, settings)
    events = OpenLineageEndpoint(services, settings)
    page = explorer_page()

    async def live(request: Request) -> Response:
        return _json({"status": "ok", "version": __version__})

    async def ready(request: Request) -> Response:
        request_id: str = request.scope["state"]["request_id"]
        found = await asyncio.gather(*(_readiness(service, request_id) for service in services.values()))
        fine = bool(found) and all(each["ready"] for each in found)
        body = {"status": "ok" if fine else "unavailable", "repositories": dict(zip(services, found, strict=True))}
        return _json(body, 200 if fine else 503)

    async def explorer(request: Request) -> Response:
        return page(request)

    async def explorer_json(request: Request) -> Response:
        return _json(explorer_settings(list(services)))

    return Starlette(
        routes=[
            Route("/", explorer),
            Route("/explorer.json", explorer_json),
            Route("/health/live", live),
            Route("/health/ready", ready),
            Mount("/assets", Assets()),
            Route("/graphql", endpoint),
            Route("/{label}/graphql", endpoint),
            Route("/openlineage", events, methods=["POST"]),
            Route("/{label}/openlineage", events, methods=["POST"]),
        ],
        middleware=[
            Middleware(Front),
            Middleware(GZipMiddleware, minimum_size=1_000, compresslevel=COMPRESSION),
        ],
        exception_handlers={HTTPException: _http_error},
        lifespan=lifespan,
    )


class Front:
    """Name each request, give every answer its headers, log a line, and let no unforeseen error through.

    Parameters
    ----------
    app
        What answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = scope.setdefault("state", {})["request_id"] = _request_id(scope)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        status: int | None = None

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:
            if status is not None:
                raise
            await error_response(error, request_id)(scope, receive, send_with_headers)
        finally:
            quiet = scope["path"].startswith("/health/")
            client = scope.get("client")
            (log.debug if quiet else log.info)(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                milliseconds=round((time.perf_counter() - started) * 1000, 1),
                client=client[0] if client else None,
            )


async def _readiness(service: Service, request_id: str) -> dict[str, Any]:
    try:
        async with asyncio.timeout(READY_SECONDS):
            await service.ready()
    except TimeoutError:
        message = f"The repository did not answer within {READY_SECONDS:g} seconds."
        return {"ready": False, "code": TimedOutError.code, "message": message}
    except ButlerQLError as error:
        return {"ready": False, "code": error.code, "message": str(error)}
    except Exception as error:  # noqa: BLE001 - whatever it is, the repository is not ready
        return {"ready": False, "code": Code.INTERNAL, "message": mask(error, request_id).message}
    return {"ready": True}


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        refusal = RequestError(Code.METHOD_NOT_ALLOWED, f"The method {request.method} is not allowed here.", 405)
    else:
        what = "Nothing is here: the explorer is at /, the endpoint at /graphql."
        refusal = RequestError(Code.NOT_FOUND, what, error.status_code)
    refusal.headers |= error.headers or {}
    return error_response(refusal, request.scope["state"]["request_id"])


def _json(body: Any, status: int = 200) -> Response:
    return Response(encode(body), status, {"Cache-Control": "no-store"}, "application/json")


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value.decode("latin-1")):
            given: str = value.decode("ascii")
            return given
    return uuid.uuid4().hex
