"""What the Butler's own tests ask of certified datasets, asked of both."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from astropy.time import Time
from lsst.daf.butler import Butler, CalibrationLookupError, CollectionType
from lsst.daf.butler import Timespan as ButlerTimespan

from butlerql.storage.errors import AmbiguousCalibrationError
from butlerql.storage.registry.find_dataset import find_dataset
from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.registry.selection import DatasetSelection, select
from butlerql.storage.registry.timespans import Timespan
from tests.support.repositories import Layout, RealRepository, Repositories
from tests.support.same_questions import DataIds, Datasets, Records, assert_same, span
from tests.support.shipped_exports import shipped
from tests.support.snapshots import snapshot_of

CAM1 = {"instrument": "Cam1"}
CALIBS = "Cam1/calibs"
HOURS = [f"2020-01-01T{hour:02}:00:00" for hour in range(1, 6)]
T1, T2, T3, T4, T5 = (Time(hour, scale="tai") for hour in HOURS)


def _more(butler: Butler) -> None:
    """Add an exposure each hour, and certify biases of two detectors for some of the hours."""
    insert = butler.registry.insertDimensionData
    insert("day_obs", {**CAM1, "id": 20200101, "timespan": ButlerTimespan(T1, T5)})
    for key, (begin, end) in enumerate(itertools.pairwise((T1, T2, T3, T4, T5))):
        insert("group", {**CAM1, "name": f"group{key}"})
        taken = {"physical_filter": "Cam1-G", "day_obs": 20200101, "timespan": ButlerTimespan(begin, end)}
        insert("exposure", {**CAM1, "id": key, "obs_id": str(key), "group": f"group{key}", **taken})
    bias = {
        (detector, band): butler.find_dataset("bias", CAM1, detector=detector, collections=f"imported_{band}")
        for detector, band in itertools.product((2, 3), "gr")
    }
    for name in (CALIBS, "decertified", "always", "many"):
        butler.collections.register(name, CollectionType.CALIBRATION)
    certify = butler.registry.certify
    for name in (CALIBS, "decertified"):
        certify(name, [bias[2, "g"]], ButlerTimespan(T2, T4))
        certify(name, [bias[3, "g"]], ButlerTimespan(T1, T3))
        certify(name, [bias[2, "r"], bias[3, "r"]], ButlerTimespan(T4, None))
    butler.registry.decertify("decertified", "bias", ButlerTimespan(T3, T5))
    # One that has a gap, and one whose validity is empty.
    certify("always", [bias[2, "g"], bias[3, "g"]], ButlerTimespan(None, None))
    butler.registry.decertify("always", "bias", ButlerTimespan(T2, T4), dataIds=[{**CAM1, "detector": 2}])
    [flat] = butler.query_datasets("flat", "imported_g", where="detector = 2", instrument="Cam1")
    certify("always", [flat], ButlerTimespan.makeEmpty())
    certify(
        "many",
        butler.query_datasets("bias", ["imported_g", "imported_r"], find_first=False),
        ButlerTimespan(None, None),
    )
    butler.collections.register("chain", CollectionType.CHAINED)
    butler.collections.redefine_chain("chain", ["many", "imported_g", "imported_r"])


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def repository(repositories: Repositories, request: pytest.FixtureRequest) -> RealRepository:
    """Give what the Butler's tests import, and what they certify."""
    return repositories.shared(shipped("base", "datasets", more=_more), Layout(request.param))


_SPANS = [*itertools.combinations((None, T1, T2, T3, T4, T5, None), 2)]


@pytest.mark.parametrize("collection", [CALIBS, "decertified", "always"])
@pytest.mark.parametrize("detector", [2, 3])
async def test_the_one_that_is_valid(repository: RealRepository, collection: str, detector: int) -> None:
    """For every pair of the hours, and without a bound, one is valid, or none, or it is ambiguous."""
    answers = set()
    async with snapshot_of(repository) as snapshot:
        for bounds in _SPANS:
            when = ButlerTimespan(*bounds)
            values = {**CAM1, "detector": detector}
            ask = find_dataset(snapshot, "bias", values, [collection], Timespan.from_columns(*when.nsec))
            try:
                expected = repository.butler.find_dataset("bias", values, collections=collection, timespan=when)
            except CalibrationLookupError:
                answers.add("ambiguous")
                with pytest.raises(AmbiguousCalibrationError):
                    await ask
                continue
            found = await ask
            answers.add(None if found is None else found.uuid)
            assert (found and found.uuid) == (expected and str(expected.id)), bounds
    assert len(answers) > 1 or (collection, detector) == ("always", 3)


