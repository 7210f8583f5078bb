"""Questions that differ in their values are answered by the same statements, each by its own values."""

from __future__ import annotations

from typing import Any

import pytest

from butlerql.storage.registry import data_ids, dimension_records
from butlerql.storage.registry.dataset_counts import existing
from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.registry.selection import DatasetSelection, select
from butlerql.storage.registry.where import Where
from butlerql.storage.snapshot import Snapshot
from butlerql.storage.statements import Statements
from tests.support.repositories import RealRepository
from tests.support.snapshots import snapshot_of

_HERE = "instrument = 'HSC'"
_RUNS = ["chain/all"]
_TEMPLATES = {
    "calexp": [
        (_HERE + " AND visit = {} AND detector IN (0..{})", [(101, 0), (101, 1), (102, 1), (104, 0), (999, 1)]),
        (_HERE + " AND visit IN ({}, {})", [(101, 102), (102, 104), (103, 103), (1, 2)]),
        (_HERE + " AND visit.exposure_time > {} AND detector < {}", [(10.0, 1), (30.0, 2), (1e9, 2), (-1.5, 1)]),
        (_HERE + " AND (visit.exposure_time < {} OR band = '{}')", [(30.0, "r"), (-1.0, "g"), (-1.0, "r")]),
        (_HERE + " AND visit.timespan.begin > T'{}'", [("2000-01-01",), ("2100-01-01",), ("2013-06-17T13:30:00",)]),
        (
            _HERE + " AND visit.timespan OVERLAPS (T'{}', T'{}')",
            [("2000-01-01", "2099-01-01"), ("2000-01-01", "2000-01-02"), ("2013-01-01", "2014-01-01")],
        ),
        (
            _HERE + " AND visit.region OVERLAPS REGION('CIRCLE {} {} {}')",
            [(9.5, -1, 0.7), (9.5, -1, 3), (200, 45, 1), (10.5, -1, 0.7)],
        ),
        (_HERE + " AND NOT (detector = {}) AND visit > {}", [(0, 100), (1, 101), (0, 103)]),
        (_HERE + " AND visit % {} = 0 AND visit IN ({}..{}:2)", [(2, 100, 104), (1, 101, 103), (3, 101, 103)]),
        (_HERE + " AND run = '{}'", [("u/alice/run1",), ("u/alice/run2",), ("no",)]),
    ],
    "coadd": [
        ("skymap != '{}' AND band = '{}' AND patch < {}", [("no", "g", 2), ("no", "r", 1), ("x", "r", 2)]),
        (_HERE + " AND visit = {} AND skymap != 'no'", [(101,), (102,), (103,)]),
    ],
}


@pytest.mark.parametrize("kind", _TEMPLATES)
async def test_datasets(rich: RealRepository, kind: str) -> None:
    async with snapshot_of(rich) as snapshot:
        for template, values in _TEMPLATES[kind]:
            for some in values:
                for find_first in (False, True):
                    await _check_datasets(snapshot, rich, kind, template.format(*some), find_first=find_first)


async def _check_datasets(snapshot: Snapshot, rich: RealRepository, kind: str, text: str, *, find_first: bool) -> None:
    with rich.butler.query() as query:
        expected = {str(ref.id) for ref in query.datasets(kind, _RUNS, find_first=find_first).where(text)}
    selection = DatasetSelection(dataset_types=[kind], where=Where(text), collections=_RUNS, find_first=find_first)
    sets = await select(snapshot, selection)
    [page] = await sets.pages(snapshot, PageRequest(100))
    uuids = [row.uuid for row in page.rows]
    assert set(uuids) == expected, text
    assert len(uuids) == len(expected)
    for place, after in enumerate(page.keys, start=1):
        [rest] = await sets.pages(snapshot, PageRequest(2, after=after))
        assert [row.uuid for row in rest.rows] == uuids[place : place + 2], text
    assert await sets.counts(snapshot, [0]) == [len(expected)], text
    assert bool(await existing(snapshot, sets.parts)) is bool(expected), text


