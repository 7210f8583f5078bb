"""Validations on a Dask cluster."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import LocalCluster

from butlerql.storage.datastores.validation import job as validation_job
from butlerql.storage.repository import Repository
from butlerql.storage.state.jobs import find_job
from butlerql.storage.state.workers import workers
from tests.support.repositories import Layout, Repositories
from tests.support.things import STORE, THINGS
from tests.support.validated import validated


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    """Run a scheduler and two processes that work."""
    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address=None,
        worker_dashboard_address=None,
        local_directory=str(tmp_path),
        silence_logs=logging.CRITICAL,
    ) as running:
        yield running


async def test_a_worker_of_a_cluster_is_killed(
    cluster: LocalCluster, repositories: Repositories, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation_job, "_FILES", 1)
    with repositories.private(THINGS, Layout("sqlite")) as real:
        (real.directory / STORE / "extra").write_text("x")
        min((real.directory / STORE / "b").rglob("*.yaml")).unlink()
        repository = await Repository.open(real.uri)
        try:
            expected = await validated(repository)
            with workers(dask_scheduler=cluster.scheduler_address) as made:
                assert made.number == 2
                # So slowly that the zip file, the last, takes seconds.
                going = asyncio.create_task(validated(repository, executor=made.make_executor(), rate_limit=600))
                async with asyncio.timeout(60):
                    while (job := await find_job(repository.state, 2)) is None or job.progress.done < 2:
                        await asyncio.sleep(0.02)
                worker = next(iter(cluster.workers.values()))
                os.kill(worker.pid, signal.SIGKILL)
                found = await going
        finally:
            await repository.close()
    assert found.kinds == expected.kinds and len(found.findings) == len(expected.findings) == 2
    assert (found.coverage["artifacts"], found.coverage["contents"]) == (14, 13)
