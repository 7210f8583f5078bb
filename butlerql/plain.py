"""NumPy's values as Python's own. They are told by what they can do, so that NumPy is not needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["plain"]

_PLAIN = frozenset((bool, float, int, str, type(None)))
_LISTS = frozenset((list, tuple, set, frozenset))


def plain(value: Any) -> Any:
    """Give a scalar of NumPy, or an array without dimensions, as the Python value that it holds.

    Bytes become text, dates ISO 8601; arrays with dimensions, and tuples and sets, become lists. What is in lists and
    mappings is made plain too. All else is given back as it is.

    Parameters
    ----------
    value
        Anything.
    """
    if type(value) in _PLAIN:
        return value
    kind = getattr(getattr(value, "dtype", None), "kind", None)
    if isinstance(kind, str) and hasattr(value, "tolist"):
        # Dates in nanoseconds would be given as numbers.
        value = (value.astype(str) if kind == "M" else value).tolist()
        if kind == "f" and not isinstance(value, list):
            # Python has no long double, so NumPy gives its own.
            return float(value)
    if isinstance(value, bytes):
        # What is not UTF-8 is refused where texts are looked at.
        return value.decode(errors="surrogateescape")
    if type(value) in _LISTS:
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    return value
