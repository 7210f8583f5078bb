"""How many datasets there are, and whether there are any."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from butlerql.storage.registry.dataset_rows import Read
from butlerql.storage.registry.looked_rows import looked_rows
from butlerql.storage.registry.ranges import Filter, Part, TableGroup, Wanted, groups_of
from butlerql.storage.snapshot import Snapshot

__all__ = ["counts", "exceeds", "existing"]


async def existing(snapshot: Snapshot, parts: Iterable[Part]) -> set[tuple[int, int]]:
    """Tell which parts hold anything, by parent and place."""
    found: set[tuple[int, int]] = set()
    for group in groups_of(snapshot.repository, parts):
        if group.looks:
            found.update(
                [part[:2] for part in group.parts if await _looked_count(snapshot, group, part, Wanted.DATASETS, 1)]
            )
            continue
        for source in group.sources():
            rows = source.rows(source.table.alias()).add_columns(sa.literal(1)).correlate(source.ranges)
            ranges = source.ranges
            statement = sa.select(ranges.c.parent, ranges.c.place).where(rows.exists()).distinct()
            found.update((parent, place) for parent, place in await snapshot.rows(statement))
    return found


async def counts(
    snapshot: Snapshot, parts: Iterable[Part], parents: int, wanted: Wanted, filters: Sequence[Filter] = ()
) -> list[int]:
    """Count what is wanted, for each parent."""
    result = [0] * parents
    for group in groups_of(snapshot.repository, parts, filters):
        if group.looks:
            for part in group.parts:
                result[part.parent] += await _looked_count(snapshot, group, part, wanted)
            continue
        once = wanted is Wanted.DATASETS and group.disjoint
        selects = []
        for source in group.sources():
            rows, ranges = source.table.alias(), source.ranges
            dimensions = [rows.c[name] for name in group.dimensions.required]
            columns = [
                ranges.c.parent,
                ranges.c.place,
                *([rows.c.dataset_id] if wanted is Wanted.DATASETS else dimensions),
            ]
            selects.append(source.rows(rows, [source.ranges]).add_columns(*columns))
        # A union of one select alone would not drop anything.
        entries = sa.union_all(*selects).subquery()
        if not once:
            entries = sa.select(*entries.c).distinct().subquery()
        statement = sa.select(entries.c.parent, sa.func.count()).group_by(entries.c.parent)
        for parent, count in await snapshot.rows(statement):
            result[parent] += count
    return result


async def exceeds(snapshot: Snapshot, parts: Iterable[Part], filters: Sequence[Filter], number: int) -> bool:
    """Tell whether parts may hold more than a number of datasets, without going further; or regions to look at."""
    for group in groups_of(snapshot.repository, parts, filters):
        if group.looks:
            return True
        for source in group.sources():
            some = source.rows(source.table.alias(), [source.ranges]).add_columns(sa.literal(1)).limit(number + 1)
            [(count,)] = await snapshot.rows(sa.select(sa.func.count()).select_from(some.subquery()))
            number -= count
            if number < 0:
                return True
    return False


async def _looked_count(
    snapshot: Snapshot, group: TableGroup, part: Part, wanted: Wanted, enough: float = math.inf
) -> int:
    """Count what a part has whose regions have to be looked at, up to where it is enough."""
    count = 0
    async for rows in looked_rows(snapshot, group, part, Read(0, backward=False, wanted=wanted, bounds=())):
        count += len(rows)
        if count >= enough:
            break
    return count
