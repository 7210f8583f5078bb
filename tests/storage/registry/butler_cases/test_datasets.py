"""What the Butler's own tests ask of datasets, asked of both."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from astropy.time import TimeDelta
from lsst.daf.butler import Butler, CollectionType, DatasetType

from butlerql.storage.errors import UnknownCollectionError, UnknownDatasetTypeError
from butlerql.storage.registry.find_dataset import find_dataset
from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.registry.selection import DatasetSelection, select
from butlerql.storage.registry.where import Where
from tests.support.repositories import Layout, RealRepository, Repositories
from tests.support.same_questions import Both, DataIds, Datasets, Records, assert_same, instant, region, span, uuids
from tests.support.shipped_exports import shipped
from tests.support.snapshots import snapshot_of

CAM1 = {"instrument": "Cam1"}
LONG = "abcd" * 17
"""Longer than PostgreSQL lets a name be."""


def _more(butler: Butler) -> None:
    """Add runs, a chain, a tag, datasets without dimensions, a long name, implied values and pixels."""
    butler.collections.register("empty")
    butler.collections.register("chain", CollectionType.CHAINED)
    butler.collections.redefine_chain("chain", ["imported_g", "empty", "imported_r"])
    butler.collections.register("biases", CollectionType.TAGGED)
    butler.registry.associate("biases", butler.query_datasets("bias", "imported_g"))
    butler.registry.insertDimensionData("instrument", {"name": "Cam2"})
    kinds = (("schema", []), (LONG, []), ("of_filter", ["physical_filter"]), ("pixel", ["instrument", "htm7"]))
    for name, dimensions in kinds:
        butler.registry.registerDatasetType(DatasetType(name, dimensions, "int", universe=butler.dimensions))
    for run in ("run1", "run2", "run3"):
        butler.collections.register(run)
        for name in ("schema", LONG):
            butler.registry.insertDatasets(name, [{}], run=run)
    butler.registry.insertDatasets("of_filter", [{**CAM1, "physical_filter": "Cam1-G"}], run="run1")
    butler.registry.insertDatasets("pixel", [{**CAM1, "htm7": 131072}], run="run1")
    # The summary still says that there is one.
    [gone] = butler.query_datasets("schema", "run3")
    butler.registry.removeDatasets([gone])


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def repository(repositories: Repositories, request: pytest.FixtureRequest) -> RealRepository:
    """Give what the Butler's tests import, and what they add."""
    return repositories.shared(shipped("base", "datasets", more=_more), Layout(request.param))


def biases(*collections: str, first: bool = False, where: str = "", **more: Any) -> Datasets:
    """Ask for biases."""
    return Datasets(of="bias", collections=collections, first=first, where=where, **more)


G1 = "e15ab039-bc8b-4135-87c5-90902a7c0b22"
R3 = (
    "87f3e68d-258d-41b7-8ea5-edf3557ccb30",
    "dc0ef017-dc94-4118-b431-d65b1ef89a5f",
    "e255067d-dcc5-4f39-9824-0baa5817d3e5",
)
LISTED = ", ".join(f"UUID('{one}')" for one in R3)


