"""What is wrong with a request before any field of it is answered."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from graphql import GraphQLError

__all__ = ["Code", "RequestError"]


class Code(StrEnum):
    """Codes that the service itself gives; those of the repository are in `butlerql.storage.errors`."""

    BAD_REQUEST = "BAD_REQUEST"
    BAD_USER_INPUT = "BAD_USER_INPUT"
    FORBIDDEN = "FORBIDDEN"
    GRAPHQL_PARSE_FAILED = "GRAPHQL_PARSE_FAILED"
    GRAPHQL_VALIDATION_FAILED = "GRAPHQL_VALIDATION_FAILED"
    INTERNAL = "INTERNAL"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    NOT_ACCEPTABLE = "NOT_ACCEPTABLE"
    NOT_FOUND = "NOT_FOUND"
    OPERATION_RESOLUTION_FAILURE = "OPERATION_RESOLUTION_FAILURE"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    REQUEST_TIMEOUT = "REQUEST_TIMEOUT"
    UNSUPPORTED_MEDIA_TYPE = "UNSUPPORTED_MEDIA_TYPE"


class RequestError(Exception):
    """A request that is refused as a whole.

    Parameters
    ----------
    code
        What clients see as ``extensions.code``.
    message
        What is wrong, and what to do next.
    status
        The HTTP status.
    headers
        Headers that the answer must carry besides the usual ones.
    errors
        The GraphQL errors in full, where there are several or they have locations.
    well_formed
        Whether the request was one of GraphQL over HTTP at all: then a client that asked for ``application/json``
        gets status 200, as the specification has it.
    """

    def __init__(
        self,
        code: Code | str,
        message: str,
        status: int = 400,
        *,
        headers: Mapping[str, str] | None = None,
        errors: list[GraphQLError] | None = None,
        well_formed: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        self.errors = errors or [GraphQLError(message, extensions={"code": str(code)})]
        self.well_formed = well_formed
