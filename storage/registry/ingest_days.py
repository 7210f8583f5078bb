"""On which day, UTC, datasets were put."""

from __future__ import annotations

from datetime import date

import sqlalchemy as sa

from butlerql.storage.tables import Tables
from butlerql.time_scales import UTC_OFFSETS, day_to_iso

__all__ = ["ingest_day", "ingest_day_text"]

_DAY = 86_400 * 1_000_000_000


def ingest_day(tables: Tables, ingest_date: sa.ColumnElement[int]) -> sa.ColumnElement[int | date | str]:
    """Give the day of an ingest date: something that sorts, and of which `ingest_day_text` makes a text."""
    if tables.layout.ingest_date_is_timestamp:
        return sa.func.date(ingest_date, type_=sa.types.NullType())
    first_offset = UTC_OFFSETS[-1][1] - 1_000_000_000
    days = [(ingest_date >= begin, _floor(ingest_date - offset)) for begin, offset in UTC_OFFSETS]
    since_epoch = ingest_date - first_offset
    before_epoch = _floor(since_epoch + 1) - 1
    return sa.case(*days, (since_epoch >= 0, _floor(since_epoch)), else_=before_epoch)


def ingest_day_text(day: int | date | str) -> str:
    """Write a day as ``2026-11-23``."""
    return day_to_iso(day) if isinstance(day, int) else str(day)


def _floor(nanoseconds: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    """Count whole days; both databases cut off what is behind the point."""
    return nanoseconds // sa.literal(_DAY, sa.BigInteger)