@pytest.mark.parametrize(
    ("question", "there"),
    [
        (biases("imported_g", order=["detector"]), 3),
        (biases("imported_g", order=["-detector"]), 3),
        (biases("imported_g", "imported_r"), 6),
        (biases("imported_g", "imported_r", first=True), 4),
        (biases("imported_r", "imported_g", first=True), 4),
        (biases("chain", first=True), 4),
        (biases("biases", "imported_r", first=True), 4),
        (biases("empty"), 0),
        (biases("empty", first=True), 0),
        (biases("nonexistent"), None),
        (biases("imported_g", values={"instrument": "Unknown", "detector": 100}), 0),
        (biases("imported_g", values={"instrument": "Cam2"}), 0),
        (Datasets(of="nonexistent", collections=["imported_g"]), None),
        (Datasets(of="flat", collections=["biases"]), 0),
        (Datasets(of="flat", collections=["imported_r"], where="detector = 2", values=CAM1), 1),
        (Datasets(of="flat", collections=["imported_g"], where="instrument = 'Cam1' AND detector <= 3"), 2),
        (Datasets(of="flat", collections=["chain"], values={"band": "r"}), 4),
        (Datasets(of="flat", collections=["chain"], where="band = :my_band", bind={"my_band": "r"}), 4),
        # By identity, time of ingest and place
        (biases("imported_g", where="dataset_id = :id", bind={"id": Both(uuids(G1).theirs[0], G1)}), 1),
        (biases("imported_g", where=f"dataset_id = UUID('{G1}')"), 1),
        (biases("imported_r", where="bias.dataset_id IN (:ids)", bind={"ids": uuids(*R3)}), 3),
        (biases("imported_r", where=f"bias.dataset_id IN ({LISTED})"), 3),
        (biases("chain", where="ingest_date > T'2000-01-01'"), 6),
        (biases("chain", where="T'2050-01-01' < bias.ingest_date"), 0),
        (biases("chain", where="ingest_date < :then", bind={"then": instant("2050-01-01T00:00:00")}), 6),
        (Records(of="detector", having=["bias"], collections=["empty"]), 0),
        (Records(of="detector", having=["bias"], collections=["imported_g"], values={"instrument": "Cam2"}), 0),
        (DataIds(of=["detector", "physical_filter"], having=["flat"], collections=["imported_g"]), 3),
        # A value that a bias has not: there has to be such a filter, and it repeats nothing.
        (biases("chain", values={**CAM1, "band": "r"}), 6),
        (biases("chain", values={**CAM1, "band": "not_a_real_band"}), 0),
        (biases("chain", where="detector = 2 AND band = 'g' AND instrument = 'Cam1'"), 2),
        # Data IDs that are looked at first, and datasets then
        (Datasets(of="flat", collections=["imported_r"], where="detector.purpose = 'SCIENCE'", values=CAM1), 3),
        (biases("imported_r", "imported_g", where="detector.purpose = 'SCIENCE'", values=CAM1), 5),
        (biases("imported_r", "imported_g", where="detector.purpose = 'SCIENCE'", values=CAM1, first=True), 3),
        # No dimensions
        (Datasets(of="schema", collections=["run1", "run2"]), 2),
        (Datasets(of="schema", collections=["run1", "run2"], first=True), 1),
        (Datasets(of="schema", collections=["run2", "run1"], first=True), 1),
        (Datasets(of=LONG, collections=["run1", "run2"], first=True), 1),
        (Datasets(of=LONG, collections=["run1", "run2"], first=True, order=[f"{LONG}.ingest_date"]), 1),
        (DataIds(of=["instrument"], having=["schema"], collections=["run1", "run2"]), 2),
        (DataIds(of=["instrument"], having=["schema"], collections=["run3"]), 0),
        # Pixels, where datasets say which
        (DataIds(of=["htm7", "instrument"], having=["pixel"], collections=["empty"]), 0),
        (DataIds(of=["htm7", "instrument"], having=["pixel"], collections=["run1"]), 1),
        (Datasets(of="pixel", collections=["run1"]), 1),
        # NumPy's numbers
        (Records(of="detector", values={**CAM1, "detector": np.int64(1)}), 1),
        (Records(of="detector", where="detector = :n", values=CAM1, bind={"n": np.int64(2)}), 1),
    ],
    ids=str,
)
async def test_datasets(repository: RealRepository, question: Any, there: int | None) -> None:
    await assert_same(repository, question, there)


