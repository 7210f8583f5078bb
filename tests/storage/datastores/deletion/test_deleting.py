"""Deletions of datasets from real repositories; a twin from which the real Butler deleted has the same rows."""

from __future__ import annotations

import json
import os
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa

from butlerql.storage.datastores.artifacts import stores
from butlerql.storage.datastores.artifacts.local import LocalStore
from butlerql.storage.datastores.artifacts.store import Ended, Entry, Kind, Removal
from butlerql.storage.datastores.deletion import chunks, deleting, planning
from butlerql.storage.datastores.deletion.exports import Exports
from butlerql.storage.datastores.deletion.planning import Bounds
from butlerql.storage.datastores.deletion.plans import (
    BLOCKING,
    DeletionScope,
    Outcome,
    Plan,
    PlanState,
    find_plan,
    freed_bytes,
    groups,
)
from butlerql.storage.errors import StalePlanError, TimedOutError
from butlerql.storage.registry.dataset_groups import GroupKey
from butlerql.storage.repository import Repository
from butlerql.storage.state.tables import DELETION_PLAN
from tests.support.deleted import deleter
from tests.support.registry_rows import registry_rows
from tests.support.repositories import Layout, RealRepository, Repositories
from tests.support.rich import RICH
from tests.support.validated import validated

_SCOPES = list(DeletionScope)
_OVER = sa.update(DELETION_PLAN).values(unlink_after=0)


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


