"""Ten questions of a survey, each beside the real Butler: through its own server, and in process.

All do the same work: what the Butler's answer holds is asked of ButlerQL, too. Each is asked with other values each
time, so that nothing is answered from memory; all are warm.

usage: python -m benchmarks.queries REPOSITORY      one that benchmarks.survey makes
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
from lsst.daf.butler import Butler, DatasetRef
from lsst.daf.butler.remote_butler import RemoteButler

from benchmarks.repositories import CHAIN, INSTRUMENT
from benchmarks.server import served, served_by_butler
from benchmarks.survey import CALIBRATIONS, EVERYTHING, SKYMAP

_DATASETS = """query ($select: DatasetSelection!, $first: Int!) {
  datasets(select: $select, first: $first) { nodes { uuid run { name } dataId { values } } } }"""
_FILES = _DATASETS.replace("uuid", "uuid filename")
_COUNT = "query ($select: DatasetSelection!) { datasets(select: $select) { totalCount } }"
_DATA_IDS = """query ($dimensions: [String!]!, $where: String, $datasets: [String!], $in: [String!], $first: Int) {
  dataIds(dimensions: $dimensions, where: $where, datasetTypes: $datasets, collections: $in, first: $first) {
    nodes { FIELDS } } }"""
_RECORDS = """query ($element: String!, $where: String, $order: [String!], $first: Int) {
  dimension(name: $element) { records(where: $where, orderBy: $order, first: $first) { nodes { values } } } }"""
_HERE = f"instrument = '{INSTRUMENT}'"
_MOST = 10_000
_ROUNDS = 15


@dataclass
class _Question:
    """What is asked of both, and the answers in a form that can be compared."""

    title: str
    query: str
    variables: dict[str, Any]
    read: Callable[[Any], Any]
    ask: Callable[[Butler], Any]
    same: Callable[[Any], Any] = lambda answer: answer


def _datasets(title: str, select: dict[str, Any], ask: Callable[[Butler], Iterable[DatasetRef]]) -> _Question:
    return _Question(
        title,
        _DATASETS,
        {"select": select, "first": _MOST},
        lambda data: {
            node["uuid"]: (node["run"]["name"], node["dataId"]["values"]) for node in data["datasets"]["nodes"]
        },
        ask,
        lambda refs: {str(ref.id): (ref.run, dict(ref.dataId.mapping)) for ref in refs},
    )


def _files(title: str, select: dict[str, Any], ask: Callable[[Butler], list[DatasetRef]]) -> _Question:
    def with_uris(butler: Butler) -> Any:
        refs = ask(butler)
        # A client of the Butler's server can ask for one URI at a time only, each by a request: it is spared that.
        return refs, None if isinstance(butler, RemoteButler) else butler.get_many_uris(refs)

    asked = _datasets(title, select, ask)
    asked.query, asked.ask = _FILES, with_uris
    asked.read = lambda data: {node["uuid"]: node["filename"] for node in data["datasets"]["nodes"]}
    asked.same = lambda found: {str(ref.id): found[1][ref].primaryURI.ospath for ref in found[0]} if found[1] else None
    return asked


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


def _questions(turn: int) -> list[_Question]:
    """Make the questions of a round."""
    visit, band, day = 1022 + 22 * turn, "griz"[turn % 4], 20250103 + turn % 2
    one = f"{_HERE} AND visit = {visit} AND detector IN (3..7)"
    month = f"{_HERE} AND visit IN ({1100 + turn}..{1199 + turn}) AND band = '{band}'"
    seventeenth = f"{_HERE} AND detector = {16 + turn}"
    bright = f"{seventeenth} AND visit.exposure_time > 20.0 AND visit.timespan.begin > T'2025-01-01T18:00:{turn:02}'"
    cone = f"{seventeenth} AND visit.region OVERLAPS REGION('CIRCLE {320.6 + turn} 20.0 20.0')"
    overlap = f"{_HERE} AND skymap = '{SKYMAP}' AND tract IN ({3 + turn}..{6 + turn})"
    night = f"{_HERE} AND exposure IN ({1400 + turn}..{1409 + turn}) AND detector IN (10..19)"
    latest = f"{_HERE} AND day_obs = {day} AND band = '{band}'"

    def query_datasets(name: str, collections: str, where: str, *, find_first: bool) -> Callable[[Butler], Any]:
        return lambda butler: butler.query_datasets(
            name, collections, find_first=find_first, where=where, limit=None, explain=False
        )

    def calibrations(butler: Butler) -> Any:
        with butler.query() as query:
            return list(query.datasets("bias", CALIBRATIONS, find_first=False).where(night))

    def count(butler: Butler) -> int:
        with butler.query() as query:
            return query.datasets("calexp", CHAIN).where(f"{_HERE} AND band = '{band}'").count()

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
        _files(
            "forty detectors of a band in a hundred visits, and where their files are",
            select("calexp", CHAIN, f"{month} AND detector < 40"),
            query_datasets("calexp", CHAIN, f"{month} AND detector < 40", find_first=False),
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
            select("*", EVERYTHING, f"{seventeenth} AND visit = {visit}", related=True),
            all_types(EVERYTHING, "*", f"{seventeenth} AND visit = {visit}"),
        ),
        _data_ids("visits and patches that overlap in four tracts", ["visit", "tract", "patch"], overlap),
        _data_ids(
            "data IDs of datasets of a band", ["visit", "detector"], f"{month} AND detector < 10", ["calexp"], CHAIN
        ),
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
            {"select": select("calexp", CHAIN, f"{_HERE} AND band = '{band}'", findFirst=True)},
            lambda data: data["datasets"]["totalCount"],
            count,
        ),
    ]


def _through_http(link: HTTPConnection, question: _Question) -> Any:
    """Ask by the standard library: other clients take longer than what stands behind."""
    body = orjson.dumps({"query": question.query, "variables": question.variables})
    link.request("POST", "/graphql", body, {"Content-Type": "application/json"})
    return orjson.loads(link.getresponse().read())


def _timed(questions: Sequence[_Question], ask: Callable[[_Question], Any]) -> tuple[list[Any], float]:
    """Ask one after another; gives the answers, and the median of the seconds of all but the first, which warms up."""
    answers, seconds = [], []
    gc.collect()
    for question in questions:
        begin = time.perf_counter()
        answers.append(ask(question))
        seconds.append(time.perf_counter() - begin)
    return answers, statistics.median(seconds[1:])


def _check(question: _Question, answer: Any, other: Any) -> int:
    """Make sure that an answer is the Butler's; how much was found."""
    assert "errors" not in answer, answer
    found, same = question.read(answer["data"]), question.same(other)
    assert found, question
    assert found == same or same is None, question
    return found if isinstance(found, int) else len(found)


