"""Where and when data IDs are is what the Butler says."""

from __future__ import annotations

import pytest

from butlerql.storage.registry import extents
from butlerql.storage.registry.data_id_values import expand
from butlerql.storage.registry.timespans import Timespan
from tests.support.repositories import RealRepository
from tests.support.snapshots import snapshot_of, statements_of

_GROUPS = [
    *(("visit",), ("visit", "detector"), ("exposure",), ("exposure", "visit"), ("day_obs",), ("tract",), ("patch",)),
    *(
        ("visit", "patch"),
        ("visit", "detector", "tract"),
        ("visit", "htm7"),
        ("instrument",),
        ("detector", "day_obs"),
        (),
    ),
]


@pytest.mark.parametrize("names", _GROUPS)
async def test_regions_and_timespans_are_the_butlers(rich: RealRepository, names: tuple[str, ...]) -> None:
    with rich.butler.query() as query:
        expected = [rich.butler.registry.expandDataId(one) for one in query.data_ids(names)]
    async with snapshot_of(rich) as snapshot:
        group = snapshot.repository.universe.group(names)
        data_ids = await expand(snapshot, [(group, tuple(one[name] for name in group.required)) for one in expected])
        regions = await extents.regions(snapshot, data_ids)
        timespans = await extents.timespans(snapshot, data_ids)
    assert expected
    for one, region, timespan in zip(expected, regions, timespans, strict=True):
        assert (one.region is None) == (region is None)
        assert region is None or one.region is None or region.encode() == one.region.encode()
        assert timespan == (None if one.timespan is None else Timespan.from_columns(*one.timespan.nsec))


async def test_one_statement_for_all(rich: RealRepository) -> None:
    async with snapshot_of(rich) as snapshot:
        group = snapshot.repository.universe.group(["visit"])
        data_ids = await expand(snapshot, [(group, ("HSC", visit)) for visit in (101, 102, 103, 987_654)])
        for function in (extents.regions, extents.timespans):
            with statements_of(snapshot) as statements:
                found = await function(snapshot, data_ids)
                await function(snapshot, data_ids[:2])
            assert len(statements) == 1
            assert [one is None for one in found] == [False, False, False, True]
