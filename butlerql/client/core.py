"""What both clients do, without doing it: each step is something to send or a time to wait."""

from __future__ import annotations

import re
import ssl
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx
import orjson

from butlerql.client.errors import BadAnswerError, EmptyResultError, NoAnswerError, QueryError
from butlerql.client.questions import Listing, Lookup
from butlerql.client.rows import DATA_IDS, WholeNumbers
from butlerql.client.values import json_value

__all__ = ["HEADERS", "Core", "Pages", "Steps", "certificates", "endpoint", "sending"]

Row = TypeVar("Row")
Result = TypeVar("Result")

Steps = Generator[bytes | float, httpx.Response | None, Result]
"""Bytes are a body to post, the answer to which is to be sent in; numbers are seconds to wait."""

HEADERS = {"Accept": "application/graphql-response+json, application/json", "Content-Type": "application/json"}

_TRIES = 4
_LONGEST_WAIT = 30.0
_USUAL_WAIT = 1.0
_CHANGES = re.compile(r"\bmutation\b")
_UNIVERSE = "query universe { repository { universe { elements { name keyType metadata { name type } } } } }"


def endpoint(url: str, repository: str | None) -> httpx.URL:
    """Make the address that questions are sent to.

    Parameters
    ----------
    url
        Of the server, or of the endpoint itself.
    repository
        Label of the repository; None is the server's first.

    Raises
    ------
    ValueError
        Raised if the URL is none, or names an endpoint and a repository is given too.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"{url!r} is no URL: {error}.") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(f"{url!r} is no URL of a server. Write it like http://127.0.0.1:8080.")
    path = parsed.path.rstrip("/")
    if path.endswith("/graphql"):
        if repository is not None:
            raise ValueError(f"{url!r} names an endpoint. Leave /graphql away to choose a repository by its label.")
        return parsed
    label = "" if repository is None else f"/{quote(repository, safe='')}"
    return parsed.copy_with(path=f"{path}{label}/graphql")


@cache
def certificates() -> ssl.SSLContext:
    """Load whom to trust, once for all clients: it takes longer than most questions."""
    return httpx.create_ssl_context()


@contextmanager
def sending(url: httpx.URL) -> Iterator[None]:
    """Say what to do about what keeps a request from being answered.

    Raises
    ------
    NoAnswerError
        Raised for every failure of the transport.
    """
    shown = url.copy_with(username="", password="")
    try:
        yield
    except httpx.TimeoutException as error:
        raise NoAnswerError(
            f"{shown} did not answer in time. Ask for less at once, or give a longer timeout."
        ) from error
    except httpx.RequestError as error:
        raise NoAnswerError(
            f"{shown} cannot be reached: {error or type(error).__name__}. See that butlerql serve runs there."
        ) from error


class Core:
    """What is known of a server, and how it is asked.

    Parameters
    ----------
    page_size
        How many rows to ask for at once.
    """

    def __init__(self, page_size: int) -> None:
        self.page_size = page_size
        self._numbers: dict[str, frozenset[str]] | None = None

    def execute(self, document: str, variables: dict[str, Any]) -> Steps[dict[str, Any]]:
        """Ask, and ask again if the repository is busy."""
        body = orjson.dumps({"query": document, "variables": json_value(variables)})
        tries = 1 if _CHANGES.search(document) else _TRIES
        while True:
            response = yield body
            assert response is not None
            try:
                return _read(response)
            except QueryError as error:
                tries -= 1
                if error.code != "BUSY" or not tries:
                    raise
            yield _wait(response)

    def look_up(self, lookup: Lookup[Row]) -> Steps[Row | None]:
        """Ask for one object."""
        numbers = yield from self.numbers()
        data = yield from self.execute(lookup.document, lookup.variables)
        found = data[lookup.field]
        return None if found is None else lookup.kind.read(found, numbers)

    def numbers(self) -> Steps[WholeNumbers]:
        """Ask once which dimensions and columns hold whole numbers: large ones come as text."""
        if self._numbers is None:
            data = yield from self.execute(_UNIVERSE, {})
            elements = data["repository"]["universe"]["elements"]
            keys = frozenset(element["name"] for element in elements if element["keyType"] == "int")
            self._numbers = {
                element["name"]: keys.union(
                    {"id"} if element["name"] in keys else (),
                    (column["name"] for column in element["metadata"] if column["type"] == "int"),
                )
                for element in elements
            }
            self._numbers[DATA_IDS] = keys
        return self._numbers


class Pages(Generic[Row]):
    """The pages of a listing, one after the other.

    Parameters
    ----------
    core
        How to ask.
    listing
        What for.
    """

    def __init__(self, core: Core, listing: Listing[Row]) -> None:
        self._core = core
        self._listing = listing
        self._left = listing.limit
        self._after: str | None = None
        self.more = True

    def next(self) -> Steps[list[Row]]:
        """Ask for the next page, of no more rows than are still wanted."""
        listing = self._listing
        numbers = yield from self._core.numbers()
        first = self._core.page_size if self._left is None else min(self._core.page_size, self._left)
        variables = {**listing.variables, "first": first}
        if self._after is not None:
            variables["after"] = self._after
        data = yield from self._core.execute(listing.document, variables)
        page = data[listing.field]
        rows = [listing.kind.read(node, numbers) for node in page["nodes"]]
        if listing.explain and not rows and self._after is None and first:
            raise EmptyResultError("Nothing was found. Look at each condition alone, or leave explain out.")
        self._after = page["pageInfo"]["endCursor"]
        if self._left is not None:
            self._left -= len(rows)
        self.more = page["pageInfo"]["hasNextPage"] and self._left != 0
        return rows


def _read(response: httpx.Response) -> dict[str, Any]:
    """Take the data of an answer.

    Raises
    ------
    QueryError
        Raised for every error that the server tells of.
    BadAnswerError
        Raised if it is no answer to a question in GraphQL.
    """
    try:
        answer = orjson.loads(response.content)
        errors, data = answer.get("errors"), answer.get("data")
    except (orjson.JSONDecodeError, AttributeError):
        errors = data = None
    if errors:
        raise QueryError(errors, data)
    if not isinstance(data, dict):
        raise BadAnswerError(
            f"The server answers {response.status_code} {response.reason_phrase}, and not in GraphQL. See that its "
            "address is that of a ButlerQL server, such as http://127.0.0.1:8080."
        )
    return data


def _wait(response: httpx.Response) -> float:
    """Read how long the server wants to be left alone."""
    asked = response.headers.get("Retry-After", "")
    return min(float(asked), _LONGEST_WAIT) if asked.isdigit() else _USUAL_WAIT
