"""Records of dimension elements: by data ID, and page by page."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

import sqlalchemy as sa

from butlerql.storage.registry import combination_pages
from butlerql.storage.registry.data_id_values import DataId, expand
from butlerql.storage.registry.data_ids import DataIdConditions, wanted
from butlerql.storage.registry.keyed_records import Key, read_records
from butlerql.storage.registry.pages import Page, PageRequest
from butlerql.storage.registry.spatial import pixel_exists, pixel_region
from butlerql.storage.registry.timespans import Timespan
from butlerql.storage.snapshot import Snapshot
from butlerql.storage.universe import DimensionGroup, Element

__all__ = ["DimensionRecord", "by_keys", "count", "dimensions_of", "of_data_ids", "page"]


class DimensionRecord(NamedTuple):
    """What the registry knows of one value of a dimension, or of one relation among dimensions."""

    element: Element
    data_id: DataId
    columns: tuple[Any, ...]
    """Values of the columns of `column_names`."""
    region: bytes | None
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
    found = await combination_pages.page(snapshot, wanted(snapshot, group, conditions, element), request)
    records = await by_keys(snapshot, element, found.rows)
    return Page([records[key] for key in found.rows], found.keys, found.has_next, found.has_previous)


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
                region = pixel_region(element, key[0]).encode()
                known[key] = DimensionRecord(element, DataId(group, key), key, region, None)
    elif missing:
        known |= await _read(snapshot, element, missing)
    return known


async def _read(snapshot: Snapshot, element: Element, keys: Sequence[Key]) -> dict[Key, DimensionRecord]:
    repository = snapshot.repository
    names = _column_names(element)

    def columns(table: sa.FromClause) -> list[sa.ColumnElement[Any]]:
        found: list[sa.ColumnElement[Any]] = [table.c[name] for name in names]
        if element.spatial is not None:
            found.append(table.c.region)
        if element.temporal is not None:
            found += repository.dialect.timespan(table, "timespan")
        return found

    rows = list((await read_records(snapshot, element, keys, "record", columns)).values())
    group = dimensions_of(element, repository.universe.group)
    places = {name: names.index(element.column_of(name)) for name in (*element.required, *element.implied)}
    data_ids = await expand(snapshot, [(group, tuple(row[places[name]] for name in group.required)) for row in rows])
    hashes = [names.index(column.name) for column in (*element.keys, *element.metadata) if column.type == "hash"]
    records = {}
    for row, data_id in zip(rows, data_ids, strict=True):
        values = list(row[: len(names)])
        for place in hashes:
            if values[place] is not None:
                values[place] = base64.b64decode(values[place]).hex()
        region = row[len(names)] if element.spatial is not None else None
        records[tuple(row[places[name]] for name in element.required)] = DimensionRecord(
            element,
            data_id,
            tuple(values),
            None if region is None else base64.b64decode(region),
            None if element.temporal is None else Timespan.from_columns(*row[-2:]),
        )
    return records


@cache
def _column_names(element: Element) -> list[str]:
    """Columns of the table in its order, but for region and timespan."""
    own = (element.column_of(name) for name in (*element.required, *element.implied))
    return [*own, *(column.name for column in (*element.keys[1:], *element.metadata))]
