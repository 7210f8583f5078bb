"""What an expression looks like, before anything is known of its names: nodes, each with its place in the text."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Binary", "Bound", "Call", "Chain", "In", "Name", "Node", "Number", "Pair", "Range", "Text", "Time", "Unary"]


class Place(NamedTuple):
    """A stretch of the text."""

    begin: int
    end: int


class Name(NamedTuple):
    """An identifier, with up to two dots."""

    name: str
    place: Place


class Bound(NamedTuple):
    """The name of a bound value; the colon is left out."""

    name: str
    place: Place


class Number(NamedTuple):
    """A number."""

    value: int | float
    place: Place


class Text(NamedTuple):
    """A text in quotes."""

    value: str
    place: Place


class Time(NamedTuple):
    """A time in quotes, behind a T."""

    value: str
    place: Place


class Range(NamedTuple):
    """Whole numbers from one to another, which is included."""

    start: int
    stop: int
    step: int
    place: Place


class Call(NamedTuple):
    """A function and its arguments."""

    name: str
    arguments: tuple[Node, ...]
    place: Place


class Pair(NamedTuple):
    """Begin and end of a timespan."""

    begin: Node
    end: Node
    place: Place


class Unary(NamedTuple):
    """``NOT``, ``+`` or ``-`` in front of something."""

    operator: str
    operand: Node
    place: Place


class Binary(NamedTuple):
    """Something between two others that is neither ``AND`` nor ``OR``."""

    operator: str
    left: Node
    right: Node
    place: Place


class In(NamedTuple):
    """Whether something is in a list."""

    operand: Node
    members: tuple[Node, ...]
    is_negated: bool
    place: Place


class Chain(NamedTuple):
    """Several nodes with ``AND``, or with ``OR``, between them."""

    operator: str
    operands: tuple[Node, ...]
    place: Place


Node = Name | Bound | Number | Text | Time | Range | Call | Pair | Unary | Binary | In | Chain
