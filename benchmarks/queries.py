"""Ten questions of a survey, each beside the real Butler.

usage: python -m benchmarks.queries REPOSITORY      one that benchmarks.survey makes
"""

from __future__ import annotations

import asyncio
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import httpx
import orjson
from lsst.daf.butler import Butler, DatasetRef

from benchmarks.measure import race
from benchmarks.repositories import CHAIN, INSTRUMENT
from benchmarks.server import served
from benchmarks.survey import CALIBRATIONS, EVERYTHING, SKYMAP

_UUIDS = """query ($select: DatasetSelection!, $first: Int!) {
  datasets(select: $select, first: $first) { nodes { uuid } } }"""
_COUNT = "query ($select: DatasetSelection!) { datasets(select: $select) { totalCount } }"
_DATA_IDS = """query ($dimensions: [String!]!, $where: String, $datasets: [String!], $in: [String!], $first: Int) {
  dataIds(dimensions: $dimensions, where: $where, datasetTypes: $datasets, collections: $in, first: $first) {
    nodes { FIELDS } } }"""
_RECORDS = """query ($element: String!, $where: String, $order: [String!], $first: Int) {
  dimension(name: $element) { records(where: $where, orderBy: $order, first: $first) { nodes { values } } } }"""
_HERE = f"instrument = '{INSTRUMENT}'"
_MOST = 10_000


@dataclass
class _Question:
    """What is asked of both, and the answers in a form that can be compared."""

    title: str
    query: str
    variables: dict[str, Any]
    read: Callable[[Any], Any]
    ask: Callable[[Butler], Any]
    same: Callable[[Any], Any] = lambda answer: answer


def _datasets(title: str, select: dict[str, Any], ask: Callable[[Butler], list[DatasetRef]]) -> _Question:
    return _Question(
        title,
        _UUIDS,
        {"select": select, "first": _MOST},
        lambda data: {node["uuid"] for node in data["datasets"]["nodes"]},
        ask,
        lambda refs: {str(ref.id) for ref in refs},
    )


def _data_ids(
    title: str, keys: list[str], where: str, datasets: list[str] | None = None, within: str | None = None
) -> _Question:
    def ask(butler: Butler) -> list[Any]:
        with butler.query() as query:
            joined = reduce(lambda one, name: one.join_dataset_search(name, within), datasets or (), query)
            return list(joined.data_ids(keys).where(where))

    return _Question(
        title,
        _DATA_IDS.replace("FIELDS", " ".join(keys)),
        {
            "dimensions": keys,
            "where": where,
            "datasets": datasets,
            "in": None if within is None else [within],
            "first": _MOST,
        },
        lambda data: {tuple(node[key] for key in keys) for node in data["dataIds"]["nodes"]},
        ask,
        lambda found: {tuple(each[key] for key in keys) for each in found},
    )


