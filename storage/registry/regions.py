"""Regions of records."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from lsst.sphgeom import Region

from butlerql.storage.registry.keyed_records import Key, select_records
from butlerql.storage.registry.spatial import decode_base64, pixel_exists, pixel_region
from butlerql.storage.snapshot import Snapshot
from butlerql.storage.universe import Element

__all__ = ["regions_of"]


async def regions_of(snapshot: Snapshot, element: Element, keys: Iterable[Key]) -> dict[Key, Region | None]:
    """Read regions by the required dimensions of their records; None where there is no record, or none in it.

    One statement for all that was not read before in the snapshot; none for pixels.
    """
    known: dict[Key, Region | None] = snapshot.cache.setdefault(("regions of", element.name), {})
    missing = list(set(keys).difference(known))
    if missing and element.is_skypix:
        for key in missing:
            known[key] = pixel_region(element, cast("int", key[0])) if pixel_exists(element, key[0]) else None
    elif missing:
        known |= dict.fromkeys(missing)
        region = snapshot.repository.tables.element(element).c.region
        for *values, encoded in await snapshot.rows(select_records(snapshot, element, missing).add_columns(region)):
            known[tuple(values)] = None if encoded is None else decode_base64(encoded)
    return known
