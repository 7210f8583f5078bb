"""The first dataset found is the Butler's, and so are its refusals."""

from __future__ import annotations

from typing import Any

import pytest
from astropy.time import Time
from hypothesis import given
from hypothesis import strategies as st
from lsst.daf.butler import Butler, CalibrationLookupError
from lsst.daf.butler import Timespan as ButlerTimespan
from lsst.daf.butler.time_utils import TimeConverter

from butlerql.storage.errors import (
    AmbiguousCalibrationError,
    InvalidDataIdError,
    UnknownCollectionError,
    UnknownComponentError,
    UnknownDatasetTypeError,
)
from butlerql.storage.registry.certifications import certification_counts, certification_pages, certifications_of
from butlerql.storage.registry.collections import find
from butlerql.storage.registry.dataset_types import match
from butlerql.storage.registry.datasets import by_uuids
from butlerql.storage.registry.find_dataset import find_dataset
from butlerql.storage.registry.pages import Key, PageRequest
from butlerql.storage.registry.timespans import Timespan
from butlerql.storage.snapshot import Snapshot
from tests.support.repositories import RealRepository
from tests.support.snapshots import snapshot_of

_TIMES = [
    None,
    "2023-12-31T00:00:00",
    "2024-01-01T20:00:10",
    "2024-01-01T20:00:15",
    "2024-01-01T21:00:00",
    "2024-01-02T00:00:00",
    "2024-01-02T20:00:00",
    "2024-06-15T00:00:00",
    "2025-01-01T00:00:00",
]
_ASKED: list[tuple[str, dict[str, Any]]] = [
    *(
        ("calexp", {"instrument": "HSC", "visit": visit, "detector": detector})
        for visit in (101, 102, 103)
        for detector in (0, 1)
    ),
    ("config", {}),
    ("per_band", {"band": "r"}),
    ("camera", {"instrument": "HSC"}),
    *(("bias", {"instrument": "HSC", "detector": detector}) for detector in (0, 1, 2)),
    ("flat", {"instrument": "HSC", "detector": 0, "physical_filter": "HSC-R"}),
    ("sky_tile", {"htm7": 131072}),
]
_PATHS = [
    ["chain/outer"],
    ["chain/all"],
    ["u/alice/run1", "u/alice/run2"],
    ["u/alice/run2", "u/alice/run1"],
    ["HSC/calib"],
    ["HSC/calib/fallback"],
    ["chain/calib"],
    ["HSC/calib/run", "HSC/calib"],
    ["u/*"],
    [],
]
_CONVERTER = TimeConverter()


def _spans() -> st.SearchStrategy[ButlerTimespan | None]:
    pairs = st.tuples(st.sampled_from(_TIMES), st.sampled_from(_TIMES))
    ordered = pairs.filter(lambda pair: None in pair or pair[0] < pair[1])
    return st.one_of(
        st.none(),
        ordered.map(lambda pair: ButlerTimespan(*(None if t is None else Time(t, scale="tai") for t in pair))),
    )


def _ours(span: ButlerTimespan) -> Timespan:
    begin, end = span.nsec
    found = Timespan.from_columns(begin, end)
    assert found is not None
    return found


@given(asked=st.sampled_from(_ASKED), path=st.sampled_from(_PATHS), span=_spans())
async def test_with_a_timespan(
    asked: tuple[str, dict[str, Any]], path: list[str], span: ButlerTimespan | None, rich: RealRepository
) -> None:
    name, data_id = asked
    # Without a timespan the Butler passes calibration collections over; we search them, at any time.
    searched = ButlerTimespan(None, None) if span is None else span
    async with snapshot_of(rich) as snapshot:
        ours = None if span is None else _ours(span)
        try:
            expected = rich.butler.find_dataset(name, data_id, collections=path, timespan=searched)
        except CalibrationLookupError:
            with pytest.raises(AmbiguousCalibrationError):
                await find_dataset(snapshot, name, data_id, path, ours)
            return
        found = await find_dataset(snapshot, name, data_id, path, ours)
        assert (found and found.uuid) == (expected and str(expected.id))


@pytest.mark.parametrize("exposure", [101, 102, 103, 104])
@pytest.mark.parametrize("detector", [0, 1, 2])
async def test_by_the_time_of_the_data_id(exposure: int, detector: int, rich: RealRepository) -> None:
    butler, path = rich.butler, ["HSC/calib"]
    when = butler.registry.expandDataId(instrument="HSC", exposure=exposure).timespan
    values = {"instrument": "HSC", "exposure": exposure, "detector": detector}
    async with snapshot_of(rich) as snapshot:
        try:
            expected = butler.find_dataset(
                "bias",
                instrument="HSC",
                detector=detector,
                collections=path,
                timespan=when or ButlerTimespan(None, None),
            )
        except CalibrationLookupError:
            with pytest.raises(AmbiguousCalibrationError):
                await find_dataset(snapshot, "bias", values, path, None)
            return
        found = await find_dataset(snapshot, "bias", values, path, None)
    assert (found and found.uuid) == (expected and str(expected.id))


