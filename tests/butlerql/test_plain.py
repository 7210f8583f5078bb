"""NumPy's values mean what the plain values mean that they hold."""

from __future__ import annotations

import datetime as dt
import enum
import math
import uuid
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from butlerql.client.values import json_value
from butlerql.plain import plain
from tests.support.numpy_kinds import numpy_forms


@given(data=st.data(), value=st.one_of(st.integers(-(2**63), 2**63 - 1), st.booleans(), st.text(), st.floats()))
def test_each_form_of_a_value_is_the_value(data: st.DataObject, value: Any) -> None:
    form = data.draw(st.sampled_from(numpy_forms(value)))
    found = plain(form)
    assert type(found) is type(value)
    assert repr(found) == repr(value)
    listed = plain([form, (form,), {"key": form}])
    assert [type(listed[0]), type(listed[1][0]), type(listed[2]["key"])] == [type(value)] * 3
    if not isinstance(value, float) or math.isfinite(value):
        assert orjson.loads(orjson.dumps(json_value(form))) == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.arange(3), [0, 1, 2]),
        (np.array([["a"], ["b"]]), [["a"], ["b"]]),
        (np.array([1, "a", None, np.int8(2)], dtype=object), [1, "a", None, 2]),
        (np.array([b"x"]), ["x"]),
        (np.datetime64("2024-01-01T00:00:00.123456789"), "2024-01-01T00:00:00.123456789"),
        (np.array(["2024-01-01"], "datetime64[D]"), ["2024-01-01"]),
        (dt.datetime(2024, 1, 1, tzinfo=dt.UTC), "2024-01-01T00:00:00+00:00"),
        (dt.date(2024, 1, 1), "2024-01-01"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (range(3), [0, 1, 2]),
        ((one for one in "ab"), ["a", "b"]),
        (frozenset({1}), [1]),
        ({np.str_("a"): {"b": np.float32(0.5)}}, {"a": {"b": 0.5}}),
        (enum.Enum("Kind", ["RUN"]).RUN, "RUN"),  # type: ignore[attr-defined]
        (2**53 + 1, 2**53 + 1),
        (np.array(np.longdouble(1.5)), 1.5),
    ],
)
def test_what_is_sent(value: Any, expected: Any) -> None:
    assert json_value(value) == expected
