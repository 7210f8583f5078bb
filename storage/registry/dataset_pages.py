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
from typing import Any, NamedTuple, overload

import sqlalchemy as sa

from butlerql.storage.dialect import Dialect, raw
from butlerql.storage.errors import AmbiguousCalibrationError
from butlerql.storage.registry.collections import CollectionType
from butlerql.storage.registry.datasets import Dataset
from butlerql.storage.registry.page_filling import fill
from butlerql.storage.registry.pages import Key, Page, PageRequest, check_key, cut_page
from butlerql.storage.registry.ranges import Filter, Part, Source, TableGroup, Wanted, groups_of
from butlerql.storage.snapshot import Snapshot

__all__ = ["dataset_pages"]

_ROWS = 4_000
"""Rows that may be read beyond what the pages hold."""

_FEWEST = 4
"""So few ranges are read in full at once, and so few rows of a range are worth a first look."""


_Row = sa.Row[*tuple[Any, ...]]
"""Parent, place and rank of a dataset, its UUID as the driver gives it, and the required values of its data ID."""


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


class _Bound(NamedTuple):
    """Where a page begins or ends within a dataset type: data ID, and UUID unless only the first found counts."""

    key: Key
    forward: bool


class _Read(NamedTuple):
    """What a statement must give."""

    rows: int
    backward: bool
    wanted: Wanted
    bounds: Sequence[_Bound]


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


def _datasets(dialect: Dialect, part: Part, rows: Sequence[_Row]) -> list[Dataset]:
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
) -> dict[tuple[int, int], Sequence[_Row]]:
    """Read up to a page's worth of rows of each part, by parent and place, in the order of the request."""
    bounded: dict[str, list[_Bound]] = {}
    for key, forward in ((request.after, True), (request.before, False)):
        if key is not None:
            bounded.setdefault(key[0], []).append(_Bound(key[1:], forward))
    result: dict[tuple[int, int], Sequence[_Row]] = {}
    for name in (*bounded, None):
        bounds = bounded[name] if name is not None else ()
        ask = _Read(request.limit + 1, request.backward, wanted, bounds)
        chosen = [
            part for part in batch if (part.dataset_type.name if part.dataset_type.name in bounded else None) == name
        ]
        for group in groups_of(snapshot.repository, chosen, filters):
            rows = await _rows(snapshot, group, ask)
            if len(group.parts) == 1:
                result[group.parts[0][:2]] = rows
            else:
                result |= {place: list(some) for place, some in groupby(rows, key=itemgetter(0, 1))}
    return result


