"""A small repository with files of each kind: of a dataset, of several, and members of a zip file."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from lsst.daf.butler import Butler, DatasetRef, FileDataset

from tests.support.repositories import Content

__all__ = ["CALIBRATIONS", "STORE", "THINGS", "UNSUMMED", "fill"]


def fill(butler: Butler, outside: Path, *, is_calibration: bool = False) -> None:
    """Put datasets, of a calibration type or not; ingest one file for two of them, and a zip file with two."""
    from lsst.daf.butler import DatasetType
    from lsst.daf.butler.tests import MultiDetectorFormatter

    butler.import_(filename="resource://lsst.daf.butler/tests/registry_data/base.yaml", without_datastore=True)
    dimensions = butler.dimensions.conform(["instrument", "detector"])
    kind = DatasetType("thing", dimensions, "StructuredDataDict", isCalibration=is_calibration)
    butler.registry.registerDatasetType(kind)
    for run in ("a", "b", "c", "d", "z"):
        butler.collections.register(run)
    for run in ("a", "b", "c"):
        for detector in (1, 2, 3, 4):
            butler.put({"run": run, "of": detector}, kind, instrument="Cam1", detector=detector, run=run)
    refs = [
        DatasetRef(kind, butler.registry.expandDataId(instrument="Cam1", detector=n, dimensions=kind.dimensions), "d")
        for n in (1, 2)
    ]
    shared = outside / "shared.yaml"
    shared.write_text("detector1: {n: 1}\ndetector2: {n: 2}\n")
    butler.ingest(FileDataset(str(shared), refs, formatter=MultiDetectorFormatter), transfer="copy")
    packed = [butler.put({"n": n}, kind, instrument="Cam1", detector=n, run="z") for n in (3, 4)]
    archive = butler.retrieve_artifacts_zip(packed, str(outside))
    butler.pruneDatasets(packed, disassociate=True, unstore=True, purge=True)
    butler.ingest_zip(archive, transfer="copy")


STORE = "FileDatastore_0"
"""The Butler names the children of chains itself."""


def config(*, checksum: bool) -> dict[str, Any]:
    child = {
        "cls": "lsst.daf.butler.datastores.fileDatastore.FileDatastore",
        "root": f"<butlerRoot>/{STORE}",
        "records": {"table": "file_datastore_records"},
        "checksum": checksum,
    }
    chain = "lsst.daf.butler.datastores.chainedDatastore.ChainedDatastore"
    return {"datastore": {"cls": chain, "datastores": [{"datastore": child}]}}


THINGS = Content("things in a store", fill, lambda: config(checksum=True))
UNSUMMED = Content("things in a store without checksums", fill, lambda: config(checksum=False))

CALIBRATIONS = Content("calibrations in a store", partial(fill, is_calibration=True), lambda: config(checksum=True))
"""The same of a calibration type."""
