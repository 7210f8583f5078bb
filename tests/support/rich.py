"""The rich repository: small, and with one of everything that a Butler repository can hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lsst.daf.butler import Butler, CollectionType, DatasetRef, DatasetType, Timespan

from tests.support.repositories import Content
from tests.support.rich_dimensions import insert_dimensions, span
from tests.support.rich_files import RICH_CONFIG, add_files, metrics

__all__ = ["RICH"]

HSC_DETECTORS = range(4)

_TYPES = [
    # name, dimensions, storage class, whether it may be certified
    ("bias", ["instrument", "detector"], "StructuredDataDict", True),
    ("both", ["instrument", "visit"], "StructuredDataDict", False),
    ("calexp", ["instrument", "visit", "detector"], "StructuredDataDict", False),
    ("camera", ["instrument"], "StructuredDataDict", True),
    ("coadd", ["skymap", "tract", "patch", "band"], "StructuredDataDict", False),
    ("config", [], "StructuredDataDict", False),
    ("flat", ["instrument", "detector", "physical_filter"], "StructuredDataDict", True),
    ("group_log", ["instrument", "group"], "StructuredDataDict", False),
    ("never_made", ["instrument", "visit", "skymap", "tract"], "StructuredDataDict", False),
    ("orbit", ["ssp_hypothesis_table", "ssp_hypothesis_bundle"], "StructuredDataDict", False),
    ("packed", ["instrument", "visit"], "Metrics", False),
    ("per_band", ["band"], "StructuredDataDict", False),
    ("raw", ["instrument", "exposure", "detector"], "StructuredDataDict", False),
    ("second_only", ["instrument", "visit"], "StructuredDataDict", False),
    ("sky_source", ["instrument", "visit", "htm7"], "StructuredDataDict", False),
    ("sky_tile", ["htm7"], "StructuredDataDict", False),
    ("sky_tile_healpix", ["healpix9"], "int", False),
    ("split", ["instrument", "visit"], "Metrics", False),
    ("table", ["instrument", "visit"], "ArrowAstropy", False),
]

_RUNS = {
    "HSC/raw/all": "Everything the camera took.",
    "HSC/calib/run": None,
    "u/alice/run1": "",
    "u/alice/run2": "The second try.\nIt has two lines, ünïcödé and a \t tab.",
    "u/žofie/běh č. 1": None,
    "u/bob/100% #1": "A name that has to be quoted in a URI.",
    "u/bob/emptied": "Had datasets once; its summary still says so.",
    "u/bob/never": None,
    "zip": None,
}


def _fill(butler: Butler, outside: Path) -> None:
    insert_dimensions(butler)
    for name, dimensions, storage_class, is_calibration in _TYPES:
        butler.registry.registerDatasetType(
            DatasetType(name, dimensions, storage_class, universe=butler.dimensions, isCalibration=is_calibration)
        )
    for name, doc in _RUNS.items():
        butler.collections.register(name, CollectionType.RUN, doc=doc)
    _add_runs(butler)
    _add_tags(butler)
    _add_calibrations(butler)
    _add_chains(butler)
    add_files(butler, outside)


def _put(butler: Butler, name: str, run: str, **data_id: Any) -> DatasetRef:
    thing: Any = {"what": name, "where": {key: str(value) for key, value in data_id.items()}, "run": run}
    if name in ("packed", "split"):
        thing = metrics(data_id["visit"])
    return butler.put(thing, name, data_id, run=run)


def _insert(butler: Butler, name: str, run: str, **data_id: Any) -> DatasetRef:
    """Make a dataset that has no file."""
    (ref,) = butler.registry.insertDatasets(name, [data_id], run=run)
    return ref


def _add_runs(butler: Butler) -> None:
    hsc, zofie = {"instrument": "HSC"}, {"instrument": "Žofie-Cam"}
    first, second, third = "u/alice/run1", "u/alice/run2", "u/žofie/běh č. 1"
    for visit in (101, 102):
        for detector in HSC_DETECTORS:
            _put(butler, "calexp", first, **hsc, visit=visit, detector=detector)
    # The second run shadows some of the first, and has some that the first has not.
    for visit, detector in ((102, 0), (102, 1), (103, 0), (104, 3)):
        _put(butler, "calexp", second, **hsc, visit=visit, detector=detector)
    _insert(butler, "calexp", second, **hsc, visit=103, detector=1)
    _put(butler, "calexp", third, **zofie, visit=101, detector=0)
    _put(butler, "calexp", "u/bob/100% #1", **hsc, visit=101, detector=0)
    for run in (first, second):
        _put(butler, "config", run)
        _put(butler, "per_band", run, band="r")
    _put(butler, "per_band", second, band="white")
    for group in ("2024-01-01T00:00:00.000", "group, with spaces"):
        _insert(butler, "group_log", first, **hsc, group=group)
    _insert(butler, "orbit", first, ssp_hypothesis_table="orbits", ssp_hypothesis_bundle=7)
    for tract, patch, band in ((0, 0, "r"), (0, 1, "r"), (0, 0, "g"), (1, 3, "r")):
        _insert(butler, "coadd", second, skymap="rings µ", tract=tract, patch=patch, band=band)
    # Pixels that visits of the repository cover, and one that none does.
    for pixel in (131072, 147456, 200000):
        _insert(butler, "sky_tile", first, htm7=pixel)
        _insert(butler, "sky_source", second, **hsc, visit=101, htm7=pixel)
    _insert(butler, "sky_tile_healpix", first, healpix9=0)
    for run in ("u/bob/emptied",):
        gone = [_put(butler, "calexp", run, **hsc, visit=101, detector=0), _put(butler, "config", run)]
        butler.pruneDatasets(gone, disassociate=True, unstore=True, purge=True)


def _add_tags(butler: Butler) -> None:
    for name, doc in (("tag/best", "The best of each."), ("tag/empty", None), ("tag/was full", "Was full.")):
        butler.collections.register(name, CollectionType.TAGGED, doc=doc)
    first = butler.query_datasets("calexp", collections="u/alice/run1", where="instrument='HSC' AND visit=101")
    second = butler.query_datasets("calexp", collections="u/alice/run2", where="instrument='HSC' AND visit=102")
    third = butler.query_datasets("calexp", collections="u/žofie/běh č. 1")
    butler.registry.associate("tag/best", [*first, *second, *third])
    butler.registry.associate("tag/best", butler.query_datasets("config", collections="u/alice/run1"))
    butler.registry.associate("tag/was full", first)
    butler.registry.disassociate("tag/was full", first)


def _add_calibrations(butler: Butler) -> None:
    run, hsc = "HSC/calib/run", {"instrument": "HSC"}
    for name, doc in (("HSC/calib", "What to correct with."), ("HSC/calib/fallback", None), ("HSC/calib/none", None)):
        butler.collections.register(name, CollectionType.CALIBRATION, doc=doc)
    certify = butler.registry.certify
    biases = [_put(butler, "bias", run, **hsc, detector=detector) for detector in HSC_DETECTORS]
    # One after another without a gap, then a gap, then one without end.
    certify("HSC/calib", biases[:2], span(None, "2024-01-01T21:00:00"))
    certify("HSC/calib", biases[2:], span(None, None))
    newer = [
        butler.put({"newer": detector}, "bias", {**hsc, "detector": detector}, run="HSC/raw/all") for detector in (0, 1)
    ]
    certify("HSC/calib", newer, span("2024-01-01T21:00:00", "2024-01-02T00:00:00"))
    # The same dataset a second time.
    certify("HSC/calib", biases[:1], span("2024-01-02T20:00:00", None))
    certify("HSC/calib/fallback", biases, span("2024-01-01T00:00:00", "2025-01-01T00:00:00"))
    camera = _put(butler, "camera", run, **hsc)
    certify("HSC/calib", [camera], span(None, None))
    # Valid at no time.
    certify("HSC/calib/fallback", [camera], Timespan.makeEmpty())
    for filter_ in ("HSC-G", "HSC-R"):
        flats = [_insert(butler, "flat", run, **hsc, detector=n, physical_filter=filter_) for n in (0, 1)]
        certify("HSC/calib", flats, span("2024-01-01T00:00:00", "2024-01-01T20:00:15"))
        certify("HSC/calib", flats, span("2024-01-01T20:00:15", "2024-01-02T00:00:00"))
    # Certified once, and no more.
    certify("HSC/calib/none", [camera], span(None, None))
    butler.registry.decertify("HSC/calib/none", "camera", span(None, None))
    # A hole in the middle of a range leaves two.
    butler.registry.decertify(
        "HSC/calib/fallback",
        "bias",
        span("2024-06-01T00:00:00", "2024-07-01T00:00:00"),
        dataIds=[biases[0].dataId],
    )


def _add_chains(butler: Butler) -> None:
    def chain(name: str, children: list[str], doc: str | None = None) -> None:
        butler.collections.register(name, CollectionType.CHAINED, doc=doc)
        butler.collections.redefine_chain(name, children)

    chain("chain/inner", ["u/alice/run2", "u/alice/run1"], "Newest first.")
    # run1 is reached twice, the second time too late to matter.
    chain("chain/outer", ["tag/best", "chain/inner", "HSC/calib", "u/alice/run1"], "Tags, runs, calibrations.")
    chain("chain/all", ["chain/outer", "u/žofie/běh č. 1", "u/bob/100% #1", "u/bob/emptied", "chain/inner"])
    chain("chain/calib", ["HSC/calib", "HSC/calib/fallback"])
    chain("chain/empty", [])
    chain("chain/only emptied", ["u/bob/emptied", "u/bob/never", "chain/empty"])
    below = "chain/inner"
    for depth in range(6):
        chain(f"chain/deep{depth}", [below])
        below = f"chain/deep{depth}"
    # Positions below zero, with a gap.
    chain("chain/odd positions", ["u/alice/run1", "u/bob/never", "HSC/raw/all"])
    butler.collections.prepend_chain("chain/odd positions", ["u/žofie/běh č. 1", "u/alice/run2"])
    butler.collections.extend_chain("chain/odd positions", ["u/bob/emptied"])
    butler.collections.remove_from_chain("chain/odd positions", ["u/bob/never"])
    # A run registered after the chains: creation order is not kind by kind.
    butler.collections.register("a/late run", CollectionType.RUN)


RICH = Content("rich", _fill, lambda: RICH_CONFIG)
"""See the functions above, and those of the neighbours `rich_dimensions` and `rich_files`."""
