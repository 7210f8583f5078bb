"""Managers are accepted, read only, or refused by their classes and versions, by the real Butler's rule."""

from __future__ import annotations

import pytest
from lsst.daf.butler.registry.interfaces import IncompatibleVersionError, VersionedExtension, VersionTuple
from lsst.utils import doImportType

from butlerql.storage.errors import UnsupportedRepositoryError
from butlerql.storage.managers import Managers

REGISTRY = "lsst.daf.butler.registry."
CLASSES = {
    "attributes": REGISTRY + "attributes.DefaultButlerAttributeManager",
    "dimensions": REGISTRY + "dimensions.static.StaticDimensionRecordStorageManager",
    "collections": REGISTRY + "collections.synthIntKey.SynthIntKeyCollectionManager",
    "datasets": REGISTRY + "datasets.byDimensions._manager.ByDimensionsDatasetRecordStorageManagerUUID",
    "opaque": REGISTRY + "opaque.ByNameOpaqueTableStorageManager",
    "datastores": REGISTRY + "bridge.monolithic.MonolithicDatastoreRegistryBridgeManager",
}
OTHERS = {
    "collections": REGISTRY + "collections.nameKey.NameKeyCollectionManager",
    "obscore": REGISTRY + "obscore.ObsCoreLiveTableManager",
}
VERSIONS = {
    "attributes": "1.0.1",
    "dimensions": "6.0.2",
    "collections": "2.0.0",
    "datasets": "2.0.0",
    "opaque": "0.2.0",
    "datastores": "0.2.1",
}


EVERY_MANAGER = [*CLASSES.items(), *OTHERS.items()]


def attributes(role: str, path: str, version: str) -> dict[str, str]:
    """Make the attributes of a registry whose managers are the usual ones but for one."""
    found = {f"config:registry.managers.{each}": name for each, name in {**CLASSES, role: path}.items()}
    found |= {f"version:{CLASSES[each]}": usual for each, usual in VERSIONS.items()}
    return found | {f"version:{path}": version}


def allows(manager: type[VersionedExtension], version: VersionTuple, *, update: bool) -> bool:
    try:
        manager.checkCompatibility(version, update)
    except IncompatibleVersionError:
        return False
    return True


@pytest.mark.parametrize(("role", "path"), EVERY_MANAGER)
def test_the_butlers_rule(role: str, path: str) -> None:
    """For each version near those that the real manager supports, it and we agree on what may be done."""
    manager = doImportType(path)
    assert issubclass(manager, VersionedExtension)
    newest = max(manager.currentVersions())
    seen = set()
    for major in range(newest.major + 3):
        for minor in range(newest.minor + 3):
            version = VersionTuple(major, minor, 5)
            may_read, may_write = (allows(manager, version, update=update) for update in (False, True))
            seen.add((may_read, may_write))
            if may_read:
                managers = Managers(attributes(role, path, str(version)))
                assert managers.versions[role] == str(version)
                assert bool(managers.outdated) == (not may_write)
                assert bool(managers.write_obstacles) == (not may_write or role == "obscore")
            else:
                with pytest.raises(UnsupportedRepositoryError, match=f"is of version {version}; this program reads"):
                    Managers(attributes(role, path, str(version)))
    assert {(False, False), (True, True)} <= seen


def test_layouts() -> None:
    usual = Managers(attributes("datasets", CLASSES["datasets"], "2.0.0"))
    assert not usual.layout.collections_by_name and not usual.layout.ingest_date_is_timestamp
    assert Managers(attributes("datasets", CLASSES["datasets"], "1.0.0")).layout.ingest_date_is_timestamp
    assert Managers(attributes("collections", OTHERS["collections"], "2.0.0")).layout.collections_by_name
    # The class is known by its last name, wherever it lives.
    assert Managers(attributes("datasets", "elsewhere.ByDimensionsDatasetRecordStorageManagerUUID", "1.0.0"))


@pytest.mark.parametrize("version", ["", "2", "two.0.0", "2.x.1"])
def test_versions_that_cannot_be_read(version: str) -> None:
    with pytest.raises(UnsupportedRepositoryError, match=f"Version '{version}' of manager 'ByName"):
        Managers(attributes("opaque", CLASSES["opaque"], version))


def test_a_version_that_is_missing() -> None:
    found = attributes("opaque", CLASSES["opaque"], "0.2.0")
    del found[f"version:{CLASSES['opaque']}"]
    with pytest.raises(UnsupportedRepositoryError, match="ByNameOpaqueTableStorageManager"):
        Managers(found)


@pytest.mark.parametrize("role", CLASSES)
def test_managers_that_are_missing(role: str) -> None:
    found = attributes("opaque", CLASSES["opaque"], "0.2.0")
    del found[f"config:registry.managers.{role}"]
    with pytest.raises(UnsupportedRepositoryError, match=rf"which managers it was made with \({role}\)"):
        Managers(found)
    with pytest.raises(UnsupportedRepositoryError, match="attributes, dimensions, collections"):
        Managers({})
