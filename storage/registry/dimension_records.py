"""Records of dimension elements: by data ID, and page by page."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from itertools import repeat
from typing import Any, NamedTuple

import sqlalchemy as sa

from butlerql.storage.registry import combination_pages
from butlerql.storage.registry.data_id_values import DataId, expand
from butlerql.storage.registry.data_ids import DataIdConditions, wanted
from butlerql.storage.registry.keyed_records import Key, read_records, remember_implied
from butlerql.storage.registry.pages import Page, PageRequest
from butlerql.storage.registry.spatial import pixel_exists, pixel_region
from butlerql.storage.registry.timespans import Timespan
from butlerql.storage.repository import Repository
from butlerql.storage.snapshot import Snapshot
from butlerql.storage.universe import DimensionGroup, Element

__all__ = ["DimensionRecord", "by_keys", "count", "dimensions_of", "of_data_ids", "page"]


class DimensionRecord(NamedTuple):
    """What the registry knows of one value of a dimension, or of one relation among dimensions."""

    element: Element
    data_id: DataId
    columns: tuple[Any, ...]
    """Values of the columns of `column_names`."""
    region: str | None
    """As the registry holds it."""
    timespan: Timespan | None

    @property
    def values(self) -> dict[str, Any]:
        """Columns by name, the Butler's spelling, without region and timespan. A hash is written in hexadecimal."""
        return dict(zip(_column_names(self.element), self.columns, strict=True))


def dimensions_of(element: Element, group: Callable[[Iterable[str]], DimensionGroup]) -> DimensionGroup:
    """Dimensions of the data ID of an element's records."""
    return group((*element.required, *element.implied))


async def page(
    snapshot: Snapshot, element: Element, conditions: DataIdConditions, request: PageRequest
) -> Page[DimensionRecord]:
    """Read a page of an element's records, in the order of their required dimensions.

    Parameters
    ----------
    snapshot
        What to read from.
    element
        Whose records.
    conditions
        What they, or what is related to them, has to fulfil.
    request
        Which page.

    Raises
    ------
    UnsupportedJoinError
        Raised if dimensions cannot be related, or if nothing lists the pixels that are asked for.
    """
    group = dimensions_of(element, snapshot.repository.universe.group)
    if conditions.is_impossible:
        conditions.check(snapshot.repository, group, element)
        return Page([], [], has_next=False, has_previous=False)
    asked = wanted(snapshot, group, conditions, element)
    if asked.records is None:
        found = await combination_pages.page(snapshot, asked, request)
        records = await by_keys(snapshot, element, found.rows)
        return Page([records[key] for key in found.rows], found.keys, found.has_next, found.has_previous)
    read = await combination_pages.page_of_records(
        snapshot, asked, request, partial(_columns, snapshot.repository, element)
    )
    size = len(read.rows[0]) - len(asked.order) if read.rows else 0
    rows = [tuple(row)[:size] for row in read.rows]
    remember_implied(snapshot, element, _column_names(element), rows)
    records = await _made(snapshot, element, rows)
    return Page(list(records.values()), read.keys, read.has_next, read.has_previous)


async def count(snapshot: Snapshot, element: Element, conditions: DataIdConditions) -> int:
    """Count what `page` goes through."""
    if conditions.is_impossible:
        return 0
    group = dimensions_of(element, snapshot.repository.universe.group)
    return await combination_pages.count(snapshot, wanted(snapshot, group, conditions, element))


async def of_data_ids(snapshot: Snapshot, element: Element, data_ids: Sequence[DataId]) -> list[DimensionRecord | None]:
    """Find the record of an element for each data ID; None if there is none, or the data ID lacks its dimensions."""
    keys = [
        data_id.key_of(element) if set(element.required) <= set(data_id.dimensions.names) else None
        for data_id in data_ids
    ]
    found = await by_keys(snapshot, element, {key for key in keys if key is not None})
    return [None if key is None else found.get(key) for key in keys]


async def by_keys(snapshot: Snapshot, element: Element, keys: Iterable[Key]) -> dict[Key, DimensionRecord]:
    """Read records by their required dimensions; what does not exist is left out.

    One statement for the records that were not read before in the snapshot, and one for each element that they imply
    something by; none for pixels, whose records are computed.
    """
    known: dict[Key, DimensionRecord] = snapshot.cache.setdefault(("records of", element.name), {})
    missing = [key for key in set(keys).difference(known) if None not in key]
    if missing and element.is_skypix:
        for key in missing:
            if pixel_exists(element, key[0]):
                group = snapshot.repository.universe.group([element.name])
                region = base64.b64encode(pixel_region(element, key[0]).encode()).decode()
                known[key] = DimensionRecord(element, DataId(group, key), key, region, None)
    elif missing:
        known |= await _read(snapshot, element, missing)
    return known


async def _read(snapshot: Snapshot, element: Element, keys: Sequence[Key]) -> dict[Key, DimensionRecord]:
    found = await read_records(snapshot, element, keys, "record", partial(_columns, snapshot.repository, element))
    return await _made(snapshot, element, list(found.values()))


def _columns(repository: Repository, element: Element, table: sa.FromClause) -> list[sa.ColumnElement[Any]]:
    """Give the columns of a record, as `_made` takes them."""
    found: list[sa.ColumnElement[Any]] = [table.c[name] for name in _column_names(element)]
    if element.spatial is not None:
        found.append(table.c.region)
    if element.temporal is not None:
        found += repository.dialect.timespan(table, "timespan")
    return found


async def _made(snapshot: Snapshot, element: Element, rows: Sequence[Key]) -> dict[Key, DimensionRecord]:
    """Make records of rows, in their order."""
    if not rows:
        return {}
    names = _column_names(element)
    group = dimensions_of(element, snapshot.repository.universe.group)
    columns = list(zip(*rows, strict=True))
    own = columns[: len(names)]
    for column in (*element.keys, *element.metadata):
        if column.type == "hash":
            place = names.index(column.name)
            own[place] = tuple(None if value is None else base64.b64decode(value).hex() for value in own[place])
    of_dimension = {name: own[names.index(element.column_of(name))] for name in (*element.required, *element.implied)}
    required = zip(*map(of_dimension.__getitem__, group.required), strict=True)
    data_ids = await expand(snapshot, [(group, key) for key in required])
    regions: Iterable[str | None] = columns[len(names)] if element.spatial is not None else repeat(None)
    timespans: Iterable[Timespan | None] = repeat(None)
    if element.temporal is not None:
        timespans = map(Timespan.from_columns, *columns[-2:])
    records = map(DimensionRecord, repeat(element), data_ids, zip(*own, strict=True), regions, timespans)
    keys = zip(*map(of_dimension.__getitem__, element.required), strict=True)
    return dict(zip(keys, records, strict=True))


@cache
def _column_names(element: Element) -> list[str]:
    """Columns of the table in its order, but for region and timespan."""
    own = (element.column_of(name) for name in (*element.required, *element.implied))
    return [*own, *(column.name for column in (*element.keys[1:], *element.metadata))]
