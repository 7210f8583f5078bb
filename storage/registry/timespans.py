"""Timespans: half-open ranges of TAI nanoseconds."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["MAXIMUM", "MINIMUM", "Timespan"]

MINIMUM = 0
"""Begin of a range that is unbounded below, as the registry writes it (ns TAI since 1970-01-01 TAI)."""

MAXIMUM = 4_102_444_800_000_000_000
"""End of a range that is unbounded above: 2100-01-01, as the registry writes it."""


class Timespan(NamedTuple):
    """A range of time ``[begin, end)`` in nanoseconds TAI since 1970-01-01 TAI; None where it is unbounded."""

    begin: int | None
    end: int | None
    is_empty: bool = False

    @classmethod
    def from_columns(cls, begin: int | None, end: int | None) -> Timespan | None:
        """Read the two numbers that the registry keeps; None where there is no timespan at all."""
        if begin is None or end is None:
            return None
        if begin >= end:
            return EMPTY
        return cls(None if begin <= MINIMUM else begin, None if end >= MAXIMUM else end)

    @property
    def bounds(self) -> tuple[int, int]:
        """The two numbers as the registry writes them."""
        if self.is_empty:
            return MAXIMUM, MINIMUM
        return (MINIMUM if self.begin is None else self.begin), (MAXIMUM if self.end is None else self.end)


EMPTY = Timespan(None, None, is_empty=True)
