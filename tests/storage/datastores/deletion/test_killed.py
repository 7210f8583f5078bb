"""Whoever deletes or restores is killed, and another goes on: nothing is lost, and nothing is left half done."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from butlerql.storage.datastores.deletion.plans import DeletionScope
from tests.support.forks import Forks, forks
from tests.support.repositories import Dialect, Layout, Repositories
from tests.support.things import THINGS


@pytest.fixture(scope="module")
def killed() -> Iterator[Forks]:
    with forks("tests.support.killed_deletions") as made:
        yield made


def look(repositories: Repositories, killed: Forks, layout: Layout, scope: DeletionScope, what: str, step: int) -> int:
    """Kill whoever does it at each step-th point, and move the repository before another goes on."""
    ends: list[dict[str, Any]] = []
    at, ended = 1, -signal.SIGKILL
    while ended == -signal.SIGKILL:
        with repositories.private(THINGS, layout) as things:
            ended, _ = killed.ask("first", things.uri, scope, what, at)
            things.directory = things.directory.rename(f"{things.directory}-elsewhere")
            went_on, told = killed.ask("second", things.uri)
            assert went_on == 0
            ends += told
        at += step
    assert ended == 0
    for end in ends:
        # Whatever was killed, nothing had been lost or left behind.
        assert end.pop("before") == []
    if what != "restore":
        left = 16 if scope is DeletionScope.UNSTORE else 8
        before, log = ("PLANNED", []) if what == "delete" else ("DETACHED", ["BEGUN"])
        for end in ends:
            outcomes = end.pop("outcomes")
            assert sum(outcomes.values()) == 6
            if end["state"] == before:  # Killed before it was asked for, or before it was time.
                assert end["log"] == log
                continue
            assert set(outcomes) <= {"REMOVED", "ALREADY_GONE"}
            assert end == {
                "state": "UNLINKED",
                "log": ["UNLINKED"],
                "missing": [],
                "unknown": [],
                "datasets": left,
                "located": 8,
                "files": 8,
            }
    else:
        for end in ends:
            if end["state"] == "DETACHED":
                assert end["log"] == ["BEGUN"]
                continue
            assert end == {
                "state": "RESTORED",
                "log": ["RESTORED", "CANCELLED"],
                "outcomes": {"RESTORED": 6},
                "missing": [],
                "unknown": [],
                "datasets": 16,
                "located": 16,
                "files": 14,
            }
    return len(ends)


@pytest.mark.parametrize("what", ["delete", "unlink", "restore"])
def test_killed_here_and_there(repositories: Repositories, killed: Forks, what: str) -> None:
    assert look(repositories, killed, Layout("sqlite"), DeletionScope.PURGE, what, 19) > 3


_STEPS: dict[Dialect, int] = {"sqlite": 1, "postgresql": 7}


@pytest.mark.slow
@pytest.mark.parametrize("scope", list(DeletionScope))
@pytest.mark.parametrize("what", ["delete", "unlink", "restore"])
def test_killed_everywhere(
    repositories: Repositories, killed: Forks, dialect: Dialect, scope: DeletionScope, what: str
) -> None:
    assert look(repositories, killed, Layout(dialect), scope, what, _STEPS[dialect]) > 20 // _STEPS[dialect]
