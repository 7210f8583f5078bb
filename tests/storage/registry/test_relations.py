"""Datasets related to a data ID through relationships and overlap: the Butler's ``query_all_datasets``."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from lsst.daf.butler import Butler
from lsst.daf.butler._exceptions import ButlerUserError

from butlerql.storage.registry.data_id_values import resolve
from butlerql.storage.registry.dataset_counts import existing
from butlerql.storage.registry.matching import DataIdMatch, matching_datasets
from butlerql.storage.registry.pages import PageRequest
from tests.storage.registry.test_matching import DATA_IDS
from tests.support.repositories import RealRepository
from tests.support.snapshots import snapshot_of

_COLLECTIONS = [["chain/all"], ["HSC/calib"], ["chain/calib", "tag/best"], ["HSC/calib/run"]]


@pytest.mark.parametrize("collections", _COLLECTIONS, ids=" ".join)
@pytest.mark.parametrize("values", DATA_IDS, ids=str)
async def test_related(values: dict[str, Any], collections: list[str], rich: RealRepository) -> None:
    expected, unrelated = _asked(rich.butler, values, collections)
    async with snapshot_of(rich) as snapshot:
        data_id = await resolve(snapshot, values)
        assert data_id is not None
        sets = await matching_datasets(
            snapshot,
            [data_id],
            collections=collections,
            names=["*"],
            match=DataIdMatch.RELATED,
            include_dimensionless=True,
        )
        [page] = await sets.pages(snapshot, PageRequest(1000))
        found: dict[str, set[str]] = {}
        for dataset in page.rows:
            found.setdefault(dataset.dataset_type.name, set()).add(dataset.uuid)
        assert found.keys() == expected.keys()
        for name, uuids in found.items():
            assert uuids >= expected[name]
            # Of several certified datasets of one data ID the Butler, if it has to drop repetitions, keeps any one.
            places = _places(rich.butler, name, tuple(collections))
            assert {places[uuid] for uuid in uuids} == {places[uuid] for uuid in expected[name]}
        assert set(sets.unrelated) == unrelated
        [count] = await sets.counts(snapshot, [0])
        assert count == len(page.rows)
        holding = await existing(snapshot, sets.parts)
        assert {part.dataset_type.name for part in sets.parts if part[:2] in holding} == expected.keys()


@cache
def _places(butler: Butler, name: str, collections: tuple[str, ...]) -> dict[str, Any]:
    """Data ID of each dataset, and the calibration collections that hold it; a dataset in no other is on its own."""
    places: dict[str, Any] = {}
    for found in butler.registry.queryDatasetAssociations(name, collections, flattenChains=True):
        is_certified = found.timespan is not None
        places[str(found.ref.id)] = found.ref.dataId if is_certified else found.ref.id
    return places


def _asked(butler: Butler, values: dict[str, Any], collections: list[str]) -> tuple[dict[str, set[str]], set[str]]:
    """Ask the Butler for each dataset type on its own: it refuses the whole question where it cannot relate one."""
    found: dict[str, set[str]] = {}
    unrelated: set[str] = set()
    for kind in butler.registry.queryDatasetTypes():
        try:
            with butler.query() as query:
                refs = list(query.where(values).datasets(kind.name, collections, find_first=False))
        except ButlerUserError:
            unrelated.add(kind.name)
        else:
            if refs:
                found[kind.name] = {str(ref.id) for ref in refs}
    return found, unrelated