def main(directory: Path) -> None:
    """Ask all of them."""
    print(f"Ten questions, {directory.name}: ButlerQL through HTTP; the Butler through HTTP, and in process")
    ratios: list[list[float]] = []
    with served(directory) as url, served_by_butler(directory, directory.with_name("butler-server")) as remote:
        butlers: list[Butler] = [remote, Butler.from_config(str(directory))]
        for questions in zip(*map(_questions, range(_ROUNDS + 1)), strict=True):
            link = HTTPConnection(urlsplit(url).netloc)
            answers, ours = _timed(questions, partial(_through_http, link))
            link.close()
            line = f"{ours * 1e3:9.1f} ms"
            ratios.append([])
            for butler in butlers:
                others, theirs = _timed(questions, lambda question, butler=butler: question.ask(butler))
                numbers = list(map(_check, questions, answers, others))
                ratios[-1].append(theirs / ours)
                line += f" {theirs * 1e3:9.1f} ms {ratios[-1][-1]:7.1f} x"
            print(f"  {questions[0].title:<72} {numbers[-1]:6} {line}")
    for name, times in zip(("through HTTP", "in process"), zip(*ratios, strict=True), strict=True):
        print(f"  the Butler {name}: least {min(times):.1f} x, median {statistics.median(times):.1f} x")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
