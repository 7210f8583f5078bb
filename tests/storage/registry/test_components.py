"""A component's dataset is that of its parent, wherever datasets are asked for: the Butler knows the whole alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsst.daf.butler import Butler, CalibrationLookupError, CollectionType, DatasetRef, DatasetType

from butlerql.storage.errors import AmbiguousCalibrationError
from butlerql.storage.registry import data_ids, dimension_records
from butlerql.storage.registry.collections import find
from butlerql.storage.registry.data_id_values import resolve
from butlerql.storage.registry.dataset_types import match
from butlerql.storage.registry.find_dataset import find_dataset
from butlerql.storage.registry.matching import DataIdMatch, matching_datasets
from butlerql.storage.registry.pages import Page, PageRequest
from butlerql.storage.registry.ranges import Wanted
from butlerql.storage.registry.selection import (
    DatasetSelection,
    DatasetSets,
    datasets_of_collections,
    datasets_of_types,
    select,
)
from butlerql.storage.registry.where import EVERYTHING, Where
from butlerql.storage.snapshot import Snapshot
from tests.support.paging import walk
from tests.support.repositories import Content, Dialect, Layout, RealRepository, Repositories
from tests.support.rich_dimensions import insert_dimensions, span
from tests.support.rich_files import RICH_CONFIG
from tests.support.snapshots import snapshot_of

Row = tuple[str, tuple[Any, ...], str]
"""Dataset type, required values and UUID."""

_ALL = PageRequest(10_000)
_HSC = {"instrument": "HSC"}
_PARTS = ("counter", "data", "output", "summary")
_NAMES = [name for whole in ("dark", "packed", "split") for name in (whole, *(f"{whole}.{part}" for part in _PARTS))]
_PATHS = [["first", "second"], ["second", "first"], ["chain"], ["tag"], ["second"], ["calib"], ["tag", "first"]]
# Those of a name's own fields go by its parent's.
_WHERES = [None, "instrument = 'HSC'", "run = 'first'", "NOT run = 'first'", "{}.run = 'second'"]
_ORDERS = [[], ["-run"], ["-instrument", "run"], ["-{}.ingest_date", "-{}.collection"]]


def _fill(butler: Butler, outside: Path) -> None:
    insert_dimensions(butler)
    for name, dimension in (("packed", "visit"), ("split", "visit"), ("dark", "detector")):
        dimensions = butler.dimensions.conform(["instrument", dimension])
        butler.registry.registerDatasetType(DatasetType(name, dimensions, "Metrics", isCalibration=name == "dark"))
    put = butler.registry.insertDatasets
    for run, visits in (("first", (101, 102, 103)), ("second", (102, 104))):
        butler.collections.register(run)
        for name in ("packed", "split"):
            put(name, [{**_HSC, "visit": visit} for visit in visits], run)
    put("split", [{"instrument": "Žofie-Cam", "visit": 101}], "second")
    darks = [*put("dark", [{**_HSC, "detector": number} for number in (0, 1, 2)], "first")]
    newer = [*put("dark", [{**_HSC, "detector": number} for number in (0, 1)], "second")]
    butler.collections.register("calib", CollectionType.CALIBRATION)
    butler.registry.certify("calib", darks, span(None, "2024-01-01T21:00:00"))
    butler.registry.certify("calib", newer, span("2024-01-01T21:00:00", None))
    butler.collections.register("tag", CollectionType.TAGGED)
    butler.registry.associate("tag", butler.query_datasets("split", "second"))
    butler.collections.register("chain", CollectionType.CHAINED)
    butler.collections.redefine_chain("chain", ["tag", "second", "first"])


_COMPOSITES = Content("composites", _fill, lambda: RICH_CONFIG)


@pytest.fixture(scope="session")
def composites(repositories: Repositories, dialect: Dialect) -> RealRepository:
    """Give a repository of composites, some in several collections."""
    return repositories.shared(_COMPOSITES, Layout(dialect))


def _expected(butler: Butler, names: Sequence[str], path: Sequence[str], where: str | None, *, first: bool) -> set[Row]:
    """List what the Butler finds of the wholes, as what was asked for.

    Raises
    ------
    CalibrationLookupError
        Raised if several are found first, which the Butler itself may not notice.
    """
    found: set[Row] = set()
    for name in names:
        whole, part = DatasetType.splitDatasetTypeName(name)
        with butler.query() as query:
            datasets = query.datasets(whole, path, find_first=first)
            refs = set(datasets.where(where.format(whole)) if where else datasets)
        if first and len({ref.dataId for ref in refs}) < len(refs):
            raise CalibrationLookupError(name)
        found |= {_row(ref if part is None else ref.makeComponentRef(part)) for ref in refs}
    return found


def _row(ref: DatasetRef) -> Row:
    return ref.datasetType.name, tuple(ref.dataId.required_values), str(ref.id)


async def _check(
    snapshot: Snapshot, sets: DatasetSets, expected: Sequence[set[Row]], size: int, order: Sequence[str]
) -> None:
    for parent, rows in enumerate(expected):

        async def read(request: PageRequest, parent: int = parent) -> Page[Row]:
            page = (await sets.pages(snapshot, request, order))[parent]
            return page._replace(rows=[(one.dataset_type.name, one.data_id, one.uuid) for one in page.rows])

        whole = await walk(read, 10_000)
        assert len(whole) == len(rows)
        assert set(whole) == rows
        if not order:
            # Names of dataset types are plain: no database orders them otherwise.
            assert whole == sorted(rows)
        assert await walk(read, size) == whole
        assert await walk(read, size, backward=True) == whole
    assert await sets.counts(snapshot, range(len(expected))) == [len(rows) for rows in expected]


@given(
    names=st.lists(st.sampled_from(_NAMES), min_size=1, max_size=5, unique=True),
    path=st.sampled_from(_PATHS),
    where=st.sampled_from(_WHERES),
    order=st.sampled_from(_ORDERS),
    first=st.booleans(),
    size=st.integers(1, 4),
)
async def test_selections(
    composites: RealRepository,
    names: list[str],
    path: list[str],
    where: str | None,
    order: list[str],
    first: bool,
    size: int,
) -> None:
    if where is not None and "{}" in where:
        # A field of one dataset type is none of another.
        names = [name for name in names if name.partition(".")[0] == names[0].partition(".")[0]]
    own = names[0].partition(".")[0]
    condition = EVERYTHING if where is None else Where(where.format(own))
    order = [term.format(own) for term in order]
    async with snapshot_of(composites) as snapshot:
        selection = DatasetSelection(dataset_types=names, collections=path, where=condition, find_first=first)
        sets = await select(snapshot, selection)
        wanted = Wanted.FIRST if first else Wanted.DATASETS
        kinds = await match(snapshot, names)
        of_types = await datasets_of_types(snapshot, kinds, path, None, condition, wanted)
        collections = await find(snapshot, path)
        of_collections = await datasets_of_collections(snapshot, collections, names, None, condition, find_first=first)
        try:
            each = [_expected(composites.butler, [kind.name], path, where, first=first) for kind in kinds]
            apart = [_expected(composites.butler, names, [one.name], where, first=first) for one in collections]
        except CalibrationLookupError:
            with pytest.raises(AmbiguousCalibrationError):
                await sets.pages(snapshot, _ALL, order)
            return
        await _check(snapshot, sets, [set().union(*each)], size, order)
        await _check(snapshot, of_types, each, size, order)
        await _check(snapshot, of_collections, apart, size, order)


@given(
    names=st.lists(st.sampled_from(_NAMES[5:]), min_size=1, max_size=3, unique=True),
    path=st.sampled_from(_PATHS),
    dimensions=st.sampled_from([["visit"], ["visit", "detector"], ["physical_filter"], ["instrument"]]),
)
async def test_data_ids_and_records_that_have_datasets(
    composites: RealRepository, names: list[str], path: list[str], dimensions: list[str]
) -> None:
    with composites.butler.query() as query:
        for name in names:
            query = query.join_dataset_search(name.partition(".")[0], path)  # noqa: PLW2901
        expected = {tuple(one.required_values) for one in query.data_ids(dimensions)}
        records = {record.id for record in query.dimension_records("visit")}
    async with snapshot_of(composites) as snapshot:
        universe = snapshot.repository.universe
        group, visit = universe.group(dimensions), universe.element("visit")
        found = await data_ids.find_conditions(snapshot, group, types=names, collections=path)
        page = await data_ids.page(snapshot, group, found, _ALL)
        assert {one.required for one in page.rows} == expected
        assert await data_ids.count(snapshot, group, found) == len(page.rows) == len(expected)
        of_visit = await data_ids.find_conditions(snapshot, universe.group(["visit"]), types=names, collections=path)
        visits = await dimension_records.page(snapshot, visit, of_visit, _ALL)
        assert {record.values["id"] for record in visits.rows} == records
        each = await data_ids.find_conditions_in(snapshot, group, names, await find(snapshot, path))
        wholes = [name.partition(".")[0] for name in names]
        same = await data_ids.find_conditions_in(snapshot, group, wholes, await find(snapshot, path))
        assert [one.rows for one in await data_ids.page_each(snapshot, group, each, _ALL)] == [
            one.rows for one in await data_ids.page_each(snapshot, group, same, _ALL)
        ]


@given(name=st.sampled_from(_NAMES), path=st.sampled_from(_PATHS))
async def test_the_first_found_and_what_a_data_id_has(composites: RealRepository, name: str, path: list[str]) -> None:
    butler = composites.butler
    dimension = "detector" if name.startswith("dark") else "visit"
    when = butler.registry.expandDataId(**_HSC, exposure=102).timespan
    async with snapshot_of(composites) as snapshot:
        for value in (0, 2) if dimension == "detector" else (102, 103, 104):
            values = {**_HSC, dimension: value}
            expected = butler.find_dataset(name, values, collections=path, timespan=when)
            asked = {**values, "exposure": 102} if dimension == "detector" else values
            found = await find_dataset(snapshot, name, asked, path, None)
            assert (found and (found.dataset_type.name, found.data_id, found.uuid)) == (expected and _row(expected))
            data_id = await resolve(snapshot, values, snapshot.repository.universe.group(["instrument", dimension]))
            assert data_id is not None
            sets = await matching_datasets(
                snapshot,
                [data_id],
                collections=path,
                names=[name],
                match=DataIdMatch.EXACT,
                include_dimensionless=False,
            )
            every = _expected(butler, [name], path, None, first=False)
            await _check(snapshot, sets, [{row for row in every if row[1] == ("HSC", value)}], 1, [])


async def test_a_selection_by_uuid_gives_what_its_dataset_types_name(composites: RealRepository) -> None:
    [whole] = composites.butler.query_datasets("packed", "second", where="instrument = 'HSC' AND visit = 104")
    async with snapshot_of(composites) as snapshot:
        sets = await select(snapshot, DatasetSelection(uuids=[str(whole.id)], dataset_types=["packed.data", "packed"]))
        await _check(snapshot, sets, [{_row(whole), _row(whole.makeComponentRef("data"))}], 1, [])
        sets = await select(snapshot, DatasetSelection(uuids=[str(whole.id)], dataset_types=["split.data"]))
        await _check(snapshot, sets, [set()], 1, [])
