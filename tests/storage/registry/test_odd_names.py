"""Texts come in the order of the database, by bytes or by a locale, and no page loses any of them or has it twice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from lsst.daf.butler import Butler, DatasetType

from butlerql.storage.registry import collections, data_ids, dimension_records
from butlerql.storage.registry.collections import CollectionSelection
from butlerql.storage.registry.pages import Page, PageRequest
from butlerql.storage.registry.selection import DatasetSelection, select
from tests.support.paging import walk
from tests.support.repositories import Content, Layout, RealRepository, Repositories
from tests.support.snapshots import snapshot_of

_NAMES = ["a", "B", "é", "Z", "_x", "a b", "ab", "A", "e", "É", "a-b", "ž", "100%", "ae", "æ"]
_LAYOUTS = [Layout("sqlite"), Layout("postgresql"), Layout("postgresql", icu_locale="en-US")]


def _fill(butler: Butler, outside: Path) -> None:
    butler.registry.insertDimensionData("instrument", {"name": "Cam", "class_name": "nowhere.Cam"})
    filters = [{"instrument": "Cam", "name": name, "band": name[::-1]} for name in _NAMES]
    butler.registry.insertDimensionData("physical_filter", *filters)
    names = butler.dimensions.conform(["physical_filter"])
    for kind in ("sky", "sea"):
        butler.registry.registerDatasetType(DatasetType(kind, names, "StructuredDataDict"))
    for name, other in zip(_NAMES, reversed(_NAMES), strict=True):
        butler.collections.register(name)
        for kind in ("sky", "sea"):
            butler.registry.insertDatasets(kind, [{"instrument": "Cam", "physical_filter": other}], run=name)


_ODD_NAMES = Content("odd names", _fill)


@pytest.fixture(scope="module", params=_LAYOUTS, ids=str)
def odd(request: pytest.FixtureRequest, repositories: Repositories) -> RealRepository:
    """Give the repository of odd names on each database, and where texts are ordered by a locale."""
    return repositories.shared(_ODD_NAMES, request.param)


async def _check(read: Callable[[PageRequest], Awaitable[Page[Any]]], name: Callable[[Any], str], wanted: Any) -> None:
    for size, backward in ((2, False), (4, True)):
        assert [name(row) for row in await walk(read, size, backward=backward)] == wanted


def test_a_locale_orders_as_bytes_do_not(odd: RealRepository) -> None:
    by_bytes = sorted(_NAMES, key=str.encode)
    assert (_filters(odd, "physical_filter") == by_bytes) is (odd.layout.icu_locale is None)


def _filters(odd: RealRepository, *order: str) -> list[str]:
    with odd.butler.query() as query:
        return [str(one["physical_filter"]) for one in query.data_ids(["physical_filter"]).order_by(*order)]


@pytest.mark.parametrize("order", [[], ["-physical_filter"], ["band"], ["-physical_filter.band"]])
async def test_data_ids_and_records(odd: RealRepository, order: list[str]) -> None:
    wanted = _filters(odd, *(order or ["physical_filter"]))
    async with snapshot_of(odd) as snapshot:
        group = snapshot.repository.universe.group(["physical_filter"])
        element = snapshot.repository.universe.element("physical_filter")
        found = await data_ids.find_conditions(snapshot, group, order_by=order)

        async def read(request: PageRequest) -> Page[Any]:
            return await data_ids.page(snapshot, group, found, request)

        async def read_records(request: PageRequest) -> Page[Any]:
            return await dimension_records.page(snapshot, element, found, request)

        await _check(read, lambda row: row.required[-1], wanted)
        await _check(read_records, lambda row: row.data_id.required[-1], wanted)


@pytest.mark.parametrize("order", [[], ["run"], ["-collection"]])
@pytest.mark.parametrize("types", [["sky"], ["sky", "sea"]])
async def test_datasets(odd: RealRepository, types: list[str], order: list[str]) -> None:
    wanted = []
    for name in types if order else sorted(types):
        with odd.butler.query() as query:
            found = query.datasets(name, _NAMES, find_first=False).order_by(*(order or ["physical_filter"]))
            wanted.append([str(ref.id) for ref in found])
    async with snapshot_of(odd) as snapshot:
        sets = await select(snapshot, DatasetSelection(dataset_types=types, collections=_NAMES))

        async def read(request: PageRequest) -> Page[Any]:
            return (await sets.pages(snapshot, request, order))[0]

        whole = [row.uuid for row in await walk(read, 100)]
        # Of several types, those of each are in its order.
        assert [[uuid for uuid in whole if uuid in some] for some in wanted] == wanted
        assert len(whole) == len(types) * len(_NAMES)
        await _check(read, lambda row: row.uuid, whole)


async def test_collections(odd: RealRepository) -> None:
    async with snapshot_of(odd) as snapshot:

        async def read(request: PageRequest) -> Page[Any]:
            return await collections.page(snapshot, CollectionSelection(), request)

        # They are named as the filters are.
        await _check(read, lambda row: row.name, _filters(odd, "physical_filter"))
