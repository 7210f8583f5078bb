"""The dimension universe: what data IDs can be made of, as the repository itself defines it.

Everything here is read from the JSON text that the registry keeps under ``config:dimensions.json``; no
dimension is known by name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType
from typing import Any

from butlerql.plain import plain
from butlerql.storage.errors import UnknownDimensionError, UnsupportedRepositoryError

__all__ = ["Column", "DimensionGroup", "Element", "ElementKind", "Universe"]

_NEWEST_VERSION = 8
_COLUMN_TYPES = frozenset({"int", "string", "bool", "float", "hash"})


class ElementKind(StrEnum):
    """What an element is for."""

    GOVERNOR = "GOVERNOR"
    DIMENSION = "DIMENSION"
    SKYPIX = "SKYPIX"
    JOIN = "JOIN"


@dataclass(frozen=True, slots=True)
class Column:
    """A key or metadata column of an element."""

    name: str
    type: str
    length: int | None
    nullable: bool
    doc: str


@dataclass(frozen=True)
class Element:
    """A dimension, or a table that relates dimensions to each other.

    ``required`` is closed (it names everything that must be known to single out a record, the element itself last),
    ``implied`` holds what the records name directly.
    """

    name: str
    doc: str
    kind: ElementKind
    keys: tuple[Column, ...]
    required: tuple[str, ...]
    implied: tuple[str, ...]
    metadata: tuple[Column, ...]
    is_cached: bool = False
    always_join: bool = False
    populated_by: str | None = None
    spatial: str | None = None
    temporal: str | None = None
    union_target: str | None = None

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def primary_key(self) -> Column:
        """The column that holds the dimension's own value."""
        return self.keys[0]

    @property
    def alternate_keys(self) -> tuple[Column, ...]:
        """Columns that, with the other required dimensions, identify a record as well as the primary key does."""
        return self.keys[1:]

    @property
    def is_dimension(self) -> bool:
        """Whether it can stand in a data ID."""
        return self.kind is not ElementKind.JOIN

    @property
    def is_governor(self) -> bool:
        """Whether other dimensions have a meaning only below it (instrument, skymap)."""
        return self.kind is ElementKind.GOVERNOR

    @property
    def is_skypix(self) -> bool:
        """Whether its values are pixels of the sky, without a table."""
        return self.kind is ElementKind.SKYPIX

    @property
    def has_table(self) -> bool:
        """Whether records of it are kept in a table of its own."""
        return not self.is_skypix and self.union_target is None

    def column_of(self, dimension: str) -> str:
        """Name of the column of this element's table that holds a dimension."""
        return self.primary_key.name if dimension == self.name else dimension


