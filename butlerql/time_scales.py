"""UTC and TAI: texts and datetimes to nanoseconds of TAI and back.

An instant is an `int`: nanoseconds on the TAI scale since 1970-01-01T00:00:00 TAI, as the Butler keeps it, within 64
bits (the years 1677 to 2262). UTC is TAI less the leap seconds. Before 1972, where UTC was not yet a whole number of
seconds from TAI, the 10 seconds of 1972 are taken.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

__all__ = [
    "UTC_OFFSETS",
    "day_to_iso",
    "iso_to_tai_ns",
    "tai_ns_to_iso",
    "tai_ns_to_utc_datetime",
    "tai_ns_to_utc_iso",
    "utc_datetime_to_tai_ns",
    "utc_iso_to_tai_ns",
]

# When a new count of leap seconds began: TAI - UTC is 10 s from the first day on, and a second more from each of the
# others (IERS Bulletin C; none was announced after 2017).
_IN_JANUARY = (1972, 1973, 1974, 1975, 1976, 1977, 1978, 1979, 1980, 1988, 1990, 1991, 1996, 1999, 2006, 2009, 2017)
_IN_JULY = (1972, 1981, 1982, 1983, 1985, 1992, 1993, 1994, 1997, 2012, 2015)
_CHANGES = sorted([date(year, 1, 1) for year in _IN_JANUARY] + [date(year, 7, 1) for year in _IN_JULY])
_FIRST_OFFSET = 10

_SECOND = 1_000_000_000
_DAY = 86_400
_EPOCH = date(1970, 1, 1)
_EPOCH_ORDINAL = _EPOCH.toordinal()
_EPOCH_INSTANT = datetime(1970, 1, 1)  # noqa: DTZ001 - the registry's own timestamps have no zone
_MICROSECOND = timedelta(microseconds=1)
_LIMIT = 2**63

# Days since 1970 on which an offset begins; and the TAI second at which the leap second before it begins.
_CHANGE_DAYS = [(change - _EPOCH).days for change in _CHANGES[1:]]
_LEAP_SECONDS = [day * _DAY + _FIRST_OFFSET + index for index, day in enumerate(_CHANGE_DAYS)]
_LAST_LEAP_SECOND = _LEAP_SECONDS[-1]
_LAST_CHANGE_DAY = _CHANGE_DAYS[-1]
_LAST_OFFSET = _FIRST_OFFSET + len(_CHANGE_DAYS)

UTC_OFFSETS = [
    (second * _SECOND, (_FIRST_OFFSET + index) * _SECOND)
    for index, second in reversed(list(enumerate(_LEAP_SECONDS, start=1)))
]
"""From which instant on which number of nanoseconds has to be subtracted to count days of UTC, the latest first, down
to 1972, before which it is 10 seconds. A leap second belongs to the day that it ends."""

_ISO = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?(Z|[+-]\d\d:?\d\d)?", re.ASCII | re.IGNORECASE
)
_MINUTES = [f"T{minute // 60:02}:{minute % 60:02}:" for minute in range(1440)]


def tai_ns_to_utc_iso(ns: int) -> str:
    """Write an instant in UTC, with microseconds: ``2026-11-23T07:13:00.123456Z``.

    What is finer is cut off, never rounded up. Within a leap second the text says ``23:59:60``.
    """
    second, fraction = divmod(ns, _SECOND)
    if second > _LAST_LEAP_SECOND:
        day, second = divmod(second - _LAST_OFFSET, _DAY)
        return f"{_date_text(day)}{_MINUTES[second // 60]}{second % 60:02}.{fraction // 1000:06}Z"
    index = bisect_right(_LEAP_SECONDS, second)
    if index and second == _LEAP_SECONDS[index - 1]:
        return f"{_date_text(_CHANGE_DAYS[index - 1] - 1)}T23:59:60.{fraction // 1000:06}Z"
    day, second = divmod(second - _FIRST_OFFSET - index, _DAY)
    return f"{_date_text(day)}{_MINUTES[second // 60]}{second % 60:02}.{fraction // 1000:06}Z"


def utc_iso_to_tai_ns(text: str) -> int:
    """Read an ISO 8601 instant in UTC, or with an offset from it (``+02:00``); without either it is UTC.

    Up to nine digits of a second are read. ``23:59:60`` is read where there was a leap second.

    Raises
    ------
    ValueError
        If the text is no such instant, or out of range.
    """
    match = _ISO.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:80]!r} is not an ISO 8601 instant such as 2026-11-23T07:13:00.123456Z")
    day_text, hour, minute, second, fraction, zone = match.groups()
    day, in_day = _day(day_text), _seconds_of_day(hour, minute)
    seconds = int(second) if second else 0
    if zone is not None and zone not in "Zz":
        moved, in_day = divmod(in_day - _offset_seconds(zone), _DAY)
        day += moved
    if day >= _LAST_CHANGE_DAY:
        offset = _LAST_OFFSET
    else:
        offset = _FIRST_OFFSET + bisect_right(_CHANGE_DAYS, day)
    if seconds >= 60 and not (seconds == 60 and in_day == _DAY - 60 and day + 1 in _CHANGE_DAYS):
        raise ValueError(f"{text!r} names a second that there was not")
    return _within_range((day * _DAY + in_day + seconds + offset) * _SECOND + _nanoseconds(fraction), text)


def tai_ns_to_iso(ns: int) -> str:
    """Write an instant on the TAI scale, with nanoseconds: ``2026-11-23T07:13:37.123456789``."""
    second, fraction = divmod(ns, _SECOND)
    day, second = divmod(second, _DAY)
    return f"{_date_text(day)}{_MINUTES[second // 60]}{second % 60:02}.{fraction:09}"


def iso_to_tai_ns(text: str) -> int:
    """Read an ISO 8601 instant on the TAI scale, with up to nine digits of a second.

    Raises
    ------
    ValueError
        If the text is no such instant, is out of range, or has a ``Z`` or an offset, which are of UTC.
    """
    match = _ISO.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:80]!r} is not an ISO 8601 instant such as 2026-11-23T07:13:37.123456789")
    day_text, hour, minute, second, fraction, zone = match.groups()
    if zone is not None:
        raise ValueError(
            f"{text!r} has the zone {zone!r}, but instants on the TAI scale have none: leave it away and give TAI"
        )
    seconds = int(second) if second else 0
    if seconds >= 60:
        raise ValueError(f"{text!r} names a second that there was not: TAI has no leap seconds")
    return _within_range(
        (_day(day_text) * _DAY + _seconds_of_day(hour, minute) + seconds) * _SECOND + _nanoseconds(fraction), text
    )


def utc_datetime_to_tai_ns(instant: datetime) -> int:
    """Convert a datetime; without a time zone it is UTC."""
    if instant.tzinfo is not None:
        instant = instant.astimezone(UTC).replace(tzinfo=None)
    since = instant - _EPOCH_INSTANT
    if since.days >= _LAST_CHANGE_DAY:
        offset = _LAST_OFFSET
    else:
        offset = _FIRST_OFFSET + bisect_right(_CHANGE_DAYS, since.days)
    return (since // _MICROSECOND) * 1000 + offset * _SECOND


def tai_ns_to_utc_datetime(ns: int) -> datetime:
    """Convert an instant to a datetime in UTC without a zone; what is finer than a microsecond is cut off."""
    second, fraction = divmod(ns, _SECOND)
    offset = _FIRST_OFFSET + bisect_right(_LEAP_SECONDS, second)
    return _EPOCH_INSTANT + timedelta(seconds=second - offset, microseconds=fraction // 1000)


def day_to_iso(day: int) -> str:
    """Write a day, counted from 1970-01-01."""
    return _date_text(day)


@lru_cache(maxsize=4096)
def _date_text(day: int) -> str:
    return date.fromordinal(_EPOCH_ORDINAL + day).isoformat()


@lru_cache(maxsize=4096)
def _day(text: str) -> int:
    return date.fromisoformat(text).toordinal() - _EPOCH_ORDINAL


def _seconds_of_day(hour: str | None, minute: str | None) -> int:
    hours, minutes = int(hour or 0), int(minute or 0)
    if hours > 23 or minutes > 59:
        raise ValueError(f"there is no {hours:02}:{minutes:02} in a day")
    return hours * 3600 + minutes * 60


def _offset_seconds(zone: str) -> int:
    seconds = _seconds_of_day(zone[1:3], zone[-2:])
    return -seconds if zone[0] == "-" else seconds


def _nanoseconds(fraction: str | None) -> int:
    return int(fraction.ljust(9, "0")) if fraction else 0


def _within_range(ns: int, text: str) -> int:
    if not -_LIMIT <= ns < _LIMIT:
        raise ValueError(f"{text!r} is out of range: instants lie in the years 1677 to 2262")
    return ns
