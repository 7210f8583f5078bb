"""GraphQL over HTTP: from a request to the operation that it asks for, and from the result to the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qsl, quote

import orjson
import structlog
from graphql import DocumentNode, ExecutionResult, GraphQLError, GraphQLSchema, OperationType, get_operation_ast
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from butlerql.answers import codes_of, encode, mask, present
from butlerql.bodies import ClientGone, read_json
from butlerql.documents import Documents
from butlerql.event_stream import stream_response
from butlerql.negotiation import EVENTS, JSON, answer_type, wants_events, wants_page
from butlerql.origins import refuse_foreign_page
from butlerql.request_errors import Code, RequestError
from butlerql.settings import Settings
from butlerql.storage.errors import (
    BusyError,
    ButlerQLError,
    ConnectionFailedError,
    NeedsRecoveryError,
    StateUnavailableError,
    StateVersionError,
    TimedOutError,
)

__all__ = ["GraphQLEndpoint", "Service", "choose", "error_response", "status_of"]

RETRY_SECONDS = 2
"""What ``Retry-After`` says where a request failed for want of time."""

RETRY = frozenset((BusyError.code, TimedOutError.code))
"""What trying again may help against."""

UNAVAILABLE = RETRY | {
    error.code for error in (ConnectionFailedError, NeedsRecoveryError, StateUnavailableError, StateVersionError)
}
"""What is not the client's fault."""

CANCEL_SECONDS = 5.0
"""How long a cancelled operation may take to let go of what it holds before the answer goes out all the same."""

log = structlog.stdlib.get_logger("butlerql")


class Service(Protocol):
    """One repository that answers GraphQL."""

    @property
    def schema(self) -> GraphQLSchema:
        """What may be asked."""

    async def execute(
        self, document: DocumentNode, *, variables: dict[str, Any] | None, operation_name: str | None
    ) -> ExecutionResult:
        """Run one operation of a valid document."""

    async def subscribe(
        self, document: DocumentNode, *, variables: dict[str, Any] | None, operation_name: str | None
    ) -> AsyncIterator[ExecutionResult] | ExecutionResult:
        """Run a subscription of a valid document."""

    async def take_in(self, events: Sequence[Any]) -> dict[str, Any]:
        """Take in events of OpenLineage, and say what became of them."""

    async def ready(self) -> None:
        """Raise a ButlerQLError if the repository cannot be read just now."""

    def start(self) -> None:
        """Take up long work."""

    async def close(self) -> None:
        """Let go of the repository."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for."""

    query: str
    variables: dict[str, Any] | None
    operation_name: str | None


