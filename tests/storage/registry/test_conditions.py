"""What fulfils a condition fulfils it for the Butler, too, and comes in the same order."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lsst.daf.butler import Butler, CalibrationLookupError
from lsst.daf.butler._exceptions import ButlerUserError
from lsst.daf.butler.queries import Query
from sqlalchemy.exc import SADeprecationWarning

from butlerql.storage.errors import AmbiguousCalibrationError, ButlerQLError
from butlerql.storage.registry import data_ids, dimension_records
from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.registry.selection import DatasetSelection, select
from butlerql.storage.registry.where import Where
from butlerql.storage.snapshot import Snapshot
from tests.support.generated_conditions import Sampled, conditions, identifiers, sample
from tests.support.repositories import RealRepository
from tests.support.snapshots import snapshot_of

_ALL = PageRequest(10_000)
_sampled = cache(sample)
_many = settings(suppress_health_check=list(HealthCheck))

_DIMENSIONS = [
    ("visit",),
    ("visit", "detector"),
    ("exposure", "detector"),
    ("exposure", "visit"),
    ("patch",),
    ("physical_filter",),
    ("visit", "tract"),
    ("instrument", "skymap"),
    ("band",),
    ("day_obs",),
]
_TYPES = ["calexp", "raw", "bias", "flat", "coadd", "sky_source", "config", "per_band", "camera", "group_log", "table"]
_COLLECTIONS = [["chain/all"], ["u/alice/run2", "u/alice/run1"], ["HSC/calib"], ["tag/best", "HSC/calib/run"]]


def _asked(butler: Butler, ask: Callable[[Query], Any]) -> Any:
    with butler.query() as query, warnings.catch_warnings():
        # It negates texts in a way that SQLAlchemy is about to give up.
        warnings.simplefilter("ignore", SADeprecationWarning)
        try:
            return ask(query)
        except (ButlerUserError, AssertionError, AttributeError, ValueError, TypeError, NotImplementedError) as error:
            return error


def _fails_by_itself(answer: Any) -> bool:
    """Tell where the Butler stumbles: over records without a region."""
    return isinstance(answer, AttributeError) and "overlaps" in str(answer)


def _texts(butler: Butler, sampled: Sampled, names: Sequence[str], more: Sequence[str] = ()) -> st.SearchStrategy[str]:
    """Draw conditions of what is asked for, and now and then of what is related to it."""
    own = [*identifiers(butler, sampled, names), *more]
    others = identifiers(butler, sampled, ("visit", "detector", "patch", "exposure"))
    bare = conditions(sampled, own * 4 + others)
    governed = bare.map(
        lambda text: (
            "instrument IN ('HSC', 'Žofie-Cam') AND skymap != 'no' AND " + text.replace(" AND ", " AND ")
            if "OVERLAPS" in text
            else f"instrument IN ('HSC', 'Žofie-Cam') AND ({text})"
        )
    )
    return st.one_of(bare, governed)


@_many
@given(data=st.data())
async def test_data_ids(rich: RealRepository, data: st.DataObject) -> None:
    butler, sampled = rich.butler, _sampled(rich.butler)
    async with snapshot_of(rich) as snapshot:
        for _ in range(8):
            names = data.draw(st.sampled_from(_DIMENSIONS))
            text = data.draw(_texts(butler, sampled, names))
            await _check_data_ids(snapshot, butler, names, text)


async def _check_data_ids(snapshot: Snapshot, butler: Butler, names: tuple[str, ...], text: str) -> None:
    expected = _asked(butler, lambda query: list(query.where(text).data_ids(names)))
    group = snapshot.repository.universe.group(names)

    async def ours() -> tuple[set[Any], int]:
        found = await data_ids.find_conditions(snapshot, group, where=Where(text))
        page = await data_ids.page(snapshot, group, found, _ALL)
        assert len(set(page.rows)) == len(page.rows)
        return {one.values for one in page.rows}, await data_ids.count(snapshot, group, found)

    if _fails_by_itself(expected):
        await ours()
    elif isinstance(expected, Exception):
        with pytest.raises(ButlerQLError):
            await ours()
    else:
        whole = {tuple(one.mapping[name] for name in group.names) for one in expected}
        assert await ours() == (whole, len(whole)), text


@_many
@given(data=st.data())
async def test_dimension_records(rich: RealRepository, data: st.DataObject) -> None:
    butler, sampled = rich.butler, _sampled(rich.butler)
    async with snapshot_of(rich) as snapshot:
        for _ in range(4):
            name = data.draw(st.sampled_from(["visit", "exposure", "detector", "patch", "visit_detector_region"]))
            text = data.draw(_texts(butler, sampled, butler.dimensions[name].dimensions.names))
            expected = _asked(
                butler, lambda query, name=name, text=text: list(query.where(text).dimension_records(name))
            )
            await _check_records(snapshot, name, text, expected)


async def _check_records(snapshot: Snapshot, name: str, text: str, expected: Any) -> None:
    element = snapshot.repository.universe.element(name)
    group = dimension_records.dimensions_of(element, snapshot.repository.universe.group)

    async def ours() -> set[Any]:
        found = await data_ids.find_conditions(snapshot, group, where=Where(text))
        page = await dimension_records.page(snapshot, element, found, _ALL)
        assert await dimension_records.count(snapshot, element, found) == len(page.rows)
        return {record.data_id.required for record in page.rows}

    if _fails_by_itself(expected):
        await ours()
    elif isinstance(expected, Exception):
        with pytest.raises(ButlerQLError):
            await ours()
    else:
        assert await ours() == {tuple(record.dataId.required_values) for record in expected}, text


@_many
@given(data=st.data())
async def test_datasets(rich: RealRepository, data: st.DataObject) -> None:
    butler, sampled = rich.butler, _sampled(rich.butler)
    more = ["run", "collection", "ingest_date", "dataset_id"]
    async with snapshot_of(rich) as snapshot:
        for _ in range(8):
            kind = data.draw(st.sampled_from(_TYPES))
            where = data.draw(st.sampled_from(_COLLECTIONS))
            first = data.draw(st.booleans())
            dimensions = butler.get_dataset_type(kind).dimensions.names
            text = data.draw(_texts(butler, sampled, sorted(dimensions), more))
            await _check_datasets(snapshot, butler, kind, where, text, first=first)


async def _check_datasets(
    snapshot: Snapshot, butler: Butler, kind: str, where: list[str], text: str, *, first: bool
) -> None:
    def ask(query: Query) -> Any:
        return list(query.datasets(kind, where, find_first=first).where(text))

    expected = _asked(butler, ask)
    if kind == "sky_source" and "OVERLAPS" in text and isinstance(expected, list):
        # The Butler takes the pixels of the dataset for those that say what overlaps, and finds less.
        expected = AttributeError("overlaps")

    async def ours() -> set[str]:
        selection = DatasetSelection(
            dataset_types=[kind], collections=where, where=Where(text), related=True, find_first=first
        )
        sets = await select(snapshot, selection)
        [page] = await sets.pages(snapshot, _ALL)
        uuids = [dataset.uuid for dataset in page.rows]
        assert len(set(uuids)) == len(uuids)
        assert await sets.counts(snapshot, [0]) == [len(uuids)]
        return set(uuids)

    if _fails_by_itself(expected):
        await ours()
    elif isinstance(expected, CalibrationLookupError):
        # What the condition relates a certification to repeats it for the Butler, which then takes it for several.
        with suppress(AmbiguousCalibrationError):
            await ours()
    elif isinstance(expected, Exception):
        with pytest.raises(ButlerQLError):
            await ours()
    else:
        found = await ours()
        wanted = {str(ref.id) for ref in expected}
        # Of several certified datasets of one data ID the Butler, if it has to drop repetitions, keeps any one.
        assert found >= wanted, text
        places = _places(butler, kind, tuple(where))
        assert {places[uuid] for uuid in found} == {places[uuid] for uuid in wanted}, text


@cache
def _places(butler: Butler, name: str, collections: tuple[str, ...]) -> dict[str, Any]:
    """Data ID of each certified dataset; all others are on their own."""
    return {
        str(found.ref.id): found.ref.id if found.timespan is None else found.ref.dataId
        for found in butler.registry.queryDatasetAssociations(name, collections, flattenChains=True)
    }
