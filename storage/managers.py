"""The managers that a repository was made with, and what may be done with their versions."""

from __future__ import annotations

from collections.abc import Mapping

from butlerql.storage.errors import UnsupportedRepositoryError
from butlerql.storage.tables import Layout

__all__ = ["Managers"]

_PREFIX = "config:registry.managers."

_KNOWN: dict[str, frozenset[tuple[int, int]]] = {
    "DefaultButlerAttributeManager": frozenset({(1, 0)}),
    "StaticDimensionRecordStorageManager": frozenset({(6, 0)}),
    "SynthIntKeyCollectionManager": frozenset({(2, 0)}),
    "NameKeyCollectionManager": frozenset({(2, 0)}),
    "ByDimensionsDatasetRecordStorageManagerUUID": frozenset({(1, 0), (2, 0)}),
    "ByNameOpaqueTableStorageManager": frozenset({(0, 2)}),
    "MonolithicDatastoreRegistryBridgeManager": frozenset({(0, 2)}),
    "ObsCoreLiveTableManager": frozenset({(0, 0)}),
}
"""Newest ``major.minor`` of each manager that is known, by the last part of its class path."""

_REQUIRED = ("attributes", "dimensions", "collections", "datasets", "opaque", "datastores")


class Managers:
    """What ``butler_attributes`` says about a repository.

    Raises
    ------
    UnsupportedRepositoryError
        Raised if a manager is missing, unknown, or of a version that this program does not read.
    """

    def __init__(self, attributes: Mapping[str, str]) -> None:
        paths = {name.removeprefix(_PREFIX): path for name, path in attributes.items() if name.startswith(_PREFIX)}
        missing = [role for role in _REQUIRED if role not in paths]
        if missing:
            raise UnsupportedRepositoryError(
                f"The registry does not say which managers it was made with ({', '.join(missing)}); "
                "it may be of a version before 2021, which cannot be read."
            )
        self.classes = {role: path.rpartition(".")[2] for role, path in paths.items()}
        self.versions = {role: attributes.get(f"version:{path}", "") for role, path in paths.items()}
        self.outdated = [role for role in paths if self._check(role)]

    @property
    def layout(self) -> Layout:
        """What the tables look like."""
        return Layout(
            collections_by_name=self.classes["collections"] == "NameKeyCollectionManager",
            ingest_date_is_timestamp=self.versions["datasets"].startswith("1."),
        )

    @property
    def write_obstacles(self) -> list[str]:
        """Why no program of this version may write to the repository; empty if nothing speaks against it."""
        found = [
            f"manager '{role}' is of version {self.versions[role]}, older than the newest known"
            for role in self.outdated
        ]
        if "obscore" in self.classes:
            found.append("its obscore table would have to be kept up with every change")
        return found

    def _check(self, role: str) -> bool:
        """Refuse what cannot be read; tell whether a manager is too old to be written with."""
        name, version = self.classes[role], self.versions[role]
        known = _KNOWN.get(name)
        if known is None:
            raise UnsupportedRepositoryError(f"The registry uses '{name}' for its {role}, which is not known here.")
        try:
            major, minor = (int(part) for part in version.split(".")[:2])
        except ValueError:
            raise UnsupportedRepositoryError(f"Version '{version}' of manager '{name}' cannot be read.") from None
        newest = max((entry for entry in known if entry[0] == major), default=None)
        if newest is None or minor > newest[1]:
            supported = ", ".join(f"{a}.{b}" for a, b in sorted(known))
            raise UnsupportedRepositoryError(
                f"Manager '{name}' is of version {version}; this program reads {supported}. "
                "A newer ButlerQL may read it."
            )
        return minor < newest[1]
