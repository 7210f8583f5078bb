"""Whoever deletes or restores is killed, and another goes on: nothing is lost, and nothing is left half done."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from butlerql.storage.datastores.deletion.plans import DeletionScope
from tests.support.repositories import Layout, Repositories
from tests.support.things import THINGS


def killed(template: Path, work: Path, scope: DeletionScope, what: str, step: int) -> list[dict[str, object]]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.killed_deletions", str(template), str(work), scope, what, str(step)],
        cwd=Path(__file__).parents[4],
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


async def look(repositories: Repositories, work: Path, scope: DeletionScope, what: str, step: int) -> int:
    with repositories.private(THINGS, Layout("sqlite")) as things:
        ends = await asyncio.to_thread(killed, things.directory, work, scope, what, step)
    if what == "delete":
        left = 16 if scope is DeletionScope.UNSTORE else 8
        for end in ends:
            outcomes = end.pop("outcomes")
            assert isinstance(outcomes, dict)
            assert sum(outcomes.values()) == 6
            if end["state"] == "PLANNED":  # Killed before it was asked for.
                continue
            assert set(outcomes) <= {"REMOVED", "ALREADY_GONE"}
            assert end == {
                "state": "UNLINKED",
                "missing": [],
                "unknown": [],
                "datasets": left,
                "located": 8,
                "files": 8,
            }
    else:
        for end in ends:
            if end["state"] == "DETACHED":
                continue
            assert end == {
                "state": "RESTORED",
                "outcomes": {"RESTORED": 6},
                "missing": [],
                "unknown": [],
                "datasets": 16,
                "located": 16,
                "files": 14,
            }
    return len(ends)


@pytest.mark.parametrize(("scope", "what"), [(DeletionScope.PURGE, "delete"), (DeletionScope.PURGE, "restore")])
async def test_killed_here_and_there(
    repositories: Repositories, tmp_path: Path, scope: DeletionScope, what: str
) -> None:
    assert await look(repositories, tmp_path, scope, what, 9) > 3


@pytest.mark.slow
@pytest.mark.parametrize("scope", list(DeletionScope))
@pytest.mark.parametrize("what", ["delete", "restore"])
async def test_killed_everywhere(repositories: Repositories, tmp_path: Path, scope: DeletionScope, what: str) -> None:
    assert await look(repositories, tmp_path, scope, what, 1) > 20