async def _rows(snapshot: Snapshot, group: TableGroup, ask: _Read) -> Sequence[_Row]:
    """Read what a group of parts has to give to the pages: in full up to the end of each page."""
    single = len({part.parent for part in group.parts}) == 1
    few = max(_FEWEST, _ROWS // group.size)
    if group.size <= _FEWEST or few >= ask.rows:
        return await _distinct(snapshot, [(source, ask.rows) for source in group.sources()], ask, single=single)
    seen = await _fetch(snapshot, [(source, few) for source in group.sources()], ask, None)
    exhausted = _exhausted(seen, few, ask)
    if not exhausted:
        return _deduplicated(seen, group, ask)
    full = group.sources("long_ranges", lambda part, rank: (part.parent, part.place, rank) in exhausted)
    rest = group.sources("ranges", lambda part, rank: (part.parent, part.place, rank) not in exhausted)
    sources = [(source, ask.rows) for source in full] + [(source, few) for source in rest]
    return await _distinct(snapshot, sources, ask, single=single)


def _exhausted(seen: Sequence[_Row], few: int, ask: _Read) -> set[tuple[int, int, int]]:
    """Collections of which more rows may lie before the end of their parent's page than were read."""
    found: set[tuple[int, int, int]] = set()
    read: dict[tuple[int, int, int], int] = {}
    for _, rows in groupby(seen, key=itemgetter(0)):
        size, last = 0, None
        for row in rows:
            identity = (row[1], row[4:], row[3] if ask.wanted is Wanted.DATASETS else None)
            if identity != last:
                size, last = size + 1, identity
                if size > ask.rows:
                    break
            place = (row[0], row[1], row[2])
            read[place] = read.get(place, 0) + 1
            # A part that names several data IDs has as many ranges in one collection: together they bound each.
            if read[place] >= few:
                found.add(place)
    return found


async def _distinct(
    snapshot: Snapshot, sources: Sequence[tuple[Source, int]], ask: _Read, *, single: bool
) -> Sequence[_Row]:
    """Read rows and drop what is there twice; where that leaves too little, read more at once."""
    if not sources:
        return []
    group = sources[0][0].group
    once = ask.wanted is Wanted.DATASETS and group.disjoint
    # Runs that shadow each other seldom have more than a tenth in common.
    limit = (ask.rows if once else ask.rows + max(_SPARE, ask.rows // 8)) if single else None
    while True:
        rows = await _fetch(snapshot, sources, ask, limit)
        kept = _deduplicated(rows, group, ask)
        if limit is None or len(rows) < limit or len(kept) >= ask.rows:
            return kept
        limit *= 4


async def _fetch(
    snapshot: Snapshot, sources: Sequence[tuple[Source, int]], ask: _Read, limit: int | None
) -> Sequence[_Row]:
    """Run the statement: the first rows of each range, merged in the order of the request."""
    single = limit is not None and len(sources[0][0].group.parts) == 1
    few = sum(source.size for source, _ in sources) <= _FEWEST
    if single and few and snapshot.repository.dialect.merges:
        selects = [_range(one, ask) for source, _ in sources for one in source.apart()]
    else:
        selects = [_first_rows(source, most, ask) for source, most in sources]
    merged = sa.union_all(*selects).subquery() if len(selects) > 1 else selects[0].subquery()
    parent, place, rank, uuid, *values = merged.c
    down = sa.desc if ask.backward else sa.asc
    order = [*map(down, values), down(uuid) if ask.wanted is Wanted.DATASETS else rank]
    if not single:
        # SQLite would not see that this is the order of its index.
        order = [parent, down(place), *order]
    statement = sa.select(parent, place, rank, raw(uuid), *values).order_by(*order)
    return await snapshot.rows(statement if limit is None else statement.limit(limit))


def _first_rows(source: Source, most: int, ask: _Read) -> sa.Select[Any]:
    """Select at most so many rows of each range of a source."""

    def first_rows(table: sa.FromClause) -> sa.Select[Any]:
        values = [table.c[name] for name in source.group.dimensions.required]
        order = [*values, table.c.dataset_id] if source.certified else values
        ordered = [column.desc() if ask.backward else column.asc() for column in order]
        return _wanted_rows(source, table, ask).order_by(*ordered).limit(most)

    joined, table, conditions = source.dialect.top_rows(source.ranges, source.table, first_rows)
    return sa.select(*_columns(source, table)).select_from(joined).where(*conditions)


def _range(source: Source, ask: _Read) -> sa.Select[Any]:
    """Select the rows of a range by itself."""
    table = source.table.alias()
    return _wanted_rows(source, table, ask).add_columns(*_columns(source, table))


def _wanted_rows(source: Source, table: sa.FromClause, ask: _Read) -> sa.Select[Any]:
    values = [table.c[name] for name in source.group.dimensions.required]
    rows = source.rows(table).where(*_between(values, table.c.dataset_id, ask))
    if source.certified and ask.wanted is not Wanted.FIRST:
        rows = rows.where(source.first_certification(table, ask.wanted))
    return rows


def _columns(source: Source, table: sa.FromClause) -> list[sa.ColumnElement[Any]]:
    of_range = [source.values[name].label(name) for name in ("parent", "place", "rank")]
    return [*of_range, table.c.dataset_id, *(table.c[name] for name in source.group.dimensions.required)]


def _between(
    values: Sequence[sa.ColumnElement[Any]], uuid: sa.ColumnElement[str], ask: _Read
) -> list[sa.ColumnElement[bool]]:
    """Conditions of the bounds, in a form that an index on the values serves."""
    conditions: list[sa.ColumnElement[bool]] = []
    for bound, forward in ask.bounds:
        check_key(bound, [*(value.type for value in values), uuid.type])
        *key, last = bound
        beyond = ">" if forward else "<"
        if not values:
            conditions.append(
                sa.false() if ask.wanted is not Wanted.DATASETS else uuid.op(beyond, is_comparison=True)(last)
            )
            continue
        columns = sa.tuple_(*values)
        limit = sa.tuple_(*(sa.literal(value, column.type) for value, column in zip(key, values, strict=True)))
        if ask.wanted is not Wanted.DATASETS:
            conditions.append(columns.op(beyond, is_comparison=True)(limit))
        else:
            conditions.append(columns.op(f"{beyond}=", is_comparison=True)(limit))
            inside = uuid > last if forward else uuid < last
            conditions.append(sa.or_(*(column != value for column, value in zip(values, key, strict=True)), inside))
    return conditions


def _deduplicated(rows: Sequence[_Row], group: TableGroup, ask: _Read) -> Sequence[_Row]:
    """Keep each dataset once, or the first found of each data ID."""
    if ask.wanted is Wanted.DATASETS and group.disjoint:
        return rows
    kept: list[_Row] = []
    part: tuple[int, int] | None = None
    for row in rows:
        if (row[0], row[1]) != part:
            part, last = (row[0], row[1]), None
        values = row[4:]
        if last is None or values != last[4:]:
            last = row
            kept.append(row)
        elif ask.wanted is Wanted.DATASETS:
            if row[3] != last[3]:
                last = row
                kept.append(row)
        elif ask.wanted is Wanted.FIRST and row[2] == last[2]:
            raise _ambiguous(group, row)
    return kept


def _ambiguous(group: TableGroup, row: _Row) -> AmbiguousCalibrationError:
    part = next(part for part in group.parts if (part.parent, part.place) == (row[0], row[1]))
    data_id = dict(zip(group.dimensions.required, row[4:], strict=True))
    return AmbiguousCalibrationError(
        f"Collection '{part.collections[row[2]].name}' has several certified datasets of type "
        f"'{part.dataset_type.name}' for {data_id}. Give a timespan (findDataset), or do not ask for the first only."
    )
