"""Pages of datasets: by dataset type, data ID and UUID, or by data ID alone where only the first found counts.

A page costs what it holds. Each range of the index gives at most a page's worth of rows. Where there are many ranges,
first a few rows of each are read, which tells where the page must end, and then only the ranges that had more before
that point are read on.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import groupby, repeat
from operator import itemgetter
from typing import Any, overload

from butlerql.storage.dialect import Dialect
from butlerql.storage.registry.collections import CollectionType
from butlerql.storage.registry.dataset_rows import FEWEST, Bound, Read, Row, deduplicated, fetch
from butlerql.storage.registry.datasets import Dataset
from butlerql.storage.registry.looked_rows import looked_rows
from butlerql.storage.registry.page_filling import fill
from butlerql.storage.registry.pages import Key, Page, PageRequest, cut_page
from butlerql.storage.registry.ranges import Filter, Part, Source, TableGroup, Wanted, groups_of
from butlerql.storage.snapshot import Snapshot

__all__ = ["dataset_pages"]

_ROWS = 4_000
"""Rows that may be read beyond what the pages hold."""

_SPARE = 32
"""Rows that are read beyond a page at least, where some may be there twice."""


class DatasetKeys(Sequence[Key]):
    """Keys of datasets in a page: name of the type, required values, UUID. They are made when a cursor is."""

    def __init__(self, datasets: Sequence[Dataset]) -> None:
        self._datasets = datasets

    def __len__(self) -> int:
        return len(self._datasets)

    @overload
    def __getitem__(self, index: int) -> Key: ...
    @overload
    def __getitem__(self, index: slice) -> DatasetKeys: ...
    def __getitem__(self, index: int | slice) -> Key | DatasetKeys:
        if isinstance(index, slice):
            return DatasetKeys(self._datasets[index])
        dataset = self._datasets[index]
        return (dataset.dataset_type.name, *dataset.data_id, dataset.uuid)


async def dataset_pages(
    snapshot: Snapshot,
    parts: Sequence[Part],
    parents: int,
    request: PageRequest,
    *,
    wanted: Wanted = Wanted.DATASETS,
    filters: Sequence[Filter] = (),
) -> list[Page[Dataset]]:
    """Read the same page of the datasets of each of several parents.

    Parameters
    ----------
    snapshot
        What to read from.
    parts
        Where to look; no two of a parent have the same place.
    parents
        How many there are.
    request
        Which page. Its keys are the name of a dataset type, the required values of a data ID, and a UUID.
    wanted
        What of the datasets that are found counts.
    filters
        More conditions, which act before ranking.

    Raises
    ------
    BadCursorError
        Raised if a key of the request names a dataset type that is not there, or is none of such a page.
    AmbiguousCalibrationError
        Raised if several certifications of one data ID are found first.
    """

    async def read(batch: Sequence[Part]) -> dict[tuple[int, int], list[Dataset]]:
        rows = await _read(snapshot, batch, request, wanted=wanted, filters=filters)
        dialect = snapshot.repository.dialect
        return {part[:2]: _datasets(dialect, part, rows[part[:2]]) for part in batch if part[:2] in rows}

    return [_page(datasets, request) for datasets in await fill(snapshot, parts, parents, request, read)]


def _datasets(dialect: Dialect, part: Part, rows: Sequence[Row]) -> list[Dataset]:
    """Make datasets of rows, tens of thousands at a time: by columns, and without a call of Python each."""
    if not rows:
        return []
    runs = [collection.key if collection.type is CollectionType.RUN else None for collection in part.collections]
    _, _, ranks, uuids, *values = zip(*rows, strict=True)
    data_ids = zip(*values, strict=True) if values else repeat(())
    columns = zip(dialect.uuids(uuids), repeat(part.dataset_type), data_ids, map(runs.__getitem__, ranks))
    return list(map(partial(tuple.__new__, Dataset), columns))


def _page(found: list[Dataset], request: PageRequest) -> Page[Dataset]:
    more = len(found) > request.limit
    kept = found[: request.limit]
    if request.backward:
        kept.reverse()
    return cut_page(kept, DatasetKeys(kept), request, more=more)


async def _read(
    snapshot: Snapshot, batch: Sequence[Part], request: PageRequest, *, wanted: Wanted, filters: Sequence[Filter]
) -> dict[tuple[int, int], Sequence[Row]]:
    """Read up to a page's worth of rows of each part, by parent and place, in the order of the request."""
    bounded: dict[str, list[Bound]] = {}
    for key, forward in ((request.after, True), (request.before, False)):
        if key is not None:
            bounded.setdefault(key[0], []).append(Bound(key[1:], forward))
    result: dict[tuple[int, int], Sequence[Row]] = {}
    for name in (*bounded, None):
        bounds = bounded[name] if name is not None else ()
        ask = Read(int(request.limit) + 1, request.backward, wanted, bounds)
        chosen = [
            part for part in batch if (part.dataset_type.name if part.dataset_type.name in bounded else None) == name
        ]
        for group in groups_of(snapshot.repository, chosen, filters):
            if group.looks:
                result |= {part[:2]: await _looked(snapshot, group, part, ask) for part in group.parts}
                continue
            rows = await _rows(snapshot, group, ask)
            if len(group.parts) == 1:
                result[group.parts[0][:2]] = rows
            else:
                result |= {place: list(some) for place, some in groupby(rows, key=itemgetter(0, 1))}
    return result