def _questions() -> list[_Question]:
    one = f"{_HERE} AND visit = 1022 AND detector IN (3..7)"
    month = f"{_HERE} AND visit IN (1100..1199) AND band = 'r' AND detector < 10"
    seventeenth = f"{_HERE} AND detector = 16"
    bright = f"{seventeenth} AND visit.exposure_time > 20.0 AND visit.timespan.begin > T'2025-01-01T18:00:00'"
    cone = f"{seventeenth} AND visit.region OVERLAPS REGION('CIRCLE 320.6 20.0 20.0')"
    overlap = f"{_HERE} AND skymap = '{SKYMAP}' AND tract IN (3..6)"
    night = f"{_HERE} AND exposure IN (1400..1409) AND detector IN (10..19)"
    latest = f"{_HERE} AND day_obs = 20250104 AND band = 'g'"

    def query_datasets(name: str, collections: str, where: str, *, find_first: bool) -> Callable[[Butler], Any]:
        return lambda butler: butler.query_datasets(
            name, collections, find_first=find_first, where=where, limit=None, explain=False
        )

    def calibrations(butler: Butler) -> Any:
        with butler.query() as query:
            return list(query.datasets("bias", CALIBRATIONS, find_first=False).where(night))

    def count(butler: Butler) -> int:
        with butler.query() as query:
            return query.datasets("calexp", CHAIN).where(f"{_HERE} AND band = 'r'").count()

    def all_types(collections: str, name: str, where: str) -> Callable[[Butler], Any]:
        return lambda butler: butler.query_all_datasets(
            collections, name=name, where=where, find_first=False, limit=None
        )

    def select(types: str, collections: str, where: str, **more: Any) -> dict[str, Any]:
        return {"datasetTypes": [types], "collections": [collections], "where": where, **more}

    return [
        _datasets(
            "five detectors of a visit, the first found",
            select("calexp", CHAIN, one, findFirst=True),
            query_datasets("calexp", CHAIN, one, find_first=True),
        ),
        _datasets(
            "some detectors of a band in a hundred visits",
            select("calexp", CHAIN, month),
            query_datasets("calexp", CHAIN, month, find_first=False),
        ),
        _datasets(
            "a detector, by exposure time and begin",
            select("calexp", CHAIN, bright),
            query_datasets("calexp", CHAIN, bright, find_first=False),
        ),
        _datasets(
            "a detector, in a circle on the sky",
            select("calexp", CHAIN, cone),
            query_datasets("calexp", CHAIN, cone, find_first=False),
        ),
        _datasets(
            "biases valid for ten exposures and ten detectors", select("bias", CALIBRATIONS, night), calibrations
        ),
        _datasets(
            "all dataset types by glob, related to a visit",
            select("*", EVERYTHING, f"{seventeenth} AND visit = 1022", related=True),
            all_types(EVERYTHING, "*", f"{seventeenth} AND visit = 1022"),
        ),
        _data_ids("visits and patches that overlap in four tracts", ["visit", "tract", "patch"], overlap),
        _data_ids("data IDs of datasets of a band", ["visit", "detector"], month, ["calexp"], CHAIN),
        _Question(
            "the latest hundred visits of a day and band",
            _RECORDS,
            {"element": "visit", "where": latest, "order": ["-visit.timespan.begin"], "first": 100},
            lambda data: [node["values"]["id"] for node in data["dimension"]["records"]["nodes"]],
            lambda butler: butler.query_dimension_records(
                "visit", where=latest, order_by="-visit.timespan.begin", limit=100, explain=False
            ),
            lambda records: [record.id for record in records],
        ),
        _Question(
            "how many datasets of a band, the first found",
            _COUNT,
            {"select": select("calexp", CHAIN, f"{_HERE} AND band = 'r'", findFirst=True)},
            lambda data: data["datasets"]["totalCount"],
            count,
        ),
    ]


async def main(directory: Path) -> None:
    """Race them."""
    butler = Butler.from_config(str(directory))
    ratios = []
    print(f"Ten questions, {directory.name}: ButlerQL through HTTP, the Butler in process")
    with served(directory) as url:
        async with httpx.AsyncClient(base_url=url, timeout=60, headers={"Accept-Encoding": "identity"}) as client:
            for question in _questions():
                body = {"query": question.query, "variables": question.variables}

                async def through_http(body: dict[str, Any] = body) -> Any:
                    return orjson.loads((await client.post("/graphql", json=body)).content)

                answer = await through_http()
                assert "errors" not in answer, answer
                found = question.read(answer["data"])
                assert found == question.same(question.ask(butler)) and found, (question.title, found)

                def in_process(question: _Question = question) -> Any:
                    return question.ask(butler)

                ours, theirs = (await race({"ours": through_http, "theirs": in_process})).values()
                ratios.append(theirs / ours)
                number = found if isinstance(found, int) else len(found)
                times = f"{ours * 1e3:9.1f} ms {theirs * 1e3:9.1f} ms {ratios[-1]:7.1f} x"
                print(f"  {question.title:<52} {number:6} {times}")
    print(f"  least {min(ratios):.1f} x, median {statistics.median(ratios):.1f} x")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
