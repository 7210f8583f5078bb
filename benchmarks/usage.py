"""How much space all datasets take by dataset type and run, beside SQL on the bare driver.

usage: python -m benchmarks.usage REPOSITORY
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from graphql import parse

from benchmarks.measure import race, report
from butlerql.resolvers.context import Limits
from butlerql.resolvers.service import build_service
from butlerql.storage.repository import Repository

_QUERY = """{ repository { datastore { usage(by: [DATASET_TYPE, RUN]) {
  bytes artifacts datasets unsized groups { key bytes artifacts datasets } } } } }"""

# Right where no two datasets share a file and none is split.
_BARE = """
SELECT t.name, c.name, datasets, datasets, bytes FROM (
    SELECT d.dataset_type_id, d.run_id, count(*) AS datasets, sum(r.file_size) AS bytes
    FROM file_datastore_records r JOIN dataset d ON d.id = r.dataset_id GROUP BY d.dataset_type_id, d.run_id) f
JOIN dataset_type t ON t.id = f.dataset_type_id JOIN collection c ON c.collection_id = f.run_id ORDER BY 1, 2
"""
# Each file once, whoever shares it.
_EXACT = """
SELECT t.name, c.name, datasets, artifacts, bytes FROM (
    SELECT dataset_type_id, run_id, sum(datasets) AS datasets, count(*) AS artifacts, sum(size) AS bytes FROM (
        SELECT d.dataset_type_id, d.run_id, r.path, count(DISTINCT d.id) AS datasets, max(r.file_size) AS size
        FROM file_datastore_records r JOIN dataset d ON d.id = r.dataset_id
        GROUP BY d.dataset_type_id, d.run_id, r.path)
    GROUP BY dataset_type_id, run_id) f
JOIN dataset_type t ON t.id = f.dataset_type_id JOIN collection c ON c.collection_id = f.run_id ORDER BY 1, 2
"""


async def main(directory: Path) -> None:
    """Race them."""
    link = sqlite3.connect(f"file:{directory}/gen3.sqlite3?mode=ro", uri=True)
    # As much memory as the service gives the database.
    link.execute("PRAGMA cache_size = -32768")
    service = build_service(await Repository.open(str(directory), snapshot_seconds=120), Limits())
    document = parse(_QUERY)

    async def ask() -> Any:
        result = await service.execute(document)
        assert result.errors is None, result.errors
        return result.data

    with closing(link):

        def bare(statement: str) -> list[Any]:
            return link.execute(statement).fetchall()

        ours = (await ask())["repository"]["datastore"]["usage"]
        found = [
            (*group["key"].values(), *(group[name] for name in ("datasets", "artifacts", "bytes")))
            for group in ours["groups"]
        ]
        assert found == bare(_BARE) == bare(_EXACT), "The answers differ."
        best = await race(
            {
                "ButlerQL, with totals": ask,
                "bare SQL, for files of one dataset each": lambda: bare(_BARE),
                "bare SQL, each file once": lambda: bare(_EXACT),
            },
            3,
        )
    await service.close()
    report(
        f"Space by dataset type and run, {ours['datasets']:,} datasets, SQLite",
        best,
        "bare SQL, for files of one dataset each",
    )


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
