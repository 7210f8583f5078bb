"""Killed anywhere in a change, a service leaves all of it or nothing, and no change that the log does not know."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lsst.daf.butler import CollectionType

from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.repository import Repository
from butlerql.storage.state.audit import BEGUN, DONE, find_entries
from tests.support.repositories import Dialect, Layout, RealRepository, Repositories
from tests.support.small import SMALL


@pytest.fixture
def real(repositories: Repositories, dialect: Dialect) -> Iterator[RealRepository]:
    with repositories.private(SMALL, Layout(dialect)) as made:
        yield made


@pytest.mark.slow
async def test_a_change_killed_anywhere_is_whole_or_not_there_and_written_down(real: RealRepository) -> None:
    butler = real.open(writeable=True)
    butler.collections.register("tag", CollectionType.TAGGED)
    real.close()
    repository = await Repository.open(real.uri)
    await repository.state.upgrade()
    await repository.close()
    done = subprocess.run(  # noqa: ASYNC221 - nothing else runs here
        [sys.executable, "-m", "tests.support.killed_changes", real.uri],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    last = int(done.stdout)
    # SQLite undoes what was left when the next opens it.
    info = {one.name: one.children for one in real.open().collections.query_info("chain *")}
    repository = await Repository.open(real.uri)
    entries = (await find_entries(repository.state, PageRequest(1000))).rows
    await repository.close()
    outcomes = {entry.target: entry.outcome for entry in entries}
    made = set()
    for number in range(1, last + 1):
        name = f"chain {number}"
        assert info.get(name, ("run", "tag")) == ("run", "tag")
        if name in info:
            assert outcomes[name] in {BEGUN, DONE}
        elif name in outcomes:
            assert outcomes[name] == BEGUN
        made.add((name in info, outcomes.get(name)))
    # Killed before it was written down, before it was made, and after; on SQLite also before its end was written down.
    two_files = {(True, BEGUN)} if real.dialect == "sqlite" else set()
    assert made == {(False, None), (False, BEGUN), (True, DONE)} | two_files
    assert last > 12
