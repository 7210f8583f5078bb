"""What is written in bulk for the benchmarks is what the real Butler would have written."""

from __future__ import annotations

import sqlite3

import pytest

from benchmarks.repositories import CHAIN, DETECTORS, INSTRUMENT, PER_DETECTOR, PER_VISIT, RERUN, fill
from tests.support.repositories import Content, Dialect, Layout, RealRepository, Repositories

LARGE = Content("5,000 datasets", lambda butler, _: fill(butler, 5_000, 4))


@pytest.fixture(scope="module")
def large(repositories: Repositories, dialect: Dialect) -> RealRepository:
    return repositories.shared(LARGE, Layout(dialect))


def test_the_butler_finds_all_of_it(large: RealRepository) -> None:
    butler = large.butler
    visits = butler.query_dimension_records("visit", instrument=INSTRUMENT)
    found = butler.query_datasets("calexp", collections=CHAIN, limit=None)
    assert len(found) == DETECTORS * len(visits)
    assert sum(ref.run == RERUN for ref in found) == DETECTORS * ((len(visits) + 9) // 10)
    total = sum(len(butler.query_all_datasets(run, limit=None)) for run in butler.collections.query(CHAIN))
    assert total >= 5_000
    of_one = butler.query_all_datasets(CHAIN, data_id={"instrument": INSTRUMENT, "visit": 1000, "detector": 5})
    assert {ref.datasetType.name for ref in of_one} == {*PER_DETECTOR, *PER_VISIT}


def test_its_records_are_those_of_a_put(large: RealRepository) -> None:
    butler = large.butler
    ref = butler.find_dataset("calexp", instrument=INSTRUMENT, visit=1001, detector=5, collections=CHAIN)
    assert ref is not None
    assert butler._datastore.knows(ref)
    assert butler.getURI(ref) == butler._datastore.root.join(
        "run/2/calexp/20250103/1001/calexp_LSSTCam_1001_R0_S5_run_2.yaml"
    )
    butler.registry.refresh()
    assert butler.collections.get_info("run/2", include_summary=True).dataset_types >= {"calexp", *PER_VISIT}


def test_the_butler_can_go_on_with_it(repositories: Repositories, dialect: Dialect) -> None:
    with repositories.private(LARGE, Layout(dialect)) as repository:
        butler = repository.open(writeable=True)
        ref = butler.find_dataset("visit_log", instrument=INSTRUMENT, visit=1000, collections=CHAIN)
        assert ref is not None
        butler.pruneDatasets([ref], disassociate=True, unstore=True, purge=True)
        again = butler.put({}, "visit_log", instrument=INSTRUMENT, visit=1000, run=ref.run)
        assert butler.exists(again)
        if dialect == "sqlite":
            with sqlite3.connect(repository.sqlite_file) as link:
                assert link.execute("PRAGMA foreign_key_check").fetchall() == []
            link.close()
