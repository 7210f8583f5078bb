"""Whether few data IDs stand for a condition, and in which way, changes nothing of the answer."""

from __future__ import annotations

import pytest

from butlerql.storage.registry import settling
from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.registry.selection import DatasetSelection, select
from butlerql.storage.registry.where import Where
from tests.support.repositories import RealRepository
from tests.support.snapshots import snapshot_of

_WHERE = ["chain/all", "HSC/calib"]
_HERE = "instrument = 'HSC'"
_QUESTIONS = [
    ("calexp", f"{_HERE} AND visit IN (101, 102, 104) AND detector IN (0..1)"),
    ("calexp", f"{_HERE} AND visit.exposure_time > 10.0"),
    ("calexp", f"{_HERE} AND band = 'r'"),
    ("calexp", f"{_HERE} AND band = 'r' AND detector > 0 AND run = 'u/alice/run1'"),
    ("calexp", f"{_HERE} AND visit IN (101..103) AND visit IN (102, 103, 104)"),
    ("calexp", f"{_HERE} AND visit = 101 AND visit = 102"),
    ("calexp", f"{_HERE} AND (visit = 101 OR detector = 1)"),
    ("calexp", f"{_HERE} AND visit.region OVERLAPS REGION('CIRCLE 9.5 -1 0.7')"),
    ("coadd", f"{_HERE} AND visit = 101 AND skymap != 'no'"),
    ("coadd", "skymap != 'no' AND band = 'g' AND patch < 2"),
    ("raw", f"{_HERE} AND visit IN (101, 102)"),
    ("bias", f"{_HERE} AND detector = 1"),
    ("per_band", "band IN ('g', 'r')"),
]


@pytest.mark.parametrize(("kind", "text"), _QUESTIONS)
@pytest.mark.parametrize("limits", [(1_000, 200, 20), (1_000, 0, 0), (0, 0, 0)], ids=["ranges", "table", "rows"])
async def test_it_changes_nothing(
    rich: RealRepository,
    kind: str,
    text: str,
    limits: tuple[int, int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, limit in zip(("_MOST", "_MOST_RANGES", "_MOST_ROWS"), limits, strict=True):
        monkeypatch.setattr(settling, name, limit)
    with rich.butler.query() as query:
        expected = {str(ref.id) for ref in query.datasets(kind, _WHERE, find_first=False).where(text)}
    async with snapshot_of(rich) as snapshot:
        selection = DatasetSelection(dataset_types=[kind], where=Where(text), collections=_WHERE)
        sets = await select(snapshot, selection)
        [page] = await sets.pages(snapshot, PageRequest(10_000))
        assert {row.uuid for row in page.rows} == expected
        assert await sets.counts(snapshot, [0]) == [len(expected)]
        [first] = await sets.pages(snapshot, PageRequest(2))
        assert [row.uuid for row in first.rows] == [row.uuid for row in page.rows[:2]]
        if not first.rows:
            return
        [rest] = await sets.pages(snapshot, PageRequest(10_000, after=first.keys[-1]))
        assert [row.uuid for row in rest.rows] == [row.uuid for row in page.rows[len(first.rows) :]]
