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
    "decode",
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


def decode(encoded: bytes) -> sphgeom.Region:
    """Decode a region."""
    return sphgeom.Region.decode(encoded)


def decode_base64(encoded: str) -> sphgeom.Region:
    """Decode a region as the registry holds it."""
    return sphgeom.Region.decodeBase64(encoded)


def describe(region: sphgeom.Region) -> Region | None:
    """Put a region into words and numbers; None if it is empty."""
    circle = region.getBoundingCircle()
    radius = circle.getOpeningAngle().asDegrees()
    if radius < 0:
        return None
    ra, dec = _degrees(circle.getCenter())
    vertices = None
    if isinstance(region, sphgeom.ConvexPolygon):
        vertices = [[*_degrees(vertex)] for vertex in region.getVertices()]
    return Region(type(region).__name__, ra, dec, radius, f"{_name(region)} ICRS {_content(region)}", vertices)


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
    place = sphgeom.LonLat(vector)
    return place.getLon().asDegrees() % 360.0, place.getLat().asDegrees()


def _name(region: sphgeom.Region) -> str:
    names = {
        sphgeom.ConvexPolygon: "POLYGON",
        sphgeom.Circle: "CIRCLE",
        sphgeom.Ellipse: "ELLIPSE",
        sphgeom.Box: "POSITIONINTERVAL",
        sphgeom.UnionRegion: "UNION",
        sphgeom.IntersectionRegion: "INTERSECTION",
    }
    return names[type(region)]


def _content(region: sphgeom.Region) -> str:
    """Numbers of a region as STC-S wants them, without its name and frame."""
    if isinstance(region, sphgeom.CompoundRegion):
        parts = [region.cloneOperand(index) for index in range(region.nOperands())]
        return f"( {' '.join(f'{_name(part)} {_content(part)}' for part in parts)} )"
    if isinstance(region, sphgeom.ConvexPolygon):
        numbers = [number for vertex in region.getVertices() for number in _degrees(vertex)]
    elif isinstance(region, sphgeom.Circle):
        numbers = [*_degrees(region.getCenter()), region.getOpeningAngle().asDegrees()]
    elif isinstance(region, sphgeom.Box):
        # STC-S has no other way to say "between two latitudes".
        lon, lat = region.getLon(), region.getLat()
        numbers = [angle.asDegrees() for angle in (lon.getA(), lat.getA(), lon.getB(), lat.getB())]
    else:
        return str(region.to_ivoa_stcs()).partition(" ICRS ")[2]
    return " ".join(map(repr, numbers))
