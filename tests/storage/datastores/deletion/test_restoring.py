"""Restoring where something stands in the way, is gone, or has stopped; and again when it does not any more."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from lsst.daf.butler import CollectionType

from butlerql.storage.datastores.artifacts import local
from butlerql.storage.datastores.deletion import restoring
from butlerql.storage.datastores.deletion.cancelling import cancel
from butlerql.storage.datastores.deletion.deleting import Deletion
from butlerql.storage.datastores.deletion.plans import (
    DeletionScope,
    Outcome,
    Plan,
    PlanState,
    Reason,
    find_plan,
    restorable_runs,
)
from butlerql.storage.errors import StalePlanError, StateUnavailableError, UnavailableDatastoreError
from butlerql.storage.state.jobs import JobState
from tests.storage.datastores.deletion.test_meanwhile import expanded, path_of, prune, refs_of
from tests.support.deleted import Deleter, deleter
from tests.support.registry_rows import registry_rows
from tests.support.repositories import RealRepository
from tests.support.things import STORE
from tests.support.validated import validated

_PURGE = DeletionScope.PURGE


async def reasons(ours: Deleter, plan: Plan) -> set[tuple[Outcome, str | None]]:
    return {(item.outcome, item.reason) for item in await ours.items(plan)}


@pytest.mark.parametrize("is_empty", [True, False])
async def test_a_store_that_is_away(things: RealRepository, is_empty: bool) -> None:
    """Nothing is lost because a file system is not mounted: the plan says that it failed, and is gone on with."""
    store, away = things.directory / STORE, things.directory / "away"
    rows = registry_rows(things)
    async with deleter(things.uri) as ours:
        plan = await ours.delete(await ours.plan(_PURGE, runs=["a"]), grace_seconds=3600)
        store.rename(away)
        store.mkdir()
        if not is_empty:
            (store / "not mounted").touch()
        plan = await ours.restore(plan)
        assert plan.state is PlanState.FAILED
        assert "s its file system mounted?" in str((await ours.job(plan)).error)
        assert await ours.outcomes(plan) == {Outcome.DETACHED: 4}
        assert await restorable_runs(ours.state, ["a", "b"]) == ["a"]
        if not is_empty:
            (store / "not mounted").unlink()
        store.rmdir()
        away.rename(store)
        plan = await ours.restore(plan)
        assert (plan.state, await ours.outcomes(plan)) == (PlanState.RESTORED, {Outcome.RESTORED: 4})
    assert registry_rows(things) == rows


async def test_what_failed_to_be_restored_can_be_deleted(
    things: RealRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a grace period of its own."""

    async def fail(*_: Any) -> None:
        raise UnavailableDatastoreError("away")

    async with deleter(things.uri) as ours:
        plan = await ours.delete(await ours.plan(_PURGE, runs=["a"]), grace_seconds=3600)
        with monkeypatch.context() as patch:
            patch.setattr(restoring, "_lost", fail)
            plan = await ours.restore(plan)
        assert plan.state is PlanState.FAILED
        until = plan.unlink_after or 0
        plan = await ours.delete(plan, grace_seconds=7200)
        assert plan.state is PlanState.DETACHED and (plan.unlink_after or 0) > until + 3000 * 1_000_000
        plan = await ours.go_on(plan)
        assert (plan.state, await ours.outcomes(plan)) == (PlanState.UNLINKED, {Outcome.REMOVED: 4})


