"""Answers to subscriptions: server-sent events, one a result (GraphQL over SSE, "distinct connections mode")."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from graphql import ExecutionResult, GraphQLError
from starlette.responses import Response, StreamingResponse

from butlerql.answers import encode, present
from butlerql.negotiation import EVENTS

__all__ = ["stream_response"]

KEEP_ALIVE_SECONDS = 15.0
"""After so long without an event something is sent all the same: proxies take what is silent for dead."""


def stream_response(results: AsyncIterator[ExecutionResult], request_id: str) -> Response:
    """Make the answer to a subscription.

    Parameters
    ----------
    results
        One an event. What it raises is the last, as an error.
    request_id
        Names the request in the log, for errors that were not foreseen.
    """
    headers = {"Cache-Control": "no-store", "Vary": "Accept", "X-Accel-Buffering": "no"}
    return StreamingResponse(_events(results, request_id), media_type=EVENTS, headers=headers)


async def _events(results: AsyncIterator[ExecutionResult], request_id: str) -> AsyncIterator[bytes]:
    following: asyncio.Task[ExecutionResult | None] | None = None
    try:
        while True:
            following = asyncio.create_task(_next(results))
            while not (await asyncio.wait({following}, timeout=KEEP_ALIVE_SECONDS))[0]:
                yield b":\n\n"
            if (result := following.result()) is None:
                break
            yield b"event: next\ndata: " + encode(present(result, request_id)) + b"\n\n"
        yield b"event: complete\ndata:\n\n"
    finally:
        if following is not None and not following.done():
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following


async def _next(results: AsyncIterator[ExecutionResult]) -> ExecutionResult | None:
    try:
        return await anext(results, None)
    except Exception as error:  # noqa: BLE001 - whatever it is, clients are told by its code, or masked
        return ExecutionResult(errors=[GraphQLError(str(error), original_error=error)])
