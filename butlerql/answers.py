"""Put results and errors into words that clients may see, and into JSON."""

from __future__ import annotations

import json
import math
from typing import Any

import orjson
import structlog
from graphql import ExecutionResult, GraphQLError

from butlerql.request_errors import Code
from butlerql.storage.errors import ButlerQLError, InvalidExpressionError

__all__ = ["codes_of", "encode", "mask", "present"]

LONGEST_MESSAGE = 2_000
"""Messages repeat what the client sent, and one long name can come back in a hundred of them."""

log = structlog.stdlib.get_logger("butlerql")


def present(result: ExecutionResult, request_id: str) -> dict[str, Any]:
    """Turn a result into the response map, every error with a code and none with a secret.

    Parameters
    ----------
    result
        What running the operation gave. Without data, and with errors that have no path, the request itself
        failed: then the map has no ``data``.
    request_id
        Names the request in the log, for errors that were not foreseen.
    """
    response: dict[str, Any] = {}
    if result.errors:
        response["errors"] = [_present_error(error, request_id) for error in result.errors]
    if not result.errors or result.data is not None or any(error.path is not None for error in result.errors):
        response["data"] = result.data
    if result.extensions:
        response["extensions"] = result.extensions
    return response


def codes_of(response: dict[str, Any]) -> list[str]:
    """List the codes of a response's errors, each once."""
    return list(dict.fromkeys(error["extensions"]["code"] for error in response.get("errors", ())))


def mask(error: BaseException, request_id: str) -> GraphQLError:
    """Log an error that nobody foresaw, and make one of it that tells clients nothing but where to ask.

    Parameters
    ----------
    error
        What was raised.
    request_id
        Names the request in the log.
    """
    log.error("unexpected error", error_id=request_id, exc_info=error)
    return GraphQLError(
        f"Internal error; the operators find it in the log under {request_id}.", extensions={"code": str(Code.INTERNAL)}
    )


def encode(response: Any) -> bytes:
    """Write a response as JSON.

    orjson refuses lone surrogates (names of files that are not UTF-8) and integers beyond 64 bits; the standard
    library writes those, much slower. Not-a-number becomes null, as in orjson.

    Parameters
    ----------
    response
        Dicts, lists and scalars.
    """
    try:
        return orjson.dumps(response)
    except TypeError:
        return json.dumps(_finite(response), separators=(",", ":"), allow_nan=False).encode("ascii")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inside) for key, inside in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inside) for inside in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _present_error(error: GraphQLError, request_id: str) -> dict[str, Any]:
    origin = _origin(error)
    if isinstance(origin, ButlerQLError):
        code: str | None = origin.code
    elif isinstance(origin, GraphQLError):
        # graphql-core raises these itself: where it names a place in the document, the document or its variables
        # are at fault; where it names none, a value of ours could not be written.
        code = (origin.extensions or {}).get("code") or (Code.BAD_USER_INPUT if _blames_client(error, origin) else None)
    else:
        code = (error.extensions or {}).get("code")
    shown = error.formatted
    if code is None:
        masked = mask(origin, request_id)
        shown["message"] = masked.message
        code = str(Code.INTERNAL)
    elif len(shown["message"]) > LONGEST_MESSAGE:
        shown["message"] = shown["message"][:LONGEST_MESSAGE] + "…"
    extensions = {**(shown.get("extensions") or {}), "code": str(code)}
    if isinstance(origin, InvalidExpressionError) and origin.position is not None:
        extensions["position"] = origin.position
    return {**shown, "extensions": extensions}


def _blames_client(error: GraphQLError, origin: GraphQLError) -> bool:
    return error.path is None or bool(origin.nodes)


def _origin(error: GraphQLError) -> Exception:
    """Find what was first raised."""
    origin: Exception = error
    while isinstance(origin, GraphQLError) and origin.original_error is not None:
        origin = origin.original_error
    return origin