@pytest.mark.parametrize(
    ("name", "values", "collections", "there"),
    [
        ("bias", {**CAM1, "detector": 2}, ["empty", "imported_g", "imported_r"], True),
        ("bias", {**CAM1, "detector": 2}, ["empty", "imported_r", "imported_g"], True),
        ("bias", {**CAM1, "detector": 4}, ["imported_g"], False),
        ("bias", {**CAM1, "detector": 1}, [], False),
        ("of_filter", {**CAM1, "physical_filter": "Cam1-G"}, ["run1"], True),
        ("of_filter", {**CAM1, "physical_filter": "Cam1-G", "band": "g"}, ["run1"], True),
        ("of_filter", {**CAM1, "physical_filter": "Cam1-R1", "band": "r"}, ["run1"], False),
        (LONG, {}, ["run2", "run1"], True),
    ],
)
async def test_the_first_found(
    repository: RealRepository, name: str, values: dict[str, Any], collections: list[str], *, there: bool
) -> None:
    expected = repository.butler.find_dataset(name, values, collections=collections)
    async with snapshot_of(repository) as snapshot:
        found = await find_dataset(snapshot, name, values, collections, None)
    assert (found is not None) == (expected is not None) == there
    if found is not None and expected is not None:
        assert found.uuid == str(expected.id)


@pytest.mark.parametrize(
    ("names", "collections", "where", "first", "there"),
    [
        ("*", ["imported_r"], "detector = 2 AND instrument = 'Cam1'", False, 2),
        ("*", ["imported_*"], "", False, 13),
        ("*", ["chain"], "detector = 2 AND instrument = 'Cam1'", True, 3),
        ("*", ["*_g"], "detector = 1 AND instrument = 'Cam1'", False, 1),
        ("b*", ["imported_*"], "detector = 1 AND instrument = 'Cam1'", False, 1),
        ("*", ["nonexistent*"], "", False, 0),
        ("*", ["imported_*"], "detector = 2 AND band = 'g' AND instrument = 'Cam1'", False, 3),
    ],
)
async def test_datasets_of_all_types(
    repository: RealRepository, names: str, collections: list[str], where: str, *, first: bool, there: int
) -> None:
    expected = repository.butler.query_all_datasets(collections, name=names, where=where, find_first=first, limit=None)
    async with snapshot_of(repository) as snapshot:
        selection = DatasetSelection(
            dataset_types=[names], collections=collections, where=Where(where), related=True, find_first=first
        )
        [page] = await (await select(snapshot, selection)).pages(snapshot, PageRequest(100))
    assert sorted(row.uuid for row in page.rows) == sorted(str(ref.id) for ref in expected)
    assert len(page.rows) == there


async def test_names_that_are_not_there(repository: RealRepository) -> None:
    async with snapshot_of(repository) as snapshot:
        with pytest.raises(UnknownCollectionError):
            await select(snapshot, DatasetSelection(collections=["nonexistent"]))
        with pytest.raises(UnknownDatasetTypeError):
            await select(snapshot, DatasetSelection(dataset_types=["notfound", "flat"]))


@pytest.fixture(scope="module")
def visits(repositories: Repositories) -> RealRepository:
    """Give a camera with 33 images of 11 visits."""
    return repositories.shared(shipped("base", "ci_hsc-subset"), Layout())


RUN = ["HSC/runs/ci_hsc/20240806T180642Z"]
SEEN = "visit_detector_region.region OVERLAPS"


def images(where: str, **bind: Any) -> Datasets:
    """Ask for images."""
    return Datasets(of="calexp", collections=RUN, where=f"instrument = 'HSC' AND {where}", bind=bind)