@pytest.mark.parametrize(
    ("collections", "bounds"),
    [
        (["imported_g", CALIBS], (T4, T5)),
        (["imported_g"], (T1, T2)),
        ([CALIBS, "imported_g"], (T4, T5)),
        ([CALIBS, "imported_g"], (T1, T2)),
        # Without a time the certifications are passed over for what has a place in a run.
        (["imported_g", CALIBS], None),
    ],
    ids=str,
)
async def test_runs_and_certifications(
    repository: RealRepository, collections: list[str], bounds: tuple[Time, Time] | None
) -> None:
    values = {**CAM1, "detector": 2}
    when = None if bounds is None else ButlerTimespan(*bounds)
    expected = repository.butler.find_dataset("bias", values, collections=collections, timespan=when)
    async with snapshot_of(repository) as snapshot:
        ours = None if when is None else Timespan.from_columns(*when.nsec)
        found = await find_dataset(snapshot, "bias", values, collections, ours)
    assert expected is not None
    assert found is not None
    assert found.uuid == str(expected.id)


def biases(*collections: str, first: bool = False, where: str = "", **bind: Any) -> Datasets:
    """Ask for biases of one detector."""
    return Datasets(of="bias", collections=collections, first=first, where=where, values=CAM1, bind=bind)


_FIRST_HOUR = span(HOURS[0], HOURS[1])
ALL = {"having": ["bias"], "collections": [CALIBS]}


@pytest.mark.parametrize(
    ("question", "there"),
    [
        (biases(CALIBS), 4),
        (biases(CALIBS, "imported_g"), 5),
        (biases("always", "imported_r", where="detector = 2"), 2),
        (biases("many"), 6),
        (biases("chain"), 6),
        # What is in a run is valid at any time.
        (biases("imported_g", where="detector = 2 AND bias.timespan OVERLAPS :t", t=_FIRST_HOUR), 1),
        (
            biases("imported_g", CALIBS, where="detector = 2 AND bias.timespan OVERLAPS :t", t=_FIRST_HOUR, first=True),
            1,
        ),
        (biases(CALIBS, where="detector = 2 AND bias.timespan OVERLAPS :t", t=_FIRST_HOUR), 0),
        (biases(CALIBS, where="bias.timespan.begin < T'2020-01-01T02:30:00/tai'"), 2),
        (biases(CALIBS, where="exposure = 1"), 2),
        (biases(CALIBS, where="exposure = 3"), 2),
        # A validity that is empty counts where nothing has to be valid at a time, and nowhere else.
        (Datasets(of="flat", collections=["always"]), 1),
        (Datasets(of="flat", collections=["always"], first=True), 1),
        (DataIds(of=["detector"], having=["flat"], collections=["always"]), 1),
        (DataIds(of=["detector"], having=["flat", "bias"], collections=["always", "imported_g"]), 2),
        (Datasets(of="flat", collections=["always"], where="exposure = 1", values=CAM1), 0),
        # By the times of exposures
        (DataIds(of=["detector"], **ALL), 2),
        (DataIds(of=["detector"], having=["bias"], collections=[CALIBS, "imported_r"]), 3),
        (DataIds(of=["detector"], having=["bias"], collections=["chain"]), 4),
        (DataIds(of=["exposure", "detector"], **ALL), 6),
        (DataIds(of=["exposure", "detector"], values={**CAM1, "detector": 2}, **ALL), 3),
        (DataIds(of=["exposure", "detector"], having=["bias"], collections=["decertified"]), 3),
        (DataIds(of=["exposure", "detector"], having=["bias"], collections=["always"]), 6),
        (Records(of="exposure", **ALL), 4),
    ],
    ids=str,
)
async def test_valid_at_the_time(repository: RealRepository, question: Any, there: int | None) -> None:
    await assert_same(repository, question, there)


@pytest.mark.parametrize("collections", [["chain"], ["many", "imported_g"]], ids=str)
async def test_several_found_first(repository: RealRepository, collections: list[str]) -> None:
    """Which of several certified datasets comes first cannot be told, unless a time is given."""
    async with snapshot_of(repository) as snapshot:
        sets = await select(
            snapshot, DatasetSelection(dataset_types=["bias"], collections=collections, find_first=True)
        )
        with pytest.raises(AmbiguousCalibrationError):
            await sets.pages(snapshot, PageRequest(10))
    # On PostgreSQL the Butler does not always notice.
    if repository.dialect == "sqlite":
        with pytest.raises(CalibrationLookupError):
            repository.butler.query_datasets("bias", collections)
