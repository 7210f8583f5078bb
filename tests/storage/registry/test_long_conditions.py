"""Conditions of ten thousand terms, and of a hundred thousand values, mean what short ones mean."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from butlerql.storage.registry import data_ids
from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.registry.selection import DatasetSelection, select
from butlerql.storage.registry.where import Where
from butlerql.storage.snapshot import Snapshot
from tests.support.repositories import RealRepository
from tests.support.snapshots import snapshot_of

_TERMS, _VALUES = range(10_000), range(102, 100_102)


async def _data_ids(snapshot: Snapshot, where: Where) -> list[Any]:
    group = snapshot.repository.universe.group(["visit", "detector"])
    found = await data_ids.find_conditions(snapshot, group, where=where)
    page = await data_ids.page(snapshot, group, found, PageRequest(1_000))
    assert await data_ids.count(snapshot, group, found) == len(page.rows)
    return page.rows


async def _datasets(snapshot: Snapshot, where: Where) -> list[Any]:
    sets = await select(snapshot, DatasetSelection(dataset_types=["calexp"], collections=["chain/all"], where=where))
    [page] = await sets.pages(snapshot, PageRequest(1_000))
    assert await sets.counts(snapshot, [0]) == [len(page.rows)]
    return page.rows


_Ask = Callable[[Snapshot, Where], Awaitable[list[Any]]]

_LONG: Mapping[str, tuple[_Ask, str, dict[str, Any], str]] = {
    "and": (_datasets, " AND ".join(f"visit != {n + 102}" for n in _TERMS), {}, "visit < 102"),
    "or": (_datasets, " OR ".join(f"visit = {n + 102}" for n in _TERMS), {}, "visit > 101"),
    "or of pairs": (
        _data_ids,
        " OR ".join(f"(visit = {n + 102} AND detector < {n + 1})" for n in _TERMS[:5_000]),
        {},
        "detector < visit - 101",
    ),
    "listed": (_datasets, f"visit IN ({', '.join(map(str, _VALUES))})", {}, "visit > 101"),
    "bound": (_data_ids, "visit IN (numbers)", {"numbers": list(_VALUES)}, "visit > 101"),
}


@pytest.mark.parametrize("name", _LONG)
async def test_long_conditions_mean_what_short_ones_do(rich: RealRepository, name: str) -> None:
    ask, text, bind, short = _LONG[name]
    async with snapshot_of(rich) as snapshot:
        wanted = await ask(snapshot, Where(f"instrument = 'HSC' AND {short}"))
        assert len(wanted) > 1
        assert await ask(snapshot, Where(f"instrument = 'HSC' AND ({text})", bind)) == wanted