@pytest.mark.parametrize(
    ("question", "there"),
    [
        (images(f"{SEEN} :pos", pos=region("CIRCLE 320. -0.25 10.")), 33),
        (images(f"{SEEN} :pos", pos=region("CIRCLE 321.0 -0.4 0.01")), 1),
        (images(f"{SEEN} :pos", pos=region("CIRCLE 321.1 -0.35 0.02")), 2),
        (images(f"{SEEN} :pos", pos=region("CIRCLE 321.1 -0.48 0.05")), 1),
        (images(f"{SEEN} :pos", pos=region("CIRCLE 321.0 -0.5 0.01")), 0),
        (images(f"{SEEN} CIRCLE(320., -0.25, 10.)"), 33),
        (images(f"{SEEN} CIRCLE(321.0, -0.4, 0.01)"), 1),
        (images(f"{SEEN} CIRCLE(321.0, -0.5, 0.01)"), 0),
        (images(f"{SEEN} BOX(320, -0.25, 5, 5)"), 33),
        (images(f"{SEEN} BOX(321.0, -0.4, 0.01, 0.01)"), 1),
        (images(f"{SEEN} BOX(321.0, -0.5, 0.01, 0.01)"), 0),
        (images(f"{SEEN} POLYGON(320, -10, 320, 10, 340, 10, 340, -10)"), 33),
        (images(f"{SEEN} POLYGON(320.99, -0.401, 320.99, -0.399, 321.01, -0.399, 321.01, -0.401)"), 1),
        (images(f"{SEEN} REGION('CIRCLE 320. -0.25 10.')"), 33),
        (images(f"{SEEN} REGION('RANGE 310 330 -10 10')"), 33),
        (images(f"{SEEN} REGION('RANGE 320.99 321.01 -0.401 -0.399')"), 1),
        (images(f"{SEEN} REGION('POLYGON 320.99 -0.501 320.99 -0.499 321.01 -0.499 321.01 -0.501')"), 0),
        # The middle of a visit, and the first and the second half of all
        (images("visit.timespan OVERLAPS (:t)", t=instant("2013-06-17T13:29:20")), 4),
        (
            images(
                "visit.timespan OVERLAPS (:a, :b)", a=instant("2013-01-01T12:00:00"), b=instant("2013-11-01T12:00:00")
            ),
            17,
        ),
        (images("visit.timespan OVERLAPS (:half)", half=span("2013-11-01T12:00:00", "2013-12-21T12:00:00")), 16),
        # Orders by other columns than the dimensions
        (Records(of="visit", values={"instrument": "HSC"}, order=["visit"]), 11),
        (Records(of="detector", values={"instrument": "HSC"}, order=["full_name"]), 16),
        (DataIds(of=["detector"], values={"instrument": "HSC"}, order=["full_name"]), 16),
    ],
    ids=str,
)
async def test_visits(visits: RealRepository, question: Any, there: int) -> None:
    await assert_same(visits, question, there)


async def test_bounds_of_timespans(visits: RealRepository) -> None:
    """Begins are within a timespan and ends are not, whichever way it is said."""
    records = sorted(visits.butler.query_dimension_records("visit", instrument="HSC"), key=lambda one: one.id)
    before = records[1].timespan.begin - TimeDelta(1.0, format="sec")
    begin, inside, end = (
        records[3].timespan.begin,
        records[6].timespan.begin + TimeDelta(1.0, format="sec"),
        records[8].timespan.end,
    )
    bind = {"before": before, "begin": begin, "inside": inside, "end": end}
    times = {name: Both(time, f"{time.tai.isot}/tai") for name, time in bind.items()}
    for where, there in (
        ("visit.timespan OVERLAPS (null, :before)", 1),
        ("(:before, :begin) OVERLAPS visit.timespan", 2),
        ("visit.timespan OVERLAPS (:begin, :inside)", 4),
        (f"visit.timespan OVERLAPS (T'{inside.tai.isot}/tai', :end)", 3),
        ("visit.timespan OVERLAPS (:end, NULL)", 2),
        ("visit.timespan OVERLAPS :inside", 1),
        (f"T'{inside.tai.isot}/tai' OVERLAPS visit.timespan", 1),
    ):
        named = {name: time for name, time in times.items() if f":{name}" in where}
        await assert_same(visits, DataIds(of=["visit"], values={"instrument": "HSC"}, where=where, bind=named), there)
