"""What the keys and values of a data ID mean, as users write them: no record is looked at here."""

from __future__ import annotations

import base64
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from butlerql.plain import plain
from butlerql.storage.errors import InvalidDataIdError
from butlerql.storage.universe import Column, DimensionGroup, Element, Universe

__all__ = ["Condition", "Lookup", "ParsedKeys", "parse_keys"]

Scalar = str | float | bool
"""Whole numbers are among ``float`` here, as type checkers have it."""

_LEAST, _GREATEST = -(2**63), 2**63 - 1


@dataclass(frozen=True, slots=True)
class Condition:
    """What a column of a record must hold, and the key that says so."""

    column: str
    kind: str
    value: Scalar
    key: str


@dataclass(slots=True)
class Lookup:
    """A record that is told by what is in it."""

    element: Element
    conditions: list[Condition] = field(default_factory=list)
    text: Condition | None = None
    """The value of an alternate key that was given as if it was the dimension's own."""
    number: int | None = None
    """The dimension's own value, if `text` is no alternate key but a number."""


@dataclass(slots=True)
class ParsedKeys:
    """A data ID as it was written, taken apart."""

    values: dict[str, int | str]
    lookups: dict[str, Lookup]
    """By element, in the universe's order."""

    @property
    def dimensions(self) -> list[str]:
        """Dimensions that are spoken of."""
        return [*self.values, *self.lookups]


def parse_keys(universe: Universe, values: Mapping[str, Any], group: DimensionGroup | None = None) -> ParsedKeys:
    """Take a data ID apart.

    Parameters
    ----------
    universe
        The repository's dimensions.
    values
        Keys are dimensions (``visit``), columns of a dimension's records (``exposure.obs_id``), or the bare name of
        such a column.
    group
        Dimensions that bare names are looked for in, if it is known for what the data ID is.

    Raises
    ------
    InvalidDataIdError
        Raised if a key is not known or has more than one meaning, if a value is not of its column's type, or if a
        dimension is given twice with different values.

    Notes
    -----
    Bare names follow the Butler's ``find_dataset``: the dimensions of the dataset type come first, among them those for
    which most of the names fit; then the dimension that says when it was, for calibrations.
    """
    parsed = ParsedKeys({}, {})
    bare: dict[str, Any] = {}
    for key, value in plain(values).items():
        element_name, dot, column_name = key.partition(".")
        element = universe.dimensions.get(element_name)
        if element is None or (dot and element.is_skypix):
            if dot:
                raise _unknown(universe, key)
            bare[key] = value
        elif not dot or column_name in {element.primary_key.name, element.name}:
            _add_dimension(parsed, element, key, _scalar(key, value))
        elif column_name in element.required:
            _add_dimension(parsed, universe.dimensions[column_name], key, _scalar(key, value))
        else:
            column = _column(universe, element, column_name)
            if column is None:
                raise _unknown(universe, key)
            _add_condition(parsed, element, column, key, _scalar(key, value))
    for key, element in _owners(universe, bare, parsed.dimensions, group):
        column = _column(universe, element, key)
        assert column is not None
        _add_condition(parsed, element, column, key, _scalar(key, bare[key]))
    parsed.lookups = {name: parsed.lookups[name] for name in universe.elements if name in parsed.lookups}
    return parsed


def _add_dimension(parsed: ParsedKeys, element: Element, key: str, value: Scalar) -> None:
    column = element.primary_key
    if isinstance(value, str) and column.type == "int":
        number = int(value) if _is_number(value) else None
        alternate = next((other for other in element.alternate_keys if other.type == "string"), None)
        if alternate is not None:
            lookup = parsed.lookups.setdefault(element.name, Lookup(element))
            text = Condition(alternate.name, "string", value, key)
            if lookup.text is not None and lookup.text.value != value:
                raise InvalidDataIdError(
                    f"The data ID gives two values for '{element.name}': {lookup.text.value!r} and {value!r}."
                )
            lookup.text = text
            lookup.number = None if number is None else _coerce(key, "int", number)
            return
        if number is None:
            raise _wrong_type(key, "int", value)
        value = number
    coerced = _coerce(key, column.type, value)
    if parsed.values.setdefault(element.name, coerced) != coerced:
        raise InvalidDataIdError(
            f"The data ID gives two values for '{element.name}': {parsed.values[element.name]!r} and {coerced!r}."
        )


def _add_condition(parsed: ParsedKeys, element: Element, column: Column, key: str, value: Scalar) -> None:
    condition = Condition(column.name, column.type, _coerce(key, column.type, value), key)
    parsed.lookups.setdefault(element.name, Lookup(element)).conditions.append(condition)


