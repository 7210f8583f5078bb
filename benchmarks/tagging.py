"""Tagging a million selected datasets, beside the Butler, the bare statement, and no more than the indexes.

usage: python -m benchmarks.tagging CACHE      where repositories are kept
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from lsst.daf.butler import Butler, CollectionType

from benchmarks.measure import report
from benchmarks.repositories import large
from butlerql.storage.registry.selection import DatasetSelection
from butlerql.storage.registry.tagging import TagConflict
from butlerql.storage.registry.tagging_jobs import Asked, Tagging, TaggingRequest
from butlerql.storage.repository import Repository
from butlerql.storage.state.coordinator import Coordinator
from butlerql.storage.state.jobs import find_job
from butlerql.storage.state.workers import processes

_DATASETS = 2_000_000
_TYPE, _RUN = "calexp", "run/1"
_BARE = """
INSERT INTO dataset_tags_00000001 (dataset_type_id, dataset_id, instrument, detector, visit, collection_id)
SELECT dataset_type_id, dataset_id, instrument, detector, visit, ? FROM dataset_tags_00000001
WHERE collection_id = ? AND dataset_type_id = ? ORDER BY dataset_id
"""


def by_butler(root: str) -> tuple[float, float]:
    """Find the datasets with the Butler and tag them; seconds of each."""
    with Butler.from_config(root, writeable=True) as butler:
        butler.collections.register("by the Butler", CollectionType.TAGGED)
        begin = time.perf_counter()
        refs = butler.query_datasets(_TYPE, collections=_RUN, limit=None)
        found = time.perf_counter()
        butler.registry.associate("by the Butler", refs)
        tagged = time.perf_counter()
        butler.collections.x_remove("by the Butler")
    return found - begin, tagged - found


def by_statement(root: str) -> float:
    """Insert the rows by a statement that was written for this, without looking at anything."""
    with closing(sqlite3.connect(f"{root}/gen3.sqlite3", isolation_level=None)) as link:
        link.execute("PRAGMA foreign_keys = ON")
        link.execute("BEGIN IMMEDIATE")
        [(run,)] = link.execute("SELECT collection_id FROM collection WHERE name = ?", (_RUN,))
        [(kind,)] = link.execute("SELECT id FROM dataset_type WHERE name = ?", (_TYPE,))
        link.execute("INSERT INTO collection (name, type) VALUES ('bare', ?)", (CollectionType.TAGGED.value,))
        [(tag,)] = link.execute("SELECT collection_id FROM collection WHERE name = 'bare'")
        link.execute("INSERT INTO collection_summary_dataset_type VALUES (?, ?)", (tag, kind))
        link.execute(
            "INSERT INTO collection_summary_instrument SELECT ?, instrument FROM collection_summary_instrument "
            "WHERE collection_id = ?",
            (tag, run),
        )
        begin = time.perf_counter()
        link.execute(_BARE, (tag, run, kind))
        seconds = time.perf_counter() - begin
        link.execute("ROLLBACK")
    return seconds


def by_sorting(root: str) -> float:
    """Make the same rows and then each of their indexes, sorted, in memory; there is no quicker way to an index."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as link:
        link.execute("ATTACH ? AS known", (f"{root}/gen3.sqlite3",))
        tags = "known.dataset_tags_00000001"
        named = [name for _, name, *_ in link.execute("PRAGMA known.index_list(dataset_tags_00000001)")]
        indexes = [[column for *_, column in link.execute(f"PRAGMA known.index_info({name})")] for name in named]
        link.execute(
            f"CREATE TABLE found AS SELECT tags.* FROM {tags} AS tags JOIN known.collection USING (collection_id) "
            "JOIN known.dataset_type AS kind ON kind.id = tags.dataset_type_id "
            "WHERE collection.name = ? AND kind.name = ? ORDER BY dataset_id",
            (_RUN, _TYPE),
        )
        link.execute("CREATE TABLE made AS SELECT * FROM found WHERE FALSE")
        begin = time.perf_counter()
        link.execute("INSERT INTO made SELECT * FROM found")
        for number, columns in enumerate(indexes):
            link.execute(f"CREATE INDEX made_{number} ON made ({', '.join(columns)})")
        return time.perf_counter() - begin


async def by_job(root: str) -> tuple[int, float]:
    """Have a job do it; how many datasets it tagged."""
    repository = await Repository.open(root, writable=True, snapshot_seconds=60)
    await repository.state.upgrade()
    selection = DatasetSelection(runs=[_RUN], dataset_types=[_TYPE])
    request = TaggingRequest("by ButlerQL", selection, TagConflict.ERROR, create=True)
    coordinator = Coordinator(repository.state, [Tagging(repository)], processes(1).make_executor, width=1)
    begin = time.perf_counter()
    job = await repository.state.write(Asked(request, "benchmark", None).ask)
    await coordinator.run_next()
    seconds = time.perf_counter() - begin
    done = await find_job(repository.state, job.id)
    assert done is not None and done.error is None, done
    await repository.close()
    changed: int = done.result["changed"]
    return changed, seconds


def main(cache: Path) -> None:
    """Race them."""
    with tempfile.TemporaryDirectory() as directory:
        root = str(shutil.copytree(large(cache, datasets=_DATASETS), f"{directory}/repository"))
        finding, tagging = by_butler(root)
        bare = by_statement(root)
        least = by_sorting(root)
        number, ours = asyncio.run(by_job(root))
    times = {
        "ButlerQL": ours,
        "the bare INSERT ... SELECT": bare,
        "its rows and indexes made in memory, each index of sorted rows": least,
        "the Butler's associate": tagging,
        "the Butler's query_datasets and associate": finding + tagging,
    }
    report(f"Tagging {number} datasets", times, "ButlerQL")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
