"""Which media type a request is in, and which one its answer shall be in (RFC 9110, sections 8.3 and 12.5.1)."""

from __future__ import annotations

import re

from butlerql.request_errors import Code, RequestError

__all__ = ["EVENTS", "GRAPHQL_RESPONSE", "JSON", "answer_type", "check_body_type", "wants_events", "wants_page"]

GRAPHQL_RESPONSE = "application/graphql-response+json"
JSON = "application/json"
EVENTS = "text/event-stream"

_QUALITY = re.compile(r"\s*q\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*", re.IGNORECASE)


def answer_type(accept: str | None) -> str:
    """Choose between the two media types of an answer.

    ``application/json`` where the client names neither: clients that know the newer one ask for it.

    Parameters
    ----------
    accept
        The ``Accept`` header, if there is one.

    Raises
    ------
    RequestError
        If neither is acceptable (``NOT_ACCEPTABLE``).
    """
    if accept is None or not accept.strip():
        return JSON
    ranges = _ranges(accept)
    plain, modern = _quality(ranges, JSON), _quality(ranges, GRAPHQL_RESPONSE)
    if max(plain, modern) <= 0:
        raise RequestError(
            Code.NOT_ACCEPTABLE, f"The answer can be {GRAPHQL_RESPONSE} or {JSON}: accept one of them.", 406
        )
    if plain == modern:
        return GRAPHQL_RESPONSE if GRAPHQL_RESPONSE in ranges else JSON
    return JSON if plain > modern else GRAPHQL_RESPONSE


def wants_page(accept: str | None) -> bool:
    """Tell whether a browser asks to be shown something."""
    return accept is not None and _ranges(accept).get("text/html", 0.0) > 0


def wants_events(accept: str | None) -> bool:
    """Tell whether a client can read a stream of events."""
    return accept is not None and _ranges(accept).get(EVENTS, 0.0) > 0


def check_body_type(content_type: str | None, content_encoding: str | None) -> None:
    """Refuse a body that is not plain JSON in UTF-8.

    Parameters
    ----------
    content_type
        The ``Content-Type`` header, if there is one.
    content_encoding
        The ``Content-Encoding`` header, if there is one.

    Raises
    ------
    RequestError
        With status 415 (``UNSUPPORTED_MEDIA_TYPE``).
    """
    media_type, _, parameters = (content_type or "").partition(";")
    if media_type.strip().lower() != JSON:
        raise RequestError(
            Code.UNSUPPORTED_MEDIA_TYPE,
            f"The body must be JSON, with the header Content-Type: {JSON}.",
            415,
            headers={"Accept-Post": JSON},
        )
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip().strip('"').lower() not in ("utf-8", "utf8"):
            raise RequestError(Code.UNSUPPORTED_MEDIA_TYPE, "The body must be in UTF-8.", 415)
    if content_encoding is not None and content_encoding.strip().lower() not in ("", "identity"):
        raise RequestError(
            Code.UNSUPPORTED_MEDIA_TYPE,
            "The body must not be compressed.",
            415,
            headers={"Accept-Encoding": "identity"},
        )


def _ranges(accept: str) -> dict[str, float]:
    """Read the header as media range to quality; ranges that make no sense are left out."""
    ranges: dict[str, float] = {}
    for part in accept.split(","):
        media_range, *parameters = part.split(";")
        quality = 1.0
        for parameter in parameters:
            if parameter.strip().lower().startswith("q"):
                match = _QUALITY.fullmatch(parameter)
                quality = float(match[1]) if match else 0.0
        ranges[media_range.strip().lower()] = quality
    return ranges


def _quality(ranges: dict[str, float], media_type: str) -> float:
    """Find the quality of a media type by the most specific range that covers it."""
    for media_range in (media_type, "application/*", "*/*"):
        if media_range in ranges:
            return ranges[media_range]
    return 0.0
