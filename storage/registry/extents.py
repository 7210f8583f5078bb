"""Where and when: regions and timespans of records, and of data IDs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar, cast

from lsst import sphgeom

from butlerql.storage.registry.data_id_values import DataId
from butlerql.storage.registry.keyed_records import Key, read_records
from butlerql.storage.registry.spatial import decode_base64, intersection, pixel_exists, pixel_region
from butlerql.storage.registry.timespans import EMPTY, Timespan
from butlerql.storage.registry.topology import chosen_elements
from butlerql.storage.snapshot import Snapshot
from butlerql.storage.universe import Element

__all__ = ["regions", "regions_of", "timespans", "timespans_of"]

Extent = TypeVar("Extent")

_KEPT = 50_000
"""Regions that are kept in memory; who goes through more than that does not come back to the first."""


async def regions(snapshot: Snapshot, data_ids: Sequence[DataId]) -> list[sphgeom.Region | None]:
    """Find where data IDs are, each by the most precise element that has a region.

    Where several families of regions apply (a visit and a patch) it is their intersection, as with the Butler. None if
    one of them has no region.
    """
    return await _extents(snapshot, data_ids, "spatial", regions_of, intersection)


async def timespans(snapshot: Snapshot, data_ids: Sequence[DataId]) -> list[Timespan | None]:
    """Find when data IDs were, each by the most precise element that has a timespan; None if it has none."""
    return await _extents(snapshot, data_ids, "temporal", timespans_of, _common)


async def regions_of(snapshot: Snapshot, element: Element, keys: Iterable[Key]) -> dict[Key, sphgeom.Region | None]:
    """Read regions by the required dimensions of their records; None where there is no record, or none in it.

    One statement for all that was not read before in the snapshot; none for pixels.
    """
    known: dict[Key, sphgeom.Region | None] = snapshot.cache.setdefault(("regions of", element.name), {})
    wanted = set(keys)
    if len(known) > _KEPT:
        known.clear()
    missing = list(wanted.difference(known))
    if missing and element.is_skypix:
        for key in missing:
            known[key] = pixel_region(element, cast("int", key[0])) if pixel_exists(element, key[0]) else None
    elif missing:
        known |= dict.fromkeys(missing)
        found = await read_records(snapshot, element, missing, "region", lambda table: [table.c.region])
        known |= {key: encoded and decode_base64(encoded) for key, (encoded,) in found.items()}
    return known


async def timespans_of(snapshot: Snapshot, element: Element, keys: Iterable[Key]) -> dict[Key, Timespan | None]:
    """Read timespans by the required dimensions of their records; None where there is no record, or none in it.

    One statement for all that was not read before in the snapshot.
    """
    known: dict[Key, Timespan | None] = snapshot.cache.setdefault(("timespans of", element.name), {})
    missing = list(set(keys).difference(known))
    if missing:
        known |= dict.fromkeys(missing)
        dialect = snapshot.repository.dialect
        found = await read_records(
            snapshot, element, missing, "timespan", lambda table: dialect.timespan(table, "timespan")
        )
        known |= {key: Timespan.from_columns(*bounds) for key, bounds in found.items()}
    return known


async def _extents(
    snapshot: Snapshot,
    data_ids: Sequence[DataId],
    topology: str,
    read: Callable[[Snapshot, Element, Iterable[Key]], Awaitable[dict[Key, Extent | None]]],
    join: Callable[[Iterable[Extent]], Extent],
) -> list[Extent | None]:
    chosen = {group: chosen_elements(group, topology).values() for group in {one.dimensions for one in data_ids}}
    wanted: dict[Element, set[Key]] = {}
    for data_id in data_ids:
        for element in chosen[data_id.dimensions]:
            wanted.setdefault(element, set()).add(data_id.key_of(element))
    found = {element: await read(snapshot, element, keys) for element, keys in wanted.items()}
    result: list[Extent | None] = []
    for data_id in data_ids:
        parts = [found[element][data_id.key_of(element)] for element in chosen[data_id.dimensions]]
        known = [part for part in parts if part is not None]
        if not parts or len(known) < len(parts):
            result.append(None)
        else:
            result.append(known[0] if len(known) == 1 else join(known))
    return result


def _common(timespans: Iterable[Timespan]) -> Timespan:
    """Intersect timespans."""
    bounds = [timespan.bounds for timespan in timespans]
    common = Timespan.from_columns(max(begin for begin, _ in bounds), min(end for _, end in bounds))
    return common or EMPTY
