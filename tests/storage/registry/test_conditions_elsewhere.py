"""Conditions mean the same to the Butler and to us in other universes and layouts, and on what observatories export."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lsst.daf.butler import Butler

from tests.support.compared_conditions import check_data_ids, check_datasets, check_records, texts
from tests.support.repositories import Layout, RealRepository, Repositories
from tests.support.rich import RICH
from tests.support.shipped_exports import shipped
from tests.support.snapshots import snapshot_of
from tests.support.universes import ONE_OF_EACH, UNIVERSE_VERSIONS

# Many repositories, and in each some conditions of each kind.
_some = settings(max_examples=settings().max_examples // 5, suppress_health_check=list(HealthCheck))

_PLACES = [
    *((ONE_OF_EACH, Layout(universe=version)) for version in UNIVERSE_VERSIONS),
    (RICH, Layout("sqlite", collections="nameKey", datasets="1.0.0")),
    (RICH, Layout("postgresql", collections="nameKey", datasets="1.0.0")),
    (RICH, Layout("postgresql", datasets="1.0.0", icu_locale="en-US", namespace="butler")),
    (shipped("hsc-rc2-subset-v0"), Layout()),
    (shipped("lsstcam-subset"), Layout()),
    (shipped("ci_hsc-subset", "ci_hsc-subset-skymap"), Layout()),
    (shipped("base", "datasets"), Layout()),
    (shipped("base", "spatial"), Layout()),
]
_ELEMENTS = ["visit", "exposure", "detector", "patch", "physical_filter", "visit_detector_region"]


@pytest.fixture(scope="session", params=_PLACES, ids=lambda place: f"{place[0].name}-{place[1]}")
def elsewhere(request: pytest.FixtureRequest, repositories: Repositories) -> RealRepository:
    """Give each repository in turn, to read."""
    content, layout = request.param
    return repositories.shared(content, layout)


@_some
@given(data=st.data())
async def test_conditions_are_the_butlers(elsewhere: RealRepository, data: st.DataObject) -> None:
    butler = elsewhere.butler
    async with snapshot_of(elsewhere) as snapshot:
        names = data.draw(_dimensions(butler))
        await check_data_ids(snapshot, butler, names, data.draw(texts(butler, names)))
        name = data.draw(st.sampled_from(_ELEMENTS))
        await check_records(snapshot, butler, name, data.draw(texts(butler, butler.dimensions[name].dimensions.names)))
        kinds, collections = _datasets(butler)
        if kinds:
            kind = data.draw(st.sampled_from(kinds))
            names = sorted(butler.get_dataset_type(kind).dimensions.names)
            text = data.draw(texts(butler, names, ["run", "collection", "ingest_date", "dataset_id"]))
            await check_datasets(snapshot, butler, kind, collections, text, first=data.draw(st.booleans()))


def _dimensions(butler: Butler) -> st.SearchStrategy[list[str]]:
    """Draw one or two dimensions that have values in the registry."""
    universe = butler.dimensions
    names = [name for name in universe.dimensions.names if name not in universe.skypix_dimensions]
    return st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True)


@cache
def _datasets(butler: Butler) -> tuple[list[str], list[str]]:
    """List dataset types, and the runs that hold them."""
    return [kind.name for kind in butler.registry.queryDatasetTypes()], list(butler.collections.query("*"))
