"""Dimension records are the Butler's."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lsst.daf.butler import Butler
from lsst.daf.butler import DimensionRecord as ButlerRecord
from lsst.daf.butler import Timespan as ButlerTimespan

from butlerql.storage.errors import UnsupportedJoinError
from butlerql.storage.registry import dimension_records
from butlerql.storage.registry.data_id_values import expand
from butlerql.storage.registry.data_ids import DataIdConditions, find_conditions
from butlerql.storage.registry.dimension_records import DimensionRecord
from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.registry.timespans import Timespan
from butlerql.storage.snapshot import Snapshot
from butlerql.storage.universe import Element
from tests.support.generated_data_ids import Question, asked, conditions_of, questions
from tests.support.repositories import RealRepository
from tests.support.snapshots import snapshot_of, statements_of

_ELEMENTS = [
    *("instrument", "band", "physical_filter", "visit", "exposure", "detector", "tract", "patch", "skymap", "day_obs"),
    *("group", "visit_system", "subfilter", "visit_definition", "visit_detector_region", "visit_system_membership"),
]


def as_the_butler(record: DimensionRecord) -> dict[str, Any]:
    """Write our record as the Butler's ``toDict`` would."""
    values = dict(record.values)
    if record.element.spatial is not None:
        values["region"] = None if record.region is None else base64.b64decode(record.region)
    if record.element.temporal is not None:
        values["timespan"] = record.timespan
    return values


def comparable(record: ButlerRecord) -> dict[str, Any]:
    """Write the Butler's record with our types."""
    return {name: _plain(value) for name, value in record.toDict().items()}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, ButlerTimespan):
        return Timespan.from_columns(*value.nsec)
    return value.encode() if hasattr(value, "getBoundingCircle") else value


async def _walk(snapshot: Snapshot, element: Element, conditions: DataIdConditions, size: int) -> list[DimensionRecord]:
    found: list[DimensionRecord] = []
    request = PageRequest(size)
    while True:
        page = await dimension_records.page(snapshot, element, conditions, request)
        found += page.rows
        if not page.has_next:
            return found
        request = PageRequest(size, after=page.keys[-1])


