"""The demonstration repository, made by the real Butler: ``python -m butlerql.demonstration DIRECTORY``."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.time import Time, TimeDelta
from lsst.daf.butler import (
    Butler,
    CollectionType,
    Config,
    DataCoordinate,
    DatasetRef,
    DatasetType,
    DimensionRecord,
    FileDataset,
    FormatterV2,
    Timespan,
)
from lsst.daf.butler.tests import MetricsExample

__all__ = ["CONFIG", "ImageFormatter", "build", "fill", "main"]

# Changes whenever what is built changes, so that an older one is not taken for it.
VERSION = 1
MARKER = "demonstration.json"

RUN = "HSC/runs/ci_hsc/20240806T180642Z"
CHAIN = "HSC/runs/ci_hsc"
CALIBRATION_RUN = "HSC/calib/2013/gen1"
RERUN = "u/demo/rerun"
RAW_RUN = "HSC/raw/all"

_EXPORTS = "resource://lsst.daf.butler/tests/registry_data/"
_YAML = "lsst.daf.butler.formatters.yaml.YamlFormatter"
_IN_BOTH_DATASTORES = ["isr_metrics", "focus_metrics", "source"]
_ONLY_IN_THE_SECOND = "guider_table"


class ImageFormatter(FormatterV2):
    """Reads the demonstration's images, which are FITS files with a single image and no more."""

    default_extension = ".fits"
    can_read_from_local_file = True

    def read_from_local_file(self, path: str, component: str | None = None, expected_size: int = -1) -> Any:
        """Read the pixels."""
        return fits.getdata(path)


def _datastore(number: int, constraints: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "datastore": {
            "cls": "lsst.daf.butler.datastores.fileDatastore.FileDatastore",
            "root": f"<butlerRoot>/FileDatastore_{number}",
            "records": {"table": f"file_datastore_records_{number}"},
            "checksum": True,
            "constraints": constraints,
            "composites": {"disassembled": {"focus_metrics": True}},
            "formatters": {
                "ExposureF": "butlerql.demonstration.ImageFormatter",
                "Metrics": _YAML,
                "StructuredDataList": _YAML,
            },
        }
    }


CONFIG: Mapping[str, Any] = {
    "datastore": {
        "cls": "lsst.daf.butler.datastores.chainedDatastore.ChainedDatastore",
        "datastores": [
            _datastore(0, {"reject": [_ONLY_IN_THE_SECOND]}),
            _datastore(1, {"accept": [*_IN_BOTH_DATASTORES, _ONLY_IN_THE_SECOND]}),
        ],
    },
    "storageClasses": {
        "Metrics": {
            "pytype": "lsst.daf.butler.tests.MetricsExample",
            "delegate": "lsst.daf.butler.tests.MetricsDelegate",
            "components": {
                "summary": "StructuredDataDict",
                "output": "StructuredDataDict",
                "data": "StructuredDataList",
            },
            "derivedComponents": {"counter": "int"},
        },
    },
}
"""What ``butler.yaml`` says beside the registry: a chain of two datastores, and a composite storage class."""

_DATASET_TYPES = [
    # name, dimensions, storage class, whether it may be certified
    ("bias", ["instrument", "detector"], "ExposureF", True),
    ("calexp_metadata", ["instrument", "visit", "detector"], "StructuredDataDict", False),
    ("flat", ["instrument", "detector", "physical_filter"], "ExposureF", True),
    ("focus_metrics", ["instrument", "visit"], "Metrics", False),
    ("guider_table", ["instrument", "visit"], "ArrowAstropy", False),
    ("isr_config", [], "StructuredDataDict", False),
    ("isr_metrics", ["instrument", "visit", "detector"], "Metrics", False),
    ("raw", ["instrument", "exposure", "detector"], "ExposureF", False),
    ("reference_stars", ["htm7"], "StructuredDataDict", False),
    ("source", ["instrument", "visit", "detector"], "ArrowAstropy", False),
    ("tract_summary", ["skymap", "tract", "band"], "StructuredDataDict", False),
]


def build(directory: Path) -> Path:
    """Make the demonstration repository, unless it is there already.

    Parameters
    ----------
    directory
        Where to put it. It must be absent, empty, or a demonstration repository; of the last kind one that is
        incomplete or from an older version of this program is replaced.

    Returns
    -------
    directory
        The root of the repository.

    Raises
    ------
    FileExistsError
        Raised if the directory holds something else.
    """
    directory = directory.absolute()
    marker = directory / MARKER
    if marker.exists():
        if json.loads(marker.read_text()) == {"version": VERSION, "complete": True}:
            return directory
        shutil.rmtree(directory)
    elif directory.exists() and any(directory.iterdir()):
        raise FileExistsError(f"{directory} holds something else. Give a directory that is empty or does not exist.")
    directory.mkdir(parents=True, exist_ok=True)
    marker.write_text(json.dumps({"version": VERSION, "complete": False}))
    Butler.makeRepo(directory, config=Config(dict(CONFIG)))
    with Butler.from_config(directory, writeable=True) as butler:
        fill(butler, directory / "incoming")
    marker.write_text(json.dumps({"version": VERSION, "complete": True}))
    return directory


