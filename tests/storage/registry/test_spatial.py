"""Regions are described as they are."""

from __future__ import annotations

import base64

import pytest
from lsst import sphgeom

from butlerql.storage.errors import UnsupportedRepositoryError
from butlerql.storage.registry.spatial import decode_base64, describe, intersection, pixelization
from tests.support.rich_dimensions import circle, square


def test_a_polygon_has_its_corners() -> None:
    region = describe(square(359.9, 10, 0.5))
    assert region is not None
    assert region.kind == "ConvexPolygon"
    assert (region.ra, region.dec) == (pytest.approx(359.9), pytest.approx(10, abs=1e-2))
    assert region.radius == pytest.approx(0.7, abs=0.01)
    assert region.vertices is not None
    assert [value for vertex in region.vertices for value in vertex] == pytest.approx(
        [359.4, 9.5, 0.4, 9.5, 0.4, 10.5, 359.4, 10.5]
    )
    assert region.stcs.startswith("POLYGON ICRS 359.")
    numbers = [float(number) for number in region.stcs.split()[2:]]
    assert numbers == [value for vertex in region.vertices for value in vertex]


def test_a_circle_is_its_own_bounding_circle() -> None:
    region = describe(circle(10, -5, 2))
    assert region is not None
    assert region == ("Circle", pytest.approx(10), pytest.approx(-5), pytest.approx(2), region.stcs, None)
    assert [float(number) for number in region.stcs.removeprefix("CIRCLE ICRS ").split()] == pytest.approx([10, -5, 2])


def test_other_kinds_have_a_string_too() -> None:
    box = sphgeom.Box(sphgeom.LonLat.fromDegrees(10, -1), sphgeom.LonLat.fromDegrees(20, 1))
    both = intersection([square(10, 0, 1), circle(10, 0, 0.5)])
    with_box = describe(intersection([both, box]))
    assert with_box is not None
    words = [word for word in with_box.stcs.split() if word.isalpha()]
    assert words == ["INTERSECTION", "ICRS", "POLYGON", "CIRCLE", "POSITIONINTERVAL"]
    center = sphgeom.UnitVector3d(sphgeom.LonLat.fromDegrees(10, 0))
    ellipse = sphgeom.Ellipse(center, *(sphgeom.Angle.fromDegrees(angle) for angle in (1, 2, 30)))
    found = {type(region): describe(region) for region in (box, both, ellipse)}
    assert [one and one.kind for one in found.values()] == ["Box", "IntersectionRegion", "Ellipse"]
    assert [one and one.stcs.split(" ICRS ")[0] for one in found.values()] == [
        "POSITIONINTERVAL",
        "INTERSECTION",
        "ELLIPSE",
    ]
    assert [one and one.vertices for one in found.values()] == [None, None, None]
    parts = found[sphgeom.IntersectionRegion]
    assert parts is not None
    assert parts.stcs.count("POLYGON") == parts.stcs.count("CIRCLE") == 1


def test_an_empty_region_is_none() -> None:
    assert describe(sphgeom.Circle.empty()) is None
    assert describe(sphgeom.Box.empty()) is None


def test_what_the_registry_holds_is_read_back() -> None:
    region = square(10, 0, 1)
    assert decode_base64(base64.b64encode(region.encode()).decode()) == region


def test_pixels_have_systems_and_levels() -> None:
    assert pixelization("htm7").universe() == sphgeom.RangeSet(2**17, 2**18)
    assert pixelization("healpix9").universe() == sphgeom.RangeSet(0, 12 * 4**9)
    with pytest.raises(UnsupportedRepositoryError):
        pixelization("tiles7")
