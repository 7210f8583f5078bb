"""Regions of the sky, and timespans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from butlerql.resolvers.loaders import Loaders
from butlerql.storage.registry.spatial import Region
from butlerql.storage.registry.timespans import Timespan
from butlerql.time_scales import tai_ns_to_iso, tai_ns_to_utc_iso

__all__ = ["loaders", "region_json", "timespan_json"]

loaders = Loaders()


def region_json(region: Region | None) -> dict[str, Any] | None:
    """Write a region as JSON, with the fields of its type."""
    return None if region is None else region._asdict()


def timespan_json(timespan: Timespan | None) -> dict[str, Any] | None:
    """Write a timespan as JSON, with the fields of its type."""
    if timespan is None:
        return None
    begin, end = timespan.begin, timespan.end
    return {
        "begin": None if begin is None else tai_ns_to_iso(begin),
        "end": None if end is None else tai_ns_to_iso(end),
        "beginUtc": None if begin is None else tai_ns_to_utc_iso(begin),
        "endUtc": None if end is None else tai_ns_to_utc_iso(end),
        "isEmpty": timespan.is_empty,
    }


@loaders.column("Timespan.beginUtc")
def _begin_utc(parents: Sequence[Timespan]) -> list[int | None]:
    return [timespan.begin for timespan in parents]


@loaders.column("Timespan.endUtc")
def _end_utc(parents: Sequence[Timespan]) -> list[int | None]:
    return [timespan.end for timespan in parents]
