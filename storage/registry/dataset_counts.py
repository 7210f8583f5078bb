"""How many datasets there are, and whether there are any."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import sqlalchemy as sa

from butlerql.storage.registry.dataset_rows import Read
from butlerql.storage.registry.looked_rows import looked_rows
from butlerql.storage.registry.ranges import Filter, Part, Source, TableGroup, Wanted, groups_of
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
            key = source.key and ("existing", source.key)
            statement = snapshot.repository.statements.get(key, partial(_existing, source.shape))
            found.update((parent, place) for parent, place in await snapshot.rows(statement, source.parameters))
    return found


def _existing(source: Source) -> sa.Select[Any]:
    rows = source.rows(source.table.alias()).add_columns(sa.literal(1)).correlate(source.ranges)
    ranges = source.ranges
    return sa.select(ranges.c.parent, ranges.c.place).where(rows.exists()).distinct()


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
        sources = group.sources()
        keys = tuple(source.key for source in sources)
        statement = snapshot.repository.statements.get(
            ("counts", keys, wanted, once) if all(keys) else None,
            partial(_counts, [source.shape for source in sources], wanted, once=once),
        )
        parameters = {name: value for source in sources for name, value in source.parameters.items()}
        for parent, count in await snapshot.rows(statement, parameters):
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


def _counts(sources: Sequence[Source], wanted: Wanted, *, once: bool) -> sa.Select[Any]:
    selects = []
    for source in sources:
        rows, ranges = source.table.alias(), source.ranges
        dimensions = [rows.c[name] for name in source.group.dimensions.required]
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
    return sa.select(entries.c.parent, sa.func.count()).group_by(entries.c.parent)


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
