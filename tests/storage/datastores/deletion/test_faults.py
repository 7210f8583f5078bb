"""Stores and databases that fail in the middle of a deletion, and several who delete and restore at once."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path
from typing import Any

import pytest
from lsst.daf.butler import CollectionType

from butlerql.storage.datastores.artifacts.local import LocalStore
from butlerql.storage.datastores.artifacts.store import Entry, Kind
from butlerql.storage.datastores.deletion import deleting, detaching
from butlerql.storage.datastores.deletion.deleting import Deletion, ask_to_restore
from butlerql.storage.datastores.deletion.plans import DeletionScope, Outcome, PlanState, find_plan
from butlerql.storage.errors import StateUnavailableError
from tests.support.deleted import deleter
from tests.support.registry_rows import registry_rows
from tests.support.repositories import RealRepository
from tests.support.things import STORE
from tests.support.validated import validated


async def test_a_root_that_is_not_there(things: RealRepository) -> None:
    """Nothing is planned, detached or unlinked where the store is away: a mount that is gone looks like this."""
    store, away = things.directory / STORE, things.directory / "away"
    async with deleter(things.uri) as ours:
        plan = await ours.plan(DeletionScope.PURGE, runs=["a"])
        waiting = await ours.delete(await ours.plan(DeletionScope.PURGE, runs=["b"]), grace_seconds=3600)
        rows = registry_rows(things)
        store.rename(away)
        for is_empty in (False, True):
            if is_empty:
                store.mkdir()
            failed = await ours.plan(runs=["c"])
            assert failed.state is PlanState.FAILED
            assert "cannot be read" in ((await ours.job(failed)).error or "")
        plan = await ours.delete(plan)
        assert plan.state is PlanState.FAILED
        assert "cannot be read" in ((await ours.job(plan)).error or "")
        (store / "another").touch()
        waiting = await ours.go_on(waiting)
        assert waiting.state is PlanState.FAILED
        assert "is not the directory that it was" in ((await ours.job(waiting)).error or "")
        assert registry_rows(things) == rows
        (store / "another").unlink()
        store.rmdir()
        away.rename(store)
        # What failed is done when somebody asks again.
        assert (await ours.delete(plan)).state is PlanState.UNLINKED
        assert (await ours.delete(waiting)).state is PlanState.UNLINKED
        assert await ours.outcomes(plan) == await ours.outcomes(waiting) == {Outcome.REMOVED: 4}
        assert (await validated(ours.repository)).findings == []


async def test_a_root_that_goes_before_its_files_are_removed(
    things: RealRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are not taken for gone."""
    store, away, detach = things.directory / STORE, things.directory / "away", deleting.detach

    async def unmount(*arguments: Any) -> Any:
        done = await detach(*arguments)
        store.rename(away)
        return done

    async with deleter(things.uri) as ours:
        plan = await ours.plan(DeletionScope.PURGE, runs=["a"])
        with monkeypatch.context() as patch:
            patch.setattr(deleting, "detach", unmount)
            plan = await ours.delete(plan)
        assert plan.state is PlanState.FAILED
        assert "cannot be read" in ((await ours.job(plan)).error or "")
        away.rename(store)
        assert await ours.outcomes(await ours.delete(plan)) == {Outcome.REMOVED: 4}
        assert (await validated(ours.repository)).findings == []


