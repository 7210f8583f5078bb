"""Pages: Relay connections, and the arguments that ask for one."""

from __future__ import annotations

from typing import Annotated, Generic, TypeVar

import strawberry

from butlerql.schema.fields import loaded
from butlerql.schema.scalars import BigInt

__all__ = ["After", "Before", "Connection", "Edge", "First", "Last", "PageInfo"]

First = Annotated[
    int | None,
    strawberry.argument(description="At most so many, from the start. More than the server's maximum is an error."),
]
After = Annotated[str | None, strawberry.argument(description="Only what follows the item with this cursor.")]
Last = Annotated[
    int | None,
    strawberry.argument(description="At most so many, from the end. More than the server's maximum is an error."),
]
Before = Annotated[str | None, strawberry.argument(description="Only what precedes the item with this cursor.")]

Item = TypeVar("Item")


@strawberry.type
class PageInfo:
    """Where a page stands in the whole."""

    has_next_page: bool = strawberry.field(description="Whether more follows this page.")
    has_previous_page: bool = strawberry.field(description="Whether something precedes this page.")
    start_cursor: str | None = strawberry.field(description="Cursor of the first item; null if the page is empty.")
    end_cursor: str | None = strawberry.field(description="Cursor of the last item; null if the page is empty.")


@strawberry.type
class Edge(Generic[Item]):
    """An item of a page, and where it stands."""

    cursor: str = strawberry.field(
        description=(
            "Where the item stands, for `after` and `before`. Opaque; with another order or other filters it is "
            "BAD_CURSOR."
        )
    )
    node: Item = strawberry.field(description="The item.")


@strawberry.type
class Connection(Generic[Item]):
    """A page of a list that may be long."""

    edges: list[Edge[Item]] = strawberry.field(description="The items of the page, with their cursors.")
    nodes: list[Item] = strawberry.field(description="The items of the page.")
    page_info: PageInfo = strawberry.field(description="Where the page stands in the whole.")

    @loaded
    def total_count(self) -> BigInt | None:
        """How many there are on all pages together. Counted only when asked for.

        Null, with an error, if they cannot be counted.
        """
