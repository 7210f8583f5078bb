"""What the Butler's own tests ask of dimension records and data IDs, asked of both."""

from __future__ import annotations

import pytest
from lsst.daf.butler import Butler

from tests.support.repositories import Layout, RealRepository, Repositories
from tests.support.same_questions import DataIds, Records, assert_same, instant, span
from tests.support.shipped_exports import shipped

CAM1 = {"instrument": "Cam1"}
SKY = {"skymap": "SkyMap1"}


def _more(butler: Butler) -> None:
    """Add a second camera, and exposures whose truth values are true, false and unknown."""
    butler.registry.insertDimensionData("instrument", {"name": "Cam2"})
    butler.registry.insertDimensionData("physical_filter", {"instrument": "Cam2", "name": "Cam2-G", "band": "g"})
    butler.registry.insertDimensionData("group", {**CAM1, "name": "1"})
    shared = {**CAM1, "physical_filter": "Cam1-R1", "group": "1", "day_obs": 20210909}
    for key, sees_sky, kind in ((10, True, None), (20, False, "science"), (21, False, None), (30, None, None)):
        record = {**shared, "id": key, "obs_id": str(key), "can_see_sky": sees_sky, "observation_type": kind}
        butler.registry.insertDimensionData("exposure", record)


@pytest.fixture(scope="module")
def repository(repositories: Repositories) -> RealRepository:
    """Give what the Butler's tests import, and what they add."""
    content = shipped("base", "datasets", "spatial", more=_more)
    return repositories.shared(content, Layout())


def detectors(where: str = "", *order: str, **bind: object) -> Records:
    """Ask for the detectors of the first camera."""
    return Records(of="detector", where=where, values=CAM1, order=order, bind=bind)


def visits(where: str = "", *order: str, **bind: object) -> Records:
    """Ask for the visits of the first camera."""
    return Records(of="visit", where=where, values=CAM1, order=order, bind=bind)


def exposures(where: str) -> Records:
    """Ask for its exposures."""
    return Records(of="exposure", where=where, values=CAM1)


GREEN, RED = "bias.collection = 'imported_g'", "bias.collection = 'imported_r'"


def having_biases(where: str) -> Records:
    """Ask for those detectors that have a bias."""
    return Records(of="detector", where=where, values=CAM1, having=["bias"], collections=["imported_g", "imported_r"])


