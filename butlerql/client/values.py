"""Values of Python and NumPy as JSON has them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import date
from enum import Enum
from typing import Any
from uuid import UUID

from butlerql.plain import plain

__all__ = ["json_value"]


def json_value(value: Any) -> Any:
    """Write a value with what JSON has: objects, lists, texts, numbers, true, false, null.

    Parameters
    ----------
    value
        Mappings, and whatever can be iterated over, may hold more of the like. Of an enumeration the name is taken;
        dates and UUIDs are written as text.

    Raises
    ------
    ValueError
        Raised for a number that JSON or a registry cannot hold, and for a text that is no Unicode.
    TypeError
        Raised for what there is no JSON for.
    """
    value = plain(value)
    if isinstance(value, Enum):
        value = value.name
    elif isinstance(value, date):
        value = value.isoformat()
    elif isinstance(value, UUID):
        value = str(value)
    if value is None or isinstance(value, str | int | float):
        return _scalar(value)
    if isinstance(value, Mapping):
        return {json_value(key): json_value(item) for key, item in value.items()}
    if isinstance(value, Iterable):
        return [json_value(item) for item in value]
    raise TypeError(f"{value!r:.80} cannot be sent. Give a text, a number, a list or a mapping.")


def _scalar(value: Any) -> Any:
    """Refuse what JSON or a registry cannot hold.

    Whole numbers are sent as numbers, large ones too: the server does not round them, and where a text may be given as
    well, it can mean something else.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} cannot be sent: it is no number that can be compared.")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"{value} cannot be sent: whole numbers have 64 bits, from -2^63 to 2^63 - 1.")
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{value!r:.80} cannot be sent: it is not valid Unicode.") from None
    return value
