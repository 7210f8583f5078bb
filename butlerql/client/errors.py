"""What can go wrong.

::

    ClientError
    ├── NoAnswerError       the server is not there, or does not answer in time
    ├── BadAnswerError      what answers is no ButlerQL server
    ├── QueryError          the server refuses: `code` says why
    └── EmptyResultError    nothing was found, and `explain=True` asked for an exception then
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["BadAnswerError", "ClientError", "EmptyResultError", "NoAnswerError", "QueryError"]


class ClientError(Exception):
    """Something that was asked got no answer; the message says what to do next."""


class NoAnswerError(ClientError):
    """The server is not there, or does not answer in time."""


class BadAnswerError(ClientError):
    """What answers is no ButlerQL server."""


class EmptyResultError(ClientError):
    """Nothing was found."""


class QueryError(ClientError):
    """The server refuses all or a part of what was asked.

    Attributes
    ----------
    code
        Why, of the first error. Codes never change; messages may.
    message
        What is wrong and what to do next, of the first error.
    errors
        All errors, as GraphQL has them.
    data
        What was answered all the same; None if nothing was.
    """

    def __init__(self, errors: Sequence[dict[str, Any]], data: dict[str, Any] | None) -> None:
        self.code: str = errors[0].get("extensions", {}).get("code", "")
        self.message: str = errors[0].get("message", "")
        self.errors = list(errors)
        self.data = data
        super().__init__(f"{self.message} ({self.code})" if self.code else self.message)
