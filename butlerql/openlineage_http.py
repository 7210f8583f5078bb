"""OpenLineage over HTTP: events of runs, one or a list of them, are taken into provenance."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from butlerql.answers import encode
from butlerql.bodies import ClientGone, read_json
from butlerql.graphql_http import Service, choose, error_response, status_of
from butlerql.negotiation import JSON
from butlerql.origins import refuse_foreign_page
from butlerql.request_errors import RequestError
from butlerql.settings import Settings
from butlerql.storage.errors import ButlerQLError, ForbiddenError, ReadOnlyError, TimedOutError

__all__ = ["OpenLineageEndpoint"]


class OpenLineageEndpoint:
    """Take in events for the repository that the path names, as an ASGI application.

    Parameters
    ----------
    services
        The repositories by label. It may be filled after this is made.
    settings
        Limits, time budgets, and the pages that may ask for changes.
    """

    def __init__(self, services: Mapping[str, Service], settings: Settings) -> None:
        self._services = services
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        try:
            answer = await self._take_in(request)
        except ClientGone:
            structlog.contextvars.bind_contextvars(disconnected=True)
            return
        except (RequestError, ButlerQLError) as error:
            response = error_response(_refusal(error), scope["state"]["request_id"])
        else:
            response = Response(encode(answer), headers={"Cache-Control": "no-store"}, media_type=JSON)
        await response(scope, receive, send)

    async def _take_in(self, request: Request) -> dict[str, Any]:
        refuse_foreign_page(request.headers.get("origin"), self._settings.origins)
        _, service = choose(self._services, request.path_params.get("label"))
        content = await read_json(request, self._settings)
        seconds = self._settings.request_seconds
        try:
            async with asyncio.timeout(seconds):
                return await service.take_in(content if isinstance(content, list) else [content])
        except TimeoutError:
            raise TimedOutError(
                f"Taking them in took longer than {seconds:g} seconds (request_seconds). Send fewer events at once; "
                "those that were taken in meanwhile may be sent again."
            ) from None


def _refusal(error: RequestError | ButlerQLError) -> RequestError:
    if isinstance(error, RequestError):
        return error
    is_refused = isinstance(error, ForbiddenError | ReadOnlyError)
    return RequestError(error.code, str(error), 403 if is_refused else status_of([error.code]))
