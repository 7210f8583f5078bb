"""Looking at regions: the last word where pixels only say that two may overlap."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any

from lsst import sphgeom

from butlerql.storage.registry.conditions import Look
from butlerql.storage.registry.extents import regions_of
from butlerql.storage.registry.keyed_records import Key
from butlerql.storage.snapshot import Snapshot
from butlerql.storage.statements import Slot
from butlerql.storage.universe import Element

__all__ = ["elements_of", "holding"]


def elements_of(looks: Iterable[Look]) -> list[Element]:
    """List the elements whose regions are looked at, each once."""
    return list(dict.fromkeys(element for look in looks for element in look.elements))


async def holding(snapshot: Snapshot, looks: Sequence[Look], columns: Mapping[str, Sequence[Any]]) -> list[bool]:
    """Tell for which rows all regions overlap that have to.

    One statement an element for the regions that were not read before in the snapshot.

    Parameters
    ----------
    snapshot
        What to read from.
    looks
        Which regions have to overlap.
    columns
        Values of the dimensions of those elements, one a row.
    """
    regions: dict[Element, list[sphgeom.Region | None]] = {}
    for element in elements_of(looks):
        keys: list[Key] = list(zip(*(columns[name] for name in element.required), strict=True))
        known = await regions_of(snapshot, element, keys)
        regions[element] = list(map(known.__getitem__, keys))
    each = []
    for element, other in looks:
        assert not isinstance(other, Slot)
        others = regions[other] if isinstance(other, Element) else repeat(other, len(regions[element]))
        each.append(map(_overlap, regions[element], others))
    return list(map(all, zip(*each, strict=True)))


def _overlap(first: sphgeom.Region | None, second: sphgeom.Region | None) -> bool:
    """Whether two regions overlap; what cannot be told counts, as with the Butler."""
    return first is not None and second is not None and first.overlaps(second) is not False
