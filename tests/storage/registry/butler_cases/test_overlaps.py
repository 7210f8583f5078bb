"""What the Butler's own tests ask about overlaps on the sky, asked of both."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from lsst.daf.butler import Butler, DatasetType

from butlerql.storage.registry.data_id_values import resolve
from butlerql.storage.registry.matching import DataIdMatch, matching_datasets
from butlerql.storage.registry.pages import PageRequest
from tests.support.repositories import Layout, RealRepository, Repositories
from tests.support.same_questions import Both, DataIds, Datasets, Records, assert_same
from tests.support.shipped_exports import shipped
from tests.support.snapshots import snapshot_of

CAM1 = {"instrument": "Cam1"}
SKY = {"skymap": "SkyMap1"}
PATCH = {**SKY, "tract": 0, "patch": 4}
RA, DEC = 0.25209391431545386, 0.9269112711026793
"""In the middle of detector 3 of visit 1."""


def _more(butler: Butler) -> None:
    """Add datasets of several dimensions, so that overlaps may be of theirs."""
    butler.registry.insertDimensionData("instrument", {"name": "Cam2"})
    butler.collections.register("run")
    seen = [(1, 1), (1, 2), (1, 3), (1, 4), (2, 1), (2, 2)]
    for name, dimensions, data_ids in (
        ("cat", ["visit", "detector", "tract"], [{"visit": v, "detector": d, "tract": 0} for v, d in seen]),
        ("image", ["visit", "detector"], [{"visit": 1, "detector": d} for d in (1, 2, 3)]),
        ("pixel", ["htm7"], [{"htm7": pixel} for pixel in range(253952, 253968)]),
        ("of_detector", ["detector"], [{"detector": 2}]),
        ("of_tract", ["tract"], [{"tract": 1}]),
    ):
        butler.registry.registerDatasetType(DatasetType(name, dimensions, "int", universe=butler.dimensions))
        butler.registry.insertDatasets(name, [{**CAM1, **SKY, **one} for one in data_ids], run="run")


@pytest.fixture(scope="module")
def repository(repositories: Repositories) -> RealRepository:
    """Give what the Butler's tests import, and what they add."""
    return repositories.shared(shipped("base", "spatial", more=_more), Layout())


@pytest.fixture(scope="module")
def regions(repository: RealRepository) -> dict[str, Both]:
    """Give regions to bind: a pixel's, and a patch's."""
    butler = repository.butler
    pixel = butler.dimensions.skypix_dimensions["htm7"].pixelization.pixel(253954)
    [patch] = butler.query_dimension_records("patch", **PATCH)
    return {name: Both(region, region) for name, region in (("pixel", pixel), ("patch", patch.region))}


def detectors(where: str = "", *order: str, **values: int) -> Records:
    """Ask for detectors that overlap something."""
    given = {**CAM1, **SKY} if {"tract", "patch"} & values.keys() or "patch.region" in where else CAM1
    return Records(of="detector", where=where, values={**given, **values}, order=order)


SEEN = "visit_detector_region.region OVERLAPS"


@pytest.mark.parametrize(
    ("question", "there"),
    [
        (detectors(f"{SEEN} :pixel", visit=1), 3),
        (detectors(f"{SEEN} :pixel"), 4),
        (detectors(f"{SEEN} htm7.region", visit=1, htm7=253954), 3),
        (detectors(visit=1, htm7=253954), 3),
        (detectors(f"{SEEN} htm7.region", htm7=253954), 4),
        (detectors(f"{SEEN} patch.region", tract=0, patch=4), 3),
        (detectors(f"{SEEN} :patch"), 3),
        (detectors(f"{SEEN} :patch", "-detector"), 3),
        (detectors(f"{SEEN} :patch", detector=4), 0),
        (Records(of="htm7", where="htm7.region OVERLAPS :patch", having=["pixel"], collections=["run"]), 2),
        # Each side overlaps something, but not the one the other.
        (detectors(f"{SEEN} patch.region AND ((tract=1 AND visit=1) OR (tract=0 AND patch=0 AND visit=2))"), 0),
    ],
    ids=str,
)
async def test_regions(
    repository: RealRepository, regions: dict[str, Both], question: Records, there: int | None
) -> None:
    bind = {name: region for name, region in regions.items() if f":{name}" in question.where}
    await assert_same(repository, replace(question, bind=bind), there)


def seen(where: str, **bind: Any) -> DataIds:
    """Ask what sees a point."""
    return DataIds(of=["visit", "detector"], where=where, values=CAM1, bind=bind)


@pytest.mark.parametrize(
    ("question", "there"),
    [
        (seen(f"{SEEN} POINT({RA}, {DEC})"), 1),
        (seen(f"POINT({RA}, {DEC}) OVERLAPS visit_detector_region.region"), 1),
        (seen(f"{SEEN} POINT({RA}, 1)"), 1),
        (seen(f"{SEEN} POINT({RA - 360}, {DEC})"), 1),
        (seen(f"{SEEN} POINT(:ra, :dec)", ra=RA, dec=DEC), 1),
        (seen(f"{SEEN} POINT(visit.id, {DEC})"), None),
        (seen(f"{SEEN} POINT({RA}, 'not-a-number')"), None),
        (DataIds(of=["patch"], where="patch.region OVERLAPS POINT(0.335, -0.000000001)", values=SKY), 1),
        (DataIds(of=["patch"], where="patch.region OVERLAPS POINT(0.335, -91)", values=SKY), None),
    ],
    ids=str,
)
async def test_points(repository: RealRepository, question: DataIds, there: int | None) -> None:
    await assert_same(repository, question, there)


