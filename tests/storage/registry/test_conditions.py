"""What fulfils a condition fulfils it for the Butler, too."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.compared_conditions import check_data_ids, check_datasets, check_records, texts
from tests.support.repositories import RealRepository
from tests.support.snapshots import snapshot_of

_many = settings(suppress_health_check=list(HealthCheck))

_DIMENSIONS = [
    ("visit",),
    ("visit", "detector"),
    ("exposure", "detector"),
    ("exposure", "visit"),
    ("patch",),
    ("physical_filter",),
    ("visit", "tract"),
    ("instrument", "skymap"),
    ("band",),
    ("day_obs",),
]
_TYPES = ["calexp", "raw", "bias", "flat", "coadd", "sky_source", "config", "per_band", "camera", "group_log", "table"]
_COLLECTIONS = [["chain/all"], ["u/alice/run2", "u/alice/run1"], ["HSC/calib"], ["tag/best", "HSC/calib/run"]]


@_many
@given(data=st.data())
async def test_data_ids(rich: RealRepository, data: st.DataObject) -> None:
    butler = rich.butler
    async with snapshot_of(rich) as snapshot:
        for _ in range(8):
            names = data.draw(st.sampled_from(_DIMENSIONS))
            text = data.draw(texts(butler, names))
            await check_data_ids(snapshot, butler, names, text)


@_many
@given(data=st.data())
async def test_dimension_records(rich: RealRepository, data: st.DataObject) -> None:
    butler = rich.butler
    async with snapshot_of(rich) as snapshot:
        for _ in range(4):
            name = data.draw(st.sampled_from(["visit", "exposure", "detector", "patch", "visit_detector_region"]))
            text = data.draw(texts(butler, butler.dimensions[name].dimensions.names))
            await check_records(snapshot, butler, name, text)


@_many
@given(data=st.data())
async def test_datasets(rich: RealRepository, data: st.DataObject) -> None:
    butler = rich.butler
    more = ["run", "collection", "ingest_date", "dataset_id"]
    async with snapshot_of(rich) as snapshot:
        for _ in range(8):
            kind = data.draw(st.sampled_from(_TYPES))
            where = data.draw(st.sampled_from(_COLLECTIONS))
            first = data.draw(st.booleans())
            dimensions = butler.get_dataset_type(kind).dimensions.names
            text = data.draw(texts(butler, sorted(dimensions), more))
            await check_datasets(snapshot, butler, kind, where, text, first=first)
