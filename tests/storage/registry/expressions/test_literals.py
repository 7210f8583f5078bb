"""Times are the Butler's, to the nanosecond."""

from __future__ import annotations

import warnings

from hypothesis import example, given
from hypothesis import strategies as st
from lsst.daf.butler.queries.expressions.parser.parserYacc import ParserYacc
from lsst.daf.butler.time_utils import TimeConverter

from butlerql.storage.registry.expressions.literals import time_ns

_FORMATS = ["mjd", "jd", "unix", "unix_tai", "cxcsec", "gps", "decimalyear", "byear", "jyear", "iso", "fits", "no"]
_SCALES = ["", "", "/utc", "/tai", "/TT", "/tcb", "/tdb", "/local", "/no"]
_days = st.builds("{}-{:02}-{:02}".format, st.integers(1960, 2110), st.integers(1, 13), st.integers(1, 31))
_clock = st.builds("{:02}:{:02}:{:02}".format, st.integers(0, 24), st.integers(0, 59), st.integers(0, 60))
_fractions = st.sampled_from(["", ".", ".5", ".123456789", ".999999999", ".1234567895"])
_numbers = st.one_of(
    st.floats(30_000, 90_000).map("{:.12f}".format), st.floats(0, 4e9).map("{:.6f}".format), st.just("-5.0")
)
_values = st.one_of(
    _numbers,
    st.builds("mjd/{}".format, _numbers),
    st.builds("{}/{}".format, st.sampled_from(_FORMATS), _numbers),
    _days,
    st.builds("{}{}{}{}".format, _days, st.sampled_from([" ", "T", "t"]), _clock, _fractions),
    st.builds("{}:{:03}".format, st.integers(1960, 2110), st.integers(0, 367)),
    st.text("0123456789-:. T/", max_size=12),
)


def _butler_ns(text: str) -> int | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            # The value of the only node there is.
            return TimeConverter().astropy_to_nsec(ParserYacc().parse(f"T'{text}'").value)  # type: ignore[attr-defined]
        except Exception:  # noqa: BLE001 - it raises what its parts raise
            return None


def _our_ns(text: str) -> int | None:
    try:
        return time_ns(text)
    except ValueError:
        return None


@given(text=st.builds("{}{}".format, _values, st.sampled_from(_SCALES)))
@example("2016-12-31 23:59:60.5")
@example("2013-11-01 00:00:00+00:00")
@example("99999999999999999999.0")
def test_times(text: str) -> None:
    assert _our_ns(text) == _butler_ns(text)
