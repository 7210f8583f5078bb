"""Values that are bound to the identifiers of an expression: from JSON, or Python's own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import date, datetime
from typing import Any
from uuid import UUID

from lsst import sphgeom

from butlerql.storage.registry.expressions.literals import point, region_of_pos, time_ns, timespan, within_range
from butlerql.storage.registry.expressions.tree import Kind, Literal
from butlerql.storage.registry.timespans import Timespan
from butlerql.time_scales import iso_to_tai_ns, utc_datetime_to_tai_ns, utc_iso_to_tai_ns

__all__ = ["as_kind", "bound_values"]


def bound_values(value: Any) -> Literal | list[Literal]:
    """Read a bound value.

    Parameters
    ----------
    value
        ``int``, ``float``, ``str``, ``bytes``, ``UUID``, ``date`` and ``datetime`` (UTC unless it has a zone), a
        `Timespan`, a region or a ``LonLat`` of ``lsst.sphgeom``; NumPy's scalars of the same; a mapping with ``begin``
        and ``end``, each an ISO 8601 instant on the TAI scale or None, for a timespan; or a list, tuple or set of
        values.

    Raises
    ------
    ValueError
        Raised for anything else, and for a list of values of several types.
    """
    # NumPy's scalars and arrays of no dimension give what they hold.
    item = getattr(value, "item", None)
    if item is not None and getattr(value, "ndim", None) == 0:
        value = item()
    elif getattr(value, "ndim", None) == 1:
        value = value.tolist()
    if isinstance(value, list | tuple | AbstractSet) and not isinstance(value, Timespan):
        members = [bound_values(member) for member in value]
        single = [member for member in members if isinstance(member, Literal)]
        if len(single) < len(members):
            raise ValueError("a list of lists cannot be looked into")
        if len({member.kind for member in single}) > 1:
            raise ValueError("the values of a list have to be of one type")
        return single
    return _single(value)


def as_kind(literal: Literal, kind: Kind) -> Literal:
    """Read a value as one of another kind, as what is compared with it demands; JSON has no other way to say some.

    From a text: a time is an ISO 8601 instant in UTC or what may stand in ``T'...'``; a hash is hexadecimal; a region
    is written as the IVOA's POS. A truth value is 0 or 1 where a number is wanted.

    Raises
    ------
    ValueError
        Raised if it cannot be read so.
    """
    value = literal.value
    match literal.kind, kind:
        case Kind.STRING, Kind.TIME:
            return Literal(_instant(value), kind)
        case Kind.STRING, Kind.UUID:
            return Literal(str(UUID(value)), kind)
        case Kind.STRING, Kind.HASH:
            return Literal(bytes.fromhex(value), kind)
        case Kind.STRING, Kind.REGION:
            return Literal(region_of_pos(value), kind)
        case Kind.BOOL, (Kind.INT | Kind.FLOAT):
            return Literal(int(value), Kind.INT)
    return literal


def _single(value: Any) -> Literal:  # noqa: C901, PLR0911, PLR0912 - a case for each type
    match value:
        case bool():
            return Literal(value, Kind.BOOL)
        case int():
            if not -(2**63) <= value < 2**63:
                raise ValueError("a whole number is out of range: registries hold -2^63 to 2^63 - 1")
            return Literal(value, Kind.INT)
        case float():
            if not math.isfinite(value):
                raise ValueError(f"{value} is no number that can be compared")
            return Literal(value, Kind.FLOAT)
        case str():
            return Literal(value, Kind.STRING)
        case bytes():
            return Literal(value, Kind.HASH)
        case UUID():
            return Literal(str(value), Kind.UUID)
        case datetime():
            return Literal(within_range(utc_datetime_to_tai_ns(value)), Kind.TIME)
        case date():
            midnight = datetime(value.year, value.month, value.day)  # noqa: DTZ001 - it is UTC
            return Literal(within_range(utc_datetime_to_tai_ns(midnight)), Kind.TIME)
        case Timespan():
            return Literal(Timespan.from_columns(*value.bounds), Kind.TIMESPAN)
        case sphgeom.Region():
            return Literal(value, Kind.REGION)
        case sphgeom.LonLat():
            return Literal(point(value.getLon().asDegrees(), value.getLat().asDegrees()), Kind.REGION)
        case Mapping() if value and value.keys() <= {"begin", "end"}:
            return Literal(_timespan(value.get("begin"), value.get("end")), Kind.TIMESPAN)
    raise ValueError(f"a value of type {type(value).__name__} cannot be compared")


def _timespan(begin: Any, end: Any) -> Timespan:
    bounds: list[int | None] = []
    for bound in (begin, end):
        if bound is not None and not isinstance(bound, str):
            raise ValueError("begin and end of a timespan are ISO 8601 instants on the TAI scale, or null")
        bounds.append(None if bound is None else iso_to_tai_ns(bound))
    return timespan(bounds[0], bounds[1])


def _instant(text: str) -> int:
    try:
        return within_range(utc_iso_to_tai_ns(text))
    except ValueError:
        return time_ns(text)