async def test_component_and_empty_timespan(rich: RealRepository) -> None:
    async with snapshot_of(rich) as snapshot:
        values = {"instrument": "HSC", "visit": 102}
        component = next(kind.name for kind in await match(snapshot, ["split.*"], components=True))
        found = await find_dataset(snapshot, component, values, ["chain/all"], None)
        whole = await find_dataset(snapshot, "split", values, ["chain/all"], None)
        assert found is not None
        assert whole is not None
        assert (found.uuid, found.dataset_type.name) == (whole.uuid, component)
        bias = {"instrument": "HSC", "detector": 2}
        assert await find_dataset(snapshot, "bias", bias, ["HSC/calib"], Timespan(5, 3, is_empty=True)) is None


@pytest.mark.parametrize(
    ("name", "values", "path", "error"),
    [
        ("nope", {}, ["chain/all"], UnknownDatasetTypeError),
        ("calexp.nope", {}, ["chain/all"], UnknownComponentError),
        ("calexp", {"instrument": "HSC"}, ["nope"], UnknownCollectionError),
        ("calexp", {"instrument": "HSC"}, ["chain/all"], InvalidDataIdError),
        ("calexp", {"nope": 1}, ["chain/all"], InvalidDataIdError),
    ],
)
async def test_refusals(
    rich: RealRepository, name: str, values: dict[str, Any], path: list[str], error: type[Exception]
) -> None:
    async with snapshot_of(rich) as snapshot:
        with pytest.raises(error):
            await find_dataset(snapshot, name, values, path, None)


def _listed(butler: Butler, collection: str) -> list[tuple[str, str, tuple[int, int]]]:
    return sorted(
        (kind.name, str(found.ref.id), found.timespan.nsec)
        for kind in butler.registry.queryDatasetTypes()
        if kind.isCalibration()
        for found in butler.registry.queryDatasetAssociations(kind, collection)
        if found.timespan is not None
    )


async def _pages(
    snapshot: Snapshot, names: list[str], size: int, overlaps: Timespan | None, *, backward: bool
) -> list[Any]:
    collections = await find(snapshot, names)
    kinds = await match(snapshot, ["*"])
    found: list[Any] = []
    key: Key | None = None
    while True:
        request = PageRequest(size, backward, before=key) if backward else PageRequest(size, after=key)
        (page,) = await certification_pages(snapshot, collections, kinds, overlaps, request)
        found = page.rows + found if backward else found + page.rows
        if not (page.has_previous if backward else page.has_next):
            assert await certification_counts(snapshot, collections, kinds, overlaps) == [len(found)]
            return found
        key = page.keys[0] if backward else page.keys[-1]


@pytest.mark.parametrize("collection", ["HSC/calib", "HSC/calib/fallback", "HSC/calib/none"])
@pytest.mark.parametrize("size", [1, 3, 100])
async def test_certifications(rich: RealRepository, collection: str, size: int) -> None:
    expected = _listed(rich.butler, collection)
    async with snapshot_of(rich) as snapshot:
        forward = await _pages(snapshot, [collection], size, None, backward=False)
        assert forward == await _pages(snapshot, [collection], size, None, backward=True)
        found = [(each.dataset.dataset_type.name, each.dataset.uuid, each.timespan.bounds) for each in forward]
        assert sorted(found) == expected
        keys = [(each.dataset.dataset_type.name, each.dataset.data_id, each.timespan.bounds[0]) for each in forward]
        assert keys == sorted(keys)
        middle = Timespan(*ButlerTimespan(Time("2024-06-10", scale="tai"), Time("2024-06-11", scale="tai")).nsec)
        overlapping = await _pages(snapshot, [collection], size, middle, backward=False)
        assert [each.dataset.uuid for each in overlapping] == [
            each.dataset.uuid
            for each in forward
            if each.timespan.bounds[0] < middle.bounds[1] and each.timespan.bounds[1] > middle.bounds[0]
        ]


async def test_certifications_of_datasets(rich: RealRepository) -> None:
    butler = rich.butler
    expected: dict[str, set[tuple[int, int]]] = {}
    for collection in ("HSC/calib", "HSC/calib/fallback", "HSC/calib/none"):
        for _, uuid, bounds in _listed(butler, collection):
            expected.setdefault(uuid, set()).add(bounds)
    plain = str(butler.query_datasets("calexp", "u/alice/run1")[0].id)
    async with snapshot_of(rich) as snapshot:
        uuids = [*expected, plain]
        datasets = [dataset for dataset in await by_uuids(snapshot, uuids) if dataset is not None]
        found = await certifications_of(snapshot, datasets)
    assert [{each.timespan.bounds for each in some} for some in found] == [*expected.values(), set()]
