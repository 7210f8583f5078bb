"""JSON as others write it, and values in it of which nothing is believed.

What is not as it should be raises `InvalidSourceError`, so that whoever reads many things can skip one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeVar
from uuid import UUID

import orjson
from msgspec import DecodeError, ValidationError
from msgspec.json import Decoder

from butlerql.storage.errors import InvalidArgumentError, InvalidSourceError
from butlerql.storage.uuids import digits_of_each

__all__ = [
    "array_of",
    "count_of",
    "data_id_of",
    "decoded",
    "digits_of_uuids",
    "duration_of",
    "integer_of",
    "moment_of",
    "name_of",
    "names_of",
    "object_of",
    "parse",
    "text_of",
    "uuid_of",
]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INTEGER_LIMIT = 1 << 63
_DURATION_LIMIT = 1e10
_NAME_LIMIT = 1_000
_TEXT_LIMIT = 1 << 16

T = TypeVar("T")


def parse(content: bytes | memoryview | str) -> Any:
    """Make a value of JSON, in which numbers may also be ``NaN``, ``Infinity`` and ``-Infinity``."""
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(content if isinstance(content, str) else bytes(content))
    except (ValueError, RecursionError):
        raise InvalidSourceError("What should be JSON is none.") from None


def decoded(decoder: Decoder[T], contents: Sequence[Any]) -> list[T]:
    """Make an object of what each of some contents has as JSON, in which there may be more than it has fields for."""
    try:
        return list(map(decoder.decode, contents))
    except (DecodeError, RecursionError) as error:
        if len(contents) > 1 or isinstance(error, ValidationError):
            raise InvalidSourceError(f"It is not as it should be: {error}.") from None
    try:
        # Numbers that JSON does not have become null, and what UTF-8 does not have a question mark.
        value = json.loads(bytes(contents[0]), parse_constant=lambda _: None)
        return [decoder.decode(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))]
    except (ValueError, RecursionError) as error:
        raise InvalidSourceError(f"It is not as it should be: {error}.") from None


def object_of(value: Any) -> dict[str, Any]:
    """Take an object."""
    if type(value) is not dict:
        raise _wrong(value, "an object")
    return value


def array_of(value: Any) -> list[Any]:
    """Take an array."""
    if type(value) is not list:
        raise _wrong(value, "an array")
    return value


def name_of(value: Any) -> str:
    """Take what names something, that is neither empty nor long, and can be kept in a database."""
    if type(value) is not str or not _is_name(value):
        raise _wrong(value, "a name")
    return value


def names_of(values: Sequence[str]) -> list[str]:
    """Take names; those that are equal are one object then, which is sent to other processes once."""
    known = {value: name_of(value) for value in set(values)}
    return list(map(known.__getitem__, values))


def text_of(value: Any) -> str:
    """Take words for people, of which the first 65,536 characters are kept; replace what a database cannot keep."""
    if type(value) is not str:
        raise _wrong(value, "text")
    text: str = value[:_TEXT_LIMIT]
    if _is_odd(text):
        text = text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text


def uuid_of(value: Any) -> UUID:
    """Take a UUID, 32 hexadecimal digits with or without hyphens."""
    [digits] = digits_of_uuids([value])
    return UUID(digits)


def digits_of_uuids(values: list[Any]) -> list[str]:
    """Take UUIDs, as `uuid_of` does, and leave hyphens and capital letters out."""
    try:
        return digits_of_each(values)
    except (TypeError, InvalidArgumentError):
        wrong = next(value for value in values if not _is_uuid(value))
        raise _wrong(wrong, "a UUID") from None


def _is_uuid(value: Any) -> bool:
    try:
        return type(value) is str and bool(digits_of_each([value]))
    except InvalidArgumentError:
        return False


def integer_of(value: Any) -> int:
    """Take a whole number of 64 bits, also where it is written as 1.0."""
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or not -_INTEGER_LIMIT <= value < _INTEGER_LIMIT:
        raise _wrong(value, "a whole number of 64 bits")
    return value


def count_of(value: Any) -> int:
    """Take a whole number that is not less than 0."""
    if type(value) is int and 0 <= value < _INTEGER_LIMIT:
        return value
    number = integer_of(value)
    if number < 0:
        raise _wrong(value, "a number from 0 on")
    return number


def duration_of(value: Any) -> float:
    """Take seconds."""
    if type(value) is float and -_DURATION_LIMIT <= value <= _DURATION_LIMIT:
        return value
    if type(value) not in (int, float) or not math.isfinite(value) or abs(value) > _DURATION_LIMIT:
        raise _wrong(value, "a duration")
    return float(value)


def moment_of(value: Any) -> int:
    """Take a time as ISO 8601 has it, in UTC where it names no zone: microseconds since 1970 in UTC."""
    try:
        time = datetime.fromisoformat(value)
        if time.tzinfo is None:
            time = time.replace(tzinfo=UTC)
        since = time - _EPOCH
        return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    except (TypeError, ValueError, OverflowError):
        raise _wrong(value, "a time") from None


def data_id_of(dimensions: Sequence[str], values: Sequence[Any]) -> dict[str, int | str]:
    """Put names to the values of a data ID, of which there may be more than names."""
    if len(values) < len(dimensions):
        raise InvalidSourceError(f"A data ID of {', '.join(dimensions)} has {len(values)} values.")
    result = dict(zip(dimensions, values, strict=False))
    for value in result.values():
        if type(value) is str:
            if not _is_name(value):
                raise _wrong(value, "a value of a data ID")
        elif type(value) is not int or not -_INTEGER_LIMIT <= value < _INTEGER_LIMIT:
            raise _wrong(value, "a value of a data ID")
    return result


# Few names come often.
@lru_cache(4096)
def _is_name(value: str) -> bool:
    return 0 < len(value) <= _NAME_LIMIT and not _is_odd(value)


def _is_odd(value: str) -> bool:
    if value.isascii():
        return "\0" in value
    try:
        value.encode()
    except UnicodeEncodeError:
        return True
    return "\0" in value


def _wrong(value: Any, wanted: str) -> InvalidSourceError:
    shown = repr(value)
    return InvalidSourceError(f"{shown if len(shown) <= 60 else shown[:57] + '...'} is not {wanted}.")
