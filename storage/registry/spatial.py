"""Regions of the sky, and the pixels that it is divided into."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache, reduce
from typing import NamedTuple

from lsst import sphgeom

from butlerql.storage.errors import UnsupportedRepositoryError
from butlerql.storage.universe import Element

__all__ = [
    "Region",
    "decode_base64",
    "describe",
    "intersection",
    "pixel_exists",
    "pixel_region",
    "pixelization",
]

_SYSTEMS: dict[str, Callable[[int], sphgeom.PixelizationABC]] = {
    "htm": sphgeom.HtmPixelization,
    "healpix": sphgeom.HealpixPixelization,
    "mq3c": sphgeom.Mq3cPixelization,
    "q3c": sphgeom.Q3cPixelization,
}


class Region(NamedTuple):
    """A region of the sky in words and numbers; degrees, ICRS."""

    kind: str
    """Name of the class of ``lsst.sphgeom``."""
    ra: float
    """Right ascension of the centre of the bounding circle, 0 to 360."""
    dec: float
    radius: float
    """Radius of the bounding circle."""
    stcs: str
    """The region itself as an IVOA STC-S string."""
    vertices: list[list[float]] | None
    """Corners of a polygon, pairs of right ascension and declination; None for other kinds."""


def decode_base64(encoded: str) -> sphgeom.Region:
    """Decode a region as the registry holds it."""
    return sphgeom.Region.decodeBase64(encoded)


def describe(region: sphgeom.Region) -> Region | None:
    """Put a region into words and numbers; None if it is empty."""
    kind = type(region).__name__
    if isinstance(region, sphgeom.Circle) and not region.isEmpty():
        # Read off the text, as the vertices below: to ask for them takes several times as long.
        stcs = _stcs(region)
        ra, dec, radius = map(float, stcs.removeprefix("CIRCLE ICRS ").split())
        return Region(kind, ra % 360.0, dec, radius, stcs, None)
    circle = region.getBoundingCircle()
    radius = circle.getOpeningAngle().asDegrees()
    if radius < 0:
        return None
    ra, dec = _degrees(circle.getCenter())
    stcs = _stcs(region)
    vertices = None
    if isinstance(region, sphgeom.ConvexPolygon):
        # Asking for the vertices one by one takes a hundred times as long.
        numbers = list(map(float, stcs.removeprefix("POLYGON ICRS ").split()))
        vertices = list(map(list, zip(numbers[::2], numbers[1::2], strict=True)))
    return Region(kind, ra, dec, radius, stcs, vertices)


def intersection(regions: Iterable[sphgeom.Region]) -> sphgeom.Region:
    """Intersect regions, at least one."""
    return reduce(sphgeom.IntersectionRegion, regions)


@cache
def pixelization(name: str) -> sphgeom.PixelizationABC:
    """Make the division of the sky that a skypix dimension stands for (``htm7``).

    Raises
    ------
    UnsupportedRepositoryError
        Raised if the system is not known.
    """
    match = re.fullmatch(r"([a-z]+\d*[a-z]+)(\d+)", name)
    if match is None or match[1] not in _SYSTEMS:
        raise UnsupportedRepositoryError(f"The division of the sky '{name}' is not known here.")
    return _SYSTEMS[match[1]](int(match[2]))


def pixel_exists(element: Element, index: object) -> bool:
    """Whether a skypix dimension has a pixel of this number."""
    return isinstance(index, int) and index >= 0 and index in pixelization(element.name).universe()


def pixel_region(element: Element, index: int) -> sphgeom.Region:
    """Region of a pixel that exists."""
    region: sphgeom.Region = pixelization(element.name).pixel(index)
    return region


def _degrees(vector: sphgeom.UnitVector3d) -> tuple[float, float]:
    # To make a LonLat of it takes twice as long.
    lon, lat = sphgeom.LonLat.longitudeOf(vector), sphgeom.LonLat.latitudeOf(vector)
    return lon.asDegrees() % 360.0, lat.asDegrees()


def _stcs(region: sphgeom.Region) -> str:
    try:
        return str(region.to_ivoa_stcs()).upper()
    except NotImplementedError:
        # A box, or something with one in it: STC-S can say "between two latitudes", but the library does not.
        name, _, content = _parts(region).partition(" ")
        return f"{name} ICRS {content}"


def _parts(region: sphgeom.Region) -> str:
    """Write a region without its frame."""
    if isinstance(region, sphgeom.Box):
        lon, lat = region.getLon(), region.getLat()
        numbers = [angle.asDegrees() for angle in (lon.getA(), lat.getA(), lon.getB(), lat.getB())]
        return " ".join(["POSITIONINTERVAL", *map(repr, numbers)])
    if isinstance(region, sphgeom.CompoundRegion):
        operands = [_parts(region.cloneOperand(index)) for index in range(region.nOperands())]
        return f"{'UNION' if isinstance(region, sphgeom.UnionRegion) else 'INTERSECTION'} ( {' '.join(operands)} )"
    return _stcs(region).replace(" ICRS ", " ")
