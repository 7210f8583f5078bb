"""Times and regions as the expression language writes them."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from lsst import sphgeom

from butlerql.storage.registry.timespans import MAXIMUM, MINIMUM, Timespan

__all__ = ["box", "circle", "point", "polygon", "region_of_pos", "time_ns", "timespan", "within_range"]

_TIME = re.compile(
    r"""
    (?:(?P<format>\w+)/)?
    (?P<value>
        (?P<number>-?(?:[0-9]+\.[0-9]*|\.[0-9]+))
        | (?P<iso>[0-9]+-[0-9]+-[0-9]+(?:[ T][0-9]+:[0-9]+(?::[0-9]+(?:\.[0-9]*)?)?)?)
        | (?P<fits>\+[0-9]+-[0-9]+-[0-9]+(?:T[0-9]+:[0-9]+:[0-9]+(?:\.[0-9]*)?)?)
        | (?P<yday>[0-9]+:[0-9]+(?::[0-9]+:[0-9]+(?::[0-9]+(?:\.[0-9]*)?)?)?)
    )
    (?:/(?P<scale>\w+))?
    """,
    re.VERBOSE | re.IGNORECASE,
)
_IN_UTC = {"iso", "isot", "fits", "yday", "unix"}
_DAY_NS = 86_400_000_000_000


@lru_cache(maxsize=1024)
def time_ns(text: str) -> int:
    """Read a time: ``[format/]value[/scale]``, format and scale those of astropy.

    Parameters
    ----------
    text
        Without a format, a number with a point is a modified Julian date; ``2013-11-01``, with a time of day or not, is
        ISO; ``2013:305`` is a day of a year. Without a scale, what names days and seconds is UTC, the rest TAI.

    Returns
    -------
    ns
        Nanoseconds TAI since 1970-01-01 TAI, no earlier and no later than the registry can hold.

    Raises
    ------
    ValueError
        Raised if it cannot be read; says why.
    """
    # Python writes a time zone like that.
    match = _TIME.fullmatch(text.replace("+00:00", ""))
    if match is None:
        raise ValueError(
            "it is no time: write T'2013-11-01', T'2013-11-01T10:30:00', T'56597.5' (MJD, TAI), or format/value/scale"
        )
    # It takes a while to load, and most expressions have no times.
    from astropy.time import Time
    from astropy.utils import iers

    kind = (match["format"] or _guessed(match)).lower()
    scale = (match["scale"] or ("utc" if kind in _IN_UTC else "tt" if kind == "cxcsec" else "tai")).lower()
    if kind not in Time.FORMATS:
        raise ValueError(f"there is no time format {kind}")
    if scale not in Time.SCALES:
        raise ValueError(f"there is no time scale {scale}")
    value: Any = match["value"] if match["number"] is None else float(match["value"])
    try:
        # Tables of the Earth's rotation (UT1) are those that astropy brings: nothing is downloaded.
        with warnings.catch_warnings(), iers.conf.set_temp("auto_download", value=False):
            # Of years that are far away.
            warnings.simplefilter("ignore")
            return _nanoseconds(Time(value, format=kind, scale=scale).tai)
    except Exception:  # noqa: BLE001 - astropy raises what its parts raise
        raise ValueError(f"it is no {kind} time on the scale {scale}") from None


def _guessed(match: re.Match[str]) -> str:
    if match["number"] is not None:
        return "mjd"
    if match["iso"] is not None:
        return "isot" if "t" in match["iso"].lower() else "iso"
    return "fits" if match["fits"] is not None else "yday"


def _nanoseconds(time: Any) -> int:
    """Convert an astropy time, rounded as the Butler rounds it."""
    from astropy.time import Time

    since = time - Time(2_440_587.5, format="jd", scale="tai")
    days, rest = divmod(since.jd1, 1)
    return within_range(int(days) * _DAY_NS + round((since.jd2 + rest) * _DAY_NS))


def within_range(ns: int) -> int:
    """Take the nearest instant that the registry can hold."""
    return min(max(ns, MINIMUM), MAXIMUM)


def timespan(begin: int | None, end: int | None) -> Timespan:
    """Make a timespan of two instants, as the Butler does: None is unbounded.

    One that ends before it begins is empty, one that ends as it begins lasts a nanosecond.

    Raises
    ------
    ValueError
        Raised if it lies wholly where the registry holds no times.
    """
    first = MINIMUM if begin is None else within_range(begin)
    last = MAXIMUM if end is None else within_range(end)
    if first == last:
        last += 1
        if first == MINIMUM or last >= MAXIMUM:
            raise ValueError("the timespan lies before 1970 or after 2099, where the registry holds no times")
    made = Timespan.from_columns(first, last)
    assert made is not None
    return made


def point(ra: float, dec: float) -> sphgeom.Region:
    """Make a region of a point; degrees."""
    return sphgeom.Circle(_direction(ra, dec))


def circle(ra: float, dec: float, radius: float) -> sphgeom.Region:
    """Make a circle; degrees.

    Raises
    ------
    ValueError
        Raised if the radius is less than 0 or more than 180.
    """
    if not 0 <= radius <= 180:
        raise ValueError("a radius is 0 to 180 degrees")
    return sphgeom.Circle(_direction(ra, dec), sphgeom.Angle.fromDegrees(radius))


def box(ra: float, dec: float, width: float, height: float) -> sphgeom.Region:
    """Make a box around a centre, of a width in right ascension and a height in declination; degrees.

    Raises
    ------
    ValueError
        Raised if a side is less than 0.
    """
    if width < 0 or height < 0:
        raise ValueError("a box has no negative sides")
    sides = (sphgeom.Angle.fromDegrees(side / 2) for side in (width, height))
    return sphgeom.Box(_place(ra, dec), *sides)


def polygon(numbers: Sequence[float]) -> sphgeom.Region:
    """Make a convex polygon of the coordinates of its vertices, one after another; degrees.

    Raises
    ------
    ValueError
        Raised if they are not the vertices of a convex polygon.
    """
    vertices = [_direction(*pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)]
    try:
        return sphgeom.ConvexPolygon(vertices)
    except Exception:  # noqa: BLE001 - what the library raises
        raise ValueError("these are not the vertices of a convex polygon") from None


def region_of_pos(text: str) -> sphgeom.Region:
    """Read a region as the IVOA's POS parameter writes it: CIRCLE, RANGE or POLYGON and numbers, degrees.

    Raises
    ------
    ValueError
        Raised if it cannot be read.
    """
    try:
        region: sphgeom.Region = sphgeom.Region.from_ivoa_pos(text)
    except Exception:  # noqa: BLE001 - what the library raises
        raise ValueError(
            "it is no region: write 'CIRCLE ra dec radius', 'RANGE ra1 ra2 dec1 dec2' or 'POLYGON ra1 dec1 ...'"
        ) from None
    bound = region.getBoundingCircle()
    # What is not a number, or a radius below zero, is let through by the library.
    if not math.isfinite(bound.getCenter().x() + bound.getOpeningAngle().asRadians()) or bound.isEmpty():
        raise ValueError("it is no region: nothing lies within")
    return region


def _direction(ra: float, dec: float) -> sphgeom.UnitVector3d:
    return sphgeom.UnitVector3d(_place(ra, dec))


def _place(ra: float, dec: float) -> sphgeom.LonLat:
    if not (math.isfinite(ra) and -90 <= dec <= 90):
        raise ValueError("a declination is -90 to 90 degrees")
    return sphgeom.LonLat.fromDegrees(ra, dec)
