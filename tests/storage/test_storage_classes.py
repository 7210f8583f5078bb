"""Storage classes are those of the installed Butler."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from lsst.daf.butler import StorageClassFactory

from butlerql.storage.config import RepositoryConfig
from butlerql.storage.errors import InvalidConfigError
from butlerql.storage.storage_classes import StorageClass, StorageClasses
from tests.support.storage_class_table import TABLE, installed_definitions


@pytest.fixture(autouse=True)
def no_search_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read the package's own definitions alone."""
    monkeypatch.delenv("DAF_BUTLER_CONFIG_PATH", raising=False)


def load(directory: Path, definitions: dict[str, Any] | None = None) -> StorageClasses:
    """Load the storage classes of a repository whose configuration defines some."""
    (directory / "butler.yaml").write_text(yaml.safe_dump({"storageClasses": definitions or {}}))
    return StorageClasses.load(RepositoryConfig.load(str(directory)))


def test_the_table_is_up_to_date() -> None:
    assert yaml.safe_load(TABLE.read_text()) == installed_definitions()


def test_every_class_of_the_butler(tmp_path: Path) -> None:
    classes = load(tmp_path)
    factory = StorageClassFactory()
    for name in installed_definitions():
        expected = factory.getStorageClass(name)
        assert classes.get(name) == StorageClass(
            name,
            expected._pytypeName,
            {component: value.name for component, value in expected.allComponents().items()},
            frozenset(expected.derivedComponents),
        )


def test_classes_of_the_repository(tmp_path: Path) -> None:
    classes = load(
        tmp_path,
        {
            "Mine": {
                "pytype": "mine.Mine",
                "components": {"a": "int", "b": "Theirs"},
                "derivedComponents": {"c": "int", "d": "int"},
            },
            "Heir": {"inheritsFrom": "Mine", "components": {"d": "Mine", "e": "Mine"}},
            "ExposureF": {"derivedComponents": {"extra": "Mine"}},
            "Lost": {"inheritsFrom": "Nobody"},
        },
    )
    assert classes.get("Mine") == StorageClass(
        "Mine", "mine.Mine", {"a": "int", "b": "Theirs", "c": "int", "d": "int"}, frozenset("cd")
    )
    # What a class derives hides what it has.
    assert classes.get("Heir").components == {"a": "int", "b": "Theirs", "c": "int", "d": "int", "e": "Mine"}
    assert classes.get("Heir").pytype == "mine.Mine"
    assert {"image": "ImageF", "extra": "Mine"}.items() <= classes.get("ExposureF").components.items()
    assert classes.get("Lost") == StorageClass("Lost", None, {}, frozenset())
    assert classes.get("Theirs") == StorageClass("Theirs", None, {}, frozenset())


@pytest.mark.parametrize(
    ("definitions", "problem"),
    [
        ({"Mine": 1}, "Mine` must be a mapping"),
        ({"Mine": {"inheritsFrom": "Mine"}}, "Mine` inherits from itself"),
        ({"Mine": {"inheritsFrom": "Yours"}, "Yours": {"inheritsFrom": "Mine"}}, "inherits from itself"),
        ({"Mine": {"pytype": 1}}, "`pytype`"),
        ({"Mine": {"components": [1]}}, "`components`"),
        ({"Mine": {"derivedComponents": {"a": 1}}}, "`derivedComponents`"),
        ({"Mine": {"inheritsFrom": ["int"]}}, "`inheritsFrom`"),
    ],
)
def test_wrong_definitions(definitions: dict[str, Any], problem: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidConfigError, match=problem) as caught:
        load(tmp_path, definitions)
    assert str(tmp_path / "butler.yaml") in str(caught.value)
