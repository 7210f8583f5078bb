"""Deletions of datasets from real repositories; a twin from which the real Butler deleted has the same rows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from butlerql.storage.datastores.deletion.plans import DeletionScope, Outcome, PlanState
from tests.support.deleted import deleter
from tests.support.registry_rows import registry_rows
from tests.support.repositories import Layout, RealRepository, Repositories
from tests.support.things import THINGS

_SCOPES = list(DeletionScope)


@pytest.fixture
def things(repositories: Repositories, dialect: Any) -> Iterator[RealRepository]:
    with repositories.private(THINGS, Layout(dialect)) as copy:
        yield copy


@pytest.fixture
def twin(repositories: Repositories, dialect: Any) -> Iterator[RealRepository]:
    with repositories.private(THINGS, Layout(dialect)) as copy:
        yield copy


def files(real: RealRepository) -> set[str]:
    root = Path(real.uri)
    return {os.path.relpath(file, root) for file in root.rglob("*") if file.is_file() and "FileDatastore" in str(file)}


def prune(real: RealRepository, scope: DeletionScope, runs: list[str]) -> None:
    butler = real.open(writeable=True)
    refs = butler.query_datasets("thing", runs, find_first=False)
    purge = scope is DeletionScope.PURGE
    butler.pruneDatasets(refs, disassociate=purge, unstore=True, purge=purge)


@pytest.mark.parametrize("scope", _SCOPES)
async def test_as_the_butler_does(things: RealRepository, twin: RealRepository, scope: DeletionScope) -> None:
    """Files of one dataset, of several, and zip files."""
    runs = ["a", "d", "z"]
    prune(twin, scope, runs)
    before = files(things)
    async with deleter(things.uri) as ours:
        plan = await ours.plan(scope, runs=runs)
        assert plan.state is PlanState.PLANNED
        assert (plan.datasets, plan.artifacts) == (8, 6)
        assert files(things) == before and plan.bytes > 0
        plan = await ours.delete(plan)
        assert plan.state is PlanState.UNLINKED
        assert await ours.outcomes(plan) == {Outcome.REMOVED: 6}
    assert registry_rows(things) == registry_rows(twin)
    assert files(things) == files(twin)


@pytest.mark.parametrize("scope", _SCOPES)
async def test_a_grace_period_and_back(things: RealRepository, scope: DeletionScope) -> None:
    rows, before = registry_rows(things), files(things)
    async with deleter(things.uri) as ours:
        plan = await ours.delete(await ours.plan(scope, runs=["a", "d", "z"]), grace_seconds=3600)
        assert plan.state is PlanState.DETACHED
        assert (await ours.job(plan)).state == "WAITING"
        assert files(things) == before
        butler = things.open()
        refs = butler.query_datasets("thing", "*", find_first=False)
        there = [ref for ref in refs if butler.stored(ref)]
        assert len(there) == 8 and len(refs) == (16 if scope is DeletionScope.UNSTORE else 8)
        plan = await ours.restore(plan)
        assert plan.state is PlanState.RESTORED
        assert await ours.outcomes(plan) == {Outcome.RESTORED: 6}
    assert registry_rows(things) == rows
    assert files(things) == before