CAT = {"having": ["cat"], "collections": ["run"]}


@pytest.mark.parametrize(
    ("question", "there"),
    [
        (DataIds(of=["visit", "detector", "patch"], values={**CAM1, **SKY, "visit": 1, "detector": 1}), 2),
        (DataIds(of=["tract"], values={**CAM1, "visit": 1}), 1),
        (Records(of="tract", values={**CAM1, "visit": 1}), 1),
        # What overlaps is what the datasets say; a finer element is still joined.
        (DataIds(of=["visit", "detector", "tract"], **CAT), 6),
        (DataIds(of=["visit", "detector", "tract", "patch"], **CAT), 13),
        (DataIds(of=["htm7"], having=["pixel"], collections=["run"], values=PATCH), 2),
        (Records(of="htm7", values=PATCH), 2),
        (Records(of="htm7", where="htm7.region OVERLAPS patch.region", values=PATCH), 2),
        (Records(of="htm7", having=["pixel"], collections=["run"]), 16),
        (Records(of="htm7"), None),
        (DataIds(of=["patch"], where="htm7 = 253954 AND htm7.region OVERLAPS patch.region", values=SKY), 5),
        (DataIds(of=["patch"], where="htm7 = 253954 AND patch.region OVERLAPS htm7.region", values=SKY), 5),
        # Of other pixels the registry does not know what they overlap.
        (DataIds(of=["htm9"], values=PATCH), None),
        (DataIds(of=["htm9"], where="htm9.region OVERLAPS patch.region", values=PATCH), None),
        (DataIds(of=["patch"], where="htm9 = 4063264 AND patch.region OVERLAPS htm9.region", values=SKY), None),
        (DataIds(of=["tract", "visit", "htm7"], values={**CAM1, **SKY}), None),
        # From the sky to the camera and back, by conditions and by data IDs
        (DataIds(of=["visit", "detector"], where="tract = 0 AND patch = 4", values=SKY), 3),
        (DataIds(of=["visit", "detector"], values=PATCH), 3),
        (DataIds(of=["patch"], where="visit = 1 AND detector = 1", values=CAM1), 2),
        (DataIds(of=["patch"], values={**CAM1, "visit": 1, "detector": 1}), 2),
        (
            DataIds(
                of=["visit", "tract"], values={**CAM1, **SKY}, where="detector=1 AND visit=1 AND tract=0 AND patch=4"
            ),
            0,
        ),
        # Datasets that are related to a place, or that a value does not concern
        (Datasets(of="image", collections=["run"], where="instrument='Cam1' AND skymap='SkyMap1' AND tract=0"), 3),
        (Datasets(of="image", collections=["run"], values={**CAM1, **PATCH}), 1),
        (Datasets(of="of_detector", collections=["run"], values=SKY), 1),
        (Datasets(of="of_tract", collections=["run"], values={"instrument": "Cam2"}), 1),
        (Datasets(of="image", collections=["run"], where="ingest_date > T'2000-01-01'"), 3),
        (Datasets(of="image", collections=["run"], where="ingest_date < T'2000-01-01'"), 0),
        (Datasets(of="image", collections=["run"], where="ingest_date OVERLAPS (T'2000-01-01', T'2099-01-01')"), 3),
        (Datasets(of="image", collections=["run"], where="(T'2000-01-01', T'2001-01-01') OVERLAPS ingest_date"), 0),
    ],
    ids=str,
)
async def test_joins(repository: RealRepository, question: DataIds | Records | Datasets, there: int | None) -> None:
    await assert_same(repository, question, there)


_SPATIAL = (("visit", "visit_detector_region"), ("tract", "patch"))


@pytest.mark.parametrize(("first", "second"), [*itertools.product(*_SPATIAL)])
async def test_overlaps_are_those_of_the_regions(repository: RealRepository, first: str, second: str) -> None:
    """Every pair whose regions have something in common is there, and no other."""
    butler = repository.butler
    found = [butler.query_dimension_records(name) for name in (first, second)]
    pairs = [one for one in itertools.product(*found) if not one[0].region.isDisjointFrom(one[1].region)]
    names = [name for records in found for name in records[0].dataId.dimensions.required]
    await assert_same(repository, DataIds(of=names), len(pairs))
    assert 2 < len(pairs) < len(found[0]) * len(found[1])


async def test_datasets_related_to_patches(repository: RealRepository) -> None:
    """What a patch overlaps is related to it, for each of several patches at once."""
    butler = repository.butler
    async with snapshot_of(repository) as snapshot:
        patches = [await resolve(snapshot, {**SKY, "tract": 0, "patch": patch}) for patch in range(6)]
        sets = await matching_datasets(
            snapshot,
            [one for one in patches if one is not None],
            collections=["run"],
            names=["image"],
            match=DataIdMatch.RELATED,
            include_dimensionless=True,
        )
        pages = await sets.pages(snapshot, PageRequest(10))
    found = {(patch, row.uuid) for patch, page in enumerate(pages) for row in page.rows}
    with butler.query() as query:
        rows = query.join_dataset_search("image", ["run"]).general(
            ["patch"], dataset_fields={"image": {"dataset_id"}}, find_first=False
        )
        where = rows.where({**SKY, "tract": 0})
        assert found == {(row["patch"], str(row["image.dataset_id"])) for row in where}
    assert len(found) == 8
