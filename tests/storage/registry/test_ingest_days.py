"""Days that the database tells are those of the instants as we write them."""

from __future__ import annotations

import sqlalchemy as sa
from hypothesis import example, given
from hypothesis import strategies as st

from butlerql.storage.registry.ingest_days import ingest_day, ingest_day_text
from butlerql.time_scales import tai_ns_to_utc_iso, utc_iso_to_tai_ns
from tests.support.repositories import RealRepository
from tests.support.snapshots import snapshot_of

_SECOND = 1_000_000_000
_MIDNIGHTS = [
    utc_iso_to_tai_ns(f"{day}T00:00:00Z")
    for day in ("1969-12-31", "1970-01-01", "1970-01-02", "1972-01-01", "1972-07-01", "1998-12-31", "2017-01-01")
]
_AROUND = [midnight + shift for midnight in _MIDNIGHTS for shift in (-_SECOND - 1, -_SECOND, -1, 0, 1, _SECOND)]


@example(_AROUND)
@given(st.lists(st.integers(-(2**63) + 10 * _SECOND, 2**63 - 1), max_size=100))
async def test_every_instant(rich: RealRepository, instants: list[int]) -> None:
    async with snapshot_of(rich) as snapshot:
        repository = snapshot.repository
        given = repository.dialect.rows("instants", {"ns": sa.BigInteger()}, [(instant,) for instant in instants])
        rows = await snapshot.rows(sa.select(given.c.ns, ingest_day(repository.tables, given.c.ns)))
    assert len(rows) == len(instants)
    for instant, day in rows:
        assert ingest_day_text(day) == tai_ns_to_utc_iso(instant)[:10]
