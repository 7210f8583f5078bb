"""Rows of datasets of which the database finds too many: regions are looked at, some at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from butlerql.storage.dialect import UuidText
from butlerql.storage.registry.dataset_rows import Bound, Read, Row, deduplicated, fetch
from butlerql.storage.registry.looking import elements_of, holding
from butlerql.storage.registry.ranges import Filter, Part, Source, TableGroup, Wanted, groups_of
from butlerql.storage.registry.selection_filters import uuid_filter
from butlerql.storage.snapshot import Snapshot

__all__ = ["looked_rows", "settled"]

_FIRST = 500
"""Rows that are looked at first; twice as many each time that they were not enough."""

_MOST = 20_000
_ALL = 2**62


async def looked_rows(snapshot: Snapshot, group: TableGroup, part: Part, ask: Read) -> AsyncIterator[Sequence[Row]]:
    """Go through the rows of a part, in the order that was asked for, nothing twice, some at a time.

    Parameters
    ----------
    snapshot
        What to read from.
    group
        Has the part, and regions to look at.
    part
        Where to look.
    ask
        Order and bounds; how many rows are taken is up to the caller.
    """
    group = replace(group, parts=[part], is_timed=part.is_timed)
    sources, dialect = group.sources(), snapshot.repository.dialect
    size = _FIRST
    bounds = ask.bounds
    while sources:
        rows = await fetch(snapshot, [(source, size) for source in sources], ask._replace(rows=size), size)
        is_last = len(rows) < size
        whole = rows if is_last else _whole(rows, ask)
        if whole:
            found = await _overlapping(snapshot, sources, part, whole)
            yield deduplicated(found, group, ask)
            last = whole[-1]
            [uuid] = dialect.uuids([last[3]])
            ask = ask._replace(bounds=[*bounds, Bound((*last[4:], uuid), forward=not ask.backward)])
        if is_last:
            return
        size = min(2 * size, _MOST) if whole else 2 * size


async def settled(snapshot: Snapshot, part: Part, wanted: Wanted, filters: Sequence[Filter]) -> list[TableGroup]:
    """Find the tables of a part, the regions looked at already: what holds is told by UUIDs then.

    Parameters
    ----------
    snapshot
        What to read from.
    part
        Where to look.
    wanted
        What of the datasets that are found counts.
    filters
        More conditions.
    """
    groups = groups_of(snapshot.repository, [part], filters)
    if not groups or not groups[0].looks:
        return groups
    ask = Read(_ALL, backward=False, wanted=wanted, bounds=())
    rows = [row[3] async for some in looked_rows(snapshot, groups[0], part, ask) for row in some]
    uuids = list(snapshot.repository.dialect.uuids(rows))
    own = part.dataset_type.dimensions.names
    known = [{name: value for name, value in data_id.items() if name in own} for data_id in part.data_ids]
    found = part._replace(condition=None, data_ids=known)
    return groups_of(snapshot.repository, [found], [*filters, uuid_filter(snapshot, uuids)])


def _whole(rows: Sequence[Row], ask: Read) -> Sequence[Row]:
    """Leave out the last data ID, or dataset, of which there may be more rows."""
    begin = 3 if ask.wanted is Wanted.DATASETS else 4
    last = rows[-1][begin:]
    return [row for row in rows if row[begin:] != last]


async def _overlapping(snapshot: Snapshot, sources: Sequence[Source], part: Part, rows: Sequence[Row]) -> Sequence[Row]:
    """Keep the rows to which something is related whose regions overlap as they have to."""
    looks = sources[0].group.looks
    elements = elements_of(looks)
    names = [name for element in elements for name in element.required]
    dialect = snapshot.repository.dialect
    uuids = list(dialect.uuids([row[3] for row in rows]))
    columns = {"id": UuidText()}
    wanted = dialect.given("looked_at", columns, [(uuid,) for uuid in uuids])
    kept: set[tuple[Any, ...]] = set()
    for source in sources:

        def statement(source: Source = source.shape) -> sa.Select[Any]:
            table, looked_at = source.table.alias(), dialect.slots("looked_at", columns)
            return source.looked_at(table, elements).where(table.c.dataset_id.in_(sa.select(looked_at.c.id)))

        key = source.key and ("looked at", source.key)
        selected = snapshot.repository.statements.get(key, statement)
        pairs = await snapshot.rows(selected, {**source.parameters, **wanted})
        if not pairs:
            continue
        values = list(zip(*pairs, strict=True))[2:]
        held = await holding(snapshot, looks, dict(zip(names, values, strict=True)))
        kept.update(tuple(pair[:2]) for pair, holds in zip(pairs, held, strict=True) if holds)
    places = (part.collections[row[2]].key for row in rows)
    return [row for row, member in zip(rows, zip(uuids, places, strict=True), strict=True) if member in kept]
