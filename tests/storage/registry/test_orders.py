"""What is ordered comes in the Butler's order, NULLs last, and no page loses any of it or has it twice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache
from itertools import groupby
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lsst.daf.butler import Butler
from lsst.daf.butler._exceptions import ButlerUserError
from lsst.daf.butler.queries.tree import DatasetFieldName

from butlerql.storage.errors import ButlerQLError, InvalidExpressionError
from butlerql.storage.registry import data_ids, dimension_records
from butlerql.storage.registry.pages import Page, PageRequest
from butlerql.storage.registry.selection import DatasetSelection, select
from butlerql.storage.snapshot import Snapshot
from tests.support.butler_orders import keys_of, nulls_last, order_names
from tests.support.paging import walk
from tests.support.repositories import Layout, RealRepository, Repositories
from tests.support.rich import RICH
from tests.support.snapshots import snapshot_of

_many = settings(suppress_health_check=list(HealthCheck))

_LAYOUTS = [Layout("sqlite"), Layout("postgresql"), Layout("postgresql", icu_locale="en-US")]
_DIMENSIONS = [
    ("visit",),
    ("visit", "detector"),
    ("exposure", "visit"),
    ("physical_filter",),
    ("patch", "band"),
    ("detector", "physical_filter"),
    ("day_obs", "group"),
    ("instrument", "skymap"),
]
_ELEMENTS = ["visit", "exposure", "detector", "patch", "physical_filter", "instrument", "visit_detector_region"]
# The Butler lists a dataset as often as it is in a collection: only the first is asked for, or there is but one.
_DATASETS = [
    ("calexp", ["chain/all"], True),
    ("calexp", ["u/alice/run2", "u/alice/run1", "u/žofie/běh č. 1"], False),
    ("raw", ["HSC/raw/all"], False),
    ("coadd", ["chain/all"], True),
    ("per_band", ["u/alice/run1", "u/alice/run2"], False),
    ("table", ["chain/all"], True),
    ("bias", ["HSC/calib/run", "HSC/raw/all"], False),
    ("config", ["u/alice/run2", "u/alice/run1", "u/bob/emptied"], False),
]
_FIELDS: Sequence[DatasetFieldName] = ("run", "collection", "ingest_date", "dataset_id")

Rows = list[tuple[Any, ...]]
"""Values of what is ordered by, and then what tells rows apart."""


@pytest.fixture(scope="session", params=_LAYOUTS, ids=str)
def rich(request: pytest.FixtureRequest, repositories: Repositories) -> RealRepository:
    """Give the repository that has one of everything where texts are ordered by their bytes, and where by a locale."""
    return repositories.shared(RICH, request.param)


async def _check(theirs: Callable[[], Rows], ours: Callable[[PageRequest], Awaitable[Page[Any]]], name: Any) -> None:
    """Compare whole orders, then what the pages make up."""
    try:
        expected = nulls_last(theirs())
    except ButlerUserError:
        with pytest.raises(ButlerQLError):
            await ours(PageRequest(5))
        return
    whole = await walk(ours, 10_000)
    assert [name(row) for row in whole] == [key[-1] for key in expected]
    assert await walk(ours, 3) == whole
    assert await walk(ours, 3, backward=True) == whole


@_many
@given(data=st.data())
async def test_data_ids_come_in_the_butlers_order(rich: RealRepository, data: st.DataObject) -> None:
    async with snapshot_of(rich) as snapshot:
        for _ in range(2):
            names = data.draw(st.sampled_from(_DIMENSIONS))
            await _check_data_ids(snapshot, rich.butler, names, data.draw(order_names(rich.butler, names)))


async def _check_data_ids(snapshot: Snapshot, butler: Butler, names: tuple[str, ...], order: list[str]) -> None:
    group = snapshot.repository.universe.group(names)

    def theirs() -> Rows:
        with butler.query() as query:
            found = list(query.data_ids(names).order_by(*order, *group.required))
        return [(*keys_of(butler, order, one), one.required_values) for one in found]

    async def ours(request: PageRequest) -> Page[Any]:
        found = await data_ids.find_conditions(snapshot, group, order_by=order)
        return await data_ids.page(snapshot, group, found, request)

    await _check(theirs, ours, lambda row: row.required)


@_many
@given(data=st.data())
async def test_records_come_in_the_butlers_order(rich: RealRepository, data: st.DataObject) -> None:
    async with snapshot_of(rich) as snapshot:
        for _ in range(2):
            name = data.draw(st.sampled_from(_ELEMENTS))
            names = sorted(rich.butler.dimensions[name].dimensions.names)
            await _check_records(snapshot, rich.butler, name, data.draw(order_names(rich.butler, names)))


async def _check_records(snapshot: Snapshot, butler: Butler, name: str, order: list[str]) -> None:
    element = snapshot.repository.universe.element(name)
    group = dimension_records.dimensions_of(element, snapshot.repository.universe.group)

    def theirs() -> Rows:
        with butler.query() as query:
            found = list(query.dimension_records(name).order_by(*order, *element.required))
        return [(*keys_of(butler, order, one.dataId), one.dataId.required_values) for one in found]

    async def ours(request: PageRequest) -> Page[Any]:
        found = await data_ids.find_conditions(snapshot, group, order_by=order)
        return await dimension_records.page(snapshot, element, found, request)

    await _check(theirs, ours, lambda row: row.data_id.required)


@_many
@given(data=st.data())
async def test_datasets_come_in_the_butlers_order(rich: RealRepository, data: st.DataObject) -> None:
    async with snapshot_of(rich) as snapshot:
        for _ in range(2):
            kind, where, first = data.draw(st.sampled_from(_DATASETS))
            names = sorted(rich.butler.get_dataset_type(kind).dimensions.names)
            likely = [*_FIELDS, *(f"{kind}.{field}" for field in _FIELDS)]
            order = data.draw(order_names(rich.butler, names, likely=likely))
            await _check_datasets(snapshot, rich.butler, kind, where, order, first=first)


async def _check_datasets(
    snapshot: Snapshot, butler: Butler, kind: str, where: list[str], order: list[str], *, first: bool
) -> None:
    own = _fields(butler, kind, tuple(where), first=first)

    def theirs() -> Rows:
        with butler.query() as query:
            found = list(query.datasets(kind, where, find_first=first).order_by(*order))
        return _by_uuid([(*keys_of(butler, order, ref.dataId, own[str(ref.id)]), str(ref.id)) for ref in found])

    async def ours(request: PageRequest) -> Page[Any]:
        selection = DatasetSelection(dataset_types=[kind], collections=where, find_first=first)
        [found] = await (await select(snapshot, selection)).pages(snapshot, request, order)
        return found

    await _check(theirs, ours, lambda row: row.uuid)


@pytest.mark.parametrize("collection", ["HSC/calib", "HSC/calib/fallback"])
@pytest.mark.parametrize("kind", ["bias", "flat", "camera"])
@pytest.mark.parametrize("bound", ["{}.timespan.begin", "-{}.timespan.begin", "timespan.end", "-timespan.end"])
async def test_certified_datasets_come_where_the_butler_has_them_first(
    rich: RealRepository, collection: str, kind: str, bound: str
) -> None:
    """Some are certified several times; of their times some have no begin or no end, and one is empty."""
    own = [name for name in ("detector", "physical_filter") if name in rich.butler.get_dataset_type(kind).dimensions]
    order = [bound.format(kind), *own]
    found = list(rich.butler.registry.queryDatasetAssociations(kind, collection))
    found.sort(key=lambda one: [one.ref.dataId[name] for name in own])
    is_end = bound.endswith("end")
    found.sort(key=lambda one: one.timespan.nsec[is_end] if one.timespan else 0, reverse=bound.startswith("-"))
    expected = list(dict.fromkeys(str(one.ref.id) for one in found))
    if rich.dialect == "sqlite" or not is_end:
        # Elsewhere the Butler takes a timespan without an end for one that ends before all others.
        with rich.butler.query() as query:
            refs = list(query.datasets(kind, collection, find_first=False).order_by(*order))
        assert list(dict.fromkeys(str(ref.id) for ref in refs)) == expected
    async with snapshot_of(rich) as snapshot:
        sets = await select(snapshot, DatasetSelection(dataset_types=[kind], collections=[collection]))

        async def read(request: PageRequest) -> Page[Any]:
            [page] = await sets.pages(snapshot, request, order)
            return page._replace(rows=[dataset.uuid for dataset in page.rows])

        assert await walk(read, 100) == expected
        assert await walk(read, 1) == expected
        assert await walk(read, 2, backward=True) == expected


async def test_an_order_is_judged_by_what_is_asked_for_and_not_by_what_is_there(rich: RealRepository) -> None:
    async with snapshot_of(rich) as snapshot:
        # There is no calexp in the first, and nothing at all in the second.
        for where in ("HSC/raw/all", "u/bob/never"):
            sets = await select(snapshot, DatasetSelection(dataset_types=["calexp", "raw"], collections=[where]))
            [page] = await sets.pages(snapshot, PageRequest(100), ["calexp.run", "detector"])
            assert [len(page.rows)] == await sets.counts(snapshot, [0])
            with pytest.raises(InvalidExpressionError):
                await sets.pages(snapshot, PageRequest(100), ["coadd.run"])


def _by_uuid(rows: Rows) -> Rows:
    """Put those that nothing else tells apart in the order of their UUIDs, as we do."""
    return [
        row for _, alike in groupby(rows, key=lambda row: row[:-1]) for row in sorted(alike, key=lambda row: row[-1])
    ]


@cache
def _fields(butler: Butler, kind: str, where: tuple[str, ...], *, first: bool) -> Mapping[str, Mapping[str, Any]]:
    """Give the own fields of each dataset, by its UUID."""
    with butler.query() as query:
        joined = query.join_dataset_search(kind, where)
        dimensions = butler.get_dataset_type(kind).dimensions
        rows = list(joined.general(dimensions, dataset_fields={kind: set(_FIELDS)}, find_first=first))
    return {str(row[f"{kind}.dataset_id"]): {field: row[f"{kind}.{field}"] for field in _FIELDS} for row in rows}