async def test_a_file_that_cannot_be_looked_at(things: RealRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is never taken for missing: its dataset stays, and can be tried again."""
    look = LocalStore._look

    def refuse(self: LocalStore, path: str) -> Entry:
        return Entry(path, Kind.UNREADABLE, problem="EIO") if path.startswith("a/") else look(self, path)

    async with deleter(things.uri) as ours:
        plan = await ours.plan(runs=["a", "b"])
        with monkeypatch.context() as patch:
            patch.setattr(LocalStore, "_look", refuse)
            plan = await ours.delete(plan)
        assert await ours.outcomes(plan) == {Outcome.FAILED: 4, Outcome.REMOVED: 4}
        assert {item.reason for item in await ours.items(plan)} == {None, "its file cannot be looked at: EIO"}
        butler = things.open()
        assert all(butler.stored(ref) for ref in butler.query_datasets("thing", "a"))
        plan = await ours.delete(plan)
        assert await ours.outcomes(plan) == {Outcome.REMOVED: 8}


@pytest.mark.parametrize("call", ["lock_datasets", "read_rows", "remove_rows"])
async def test_a_database_that_fails(things: RealRepository, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Nothing is changed then; whoever has the job next goes on."""
    rows = registry_rows(things)
    async with deleter(things.uri) as ours:
        plan = await ours.plan(DeletionScope.PURGE, runs=["a"])

        async def fail(*_: Any) -> None:
            raise StateUnavailableError("there is no disk left")

        with monkeypatch.context() as patch:
            patch.setattr(detaching, call, fail)
            plan = await ours.delete(plan)
        assert (await ours.job(plan)).state == "RUNNING"
        assert registry_rows(things) == rows
        await ours.expire()
        plan = await ours.delete(plan)
        assert await ours.outcomes(plan) == {Outcome.REMOVED: 4}


async def test_what_is_detached_is_known_before_its_files_are_said_to_be(
    things: RealRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever detached it lost the database before that: nothing is untracked meanwhile."""

    async def fail(*_: Any) -> None:
        raise StateUnavailableError("there is no disk left")

    async with deleter(things.uri) as ours:
        plan = await ours.plan(DeletionScope.PURGE, runs=["a"])
        with monkeypatch.context() as patch:
            patch.setattr(Deletion, "absorb", fail)
            plan = await ours.delete(plan, grace_seconds=3600)
        assert (await ours.job(plan)).state == "RUNNING"
        assert things.open().query_datasets("thing", "a", explain=False) == []
        assert (await validated(ours.repository)).findings == []
        await ours.expire()
        assert await ours.outcomes(await ours.go_on(plan)) == {Outcome.REMOVED: 4}


async def test_several_at_once(things: RealRepository) -> None:
    """Plans that want the same datasets, carried out at once, while a stock Butler prunes and tags."""
    butler = things.open(writeable=True)
    refs = butler.query_datasets("thing", ["b", "c"], find_first=False)
    async with deleter(things.uri) as one, deleter(things.uri) as other:
        plans = [await ours.plan(DeletionScope.PURGE, runs=["a", "b", "c"]) for ours in (one, other)]
        prune = asyncio.to_thread(butler.pruneDatasets, refs[:4], disassociate=True, unstore=True, purge=True)
        first, second, _ = await asyncio.gather(one.delete(plans[0]), other.delete(plans[1]), prune)
        assert first.state is second.state is PlanState.UNLINKED
        counts: dict[Outcome, int] = {}
        for ours, plan in ((one, first), (other, second)):
            for outcome, number in (await ours.outcomes(plan)).items():
                counts[outcome] = counts.get(outcome, 0) + number
        assert counts.pop(Outcome.REMOVED, 0) + counts.pop(Outcome.ALREADY_GONE, 0) >= 8
        assert set(counts) <= {Outcome.SKIPPED_CHANGED}
        assert (await validated(one.repository)).findings == []
    assert things.open().query_datasets("thing", ["a", "b", "c"], find_first=False, explain=False) == []


async def test_restoring_while_it_is_carried_out(things: RealRepository) -> None:
    """The one stops, the other puts back what is away by then."""
    rows = registry_rows(things)
    async with deleter(things.uri) as one, deleter(things.uri) as other:
        plan = await one.plan(DeletionScope.PURGE, runs=["a", "b"])
        deleting = asyncio.create_task(one.delete(plan, grace_seconds=3600))
        job = None
        while job is None:
            await asyncio.sleep(0.01)
            if (await find_plan(other.state, plan.id)).unlink_after is not None:
                job = await other.state.write(lambda connection: ask_to_restore(connection, plan.id, "tester"))
        await deleting
        await other.run(job)
        plan = await find_plan(other.state, plan.id)
        assert plan.state is PlanState.RESTORED
        outcomes = await other.outcomes(plan)
        assert set(outcomes) <= {Outcome.RESTORED, Outcome.PENDING}
    assert registry_rows(things) == rows


async def test_a_tag_that_comes_in_between_is_waited_for(things: RealRepository) -> None:
    """Whoever tags first is seen; whoever tags later finds no dataset."""
    butler = things.open(writeable=True)
    refs = butler.query_datasets("thing", "a")
    butler.collections.register("tag", CollectionType.TAGGED)
    async with deleter(things.uri) as ours:
        plan = await ours.plan(DeletionScope.PURGE, runs=["a"])
        results = await asyncio.gather(
            ours.delete(plan), asyncio.to_thread(butler.registry.associate, "tag", refs[:1]), return_exceptions=True
        )
        outcomes = await ours.outcomes(plan)
        tagged = things.open().query_datasets("thing", "tag", explain=False)
        if isinstance(results[1], BaseException):
            assert outcomes == {Outcome.REMOVED: 4} and tagged == []
        else:
            assert outcomes == {Outcome.REMOVED: 3, Outcome.BLOCKED: 1} and len(tagged) == 1


async def test_a_datastore_that_is_not_configured(things: RealRepository) -> None:
    """Where the registry says that another has it, the dataset itself stays."""
    butler = things.open(writeable=True)
    [ref, *_] = butler.query_datasets("thing", "a")
    bridge = butler._registry._managers.datastores  # type: ignore[attr-defined]
    bridge.register("elsewhere", ephemeral=False).insert([ref])
    async with deleter(things.uri) as ours:
        plan = await ours.delete(await ours.plan(DeletionScope.PURGE, runs=["a"]))
        assert await ours.outcomes(plan) == {Outcome.REMOVED: 3, Outcome.FAILED: 1}
        [failed] = [item for item in await ours.items(plan) if item.outcome is Outcome.FAILED]
        assert "'elsewhere'" in str(failed.reason)
    assert butler.get(ref)


async def test_no_place_for_what_is_purged(things: RealRepository) -> None:
    """Nothing is purged that could not be written down first."""
    rows = registry_rows(things)
    async with deleter(things.uri) as ours:
        plan = await ours.plan(DeletionScope.PURGE, runs=["a"])
        directory = things.directory / "butlerql-deletions"
        directory.touch()
        plan = await ours.delete(plan)
        assert plan.state is PlanState.FAILED
        assert "deletion_exports" in ((await ours.job(plan)).error or "")
        assert registry_rows(things) == rows
        directory.unlink()
        directory.mkdir()
        full = directory / f"plan-{plan.id}.jsonl"
        full.symlink_to("/dev/full")
        assert (await ours.delete(plan)).state is PlanState.FAILED
        assert "No space left on device" in ((await ours.job(await find_plan(ours.state, plan.id))).error or "")
        assert registry_rows(things) == rows
        full.unlink()
        assert await ours.outcomes(await ours.delete(plan)) == {Outcome.REMOVED: 4}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
async def test_a_store_that_cannot_be_written_to(
    things: RealRepository, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Its files stay, known, each says why, and they go when it can be."""

    def refused(call: Any) -> Any:
        def refuse(path: Any, *more: Any, **named: Any) -> Any:
            if Path(os.fsdecode(path)).is_relative_to(things.directory / STORE):
                raise OSError(number, os.strerror(number))
            return call(path, *more, **named)

        return refuse

    async with deleter(things.uri) as ours:
        plan = await ours.plan(DeletionScope.PURGE, runs=["a"])
        with monkeypatch.context() as patch:
            for name in ("rename", "unlink", "link"):
                patch.setattr(os, name, refused(getattr(os, name)))
            plan = await ours.delete(plan)
        assert await ours.outcomes(plan) == {Outcome.FAILED: 4}
        for item in await ours.items(plan):
            assert str(item.reason).startswith(errno.errorcode[number])
        assert (await validated(ours.repository)).findings == []
        assert await ours.outcomes(await ours.delete(plan)) == {Outcome.REMOVED: 4}
        assert await ours.log() == ["UNLINKED", "UNLINKED"]
