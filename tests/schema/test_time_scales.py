"""UTC and TAI, held against astropy and the Butler's own conversion."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from astropy.time import Time  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st
from lsst.daf.butler.time_utils import TimeConverter

from butlerql.time_scales import (
    iso_to_tai_ns,
    tai_ns_to_iso,
    tai_ns_to_utc_iso,
    utc_datetime_to_tai_ns,
    utc_iso_to_tai_ns,
)

# astropy's leap seconds are decided some years ahead only; later years are dubious, and without further ones.
pytestmark = pytest.mark.filterwarnings('ignore:ERFA function "[a-z0-9]+" yielded .*dubious year')

SECOND = 10**9
# The Butler's own range: 1970 to 2100; astropy's UTC differs from whole seconds before 1972.
MICROSECONDS = st.integers(min_value=2 * 366 * 86_400 * 10**6, max_value=4_102_000_000 * 10**6)
INT64 = st.integers(min_value=-(2**63), max_value=2**63 - 1)
LEAP_SECONDS = [
    f"{day}T23:59:60"
    for day in [
        "1972-06-30",
        "1972-12-31",
        "1973-12-31",
        "1974-12-31",
        "1975-12-31",
        "1976-12-31",
        "1977-12-31",
        "1978-12-31",
        "1979-12-31",
        "1981-06-30",
        "1982-06-30",
        "1983-06-30",
        "1985-06-30",
        "1987-12-31",
        "1989-12-31",
        "1990-12-31",
        "1992-06-30",
        "1993-06-30",
        "1994-06-30",
        "1995-12-31",
        "1997-06-30",
        "1998-12-31",
        "2005-12-31",
        "2008-12-31",
        "2012-06-30",
        "2015-06-30",
        "2016-12-31",
    ]
]


@given(MICROSECONDS)
def test_writes_utc_as_astropy_does(microseconds: int) -> None:
    # The middle of a microsecond, so that astropy's last bit decides nothing.
    ns = microseconds * 1000 + 500
    theirs = Time(tai_ns_to_iso(ns), format="isot", scale="tai", precision=9).utc.isot
    assert tai_ns_to_utc_iso(ns) == theirs[:26] + "Z"


@given(MICROSECONDS)
def test_reads_utc_as_the_butler_does(microseconds: int) -> None:
    ns = microseconds * 1000
    text = tai_ns_to_utc_iso(ns)
    assert utc_iso_to_tai_ns(text) == ns
    assert TimeConverter().astropy_to_nsec(Time(text.removesuffix("Z"), format="isot", scale="utc")) == ns


@given(INT64)
def test_tai_round_trips(ns: int) -> None:
    text = tai_ns_to_iso(ns)
    assert len(text) == len("2026-11-23T07:13:37.123456789")
    assert iso_to_tai_ns(text) == ns


@given(MICROSECONDS)
def test_writes_tai_as_the_butler_does(microseconds: int) -> None:
    ns = microseconds * 1000
    theirs = TimeConverter().nsec_to_astropy(ns)
    assert theirs.scale == "tai"
    assert tai_ns_to_iso(ns) == Time(theirs, format="isot", precision=9).value


@given(INT64)
def test_utc_round_trips_to_the_microsecond(ns: int) -> None:
    if ns >= -(2**63) + 1000:
        assert utc_iso_to_tai_ns(tai_ns_to_utc_iso(ns)) == ns // 1000 * 1000


@given(INT64, INT64)
def test_later_is_never_written_as_earlier(one: int, other: int) -> None:
    first, second = sorted((one, other))
    assert tai_ns_to_utc_iso(first) <= tai_ns_to_utc_iso(second)


@pytest.mark.parametrize("text", LEAP_SECONDS)
def test_leap_seconds(text: str) -> None:
    ns = utc_iso_to_tai_ns(f"{text}.25Z")
    assert tai_ns_to_utc_iso(ns) == f"{text}.250000Z"
    assert tai_ns_to_utc_iso(ns - SECOND) == f"{text[:-2]}59.250000Z"
    assert ns == TimeConverter().astropy_to_nsec(Time(f"{text}.25", format="isot", scale="utc"))
    after = Time(f"{text}.25", format="isot", scale="utc", precision=6) + timedelta(seconds=1)
    assert tai_ns_to_utc_iso(ns + SECOND) == after.isot + "Z"
    # What lies between is the second before, the leap second, and the second after: no gap, nothing twice.
    midnight = utc_iso_to_tai_ns(after.isot[:10])
    assert [tai_ns_to_utc_iso(midnight - step)[17:19] for step in (2 * SECOND, SECOND, 1, 0)] == [
        "59",
        "60",
        "60",
        "00",
    ]


def test_known_instants() -> None:
    assert tai_ns_to_utc_iso(0) == "1969-12-31T23:59:50.000000Z"
    assert tai_ns_to_iso(0) == "1970-01-01T00:00:00.000000000"
    assert utc_iso_to_tai_ns("2026-11-23T07:13:00.123456Z") == iso_to_tai_ns("2026-11-23T07:13:37.123456")
    assert utc_iso_to_tai_ns("1972-01-01T00:00:00Z") == iso_to_tai_ns("1972-01-01T00:00:10")


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("2026-11-23", "2026-11-23T00:00:00.000000Z"),
        ("2026-11-23T07:13", "2026-11-23T07:13:00.000000Z"),
        ("2026-11-23 07:13:00", "2026-11-23T07:13:00.000000Z"),
        ("2026-11-23t07:13:00.5z", "2026-11-23T07:13:00.500000Z"),
        ("2026-11-23T07:13:00.123456789Z", "2026-11-23T07:13:00.123456Z"),
        ("2026-11-23T01:13:00+02:00", "2026-11-22T23:13:00.000000Z"),
        ("2026-11-22T23:13:00.25-0130", "2026-11-23T00:43:00.250000Z"),
        ("2017-01-01T01:29:60+01:30", "2016-12-31T23:59:60.000000Z"),
        ("2024-02-29", "2024-02-29T00:00:00.000000Z"),
    ],
)
def test_reads_what_people_write(text: str, full: str) -> None:
    assert tai_ns_to_utc_iso(utc_iso_to_tai_ns(text)) == full


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026",
        "2026-13-01",
        "2026-02-29",
        "0000-01-01",
        "2026-11-23T",
        "2026-11-23T24:00:00",
        "2026-11-23T07:60:00",
        "2026-11-23T07:13:61",
        "2026-11-23T23:59:60",
        "2016-12-31T22:59:60",
        "2016-12-31T23:59:60+01:00",
        "2026-11-23T07:13:00.1234567890",
        "2026-11-23T07:13:00+2",
        "2026-11-23T07:13:00+25:00",
        "1600-01-01T00:00:00",
        "2300-01-01T00:00:00",
        "2026-11-23T07:13:00Z\n",
        "٢٠٢٦-11-23",
    ],
)
def test_refuses_what_is_no_instant(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        utc_iso_to_tai_ns(text)
    with pytest.raises(ValueError, match=r"."):
        iso_to_tai_ns(text)


@pytest.mark.parametrize("text", ["2026-11-23T07:13:00Z", "2026-11-23T07:13:00+00:00"])
def test_tai_has_no_zone(text: str) -> None:
    with pytest.raises(ValueError, match="leave it away"):
        iso_to_tai_ns(text)


def test_tai_has_no_leap_seconds() -> None:
    with pytest.raises(ValueError, match="no leap seconds"):
        iso_to_tai_ns("2016-12-31T23:59:60")


@given(
    st.datetimes(min_value=datetime(1680, 1, 1), max_value=datetime(2260, 1, 1)),  # noqa: DTZ001 - zones are added
    st.integers(-14 * 60, 14 * 60),
)
def test_datetimes(naive: datetime, minutes: int) -> None:
    ns = utc_iso_to_tai_ns(naive.isoformat())
    assert utc_datetime_to_tai_ns(naive) == ns
    elsewhere = naive.replace(tzinfo=UTC).astimezone(timezone(timedelta(minutes=minutes)))
    assert utc_datetime_to_tai_ns(elsewhere) == ns
    assert utc_iso_to_tai_ns(elsewhere.isoformat()) == ns
