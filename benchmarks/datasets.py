"""10,000 datasets with data ID, type, run, URI and size, beside the raw driver, the Butler, and stock Strawberry.

usage: python -m benchmarks.datasets REPOSITORY
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import orjson
from lsst.daf.butler import Butler

from benchmarks.measure import race, report
from benchmarks.server import served
from benchmarks.stock_strawberry import Loaders
from benchmarks.stock_strawberry import schema as stock_schema
from butlerql.resolvers.context import Limits, RequestContext
from butlerql.storage.repository import Repository

_SIZE = 10_000
_QUERY = """{ datasets(select: {datasetTypes: ["calexp"], collections: ["all"]}, first: 10000) { nodes {
  uuid datasetType { name } run { name } dataId { values } artifacts { uri size } } } }"""
_STOCK = _QUERY.replace('select: {datasetTypes: ["calexp"], collections: ["all"]}', 'types: ["calexp"]')

# Two runs, each in the order of its index, merged; the rest by primary keys.
_SQL = """
SELECT substr(t.dataset_id, 1, 8) || '-' || substr(t.dataset_id, 9, 4) || '-' || substr(t.dataset_id, 13, 4) || '-'
         || substr(t.dataset_id, 17, 4) || '-' || substr(t.dataset_id, 21),
       t.run, t.instrument, t.detector, t.visit, f.band, v.day_obs, v.physical_filter, r.path, r.file_size
FROM (SELECT * FROM (
        SELECT dataset_id, :first AS run, instrument, detector, visit FROM {tags}
        WHERE dataset_type_id = :type AND collection_id = :first
        UNION ALL
        SELECT dataset_id, :second AS run, instrument, detector, visit FROM {tags}
        WHERE dataset_type_id = :type AND collection_id = :second)
      ORDER BY instrument, detector, visit, dataset_id LIMIT :size) t
JOIN visit v ON v.instrument = t.instrument AND v.id = t.visit
JOIN physical_filter f ON f.instrument = t.instrument AND f.name = v.physical_filter
JOIN file_datastore_records r ON r.dataset_id = t.dataset_id
"""


class Raw:
    """The driver alone, with the best SQL that we could write for this one question."""

    def __init__(self, directory: Path) -> None:
        self.root = f"file://{directory.absolute()}/"
        self.link = sqlite3.connect(f"file:{directory}/gen3.sqlite3?mode=ro", uri=True)
        rows = "SELECT c.collection_id, c.name FROM collection_chain h JOIN collection c ON c.collection_id = h.child"
        self.runs = dict(self.link.execute(f"{rows} ORDER BY h.position").fetchall())
        kind = "SELECT id, tag_association_table FROM dataset_type WHERE name = 'calexp'"
        self.kind, self.tags = self.link.execute(kind).fetchone()

    def ask(self) -> bytes:
        """Answer the question as JSON."""
        first, second = self.runs
        rows = self.link.execute(
            _SQL.format(tags=self.tags), {"first": first, "second": second, "type": self.kind, "size": _SIZE}
        )
        names = self.runs
        root = self.root
        nodes = [
            {
                "uuid": uuid,
                "datasetType": {"name": "calexp"},
                "run": {"name": names[run]},
                "dataId": {
                    "values": {
                        "instrument": instrument,
                        "detector": detector,
                        "visit": visit,
                        "band": band,
                        "day_obs": day_obs,
                        "physical_filter": physical_filter,
                    }
                },
                "artifacts": [{"uri": root + path, "size": size}],
            }
            for uuid, run, instrument, detector, visit, band, day_obs, physical_filter, path, size in rows
        ]
        return orjson.dumps({"data": {"datasets": {"nodes": nodes}}})


def _ask_butler(butler: Butler) -> Any:
    refs = butler.query_datasets("calexp", "all", find_first=False, order_by=["detector", "visit"], limit=_SIZE)
    return refs, butler._datastore.getManyURIs(refs)


async def _ask_stock(repository: Repository) -> bytes:
    async with RequestContext(repository, Limits()) as context:
        result = await stock_schema.execute(_STOCK, context_value=Loaders(context))
        assert result.errors is None, result.errors
        return orjson.dumps({"data": result.data})


async def main(directory: Path) -> None:
    """Race them."""
    raw = Raw(directory)
    butler = Butler.from_config(str(directory))
    repository = await Repository.open(str(directory), snapshot_seconds=60)
    with served(directory) as url, closing(raw.link):
        # Without compression: on loopback it would be most of what is measured.
        plain = {"Accept-Encoding": "identity"}
        async with httpx.AsyncClient(base_url=url, timeout=60, headers=plain) as client:

            async def through_http() -> bytes:
                response = await client.post("/graphql", json={"query": _QUERY})
                return response.content

            ours, theirs = orjson.loads(await through_http()), orjson.loads(raw.ask())
            assert ours == theirs, "The answers differ."
            assert orjson.loads(await _ask_stock(repository)) == ours
            best = await race(
                {
                    "ButlerQL through HTTP": through_http,
                    "raw driver and orjson": raw.ask,
                    "the Butler: query_datasets and getManyURIs": lambda: _ask_butler(butler),
                    "stock Strawberry with data loaders": lambda: _ask_stock(repository),
                }
            )
    await repository.close()
    report(f"{_SIZE:,} datasets, SQLite, {directory.name}", best, "ButlerQL through HTTP")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
