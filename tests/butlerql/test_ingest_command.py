"""Provenance that is taken in from the command line."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from lsst.daf.butler import Butler

from butlerql import ingest_command
from butlerql.cli import main
from butlerql.command_line import opened_repository
from butlerql.settings import Settings
from tests.support.object_store import run_object_server
from tests.support.pipelines.recorded import Recorded

BUTLERQL = (sys.executable, "-c", "from butlerql.cli import main; main(prog_name='butlerql')")
LINE = '{"run": "r", "task": "t", "dataId": {"exposure": %d}, "attempt": 0, "status": "FAILED"}\n'


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["ingest-provenance", *arguments])


@pytest.fixture
def place(pipelines: Recorded, tmp_path: Path) -> tuple[str, ...]:
    """Give the repository of the bench, and a state for it."""
    return str(pipelines.repository), "--state", str(tmp_path / "state.sqlite3")


def test_runs_and_files_are_taken_in_once(place: tuple[str, ...], pipelines: Recorded) -> None:
    result = run(*place, "batch/step*", "batch/heavy", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    told = json.loads(result.stdout)
    # Units of work that find nothing to do do not start, and leave metadata all the same.
    with Butler.from_config(str(pipelines.repository)) as butler:
        ended = butler.query_all_datasets(["batch/steps", "batch/heavy"], name="*_metadata", find_first=False)
    assert told == {"quanta": len(ended), "executions": len(ended), "skipped": 0, "skippedNames": []}
    for again in (("batch/step*", "batch/heavy"), ("--graph", str(pipelines.graph("step1.provenance")))):
        told = json.loads(run(*place, *again, "--json").stdout)
        assert (told["quanta"], told["executions"]) == (0, 0)


def test_what_is_skipped_is_named(place: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = tmp_path / "lines.jsonl"
    lines.write_text(LINE % 1 + "nonsense\n" + LINE % 2 + "[]\n")
    monkeypatch.setattr(ingest_command, "_NAMED", 1)
    for new in (2, 0):
        result = run(*place, "--jsonl", str(lines))
        assert result.exit_code == 1
        shown = re.fullmatch(
            rf"units of work +{new} new\nattempts +{new} new\nskipped +2\n +{lines}: line 2: .+\n +and 1 more; .*\n",
            result.stdout,
        )
        assert shown, result.stdout
    told = json.loads(run(*place, "--jsonl", str(lines), "--json").stdout)
    assert [(one["source"], one["name"]) for one in told["skippedNames"]] == [
        (str(lines), "line 2"),
        (str(lines), "line 4"),
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "Name runs"),
        (("no/such/run",), "no/such/run"),
    ],
)
def test_what_cannot_be_done(place: tuple[str, ...], arguments: tuple[str, ...], says: str) -> None:
    result = run(*place, *arguments)
    assert result.exit_code == 2 and says in result.stderr and len(result.stderr.splitlines()) == 1


def test_a_file_that_is_no_good_is_named_and_the_rest_taken(place: tuple[str, ...], tmp_path: Path) -> None:
    lines = tmp_path / "lines.jsonl"
    lines.write_text(LINE % 1)
    gone, broken = str(tmp_path / "gone.jsonl"), __file__
    files = ("--graph", broken, "--graph", str(tmp_path), "--jsonl", gone, "--jsonl", lines.as_uri())
    result = run(*place, *files, "--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, result.stderr) == (1, "") and (told["quanta"], told["skipped"]) == (1, 3)
    assert [one["source"] for one in told["skippedNames"]] == [broken, str(tmp_path), gone]
    assert {one["name"] for one in told["skippedNames"]} == {"all of it"}
    assert "There is no file" in told["skippedNames"][-1]["reason"]


def test_files_may_be_objects(place: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    with run_object_server() as server:
        server.fill("lines", {"some/lines.jsonl": (LINE % 1).encode()})
        for name, value in server.environ.items():
            monkeypatch.setenv(name, value)
        there, gone = "s3://lines/some/lines.jsonl", "s3://lines/gone.jsonl"
        result = run(*place, "--jsonl", gone, "--jsonl", there, "--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["quanta"], [one["source"] for one in told["skippedNames"]]) == (1, 1, [gone])


def test_what_arrives_is_taken_in_until_interrupted(place: tuple[str, ...], tmp_path: Path) -> None:
    """A line that is half written is taken in when it is whole."""
    lines = tmp_path / "lines.jsonl"
    lines.write_text(LINE % 1)
    code = "from butlerql import cli, ingest_command as c; c._PAUSE_SECONDS = 0.05; cli.main(prog_name='butlerql')"
    following = [sys.executable, "-c", code, "ingest-provenance", *place, "--jsonl", str(lines), "--follow", "--json"]
    following += ["--graph", str(tmp_path / "gone.qg")]
    process = subprocess.Popen(following, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        await_known(place, 1)
        with lines.open("a") as file:
            file.write((LINE % 2)[:20])
        time.sleep(0.5)
        with lines.open("a") as file:
            file.write((LINE % 2)[20:] + LINE % 3)
        await_known(place, 3)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, err) == (1, "1 quanta and 1 executions new\n2 quanta and 2 executions new\n")
    told = json.loads(out)
    assert (told["quanta"], told["executions"], told["skipped"]) == (3, 3, 1)


async def test_what_stays_broken_is_read_less_and_less_often(
    pipelines: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository, name, clock = tmp_path / "repository", "full/one", 0.0
    shutil.copytree(pipelines.repository, repository)
    monkeypatch.setattr(ingest_command, "monotonic", lambda: clock)
    file, *others = sorted((repository / name / "isr_metadata").rglob("*.json"))
    content = file.read_bytes()
    file.write_bytes(content[:10])
    settings = Settings(state=str(tmp_path / "state.sqlite3"))
    command = ingest_command._Command(str(repository), settings, [name], [], [], as_json=True)
    async with opened_repository(str(repository), settings) as opened:

        async def reads(*, until: float) -> list[float]:
            """Look every five seconds, and tell when the run was read."""
            nonlocal clock
            moments = []
            while clock < until:
                before = command._new["records"]
                await command._look(opened)
                if command._new["records"] > before:
                    moments.append(clock)
                clock += 5
            return moments

        assert await reads(until=100) == [0, 5, 15, 35, 75]
        assert [one.name for one in command._skipped[name]] == [str(file.relative_to(repository))]
        # Something else is broken, and nothing is new in the registry; then something is.
        spoilt = others[0].read_bytes()
        others[0].write_bytes(b"")
        assert await reads(until=200) == [155, 160, 170, 190]
        others[0].write_bytes(spoilt)
        with Butler.from_config(str(repository), writeable=True) as butler:
            butler.pruneDatasets(butler.query_datasets("gather_log", name)[:1], purge=True, unstore=True)
        assert await reads(until=215) == [200, 205]
        # Mended where it is, it is found in the end.
        file.write_bytes(content)
        assert await reads(until=400) == [215] and command._skipped == {name: []}


def await_known(place: tuple[str, ...], number: int) -> None:
    """Wait until so many attempts are known."""
    import sqlite3
    from contextlib import closing, suppress

    for _ in range(600):
        with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{place[2]}?mode=ro", uri=True)) as link:
            if link.execute("SELECT count(*) FROM execution").fetchone() == (number,):
                return
        time.sleep(0.1)
    raise AssertionError(number)