async def test_another_device(things: RealRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network file system has another device after each mount: nothing is removed there, but all can be restored."""
    rows = registry_rows(things)

    class Remounted:
        """What the system says from then on."""

        def __getattr__(self, name: str) -> Any:
            call = getattr(os, name)
            return other(call) if name in {"stat", "lstat"} else call

    def other(look: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
        def seen(*path: Any, **named: Any) -> os.stat_result:
            status = look(*path, **named)
            numbers = list(status)
            numbers[2] += 7
            return os.stat_result(numbers, {"st_mtime_ns": status.st_mtime_ns})

        return seen

    async with deleter(things.uri) as ours:
        plan = await ours.delete(await ours.plan(_PURGE, runs=["a"]), grace_seconds=3600)
        monkeypatch.setattr(local, "os", Remounted())
        plan = await ours.go_on(plan)
        assert (plan.state, await ours.outcomes(plan)) == (PlanState.FAILED, {Outcome.DETACHED: 4})
        plan = await ours.restore(plan)
        assert (plan.state, await ours.outcomes(plan)) == (PlanState.RESTORED, {Outcome.RESTORED: 4})
        assert registry_rows(things) == rows
        plan = await ours.delete(await ours.plan(_PURGE, runs=["a"]))
        assert await ours.outcomes(plan) == {Outcome.REMOVED: 4}


async def test_what_was_lost_and_is_there_again(things: RealRepository) -> None:
    """It comes back, and until then nobody is told that its file is nobody's; another in its place is."""
    butler, rows = things.open(), registry_rows(things)
    paths = [path_of(butler, ref) for ref in refs_of(butler, "a")[:2]]
    async with deleter(things.uri) as ours:
        plan = await ours.delete(await ours.plan(_PURGE, runs=["a"]), grace_seconds=3600)
        for path in paths:
            path.rename(things.directory / path.name)
        paths[1].write_text("somebody's own")
        plan = await ours.restore(plan)
        assert plan.state is PlanState.PARTLY_RESTORED
        assert await reasons(ours, plan) == {
            (Outcome.RESTORED, None),
            (Outcome.LOST, "its file is not there any more"),
            (Outcome.LOST, "another file is in the place of its own"),
        }
        assert await restorable_runs(ours.state, ["a"]) == ["a"]
        (things.directory / paths[0].name).rename(paths[0])
        [finding] = (await validated(ours.repository)).findings
        assert finding.kind == "UNTRACKED" and str(finding.path).endswith(paths[1].name)
        plan = await ours.restore(plan)
        assert await ours.outcomes(plan) == {Outcome.RESTORED: 3, Outcome.LOST: 1}
        (things.directory / paths[1].name).rename(paths[1])
        plan = await ours.restore(plan)
        assert (plan.state, await ours.outcomes(plan)) == (PlanState.RESTORED, {Outcome.RESTORED: 4})
        assert await restorable_runs(ours.state, ["a"]) == []
    assert registry_rows(things) == rows


async def test_a_place_that_is_free_again(things: RealRepository) -> None:
    """What was a conflict is none at the next try."""
    butler = things.open(writeable=True)
    first, other = refs_of(butler, "a")[0], refs_of(butler, "b")[0]
    butler.collections.register("tag", CollectionType.TAGGED)
    butler.registry.associate("tag", refs_of(butler, "a"))
    rows = registry_rows(things)
    async with deleter(things.uri) as ours:
        plan = await ours.delete(await ours.plan(_PURGE, collections=["tag"]), grace_seconds=3600)
        butler.registry.associate("tag", [other])
        plan = await ours.restore(plan)
        assert plan.state is PlanState.PARTLY_RESTORED
        assert await reasons(ours, plan) == {
            (Outcome.RESTORED, None),
            (Outcome.RESTORE_CONFLICT, "another dataset has its data ID in 'tag'"),
        }
        assert await restorable_runs(ours.state, ["a"]) == ["a"]
        butler.registry.disassociate("tag", [other])
        plan = await ours.restore(plan)
        assert (plan.state, await ours.outcomes(plan)) == (PlanState.RESTORED, {Outcome.RESTORED: 4})
    assert butler.get_dataset(first.id) is not None and registry_rows(things) == rows


@pytest.mark.parametrize("scope", list(DeletionScope))
async def test_what_cannot_be_restored_can_be_given_up(things: RealRepository, scope: DeletionScope) -> None:
    """It is deleted then, after another grace period; what others have by then is left to them."""
    butler = things.open(writeable=True)
    first, second, *_ = refs_of(butler, "a")
    async with deleter(things.uri) as ours:
        plan = await ours.delete(await ours.plan(scope, runs=["a"]), grace_seconds=3600)
        if scope is _PURGE:
            new = [butler.put({"new": 1}, "thing", ref.dataId, run="a") for ref in (first, second)]
        else:
            new = [butler.put({"new": 1}, expanded(butler, ref)) for ref in (first, second)]
        plan = await ours.restore(plan)
        assert await ours.outcomes(plan) == {Outcome.RESTORED: 2, Outcome.RESTORE_CONFLICT: 2}
        butler.pruneDatasets(new[:1], disassociate=scope is _PURGE, unstore=True, purge=scope is _PURGE)
        plan = await ours.restore(plan)
        # Its place is free, and its file was written over.
        expected = {Outcome.RESTORED: 2, Outcome.LOST: 1, Outcome.RESTORE_CONFLICT: 1}
        assert (plan.state, await ours.outcomes(plan)) == (PlanState.PARTLY_RESTORED, expected)
        plan = await ours.delete(plan, grace_seconds=3600)
        assert plan.state is PlanState.DETACHED
        assert await ours.outcomes(plan) == {Outcome.RESTORED: 2, Outcome.DETACHED: 2}
        plan = await ours.go_on(plan)
        expected = {Outcome.RESTORED: 2, Outcome.ALREADY_GONE: 1, Outcome.CHANGED_LATER: 1}
        assert (plan.state, await ours.outcomes(plan)) == (PlanState.UNLINKED, expected)
        assert await restorable_runs(ours.state, ["a"]) == []
        assert (await validated(ours.repository)).findings == []
    assert butler.get(new[1]) == {"new": 1}


async def test_a_tag_that_is_gone(things: RealRepository) -> None:
    """Datasets come back without it, and each says so; one of the same name that is no tag is none."""
    butler = things.open(writeable=True)
    rows = registry_rows(things)
    butler.collections.register("tag", CollectionType.TAGGED)
    butler.registry.associate("tag", refs_of(butler, "a"))
    async with deleter(things.uri) as ours:
        plan = await ours.delete(await ours.plan(_PURGE, collections=["tag"]), grace_seconds=3600)
        butler.collections.x_remove("tag")
        butler.collections.register("tag", CollectionType.CHAINED)
        plan = await ours.restore(plan)
        assert plan.state is PlanState.RESTORED
        assert await reasons(ours, plan) == {(Outcome.RESTORED, "not into 'tag': removed since")}
    now = registry_rows(things)
    assert {name for name in now if now[name] != rows[name]} <= {"collection"}


async def test_what_is_back_is_seen(things: RealRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever goes on after rows went back, and nobody could say so, says the same, whatever was tagged since."""
    butler = things.open(writeable=True)
    refs = refs_of(butler, "a")
    for name in ("tag", "more"):
        butler.collections.register(name, CollectionType.TAGGED)
    butler.registry.associate("tag", refs)

    async def fail(*_: Any) -> None:
        raise StateUnavailableError("there is no disk left")

    async with deleter(things.uri) as ours:
        plan = await ours.delete(await ours.plan(_PURGE, collections=["tag"]), grace_seconds=3600)
        butler.collections.x_remove("tag")
        with monkeypatch.context() as patch:
            patch.setattr(Deletion, "absorb", fail)
            plan = await ours.restore(plan)
        rows = registry_rows(things)
        assert (plan.state, await ours.outcomes(plan)) == (PlanState.DETACHED, {Outcome.DETACHED: 4})
        butler.registry.associate("more", refs[:1])
        await ours.expire()
        plan = await ours.restore(plan)
        assert plan.state is PlanState.RESTORED
        assert await reasons(ours, plan) == {(Outcome.RESTORED, "not into 'tag': removed since")}
        butler.registry.disassociate("more", refs[:1])
        now = registry_rows(things)
        assert now["dataset"] == rows["dataset"]
        assert now["file_datastore_records"] == rows["file_datastore_records"]


async def test_two_that_share_a_file_come_back_one_by_one(things: RealRepository) -> None:
    """The one that is back already does not stand in the other's way."""
    butler = things.open(writeable=True)
    rows, refs = registry_rows(things), refs_of(butler, "d")
    butler.collections.register("tag", CollectionType.TAGGED)
    butler.registry.associate("tag", refs)
    other = refs_of(butler, "b")[0]
    async with deleter(things.uri) as ours:
        plan = await ours.delete(await ours.plan(_PURGE, collections=["tag"]), grace_seconds=3600)
        butler.registry.associate("tag", [other])
        plan = await ours.restore(plan)
        assert await ours.outcomes(plan) == {Outcome.RESTORE_CONFLICT: 1}
        assert [butler.get_dataset(ref.id) is not None for ref in refs] == [False, True]
        butler.registry.disassociate("tag", [other])
        plan = await ours.restore(plan)
        assert (plan.state, await ours.outcomes(plan)) == (PlanState.RESTORED, {Outcome.RESTORED: 1})
    assert all(butler.get(ref) for ref in refs)
    assert registry_rows(things)["file_datastore_records"] == rows["file_datastore_records"]


@pytest.mark.parametrize("grace", [0, 3600])
@pytest.mark.parametrize("way_out", ["delete", "restore"])
async def test_cancelled_while_files_are_removed(
    things: RealRepository, monkeypatch: pytest.MonkeyPatch, way_out: str, grace: int
) -> None:
    """The plan says that nobody goes on with it, and either way it can be gone on with."""
    butler = things.open()
    victim = os.fsencode(path_of(butler, refs_of(butler, "a")[0]).parent)
    unlink = os.unlink

    def refuse(path: bytes, *more: object, **named: object) -> None:
        if isinstance(path, bytes) and path.startswith(victim) and b"deleting" in path and path.endswith(b"4096"):
            raise PermissionError(1, "not permitted")
        unlink(path, *more, **named)  # type: ignore[arg-type]

    async with deleter(things.uri) as ours:
        plan = await ours.plan(_PURGE, runs=["a"])
        with monkeypatch.context() as patch:
            patch.setattr(os, "unlink", refuse)
            patch.setattr(ours, "retry_seconds", (1000.0,))
            plan = await ours.delete_after(plan, grace)
        assert plan.state is PlanState.UNLINKING
        with pytest.raises(StalePlanError, match="If its job is cancelled, what is left can be restored"):
            await ours.restore(plan)
        assert (await cancel(ours.repository, plan.job_id or 0, "tester")).state is JobState.CANCELLED
        plan = await find_plan(ours.state, plan.id)
        assert plan.state is PlanState.FAILED
        assert await restorable_runs(ours.state, ["a"]) == ["a"]
        if way_out == "delete":
            plan = await ours.delete(plan)
            assert (plan.state, await ours.outcomes(plan)) == (PlanState.UNLINKED, {Outcome.REMOVED: 4})
        else:
            plan = await ours.restore(plan)
            expected = {Outcome.REMOVED: 3, Outcome.RESTORED: 1}
            assert (plan.state, await ours.outcomes(plan)) == (PlanState.PARTLY_RESTORED, expected)
            assert len(things.open().query_datasets("thing", "a")) == 1
        assert (await validated(ours.repository)).findings == []


@pytest.mark.parametrize("scope", list(DeletionScope))
async def test_a_zip_file_that_lost_its_other_members(things: RealRepository, scope: DeletionScope) -> None:
    """A stock Butler removes the file with the last member that it knows of: the one that waits is lost, and named."""
    butler = things.open(writeable=True)
    first, second = refs_of(butler, "z")
    async with deleter(things.uri) as ours:
        plan = await ours.plan(scope, uuids=[str(first.id)], override=[Reason.SHARED_ARTIFACT])
        plan = await ours.delete(plan, grace_seconds=3600)
        prune(butler, second)
        plan = await ours.restore(plan)
        assert plan.state is PlanState.PARTLY_RESTORED
        assert await reasons(ours, plan) == {(Outcome.LOST, "its file is not there any more")}
        assert (await validated(ours.repository)).findings == []
    assert things.open().stored(first) is False