@dataclass(frozen=True, eq=False)
class DimensionGroup:
    """Dimensions that belong together: closed under what they require and imply.

    There is one object a group and universe, so that groups compare by identity.
    """

    universe: Universe = field(repr=False)
    required: tuple[str, ...]
    implied: tuple[str, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Required, then implied dimensions, each in the universe's order: the key order of a data ID."""
        return self.required + self.implied

    @cached_property
    def elements(self) -> tuple[Element, ...]:
        """Every element whose required dimensions are all in the group, in the universe's order."""
        names = set(self.names)
        return tuple(element for element in self.universe.elements.values() if names.issuperset(element.required))


class Universe:
    """All dimensions and elements of a repository.

    Parameters
    ----------
    definition
        What ``config:dimensions.json`` holds, decoded.
    """

    def __init__(self, definition: Mapping[str, Any]) -> None:
        self.version = int(definition["version"])
        self.namespace = str(definition.get("namespace", "daf_butler"))
        if self.namespace == "daf_butler" and self.version > _NEWEST_VERSION:
            raise UnsupportedRepositoryError(
                f"Dimension universe {self.version} is newer than {_NEWEST_VERSION}, the newest that is known here."
            )
        self.families: dict[str, dict[str, list[str]]] = {
            topology: dict(definition.get("topology", {}).get(topology, {})) for topology in ("spatial", "temporal")
        }
        skypix = dict(definition["skypix"])
        self.skypix_common = str(skypix.pop("common"))
        raw = definition["elements"]
        required = {name: self._closed(raw, name) for name in raw}
        elements: dict[str, Element] = {}
        for name in self._sorted(raw, skypix):
            if name in skypix:
                levels = range(int(skypix[name].get("min_level", 1)), int(skypix[name]["max_level"]) + 1)
                elements |= {f"{name}{level}": self._skypix(f"{name}{level}") for level in levels}
            elif name in raw:
                elements[name] = self._element(name, raw[name], required[name], list(elements))
        self.elements: Mapping[str, Element] = MappingProxyType(elements)
        self.dimensions: Mapping[str, Element] = MappingProxyType(
            {name: element for name, element in elements.items() if element.is_dimension}
        )
        self._groups: dict[frozenset[str], DimensionGroup] = {}

    @classmethod
    def from_json(cls, text: str) -> Universe:
        """Read the universe from the text that the registry keeps."""
        return cls(json.loads(text))

    @property
    def governors(self) -> tuple[str, ...]:
        """Names of the governor dimensions, in the universe's order."""
        return tuple(name for name, element in self.elements.items() if element.is_governor)

    def element(self, name: str) -> Element:
        """Find an element by name.

        Raises
        ------
        UnknownDimensionError
            Raised if the universe has no such element.
        """
        found = self.elements.get(plain(name))
        if found is None:
            known = ", ".join(element for element in self.elements if not self.elements[element].is_skypix)
            raise UnknownDimensionError(f"No dimension element '{name}' in this repository. It has {known}.")
        return found

    def dimension(self, name: str) -> Element:
        """Find a dimension by name.

        Raises
        ------
        UnknownDimensionError
            Raised if the universe has no such dimension.
        """
        found = self.element(name)
        if not found.is_dimension:
            raise UnknownDimensionError(f"'{name}' relates dimensions to each other; it is not a dimension itself.")
        return found

    def group(self, names: Iterable[str]) -> DimensionGroup:
        """Close some dimensions over what they require and imply.

        Raises
        ------
        UnknownDimensionError
            Raised if one of the names is not a dimension.
        """
        asked = frozenset(map(plain, names))
        if asked in self._groups:
            return self._groups[asked]
        closed: set[str] = set()
        pending = list(asked)
        while pending:
            name = pending.pop()
            if name not in closed:
                closed.add(name)
                dimension = self.dimension(name)
                pending += (*dimension.required, *dimension.implied)
        key = frozenset(closed)
        if key not in self._groups:
            implied = {other for name in closed for other in self.elements[name].implied}
            ordered = [name for name in self.elements if name in closed]
            self._groups[key] = DimensionGroup(
                self,
                tuple(name for name in ordered if name not in implied),
                tuple(name for name in ordered if name in implied),
            )
        self._groups[asked] = self._groups[key]
        return self._groups[key]

    @staticmethod
    def _closed(raw: Mapping[str, Any], name: str) -> set[str]:
        """Everything that an element requires, directly or not."""
        found: set[str] = set()
        pending = list(raw[name].get("requires", ()))
        while pending:
            other = pending.pop()
            if other not in found:
                found.add(other)
                pending += raw[other].get("requires", ())
        return found

    def _sorted(self, raw: Mapping[str, Any], skypix: Mapping[str, Any]) -> Iterable[str]:
        """Topological order of systems, elements and families, names in alphabetical order where it is free."""
        waiting: dict[str, set[str]] = {system: set() for system in skypix}
        for name, element in raw.items():
            waiting[name] = {*element.get("requires", ()), *element.get("implies", ())}
        for families in self.families.values():
            waiting |= {family: set(members) for family, members in families.items()}
        while waiting:
            ready = sorted(name for name, needs in waiting.items() if needs.isdisjoint(waiting))
            if not ready:
                raise UnsupportedRepositoryError("The repository's dimension universe contains a cycle.")
            yield from ready
            for name in ready:
                del waiting[name]

    def _family(self, topology: str, element: str) -> str | None:
        return next((name for name, members in self.families[topology].items() if element in members), None)

    @staticmethod
    def _skypix(name: str) -> Element:
        key = Column("id", "int", None, nullable=False, doc="Index of the pixel.")
        doc = "A pixel of a hierarchical division of the sky."
        return Element(name, doc, ElementKind.SKYPIX, (key,), (name,), (), (), spatial=name)

    def _element(self, name: str, raw: Mapping[str, Any], required: set[str], order: list[str]) -> Element:
        keys = tuple(_column(column, nullable=False) for column in raw.get("keys", ()))
        storage = raw.get("storage", {})
        nested = storage.get("nested", {})
        is_governor = bool(raw.get("governor", False)) or ".governor." in storage.get("cls", "")
        if not keys:
            kind = ElementKind.JOIN
        else:
            kind = ElementKind.GOVERNOR if is_governor else ElementKind.DIMENSION
        implied = set(raw.get("implies", ()))
        return Element(
            name=name,
            doc=" ".join(raw.get("doc", "").split()),
            kind=kind,
            keys=keys,
            required=tuple(other for other in order if other in required) + ((name,) if keys else ()),
            implied=tuple(other for other in order if other in implied),
            metadata=tuple(_column(column, nullable=True) for column in raw.get("metadata", ())),
            is_cached=is_governor or bool(raw.get("is_cached", False)) or bool(nested),
            always_join=bool(raw.get("always_join", False) or storage.get("always_join", False)),
            populated_by=raw.get("populated_by"),
            spatial=self._family("spatial", name),
            temporal=self._family("temporal", name),
            union_target=raw.get("implied_union_target") or nested.get("view_of") or storage.get("view_of"),
        )


def _column(raw: Mapping[str, Any], *, nullable: bool) -> Column:
    kind = str(raw["type"])
    if kind not in _COLUMN_TYPES:
        raise UnsupportedRepositoryError(f"Column type '{kind}' of the dimension universe is not known.")
    return Column(
        name=str(raw["name"]),
        type=kind,
        length=raw.get("length"),
        nullable=bool(raw.get("nullable", nullable)),
        doc=" ".join(raw.get("doc", "").split()),
    )
