"""A repository that is built quickly: one run, one dataset type, a few datasets."""

from __future__ import annotations

from pathlib import Path

from lsst.daf.butler import Butler, DatasetType

from tests.support.repositories import Content

__all__ = ["SMALL", "add_datasets"]

DATASETS = 3


def add_datasets(butler: Butler, first: int, number: int) -> None:
    """Register datasets of the detectors that follow, in one transaction."""
    detectors = range(first, first + number)
    with butler.transaction():
        butler.registry.insertDimensionData(
            "detector", *({"instrument": "Cam", "id": n, "full_name": f"detector {n}"} for n in detectors)
        )
        butler.registry.insertDatasets("flat", [{"instrument": "Cam", "detector": n} for n in detectors], run="run")


def _fill(butler: Butler, outside: Path) -> None:
    butler.registry.insertDimensionData("instrument", {"name": "Cam", "class_name": "nowhere.Cam"})
    butler.collections.register("run")
    flat = DatasetType("flat", butler.dimensions.conform(["instrument", "detector"]), "StructuredDataDict")
    butler.registry.registerDatasetType(flat)
    add_datasets(butler, 0, DATASETS)


SMALL = Content("small", _fill)
"""An instrument ``Cam``, a run ``run``, and three datasets of the type ``flat``."""