async def _looked(snapshot: Snapshot, group: TableGroup, part: Part, ask: Read) -> Sequence[Row]:
    """Read a page's worth of rows of a part whose regions have to be looked at."""
    found: list[Row] = []
    async for rows in looked_rows(snapshot, group, part, ask):
        found += rows
        if len(found) >= ask.rows:
            break
    return found[: ask.rows]


async def _rows(snapshot: Snapshot, group: TableGroup, ask: Read) -> Sequence[Row]:
    """Read what a group of parts has to give to the pages: in full up to the end of each page."""
    single = len({part.parent for part in group.parts}) == 1
    few = max(FEWEST, (_ROWS + 2 * ask.rows) // group.size)
    if group.size <= FEWEST or few >= ask.rows or group.is_complete:
        return await _distinct(snapshot, [(source, ask.rows) for source in group.sources()], ask, single=single)
    seen = await fetch(snapshot, [(source, few) for source in group.sources()], ask, None)
    exhausted = _exhausted(seen, few, ask, group)
    if not exhausted:
        return deduplicated(seen, group, ask)
    full = group.sources("long_ranges", lambda part, rank: (part.parent, part.place, rank) in exhausted)
    rest = group.sources("ranges", lambda part, rank: (part.parent, part.place, rank) not in exhausted)
    sources = [(source, ask.rows) for source in full] + [(source, few) for source in rest]
    return await _distinct(snapshot, sources, ask, single=single)


def _exhausted(seen: Sequence[Row], few: int, ask: Read, group: TableGroup) -> set[tuple[int, int, int]]:
    """Collections of which more rows may lie before the end of their parent's page than were read."""
    found: set[tuple[int, int, int]] = set()
    read: dict[tuple[Any, ...], int] = {}
    # A part that names several data IDs has as many ranges in one collection. Those that their rows do not tell from
    # each other bound each together.
    required = group.dimensions.required
    telling = [4 + required.index(name) for name in group.constrained if name in required]
    range_of = itemgetter(0, 1, 2, *telling)
    for _, rows in groupby(seen, key=itemgetter(0)):
        size, last = 0, None
        for row in rows:
            identity = (row[1], row[4:], row[3] if ask.wanted is Wanted.DATASETS else None)
            if identity != last:
                size, last = size + 1, identity
                if size > ask.rows:
                    break
            place = range_of(row)
            read[place] = read.get(place, 0) + 1
            if read[place] >= few:
                found.add(place[:3])
    return found


async def _distinct(
    snapshot: Snapshot, sources: Sequence[tuple[Source, int]], ask: Read, *, single: bool
) -> Sequence[Row]:
    """Read rows and drop what is there twice; where that leaves too little, read more at once."""
    if not sources:
        return []
    group = sources[0][0].group
    once = ask.wanted is Wanted.DATASETS and group.disjoint
    # Runs that shadow each other seldom have more than a tenth in common.
    limit = (ask.rows if once else ask.rows + max(_SPARE, ask.rows // 8)) if single else None
    while True:
        rows = await fetch(snapshot, sources, ask, limit)
        kept = deduplicated(rows, group, ask)
        if limit is None or len(rows) < limit or len(kept) >= ask.rows:
            return kept
        limit *= 4