def fill(butler: Butler, incoming: Path) -> None:
    """Fill an empty repository that was made with `CONFIG`.

    Parameters
    ----------
    butler
        A Butler that may write to it.
    incoming
        A directory for files that are ingested where they are, outside of the datastores.
    """
    for name in ("ci_hsc-subset.yaml", "ci_hsc-subset-skymap.yaml"):
        butler.import_(filename=_EXPORTS + name, without_datastore=True)
    for name, dimensions, storage_class, is_calibration in _DATASET_TYPES:
        butler.registry.registerDatasetType(
            DatasetType(name, dimensions, storage_class, universe=butler.dimensions, isCalibration=is_calibration)
        )
    with tempfile.TemporaryDirectory() as scratch:
        _add_images(butler, Path(scratch))
        with butler.transaction():
            _add_products(butler)
        _add_exposures(butler, incoming)
        _add_calibrations(butler, Path(scratch))
        _add_rerun(butler, Path(scratch))
    _add_collections(butler)


def _make_ref(butler: Butler, name: str, run: str, data_id: Mapping[str, Any] | DataCoordinate) -> DatasetRef:
    dataset_type = butler.get_dataset_type(name)
    expanded = butler.registry.expandDataId(data_id, dimensions=dataset_type.dimensions)
    # The same ids every time: what somebody noted down is still there when the repository was made anew.
    return DatasetRef(dataset_type, expanded, run=run, id=uuid5(NAMESPACE_URL, f"{run} {name} {expanded.required}"))


def _put(butler: Butler, thing: Any, name: str, run: str, data_id: Mapping[str, Any] | DataCoordinate) -> DatasetRef:
    ref = _make_ref(butler, name, run, data_id)
    butler.put(thing, ref)
    return ref


def _write_image(path: Path, ref: DatasetRef) -> Path:
    """Write an image of its own for a dataset; a star of 16 x 16 pixels, the noise from the data ID."""
    random = np.random.default_rng(ref.id.int)
    y, x = np.mgrid[:16, :16]
    pixels = 100 * np.exp(-((x - 8) ** 2 + (y - 8) ** 2) / 8) + random.normal(size=(16, 16))
    header = fits.Header()
    header["OBJECT"] = ref.datasetType.name
    for key, value in ref.dataId.required.items():
        header[f"HIERARCH DATAID {key.upper()}"] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.PrimaryHDU(pixels.astype(np.float32), header).writeto(path)
    return path


def _ingest(butler: Butler, refs: Iterable[DatasetRef], directory: Path, transfer: str = "copy") -> None:
    butler.ingest(
        *(FileDataset(_write_image(directory / f"{ref.datasetType.name}-{ref.id}.fits", ref), [ref]) for ref in refs),
        transfer=transfer,
    )


def _add_images(butler: Butler, scratch: Path) -> None:
    """Give the imported datasets files: all but one are recorded, and one of those has lost its file."""
    refs = sorted(butler.query_datasets("calexp", collections=RUN, find_first=False), key=_by_data_id)
    _ingest(butler, refs[:-1], scratch)
    butler.getURI(refs[-2]).remove()


def _by_data_id(ref: DatasetRef) -> tuple[Any, ...]:
    return ref.dataId["visit"], ref.dataId["detector"]


def _add_products(butler: Butler) -> None:
    """Put what a run leaves beside its images: tables, dictionaries, and composites whole and in pieces."""
    images = sorted(butler.query_datasets("calexp", collections=RUN), key=_by_data_id)
    _put(butler, {"doFlat": True, "doDark": False}, "isr_config", RUN, {})
    for visit, of_visit in groupby(images, key=lambda ref: ref.dataId["visit"]):
        detectors = []
        for ref in of_visit:
            image = ref.dataId.subset(["visit", "detector"])
            detectors.append(image["detector"])
            random = np.random.default_rng(ref.id.int)
            seeing = round(float(random.uniform(0.5, 0.9)), 3)
            _put(butler, {"seeing": seeing, "sources": 5}, "calexp_metadata", RUN, image)
            metrics = MetricsExample({"seeing": seeing}, {"amplifiers": [1, 2, 3, 4]}, [seeing, 2 * seeing])
            _put(butler, metrics, "isr_metrics", RUN, image)
            table = Table({"id": np.arange(5), "x": random.uniform(0, 16, 5), "y": random.uniform(0, 16, 5)})
            _put(butler, table, "source", RUN, image)
        focus = MetricsExample({"visit": visit}, {"hexapod": {"z": 0.1}}, detectors)
        _put(butler, focus, "focus_metrics", RUN, {"instrument": "HSC", "visit": visit})
    _put(butler, Table({"t": [0.0, 1.0]}), "guider_table", RUN, {"instrument": "HSC", "visit": 903334})
    for pixel in sorted(set(_pixels(butler)))[:4]:
        _put(butler, {"stars": pixel % 100}, "reference_stars", RUN, {"htm7": pixel})
    for band in ("i", "r"):
        tract = {"skymap": "discrete/ci_hsc", "tract": 0, "band": band}
        _put(butler, {"band": band}, "tract_summary", RUN, tract)