class GraphQLEndpoint:
    """Answer GraphQL requests for the repository that the path names, as an ASGI application.

    Parameters
    ----------
    services
        The repositories by label. It may be filled after this is made.
    settings
        Limits and time budgets.
    """

    def __init__(self, services: Mapping[str, Service], settings: Settings) -> None:
        self._services = services
        self._settings = settings
        self._documents: dict[str, tuple[Service, Documents]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        request_id: str = scope["state"]["request_id"]
        media_type = JSON
        try:
            if _is_visit(request):
                response = _to_the_page(request)
            else:
                accept = request.headers.get("accept")
                events = wants_events(accept)
                media_type = JSON if events else answer_type(accept)
                response = await self._answer(request, media_type, request_id, events=events)
        except RequestError as error:
            response = _refusal(error, media_type, request_id)
        except ButlerQLError as error:
            failed = ExecutionResult(errors=[GraphQLError(str(error), original_error=error)])
            response = _response(present(failed, request_id), media_type)
        except ClientGone:
            structlog.contextvars.bind_contextvars(disconnected=True)
            return
        await response(scope, receive, send)

    async def _answer(self, request: Request, media_type: str, request_id: str, *, events: bool) -> Response:
        label, service = choose(self._services, request.path_params.get("label"))
        if request.method == "POST":
            asked = _read_request(await read_json(request, self._settings))
        elif request.method == "GET":
            asked = _read_query(request.scope["query_string"])
        else:
            raise RequestError(
                Code.METHOD_NOT_ALLOWED,
                f"The method must be POST, or GET for queries, not {request.method}.",
                405,
                headers={"Allow": "GET, POST"},
            )
        document = await self._documents_of(label, service).get(asked.query)
        operation = get_operation_ast(document, asked.operation_name)
        if operation is None:
            raise _unclear_operation(asked.operation_name)
        if operation.name is not None:
            structlog.contextvars.bind_contextvars(operation=operation.name.value)
        if request.method == "GET" and operation.operation is not OperationType.QUERY:
            raise RequestError(
                Code.METHOD_NOT_ALLOWED,
                f"A {operation.operation.value} must be sent by POST; by GET only queries are run.",
                405,
                headers={"Allow": "POST"},
            )
        if operation.operation is OperationType.MUTATION:
            refuse_foreign_page(request.headers.get("origin"), self._settings.origins)
        if operation.operation is OperationType.SUBSCRIPTION:
            return await _subscribe(service, document, asked, media_type, request_id, events=events)
        if events:
            media_type = answer_type(request.headers.get("accept"))
        result = await _run(service, document, asked, request.receive, self._settings.request_seconds)
        return _response(present(result, request_id), media_type)

    def _documents_of(self, label: str, service: Service) -> Documents:
        kept = self._documents.get(label)
        if kept is None or kept[0] is not service:
            kept = self._documents[label] = (service, Documents(service.schema, self._settings))
        return kept[1]


def choose(services: Mapping[str, Service], label: str | None) -> tuple[str, Service]:
    """Find the repository that a path names; without a label it is the first.

    Raises
    ------
    RequestError
        Raised if there is none.
    """
    if label is None and services:
        return next(iter(services.items()))
    if label is None or label not in services:
        there = ", ".join(services)
        raise RequestError(Code.NOT_FOUND, f"No repository is served under this name; there are: {there}.", 404)
    return label, services[label]


def _read_request(content: Any) -> Asked:
    if isinstance(content, list):
        raise RequestError(Code.BAD_REQUEST, "The body must be one request; lists of requests are not taken.")
    if not isinstance(content, dict):
        raise RequestError(Code.BAD_REQUEST, 'The body must be a JSON object, {"query": "..."}.')
    return _asked(content)


def _read_query(query_string: bytes) -> Asked:
    try:
        pairs = parse_qsl(query_string.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError:
        raise RequestError(Code.BAD_REQUEST, "The URL's parameters are not percent-encoded UTF-8.") from None
    content: dict[str, Any] = {}
    for name, value in pairs:
        if name in ("query", "operationName", "variables", "extensions"):
            if name in content:
                raise RequestError(Code.BAD_REQUEST, f"The parameter {name} is given twice.")
            content[name] = value
    for name in ("variables", "extensions"):
        if content.get(name):
            try:
                content[name] = orjson.loads(content[name])
            except orjson.JSONDecodeError as error:
                raise RequestError(Code.BAD_REQUEST, f"The parameter {name} is not valid JSON: {error}.") from None
        else:
            content.pop(name, None)
    return _asked(content)


def _asked(content: dict[str, Any]) -> Asked:
    query, name = content.get("query"), content.get("operationName")
    variables, extensions = content.get("variables"), content.get("extensions")
    if not isinstance(query, str):
        raise RequestError(Code.BAD_REQUEST, "`query` must be a string, the GraphQL document to run.")
    if name is not None and not isinstance(name, str):
        raise RequestError(Code.BAD_REQUEST, "`operationName` must be a string or null.")
    if variables is not None and not isinstance(variables, dict):
        raise RequestError(Code.BAD_REQUEST, "`variables` must be an object or null.")
    if extensions is not None and not isinstance(extensions, dict):
        raise RequestError(Code.BAD_REQUEST, "`extensions` must be an object or null.")
    return Asked(query, variables, name or None)


def _is_visit(request: Request) -> bool:
    """Tell a person who typed the address into a browser from a program that asks something."""
    return request.method == "GET" and not request.scope["query_string"] and wants_page(request.headers.get("accept"))


def _to_the_page(request: Request) -> Response:
    label = request.path_params.get("label")
    location = "./" if label is None else f"../?repository={quote(label, safe='')}"
    return Response(status_code=303, headers={"Location": location, "Vary": "Accept"})


def _unclear_operation(name: str | None) -> RequestError:
    what = (
        "The document holds several operations, or none: say which to run by `operationName`."
        if name is None
        else f"The document holds no operation named {name[:100]!r}."
    )
    return RequestError(Code.OPERATION_RESOLUTION_FAILURE, what, well_formed=True)


async def _run(
    service: Service, document: DocumentNode, asked: Asked, receive: Receive, seconds: float
) -> ExecutionResult:
    """Run an operation until it is done, its time is up, or nobody waits for it any more."""
    execution = asyncio.ensure_future(
        service.execute(document, variables=asked.variables, operation_name=asked.operation_name)
    )
    leaving = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait((execution, leaving), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if execution.done():
            return execution.result()
        if leaving.done():
            raise ClientGone
        raise TimedOutError(
            f"The operation took longer than {seconds:g} seconds (request_seconds). Ask for less at once: a smaller "
            "page, fewer nested connections, narrower filters."
        )
    finally:
        leaving.cancel()
        if not execution.done():
            await _stop(execution)


async def _subscribe(
    service: Service, document: DocumentNode, asked: Asked, media_type: str, request_id: str, *, events: bool
) -> Response:
    if not events:
        raise RequestError(
            Code.NOT_ACCEPTABLE, f"A subscription is answered by a stream of events: accept {EVENTS}.", 406
        )
    results = await service.subscribe(document, variables=asked.variables, operation_name=asked.operation_name)
    if isinstance(results, ExecutionResult):
        return _response(present(results, request_id), media_type)
    return stream_response(results, request_id)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _stop(execution: asyncio.Future[ExecutionResult]) -> None:
    execution.cancel()
    done, _ = await asyncio.wait((execution,), timeout=CANCEL_SECONDS)
    if not done:
        log.error("a cancelled operation does not end")
    elif not execution.cancelled() and (error := execution.exception()) is not None:
        log.warning("a cancelled operation failed", exc_info=error)


def _response(
    body: dict[str, Any], media_type: str, status: int | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """Make the answer; its status follows from the body where none is given."""
    codes = codes_of(body)
    if codes:
        structlog.contextvars.bind_contextvars(errors=codes)
    sent = {"Content-Type": f"{media_type}; charset=utf-8", "Vary": "Accept", "Cache-Control": "no-store"}
    if "data" not in body and not RETRY.isdisjoint(codes):
        sent["Retry-After"] = str(RETRY_SECONDS)
    if status is None:
        status = 200 if "data" in body or media_type == JSON else status_of(codes)
    return Response(encode(body), status, {**sent, **(headers or {})})


def status_of(codes: Sequence[str]) -> int:
    """Choose the HTTP status of a request that failed as a whole."""
    if Code.INTERNAL in codes:
        return 500
    return 400 if UNAVAILABLE.isdisjoint(codes) else 503


def _refusal(error: RequestError, media_type: str, request_id: str) -> Response:
    body = present(ExecutionResult(errors=error.errors), request_id)
    status = 200 if error.well_formed and media_type == JSON else error.status
    return _response(body, media_type, status, error.headers)


def error_response(error: RequestError | BaseException, request_id: str) -> Response:
    """Answer a request that never came to an endpoint, or that failed in an unforeseen way.

    Parameters
    ----------
    error
        A `RequestError`, or whatever else was raised: that is logged and masked, with status 500.
    request_id
        Names the request in the log.
    """
    if not isinstance(error, RequestError):
        error = RequestError(Code.INTERNAL, "", 500, errors=[mask(error, request_id)])
    return _refusal(error, JSON, request_id)
