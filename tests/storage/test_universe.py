"""The universe is the Butler's own, in order, closure and topology."""

from __future__ import annotations

import itertools
import json
from importlib.resources import files
from typing import cast

import pytest
from lsst.daf.butler import DimensionConfig, DimensionUniverse
from lsst.daf.butler import DimensionGroup as ButlerGroup

from butlerql.storage.errors import UnknownDimensionError, UnsupportedRepositoryError
from butlerql.storage.universe import ElementKind, Universe

OLD = files("lsst.daf.butler") / "configs" / "old_dimensions"


def universes() -> list[str]:
    return sorted(str(entry) for entry in OLD.iterdir() if entry.name.endswith(".yaml"))


@pytest.fixture(params=universes(), ids=lambda path: path.rsplit("universe")[-1].removesuffix(".yaml"))
def pair(request: pytest.FixtureRequest) -> tuple[DimensionUniverse, Universe]:
    """The Butler's universe, and ours of the same definition."""
    config = DimensionConfig(request.param)
    return DimensionUniverse(config), Universe.from_json(json.dumps(config.toDict()))


def test_elements(pair: tuple[DimensionUniverse, Universe]) -> None:
    theirs, ours = pair
    assert (theirs.version, theirs.namespace) == (ours.version, ours.namespace)
    assert theirs.skypix_dimensions.names >= {ours.skypix_common}
    assert [element.name for element in theirs.elements] == list(ours.elements)
    assert [dimension.name for dimension in theirs.dimensions] == list(ours.dimensions)
    assert tuple(theirs.governor_dimensions.names) == ours.governors
    for element in theirs.elements:
        mine = ours.element(element.name)
        assert tuple(element.required.names) == mine.required
        assert tuple(element.implied.names) == mine.implied
        assert [column.name for column in element.metadata] == [column.name for column in mine.metadata]
        assert element.has_own_table == mine.has_table
        assert element.is_cached == mine.is_cached or not element.has_own_table
        assert element.defines_relationships == bool(mine.implied) or mine.kind is ElementKind.JOIN
        if not mine.is_skypix:
            assert (element.spatial.name if element.spatial else None) == mine.spatial
        assert (element.temporal.name if element.temporal else None) == mine.temporal


def test_groups(pair: tuple[DimensionUniverse, Universe]) -> None:
    theirs, ours = pair
    names = [name for name, dimension in ours.dimensions.items() if not dimension.is_skypix]
    for size in (0, 1, 2, 3):
        for chosen in itertools.combinations(names, size):
            group = cast("ButlerGroup", theirs.conform(chosen))
            mine = ours.group(chosen)
            assert (tuple(group.required), tuple(group.implied)) == (mine.required, mine.implied)
            assert list(group.elements) == [element.name for element in mine.elements]
            assert mine is ours.group(reversed(mine.names))


def test_unknown_names() -> None:
    universe = Universe(DimensionConfig().toDict())
    with pytest.raises(UnknownDimensionError, match="No dimension element 'nope'"):
        universe.group(["visit", "nope"])
    with pytest.raises(UnknownDimensionError, match="not a dimension itself"):
        universe.group(["visit_definition"])


def test_newer_universe_is_refused() -> None:
    with pytest.raises(UnsupportedRepositoryError, match="universe 9"):
        Universe({**DimensionConfig().toDict(), "version": 9})
