"""Validations during which stores fail and lie, and whoever validates is killed."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from butlerql.storage.datastores.artifacts.stores import open_store
from butlerql.storage.datastores.validation import job as validation_job
from butlerql.storage.datastores.validation import looking
from butlerql.storage.datastores.validation.findings import FindingKind
from butlerql.storage.datastores.validation.job import Validation
from butlerql.storage.repository import Repository
from butlerql.storage.state.jobs import Job
from tests.support.faulty_store import Fault, FaultyStore
from tests.support.killed_validations import CHECKS, FILES, ask
from tests.support.repositories import Layout, RealRepository, Repositories
from tests.support.things import STORE, THINGS
from tests.support.validated import validated

UNREACHED = validation_job._UNREACHED


@pytest.fixture
def spoiled(repositories: Repositories) -> Iterator[RealRepository]:
    """Give a repository with something missing, something that was cut short, and something extra."""
    with repositories.private(THINGS, Layout("sqlite")) as copy:
        store = copy.directory / STORE
        min((store / "b").rglob("*.yaml")).unlink()
        os.truncate(min((store / "c").rglob("*.yaml")), 3)
        (store / "b" / "extra").write_text("x")
        yield copy


async def look_at_all(kind: Validation, job: Job) -> tuple[set[tuple[FindingKind, str | None]], Counter[str]]:
    """Do the work of a validation, and give what would be written down."""
    findings, looked_at = set(), Counter[str]()
    async for planned in kind.plan(job, None):
        result = kind.run(await kind.prepare(job, planned.work))
        reviewed = await kind.review(job, planned.work, result)
        findings |= {(one.kind, one.path) for one in reviewed.findings}
        looked_at += reviewed.looked_at
    return findings, looked_at


@pytest.mark.parametrize(
    ("fault", "files", "for_ever"),
    [(Fault.FAIL, 100, False), (Fault.FAIL, 100, True), (Fault.FAIL, 3, False), (Fault.LIE, 100, False)],
    ids=str,
)
async def test_a_store_that_goes_wrong_at_any_call(
    spoiled: RealRepository, monkeypatch: pytest.MonkeyPatch, fault: Fault, files: int, for_ever: bool
) -> None:
    """Nothing is called missing, untracked or of the wrong size that is not."""
    monkeypatch.setattr(validation_job, "_FILES", files)
    repository = await Repository.open(spoiled.uri)
    try:
        job, kind = await ask(repository, 1), Validation(repository, 1)
        true, looked_at = await look_at_all(kind, job)
        assert len(true) == 3 and looked_at[UNREACHED] == 0
        at, unreached = 0, 0
        while True:
            at += 1
            store = FaultyStore(open_store(repository.datastore.children[0].root_uri), fault, at, for_ever=for_ever)
            monkeypatch.setattr(looking, "open_store", lambda _, store=store: store)
            found, looked_at = await look_at_all(kind, job)
            if not store.went_wrong:
                break
            allowed = FindingKind.UNREADABLE if fault is Fault.FAIL else FindingKind.CHECKSUM_MISMATCH
            assert {kind for kind, _ in found - true} <= {allowed}, at
            if looked_at[UNREACHED]:
                unreached += 1
                assert files == 3 or found == set()
        assert found == true
        assert at > 30
        # Where a listing broke, nothing can be said; it has an entry for all but the missing file, and what is extra.
        assert unreached == 0 if fault is Fault.LIE else unreached >= 14
    finally:
        await repository.close()


async def test_a_store_of_which_nothing_can_be_said_is_in_doubt(
    spoiled: RealRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation_job, "_FILES", 8)
    repository = await Repository.open(spoiled.uri)
    try:
        store = FaultyStore(open_store(repository.datastore.children[0].root_uri), Fault.FAIL, 1)
        monkeypatch.setattr(looking, "open_store", lambda _: store)
        found = await validated(repository, checks=CHECKS)
        assert found.verdict == "SUSPECT"
        assert found.coverage["artifacts"] + sum(n for why, n in found.coverage.items() if "EIO" in why) == 14
    finally:
        await repository.close()


@pytest.mark.slow
async def test_whoever_validates_is_killed(spoiled: RealRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation_job, "_FILES", FILES)
    repository = await Repository.open(spoiled.uri)
    try:
        # The second time all contents are known.
        expected = [await validated(repository, checks=CHECKS) for _ in range(2)][1]
    finally:
        await repository.close()
    done = await asyncio.to_thread(killed_validations, spoiled)
    assert done.returncode == 0, done.stderr
    ends = [json.loads(line) for line in done.stdout.splitlines()]
    told = sorted([one.kind, one.path] for one in expected.findings)
    assert all(end[1:] == ["SUCCEEDED", expected.job.result, 16, told] for end in ends)
    assert len(ends) > 15
    assert {end[0] for end in ends} == {"QUEUED", "INTERRUPTED", "SUCCEEDED"}


def killed_validations(real: RealRepository) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.support.killed_validations", real.uri],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
