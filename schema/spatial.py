"""Regions on the sky."""

from __future__ import annotations

import strawberry

__all__ = ["Region"]


@strawberry.type
class Region:
    """A region on the sky."""

    ra: float = strawberry.field(
        description="Right ascension of the centre of the circle that bounds it, ICRS degrees."
    )
    dec: float = strawberry.field(description="Declination of the centre of the circle that bounds it, ICRS degrees.")
    radius: float = strawberry.field(description="Circle that bounds it, degrees.")
    stcs: str = strawberry.field(description="IVOA POLYGON/CIRCLE string, ICRS degrees.")
    vertices: list[list[float]] | None = strawberry.field(
        description="Vertices as pairs of right ascension and declination, ICRS degrees; null if it is no polygon."
    )
    kind: str = strawberry.field(description="What it is: `ConvexPolygon`, `Circle`, ...")
