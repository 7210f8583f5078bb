"""The demonstration repository: what it holds, and when it is built."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from lsst.daf.butler import Butler, CollectionType, DatasetExistence

from butlerql import demonstration as module
from tests.support.repositories import RealRepository


def test_has_files_in_each_state(demonstration: RealRepository) -> None:
    butler = demonstration.butler
    refs = butler.query_datasets("calexp", collections="HSC/runs/ci_hsc")
    assert Counter(butler.exists(ref) for ref in refs) == {
        DatasetExistence.VERIFIED: 31,
        DatasetExistence.RECORDED | DatasetExistence.DATASTORE: 1,
        DatasetExistence.RECORDED: 1,
    }


def test_has_every_kind_of_collection(demonstration: RealRepository) -> None:
    infos = demonstration.butler.collections.query_info("*", include_doc=True)
    assert {info.type for info in infos} == set(CollectionType)
    assert [info.name for info in infos if not info.doc] == ["skymaps"]
    assert demonstration.butler.collections.query("u/demo", flatten_chains=True)[0] == "u/demo/rerun"


def test_has_composites_whole_and_in_pieces(demonstration: RealRepository) -> None:
    butler, visit = demonstration.butler, {"instrument": "HSC", "visit": 903334}
    run = "HSC/runs/ci_hsc"
    assert butler.getURIs("isr_metrics", visit, detector=16, collections=run).primaryURI is not None
    assert sorted(butler.getURIs("focus_metrics", visit, collections=run)[1]) == ["data", "output", "summary"]
    assert butler.get("focus_metrics.data", visit, collections=run) == [16, 22, 23, 100]
    assert "FileDatastore_1" in str(butler.getURI("guider_table", visit, collections=run))


def test_has_calibrations_that_follow_each_other(demonstration: RealRepository) -> None:
    runs = {
        demonstration.butler.find_dataset(
            "bias", instrument="HSC", detector=16, collections="HSC/calib", timespan=span
        ).run
        for (record,) in (
            demonstration.butler.query_dimension_records("visit", instrument="HSC", visit=visit)
            for visit in (903334, 904010)
        )
        if (span := record.timespan)
    }
    assert runs == {"HSC/calib/2013/gen1", "HSC/calib/2013/gen2"}


def test_is_built_once(tmp_path: Path) -> None:
    root = tmp_path / "demo"
    module.build(root)
    before = (root / "gen3.sqlite3").stat().st_mtime_ns
    assert module.build(root) == root
    assert (root / "gen3.sqlite3").stat().st_mtime_ns == before
    # One that was interrupted is made again, with the same ids.
    ids = _ids(root)
    (root / module.MARKER).write_text('{"version": 1, "complete": false}')
    module.build(root)
    assert (root / "gen3.sqlite3").stat().st_mtime_ns != before
    assert _ids(root) == ids


def _ids(root: Path) -> set[str]:
    with Butler.from_config(root) as butler:
        return {str(ref.id) for ref in butler.query_all_datasets("HSC/runs/ci_hsc", limit=None)}


def test_leaves_other_directories_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(FileExistsError, match="something else"):
        module.build(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