def _column(universe: Universe, element: Element, name: str) -> Column | None:
    """Column of an element's table that a key may name beside the required dimensions."""
    if name in element.implied:
        primary = universe.dimensions[name].primary_key
        return Column(name, primary.type, primary.length, nullable=True, doc=primary.doc)
    return next((column for column in (*element.alternate_keys, *element.metadata) if column.name == name), None)


def _owners(
    universe: Universe, bare: Mapping[str, Any], dimensions: Iterable[str], group: DimensionGroup | None
) -> list[tuple[str, Element]]:
    """Find out of which element each bare name is a column."""
    if not bare:
        return []
    near = universe.group(dimensions).names if group is None else group.names
    holders = {key: _holders(universe, key, near, guess_time=group is not None) for key in bare}
    popularity = Counter(element.name for found in holders.values() for element in found)
    owners = []
    for key, found in holders.items():
        most = max(popularity[element.name] for element in found)
        best = [element for element in found if popularity[element.name] == most]
        if len(best) > 1:
            choices = " or ".join(f"'{element.name}.{key}'" for element in best)
            raise InvalidDataIdError(f"'{key}' in the data ID may mean several things. Write {choices}.")
        owners.append((key, best[0]))
    return owners


def _holders(universe: Universe, key: str, near: Sequence[str], *, guess_time: bool) -> list[Element]:
    """List the dimensions whose records have a column, if possible among those near."""
    everywhere = [
        element
        for element in universe.dimensions.values()
        if any(column.name == key for column in (*element.alternate_keys, *element.metadata))
    ]
    found = [element for element in everywhere if element.name in near]
    if not found and guess_time:
        times = [name for family in universe.families["temporal"].values() for name in family]
        temporal = [element for element in everywhere if element.name in times]
        found = sorted(temporal, key=lambda element: times.index(element.name))[:1]
    elif not found:
        found = everywhere
    if not found:
        raise _unknown(universe, key)
    return found


def _scalar(key: str, value: object) -> Scalar:
    """Take a text or a number."""
    if value is None:
        raise InvalidDataIdError(
            f"'{key}' in the data ID has no value. Give a string or a number, or leave the key out."
        )
    if not isinstance(value, (str, int, float)):
        raise InvalidDataIdError(f"The value of '{key}' in the data ID must be a string or a number.")
    if isinstance(value, int) and not _LEAST <= value <= _GREATEST:
        raise _too_large(key)
    return value


def _is_number(text: str) -> bool:
    digits = text[1:] if text[:1] in {"+", "-"} else text
    return digits.isascii() and digits.isdigit() and len(digits) < 25


def _coerce(key: str, kind: str, value: Scalar) -> Any:
    """Convert a value to the type of its column where nothing is lost."""
    if isinstance(value, str):
        if kind == "string":
            return _text(key, str(value))
        if kind == "hash":
            try:
                return base64.b64encode(bytes.fromhex(value)).decode()
            except ValueError:
                raise InvalidDataIdError(
                    f"The value of '{key}' in the data ID must be written in hexadecimal."
                ) from None
    elif isinstance(value, float) and not math.isfinite(value):
        raise _wrong_type(key, kind, value)
    elif kind == "int" and value == int(value):
        if not _LEAST <= value <= _GREATEST:
            raise _too_large(key)
        return int(value)
    elif kind == "float":
        return float(value)
    elif kind == "bool" and value in (0, 1):
        return bool(value)
    raise _wrong_type(key, kind, value)


def _text(key: str, value: str) -> str:
    if "\0" in value:
        raise InvalidDataIdError(f"The value of '{key}' in the data ID contains a NUL character, which no value can.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidDataIdError(f"The value of '{key}' in the data ID is not valid Unicode.") from None
    return value


def _wrong_type(key: str, kind: str, value: object) -> InvalidDataIdError:
    wanted = {
        "int": "a whole number",
        "string": "a string",
        "float": "a number",
        "bool": "true or false",
        "hash": "a string",
    }
    shown = repr(value) if len(repr(value)) < 100 else "what was given"
    return InvalidDataIdError(f"The value of '{key}' in the data ID must be {wanted[kind]}, not {shown}.")


def _too_large(key: str) -> InvalidDataIdError:
    return InvalidDataIdError(f"The value of '{key}' in the data ID does not fit into 64 bits.")


def _unknown(universe: Universe, key: str) -> InvalidDataIdError:
    named = [dimension for dimension in universe.dimensions.values() if not dimension.is_skypix]
    known = ", ".join(dimension.name for dimension in named)
    example = next(f"{other.name}.{other.alternate_keys[0].name}" for other in reversed(named) if other.alternate_keys)
    return InvalidDataIdError(
        f"'{key[:100]}' in the data ID is no dimension of this repository and no column of a dimension's records. "
        f"The dimensions are {known} and the pixels of the sky ({universe.skypix_common} and others); "
        f"a column is written like '{example}'."
    )
