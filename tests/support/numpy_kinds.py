"""The forms in which NumPy may hold a value."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import numpy as np

__all__ = ["numpy_forms"]

_INTEGERS = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64, np.longlong, np.intp]
_FLOATS = [np.float16, np.float32, np.float64, np.longdouble]


def numpy_forms(value: Any) -> list[Any]:
    """List the scalars, and the arrays without dimensions, that hold exactly this value, and the value itself.

    Parameters
    ----------
    value
        A number, a truth value or a text.
    """
    scalars: list[Any] = []
    if isinstance(value, bool):
        scalars = [np.bool_(value)]
    elif isinstance(value, int):
        scalars = [kind(value) for kind in _INTEGERS if np.iinfo(kind).min <= value <= np.iinfo(kind).max]
    elif isinstance(value, float):
        with np.errstate(over="ignore"):
            scalars = [kind(value) for kind in _FLOATS]
        scalars = [scalar for scalar in scalars if float(scalar) == value or math.isnan(value)]
    elif isinstance(value, str) and not value.endswith("\0"):
        # NumPy takes null characters at the end for what fills a text up.
        scalars = [np.str_(value), np.array(value)[()]]
        with suppress(UnicodeEncodeError):
            scalars.append(np.bytes_(value.encode()))
    return [value, *scalars, *(np.array(scalar) for scalar in scalars), np.array(value, dtype=object)]
