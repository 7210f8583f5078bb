"""What a condition says, every name resolved and every type checked.

The expression language and typed filters both become this, and the compiler makes SQL of it. In the shape of a
condition slots stand for values: see `slots`.

::

    Operand                        Predicate
    ├── DimensionKey               ├── Constant
    ├── ElementField               ├── Truth
    ├── DatasetField               ├── IsNull
    ├── TimespanBound              ├── Comparison
    ├── Literal                    ├── Overlaps
    ├── Negative                   ├── InValues
    └── Arithmetic                 ├── InRange
                                   ├── Matches
                                   ├── Not
                                   ├── And
                                   └── Or
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from butlerql.storage.statements import Slot
from butlerql.storage.universe import Element

__all__ = [
    "And",
    "Arithmetic",
    "Comparison",
    "Constant",
    "DatasetField",
    "DimensionKey",
    "ElementField",
    "InRange",
    "InValues",
    "IsNull",
    "Kind",
    "Literal",
    "Matches",
    "Negative",
    "Not",
    "Operand",
    "Or",
    "Overlaps",
    "Predicate",
    "TimespanBound",
    "Truth",
    "columns_of",
    "elements_of",
    "nodes_of",
]


class Kind(StrEnum):
    """Type of an operand."""

    INT = "int"
    FLOAT = "float"
    STRING = "string"
    BOOL = "bool"
    HASH = "hash"
    """Bytes; the database has them as base64 text."""
    UUID = "uuid"
    """Text, lower case, with hyphens."""
    TIME = "datetime"
    """Nanoseconds TAI since 1970-01-01 TAI, as in the registry."""
    TIMESPAN = "timespan"
    REGION = "region"
    NULL = "null"


@dataclass(frozen=True, slots=True)
class DimensionKey:
    """The value of a dimension."""

    element: Element

    @property
    def kind(self) -> Kind:
        """Its type."""
        return Kind(self.element.primary_key.type)


@dataclass(frozen=True, slots=True)
class ElementField:
    """An alternate key, a metadata column, ``region`` or ``timespan`` of an element's records."""

    element: Element
    column: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class DatasetField:
    """``dataset_id``, ``ingest_date``, ``run``, ``collection`` or ``timespan`` of a dataset."""

    dataset_type: str | None
    """Name of its type, if it is one that there has to be; None for the dataset that is looked for itself."""

    column: str
    kind: Kind


Column = DimensionKey | ElementField | DatasetField


@dataclass(frozen=True, slots=True)
class TimespanBound:
    """Begin or end of a timespan; of one that is NULL it is 0, as with the Butler."""

    operand: Operand
    is_begin: bool

    @property
    def kind(self) -> Kind:
        """Its type."""
        return Kind.TIME


@dataclass(frozen=True, slots=True)
class Literal:
    """A value: ``int``, ``float``, ``str``, ``bytes``, `Timespan` or ``lsst.sphgeom.Region``, by its kind."""

    value: Any
    kind: Kind


@dataclass(frozen=True, slots=True)
class Negative:
    """An operand with its sign changed."""

    operand: Operand

    @property
    def kind(self) -> Kind:
        """Its type."""
        return self.operand.kind


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Two operands of the same type, one of ``+ - * / %`` between them; ``/`` is true division."""

    operator: str
    left: Operand
    right: Operand

    @property
    def kind(self) -> Kind:
        """Its type, that of the operands."""
        return self.left.kind


Operand = DimensionKey | ElementField | DatasetField | TimespanBound | Literal | Negative | Arithmetic


@dataclass(frozen=True, slots=True)
class Constant:
    """What holds always, or never."""

    value: bool


@dataclass(frozen=True, slots=True)
class Truth:
    """A truth value by itself."""

    operand: Operand


@dataclass(frozen=True, slots=True)
class IsNull:
    """An operand is NULL."""

    operand: Operand


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two operands with one of ``= != < <= > >=`` between them."""

    operator: str
    left: Operand
    right: Operand


@dataclass(frozen=True, slots=True)
class Overlaps:
    """Two timespans have an instant in common, a timespan holds an instant, or two regions have a place in common.

    Those of regions stand alone or in an `And` at the top, nowhere else.
    """

    left: Operand
    right: Operand


@dataclass(frozen=True, slots=True)
class InValues:
    """An operand is one of some values, at least one, of its own type."""

    operand: Operand
    values: tuple[Any, ...] | Slot
    kind: Kind


@dataclass(frozen=True, slots=True)
class InRange:
    """A whole number is one of ``start``, ``start + step``, ... up to ``stop`` inclusive."""

    operand: Operand
    start: int | Slot
    stop: int | Slot
    step: int


@dataclass(frozen=True, slots=True)
class Matches:
    r"""A text fits a pattern, all of it: ``*`` any run, ``?`` one character, ``\`` takes a meaning away."""

    operand: Operand
    pattern: str


@dataclass(frozen=True, slots=True)
class Not:
    """A predicate does not hold; of NULL that is NULL."""

    operand: Predicate


@dataclass(frozen=True, slots=True)
class And:
    """All of some predicates hold, at least one; none of them is an `And`."""

    operands: tuple[Predicate, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Any of some predicates holds, at least one; none of them is an `Or`."""

    operands: tuple[Predicate, ...]


Predicate = Constant | Truth | IsNull | Comparison | Overlaps | InValues | InRange | Matches | Not | And | Or


def columns_of(node: Predicate | Operand, but: type[Any] | None = None) -> Iterator[Column]:
    """Go through the columns that a predicate or operand refers to; the same may come several times.

    What stands in nodes of the type ``but`` is passed over.
    """
    return (one for one in nodes_of(node, but) if isinstance(one, DimensionKey | ElementField | DatasetField))


def nodes_of(node: Predicate | Operand, but: type[Any] | None = None) -> Iterator[Predicate | Operand]:
    """Go through a predicate or operand and all that it is made of, but for nodes of a type and what stands in them."""
    pending: list[Any] = [node]
    while pending:
        node = pending.pop()
        if but is not None and isinstance(node, but):
            continue
        yield node
        match node:
            case And() | Or():
                pending += node.operands
            case Comparison() | Overlaps() | Arithmetic():
                pending += (node.left, node.right)
            case Constant() | Literal() | DimensionKey() | ElementField() | DatasetField():
                pass
            case _:
                pending.append(node.operand)


def elements_of(nodes: Iterable[Predicate | Operand]) -> set[Element]:
    """Find the elements whose records hold what is referred to, beside values of dimensions."""
    return {column.element for node in nodes for column in columns_of(node) if isinstance(column, ElementField)}
