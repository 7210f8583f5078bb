"""Dimension records of the rich repository: two instruments, a sky map, missing times and regions, odd names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from astropy.time import Time
from lsst.daf.butler import Butler, Timespan
from lsst.sphgeom import Angle, Circle, ConvexPolygon, LonLat, Region, UnitVector3d

__all__ = ["circle", "insert_dimensions", "span", "square"]


def square(ra: float, dec: float, half: float) -> Region:
    """Make a region of the sky around a centre; degrees."""
    corners = [(ra - half, dec - half), (ra + half, dec - half), (ra + half, dec + half), (ra - half, dec + half)]
    return ConvexPolygon([UnitVector3d(LonLat.fromDegrees(*corner)) for corner in corners])


def circle(ra: float, dec: float, radius: float) -> Region:
    """Make a circle on the sky; degrees."""
    return Circle(UnitVector3d(LonLat.fromDegrees(ra, dec)), Angle.fromDegrees(radius))


def span(begin: str | None, end: str | None) -> Timespan:
    """Make a timespan of two TAI times; `None` is unbounded."""
    return Timespan(*(None if time is None else Time(time, scale="tai", precision=9) for time in (begin, end)))


_RECORDS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "instrument": [
        {"name": "HSC", "visit_max": 1000, "visit_system": 1, "exposure_max": 1000, "detector_max": 10}
        | {"class_name": "lsst.obs.subaru.HyperSuprimeCam"},
        # All that may be missing is.
        {"name": "Žofie-Cam"},
    ],
    "skymap": [
        {"name": "rings µ", "hash": b"\x00\xff rings", "tract_max": 2, "patch_nx_max": 2, "patch_ny_max": 2},
        {"name": "empty", "hash": b"empty"},
    ],
    "ssp_hypothesis_table": [{"name": "orbits"}],
    "physical_filter": [
        {"instrument": "HSC", "name": "HSC-G", "band": "g"},
        {"instrument": "HSC", "name": "HSC-R", "band": "r"},
        {"instrument": "HSC", "name": "HSC-R2", "band": "r"},
        {"instrument": "Žofie-Cam", "name": "ř~ 'quoted' 100%", "band": "r"},
        {"instrument": "Žofie-Cam", "name": "no filter", "band": "white"},
    ],
    "subfilter": [{"band": "r", "id": 1}],
    "detector": [
        *(
            {"instrument": "HSC", "id": n, "full_name": f"{n % 2}_{n}", "name_in_raft": str(n), "raft": str(n % 2)}
            | {"purpose": "GUIDER" if n == 3 else "SCIENCE"}
            for n in range(4)
        ),
        # A number as an alternate key: text is never taken for the id.
        {"instrument": "Žofie-Cam", "id": 0, "full_name": "1"},
        {"instrument": "Žofie-Cam", "id": 1, "full_name": "0"},
    ],
    "group": [
        {"instrument": "HSC", "name": "2024-01-01T00:00:00.000"},
        {"instrument": "HSC", "name": "group, with spaces"},
        {"instrument": "Žofie-Cam", "name": "one"},
    ],
    "day_obs": [
        {"instrument": "HSC", "id": 20240101, "timespan": span("2024-01-01T12:00:00", "2024-01-02T12:00:00")},
        {"instrument": "HSC", "id": 20240102, "timespan": span("2024-01-02T12:00:00", "2024-01-03T12:00:00")},
        {"instrument": "Žofie-Cam", "id": 20240101, "timespan": None},
    ],
    "visit_system": [
        {"instrument": "HSC", "id": 0, "name": "one-to-one"},
        {"instrument": "HSC", "id": 1, "name": "by-group"},
        {"instrument": "Žofie-Cam", "id": 0, "name": "one-to-one"},
    ],
    "exposure": [
        {"instrument": "HSC", "id": 101, "obs_id": "HSCA101", "day_obs": 20240101, "physical_filter": "HSC-G"}
        | {"group": "2024-01-01T00:00:00.000", "exposure_time": 30.0, "dark_time": 31.5, "seq_num": 1}
        | {"observation_type": "science", "target_name": "α Centauri", "can_see_sky": True, "has_simulated": False}
        | {"timespan": span("2024-01-01T20:00:00", "2024-01-01T20:00:30"), "tracking_ra": 10.25, "tracking_dec": -5.0},
        {"instrument": "HSC", "id": 102, "obs_id": "HSCA102", "day_obs": 20240101, "physical_filter": "HSC-R"}
        | {"group": "2024-01-01T00:00:00.000", "exposure_time": 60.0, "seq_num": 2, "can_see_sky": None}
        | {"observation_type": "science", "target_name": "α Centauri"}
        | {"timespan": span("2024-01-01T21:00:00", "2024-01-01T21:01:00")},
        {"instrument": "HSC", "id": 103, "obs_id": "HSCA103", "day_obs": 20240102, "physical_filter": "HSC-R"}
        | {"group": "group, with spaces", "exposure_time": 0.0, "seq_num": 1, "can_see_sky": False}
        | {"observation_type": "bias", "target_name": ""}
        | {"timespan": span("2024-01-02T21:00:00", "2024-01-02T21:00:00.000000001")},
        {"instrument": "HSC", "id": 104, "obs_id": "HSCA104", "day_obs": 20240102, "physical_filter": "HSC-R2"}
        | {"group": "group, with spaces", "observation_type": "science", "seq_num": 2, "timespan": None},
        {"instrument": "HSC", "id": 105, "obs_id": "HSCA105", "day_obs": 20240102, "physical_filter": "HSC-R"}
        | {"group": "group, with spaces", "observation_type": "science", "exposure_time": 30.0, "seq_num": 3}
        | {"timespan": span("2024-01-02T21:02:00", "2024-01-02T21:02:30")},
        {"instrument": "Žofie-Cam", "id": 101, "obs_id": "Ž101", "day_obs": 20240101, "group": "one"}
        | {"physical_filter": "ř~ 'quoted' 100%", "observation_type": "science", "seq_num": 1}
        | {"timespan": span("2024-01-01T20:00:10", "2024-01-01T20:10:00")},
    ],
    "visit": [
        {"instrument": "HSC", "id": 101, "name": "HSCA10100", "day_obs": 20240101, "physical_filter": "HSC-G"}
        | {"seq_num": 1, "exposure_time": 30.0, "target_name": "α Centauri", "science_program": "o1"}
        | {"region": square(10, 0, 0.5), "timespan": span("2024-01-01T20:00:00", "2024-01-01T20:00:30")},
        {"instrument": "HSC", "id": 102, "name": "HSCA10200", "day_obs": 20240101, "physical_filter": "HSC-R"}
        | {"seq_num": 2, "exposure_time": 60.0, "target_name": "α Centauri"}
        | {"region": square(10.5, 0, 0.5), "timespan": span("2024-01-01T21:00:00", "2024-01-01T21:01:00")},
        {"instrument": "HSC", "id": 103, "name": "HSCA10300", "day_obs": 20240102, "physical_filter": "HSC-R"}
        | {"seq_num": 3, "exposure_time": 30.5, "azimuth": 123.456789, "zenith_angle": -0.0}
        | {"region": circle(359.8, 0.1, 0.5), "timespan": span("2024-01-02T21:00:00", "2024-01-02T21:02:30")},
        {"instrument": "HSC", "id": 104, "name": "HSCA10400", "day_obs": 20240102, "physical_filter": "HSC-R2"}
        | {"region": None, "timespan": None},
        {"instrument": "Žofie-Cam", "id": 101, "name": "Ž 101", "day_obs": 20240101, "seq_num": 1}
        | {"physical_filter": "ř~ 'quoted' 100%", "region": square(10, 0, 0.1)}
        | {"timespan": span("2024-01-01T20:00:10", "2024-01-01T20:10:00")},
    ],
    "visit_definition": [
        *({"instrument": "HSC", "visit": n, "exposure": n} for n in (101, 102, 103, 104)),
        {"instrument": "HSC", "visit": 103, "exposure": 105},
        {"instrument": "Žofie-Cam", "visit": 101, "exposure": 101},
    ],
    "visit_system_membership": [
        *({"instrument": "HSC", "visit_system": 0, "visit": n} for n in (101, 102, 104)),
        *({"instrument": "HSC", "visit_system": 1, "visit": n} for n in (101, 102, 103, 104)),
        {"instrument": "Žofie-Cam", "visit_system": 0, "visit": 101},
    ],
    "visit_detector_region": [
        *(
            {"instrument": "HSC", "visit": visit, "detector": n, "region": square(ra - 0.3 + 0.2 * n, dec, 0.1)}
            for visit, ra, dec in ((101, 10, 0), (102, 10.5, 0), (103, 359.8, 0.1))
            for n in range(4)
        ),
        {"instrument": "Žofie-Cam", "visit": 101, "detector": 0, "region": square(10, 0, 0.1)},
        {"instrument": "Žofie-Cam", "visit": 101, "detector": 1, "region": None},
    ],
    "tract": [
        {"skymap": "rings µ", "id": 0, "region": square(10, 0, 1)},
        {"skymap": "rings µ", "id": 1, "region": square(0, 0, 1)},
    ],
    "patch": [
        {"skymap": "rings µ", "tract": tract, "id": n, "cell_x": n % 2, "cell_y": n // 2}
        | {"region": square(ra - 0.5 + n % 2, -0.5 + n // 2, 0.5)}
        for tract, ra in ((0, 10), (1, 0))
        for n in range(4)
    ],
    "ssp_hypothesis_bundle": [{"ssp_hypothesis_table": "orbits", "id": 7}],
    "ssp_balanced_index": [{"ssp_hypothesis_table": "orbits", "id": 9}],
}


def insert_dimensions(butler: Butler) -> None:
    """Insert every record."""
    for element, records in _RECORDS.items():
        butler.registry.insertDimensionData(element, *(dict(record) for record in records))
