"""Validations that are killed around every chunk and every commit, and gone on with; see `killed_jobs`."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from butlerql.storage.datastores.validation import job as validation_job
from butlerql.storage.datastores.validation import results
from butlerql.storage.datastores.validation.findings import Check
from butlerql.storage.datastores.validation.job import Validation
from butlerql.storage.datastores.validation.request import Request
from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.repository import Repository
from butlerql.storage.state.coordinator import Coordinator
from butlerql.storage.state.jobs import Job, find_job, insert_job
from tests.support.killed_jobs import Killer, expire, killed_everywhere

CHECKS = frozenset(Check) - {Check.REGISTRY}
FILES = 8
"""Records of a stretch."""


async def ask(repository: Repository, at: int) -> Job:
    request = Request(repository.datastore.name, checks=CHECKS, grace_seconds=0).as_json
    return await repository.state.write(
        lambda connection: insert_job(
            connection, Validation.name, request, unit=Validation.unit, user="somebody", idempotency_key=str(at)
        )
    )


async def run_jobs(repository: Repository) -> None:
    coordinator = Coordinator(repository.state, [Validation(repository, 1)], lambda: ThreadPoolExecutor(2), width=2)
    while await coordinator.run_next():
        pass
    await coordinator.close()


async def first(uri: str, at: int) -> None:
    repository = await Repository.open(uri)
    killer = Killer(at)
    killer.watch_commits(repository.state)
    killer.watch_runs(Validation)
    await ask(repository, at)
    await run_jobs(repository)
    await repository.close()


async def second(uri: str, at: int) -> None:
    repository = await Repository.open(uri)
    await expire(repository.state)
    job = await ask(repository, at)
    before = job.state
    await run_jobs(repository)
    found = await find_job(repository.state, job.id)
    assert found is not None
    page = await results.findings(repository.state, job.id, PageRequest(100))
    told = sorted([row.finding.kind, row.finding.path] for row in page.rows)
    print(json.dumps([before, found.state, found.result, found.progress.done, told]), flush=True)
    await repository.close()


def main(uri: str) -> int:
    validation_job._FILES = FILES
    return killed_everywhere(partial(first, uri), partial(second, uri))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
