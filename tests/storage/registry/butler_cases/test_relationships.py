"""What the Butler's own tests ask about records that relate dimensions, asked of both."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from lsst.daf.butler import Butler, CollectionType, DatasetType
from lsst.daf.butler.registry import InconsistentDataIdError

from butlerql.storage.registry.data_id_values import resolve
from tests.support.repositories import Layout, RealRepository, Repositories
from tests.support.same_questions import DataIds, Datasets, Records, assert_same
from tests.support.shipped_exports import shipped
from tests.support.snapshots import snapshot_of

CAM = {"instrument": "DummyCam"}
MAP = {"skymap": "DummyMap"}
EXPOSURES = {100: 10, 101: 10, 110: 11, 111: 11, 200: 20, 201: 20}
"""Two of each visit."""


def _fill(butler: Butler) -> None:
    registry = butler.registry
    registry.insertDimensionData("instrument", {"name": "DummyCam"}, {"name": "DummyCam2"})
    registry.insertDimensionData("day_obs", {**CAM, "id": 20250101})
    for name, band in (("dummy_i", "i"), ("dummy_i2", "i"), ("dummy_r", "r")):
        registry.insertDimensionData("physical_filter", {**CAM, "name": name, "band": band})
    registry.insertDimensionData("detector", *({**CAM, "id": key, "full_name": str(key)} for key in range(1, 6)))
    # Their fields may be unknown: the region, the time, the purpose of a detector.
    for visit in (10, 11, 20):
        taken = {"physical_filter": "dummy_i" if visit == 10 else "dummy_r", "day_obs": 20250101}
        registry.insertDimensionData("visit", {**CAM, "id": visit, "name": f"v{visit}", **taken})
        registry.insertDimensionData("group", {**CAM, "name": str(visit)})
        of_visit = [key for key, of in EXPOSURES.items() if of == visit]
        taken["group"] = str(visit)
        registry.insertDimensionData("exposure", *({**CAM, "id": key, "obs_id": str(key), **taken} for key in of_visit))
        registry.insertDimensionData(
            "visit_definition", *({**CAM, "exposure": key, "visit": visit} for key in of_visit)
        )
    _add_raws(butler)
    _add_coadds(butler)


def _add_raws(butler: Butler) -> None:
    registry = butler.registry
    registry.registerDatasetType(DatasetType("RAW", ["exposure", "detector"], "int", universe=butler.dimensions))
    for run in ("run1", "run2"):
        butler.collections.register(run)
    butler.collections.register("tagged", CollectionType.TAGGED)
    for exposure, detector in itertools.product((100, 101, 110, 111), (1, 2, 3)):
        refs = registry.insertDatasets("RAW", [{**CAM, "exposure": exposure, "detector": detector}], run="run1")
        if exposure == 100:
            refs = registry.insertDatasets("RAW", [refs[0].dataId], run="run2")
        if exposure in (100, 101):
            registry.associate("tagged", refs)
    for exposure, detector in itertools.product((200, 201), (3, 4, 5)):
        refs = registry.insertDatasets("RAW", [{**CAM, "exposure": exposure, "detector": detector}], run="run2")
        registry.associate("tagged", refs)


def _add_coadds(butler: Butler) -> None:
    registry = butler.registry
    registry.insertDimensionData("skymap", {"name": "DummyMap", "hash": b"sha!"})
    for tract in range(6):
        registry.insertDimensionData("tract", {**MAP, "id": tract})
        registry.insertDimensionData(
            "patch", *({**MAP, "tract": tract, "id": patch, "cell_x": 0, "cell_y": 0} for patch in range(8))
        )
    for name, dimensions in (("coadd", ["patch", "band"]), ("merged", ["patch"])):
        registry.registerDatasetType(DatasetType(name, dimensions, "int", universe=butler.dimensions))
    butler.collections.register("tésτ")
    for tract, patch in itertools.product((1, 3, 5), (2, 4, 6, 7)):
        place = {**MAP, "tract": tract, "patch": patch}
        registry.insertDatasets("merged", [place], run="tésτ")
        registry.insertDatasets("coadd", [{**place, "band": band} for band in "ir"], run="tésτ")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def repository(repositories: Repositories, request: pytest.FixtureRequest) -> RealRepository:
    """Give a camera and a sky map that have nothing to do with each other."""
    return repositories.shared(shipped(more=_fill), Layout(request.param))


def raws(*collections: str, where: str = "", values: dict[str, Any] | None = None) -> DataIds:
    """Ask for visits, exposures and detectors that have a raw."""
    of = ["visit", "exposure", "detector"]
    return DataIds(of=of, having=["RAW"], collections=collections, where=where, values=values or {})


def coadds(where: str = "", **values: Any) -> DataIds:
    """Ask for patches and bands that have both datasets."""
    having = ["coadd", "merged"]
    return DataIds(of=["patch", "band"], having=having, collections=["tésτ"], where=where, values=values)


@pytest.mark.parametrize(
    ("question", "there"),
    [
        (DataIds(of=["visit"], having=["RAW"], collections=["run1"]), 2),
        (raws("run1"), 12),
        (raws("tagged"), 12),
        (raws("run1", "tagged"), 18),
        (raws("run1", where="visit = 10", values=CAM), 6),
        (raws("run1", where="visit = 10 AND detector > 1 AND 'DummyCam'=instrument"), 4),
        (raws("run1", where="visit = 10 AND detector > 1"), None),
        (raws("run1", where="visit > 1000", values=CAM), 0),
        (raws("run1", where="physical_filter = 'dummy_r'", values=CAM), 6),
        (Datasets(of="RAW", collections=["run1", "run2"]), 21),
        (Datasets(of="RAW", collections=["run1", "run2"], first=True), 18),
        (Datasets(of="RAW", collections=["tagged", "run1"], first=True), 18),
        (Datasets(of="RAW", collections=["run1"], where="visit = 10", values=CAM), 6),
        (coadds(), 24),
        (coadds("tract IN (1, 5) AND patch IN (2, 7)", **MAP), 8),
        (coadds("tract IN (1, 5) AND patch IN (2, 7)"), None),
        (coadds("band = 'i'"), 12),
        (coadds("skymap = 'Mars'"), 0),
        (DataIds(of=["band"]), 2),
        (Records(of="band"), 2),
        (Records(of="physical_filter", where="band = 'i'"), 2),
        (Records(of="detector", where="detector.purpose = NULL", values=CAM), 5),
        (Records(of="visit", where="visit.timespan = NULL", values=CAM), 3),
        # Nothing overlaps what has no region.
        (DataIds(of=["visit", "tract"]), 0),
    ],
    ids=str,
)
async def test_joins(repository: RealRepository, question: Any, there: int | None) -> None:
    await assert_same(repository, question, there)


async def test_an_exposure_is_of_its_visit(repository: RealRepository) -> None:
    """There is no data ID of parts that do not belong together; the Butler raises."""
    expand = repository.butler.registry.expandDataId
    assert expand({**CAM, "visit": 10, "exposure": 101})["band"] == "i"
    with pytest.raises(InconsistentDataIdError):
        expand({**CAM, "visit": 10, "exposure": 110})
    async with snapshot_of(repository) as snapshot:
        found = await resolve(snapshot, {**CAM, "visit": 10, "exposure": 101})
        assert found is not None
        assert found.mapping["band"] == "i"
        assert await resolve(snapshot, {**CAM, "visit": 10, "exposure": 110}) is None
