"""Relay connections: from the arguments of a field to a page, and from a page to its fields."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple, Protocol

import orjson

from butlerql.resolvers.context import RequestContext
from butlerql.resolvers.loaders import Loaders
from butlerql.storage.errors import BadCursorError, InvalidArgumentError, LimitExceededError
from butlerql.storage.registry.dataset_groups import DatasetGroup, GroupKey
from butlerql.storage.registry.pages import Key, Page, PageRequest
from butlerql.storage.snapshot import Snapshot

__all__ = [
    "Connection",
    "Counter",
    "Edge",
    "Grouper",
    "PageInfo",
    "Paging",
    "loaders",
    "of_whole_sets",
    "page_by_uuid",
    "paging",
    "paging_of",
]

loaders = Loaders()

Counter = Callable[[Snapshot, list[int]], Awaitable[Sequence[int]]]
"""Counts the whole sets of several parents at once; parents are told by their index in the call that made the pages."""

Grouper = Callable[[Snapshot, list[int], Sequence[GroupKey]], Awaitable[Sequence[list[DatasetGroup]]]]
"""Breaks down the whole sets of several parents at once."""

_CURSOR_TYPES = frozenset({str, int, float, type(None)})
_PAGING = ("first", "after", "last", "before")
_CONNECTIONS = (
    "Dataset",
    "DatasetType",
    "Collection",
    "Run",
    "DataId",
    "DimensionRecord",
    "Certification",
    "Job",
    "Finding",
    "AuditEntry",
    "DeletionItem",
    "Task",
    "Quantum",
    "Execution",
    "DatasetTrace",
)


class _HasUuid(Protocol):
    @property
    def uuid(self) -> str: ...


class Paging(NamedTuple):
    """A page that was asked for, and what marks the cursors of its connection."""

    request: PageRequest
    digest: str

    def connection(self, page: Page[Any], counter: Counter | None, parent: int = 0) -> Connection:
        """Wrap a page; without a counter where another loader than that of all connections counts the set."""
        return Connection(page, self.digest, counter, parent)

    def connections(
        self, pages: Sequence[Page[Any]], counter: Counter, grouper: Grouper | None = None
    ) -> list[Connection]:
        """Wrap the pages of several parents."""
        return [Connection(page, self.digest, counter, index, grouper) for index, page in enumerate(pages)]


class Edge(NamedTuple):
    """A row and its cursor."""

    cursor: str
    node: Any


class PageInfo(NamedTuple):
    """What is around a page."""

    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


class Connection(NamedTuple):
    """One page of a set, with what is needed to count the whole, and of datasets to break it down."""

    page: Page[Any]
    digest: str
    counter: Counter | None
    parent: int
    grouper: Grouper | None = None

    @property
    def nodes(self) -> list[Any]:
        """Rows of the page."""
        return self.page.rows

    @property
    def edges(self) -> list[Edge]:
        """Rows of the page with their cursors."""
        return [Edge(_cursor(self.digest, key), row) for key, row in zip(self.page.keys, self.page.rows, strict=True)]

    @property
    def page_info(self) -> PageInfo:
        """What is around the page."""
        keys = self.page.keys
        start, end = (_cursor(self.digest, keys[0]), _cursor(self.digest, keys[-1])) if keys else (None, None)
        return PageInfo(self.page.has_next, self.page.has_previous, start, end)


def paging(
    context: RequestContext,
    field: str,
    filters: Mapping[str, Any],
    *,
    first: int | None = None,
    after: str | None = None,
    last: int | None = None,
    before: str | None = None,
) -> Paging:
    """Read the paging arguments of a field.

    Parameters
    ----------
    context
        Holds the limits.
    field
        Name of the connection, for its cursors.
    filters
        All other arguments of the field: a cursor fits only where they are the same.
    first, after, last, before
        As the client gave them.

    Raises
    ------
    InvalidArgumentError
        Raised if both ``first`` and ``last`` are given, or one of them is negative.
    LimitExceededError
        Raised if a page would be larger than the settings allow.
    BadCursorError
        Raised if a cursor is not of this connection.
    """
    if first is not None and last is not None:
        raise InvalidArgumentError("Give first or last, not both.")
    limit = context.limits.default_page if first is None and last is None else first if last is None else last
    assert limit is not None
    if limit < 0:
        raise InvalidArgumentError("A page cannot have a negative size.")
    if limit > context.limits.maximum_page:
        raise LimitExceededError(
            f"A page has at most {context.limits.maximum_page} entries; {limit} were asked for. "
            "Ask for fewer and go on behind pageInfo.endCursor."
        )
    text = orjson.dumps([field, filters], option=orjson.OPT_SORT_KEYS, default=str)
    digest = hashlib.blake2b(text, digest_size=6).hexdigest()
    request = PageRequest(limit, last is not None, _key(digest, after), _key(digest, before))
    return Paging(request, digest)


def paging_of(context: RequestContext, field: str, arguments: Mapping[str, Any], filters: Any = None) -> Paging:
    """Read the paging arguments among all of a field; the others, and more filters, are what its cursors are for."""
    others = {name: value for name, value in arguments.items() if name not in _PAGING}
    pages = {name: arguments[name] for name in _PAGING if name in arguments}
    return paging(context, field, {"arguments": others, "filters": filters}, **pages)


def _cursor(digest: str, key: Key) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([digest, *key])).decode().rstrip("=")


def _key(digest: str, cursor: str | None) -> Key | None:
    if cursor is None:
        return None
    try:
        content = orjson.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error):
        content = None
    if not isinstance(content, list) or not content or not all(type(value) in _CURSOR_TYPES for value in content):
        raise BadCursorError("This is not a cursor. Use one that this field gave, as it was given.")
    if content[0] != digest:
        raise BadCursorError(
            "This cursor belongs to another field, or to other arguments. Begin again without a cursor."
        )
    return tuple(content[1:])


def page_by_uuid(rows: Sequence[_HasUuid], request: PageRequest) -> Page[Any]:
    """Cut a page out of rows in the order of their UUIDs; it is asked for from the start, and behind a cursor.

    Raises
    ------
    BadCursorError
        Raised if somebody made the cursor up.
    """
    rest = list(rows)
    if request.after is not None:
        if [type(value) for value in request.after] != [str]:
            raise BadCursorError("This is not a cursor of this field. Use one that it gave, as it was given.")
        rest = [row for row in rows if row.uuid > request.after[0]]
    found = rest[: request.limit]
    return Page(found, [(row.uuid,) for row in found], len(rest) > len(found), len(rest) < len(rows))


async def of_whole_sets(
    context: RequestContext, parents: Sequence[Connection], asked: Callable[[Connection], Any], *arguments: Any
) -> list[Any]:
    """Ask something of the sets of connections, in one go for those that were made together.

    Parameters
    ----------
    context
        Holds the snapshot.
    parents
        The connections.
    asked
        Gives what answers for all connections that were made together: their `Counter` or `Grouper`.
    arguments
        What else it takes.
    """
    together: dict[int, list[int]] = {}
    for position, connection in enumerate(parents):
        together.setdefault(id(asked(connection)), []).append(position)
    answers: list[Any] = [None] * len(parents)
    for positions in together.values():
        indexes = [parents[position].parent for position in positions]
        found = await asked(parents[positions[0]])(context.snapshot, indexes, *arguments)
        for position, answer in zip(positions, found, strict=True):
            answers[position] = answer
    return answers


async def _total_count(context: RequestContext, parents: Sequence[Connection]) -> list[int]:
    return await of_whole_sets(context, parents, attrgetter("counter"))


for _name in _CONNECTIONS:
    loaders.field(f"{_name}Connection.totalCount")(_total_count)
