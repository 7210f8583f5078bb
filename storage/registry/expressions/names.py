"""What identifiers mean: the Butler's rules, found by asking it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from butlerql.storage.registry.expressions.tree import (
    DatasetField,
    DimensionKey,
    ElementField,
    Kind,
    Operand,
    TimespanBound,
)
from butlerql.storage.universe import DimensionGroup, Element, Universe

__all__ = ["Scope", "find"]

_DATASET_FIELDS = {
    "dataset_id": Kind.UUID,
    "ingest_date": Kind.TIME,
    "run": Kind.STRING,
    "collection": Kind.STRING,
    "timespan": Kind.TIMESPAN,
}


@dataclass(frozen=True)
class Scope:
    """Where identifiers are used.

    Attributes
    ----------
    dimensions
        Of what is asked for: fields of its elements go by their bare names.
    dataset_type
        Name of the dataset type, if datasets are asked for: their fields have names, too.
    constrained
        Dimensions that have values by something else than the expression.
    searched
        Names of the dataset types of which there has to be a dataset, if something else is asked for. The fields of
        those datasets go by their bare names where nothing that is asked for has such a field.
    """

    dimensions: DimensionGroup
    dataset_type: str | None = None
    constrained: frozenset[str] = frozenset()
    searched: frozenset[str] = frozenset()


def find(name: str, scope: Scope) -> Operand:
    """Find what an identifier means.

    Raises
    ------
    ValueError
        Raised if it means nothing, or several things; says what there is.
    """
    first, *rest = name.split(".")
    if len(rest) == 2:
        return _bound(find(f"{first}.{rest[0]}", scope), rest[1], name)
    if rest:
        return _qualified(first, rest[0], scope)
    universe = scope.dimensions.universe
    if name in universe.dimensions:
        return DimensionKey(universe.dimensions[name])
    found = {
        element.name: operand for element in scope.dimensions.elements if (operand := _field(universe, element, name))
    }
    if scope.dataset_type is not None and name in _DATASET_FIELDS:
        found[scope.dataset_type] = _dataset_field(scope.dataset_type, name, scope)
    if not found and name in _DATASET_FIELDS:
        found = {searched: _dataset_field(searched, name, scope) for searched in scope.searched}
    if len(found) > 1:
        raise ValueError(f"'{name}' may be {' or '.join(f'{owner}.{name}' for owner in sorted(found))}: say which")
    if not found:
        raise ValueError(f"there is no '{name}' here{_hint(name, _bare_names(scope))}")
    return next(iter(found.values()))


def _qualified(first: str, second: str, scope: Scope) -> Operand:
    universe = scope.dimensions.universe
    element = universe.elements.get(first)
    if element is not None:
        found = _field(universe, element, second)
        if found is None:
            raise ValueError(f"{first} has no '{second}'{_hint(second, _fields(element))}")
        return found
    if first == "timespan":
        return _bound(find(first, scope), second, f"{first}.{second}")
    types = _dataset_types(scope)
    if first not in types:
        raise ValueError(f"there is no '{first}' here{_hint(first, [*universe.elements, *types])}")
    if second not in _DATASET_FIELDS:
        raise ValueError(f"a dataset has no '{second}'; it has {', '.join(_DATASET_FIELDS)}")
    return _dataset_field(first, second, scope)


def _dataset_types(scope: Scope) -> frozenset[str]:
    """Give the names of dataset types whose datasets' fields have names."""
    return scope.searched if scope.dataset_type is None else scope.searched | {scope.dataset_type}


def _dataset_field(dataset_type: str, name: str, scope: Scope) -> DatasetField:
    owner = None if dataset_type == scope.dataset_type else dataset_type
    return DatasetField(owner, name, _DATASET_FIELDS[name])


def _bound(operand: Operand, which: str, name: str) -> Operand:
    if which not in {"begin", "end"} or operand.kind is not Kind.TIMESPAN:
        raise ValueError(f"there is no '{name}'; a timespan has begin and end")
    return TimespanBound(operand, is_begin=which == "begin")


def _field(universe: Universe, element: Element, name: str) -> Operand | None:
    """Find what an element's records have under a name."""
    if element.is_dimension and name == element.primary_key.name:
        return DimensionKey(element)
    if name != element.name and name in (*element.required, *element.implied):
        return DimensionKey(universe.dimensions[name])
    for column in (*element.alternate_keys, *element.metadata):
        if column.name == name:
            return ElementField(element, name, Kind(column.type))
    if name == "region" and element.spatial is not None:
        return ElementField(element, name, Kind.REGION)
    if name == "timespan" and element.temporal is not None:
        return ElementField(element, name, Kind.TIMESPAN)
    return None


def _fields(element: Element) -> Iterator[str]:
    """List the names under which an element's records have something."""
    for name in (*element.required, *element.implied):
        yield element.column_of(name)
    yield from (column.name for column in (*element.alternate_keys, *element.metadata))
    yield from (name for name, family in (("region", element.spatial), ("timespan", element.temporal)) if family)


def _bare_names(scope: Scope) -> Iterator[str]:
    yield from scope.dimensions.universe.dimensions
    for element in scope.dimensions.elements:
        yield from _fields(element)
    if _dataset_types(scope):
        yield from _DATASET_FIELDS


def _hint(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, sorted(set(known)), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""