@pytest.mark.parametrize(
    ("question", "there"),
    [
        (detectors(), 4),
        (detectors("detector.raft = :R", R="B"), 2),
        (detectors("raft = 'B'"), 2),
        (detectors("id = 2"), 1),
        (detectors("purpose = 'no such'"), 0),
        # Patterns
        (detectors("GLOB(full_name, '*')"), 4),
        (detectors("GLOB(full_name, '\\*')"), 0),
        (detectors("GLOB(full_name, 'A?')"), 2),
        (detectors("GLOB(full_name, '*a')"), 2),
        (detectors("GLOB(full_name, 'A[ab]')"), 0),
        (detectors("GLOB(purpose, '*EN?E')"), 3),
        (detectors("GLOB(full_name, '%')"), 0),
        (detectors("GLOB(full_name, '__')"), 0),
        (detectors("GLOB(full_name, 'a')"), 0),
        (detectors("GLOB(full_name, '')"), 0),
        (detectors("GLOB(full_name, :pattern)", pattern="B?"), 2),
        (detectors("GLOB(detector, '*')"), None),
        (detectors("GLOB(full_name, full_name)"), None),
        (detectors("GLOB(full_name, 1)"), None),
        (Records(of="detector", where="GLOB(instrument, '?a*1') AND GLOB(full_name, '*')"), 4),
        # Negation, arithmetic, lists and ranges
        (detectors("NOT (detector != 2)"), 1),
        (detectors("2 = detector + 1"), 1),
        (detectors("-detector = -3"), 1),
        (detectors("detector = 1 AND detector = 2"), 0),
        (detectors("detector IN (:some)", some=[1, 3, 4]), 3),
        (detectors("detector IN (1..2)"), 2),
        (detectors("detector IN (1..4:2)"), 2),
        (detectors("detector IN (2..4:2)"), 2),
        (Records(of="patch", where="tract = 4"), None),
        (visits("visit.exposure_time + -(5.0 * visit.zenith_angle) > 0.0"), 1),
        (visits("visit.exposure_time - 5.0 >= 50.0"), 1),
        (visits("visit.exposure_time > 50"), 1),
        (visits("visit.id % 2 != 0"), 1),
        (visits("visit.zenith_angle / 5.0 <= 1.0"), 1),
        (visits("visit.exposure_time = NULL"), 0),
        (visits("visit.timespan = NULL"), 0),
        # A timespan has its begin, and not its end.
        (visits("visit.timespan OVERLAPS :t", t=instant("2021-09-09T03:00:00")), 1),
        (visits("visit.timespan OVERLAPS :t", t=instant("2021-09-09T03:01:00")), 0),
        (visits("visit.timespan OVERLAPS (:t)", t=instant("2021-09-09T03:02:30")), 1),
        (visits("visit.timespan OVERLAPS :span", span=span("2021-09-09T03:02:30", None)), 1),
        (visits("NOT visit.timespan.end < :t", t=instant("2021-09-09T03:02:30")), 1),
        (visits("visit.timespan.begin > :t", t=instant("2021-09-09T03:01:30")), 1),
        # Truth values, and what is unknown
        (exposures("exposure.can_see_sky"), 1),
        (exposures("NOT exposure.can_see_sky"), 2),
        (exposures("exposure.can_see_sky OR exposure = 20"), 2),
        (exposures("exposure.can_see_sky = NULL"), 1),
        (exposures("NULL != exposure.can_see_sky"), 3),
        (exposures("NULL = (exposure.can_see_sky AND exposure = 20)"), None),
        (exposures("exposure.observation_type = NULL AND NOT exposure.can_see_sky"), 1),
        (exposures("NULL != exposure.observation_type AND NOT exposure.can_see_sky"), 1),
        (exposures("exposure.can_see_sky = 1"), None),
        (exposures("exposure.observation_type"), None),
        # Orders
        (detectors("", "detector"), 4),
        (detectors("", "-full_name"), 4),
        (detectors("", "raft", "-name_in_raft"), 4),
        (detectors("", "-detector.purpose", "detector"), 4),
        (visits("", "-visit.id"), 2),
        (visits("", "zenith_angle"), 2),
        (visits("", "-visit.name"), 2),
        (visits("", "day_obs", "-visit.timespan.begin"), 2),
        *((detectors("", sign + name), None) for sign in ("", "-") for name in ("", "undimension.name", "attract")),
        *((visits("", f"{sign}timestamp.begin"), None) for sign in ("", "-")),
        # Several cameras
        (Records(of="physical_filter"), 4),
        (Records(of="physical_filter", where="band = 'g'"), 2),
        (Records(of="physical_filter", where="instrument IN ('Cam2')"), 1),
        (Records(of="physical_filter", having=["flat"], collections=["imported_r"]), 2),
        # Fields of the datasets that records have to have
        (having_biases(GREEN), 3),
        (having_biases(f"({GREEN} AND raft = 'B') OR ({RED} AND raft = 'A')"), 2),
        (having_biases(f"{GREEN} AND {RED}"), 0),
        (having_biases("flat.collection = 'imported_g'"), None),
        (Records(of="band"), 2),
        (Records(of="band", values={**CAM1, "physical_filter": "Cam1-R1"}), 1),
        (Records(of="detector", where="instrument = :camera", bind={"camera": "Cam1"}), 4),
    ],
    ids=str,
)
async def test_records(repository: RealRepository, question: Records, there: int | None) -> None:
    await assert_same(repository, question, there)