async def test_bit_by_bit(things: RealRepository, twin: RealRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are more than are read, written or removed at once, all is as it would be otherwise."""
    runs = ["a", "d", "z"]
    prune(twin, DeletionScope.PURGE, runs)
    async with deleter(things.uri) as ours:
        whole = await ours.plan(DeletionScope.PURGE, runs=runs)
        for module, name, value in (
            (planning, "_AHEAD", 10),
            (planning, "_DATASETS", 2),
            (chunks, "_DATASETS", 2),
            (stores, "_BATCH", 2),
            (stores, "_PATIENCE", -1),
        ):
            monkeypatch.setattr(module, name, value)
        plan = await ours.plan(DeletionScope.PURGE, runs=runs)
        assert (plan.datasets, plan.artifacts, plan.bytes) == (whole.datasets, whole.artifacts, whole.bytes)
        assert {item[2:] for item in await ours.items(plan)} == {item[2:] for item in await ours.items(whole)}
        for by in (GroupKey.STORAGE_CLASS, GroupKey.RUN):
            assert await groups(ours.state, plan.id, [by]) == await groups(ours.state, whole.id, [by])
        plan = await ours.delete(plan, grace_seconds=3600)
        plan = await ours.go_on(plan)
        assert plan.state is PlanState.UNLINKED
        assert await ours.outcomes(plan) == {Outcome.REMOVED: 6}
    assert registry_rows(things) == registry_rows(twin)
    assert files(things) == files(twin)


async def test_a_grace_period_that_passes_meanwhile(things: RealRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is detached before it is over waits, and goes all the same."""
    monkeypatch.setattr(chunks, "_DATASETS", 2)
    detach, states = deleting.detach, []

    async with deleter(things.uri) as ours:

        async def late(repository: Repository, plan: Plan, *more: Any) -> Any:
            done = await detach(repository, plan, *more)
            states.append((await find_plan(ours.state, plan.id)).state)
            if len(states) == 3:
                await ours.state.write(lambda connection: connection.execute(_OVER))
            return done

        monkeypatch.setattr(deleting, "detach", late)
        plan = await ours.delete(await ours.plan(runs=["a", "b"]), grace_seconds=3600)
        assert (plan.state, states[:3]) == (PlanState.UNLINKED, [PlanState.DETACHING] * 3)
        assert await ours.outcomes(plan) == {Outcome.REMOVED: 8}
        assert await ours.log() == ["UNLINKED"]
        assert (await validated(ours.repository)).findings == []


@pytest.mark.parametrize(("most", "state"), [(400, PlanState.PLANNED), (399, PlanState.FAILED)])
async def test_a_selection_that_takes_long(
    things: RealRepository, monkeypatch: pytest.MonkeyPatch, most: int, state: PlanState
) -> None:
    """Less of it is read at once, down to a point."""
    read = planning._datasets

    async def slow(snapshot: Any, selection: Any, after: Any, limit: int) -> Any:
        if limit > most:
            raise TimedOutError("too slow")
        return await read(snapshot, selection, after, limit)

    monkeypatch.setattr(planning, "_datasets", slow)
    async with deleter(things.uri) as ours:
        assert (await ours.plan(runs=["a"])).state is state


async def test_one_directory_after_another(things: RealRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    """In whatever order the datasets are: what the system has to write of a directory, it writes once."""
    removed, remove = [], LocalStore.remove

    def removes(self: LocalStore, removal: Removal) -> Ended:
        removed.append(os.path.dirname(removal.path))
        return remove(self, removal)

    monkeypatch.setattr(LocalStore, "remove", removes)
    async with deleter(things.uri) as ours:
        await ours.delete(await ours.plan(DeletionScope.UNSTORE, runs=["a", "b"]))
    assert len(removed) > len([*groupby(removed)]) == len(set(removed)) > 1


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


@pytest.mark.parametrize("scope", _SCOPES)
async def test_one_of_everything(rich: RealRepository, repositories: Repositories, scope: DeletionScope) -> None:
    """Chains, split datasets, files outside, calibrations, trash: all goes, and comes back as it was."""
    with repositories.copy(rich) as real:
        rows, before = registry_rows(real), files(real)
        async with deleter(real.uri) as ours:
            plan = await ours.plan(scope, collections=["*"], override=sorted(BLOCKING))
            plan = await ours.delete(plan, grace_seconds=3600)
            assert plan.state is PlanState.DETACHED
            assert await ours.outcomes(plan) == {Outcome.DETACHED: len(await ours.items(plan))}
            butler = real.open()
            left = butler.query_all_datasets("*", name="*", find_first=False) if scope is DeletionScope.UNSTORE else []
            assert not any(butler.stored(ref) for ref in left)
            assert (await ours.restore(plan)).state is PlanState.RESTORED
        assert registry_rows(real) == rows
        assert files(real) == before


@pytest.mark.parametrize("harm", ["changed", "gone", "unreadable"])
async def test_half_of_a_split_dataset_never_goes(
    rich: RealRepository, repositories: Repositories, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    """Where the file of one component is another, or cannot be looked at, the files of all stay, in both stores."""
    look = LocalStore._look
    with repositories.copy(rich) as real:
        butler = real.open()
        ref = butler.query_datasets("split", "u/alice/run1")[0]
        async with deleter(real.uri) as ours:
            plan = await ours.plan(uuids=[str(ref.id)])
            one, *others = [str(urlsplit(item.uri).path) for item in await ours.items(plan)]
            assert others
            rows = registry_rows(real)
            with monkeypatch.context() as patch:
                if harm == "unreadable":
                    problem = Entry("", Kind.UNREADABLE, problem="EIO")
                    patch.setattr(LocalStore, "_look", lambda self, path: problem if path in one else look(self, path))
                elif harm == "gone":
                    os.unlink(one)
                else:
                    os.utime(one, ns=(1, 1))
                plan = await ours.delete(plan)
            outcome = Outcome.FAILED if harm == "unreadable" else Outcome.SKIPPED_CHANGED
            assert await ours.outcomes(plan) == {outcome: 1 + len(others)}
        assert registry_rows(real) == rows
        assert all(map(os.path.exists, others))


async def test_what_is_freed(things: RealRepository) -> None:
    """More than 4 GiB; what is not there frees nothing, whatever its record says."""
    butler = things.open()
    large, gone, *_ = [butler.getURI(ref).ospath for ref in butler.query_datasets("thing", "a", order_by="detector")]
    os.truncate(large, 5 << 30)
    os.unlink(gone)
    async with deleter(things.uri) as ours:
        plan = await ours.plan(runs=["a"])
        others = sum(item.bytes or 0 for item in await ours.items(plan)) - (5 << 30)
        assert 0 < others < 1000 and plan.bytes == (5 << 30) + others
        [item] = [item for item in await ours.items(plan) if item.reason is not None]
        assert (item.bytes, item.reason) == (None, "its file is not there")
        plan = await ours.delete(plan)
        assert await ours.outcomes(plan) == {Outcome.REMOVED: 3, Outcome.ALREADY_GONE: 1}
        assert await freed_bytes(ours.state, plan.id) == plan.bytes


async def test_old_layouts(repositories: Repositories) -> None:
    """Moments and collections are written in other ways there."""
    for layout in (Layout("sqlite", datasets="1.0.0"), Layout("postgresql", collections="nameKey", datasets="1.0.0")):
        with repositories.copy(repositories.shared(RICH, layout)) as real:
            rows = registry_rows(real)
            async with deleter(real.uri) as ours:
                plan = await ours.plan(DeletionScope.PURGE, collections=["*"], override=sorted(BLOCKING))
                await ours.delete(plan, grace_seconds=3600)
                assert registry_rows(real) != rows
                await ours.restore(plan)
            assert registry_rows(real) == rows


async def test_nothing_else_is_untracked(things: RealRepository) -> None:
    """While files wait, and after, a validation has nothing to say."""
    async with deleter(things.uri) as ours:
        plan = await ours.delete(await ours.plan(DeletionScope.PURGE, runs=["a"]), grace_seconds=3600)
        assert (await validated(ours.repository)).findings == []
        plan = await ours.go_on(plan)
        assert plan.state is PlanState.UNLINKED
        assert (await validated(ours.repository)).findings == []


async def test_plans_are_carried_out_once(things: RealRepository) -> None:
    async with deleter(things.uri) as ours:
        plan = await ours.plan(runs=["a"])
        with pytest.raises(StalePlanError):
            await ours.restore(plan)
        plan = await ours.delete(plan)
        rows = registry_rows(things)
        again = await ours.delete(plan)
        assert again.state is PlanState.UNLINKED and registry_rows(things) == rows
        assert await ours.outcomes(plan) == {Outcome.REMOVED: 4}
        with pytest.raises(StalePlanError):
            await ours.restore(plan)


async def test_run1_is_not_run10(things: RealRepository) -> None:
    butler = things.open(writeable=True)
    butler.collections.register("a0")
    butler.put({"n": 1}, "thing", instrument="Cam1", detector=1, run="a0")
    async with deleter(things.uri) as ours:
        plan = await ours.delete(await ours.plan(runs=["a"]))
        assert (plan.datasets, plan.artifacts) == (4, 4)
    assert butler.get("thing", instrument="Cam1", detector=1, collections="a0") == {"n": 1}


async def test_what_a_plan_may_be(things: RealRepository) -> None:
    async with deleter(things.uri) as ours:
        for selection in ({"dataset_types": ["thing"]}, {}):
            plan = await ours.plan(**selection)
            assert plan.state is PlanState.FAILED
            assert "has to name uuids, collections or runs" in ((await ours.job(plan)).error or "")
        empty = await ours.plan(runs=[])
        assert (empty.state, empty.datasets, empty.artifacts) == (PlanState.PLANNED, 0, 0)
        assert (await ours.delete(empty)).state is PlanState.UNLINKED
    async with deleter(things.uri, Bounds(datasets=3)) as ours:
        plan = await ours.plan(runs=["a"])
        assert "may hold 3 datasets" in ((await ours.job(plan)).error or "")
    async with deleter(things.uri, Bounds(bytes=10)) as ours:
        plan = await ours.plan(runs=["a"])
        assert "may hold 10 bytes" in ((await ours.job(plan)).error or "")
        assert plan.state is PlanState.FAILED
    async with deleter(things.uri, Bounds(plan_seconds=0)) as ours:
        plan = await ours.plan(runs=["a"])
        assert plan.state is PlanState.EXPIRED
        with pytest.raises(StalePlanError, match="expired"):
            await ours.delete(plan)


async def test_what_is_read_is_written_to_a_file_first(things: RealRepository) -> None:
    """Who loses our state can still find out what was purged."""
    butler = things.open()
    refs = butler.query_datasets("thing", "a")
    async with deleter(things.uri) as ours:
        plan = await ours.delete(await ours.plan(DeletionScope.PURGE, runs=["a"]), grace_seconds=3600)
        lines = read_export(Exports(ours.repository).directory, plan.id)
    assert {line["dataset_id"] for line in lines} == {str(ref.id) for ref in refs}
    rows = next(line["rows"] for line in lines if line["dataset_id"] == str(refs[0].id))
    assert rows["dataset"][0]["dataset_type_name"] == "thing"
    assert rows["dataset"][0]["collection_name"] == "a"
    assert set(rows) == {"dataset", "location", "records:" + rows["location"][0]["datastore_name"], *_tags(rows)}


def read_export(directory: str, plan: int) -> list[dict[str, Any]]:
    [file] = Path(directory).iterdir()
    assert file.name == f"plan-{plan}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()]


def _tags(rows: dict[str, object]) -> set[str]:
    return {name for name in rows if name.startswith("tags:")}