def _pixels(butler: Butler) -> Iterable[int]:
    for data_id in butler.query_data_ids(["visit", "htm7"], instrument="HSC", visit=903334):
        yield int(data_id["htm7"])


def _add_exposures(butler: Butler, incoming: Path) -> None:
    """Add the exposure behind each visit, and the raw images of one, ingested where they are."""
    exposures, definitions, groups = [], [], []
    visits: list[DimensionRecord] = butler.query_dimension_records("visit", instrument="HSC")
    for visit in visits:
        groups.append({"instrument": "HSC", "name": f"group {visit.id}"})
        exposures.append(
            {
                "instrument": "HSC",
                "id": visit.id,
                "obs_id": f"HSCA{visit.id}00",
                "day_obs": visit.day_obs,
                "group": f"group {visit.id}",
                "physical_filter": visit.physical_filter,
                "exposure_time": visit.exposure_time,
                "observation_type": "science",
                "target_name": visit.target_name,
                "can_see_sky": True,
                "timespan": visit.timespan,
            }
        )
        definitions.append({"instrument": "HSC", "exposure": visit.id, "visit": visit.id})
    butler.registry.insertDimensionData("group", *groups)
    butler.registry.insertDimensionData("exposure", *exposures)
    butler.registry.insertDimensionData("visit_definition", *definitions)
    butler.collections.register(RAW_RUN, doc="What came from the camera, left where it arrived.")
    raws = [
        _make_ref(butler, "raw", RAW_RUN, {"instrument": "HSC", "exposure": 903334, "detector": detector})
        for detector in (16, 22, 23, 100)
    ]
    _ingest(butler, raws, incoming / "2013-06-17, first night", transfer="direct")


def _add_calibrations(butler: Butler, scratch: Path) -> None:
    """Certify two generations of biases one after the other, and flats that are always valid."""
    detectors = [record.id for record in butler.query_dimension_records("detector", instrument="HSC")]
    newer = CALIBRATION_RUN.replace("gen1", "gen2")
    butler.collections.register(CALIBRATION_RUN, doc="Calibrations made in June 2013.")
    butler.collections.register(newer, doc="Biases made again in November 2013.")
    butler.collections.register(
        "HSC/calib", CollectionType.CALIBRATION, doc="Which calibrations are valid when, as certified."
    )
    boundary = Time("2013-11-01T00:00:00", scale="tai")
    begin, end = boundary - TimeDelta(180, format="jd"), boundary + TimeDelta(180, format="jd")
    for run, timespan in ((CALIBRATION_RUN, Timespan(begin, boundary)), (newer, Timespan(boundary, end))):
        biases = [_make_ref(butler, "bias", run, {"instrument": "HSC", "detector": n}) for n in detectors]
        _ingest(butler, biases, scratch)
        butler.registry.certify("HSC/calib", biases, timespan)
    flats = [
        _make_ref(butler, "flat", CALIBRATION_RUN, {"instrument": "HSC", "detector": n, "physical_filter": name})
        for n in detectors
        for name in ("HSC-I", "HSC-R")
    ]
    _ingest(butler, flats, scratch)
    butler.registry.certify("HSC/calib", flats, Timespan(None, None))


def _add_rerun(butler: Butler, scratch: Path) -> None:
    """Process one visit again: these datasets shadow the first ones wherever the rerun is searched before them."""
    butler.collections.register(RERUN, doc="Visit 903334 once more, with another background.")
    again = butler.query_datasets("calexp", collections=RUN, instrument="HSC", visit=903334)
    _ingest(butler, [_make_ref(butler, "calexp", RERUN, ref.dataId) for ref in again], scratch)


def _add_collections(butler: Butler) -> None:
    def chain(name: str, children: list[str], doc: str) -> None:
        butler.collections.register(name, CollectionType.CHAINED, doc=doc)
        butler.collections.redefine_chain(name, children)

    butler.collections.register("u/demo/best", CollectionType.TAGGED, doc="The best image of each detector.")
    best: dict[int | str, DatasetRef] = {}
    for ref in sorted(butler.query_datasets("calexp", collections=RUN), key=_by_data_id):
        best.setdefault(ref.dataId["detector"], ref)
    butler.registry.associate("u/demo/best", best.values())
    butler.registry.setCollectionDocumentation(RUN, "33 images of 11 visits, and what came with them.")
    chain(CHAIN, [RUN], "The newest processing of the ci_hsc data.")
    chain("HSC/defaults", [CHAIN, RAW_RUN, "HSC/calib", "skymaps"], "Where to look when nothing else is said.")
    chain("u/demo", [RERUN, "HSC/defaults"], "The rerun first, then everything it started from.")


def main() -> None:
    """Build the repository in the directory named on the command line."""
    if len(sys.argv) != 2:
        sys.exit("Usage: python -m butlerql.demonstration DIRECTORY")
    try:
        build(Path(sys.argv[1]))
    except FileExistsError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
