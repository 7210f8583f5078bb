"""A large repository with what a survey has beside its visits: a sky map and coadds, exposures and calibrations."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lsst.daf.butler import Butler, CollectionType, DatasetType, DimensionRecord, Timespan
from lsst.sphgeom import ConvexPolygon, LonLat, Region, UnitVector3d

from benchmarks.repositories import CHAIN, DETECTORS, INSTRUMENT, large

__all__ = ["CALIBRATIONS", "COADDS", "EVERYTHING", "SKYMAP", "survey"]

SKYMAP = "tiles"
CALIBRATIONS = "calib"
EVERYTHING = "everything"
"""The chain of `CHAIN` and of the run that holds the coadds."""

COADDS = [
    f"coadd_{part}" for part in ("image", "calexp", "det", "meas", "forced", "log", "meta", "psf", "bg", "wcs", "qa")
]
_PERIODS = 5
_PATCHES = 5
_DEGREES = 2.0


def survey(directory: Path) -> str:
    """Give the repository, which is made from a large one if it is not there; its root."""
    root = directory / "sqlite-survey"
    complete = root / "survey"
    if not complete.exists():
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(large(directory), root)
        with Butler.from_config(root, writeable=True) as butler:
            visits = sorted(butler.query_dimension_records("visit", limit=None), key=lambda record: record.id)
            _add_exposures(butler, visits)
            _add_calibrations(butler, visits)
            # Around every visit of which there are all dataset types.
            _add_coadds(butler, visits[::22])
        complete.touch()
    return str(root)


def _add_exposures(butler: Butler, visits: list[DimensionRecord]) -> None:
    insert = butler.registry.insertDimensionData
    insert("group", *({"instrument": INSTRUMENT, "name": str(visit.id)} for visit in visits))
    insert(
        "exposure",
        *(
            {
                "instrument": INSTRUMENT,
                "id": visit.id,
                "obs_id": f"exposure {visit.id}",
                "group": str(visit.id),
                "day_obs": visit.day_obs,
                "physical_filter": visit.physical_filter,
                "exposure_time": visit.exposure_time,
                "timespan": visit.timespan,
            }
            for visit in visits
        ),
    )


def _add_calibrations(butler: Butler, visits: list[DimensionRecord]) -> None:
    butler.collections.register(CALIBRATIONS, CollectionType.CALIBRATION)
    filters = [record.name for record in butler.query_dimension_records("physical_filter")]
    bounds = [visits[len(visits) * period // _PERIODS].timespan.begin for period in range(_PERIODS)]
    for name, dimensions in (
        ("bias", ["detector"]),
        ("dark", ["detector"]),
        ("flat", ["detector", "physical_filter"]),
    ):
        kind = DatasetType(name, dimensions, "StructuredDataDict", universe=butler.dimensions, isCalibration=True)
        butler.registry.registerDatasetType(kind)
        each: list[dict[str, Any]] = [{"instrument": INSTRUMENT, "detector": n} for n in range(DETECTORS)]
        if "physical_filter" in dimensions:
            each = [{**data_id, "physical_filter": band} for data_id in each for band in filters]
        for period, (begin, end) in enumerate(zip(bounds, [*bounds[1:], None], strict=True)):
            run = f"{CALIBRATIONS}/{period}"
            butler.collections.register(run)
            refs = butler.registry.insertDatasets(kind, each, run=run)
            butler.registry.certify(CALIBRATIONS, refs, Timespan(begin, end))


def _add_coadds(butler: Butler, visits: list[DimensionRecord]) -> None:
    insert = butler.registry.insertDimensionData
    sky = {
        "name": SKYMAP,
        "hash": b"tiles",
        "tract_max": len(visits),
        "patch_nx_max": _PATCHES,
        "patch_ny_max": _PATCHES,
    }
    insert("skymap", sky)
    insert(
        "visit_detector_region",
        *(
            {"instrument": INSTRUMENT, "visit": visit.id, "detector": n, "region": visit.region}
            for visit in visits
            for n in range(DETECTORS)
        ),
    )
    for tract, visit in enumerate(visits):
        centre = LonLat(visit.region.getCenter())
        corner = centre.getLon().asDegrees() - _DEGREES / 2, centre.getLat().asDegrees() - _DEGREES / 2
        insert("tract", {"skymap": SKYMAP, "id": tract, "region": _square(*corner, _DEGREES)})
        insert("patch", *_patches(tract, corner))
    butler.collections.register("coadds")
    data_ids = [
        {"skymap": SKYMAP, "tract": tract, "patch": patch, "band": band}
        for tract in range(len(visits))
        for patch in range(_PATCHES**2)
        for band in "gr"
    ]
    for name in COADDS:
        kind = DatasetType(name, ["patch", "band"], "StructuredDataDict", universe=butler.dimensions)
        butler.registry.registerDatasetType(kind)
        butler.registry.insertDatasets(kind, data_ids, run="coadds")
    butler.collections.register(EVERYTHING, CollectionType.CHAINED)
    butler.collections.redefine_chain(EVERYTHING, [CHAIN, "coadds"])


def _patches(tract: int, corner: tuple[float, float]) -> Iterator[dict[str, Any]]:
    side = _DEGREES / _PATCHES
    for patch in range(_PATCHES**2):
        y, x = divmod(patch, _PATCHES)
        region = _square(corner[0] + x * side, corner[1] + y * side, side)
        yield {"skymap": SKYMAP, "tract": tract, "id": patch, "cell_x": x, "cell_y": y, "region": region}


def _square(lon: float, lat: float, side: float) -> Region:
    corners = [(lon, lat), (lon + side, lat), (lon + side, lat + side), (lon, lat + side)]
    return ConvexPolygon([UnitVector3d(LonLat.fromDegrees(*corner)) for corner in corners])
