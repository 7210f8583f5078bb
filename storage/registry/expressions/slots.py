"""Predicates without their values, so that conditions of one shape are put together once."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from lsst import sphgeom
from sqlalchemy.types import TypeEngine

from butlerql.storage.dialect import Dialect, UuidText
from butlerql.storage.registry.expressions.tree import (
    And,
    Arithmetic,
    Comparison,
    DimensionKey,
    ElementField,
    InRange,
    InValues,
    IsNull,
    Kind,
    Literal,
    Negative,
    Not,
    Operand,
    Or,
    Overlaps,
    Predicate,
    TimespanBound,
    Truth,
)
from butlerql.storage.statements import Slot

__all__ = ["PIXELS", "TYPES", "Slotted", "bounds_of", "merged", "stored"]

TYPES: dict[Kind, TypeEngine[Any]] = {
    Kind.INT: sa.BigInteger(),
    Kind.FLOAT: sa.Double(),
    Kind.STRING: sa.Text(),
    Kind.HASH: sa.Text(),
    Kind.UUID: UuidText(),
    Kind.TIME: sa.BigInteger(),
}
"""Types of values in SQL."""

PIXELS: Mapping[str, TypeEngine[Any]] = {"begin": sa.BigInteger(), "end": sa.BigInteger()}
"""Columns of a table of pixels."""


class Slotted:
    """Takes predicates apart into their shapes and their values.

    Of a constant, a pattern and a range with steps the values are part of the shape.

    Parameters
    ----------
    dialect
        The database's.
    pixelization
        The pixels of which it has those that regions touch.

    Attributes
    ----------
    parameters
        The values, as they are given when a statement is run.
    """

    def __init__(self, dialect: Dialect, pixelization: sphgeom.PixelizationABC) -> None:
        self.parameters: dict[str, Any] = {}
        self._dialect = dialect
        self._pixelization = pixelization
        self._number = 0

    def predicate(self, predicate: Predicate) -> Predicate:  # noqa: PLR0911 - a case for each kind
        """Give the shape of a predicate."""
        match predicate:
            case And(operands):
                return And(tuple(map(self.predicate, operands)))
            case Or(operands):
                return Or(tuple(map(self.predicate, merged(operands))))
            case Not(operand):
                return Not(self.predicate(operand))
            case Truth(operand):
                return Truth(self._operand(operand))
            case IsNull(operand):
                return IsNull(self._operand(operand))
            case Comparison(operator, left, right):
                return Comparison(operator, self._operand(left), self._operand(right))
            case Overlaps(left, right):
                return Overlaps(self._operand(left), self._operand(right))
            case InValues(operand, values, kind):
                slot = self._slot()
                rows = [(stored(value, kind),) for value in values]
                self.parameters |= self._dialect.given(slot.name, {"value": TYPES[kind]}, rows)
                return InValues(self._operand(operand), slot, kind)
            case InRange(operand, start, stop, 1):
                return InRange(self._operand(operand), self._value(start), self._value(stop), 1)
            case _:
                return predicate

    def _operand(self, operand: Operand) -> Operand:  # noqa: PLR0911 - likewise
        match operand:
            case Literal(None, _):
                return operand
            case Literal(region, Kind.REGION):
                slot = self._slot()
                pixels = [(int(begin), int(end)) for begin, end in self._pixelization.envelope(region).ranges()]
                self.parameters |= self._dialect.given(slot.name, PIXELS, pixels)
                return Literal(slot, Kind.REGION)
            case Literal(timespan, Kind.TIMESPAN):
                slot = self._slot()
                names = (bound.name for bound in bounds_of(slot))
                self.parameters |= zip(names, timespan.bounds, strict=True)
                return Literal(slot, Kind.TIMESPAN)
            case Literal(value, kind):
                return Literal(self._value(stored(value, kind)), kind)
            case TimespanBound(inner, is_begin):
                return TimespanBound(self._operand(inner), is_begin)
            case Negative(inner):
                return Negative(self._operand(inner))
            case Arithmetic(operator, left, right):
                return Arithmetic(operator, self._operand(left), self._operand(right))
            case _:
                return operand

    def _value(self, value: Any) -> Slot:
        slot = self._slot()
        self.parameters[slot.name] = value
        return slot

    def _slot(self) -> Slot:
        self._number += 1
        return Slot(f"condition_{self._number}")


def bounds_of(timespan: Any) -> tuple[Any, Any]:
    """Give begin and end of a timespan, or of the slot of one."""
    if isinstance(timespan, Slot):
        return Slot(f"{timespan.name}_begin"), Slot(f"{timespan.name}_end")
    begin, end = timespan.bounds
    return begin, end


def stored(value: Any, kind: Kind) -> Any:
    """Write a value as the database has it."""
    return base64.b64encode(value).decode() if kind is Kind.HASH and isinstance(value, bytes) else value


def merged(operands: Iterable[Predicate]) -> list[Predicate]:
    """Make one list of all that a column may be equal to."""
    result: list[Predicate] = []
    values: dict[tuple[Operand, Kind], list[Any]] = {}
    for operand in operands:
        if isinstance(operand, Comparison) and operand.operator == "=":
            column, literal = operand.left, operand.right
            if isinstance(column, Literal):
                column, literal = literal, column
            if isinstance(column, DimensionKey | ElementField) and isinstance(literal, Literal):
                values.setdefault((column, literal.kind), []).append(literal.value)
                continue
        result.append(operand)
    for (column, kind), found in values.items():
        result.append(
            InValues(column, tuple(found), kind) if len(found) > 1 else Comparison("=", column, Literal(found[0], kind))
        )
    return result
