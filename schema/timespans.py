"""Timespans."""

from __future__ import annotations

import strawberry

from butlerql.schema.fields import loaded
from butlerql.schema.scalars import DateTime, TaiTime

__all__ = ["Timespan", "TimespanInput"]


@strawberry.type
class Timespan:
    """A stretch of time, its begin included and its end not."""

    begin: TaiTime | None = strawberry.field(description="Where it begins; null if it is unbounded or empty.")
    end: TaiTime | None = strawberry.field(description="Where it ends; null if it is unbounded or empty.")

    @loaded
    def begin_utc(self) -> DateTime | None:
        """Where it begins, in UTC, to the microsecond; null if it is unbounded or empty."""

    @loaded
    def end_utc(self) -> DateTime | None:
        """Where it ends, in UTC, to the microsecond; null if it is unbounded or empty."""

    is_empty: bool = strawberry.field(description="Whether it holds no instant at all: it overlaps nothing.")


@strawberry.input
class TimespanInput:
    """A stretch of time, its begin included and its end not; unbounded where a side is left out or null."""

    begin: TaiTime | None = strawberry.field(default=None, description="Where it begins; null where unbounded.")
    end: TaiTime | None = strawberry.field(default=None, description="Where it ends; null where unbounded.")
