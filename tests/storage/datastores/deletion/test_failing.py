"""Whatever call of a database or a store fails in a deletion, or in undoing one, nothing is lost and it can go on."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections import Counter
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa

from butlerql.storage.datastores.deletion.plans import DeletionScope, PlanState, find_plan
from butlerql.storage.errors import ButlerQLError
from butlerql.storage.repository import Repository
from butlerql.storage.state.audit import BEGUN
from tests.storage.datastores.deletion.test_deleting import files, prune
from tests.support.deleted import Deleter, deleter
from tests.support.registry_rows import registry_rows
from tests.support.repositories import Dialect, Layout, RealRepository, Repositories
from tests.support.things import STORE, THINGS
from tests.support.validated import validated

RUNS = ["a", "d", "z"]
_ERRORS = (errno.EIO, errno.ENOSPC, errno.EROFS, errno.EACCES)
_CALLS = ("rename", "unlink", "lstat", "link", "stat", "scandir", "fsync")
_STEPS: dict[Dialect, int] = {"sqlite": 13, "postgresql": 41}


class Failing:
    """Counts the calls from its start, and has the one that it is told fail; as if a disk were full, mostly."""

    def __init__(self, repository: Repository, at: int, patch: pytest.MonkeyPatch) -> None:
        self.failed: str | None = None
        self._left = self._at = at
        self._is_sqlite = repository.dialect.name == "sqlite"
        writing, state = repository._writing, repository.state
        for engine in (writing.engine, state._engine):
            sa.event.listen(engine.sync_engine, "before_cursor_execute", self._statement)
        for driver in (writing.driver, state._driver):
            patch.setattr(driver, "commit", self._commit(driver.commit))
        for name in _CALLS:
            patch.setattr(os, name, self._file(name, getattr(os, name)))

    def stop(self) -> None:
        self._left = 0

    def _fails(self, what: str) -> bool:
        self._left -= 1
        if self._left == 0:
            self.failed = what
        return self._left == 0

    def _full(self) -> Exception:
        if self._is_sqlite:
            error: Exception = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL  # type: ignore[attr-defined]
        else:
            error = asyncpg.DiskFullError("no space left on device")
        return sa.exc.DBAPIError("a statement", {}, error)

    def _statement(self, *_: Any) -> None:
        if self._fails("statement"):
            raise self._full()

    def _commit(self, commit: Any) -> Any:
        async def watched(link: Any) -> None:
            if self._fails("commit"):
                raise self._full()
            await commit(link)

        return watched

    def _file(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **named: Any) -> Any:
            if (name == "fsync" or STORE in str(arguments[0])) and self._fails(name):
                number = _ERRORS[self._at % len(_ERRORS)]
                raise OSError(number, os.strerror(number))
            return call(*arguments, **named)

        return watched


async def begin(ours: Deleter, scope: DeletionScope, what: str, at: int, patch: pytest.MonkeyPatch) -> Any:
    """Plan, and do it with a call that fails; tell the plan, and what failed."""
    plan = await ours.plan(scope, runs=RUNS)
    if what == "restore":
        plan = await ours.delete(plan, grace_seconds=3600)
    with patch.context() as here:
        failing = Failing(ours.repository, at, here)
        try:
            await (ours.delete(plan) if what == "delete" else ours.restore(plan))
        except ButlerQLError:
            assert failing.failed is not None
        failing.stop()
    return plan.id, failing.failed


async def go_on(ours: Deleter, what: str, number: int) -> PlanState:
    """Ask once more, as a user would."""
    plan = await find_plan(ours.state, number)
    if what == "delete":
        plan = await ours.delete(plan)
    elif plan.state is not PlanState.RESTORED:
        plan = await ours.restore(plan)
    await ours.outcomes(plan)
    return plan.state


async def look(
    repositories: Repositories, layout: Layout, scope: DeletionScope, what: str, step: int, patch: pytest.MonkeyPatch
) -> Counter[str]:
    """Have each step-th call fail, and count what they were."""
    with repositories.private(THINGS, layout) as real:
        before = as_it_is(real)
        prune(real, scope, RUNS)
        pruned = as_it_is(real)
    state, end = (PlanState.UNLINKED, pruned) if what == "delete" else (PlanState.RESTORED, before)
    found: Counter[str] = Counter()
    at, failed = step, "nothing yet"
    while failed is not None:
        with repositories.private(THINGS, layout) as real:
            async with deleter(real.uri) as ours:
                number, failed = await begin(ours, scope, what, at, patch)
                where = (at, failed)
                # No live record lacks its file, and every file is known to a record or the journal.
                assert (await validated(ours.repository)).findings == [], where
                assert as_it_is(real) == before or await ours.log(), where
                await ours.expire()
                for _ in range(2):
                    assert await go_on(ours, what, number) is state, where
                    assert as_it_is(real) == end, where
                assert BEGUN not in await ours.log(), where
        found[str(failed)] += 1
        at += step
    return found


def as_it_is(real: RealRepository) -> tuple[object, set[str]]:
    return registry_rows(real), files(real)


@pytest.mark.parametrize("what", ["delete", "restore"])
async def test_a_call_that_fails_here_and_there(
    repositories: Repositories, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    found = await look(repositories, Layout("sqlite"), DeletionScope.PURGE, what, 37, monkeypatch)
    assert found.total() > 2


@pytest.mark.slow
@pytest.mark.parametrize("scope", list(DeletionScope))
@pytest.mark.parametrize("what", ["delete", "restore"])
async def test_a_call_that_fails_anywhere(
    repositories: Repositories, dialect: Dialect, monkeypatch: pytest.MonkeyPatch, scope: DeletionScope, what: str
) -> None:
    found = await look(repositories, Layout(dialect), scope, what, _STEPS[dialect], monkeypatch)
    assert found["statement"] and found.total() > 100 // _STEPS[dialect]
