"""Dataset types, and where their datasets are, are the Butler's."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.daf.butler import Butler, DatasetTypeExpressionError, MissingDatasetTypeError
from lsst.daf.butler import DatasetType as ButlerDatasetType

from butlerql.storage.errors import (
    BadCursorError,
    InvalidArgumentError,
    UnknownComponentError,
    UnknownDatasetTypeError,
    UnknownDimensionError,
)
from butlerql.storage.registry import dataset_types
from butlerql.storage.registry.dataset_types import DatasetType
from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.repository import Repository
from tests.support.generated import TYPE_NAMES
from tests.support.repositories import Content, Layout, RealRepository, Repositories
from tests.support.snapshots import snapshot_of, statements_of

_names = st.sampled_from(["calexp", "packed", "table", "never_made", "packed.data", "split.counter", "table.rowcount"])
_globs = st.sampled_from(["*", "c*", "*a*", "sky_*", "?????", "[!a-f]*", "nothing*", "*.data", "packed*", "table.?*"])


@pytest.fixture(scope="module")
async def opened(rich_in_every_layout: RealRepository) -> AsyncIterator[Repository]:
    """Open the repository that has one of everything."""
    repository = await Repository.open(rich_in_every_layout.uri, snapshot_seconds=60)
    yield repository
    await repository.close()


def _facts(dataset_type: ButlerDatasetType) -> tuple[Any, ...]:
    return (
        dataset_type.name,
        dataset_type.storageClass_name,
        tuple(dataset_type.dimensions.required),
        tuple(dataset_type.dimensions.data_coordinate_keys),
        dataset_type.isCalibration(),
        dataset_type.isComponent(),
        dataset_type.component(),
    )


def _our_facts(dataset_type: DatasetType) -> tuple[Any, ...]:
    return (
        dataset_type.name,
        dataset_type.storage_class,
        dataset_type.dimensions.required,
        dataset_type.dimensions.names,
        dataset_type.is_calibration,
        dataset_type.is_component,
        dataset_type.component,
    )


def _everything(butler: Butler) -> dict[str, list[ButlerDatasetType]]:
    """List the components of every dataset type, and the type itself first, by the Butler."""
    return {
        dataset_type.name: [dataset_type, *map(dataset_type.makeComponentDatasetType, _components(dataset_type))]
        for dataset_type in butler.registry.queryDatasetTypes("*")
    }


def _components(dataset_type: ButlerDatasetType) -> list[str]:
    return sorted(dataset_type.storageClass.allComponents())


async def test_everything_is_told_as_the_butler_tells_it(
    rich_in_every_layout: RealRepository, opened: Repository
) -> None:
    expected = _everything(rich_in_every_layout.butler)
    async with opened.snapshot() as snapshot:
        c = snapshot.repository.tables.dataset_type.c
        order = [row.name for row in await snapshot.rows(sa.select(c.name).order_by(c.name))]
        found = await dataset_types.all_types(snapshot)
        with_components = await dataset_types.match(snapshot, ["*"], components=True)
        parents = [await dataset_types.parent(snapshot, one) for one in with_components]
        by_name = [await dataset_types.find(snapshot, one.name) for one in with_components]
        listed = [[one, *dataset_types.components(snapshot, one)] for one in found]
        assert await dataset_types.by_keys(snapshot, [one.key for one in found]) == found
    assert [_our_facts(one) for one in found] == [_facts(expected[name][0]) for name in order]
    assert [_our_facts(one) for one in with_components] == [_facts(one) for name in order for one in expected[name]]
    assert [one.name for one in parents] == [one.parent_name for one in with_components]
    assert by_name == with_components
    assert [one for some in listed for one in some] == with_components


@given(patterns=st.lists(_names | _globs, max_size=4), components=st.booleans())
async def test_names_and_globs_mean_what_they_mean_to_fnmatch(
    rich_in_every_layout: RealRepository, opened: Repository, patterns: list[str], components: bool
) -> None:
    async with opened.snapshot() as snapshot:
        everything = [one.name for one in await dataset_types.match(snapshot, ["*"], components=True)]
        found = [one.name for one in await dataset_types.match(snapshot, patterns, components=components)]
    assert found == [
        name
        for name in everything
        if name in patterns
        or ((components or "." not in name) and any(fnmatchcase(name, pattern) for pattern in patterns))
    ]
    if patterns and not any("." in pattern for pattern in patterns):
        butlers = rich_in_every_layout.butler.registry.queryDatasetTypes(patterns)
        assert {name for name in found if "." not in name} == {one.name for one in butlers}


@pytest.mark.parametrize("name", ["nope", "", "Calexp", "calexp ", "nope.wcs", ".", ".data", "\0"])
async def test_a_name_that_is_not_there_is_an_error(rich: RealRepository, name: str) -> None:
    async with snapshot_of(rich) as snapshot:
        with pytest.raises(UnknownDatasetTypeError, match=re.escape(f"'{name.partition('.')[0]}'")):
            await dataset_types.find(snapshot, name)
        assert await dataset_types.find_or_none(snapshot, name) is None
        with pytest.raises(InvalidArgumentError if "\0" in name else UnknownDatasetTypeError):
            await dataset_types.match(snapshot, ["calexp", name])


@pytest.mark.parametrize("name", ["packed.", "packed.nope", "packed.data.more", "calexp.wcs"])
async def test_a_component_that_is_not_there_is_an_error(rich: RealRepository, name: str) -> None:
    async with snapshot_of(rich) as snapshot:
        with pytest.raises(UnknownComponentError, match="has no component"):
            await dataset_types.find(snapshot, name)
        assert await dataset_types.find_or_none(snapshot, name) is None
    with pytest.raises((KeyError, DatasetTypeExpressionError)):
        rich.butler.get_dataset_type(name)


async def test_types_are_chosen_by_storage_class_and_dimensions(rich: RealRepository) -> None:
    async def names(**chosen: Any) -> list[str]:
        return [one.name for one in await dataset_types.match(snapshot, ["*"], **chosen)]

    async with snapshot_of(rich) as snapshot:
        assert await names(storage_classes=["Metrics", "ArrowAstropy"]) == ["packed", "split", "table"]
        assert await names(storage_classes=["StructuredDataList"], components=True) == ["packed.data", "split.data"]
        assert await names(storage_classes=["no such"]) == await names(storage_classes=[]) == []
        assert await names(dimensions=["exposure"]) == ["raw"]
        # The band of a visit is implied.
        assert await names(dimensions=["band", "detector"]) == ["calexp", "flat", "raw"]
        assert len(await names(dimensions=[])) == len(await names())
        assert await names(dimensions=["healpix9"]) == ["sky_tile_healpix"]
        for wrong in ("nope", "visit_definition", ""):
            with pytest.raises(UnknownDimensionError):
                await names(dimensions=[wrong])


@settings(max_examples=15)
@given(size=st.integers(1, 7), components=st.booleans(), pattern=st.sampled_from(["*", "*a*", "nothing*"]))
async def test_pages_go_through_all_forward_and_backward(
    opened: Repository, size: int, components: bool, pattern: str
) -> None:
    async with opened.snapshot() as snapshot:
        everything = await dataset_types.match(snapshot, [pattern], components=components)
        for backward in (False, True):
            found: list[DatasetType] = []
            request = PageRequest(size, backward)
            while True:
                page = await dataset_types.page(snapshot, everything, request)
                found = page.rows + found if backward else found + page.rows
                if not (page.has_previous if backward else page.has_next):
                    break
                assert len(page.rows) == size
                before, after = (page.keys[0], None) if backward else (None, page.keys[-1])
                request = PageRequest(size, backward, after, before)
            assert found == everything


async def test_a_page_begins_behind_a_name_that_is_gone(rich_in_every_layout: RealRepository) -> None:
    async with snapshot_of(rich_in_every_layout) as snapshot:
        everything = await dataset_types.match(snapshot, ["*"], components=True)
        request = PageRequest(2, after=("ca", ""), before=("camera0", "some"))
        between = await dataset_types.page(snapshot, everything, request)
        component = await dataset_types.page(snapshot, everything, PageRequest(1, after=("packed", "cz")))
    assert [one.name for one in between.rows] == ["calexp", "camera"]
    assert [one.name for one in component.rows] == ["packed.data"]


@pytest.mark.parametrize("key", [(), ("a",), ("a", 1), (1, "a"), ("a", "b", "c")])
async def test_a_key_of_something_else_is_refused(rich: RealRepository, key: tuple[Any, ...]) -> None:
    async with snapshot_of(rich) as snapshot:
        with pytest.raises(BadCursorError):
            await dataset_types.page(snapshot, [], PageRequest(1, after=key))


def _register_names(butler: Butler, outside: Path) -> None:
    for number, name in enumerate(TYPE_NAMES):
        dimensions = [[], ["instrument"], ["tract"]][number % 3]
        kind = "StructuredDataDict" if number % 2 else "ArrowTable"
        butler.registry.registerDatasetType(ButlerDatasetType(name, dimensions, kind, universe=butler.dimensions))


_NAMED = Content("names of dataset types", _register_names)


@pytest.fixture(scope="module", params=[Layout("sqlite"), Layout("postgresql", icu_locale="en-US")], ids=str)
def named(request: pytest.FixtureRequest, repositories: Repositories) -> Iterator[RealRepository]:
    """Give a repository of dataset types whose names sort in several ways."""
    with repositories.private(_NAMED, request.param) as repository:
        yield repository


_overrides = st.dictionaries(
    st.sampled_from(TYPE_NAMES),
    st.fixed_dictionaries(
        {}, optional={"rename": st.sampled_from([*TYPE_NAMES, "b2", "C"]), "storageClass": st.just("ArrowAstropy")}
    ),
    max_size=4,
)


@given(overrides=_overrides)
async def test_the_configuration_renames_and_retypes_as_the_butlers(
    named: RealRepository, overrides: Mapping[str, Mapping[str, str]]
) -> None:
    targets = {override["rename"] for override in overrides.values() if "rename" in override}
    named.rewrite_config(lambda config: _override(config, overrides))
    butler = named.open()
    async with snapshot_of(named) as snapshot:
        listed = await dataset_types.all_types(snapshot)
        names = snapshot.repository.dialect.rows("names", {"name": sa.Text()}, [(one.name,) for one in listed])
        order = await snapshot.rows(sa.select(names.c.name).order_by(names.c.name))
    assert [one.name for one in listed] == [row.name for row in order]
    found = {one.name: one for one in listed}
    for name in {*TYPE_NAMES, *targets, *found}:
        try:
            expected = butler.get_dataset_type(name)
        except MissingDatasetTypeError:
            assert name not in found
        else:
            assert _our_facts(found[name]) == _facts(expected)


def _override(config: dict[str, Any], overrides: Mapping[str, Mapping[str, str]]) -> None:
    config["registry"]["managers"]["datasets"]["config"] = {
        "overrides": {name: dict(override) for name, override in overrides.items()}
    }


async def test_a_type_that_is_registered_or_removed_is_so_in_the_next_snapshot(
    rich: RealRepository, fresh: Callable[[RealRepository], RealRepository]
) -> None:
    repository = fresh(rich)
    opened = await Repository.open(repository.uri)

    async def names() -> list[tuple[str, str]]:
        async with opened.snapshot() as snapshot:
            found = await dataset_types.match(snapshot, ["never*", "other*"])
            return [(one.name, one.storage_class) for one in found]

    assert await names() == [("never_made", "StructuredDataDict")]
    writer = repository.open(writeable=True)
    writer.registry.removeDatasetType("never_made")
    other = ButlerDatasetType("other", ["instrument"], "int", universe=writer.dimensions)
    # It may take the number of the one that is gone.
    writer.registry.registerDatasetType(other)
    assert await names() == [("other", "int")]
    await opened.close()


async def test_statements_do_not_grow_with_what_is_asked_about(rich: RealRepository) -> None:
    opened = await Repository.open(rich.uri)
    counts = []
    for _ in range(2):
        async with opened.snapshot() as snapshot:
            with statements_of(snapshot) as statements:
                everything = await dataset_types.match(snapshot, ["*", "packed.data"], components=True)
                await dataset_types.page(snapshot, everything, PageRequest(5, after=("d", "")))
                await dataset_types.by_keys(snapshot, [one.key for one in everything])
        counts.append(len(statements))
    await opened.close()
    # Whether something has changed, two tables if so, and where the name that is gone would be; the last alone where
    # the whole database has not changed.
    assert counts == [4, 1]
