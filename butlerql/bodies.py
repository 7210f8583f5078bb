"""Bodies of requests: JSON in UTF-8, up to a limit and not for ever."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from starlette.requests import Request
from starlette.types import Receive

from butlerql.negotiation import check_body_type
from butlerql.request_errors import Code, RequestError
from butlerql.settings import Settings

__all__ = ["ClientGone", "read_json"]

DRAINED = 8
"""Of a body that is too large, this many times the limit is read and dropped, so that clients that write all before
they read see the answer and not a broken connection."""


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


async def read_json(request: Request, settings: Settings) -> Any:
    """Read the body of a request.

    Raises
    ------
    RequestError
        Raised if it is no JSON, too large, or late.
    ClientGone
        Raised if it does not come.
    """
    headers = request.headers
    check_body_type(headers.get("content-type"), headers.get("content-encoding"))
    body = await _read(request.receive, settings)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestError(Code.BAD_REQUEST, f"The body is not valid JSON in UTF-8: {error}.") from None


async def _read(receive: Receive, settings: Settings) -> bytes:
    maximum = settings.maximum_body_bytes
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(settings.receive_seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                chunk = message.get("body", b"")
                size += len(chunk)
                if size <= maximum:
                    chunks.append(chunk)
                if not message.get("more_body", False) or size > DRAINED * maximum:
                    break
    except TimeoutError:
        if size <= maximum:
            raise RequestError(
                Code.REQUEST_TIMEOUT,
                f"The body did not arrive within {settings.receive_seconds:g} seconds.",
                408,
                headers={"Connection": "close"},
            ) from None
    if size > maximum:
        raise RequestError(
            Code.PAYLOAD_TOO_LARGE,
            f"The body is larger than {maximum} bytes (maximum_body_bytes). Split the request into several.",
            413,
            headers={"Connection": "close"},
        )
    return b"".join(chunks)
