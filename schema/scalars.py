"""The scalars: what they look like outside, and what they are inside.

Inside, a value is what the storage holds: a `UUID` is its canonical text, a `DateTime` and a `TaiTime` are nanoseconds
on the TAI scale. Scalars whose inside is their outside carry the extension ``passthrough``, so that the engine
need not call them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any, Final, NewType

from graphql import GraphQLScalarType, Undefined, ValueNode, value_from_ast_untyped
from strawberry.types.scalar import ScalarDefinition

from butlerql.time_scales import iso_to_tai_ns, tai_ns_to_iso, tai_ns_to_utc_iso, utc_iso_to_tai_ns

__all__ = ["JSON", "SCALARS", "UUID", "BigInt", "DataIdValues", "DateTime", "InvalidValueError", "TaiTime"]

BigInt = NewType("BigInt", int)
UUID = NewType("UUID", str)
DateTime = NewType("DateTime", int)
TaiTime = NewType("TaiTime", int)
JSON = NewType("JSON", object)
DataIdValues = NewType("DataIdValues", dict[str, object])

_SAFE: Final = 2**53 - 1
_LEAST, _GREATEST = -(2**63), 2**63 - 1
_DIGITS = re.compile(r"[+-]?[0-9]{1,25}")
_HEX = re.compile(r"[0-9a-f]{32}")


class InvalidValueError(ValueError):
    """A value that the scalar does not take. Its code reaches the client."""

    extensions: Final = {"code": "INVALID_ARGUMENT"}


def serialize_big_int(value: object) -> int | str:
    """Give a number, or its text where a JSON reader might round it."""
    if not isinstance(value, int) or isinstance(value, bool) or not _LEAST <= value <= _GREATEST:
        raise TypeError(f"BigInt cannot represent {value!r}")
    return value if -_SAFE <= value <= _SAFE else str(value)


def _are_safe(values: Sequence[int]) -> bool:
    return min(values) >= -_SAFE and max(values) <= _SAFE


def parse_big_int(value: object) -> int:
    """Take a number, or the text of one."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        number = int(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, float) and value.is_integer() and abs(value) <= _SAFE:
        number = int(value)
    else:
        raise InvalidValueError("a BigInt is a whole number, or the digits of one in a string")
    if not _LEAST <= number <= _GREATEST:
        raise InvalidValueError("a BigInt has 64 bits, from -9223372036854775808 to 9223372036854775807")
    return number


def parse_uuid(value: object) -> str:
    """Take a UUID in any case, with or without hyphens; give lower case with hyphens."""
    if isinstance(value, str) and len(value) in (32, 36):
        digits = value.lower()
        if len(value) == 36 and all(value[place] == "-" for place in (8, 13, 18, 23)):
            digits = digits.replace("-", "")
        if _HEX.fullmatch(digits):
            return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
    raise InvalidValueError(
        "a UUID is 32 hexadecimal digits, with or without hyphens after the 8th, 12th, 16th and 20th"
    )


def parse_data_id(value: object) -> dict[str, object]:
    """Take a JSON object of plain values."""
    if not isinstance(value, dict):
        raise InvalidValueError(
            'a data ID is an object of dimension names and values, such as {"instrument": "HSC", "visit": 903334}'
        )
    for name, item in value.items():
        if not isinstance(item, (str, int, float)) or (isinstance(item, float) and not isfinite(item)):
            raise InvalidValueError(f"the value of {name!r} in a data ID must be a string, a number or a boolean")
    return value


def parse_data_id_literal(node: ValueNode, variables: dict[str, Any] | None = None) -> dict[str, object]:
    """Take a data ID that is written in the query, maybe with variables in it."""
    value = value_from_ast_untyped(node, variables)
    if variables is None and isinstance(value, dict):
        # The query is being validated: its variables have no values yet. When it runs, one without is refused.
        value = {name: item for name, item in value.items() if item is not Undefined}
    return parse_data_id(value)


def parse_json_literal(node: ValueNode, variables: dict[str, Any] | None = None) -> object:
    """Take a JSON value that is written in the query, maybe with variables in it."""
    value = value_from_ast_untyped(node, variables)
    # While the query is being validated its variables have no values yet.
    if variables is not None and not _is_complete(value):
        raise InvalidValueError("each variable in a JSON value must have a value; null is one")
    return value


def _is_complete(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(_is_complete, value.values()))
    if isinstance(value, list):
        return all(map(_is_complete, value))
    return value is not Undefined


def _instant(parse: Callable[[str], int]) -> Callable[[object], int]:
    def parse_instant(value: object) -> int:
        if not isinstance(value, str):
            raise InvalidValueError("an instant is an ISO 8601 string")
        try:
            return parse(value)
        except ValueError as error:
            raise InvalidValueError(str(error)) from error

    return parse_instant


def _same(value: Any) -> Any:
    return value


def _scalar(
    name: str,
    description: str,
    serialize: Callable[[Any], Any] = _same,
    parse: Callable[[object], Any] = _same,
    parse_literal: Callable[[ValueNode, dict[str, Any] | None], Any] | None = None,
    specified_by_url: str | None = None,
    passthrough: tuple[type, Callable[[Any], bool]] | None = None,
) -> ScalarDefinition:
    return ScalarDefinition(
        name=name,
        description=description,
        specified_by_url=specified_by_url,
        serialize=serialize,
        parse_value=parse,
        parse_literal=parse_literal,
        implementation=GraphQLScalarType(
            name,
            description=description,
            specified_by_url=specified_by_url,
            serialize=serialize,
            parse_value=parse,
            parse_literal=parse_literal,
            extensions={"passthrough": True if serialize is _same else passthrough},
        ),
    )


SCALARS: dict[object, ScalarDefinition] = {
    BigInt: _scalar(
        "BigInt",
        "A 64-bit integer: a JSON number up to 2^53-1 in magnitude, a JSON string beyond. Accepts both.",
        serialize_big_int,
        parse_big_int,
        passthrough=(int, _are_safe),
    ),
    UUID: _scalar(
        "UUID",
        "RFC 4122 UUID, lower-case with hyphens on output; any case, with or without hyphens, on input.",
        parse=parse_uuid,
        specified_by_url="https://www.rfc-editor.org/rfc/rfc4122",
    ),
    DateTime: _scalar(
        "DateTime",
        "ISO 8601 instant in UTC, `2026-11-23T07:13:00.123456Z`. On input also with an offset; without one it is UTC.",
        tai_ns_to_utc_iso,
        _instant(utc_iso_to_tai_ns),
    ),
    TaiTime: _scalar(
        "TaiTime",
        "ISO 8601 instant on the TAI scale with nanoseconds, `2026-11-23T07:13:37.123456789`; null where unbounded.",
        tai_ns_to_iso,
        _instant(iso_to_tai_ns),
    ),
    JSON: _scalar(
        "JSON",
        "Any JSON value.",
        parse_literal=parse_json_literal,
        specified_by_url="https://www.rfc-editor.org/rfc/rfc8259",
    ),
    DataIdValues: _scalar(
        "DataIdValues",
        """A data ID as a JSON object, dimension name to value, the Butler's spelling:
`{"instrument": "HSC", "visit": 903334, "detector": 16}`. On input also alternate keys (`"detector.full_name": "1_54"`,
`"exposure.obs_id": "..."`) and strings for integer dimensions: an alternate key first (`"detector": "1_54"`), else the
number; both, and different, is an error. What is output can be passed back as input.""",
        parse=parse_data_id,
        parse_literal=parse_data_id_literal,
    ),
}
