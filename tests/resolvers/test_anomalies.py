"""Anomalies in the graph."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from butlerql.storage.provenance.ingest import ingest
from butlerql.storage.provenance.records import (
    ExecutionRecord,
    QuantumRecord,
    QuantumStatus,
    Record,
    Source,
    SourceKind,
)
from butlerql.storage.repository import Repository
from tests.support.asking import Ask, asking, codes_of, data_of
from tests.support.provenance_state import in_batches
from tests.support.repositories import Dialect, Layout, RealRepository, Repositories
from tests.support.small import SMALL

QUERY = """query ($run: String!, $baseline: [String!]!, $ratio: Float, $least: Int, $first: Int) {
    anomalies(run: $run, baseline: $baseline, ratio: $ratio, minExecutions: $least) {
        kind task { label } runName run { name } observed baseline ratio executions pValue
        examples(first: $first) { host runTime exception quantum { dataIdValues } } } }"""


@pytest.fixture(scope="module")
def real(repositories: Repositories, dialect: Dialect) -> Iterator[RealRepository]:
    with repositories.private(SMALL, Layout(dialect)) as made:
        yield made


@pytest.fixture(scope="module")
async def question(real: RealRepository) -> AsyncIterator[Ask]:
    repository = await Repository.open(real.uri)
    await ingest(repository.state, Source(SourceKind.JSON_LINES, "nights", "1"), in_batches(nights()))
    await repository.close()
    async with asking(real) as given:
        yield given


def nights() -> Iterator[Record]:
    """Do the same in a night and in `run`, where all takes four times as long and half of it fails at first."""
    failed = ExecutionRecord(0, QuantumStatus.FAILED, "bad", 1, exception="lsst.Broken")
    for number in range(20):
        data_id: dict[str, int | str] = {"instrument": "Cam", "detector": number}
        for run, seconds in (("night/1", 1.0 + number), ("run", 4.0 + 4 * number)):
            good = ExecutionRecord(0, QuantumStatus.SUCCESSFUL, "good", 2, run_time=seconds, cpu_time=1.0, max_rss=1)
            attempts = (failed, replace(good, attempt=1)) if run == "run" and number % 2 else (good,)
            yield QuantumRecord(run, "isr", data_id, executions=attempts)
            # What comes after it is planned in the second run, and does not run.
            yield QuantumRecord(run, "calibrate", data_id, executions=(good,) if run == "night/1" else ())


async def test_what_departs_the_most_comes_first(question: Ask) -> None:
    answer = data_of(await question(QUERY, run="run", baseline=["night/*"], first=2))["anomalies"]
    gone, failing, slow = answer
    names = {"runName": "run", "run": {"name": "run"}}
    assert gone == {
        **names,
        "kind": "EXECUTION_COUNT",
        "task": {"label": "calibrate"},
        "observed": 0.0,
        "baseline": 20.0,
        "ratio": 0.0,
        "executions": 0,
        "pValue": None,
        "examples": [],
    }
    failures = failing.pop("examples")
    assert failing.pop("pValue") == pytest.approx(0.00292, abs=1e-5)
    assert failing == {
        **names,
        "kind": "FAILURE_RATE",
        "task": {"label": "isr"},
        "observed": pytest.approx(1 / 3),
        "baseline": 0.0,
        "ratio": pytest.approx(40 / 3),
        "executions": 30,
    }
    assert failures == [
        {
            "host": "bad",
            "runTime": None,
            "exception": "lsst.Broken",
            "quantum": {"dataIdValues": {"instrument": "Cam", "detector": detector}},
        }
        for detector in (1, 3)
    ]
    assert (slow["kind"], slow["observed"], slow["baseline"], slow["ratio"]) == ("RUN_TIME", 42.0, 10.5, 4.0)
    assert (slow["executions"], slow["pValue"]) == (20, pytest.approx(2**-20))
    assert [one["runTime"] for one in slow["examples"]] == [80.0, 76.0]


async def test_the_registry_may_have_forgotten_the_run(question: Ask) -> None:
    answer = data_of(await question(QUERY, run="night/1", baseline=["run"], ratio=1, least=1))["anomalies"]
    assert {one["kind"] for one in answer} == {"EXECUTION_COUNT"}
    assert all((one["runName"], one["run"]) == ("night/1", None) for one in answer)


async def test_nobody_can_tell_of_what_is_not_known(question: Ask) -> None:
    for run, baseline in (("nobody", ["*"]), ("run", ["nobody"]), ("run", ["run"]), ("run", []), ("r*", ["night/1"])):
        assert data_of(await question(QUERY, run=run, baseline=baseline))["anomalies"] is None, (run, baseline)


async def test_nonsense_is_refused(question: Ask) -> None:
    for wrong, path, code in (
        ({"ratio": 0.9}, ["anomalies"], "INVALID_ARGUMENT"),
        ({"least": 0}, ["anomalies"], "INVALID_ARGUMENT"),
        ({"baseline": ["a\0"]}, ["anomalies"], "INVALID_ARGUMENT"),
        ({"first": -1}, ["anomalies", 0, "examples"], "INVALID_ARGUMENT"),
        ({"first": 10**6}, ["anomalies", 0, "examples"], "LIMIT_EXCEEDED"),
    ):
        given = {"run": "run", "baseline": ["night/1"], **wrong}
        assert (path, code) in codes_of(await question(QUERY, **given))