def _sorted(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(records, key=lambda values: repr(sorted((k, v) for k, v in values.items() if k != "region")))


async def _check(repository: RealRepository, name: str, question: Question) -> None:
    expected = asked(repository.butler, question, lambda query: [*query.dimension_records(name)])
    async with snapshot_of(repository) as snapshot:
        element = snapshot.repository.universe.element(name)
        conditions = await conditions_of(snapshot, question)
        if isinstance(expected, NotImplementedError) or "spatial" in str(expected):
            with pytest.raises(UnsupportedJoinError):
                await dimension_records.page(snapshot, element, conditions, PageRequest(5))
            return
        found = await _walk(snapshot, element, conditions, 10_000)
        assert await dimension_records.count(snapshot, element, conditions) == len(found)
        assert await _walk(snapshot, element, conditions, 3) == found
        if not isinstance(expected, Exception):
            assert _sorted([as_the_butler(one) for one in found]) == _sorted([comparable(one) for one in expected])
            data_ids = {one.dataId.required_values: one.dataId for one in expected}
            for record in found:
                theirs = data_ids[record.data_id.required]
                assert {name: record.data_id.mapping[name] for name in theirs.mapping} == dict(theirs.mapping)
                assert list(record.data_id.mapping) == list(repository.butler.registry.expandDataId(theirs).mapping)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_rich_records_are_the_butlers(rich: RealRepository, data: st.DataObject) -> None:
    await _check(rich, data.draw(st.sampled_from(_ELEMENTS)), data.draw(questions(rich.butler, ["instrument"])))


@pytest.mark.parametrize("name", _ELEMENTS)
async def test_all_rich_records_are_the_butlers(rich_in_every_layout: RealRepository, name: str) -> None:
    await _check(rich_in_every_layout, name, Question((), {}, (), ()))


async def test_records_of_every_universe_are_the_butlers(every_universe: RealRepository) -> None:
    universe = every_universe.butler.dimensions
    for element in universe.elements:
        if element.name not in universe.skypix_dimensions:
            await _check(every_universe, element.name, Question((), {}, (), ()))


@pytest.mark.parametrize(
    ("name", "values", "types"),
    [
        ("visit", {}, ("calexp",)),
        ("visit", {"instrument": "HSC", "detector": 3}, ("calexp",)),
        ("visit_detector_region", {"instrument": "HSC"}, ("calexp",)),
        ("patch", {}, ("coadd",)),
        ("band", {"instrument": "HSC", "visit": 101}, ()),
        ("visit", {"skymap": "rings µ", "tract": 1}, ()),
        ("detector", {}, ("bias", "camera")),
        ("exposure", {}, ("bias",)),
        ("htm7", {}, ("sky_tile",)),
        ("htm7", {}, ("calexp",)),
        ("htm7", {"instrument": "HSC", "visit": 101}, ()),
        ("htm7", {"skymap": "rings µ", "tract": 1}, ()),
        ("htm7", {"htm7": 131_072}, ()),
        ("htm7", {"htm7": 131_072}, ("sky_tile",)),
        ("htm9", {"skymap": "rings µ", "tract": 1}, ()),
        ("healpix9", {}, ("sky_tile_healpix",)),
    ],
)
async def test_records_that_have_datasets(
    rich: RealRepository, name: str, values: dict[str, Any], types: tuple[str, ...]
) -> None:
    await _check(rich, name, Question((), values, types, ("chain/all",)))


async def test_pixels_are_not_listed_but_known(rich: RealRepository) -> None:
    async with snapshot_of(rich) as snapshot:
        element = snapshot.repository.universe.element("htm7")
        with pytest.raises(UnsupportedJoinError, match="does not list the pixels"):
            await dimension_records.page(snapshot, element, DataIdConditions(), PageRequest(5))
        found = await dimension_records.by_keys(snapshot, element, [(131_072,), (5,)])
    [record] = found.values()
    expected = rich.butler.registry.expandDataId(htm7=131_072).records["htm7"]
    assert expected is not None
    assert as_the_butler(record) == comparable(expected)


def _expanded(butler: Butler, names: tuple[str, ...]) -> list[Any]:
    with butler.query() as query:
        return list(query.data_ids(names).with_dimension_records())


@pytest.mark.parametrize(
    "names",
    [
        ("visit", "detector"),
        ("exposure", "visit"),
        ("visit", "patch"),
        ("detector",),
        ("tract", "htm7"),
        ("band", "skymap"),
    ],
)
async def test_records_of_data_ids_are_the_butlers(rich: RealRepository, names: tuple[str, ...]) -> None:
    expected = _expanded(rich.butler, names)
    async with snapshot_of(rich) as snapshot:
        universe = snapshot.repository.universe
        group = universe.group(names)
        keys = [(group, tuple(one[name] for name in group.required)) for one in expected]
        data_ids = await expand(snapshot, keys)
        for element in group.elements:
            found = await dimension_records.of_data_ids(snapshot, element, data_ids)
            for record, data_id, one in zip(found, data_ids, expected, strict=True):
                theirs = rich.butler.registry.expandDataId(one).records[element.name]
                assert (record is None) == (theirs is None)
                if record is not None and theirs is not None:
                    assert as_the_butler(record) == comparable(theirs)
                    assert record.data_id.mapping.items() <= data_id.mapping.items()
        other = universe.element("ssp_hypothesis_table")
        assert await dimension_records.of_data_ids(snapshot, other, data_ids) == [None] * len(data_ids)


async def test_the_number_of_statements_does_not_depend_on_the_number_of_rows(ci_hsc: RealRepository) -> None:
    async with snapshot_of(ci_hsc) as snapshot:
        universe = snapshot.repository.universe

        async def used(size: int) -> list[int]:
            counts = []
            for name in ("visit", "detector", "patch", "visit_detector_region", "physical_filter", "band"):
                snapshot.cache.clear()
                with statements_of(snapshot) as statements:
                    element = universe.element(name)
                    group = dimension_records.dimensions_of(element, universe.group)
                    conditions = await find_conditions(snapshot, group, types=["calexp"], collections=["*"])
                    await dimension_records.page(snapshot, element, conditions, PageRequest(size))
                counts.append(len(statements))
            return counts

        # What does not change is read once, not once a question.
        await used(1)
        assert await used(1) == await used(30)
