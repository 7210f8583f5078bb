"""Conditions, apart by who can tell whether they hold: the database, or only a look at regions."""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import sqlalchemy as sa
from lsst import sphgeom

from butlerql.storage.registry.expressions.compiler import Compiler
from butlerql.storage.registry.expressions.slots import Slotted
from butlerql.storage.registry.expressions.tree import (
    And,
    Column,
    Comparison,
    Constant,
    DatasetField,
    DimensionKey,
    ElementField,
    InRange,
    InValues,
    Kind,
    Literal,
    Or,
    Overlaps,
    Predicate,
    columns_of,
    elements_of,
    nodes_of,
)
from butlerql.storage.registry.spatial import pixelization
from butlerql.storage.repository import Repository
from butlerql.storage.statements import Slot
from butlerql.storage.universe import Element

__all__ = ["Condition", "Look", "key_of"]


_MOST_SLOTS = 30
"""Conditions of more values are seldom asked twice, and what is made of them is large."""

_FEW = range(200)
"""So many values lead by an index faster than a look at every row."""


class Look(NamedTuple):
    """Two regions that have to overlap; pixels tell only which may."""

    element: Element
    """Whose region is looked at."""

    other: Element | sphgeom.Region | Slot
    """What it has to overlap."""

    @property
    def elements(self) -> tuple[Element, ...]:
        """Elements whose regions are looked at."""
        return (self.element, self.other) if isinstance(self.other, Element) else (self.element,)


class Condition:
    """A predicate, ready to be joined to what it speaks of.

    Parameters
    ----------
    predicate
        What has to hold.
    repository
        Whose registry.
    compiler
        Makes SQL of it, and of all conditions in the same statement.
    """

    def __init__(self, predicate: Predicate, repository: Repository, compiler: Compiler) -> None:
        self.predicate = predicate
        self.repository = repository
        self.compiler = compiler
        self.looks: list[Look] = []
        self._terms: list[Predicate] = []
        for term in self._parts:
            if isinstance(term, Overlaps) and term.left.kind is Kind.REGION:
                self._add_overlap(term)
            else:
                self._terms.append(term)

    @cached_property
    def _apart(self) -> tuple[Predicate, dict[str, Any]]:
        dialect, common = self.repository.dialect, self.repository.universe.skypix_common
        slotted = Slotted(dialect, pixelization(common))
        return slotted.predicate(self.predicate), slotted.parameters

    @cached_property
    def shape(self) -> Condition:
        """The same with slots in place of its values."""
        return Condition(self._apart[0], self.repository, Compiler(self.repository.dialect))

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The values of the slots."""
        return self._apart[1]

    @property
    def _parts(self) -> tuple[Predicate, ...]:
        """What all has to hold, each for itself."""
        return self.predicate.operands if isinstance(self.predicate, And) else (self.predicate,)

    @cached_property
    def columns(self) -> frozenset[Column]:
        """Columns that it speaks of."""
        return frozenset(columns_of(self.predicate))

    @cached_property
    def dimensions(self) -> frozenset[str]:
        """Dimensions that it speaks of, by their values or by records that have them."""
        return frozenset(
            name
            for column in self.columns
            if isinstance(column, DimensionKey | ElementField)
            for name in column.element.required
        )

    @cached_property
    def elements(self) -> set[Element]:
        """Elements whose records it looks into, other than for regions."""
        return elements_of(self._terms)

    @cached_property
    def dataset_types(self) -> frozenset[str | None]:
        """Names of the types of the datasets that it speaks of; see `DatasetField`."""
        return frozenset(column.dataset_type for column in self.columns if isinstance(column, DatasetField))

    @cached_property
    def temporal_overlaps(self) -> list[tuple[ElementField | DatasetField, ElementField | DatasetField]]:
        """Pairs of timespans of which it says, wherever and however, that they overlap."""
        pairs = [(node.left, node.right) for node in nodes_of(self.predicate) if isinstance(node, Overlaps)]
        return [
            (left, right)
            for left, right in pairs
            if left.kind is right.kind is Kind.TIMESPAN
            and isinstance(left, ElementField | DatasetField)
            and isinstance(right, ElementField | DatasetField)
        ]

    def terms(self, column: Callable[[Column], Any]) -> list[sa.ColumnElement[bool]]:
        """Make the conditions that the database can tell, all of which have to hold.

        Parameters
        ----------
        column
            See `Compiler.condition`.
        """
        # As one condition, since a statement has its own in one chain, which must not be long.
        return [self.compiler.condition(And(tuple(self._terms)), column)] if self._terms else []

    def fixed(self, names: Container[str]) -> tuple[dict[str, list[Any]], Condition | None]:
        """Find the dimensions, among some, that the condition leaves few values, and those values.

        Returns
        -------
        values
            By dimension.
        rest
            What has to hold beside that; None if nothing.
        """
        found: dict[str, list[Any]] = {}
        rest = []
        for term in self._parts:
            name, values = _few_values(term) or ("", [])
            if name in names and len(values) < len(_FEW):
                found[name] = [value for value in values if value in found.get(name, values)]
            else:
                rest.append(term)
        return found, self._of(rest)

    def fields_apart(self) -> tuple[Condition | None, Condition | None]:
        """Take what speaks of datasets themselves apart from what speaks of dimensions alone."""
        of_datasets: list[Predicate] = []
        others: list[Predicate] = []
        for term in self._parts:
            is_of_datasets = any(isinstance(column, DatasetField) for column in columns_of(term))
            (of_datasets if is_of_datasets else others).append(term)
        return self._of(of_datasets), self._of(others)

    def _of(self, parts: Sequence[Predicate]) -> Condition | None:
        if not parts:
            return None
        if len(parts) == len(self._parts):
            return self
        return Condition(parts[0] if len(parts) == 1 else And(tuple(parts)), self.repository, self.compiler)

    def _add_overlap(self, overlap: Overlaps) -> None:
        left, right = overlap.left, overlap.right
        if isinstance(left, Literal):
            left, right = right, left
        if isinstance(left, Literal):
            assert isinstance(right, Literal)
            self._terms.append(Constant(left.value.overlaps(right.value) is not False))
            return
        assert isinstance(left, ElementField)
        if isinstance(right, Literal):
            self.looks.append(Look(left.element, right.value))
        elif isinstance(right, ElementField) and right.element is not left.element:
            self.looks.append(Look(left.element, right.element))


def key_of(condition: Condition | None, *others: Hashable) -> Hashable:
    """Tell what is made of the shape of a condition, and of others, from all else; None if it is too much to keep."""
    if condition is None:
        return (None, *others)
    return (condition.shape.predicate, *others) if len(condition.parameters) <= _MOST_SLOTS else None


def _few_values(term: Predicate) -> tuple[str, list[Any]] | None:
    """Read a term that gives a dimension some values."""
    match term:
        case Comparison("=", DimensionKey(element) as key, Literal(value, kind)) if kind is key.kind:
            return element.name, [value]
        case Comparison("=", Literal(value, kind), DimensionKey(element) as key) if kind is key.kind:
            return element.name, [value]
        case InValues(DimensionKey(element) as key, tuple(values), kind) if kind is key.kind:
            return element.name, list(dict.fromkeys(values))
        case InRange(DimensionKey(element), int(start), int(stop), step):
            return element.name, list(range(start, min(stop, start + len(_FEW) * step) + 1, step))
        case Or(operands):
            parts = [part for part in map(_few_values, operands) if part is not None]
            if len(parts) == len(operands) and len({name for name, _ in parts}) == 1:
                return parts[0][0], list(dict.fromkeys(value for _, values in parts for value in values))
    return None
