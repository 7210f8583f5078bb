"""Validations from the command line."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from butlerql import validation_report
from butlerql.cli import main
from butlerql.storage.state import workers
from tests.support.repositories import Layout, RealRepository, Repositories
from tests.support.things import STORE, THINGS

BUTLERQL = (sys.executable, "-c", "from butlerql.cli import main; main(prog_name='butlerql')")


@pytest.fixture
def things(repositories: Repositories) -> Iterator[RealRepository]:
    with repositories.private(THINGS, Layout("sqlite")) as copy:
        yield copy


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def spoil(real: RealRepository) -> Path:
    """Take a file of run 'a' away, and put one there that nobody knows."""
    store = real.directory / STORE
    file: Path = min((store / "a").rglob("*.yaml"))
    file.unlink()
    (store / "extra").write_text("12345")
    return file


def test_valid_then_invalid(things: RealRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run("validate", things.uri, "--workers", "1")
    assert (result.exit_code, result.stderr) == (0, "")
    assert re.search(r"^verdict +VALID: ", result.stdout, re.MULTILINE)
    checked = r"^checked +MISSING, UNTRACKED, SIZE\n +16 datasets, 14 artifacts, 1\.\d kB$"
    assert re.search(checked, result.stdout, re.MULTILINE)
    assert re.search(r"^not checked +CHECKSUM, REGISTRY: not asked for$", result.stdout, re.MULTILINE)
    missing = spoil(things)

    result = run("validate", things.uri, "--workers", "1", "--grace", "0", "--check", "missing", "--check", "untracked")
    assert (result.exit_code, result.stderr) == (1, "")
    assert re.search(r"^verdict +INVALID: ", result.stdout, re.MULTILINE)
    assert re.search(r"^findings +1 MISSING, \d+ bytes\n +1 UNTRACKED, 5 bytes$", result.stdout, re.MULTILINE)
    lines = [f"MISSING  {missing.as_uri()}", f"UNTRACKED  {(things.directory / STORE / 'extra').as_uri()}"]
    assert sorted(result.stdout.splitlines()[-2:]) == lines

    # The same job once more, in other words, and page by page.
    monkeypatch.setattr(validation_report, "_PAGE", 1)
    again = run("validate", things.uri, "--resume", "2", "--json")
    assert again.exit_code == 1
    told = json.loads(again.stdout)
    assert (told["job"], told["verdict"], told["checks"]) == (2, "INVALID", ["MISSING", "UNTRACKED"])
    assert told["coverage"]["artifacts"] == 14
    assert [(one["kind"], one["count"]) for one in told["summary"]] == [("MISSING", 1), ("UNTRACKED", 1)]
    assert sorted(f"{one['kind']}  {one['uri']}" for one in told["findings"]) == lines
    monkeypatch.setattr(validation_report, "_SHOWN", 1)
    short = run("validate", things.uri, "--resume", "2").stdout.splitlines()
    assert short[-2] in lines
    assert short[-1] == f"There are more; for all of them: butlerql validate {things.uri} --resume 2 --json"

    table = run("jobs", things.uri).stdout.splitlines()
    assert [line.split()[:5] for line in table[1:]] == [
        [number, "VALIDATION", "SUCCEEDED", "16", "artifacts"] for number in ("2", "1")
    ]


def test_a_selection_with_a_state_that_cannot_be_written(things: RealRepository) -> None:
    (things.directory / "butlerql.sqlite3").mkdir()
    missing = spoil(things)
    options = (
        "--where",
        "instrument = 'Cam1' AND detector < 5",
        "--dataset-type",
        "th*",
        "--collection",
        "a",
        "--run",
        "a",
        "--json",
    )
    result = run("validate", things.uri, "--check", "CHECKSUM", "--check", "MISSING", "--workers", "1", *options)
    assert result.exit_code == 1, result.stderr
    told = json.loads(result.stdout)
    assert (told["job"], told["coverage"]["datasets"], told["coverage"]["contents"]) == (None, 4, 3)
    assert [one["uri"] for one in told["findings"]] == [missing.as_uri()]
    assert told["select"] == {
        "datasetTypes": ["th*"],
        "collections": ["a"],
        "runs": ["a"],
        "where": "instrument = 'Cam1' AND detector < 5",
    }
    text = run("validate", things.uri, "--collection", "b", "--workers", "1").stdout
    assert re.search(r"^job +not kept, nor are checksums: .* cannot be used", text, re.MULTILINE)


# The thread of a connection that could not be made ends when it likes, maybe after the command.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_cannot_be_done_is_told_in_a_line(
    things: RealRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_CONNECT_SECONDS", 1)
    for arguments, told in (
        (("--datastore", "nowhere"), "There is no datastore 'nowhere'"),
        (("--collection", "nowhere"), "'nowhere'"),
        (("--where", "detector <"), "ends too early"),
        (("--collection", "a", "--check", "untracked"), "UNTRACKED"),
        (("--resume", "7"), "There is no job 7"),
        (("--resume", "7", "--sample", "0"), "leave the other options out"),
        (("--state", f"{tmp_path}/nowhere/state"), "cannot be used"),
        (("--dask", "tcp://127.0.0.1:1"), "no scheduler of Dask at tcp://127.0.0.1:1"),
    ):
        result = run("validate", things.uri, *arguments)
        assert (result.exit_code, result.stdout) == (2, ""), arguments
        assert result.stderr.startswith("butlerql: ") and result.stderr.count("\n") == 1
        assert told in result.stderr
    assert run("validate", things.uri, "--check", "nothing").exit_code == 2
    assert "There is no job 9" in run("jobs", things.uri, "--cancel", "9").stderr


def test_stopped_gone_on_with_and_cancelled(things: RealRepository) -> None:
    """Ctrl-C reaches all processes of the terminal, as here."""
    asked = ("--collection", "a", "--check", "CHECKSUM", "--rate-limit", "25", "--workers", "1")
    for number in (1, 2):
        running = re.compile(rf"\n{number} +VALIDATION +RUNNING +0 artifacts \(0%\)")
        with subprocess.Popen(
            [*BUTLERQL, "validate", things.uri, *asked],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            deadline = time.monotonic() + 60
            while not running.search(run("jobs", things.uri).stdout):
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
            os.killpg(process.pid, signal.SIGINT if number == 1 else signal.SIGTERM)
            out, errors = process.communicate(timeout=30)
        assert (process.returncode, out) == (130, "")
        assert errors.splitlines() == [
            f"Stopped. To go on: butlerql validate {things.uri} --resume {number}",
            f"To give it up: butlerql jobs {things.uri} --cancel {number}",
        ]
    assert re.search(r"\n2 +VALIDATION +CANCELLED ", run("jobs", things.uri, "--cancel", "2").stdout)
    assert run("validate", things.uri, "--resume", "2").stderr == "butlerql: Job 2 was cancelled.\n"
    result = run("validate", things.uri, "--resume", "1", "--json", "--workers", "1")
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert (told["rateLimit"], told["coverage"]["contents"], told["findings"]) == (25, 4, [])