def both(*of: str, order: tuple[str, ...] = (), **more: object) -> DataIds:
    """Ask for data IDs of the first camera and of the sky map."""
    return DataIds(of=of, values={**CAM1, **SKY}, order=order, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("question", "there"),
    [
        (DataIds(), 1),
        (DataIds(of=["detector"], order=["-detector"]), 4),
        (DataIds(of=["detector"], where="instrument = 'Cam1' OR instrument = 'Cam2'"), 4),
        (
            DataIds(
                of=["instrument"], where="(instrument='Cam1' AND detector=2) OR (instrument='Cam2' AND detector=500)"
            ),
            1,
        ),
        (DataIds(of=["band"], where="physical_filter = 'Cam1-G'"), None),
        (DataIds(of=["band"], where="instrument = 'Cam2' AND physical_filter = 'Cam2-G'"), 1),
        (DataIds(of=["physical_filter"], values={"band": "r"}), 2),
        (DataIds(of=["physical_filter"], values={"band": "h"}), 0),
        (DataIds(of=["detector"], where="foo.bar = 12"), None),
        (DataIds(of=["detector"], where="timespan.end < :t", bind={"t": instant("2020-01-01T01:00:00")}), None),
        # Values of the governors, wherever they are given, there or not
        (DataIds(of=["tract", "visit"]), 3),
        (DataIds(of=["tract", "visit"], values={**CAM1, **SKY}), 3),
        (DataIds(of=["tract", "visit"], values={**SKY, "instrument": "Cam2"}), 0),
        (DataIds(of=["tract", "visit"], values={**CAM1, "skymap": "SkyMap2"}), 0),
        (DataIds(of=["tract", "visit"], where="instrument='Cam1' AND skymap='SkyMap1'"), 3),
        (DataIds(of=["tract", "visit"], where="instrument='Cam1' AND skymap='SkyMap5'"), 0),
        (
            DataIds(
                of=["tract", "visit"],
                where="instrument=:cam AND skymap=:map",
                bind={"cam": "Cam1", "map": "SkyMap1"},
            ),
            3,
        ),
        (
            DataIds(
                of=["tract", "visit"], where="instrument=:cam AND skymap=:map", bind={"cam": "Cam", "map": "SkyMap"}
            ),
            0,
        ),
        # Orders
        *(
            (both("visit", "tract", order=(*order,)), 3)
            for order in (
                ("tract", "visit"),
                ("-tract", "visit"),
                ("tract.id", "-visit.id"),
                ("-tract", "-visit"),
                ("tract", "visit.exposure_time"),
                ("-tract", "-visit.exposure_time"),
                ("tract", "-exposure_time"),
                ("tract", "visit.name"),
                ("tract", "-visit.timespan.begin", "visit.timespan.end"),
            )
        ),
        (both("visit", "exposure", order=("visit.day_obs", "exposure.day_obs")), 0),
        (both("visit", "exposure", order=("visit.timespan.begin", "-exposure.timespan.begin")), 0),
        *(
            (both("tract", "detector", order=order, having=["flat"], collections=["imported_r"]), 8)
            for order in (
                ("tract", "detector"),
                ("tract", "detector.full_name"),
                ("tract", "detector.raft", "detector.name_in_raft"),
            )
        ),
        *(
            (both("visit", "tract", order=(sign + name,)), None)
            for sign in ("", "-")
            for name in ("", "undimension.name", "attract")
        ),
        (both("exposure", "visit", order=("exposure_time",)), None),
        (both("exposure", "visit", order=("timespan.begin",)), None),
        (both("tract", order=("timespan.begin",)), None),
        (both("tract", order=("tract.timespan.begin",)), None),
        (both("tract", order=("tract.name",)), None),
        (both("visit", order=("timestamp.begin",)), None),
        # Datasets that data IDs have to have
        (DataIds(of=["detector"], having=["nonexistent"], collections=["imported_g"]), None),
        (DataIds(of=["detector"], having=["f*"], collections=["imported_g"]), None),
        (DataIds(of=["detector"], having=["bias"], collections=["imported_g"]), 3),
        (DataIds(of=["detector"], having=["bias"], collections=[]), 0),
        (DataIds(of=["detector"], having=["bias"], collections=["imported_g", "imported_r"]), 4),
        (DataIds(of=["detector"], having=["flat"], collections=["imported_g"]), 3),
        (DataIds(of=["detector"], having=["flat"], collections=["imported_g"], where="band = 'r'"), 0),
    ],
    ids=str,
)
async def test_data_ids(repository: RealRepository, question: DataIds, there: int | None) -> None:
    await assert_same(repository, question, there)
