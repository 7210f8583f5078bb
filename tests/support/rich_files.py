"""The rich repository's chain of two datastores, and every way in which a file can be in it, or not."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from astropy.table import Table
from lsst.daf.butler import Butler, DatasetRef, FileDataset
from lsst.daf.butler.tests import MetricsExample, MultiDetectorFormatter

__all__ = ["RICH_CONFIG", "add_files", "metrics"]

_FILE_DATASTORE = "lsst.daf.butler.datastores.fileDatastore.FileDatastore"
_YAML = "lsst.daf.butler.formatters.yaml.YamlFormatter"

# The second child takes these; the first takes all but the last.
_IN_BOTH = ["both", "packed", "split"]
_SECOND_ONLY = "second_only"


def _child(number: int, **more: Any) -> dict[str, Any]:
    return {
        "datastore": {
            "cls": _FILE_DATASTORE,
            "root": f"<butlerRoot>/FileDatastore_{number}",
            "records": {"table": f"file_datastore_records_{number}"},
            "formatters": {"Metrics": _YAML, "StructuredDataList": _YAML},
            "composites": {"default": False, "disassembled": {"split": True}},
            **more,
        }
    }


RICH_CONFIG: dict[str, Any] = {
    "datastore": {
        "cls": "lsst.daf.butler.datastores.chainedDatastore.ChainedDatastore",
        "datastores": [
            _child(0, constraints={"reject": [_SECOND_ONLY]}),
            _child(1, constraints={"accept": [*_IN_BOTH, _SECOND_ONLY]}, checksum=True),
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
        }
    },
}
"""What ``butler.yaml`` says beside the registry."""


def metrics(number: int) -> MetricsExample:
    """Make a composite."""
    return MetricsExample({"a": number}, {"b": {"c": "d"}}, [1, 2, number])


def add_files(butler: Butler, outside: Path) -> None:
    """Put, ingest, lose and drop files."""
    _add_put(butler)
    _add_lost(butler)
    _add_ingested(butler, outside)
    _add_zip(butler)
    _leave_trash(butler)


def _visit(visit: int) -> dict[str, Any]:
    return {"instrument": "HSC", "visit": visit}


def _add_put(butler: Butler) -> None:
    run = "u/alice/run1"
    for visit in (101, 102):
        butler.put(metrics(visit), "packed", _visit(visit), run=run)
        butler.put(metrics(visit), "split", _visit(visit), run=run)
    butler.put({"only": "second"}, "second_only", _visit(101), run=run)
    butler.put(Table({"x": [1, 2, 3], "ÿ": [0.5, 1.5, 2.5]}), "table", _visit(101), run=run)
    butler.put(Table({"x": [1]}), "table", _visit(102), run="u/žofie/běh č. 1")


def _files(butler: Butler, ref: DatasetRef) -> list[Path]:
    """List a dataset's files, one in each child of the chain."""
    return [Path(child.getURI(ref).ospath) for child in butler._datastore.datastores if child.knows(ref)]


def _add_lost(butler: Butler) -> None:
    """Take away the file of visit 102 in the first child, those of 103 in both; drop the record of 104 in the first."""
    refs = {visit: butler.put({"visit": visit}, "both", _visit(visit), run="u/alice/run1") for visit in range(101, 105)}
    _files(butler, refs[102])[0].unlink()
    for file in _files(butler, refs[103]):
        file.unlink()
    first = butler._datastore.datastores[0]
    first.remove(refs[104])
    # Known to the registry, dropped from the datastores.
    unstored = butler.put({"was": "stored"}, "calexp", {**_visit(103), "detector": 2}, run="u/alice/run2")
    butler.pruneDatasets([unstored], disassociate=False, unstore=True)


def _add_ingested(butler: Butler, outside: Path) -> None:
    def refs(*detectors: int, exposure: int) -> list[DatasetRef]:
        data_ids = [{"instrument": "HSC", "exposure": exposure, "detector": n} for n in detectors]
        return [DatasetRef(raw, butler.registry.expandDataId(d, dimensions=raw.dimensions), run=run) for d in data_ids]

    raw, run = butler.get_dataset_type("raw"), "HSC/raw/all"
    # Outside of the datastore: the record holds a percent-encoded URI.
    external = outside / "no té+0 100%.yaml"
    external.write_text("external: true\n")
    butler.ingest(FileDataset(path=str(external), refs=refs(0, exposure=101)), transfer="direct")
    # Its size was never looked at.
    unsized = outside / "unsized.yaml"
    unsized.write_text("size: unknown\n")
    butler.ingest(
        FileDataset(path=str(unsized), refs=refs(1, exposure=101)), transfer="direct", record_validation_info=False
    )
    # One file for three datasets.
    shared = outside / "shared.yaml"
    shared.write_text("".join(f"detector{n}: {{n: {n}}}\n" for n in (0, 1, 2)))
    butler.ingest(
        FileDataset(path=str(shared), refs=refs(0, 1, 2, exposure=102), formatter=MultiDetectorFormatter),
        transfer="copy",
    )
    # Already below the root, under a name of its own: the record holds it unquoted.
    inside = Path(butler._datastore.datastores[0].root.ospath) / "odd" / "sp ace 50% +ü.yaml"
    inside.parent.mkdir()
    inside.write_text("inside: true\n")
    butler.ingest(FileDataset(path=str(inside), refs=refs(3, exposure=103)), transfer=None)


def _add_zip(butler: Butler) -> None:
    """Pack two datasets and a disassembled one into one zip file."""
    run = "zip"
    refs = [butler.put({"n": n}, "raw", {"instrument": "HSC", "exposure": 105, "detector": n}, run=run) for n in (0, 1)]
    refs.append(butler.put(metrics(105), "split", _visit(104), run=run))
    with tempfile.TemporaryDirectory() as directory:
        packed = butler.retrieve_artifacts_zip(refs, directory)
        butler.pruneDatasets(refs, disassociate=True, unstore=True, purge=True)
        butler.ingest_zip(packed, transfer="copy")


def _leave_trash(butler: Butler) -> None:
    """Leave a dataset in the trash, where it still reads as there."""
    ref = butler.put({"in": "the trash"}, "calexp", {**_visit(103), "detector": 3}, run="u/alice/run2")
    butler._datastore.datastores[0].trash(ref)
