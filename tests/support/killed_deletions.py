"""Deletions that are killed, and gone on with; in a process of its own, because it forks.

A child plans and carries out a deletion, ends or undoes one, and kills itself before the n-th of: a statement that
writes, a commit, what follows a commit, a file that is renamed or unlinked. Another child goes on with it; what was
there before and what is there then is printed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from butlerql.storage.datastores.deletion.plans import DeletionScope, outcome_counts
from butlerql.storage.datastores.tree import FileDatastore
from butlerql.storage.repository import Repository
from butlerql.storage.state import migrating  # noqa: F401 - so that it is there before the forks
from butlerql.storage.state.tables import DELETION_PLAN, JOB
from tests.support.deleted import Deleter
from tests.support.forks import serve
from tests.support.killed_jobs import Killer, expire
from tests.support.validated import validated

RUNS = ["a", "d", "z"]
LONG = 3600


def watch(repository: Repository, killer: Killer) -> None:
    """Count what changes something."""

    def writes(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        if statement.startswith(("INSERT", "UPDATE", "DELETE")):
            killer.point()

    killer.watch_commits(repository.state)
    writing = repository._writing
    for engine in (writing.engine, repository.state._engine):
        sa.event.listen(engine.sync_engine, "before_cursor_execute", writes)
    commit = writing.driver.commit

    async def watched(link: Any) -> None:
        killer.point()
        await commit(link)
        killer.point()

    writing.driver.commit = watched  # type: ignore[method-assign]
    for name in ("rename", "unlink"):
        setattr(os, name, _watched(getattr(os, name), killer))


def _watched(call: Any, killer: Killer) -> Any:
    def watched(*arguments: Any, **named: Any) -> Any:
        killer.point()
        result = call(*arguments, **named)
        killer.point()
        return result

    return watched


async def first(uri: str, scope: str, what: str, at: int) -> None:
    """Delete at once, or unlink or restore what was detached before the killer comes."""
    repository = await Repository.open(uri, writable=True)
    ours, killer = Deleter(repository), Killer(at)
    plan = await ours.plan(DeletionScope(scope), runs=RUNS)
    if what == "delete":
        watch(repository, killer)
        await ours.delete(plan)
    else:
        plan = await ours.delete(plan, grace_seconds=LONG)
        watch(repository, killer)
        await (ours.restore(plan) if what == "restore" else ours.go_on(plan))
    await repository.close()


async def second(uri: str) -> None:
    """Look at what is there, go on with all jobs, twice, and print what is there then."""
    repository = await Repository.open(uri, writable=True)
    findings = [str(one) for one in (await validated(repository)).findings]
    await expire(repository.state)
    ours = Deleter(repository)
    told = []
    for _ in range(2):
        await _run_all(ours)
        told.append(await _tell(ours))
    assert told[0] == told[1], told
    print(json.dumps({"before": findings, **told[0]}), flush=True)
    await repository.close()


_GO_ON = ["QUEUED", "RUNNING", "INTERRUPTED", "WAITING"]


async def _run_all(ours: Deleter) -> None:
    async def jobs(connection: Any) -> list[int]:
        rows = await connection.execute(sa.select(JOB.c.id).where(JOB.c.state.in_(_GO_ON)))
        return [row[0] for row in rows]

    nothing: list[int] = []
    while left := await ours.state.read(jobs, absent=nothing):
        for number in left:
            await ours.run(await ours.job_of(number))
        if await ours.state.read(jobs, absent=nothing) == left:
            return


async def _tell(ours: Deleter) -> dict[str, Any]:
    repository = ours.repository

    async def plans(connection: Any) -> list[tuple[int, str]]:
        return [tuple(row) for row in await connection.execute(sa.select(DELETION_PLAN.c.id, DELETION_PLAN.c.state))]

    [(number, state)] = await repository.state.read(plans, absent=[])
    outcomes = {str(one.outcome): one.artifacts for one in await outcome_counts(repository.state, number)}
    [leaf] = [leaf for leaf in repository.datastore.leaves if isinstance(leaf, FileDatastore)]
    tables = repository.tables
    async with repository.snapshot() as snapshot:
        records = await snapshot.rows(sa.select(tables.records(leaf.records_table).c.path))
        located = await snapshot.rows(sa.select(tables.location))
        datasets = await snapshot.rows(sa.select(tables.dataset))
    recorded, files = {row[0].partition("#")[0] for row in records}, _files(Path(leaf.root))
    return {
        "state": state,
        "log": await ours.log(),
        "outcomes": outcomes,
        "missing": sorted(recorded - files),
        "unknown": sorted(files - recorded),
        "datasets": len(datasets),
        "located": len(located),
        "files": len(files),
    }


def _files(root: Path) -> set[str]:
    return {str(file.relative_to(root)) for file in root.rglob("*") if file.is_file()}


async def work(which: str, *arguments: Any) -> None:
    await (first(*arguments) if which == "first" else second(*arguments))


if __name__ == "__main__":
    serve(work)
