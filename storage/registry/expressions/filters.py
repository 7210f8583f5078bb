"""Typed filters: what they say as a predicate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from typing import Any

from lsst import sphgeom

from butlerql.storage.errors import InvalidArgumentError, LimitExceededError, UnsupportedJoinError
from butlerql.storage.globs import check_text
from butlerql.storage.registry.expressions.tree import (
    And,
    Comparison,
    Constant,
    DimensionKey,
    ElementField,
    InValues,
    IsNull,
    Kind,
    Literal,
    Matches,
    Not,
    Or,
    Overlaps,
    Predicate,
    Truth,
)
from butlerql.storage.registry.timespans import MAXIMUM, MINIMUM, Timespan
from butlerql.storage.registry.topology import chosen_elements
from butlerql.storage.universe import DimensionGroup, Element

__all__ = ["predicate_of"]

_DEEPEST = 100
_COMPARISONS = {"eq": "=", "ne": "!=", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
_EQUALITY = frozenset({"eq", "ne", "in", "not_in"})
_ORDER = frozenset({"lt", "lte", "gt", "gte", "between"})
_TESTS = {
    Kind.INT: _EQUALITY | _ORDER,
    Kind.FLOAT: _EQUALITY | _ORDER,
    Kind.STRING: _EQUALITY | {"glob"},
    Kind.HASH: _EQUALITY,
    Kind.BOOL: {"eq"},
    Kind.TIMESPAN: {"overlaps", "contains", "before", "after"},
}
_EVER = Timespan(None, None)

Filter = Mapping[str, Any]


def predicate_of(group: DimensionGroup, given: Filter) -> Predicate:
    """Say as a predicate what a filter asks for.

    Parameters
    ----------
    group
        Dimensions of what is looked for: their regions and timespans are what ``cone`` and ``overlaps_time`` mean.
        Other conditions may be on other dimensions.
    given
        Conditions, all of which have to hold; what is None is not asked for. ``and`` and ``or`` have lists of
        filters, ``not`` has a filter. ``dimensions`` has tests by dimension, ``records`` tests by element and column:
        ``is_null``, ``eq``, ``ne``, ``in``, ``not_in``, ``lt``, ``lte``, ``gt``, ``gte``, ``between``, ``glob``, and
        for timespans ``overlaps``, ``contains``, ``before``, ``after``. ``cone`` has ``ra``, ``dec`` and ``radius`` in
        degrees, ``overlaps_time`` and ``overlaps`` have ``begin`` and ``end``. Instants are nanoseconds TAI, hashes
        hexadecimal.

    Raises
    ------
    InvalidArgumentError
        Raised if something is asked for that is not there or makes no sense, or if ``cone`` or ``overlaps_time`` do
        not say what they are about.
    UnknownDimensionError
        Raised if the universe has no such dimension or element.
    UnsupportedJoinError
        Raised if a cone stands below ``or`` or ``not``.
    LimitExceededError
        Raised if filters are nested too deep.
    """
    return _all(_conditions(group, given, 0, is_certain=True))


def _conditions(group: DimensionGroup, given: Filter, depth: int, *, is_certain: bool) -> Iterator[Predicate]:
    """Read a filter; it is certain if what is selected has to fulfil it, whatever else is asked for."""
    if depth > _DEEPEST:
        raise LimitExceededError(f"Filters may be nested {_DEEPEST} deep. Nest less, or use where.")

    def nested(filters: Iterable[Filter], *, is_certain: bool = False) -> list[Predicate]:
        return [_all(_conditions(group, each, depth + 1, is_certain=is_certain)) for each in filters]

    for key, value in _asked(given):
        match key:
            case "and":
                yield _all(nested(value, is_certain=is_certain))
            case "or":
                yield _any(nested(value))
            case "not":
                yield _negated(*nested([value]))
            case "cone" if not is_certain:
                raise UnsupportedJoinError("A cone cannot stand below or, nor below not. Ask for each cone by itself.")
            case _:
                yield from _condition(group, key, value)


def _condition(group: DimensionGroup, key: str, value: Any) -> Iterator[Predicate]:
    match key:
        case "dimensions":
            for name, tests in _asked(value):
                yield from _tests(DimensionKey(group.universe.dimension(name)), tests)
        case "records":
            for name, columns in _asked(value):
                element = group.universe.element(name)
                for column, tests in _asked(columns):
                    yield from _tests(_field(element, column), tests)
        case "cone":
            yield _cone(group, value)
        case "overlaps_time":
            yield from _overlaps_time(group, value)
        case _:
            raise InvalidArgumentError(f"A filter has no '{key}'.")


def _asked(given: Filter) -> Iterator[tuple[str, Any]]:
    return ((key, value) for key, value in given.items() if value is not None)


def _field(element: Element, column: str) -> ElementField:
    if element.has_table:
        for known in (*element.alternate_keys, *element.metadata):
            if known.name == column:
                return ElementField(element, column, Kind(known.type))
        if element.temporal is not None and column == "timespan":
            return ElementField(element, column, Kind.TIMESPAN)
    raise InvalidArgumentError(f"The records of '{element.name}' have no column '{column}' that a filter can test.")


def _tests(operand: DimensionKey | ElementField, tests: Filter) -> Iterator[Predicate]:
    for key, value in _asked(tests):
        if key == "is_null":
            yield IsNull(operand) if value else Not(IsNull(operand))
        elif key not in _TESTS[operand.kind]:
            raise InvalidArgumentError(f"There is no '{key}' for what is of type {operand.kind}.")
        elif operand.kind is Kind.TIMESPAN:
            yield from _timespan_test(operand, key, value)
        elif operand.kind is Kind.BOOL:
            yield Truth(operand) if value else Not(Truth(operand))
        else:
            yield from _value_test(operand, key, value)


def _value_test(operand: DimensionKey | ElementField, key: str, value: Any) -> Iterator[Predicate]:
    match key:
        case "in":
            yield _listed(operand, value)
        case "not_in":
            yield _negated(_listed(operand, value))
        case "between":
            yield from _between(operand, value)
        case "glob":
            yield Matches(operand, _value(operand.kind, value))
        case _:
            yield _comparison(operand, key, value)


def _comparison(operand: DimensionKey | ElementField, key: str, value: Any) -> Predicate:
    return Comparison(_COMPARISONS[key], operand, Literal(_value(operand.kind, value), operand.kind))


def _listed(operand: DimensionKey | ElementField, values: Iterable[Any]) -> Predicate:
    read = tuple(_value(operand.kind, value) for value in values)
    return InValues(operand, read, operand.kind) if read else Constant(value=False)


def _between(operand: DimensionKey | ElementField, bounds: list[Any]) -> Iterator[Predicate]:
    if len(bounds) != 2:
        raise InvalidArgumentError(f"'between' takes two values, the lesser first; {len(bounds)} are given.")
    return (_comparison(operand, key, bound) for key, bound in zip(("gte", "lte"), bounds, strict=True))


def _value(kind: Kind, value: Any) -> Any:
    """Read a value as the tree has it."""
    if kind is Kind.HASH:
        try:
            return bytes.fromhex(value)
        except ValueError:
            raise InvalidArgumentError("A hash is written in hexadecimal.") from None
    if kind is Kind.STRING:
        return check_text(value)
    if kind is Kind.FLOAT and not isfinite(value):
        raise InvalidArgumentError("A number must be finite.")
    return float(value) if kind is Kind.FLOAT else value


def _timespan_test(operand: DimensionKey | ElementField, key: str, value: Any) -> Iterator[Predicate]:
    match key:
        case "overlaps":
            yield _overlaps(operand, _timespan(value))
        case "contains":
            yield Overlaps(operand, Literal(_instant(value), Kind.TIME))
        # It has instants, and none of them is on the other side.
        case "before":
            yield _overlaps(operand, _EVER)
            yield Not(_overlaps(operand, Timespan(_instant(value), None)))
        case "after":
            yield _overlaps(operand, _EVER)
            yield Not(_overlaps(operand, Timespan(None, _instant(value) + 1)))


def _overlaps(operand: DimensionKey | ElementField, timespan: Timespan) -> Predicate:
    return Overlaps(operand, Literal(timespan, Kind.TIMESPAN))


def _timespan(given: Filter) -> Timespan:
    begin, end = given.get("begin"), given.get("end")
    return Timespan(
        None if begin is None else _instant(begin),
        None if end is None else max(end, MINIMUM + 1),
        is_empty=begin is not None and end is not None and begin >= end,
    )


def _instant(nanoseconds: int) -> int:
    """Keep an instant where only timespans that are unbounded on its side reach beyond it."""
    return min(max(nanoseconds, MINIMUM), MAXIMUM - 1)


def _cone(group: DimensionGroup, cone: Filter) -> Predicate:
    ra, dec, radius = (float(cone[name]) for name in ("ra", "dec", "radius"))
    if not (isfinite(ra) and -90 <= dec <= 90 and 0 <= radius <= 180):
        raise InvalidArgumentError("A cone has a declination from -90 to 90 and a radius from 0 to 180 degrees.")
    elements = list(chosen_elements(group, "spatial").values())
    if len(elements) != 1:
        found = f"each of {_names(elements)} has" if elements else f"none of {_names(group.elements)} has"
        raise InvalidArgumentError(
            f"It cannot be told what the cone has to overlap: {found} a region. Say it in where, as with "
            "visit.region OVERLAPS CIRCLE(ra, dec, radius)."
        )
    centre = sphgeom.UnitVector3d(sphgeom.LonLat.fromDegrees(ra, dec))
    circle = sphgeom.Circle(centre, sphgeom.Angle.fromDegrees(radius))
    return Overlaps(ElementField(elements[0], "region", Kind.REGION), Literal(circle, Kind.REGION))


def _overlaps_time(group: DimensionGroup, timespan: Filter) -> Iterator[Predicate]:
    """Ask it of every element that has a timespan: then what those have in common overlaps too."""
    elements = chosen_elements(group, "temporal").values()
    if not elements:
        raise InvalidArgumentError(
            f"It cannot be told what has to overlap the time: none of {_names(group.elements)} has a timespan. "
            "Say it in where."
        )
    for element in elements:
        yield _overlaps(ElementField(element, "timespan", Kind.TIMESPAN), _timespan(timespan))


def _names(elements: Iterable[Element]) -> str:
    return ", ".join(element.name for element in elements) or "the dimensions"


def _all(predicates: Iterable[Predicate]) -> Predicate:
    return _joined(And, predicates, decisive=False)


def _any(predicates: Iterable[Predicate]) -> Predicate:
    return _joined(Or, predicates, decisive=True)


def _joined(kind: type[And | Or], predicates: Iterable[Predicate], *, decisive: bool) -> Predicate:
    """Join predicates without constants and without one join directly in another; a decisive constant settles it."""
    parts: list[Predicate] = []
    is_settled = False
    # All of them are read even if one settles it: each may be in error.
    for predicate in predicates:
        if isinstance(predicate, Constant):
            is_settled |= predicate.value is decisive
        elif isinstance(predicate, kind):
            parts += predicate.operands
        else:
            parts.append(predicate)
    if is_settled or not parts:
        return Constant(decisive if is_settled else not decisive)
    return parts[0] if len(parts) == 1 else kind(tuple(parts))


def _negated(predicate: Predicate) -> Predicate:
    return Constant(not predicate.value) if isinstance(predicate, Constant) else Not(predicate)
