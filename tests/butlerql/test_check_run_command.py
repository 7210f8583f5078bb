"""Checks of runs from the command line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from click.testing import CliRunner, Result
from lsst.daf.butler import CollectionType

from butlerql import check_run_report
from butlerql.cli import main
from butlerql.storage.provenance.ingest import ingest
from butlerql.storage.provenance.records import (
    DatasetRecord,
    ExecutionRecord,
    QuantumRecord,
    QuantumStatus,
    Source,
    SourceKind,
)
from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.registry.selection import DatasetSelection, select
from butlerql.storage.repository import Repository
from tests.support.pipelines.recorded import Recorded
from tests.support.provenance_state import in_batches
from tests.support.repositories import Layout, RealRepository, Repositories
from tests.support.things import THINGS

GONE, LOG = UUID(int=1), UUID(int=2)
DATA_ID: dict[str, int | str] = {"instrument": "Cam1", "detector": 1}


@pytest.fixture(scope="module")
def things(repositories: Repositories) -> Iterator[RealRepository]:
    with repositories.private(THINGS, Layout("sqlite")) as copy:
        yield copy


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["check-run", *arguments])


def test_nothing_is_wrong_and_nothing_is_known(things: RealRepository) -> None:
    result = run(things.uri, "a")
    assert (result.exit_code, result.stderr) == (3, "")
    assert result.stdout.splitlines() == [
        "run         a",
        "consistent  nothing is known of the work that wrote it; take its provenance in first",
        "problems    none",
    ]
    told = json.loads(run(things.uri, "a", "--json").stdout)
    assert told == {"run": "a", "consistent": None, "summary": [], "problems": []}


def test_what_is_wrong_is_told(things: RealRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(take_in(things.uri))
    result = run(things.uri, "a")
    assert (result.exit_code, result.stderr) == (1, "")
    head, told = result.stdout.split("\n\n")
    assert head.splitlines() == [
        "run         a",
        "consistent  no",
        "problems    1 OUTPUT_NOT_IN_REGISTRY",
        "            3 NO_PRODUCER",
        "            1 QUANTUM_WITHOUT_LOG",
    ]
    lines = told.splitlines()
    assert len(lines) == 10
    assert lines[0] == f"OUTPUT_NOT_IN_REGISTRY  thing of makeThing {{detector: 1, instrument: Cam1}}  {GONE}"
    assert lines[2].startswith("NO_PRODUCER  thing {instrument: Cam1, detector: 2}  ")
    assert lines[8] == f"QUANTUM_WITHOUT_LOG  of makeThing {{detector: 1, instrument: Cam1}}  {LOG}"
    assert lines[9] == "    It is SUCCESSFUL, and the registry does not have its log."

    # Page by page.
    monkeypatch.setattr(check_run_report, "_PAGE", 2)
    result = run(things.uri, "a", "--json")
    everything = json.loads(result.stdout)
    assert (result.exit_code, everything["consistent"]) == (1, False)
    assert everything["summary"] == [
        {"kind": "OUTPUT_NOT_IN_REGISTRY", "count": 1},
        {"kind": "NO_PRODUCER", "count": 3},
        {"kind": "QUANTUM_WITHOUT_LOG", "count": 1},
    ]
    gone, *nobody, without = everything["problems"]
    assert gone == {
        "kind": "OUTPUT_NOT_IN_REGISTRY",
        "uuid": str(GONE),
        "datasetType": "thing",
        "dataId": None,
        "quantum": {"task": "makeThing", "dataId": DATA_ID, "status": "SUCCESSFUL"},
        "detail": "Provenance says that it was written, and the registry does not have it.",
    }
    assert [one["dataId"]["detector"] for one in nobody] == [2, 3, 4]
    assert (without["uuid"], without["datasetType"], without["dataId"]) == (str(LOG), None, None)

    monkeypatch.setattr(check_run_report, "_SHOWN", 1)
    assert run(things.uri, "a").stdout.splitlines()[-1] == "There are more; for all of them say --json."


def test_records_without_sizes_contradict_nothing(pipelines: Recorded, tmp_path: Path) -> None:
    asked = (str(pipelines.repository), "batch/heavy", "--state", str(tmp_path / "state.sqlite3"))
    taken = CliRunner().invoke(main, ["ingest-provenance", *asked])
    assert taken.exit_code == 0, taken.output
    result = run(*asked)
    everything = json.loads(run(*asked, "--json").stdout)
    [(kind, count)] = [(one["kind"], one["count"]) for one in everything["summary"]]
    assert (result.exit_code, kind, count) == (0, "INCOMPLETE_RECORD", len(everything["problems"])) and count > 20
    assert result.stdout.splitlines() == [
        "run         batch/heavy",
        "consistent  yes",
        f"problems    {count} INCOMPLETE_RECORD, which contradict nothing; --json lists them",
    ]


async def take_in(uri: str) -> None:
    """Have one thing of four made by work that one knows, which made another one and a log that are gone."""
    repository = await Repository.open(uri)
    async with repository.snapshot() as snapshot:
        [page] = await (await select(snapshot, DatasetSelection(collections=["a"]))).pages(snapshot, PageRequest(1))
    done = ExecutionRecord(0, QuantumStatus.SUCCESSFUL, log=LOG)
    outputs = (GONE, UUID(page.rows[0].uuid))
    records = [
        DatasetRecord(GONE, "thing", {**DATA_ID, "detector": 5}, "a", produced=True),
        QuantumRecord("a", "makeThing", DATA_ID, executions=(done,), outputs=outputs),
    ]
    await ingest(repository.state, Source(SourceKind.JSON_LINES, "lines", "1"), in_batches(records))
    await repository.close()


def test_what_cannot_be_done_is_told_in_a_line(things: RealRepository) -> None:
    things.open(writeable=True).collections.register("chain", CollectionType.CHAINED)
    for name, told in (("nobody", "No collection is named 'nobody'"), ("chain", "'chain' is no run")):
        result = run(things.uri, name)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith("butlerql: ") and told in result.stderr