async def test_data_ids_and_records(rich: RealRepository) -> None:
    async with snapshot_of(rich) as snapshot:
        for template, values in _TEMPLATES["calexp"]:
            for some in () if "run =" in template else values:
                await _check_data_ids_and_records(snapshot, rich, template.format(*some))


async def _check_data_ids_and_records(snapshot: Snapshot, rich: RealRepository, text: str) -> None:
    universe = snapshot.repository.universe
    group, visit = universe.group(["visit", "detector"]), universe.element("visit")
    with rich.butler.query() as query:
        wanted = query.where(text).join_dataset_search("calexp", _RUNS)
        expected = {tuple(each.required_values) for each in wanted.data_ids(["visit", "detector"])}
        records = {each.id for each in query.where(text).dimension_records("visit")}
    conditions = await data_ids.find_conditions(snapshot, group, types=["calexp"], collections=_RUNS, where=Where(text))
    page = await data_ids.page(snapshot, group, conditions, PageRequest(100))
    assert {one.required for one in page.rows} == expected, text
    assert await data_ids.count(snapshot, group, conditions) == len(expected)
    of_visit = await data_ids.find_conditions(
        snapshot, dimension_records.dimensions_of(visit, universe.group), where=Where(text)
    )
    found = await dimension_records.page(snapshot, visit, of_visit, PageRequest(100))
    assert {one.values["id"] for one in found.rows} == records, text


@pytest.mark.parametrize("order", [None, ["-visit.timespan.begin"]], ids=["by key", "by time"])
async def test_values_of_data_ids(rich: RealRepository, order: list[str] | None) -> None:
    async with snapshot_of(rich) as snapshot:
        group = snapshot.repository.universe.group(["visit", "detector"])
        for values in ({"visit": 101}, {"visit": 104}, {"visit": 5}, {"band": "r"}, {"band": "g"}, {"band": "no"}):
            data_id = {"instrument": "HSC", **values}
            with rich.butler.query() as query:
                wanted = query.join_dataset_search("calexp", _RUNS).where(data_id)
                expected = {tuple(each.required_values) for each in wanted.data_ids(["visit", "detector"])}
                refs = {str(ref.id) for ref in query.datasets("calexp", _RUNS, find_first=False).where(data_id)}
            conditions = await data_ids.find_conditions(
                snapshot, group, types=["calexp"], collections=_RUNS, values=data_id, order_by=order
            )
            page = await data_ids.page(snapshot, group, conditions, PageRequest(100))
            assert {one.required for one in page.rows} == expected, data_id
            for place, after in enumerate(page.keys, start=1):
                rest = await data_ids.page(snapshot, group, conditions, PageRequest(100, after=after))
                assert rest.rows == page.rows[place:]
            selection = DatasetSelection(dataset_types=["calexp"], data_id=data_id, collections=_RUNS)
            [found] = await (await select(snapshot, selection)).pages(snapshot, PageRequest(100), order)
            assert {row.uuid for row in found.rows} == refs, data_id


async def test_nothing_is_put_together_twice(rich: RealRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    get = Statements.get

    def noting(statements: Statements, shape: Any, make: Any) -> Any:
        def noted() -> Any:
            made.append(shape)
            return make()

        return get(statements, shape, noted)

    monkeypatch.setattr(Statements, "get", noting)

    async def ask(snapshot: Snapshot, visit: int, time: float) -> None:
        text = f"{_HERE} AND visit IN ({visit}, 104) AND visit.exposure_time > {time}"
        selection = DatasetSelection(dataset_types=["calexp", "raw"], where=Where(text), related=True)
        sets = await select(snapshot, selection)
        assert await sets.pages(snapshot, PageRequest(10))

    async with snapshot_of(rich) as snapshot:
        await ask(snapshot, 101, 1.0)
        assert made
        made.clear()
        await ask(snapshot, 102, 2.5)
        assert not made
