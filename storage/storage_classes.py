"""Storage classes: which Python type a dataset has in memory, and which components it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Self

from butlerql.storage.config import RepositoryConfig
from butlerql.storage.config_files import merged, read_mapping
from butlerql.storage.errors import InvalidConfigError

__all__ = ["StorageClass", "StorageClasses"]


class StorageClass(NamedTuple):
    """What the Butler knows of a storage class; nothing but the name if it is not configured here."""

    name: str
    pytype: str | None
    """Full name of the Python type."""

    components: Mapping[str, str]
    """Storage class of each component by its name, those that are derived from others included."""

    derived: frozenset[str]
    """Components that are no part of it by themselves: they are made of others when they are asked for."""


class _Resolved(NamedTuple):
    pytype: str | None
    components: Mapping[str, str]
    derived: Mapping[str, str]


class StorageClasses:
    """All storage classes of a repository."""

    def __init__(self, definitions: Mapping[str, Any], source: str) -> None:
        self._definitions = definitions
        self._source = source
        self._known: dict[str, StorageClass] = {}
        for name in definitions:
            pytype, components, derived = self._resolve(name, ())
            self._known[name] = StorageClass(name, pytype, {**components, **derived}, frozenset(derived))

    @classmethod
    def load(cls, config: RepositoryConfig) -> Self:
        """Lay the repository's definitions over those that every Butler knows.

        Raises
        ------
        InvalidConfigError
            Raised if a definition cannot be understood.
        """
        return cls(merged(_read_defaults(), config.storage_classes), config.file)

    def get(self, name: str) -> StorageClass:
        """Return the storage class of that name; the registry may name ones that nobody configured."""
        return self._known.get(name) or StorageClass(name, None, {}, frozenset())

    def _resolve(self, name: str, heirs: tuple[str, ...]) -> _Resolved:
        """Put a definition over the one that it inherits from."""
        definition = self._definitions.get(name, {})
        if not isinstance(definition, Mapping):
            raise self._wrong(name, "must be a mapping")
        base = definition.get("inheritsFrom")
        if not isinstance(base, str | None):
            raise self._wrong(name, "needs the name of a storage class in `inheritsFrom`")
        if base in (name, *heirs):
            raise self._wrong(name, "inherits from itself")
        inherited = _Resolved(None, {}, {}) if base is None else self._resolve(base, (name, *heirs))
        pytype = definition.get("pytype") or inherited.pytype
        if not isinstance(pytype, str | None):
            raise self._wrong(name, "needs the name of a type in `pytype`")
        return _Resolved(
            pytype,
            {**inherited.components, **self._components(name, definition, "components")},
            {**inherited.derived, **self._components(name, definition, "derivedComponents")},
        )

    def _components(self, name: str, definition: Mapping[str, Any], key: str) -> Mapping[str, str]:
        components = definition.get(key) or {}
        if not isinstance(components, Mapping) or not all(isinstance(value, str) for value in components.values()):
            raise self._wrong(name, f"needs names of storage classes in `{key}`")
        return components

    def _wrong(self, name: str, problem: str) -> InvalidConfigError:
        return InvalidConfigError(f"{self._source}: `storageClasses.{name}` {problem}.")


@cache
def _read_defaults() -> Mapping[str, Any]:
    return read_mapping(Path(__file__).with_name("storage_classes.yaml"))
