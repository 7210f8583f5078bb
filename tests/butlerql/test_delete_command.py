"""Deletions from the command line, of a real repository."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from click.testing import CliRunner, Result
from lsst.daf.butler import CollectionType

from butlerql.cli import main
from butlerql.storage.provenance.ingest import ingest
from butlerql.storage.provenance.records import ExecutionRecord, QuantumRecord, QuantumStatus, Source, SourceKind
from butlerql.storage.repository import Repository
from tests.support.provenance_state import in_batches
from tests.support.registry_rows import registry_rows
from tests.support.repositories import Layout, RealRepository, Repositories
from tests.support.things import STORE, THINGS

ONE = "instrument = 'Cam1' AND detector = 1"
BUTLERQL = (sys.executable, "-c", "from butlerql.cli import main; main(prog_name='butlerql')")


@pytest.fixture
def things(repositories: Repositories) -> Iterator[RealRepository]:
    with repositories.private(THINGS, Layout("sqlite")) as copy:
        yield copy


def run(*arguments: str, **options: str | None) -> Result:
    return CliRunner(env=options).invoke(main, arguments)


def files(real: RealRepository) -> set[str]:
    store = real.directory / STORE
    return {str(file.relative_to(store)) for file in store.rglob("*") if file.is_file()}


def test_shown_carried_out_and_undone(things: RealRepository) -> None:
    rows, before = registry_rows(things), files(things)
    shown = run(
        "delete",
        things.uri,
        "--run",
        "a",
        "--collection",
        "a",
        "--where",
        "instrument = 'Cam1' AND detector < 3",
        "--purge",
    )
    assert shown.exit_code == 2
    carry_out = f"butlerql delete {things.uri} --resume 1 --yes"
    assert shown.stderr == f"butlerql: Nobody can be asked here, so nothing was deleted. To carry it out: {carry_out}\n"
    assert "Plan 1: PURGE in all datastores" in shown.stdout
    assert "Its files stay for 7 days then: until they go, it can be undone." in shown.stdout
    assert re.search(r"^goes +2 +2 +26 bytes$", shown.stdout, re.MULTILINE), shown.stdout
    named = re.findall(r"^file://.*/a/thing/thing_Cam1_\w+_a\.yaml  13 bytes$", shown.stdout, re.MULTILINE)
    assert len(named) == 2
    assert (registry_rows(things), files(things)) == (rows, before)

    gone = run(*carry_out.split()[1:])
    assert (gone.exit_code, gone.stderr) == (0, "")
    assert re.search(r"^DETACHED +2 +26 bytes$", gone.stdout, re.MULTILINE), gone.stdout
    assert f"butlerql delete {things.uri} --resume 1\n" in gone.stdout
    assert f"butlerql restore {things.uri} 1\n" in gone.stdout
    assert files(things) == before
    assert len(set(things.open().query_datasets("thing", "a"))) == 2
    late = run("delete", things.uri, "--resume", "1", "--grace", "100000")
    assert (late.exit_code, late.stdout) == (2, "") and "plan 1" in late.stderr and "leave --grace out" in late.stderr
    # There is nothing to do yet.
    again = run("delete", things.uri, "--resume", "1")
    assert (again.exit_code, again.stdout) == (0, gone.stdout[gone.stdout.index("plan 1 ") :])

    undone = run("restore", things.uri, "1", "--json")
    assert (undone.exit_code, undone.stderr) == (0, "")
    told = json.loads(undone.stdout)
    assert (told["plan"], told["state"], told["scope"], told["datasets"]) == (1, "RESTORED", "PURGE", 2)
    assert [(one["outcome"], one["artifacts"]) for one in told["outcomes"]] == [("RESTORED", 2)]
    assert len(told["items"]) == 2 and all(item["outcome"] == "RESTORED" for item in told["items"])
    assert (registry_rows(things), files(things)) == (rows, before)
    for command in (("restore", things.uri, "1"), ("delete", things.uri, "--resume", "1", "--yes")):
        assert run(*command).exit_code == 2


def test_what_a_machine_wrote(things: RealRepository) -> None:
    one, other, *_ = things.butler.query_datasets("thing", "a", order_by="detector")

    async def tell() -> None:
        repository = await Repository.open(things.uri)
        for place, (ref, host) in enumerate(((one, "good"), (other, "bad"))):
            attempt = ExecutionRecord(0, QuantumStatus.SUCCESSFUL, host, (86_400 + place) * 1_000_000)
            record = QuantumRecord("a", "make", {"detector": place}, executions=(attempt,), outputs=(ref.id,))
            await ingest(repository.state, Source(SourceKind.JSON_LINES, host, ""), in_batches([record]))
        await repository.close()

    asyncio.run(tell())
    times = ("--started-after", "1970-01-02T00:00:01Z", "--started-before", "1970-01-02T00:00:02")
    for said in (("--host", "ba*"), ("--task", "make", *times), ("--host", "bad", "--status", "successful")):
        shown = run("delete", things.uri, "--run", "a", *said)
        [found] = re.findall(r"^file:/*(/.*)  13 bytes$", shown.stdout, re.MULTILINE)
        assert found == things.butler.getURI(other).ospath
    for said in (("--host", "worse"), ("--status", "FAILED"), ("--exception", "*")):
        assert "There is nothing to delete." in run("delete", things.uri, "--run", "a", *said).stderr
    wrong = run("delete", things.uri, "--run", "a", "--started-after", "noon")
    assert wrong.exit_code == 2 and "'noon' is no time such as" in wrong.stderr


def test_removed_at_once_where_operators_allow_it(things: RealRepository) -> None:
    before = files(things)
    asked = ("delete", things.uri, "--run", "b", "--run", "z", "--grace", "0", "--yes", "--json")
    refused = run(*asked)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "86400 seconds at least" in refused.stderr and "deletion_grace_floor_seconds" in refused.stderr
    done = run(*asked, BUTLERQL_DELETION_GRACE_FLOOR_SECONDS="0")
    assert done.exit_code == 0, done.stderr
    assert "Plan 1: UNSTORE" in done.stderr and "Its files go at once then: it cannot be undone." in done.stderr
    told = json.loads(done.stdout)
    assert (told["state"], told["artifacts"], told["freedBytes"]) == ("UNLINKED", 5, told["bytes"])
    assert len(before - files(things)) == 5
    # Told again.
    assert json.loads(run("delete", things.uri, "--resume", "1", "--json").stdout) == told


def test_files_go_when_their_time_has_come(things: RealRepository) -> None:
    before = files(things)
    assert run("delete", things.uri, "--run", "a", "--yes").exit_code == 0
    with closing(sqlite3.connect(things.directory / "butlerql.sqlite3")) as state:
        state.execute("UPDATE job SET wait_until = 0")
        state.execute("UPDATE deletion_plan SET unlink_after = 0")
        state.commit()
    assert files(things) == before
    done = run("delete", things.uri, "--resume", "1")
    assert (done.exit_code, done.stderr) == (0, "")
    assert re.search(r"^REMOVED +4 +52 bytes$", done.stdout, re.MULTILINE)
    assert len(before - files(things)) == 4
    assert "can be undone" not in done.stdout


def test_what_is_left_is_told(things: RealRepository) -> None:
    butler = things.open(writeable=True)
    butler.collections.register("tag", type=CollectionType.TAGGED)
    butler.registry.associate("tag", butler.query_datasets("thing", "a", where=ONE))
    things.close()
    some = run("delete", things.uri, "--run", "a", "--yes")
    assert some.exit_code == 1
    assert re.search(r"^left alone: TAGGED +1 +1 +13 bytes$", some.stdout, re.MULTILINE), some.stdout
    assert re.search(r"^BLOCKED +1 +13 bytes$", some.stdout, re.MULTILINE)
    assert re.search(r"^BLOCKED  file://", some.stdout, re.MULTILINE)
    nothing = run("delete", things.uri, "--run", "a", "--where", ONE, "--yes")
    assert (nothing.exit_code, nothing.stderr) == (1, "There is nothing to delete.\n")
    as_json = run("delete", things.uri, "--run", "a", "--where", ONE, "--yes", "--json")
    assert as_json.exit_code == 1 and "There is nothing to delete.\n" in as_json.stderr
    told = json.loads(as_json.stdout)
    assert (told["state"], told["datasets"]) == ("PLANNED", 1)
    [item] = told["items"]
    [dataset] = item["datasets"]
    assert (item["outcome"], dataset["datasetType"], dataset["run"]) == ("BLOCKED", "thing", "a")
    assert dataset["dataId"] == {"instrument": "Cam1", "detector": 1}
    overridden = run("delete", things.uri, "--run", "a", "--where", ONE, "--yes", "--override", "tagged")
    assert overridden.exit_code == 0
    assert re.search(r"^goes all the same: TAGGED +1 ", overridden.stdout, re.MULTILINE)


def test_a_dataset_without_a_file_is_named(things: RealRepository) -> None:
    butler = things.open(writeable=True)
    refs = butler.query_datasets("thing", "a", where=ONE)
    butler.collections.register("tag", type=CollectionType.TAGGED)
    butler.registry.associate("tag", refs)
    butler.pruneDatasets(refs, disassociate=False, unstore=True)
    things.close()
    some = run("delete", things.uri, "--run", "a", "--purge", "--yes")
    assert some.exit_code == 1
    name = r"thing \{instrument: Cam1, detector: 1\} of a, without a file"
    assert re.search(rf"^BLOCKED  {name}", some.stdout, re.MULTILINE), some.stdout
    shown = run("delete", things.uri, "--run", "a", "--where", ONE, "--purge", "--override", "tagged").stdout
    assert re.search(rf"^{name}$", shown, re.MULTILINE), shown


def test_no_is_no(things: RealRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = registry_rows(things)
    runner = CliRunner()
    for answer, status in (("n\n", 1), ("y\n", 0)):
        with monkeypatch.context() as patch:
            patch.setattr("butlerql.delete_command._is_terminal", lambda: True)
            result = runner.invoke(main, ["delete", things.uri, "--run", "a"], input=answer)
        assert result.exit_code == status, result.stderr
        assert "Delete this? [y/N]" in result.stderr
        assert (registry_rows(things) == rows) is (status == 1)


def test_what_cannot_be_done_is_told_in_a_line(things: RealRepository) -> None:
    for arguments, told in (
        (("delete",), "Say --collection or --run; for the datasets of all runs say --run '*'."),
        (("delete", "--where", "detector = 1"), "Say --collection or --run"),
        (("delete", "--collection", "nowhere"), "'nowhere'"),
        (("delete", "--run", "a", "--where", "detector <"), "ends too early"),
        (("delete", "--run", "a", "--datastore", "nowhere"), "There is no datastore 'nowhere'"),
        (("delete", "--run", "a", "--datastore", "x", "--purge"), "Leave datastore out"),
        (("delete", "--resume", "7"), "There is no such plan of a deletion. butlerql jobs lists them.\n"),
        (("jobs", "--cancel", "7"), "There is no job 7. butlerql jobs lists them.\n"),
        (("delete", "--resume", "7", "--run", "a"), "leave the other options out"),
        (("restore", "7"), "There is no such plan"),
    ):
        result = run(arguments[0], things.uri, *arguments[1:])
        assert (result.exit_code, result.stdout) == (2, ""), arguments
        assert "The field" not in result.stderr and "The mutation" not in result.stderr
        assert result.stderr.startswith("butlerql: ") and result.stderr.count("\n") == 1
        assert told in result.stderr
    for wrong in (("--override", "IN_CHAIN"), ("--grace", "-1"), ("--grace", str(2**31)), ("--resume", "x")):
        assert run("delete", things.uri, "--run", "a", *wrong).exit_code == 2
    limited = run("delete", things.uri, "--run", "a", "--yes", BUTLERQL_DELETION_DATASETS="3")
    assert limited.exit_code == 2 and "deletion_datasets" in limited.stderr
    (things.directory / "butlerql.sqlite3").unlink()
    (things.directory / "butlerql.sqlite3").mkdir()
    unwritable = run("delete", things.uri, "--run", "a", "--yes")
    assert unwritable.exit_code == 2 and "cannot be used" in unwritable.stderr


def test_a_deletion_cancelled_as_a_job_is_undone(things: RealRepository) -> None:
    rows = registry_rows(things)
    assert run("delete", things.uri, "--run", "a", "--purge", "--yes").exit_code == 0
    assert registry_rows(things) != rows
    listed = run("jobs", things.uri).stdout
    assert re.search(r"\n2 +DELETION +WAITING until \d{4}-\d\d-\d\d \d\d:\d\d +4 .* plan 1 ", listed), listed
    assert re.search(r"\n1 +PLANNING +SUCCEEDED .* plan 1 ", listed)
    cancelled = run("jobs", things.uri, "--cancel", "2").stdout
    assert re.search(r"\n2 +DELETION +CANCELLED ", cancelled)
    way_back = f"What it took away is still gone. To have it back: butlerql restore {things.uri} 1\n"
    assert cancelled.endswith(f"\n\n{way_back}")
    assert re.search(r"\n3 +DELETION +QUEUED .* plan 1, undone ", run("jobs", things.uri).stdout)
    assert way_back in run("jobs", things.uri, "--cancel", "3").stdout
    assert run("restore", things.uri, "1").exit_code == 0
    assert registry_rows(things) == rows
    assert "still gone" not in run("jobs", things.uri, "--cancel", "2").stdout


def stopped(things: RealRepository, job: int, *arguments: str) -> list[str]:
    """Stop a command by Ctrl-C while it runs a job; another writer keeps it waiting meanwhile. Give what it said."""
    with closing(sqlite3.connect(things.sqlite_file, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        with subprocess.Popen(
            [*BUTLERQL, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            deadline = time.monotonic() + 60
            while not re.search(rf"\n{job} +DELETION +RUNNING ", run("jobs", things.uri).stdout):
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
            os.killpg(process.pid, signal.SIGINT)
            time.sleep(0.3)
            writer.execute("ROLLBACK")
            _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    return errors.splitlines()


def test_stopped_and_gone_on_with(things: RealRepository) -> None:
    rows = registry_rows(things)
    assert stopped(things, 2, "delete", things.uri, "--run", "a", "--yes") == [
        f"Stopped. To go on: butlerql delete {things.uri} --resume 1",
        f"To undo it, as long as no file is removed: butlerql restore {things.uri} 1",
    ]
    done = run("delete", things.uri, "--resume", "1", "--json")
    assert done.exit_code == 0, done.stderr
    assert [(one["outcome"], one["artifacts"]) for one in json.loads(done.stdout)["outcomes"]] == [("DETACHED", 4)]
    go_on = f"butlerql restore {things.uri} 1"
    assert stopped(things, 3, "restore", things.uri, "1") == [f"Stopped. To go on: {go_on}"]
    assert run(*go_on.split()[1:]).exit_code == 0
    assert registry_rows(things) == rows
