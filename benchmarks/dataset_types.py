"""All dataset types of a data ID in a chain, beside the Butler's query_all_datasets.

usage: python -m benchmarks.dataset_types REPOSITORY
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import httpx
from lsst.daf.butler import Butler

from benchmarks.measure import race, report
from benchmarks.repositories import CHAIN, INSTRUMENT
from benchmarks.server import served

_QUERY = """query ($values: DataIdValues!, $chain: String!) {
  dataId(values: $values) { datasetTypes(collections: [$chain], match: CONTAINING) { nodes { name } } } }"""


async def main(directory: Path) -> None:
    """Race them."""
    butler = Butler.from_config(str(directory))
    visit = min(record.id for record in butler.query_dimension_records("visit", instrument=INSTRUMENT, limit=100))
    values = {"instrument": INSTRUMENT, "visit": visit, "detector": 16}

    def ask_butler() -> set[str]:
        where = " AND ".join(f"{name}={value!r}" for name, value in values.items())
        refs = butler.query_all_datasets(CHAIN, where=where, find_first=False, limit=None)
        wanted = set(values)
        return {ref.datasetType.name for ref in refs if wanted <= set(ref.datasetType.dimensions.names)}

    with served(directory) as url:
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:

            async def through_http() -> set[str]:
                variables = {"values": values, "chain": CHAIN}
                response = await client.post("/graphql", json={"query": _QUERY, "variables": variables})
                return {node["name"] for node in response.json()["data"]["dataId"]["datasetTypes"]["nodes"]}

            assert await through_http() == ask_butler() != set()
            best = await race({"ButlerQL through HTTP": through_http, "the Butler: query_all_datasets": ask_butler}, 20)
    report(f"All dataset types of a visit and detector, {directory.name}", best, "ButlerQL through HTTP")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
