"""Datasets that match a data ID: the definition, applied to everything that the Butler lists."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st
from lsst.daf.butler import Butler, DataCoordinate, DatasetRef, Timespan

from butlerql.storage.registry.data_id_values import resolve
from butlerql.storage.registry.dataset_counts import existing
from butlerql.storage.registry.matching import DataIdMatch, matching_datasets
from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.snapshot import Snapshot
from tests.support.repositories import RealRepository
from tests.support.snapshots import snapshot_of, statements_of

DATA_IDS: list[dict[str, Any]] = [
    {},
    {"instrument": "HSC"},
    {"instrument": "HSC", "detector": 0},
    {"instrument": "HSC", "visit": 101},
    {"instrument": "HSC", "visit": 102, "detector": 1},
    {"instrument": "HSC", "exposure": 101},
    {"instrument": "HSC", "exposure": 103, "detector": 0},
    {"instrument": "HSC", "exposure": 101, "visit": 101},
    {"instrument": "HSC", "physical_filter": "HSC-R"},
    {"instrument": "HSC", "physical_filter": "HSC-R", "detector": 1},
    {"instrument": "Žofie-Cam", "visit": 101, "detector": 0},
    {"band": "r"},
    {"skymap": "rings µ", "tract": 0, "patch": 0, "band": "r"},
    {"skymap": "rings µ", "tract": 0},
    {"htm7": 131072},
    {"instrument": "HSC", "visit": 101, "htm7": 131072},
]
_COLLECTIONS = [
    ["chain/all"],
    ["u/alice/run2", "u/alice/run1"],
    ["HSC/calib"],
    ["chain/calib", "tag/best"],
    ["HSC/calib/run"],
    ["chain/empty"],
]


class _Member(NamedTuple):
    """A dataset in a collection, and when it is valid there."""

    ref: DatasetRef
    data_id: DataCoordinate
    timespan: Timespan | None


@cache
def _members(butler: Butler, collections: tuple[str, ...]) -> list[_Member]:
    return [
        _Member(found.ref, butler.registry.expandDataId(found.ref.dataId), found.timespan)
        for kind in butler.registry.queryDatasetTypes()
        for found in butler.registry.queryDatasetAssociations(kind, collections, flattenChains=True)
        if found.ref is not None
    ]


def _matches(
    butler: Butler, member: _Member, data_id: DataCoordinate, match: DataIdMatch, *, dimensionless: bool
) -> bool:
    theirs, ours = member.data_id.dimensions, data_id.dimensions
    if not theirs.names:
        return dimensionless or not ours.names
    fits = {
        DataIdMatch.EXACT: set(theirs.names) == set(ours.names),
        DataIdMatch.CONTAINING: set(ours.names) <= set(theirs.names),
        DataIdMatch.WITHIN: set(theirs.required) <= set(ours.names),
    }[match]
    if not fits or any(
        member.data_id.mapping[name] != data_id.mapping[name] for name in set(theirs.names) & set(ours.names)
    ):
        return False
    return member.timespan is None or data_id.timespan is None or member.timespan.overlaps(data_id.timespan)


@given(data=st.data())
async def test_rich_repository(data: st.DataObject, rich: RealRepository) -> None:
    butler = rich.butler
    async with snapshot_of(rich) as snapshot:
        for _ in range(4):
            chosen = data.draw(st.lists(st.sampled_from(DATA_IDS), min_size=1, max_size=3, unique_by=str))
            collections = data.draw(st.sampled_from(_COLLECTIONS))
            match = data.draw(st.sampled_from([DataIdMatch.EXACT, DataIdMatch.CONTAINING, DataIdMatch.WITHIN]))
            dimensionless = data.draw(st.booleans())
            await _hold(snapshot, butler, chosen, collections, match, dimensionless=dimensionless)


async def _hold(
    snapshot: Snapshot,
    butler: Butler,
    chosen: list[dict[str, Any]],
    collections: list[str],
    match: DataIdMatch,
    *,
    dimensionless: bool,
) -> None:
    data_ids = [await resolve(snapshot, values) for values in chosen]
    assert None not in data_ids
    sets = await matching_datasets(
        snapshot,
        [data_id for data_id in data_ids if data_id is not None],
        collections=collections,
        names=["*"],
        match=match,
        include_dimensionless=dimensionless,
    )
    pages = await sets.pages(snapshot, PageRequest(1000))
    holding = await existing(snapshot, sets.parts)
    members = _members(butler, tuple(collections))
    for parent, (values, page) in enumerate(zip(chosen, pages, strict=True)):
        whole = butler.registry.expandDataId(**values) if values else DataCoordinate.make_empty(butler.dimensions)
        expected = {
            (member.ref.datasetType.name, str(member.ref.id))
            for member in members
            if _matches(butler, member, whole, match, dimensionless=dimensionless)
        }
        found = [(dataset.dataset_type.name, dataset.uuid) for dataset in page.rows]
        assert len(found) == len(set(found))
        assert set(found) == expected
        types = {part.dataset_type.name for part in sets.parts if part.parent == parent and part[:2] in holding}
        assert types == {name for name, _ in expected}


async def test_statements_do_not_grow(rich: RealRepository) -> None:
    async with snapshot_of(rich) as snapshot:
        data_ids = [await resolve(snapshot, values) for values in DATA_IDS[2:5] * 20]

        async def statements(count: int) -> int:
            with statements_of(snapshot) as seen:
                sets = await matching_datasets(
                    snapshot,
                    [data_id for data_id in data_ids[:count] if data_id is not None],
                    collections=["chain/all"],
                    names=["*"],
                    match=DataIdMatch.CONTAINING,
                    include_dimensionless=False,
                )
                await sets.pages(snapshot, PageRequest(5))
                await existing(snapshot, sets.parts)
            return len(seen)

        await statements(3)
        assert await statements(60) <= await statements(3)
