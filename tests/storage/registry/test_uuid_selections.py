"""Datasets that are selected by their UUIDs."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.registry.selection import DatasetSelection, select
from tests.support.repositories import RealRepository
from tests.support.snapshots import snapshot_of


@pytest.mark.parametrize("repeated", [1, 3])
@pytest.mark.parametrize("collections", [None, ["u/alice/run1", "u/alice/run2"], ["*"]])
async def test_each_is_found_once(rich: RealRepository, repeated: int, collections: Sequence[str] | None) -> None:
    """Though several have the same data ID in different runs, and however often one is named."""
    refs = set(rich.butler.query_datasets("calexp", ["u/alice/run1", "u/alice/run2"], find_first=False))
    assert len({ref.dataId for ref in refs}) < len(refs)
    uuids = [str(ref.id) for ref in refs] * repeated
    async with snapshot_of(rich) as snapshot:
        sets = await select(snapshot, DatasetSelection(uuids=uuids, collections=collections))
        [page] = await sets.pages(snapshot, PageRequest(1_000))
        assert sorted(dataset.uuid for dataset in page.rows) == sorted(str(ref.id) for ref in refs)
        assert await sets.counts(snapshot, [0]) == [len(refs)]
