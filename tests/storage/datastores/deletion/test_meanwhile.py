"""What others do between planning, deleting, unlinking and restoring: a stock Butler, or somebody with a shell."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from lsst.daf.butler import Butler, CollectionType, DatasetRef, DatasetType, FileDataset, Timespan

from butlerql.storage.datastores.artifacts.store import ArtifactStore
from butlerql.storage.datastores.artifacts.stores import ArtifactStores
from butlerql.storage.datastores.deletion import planning, unlinking
from butlerql.storage.datastores.deletion.files import users_of
from butlerql.storage.datastores.deletion.plans import DeletionScope, Outcome, PlanState, Reason
from butlerql.storage.datastores.deletion.unlinking import CLAIM
from butlerql.storage.errors import StateUnavailableError
from butlerql.storage.state.jobs import Job
from tests.support.deleted import deleter
from tests.support.registry_rows import registry_rows
from tests.support.repositories import RealRepository
from tests.support.things import STORE
from tests.support.validated import validated

_SCOPES = list(DeletionScope)
_GRACES = [0, 3600]


def refs_of(butler: Butler, run: str) -> list[DatasetRef]:
    return butler.query_datasets("thing", run, order_by="detector")


def expanded(butler: Butler, ref: DatasetRef) -> DatasetRef:
    return ref.expanded(butler.registry.expandDataId(ref.dataId))


def path_of(butler: Butler, ref: DatasetRef) -> Path:
    return Path(butler.getURI(ref).ospath)


def tag(butler: Butler, ref: DatasetRef) -> None:
    butler.collections.register("new", CollectionType.TAGGED)
    butler.registry.associate("new", [ref])


def overwrite(butler: Butler, ref: DatasetRef) -> None:
    path_of(butler, ref).write_text("other content")


def take_away(butler: Butler, ref: DatasetRef) -> None:
    path_of(butler, ref).unlink()


def prune(butler: Butler, ref: DatasetRef) -> None:
    butler.pruneDatasets([ref], disassociate=True, unstore=True, purge=True)


def put_again(butler: Butler, ref: DatasetRef) -> None:
    """Prune a dataset, and put another with its data ID, which gets its path."""
    prune(butler, ref)
    butler.put({"again": 1}, "thing", ref.dataId, run=ref.run)


@pytest.mark.parametrize("act", [prune, put_again])
async def test_while_it_is_planned(
    things: RealRepository, monkeypatch: pytest.MonkeyPatch, act: Callable[[Butler, DatasetRef], None]
) -> None:
    """A plan is of the datasets that the selection had when it was read, each once, without those that are gone."""
    butler = things.open(writeable=True)
    refs = refs_of(butler, "a")
    # Nothing but the dataset itself tells that one without files is in the plan already.
    butler.pruneDatasets(refs, disassociate=False, unstore=True)
    left = [ref.id for ref in refs[1:]]
    prepare = planning.Planning.prepare

    async def late(self: planning.Planning, job: Job, work: Any) -> Any:
        if butler.get_dataset(refs[0].id) is not None:
            act(butler, refs[0])
        return await prepare(self, job, work)

    monkeypatch.setattr(planning, "_DATASETS", 2)
    monkeypatch.setattr(planning.Planning, "prepare", late)
    async with deleter(things.uri) as ours:
        plan = await ours.plan(DeletionScope.PURGE, runs=["a"])
        assert (plan.state, plan.datasets, plan.artifacts) == (PlanState.PLANNED, 3, 0)
        plan = await ours.delete(plan)
        assert (plan.state, await ours.outcomes(plan)) == (PlanState.UNLINKED, {Outcome.REMOVED: 3})
    assert [butler.get_dataset(uuid) for uuid in left] == [None] * 3
    assert len(things.open().query_datasets("thing", "a", explain=False)) == (act is put_again)


@pytest.mark.parametrize("scope", _SCOPES)
@pytest.mark.parametrize(
    ("act", "outcome"),
    [
        (tag, Outcome.BLOCKED),
        (overwrite, Outcome.SKIPPED_CHANGED),
        (take_away, Outcome.SKIPPED_CHANGED),
        (prune, Outcome.SKIPPED_CHANGED),
        (put_again, Outcome.SKIPPED_CHANGED),
    ],
)
async def test_after_planning(
    things: RealRepository, scope: DeletionScope, act: Callable[[Butler, DatasetRef], None], outcome: Outcome
) -> None:
    """What changed since is left alone, and named; the rest goes."""
    butler = things.open(writeable=True)
    refs = refs_of(butler, "a")
    async with deleter(things.uri) as ours:
        plan = await ours.plan(scope, runs=["a"])
        act(butler, refs[0])
        rows = registry_rows(things)
        plan = await ours.delete(plan)
        assert plan.state is PlanState.UNLINKED
        assert await ours.outcomes(plan) == {Outcome.REMOVED: 3, outcome: 1}
        [left] = [item for item in await ours.items(plan) if item.outcome is outcome]
        assert left.reason
    now = registry_rows(things)
    assert [row for row in rows["file_datastore_records"] if row in now["file_datastore_records"]] == (
        now["file_datastore_records"]
    )
    if act is put_again:
        assert butler.get("thing", refs[0].dataId, collections="a") == {"again": 1}


async def test_half_of_a_bundle_never_goes(things: RealRepository) -> None:
    """Where one of those that share a file is changed, all are left alone."""
    butler = things.open(writeable=True)
    refs = refs_of(butler, "d")
    async with deleter(things.uri) as ours:
        plan = await ours.plan(runs=["d", "a"])
        tag(butler, refs[0])
        plan = await ours.delete(plan)
        assert await ours.outcomes(plan) == {Outcome.BLOCKED: 1, Outcome.REMOVED: 4}
    assert all(butler.get(ref) for ref in refs)


@pytest.mark.parametrize("scope", _SCOPES)
async def test_a_path_that_is_taken_again(things: RealRepository, scope: DeletionScope) -> None:
    """A dataset that is put in the place of one that waits keeps its file, and cannot be restored over."""
    butler = things.open(writeable=True)
    first, second, third, fourth = refs_of(butler, "a")
    other = path_of(butler, second)
    async with deleter(things.uri) as ours:
        plan = await ours.delete(await ours.plan(scope, runs=["a"]), grace_seconds=3600)
        if scope is DeletionScope.PURGE:
            new = butler.put({"new": 1}, "thing", first.dataId, run="a")
        else:
            new = butler.put({"new": 1}, expanded(butler, first))
        other.write_text("somebody's own")
        plan = await ours.go_on(plan)
        assert plan.state is PlanState.UNLINKED
        assert await ours.outcomes(plan) == {Outcome.CHANGED_LATER: 2, Outcome.REMOVED: 2}
    assert butler.get(new) == {"new": 1}
    assert other.read_text() == "somebody's own"
    assert not any(butler.stored(ref) for ref in (second, third, fourth))


@pytest.mark.parametrize("transfer", [None, "direct"])
async def test_a_file_that_others_have_by_now(things: RealRepository, transfer: str | None) -> None:
    """Whatever they call it, by its path in the store or by its URI, it is left to them."""
    butler = things.open(writeable=True)
    refs = refs_of(butler, "a")[:2]
    others = [DatasetRef(ref.datasetType, ref.dataId, run="others") for ref in refs]
    files = [FileDataset(str(path_of(butler, ref)), [other]) for ref, other in zip(refs, others, strict=True)]
    butler.collections.register("others")
    async with deleter(things.uri) as ours:
        plan = await ours.plan(runs=["a"])
        butler.ingest(files[0], transfer=transfer)
        plan = await ours.delete(plan, grace_seconds=3600)
        butler.ingest(files[1], transfer=transfer)
        plan = await ours.go_on(plan)
        assert await ours.outcomes(plan) == {Outcome.BLOCKED: 1, Outcome.CHANGED_LATER: 1, Outcome.REMOVED: 2}
    assert [butler.get(other) for other in others] and butler.get(refs[0])
    assert not butler.stored(refs[1])


@pytest.mark.parametrize("grace", _GRACES)
@pytest.mark.parametrize("call", ["claim", "remove"])
async def test_a_file_that_others_have_at_the_last_moment(
    things: RealRepository, monkeypatch: pytest.MonkeyPatch, call: str, grace: int
) -> None:
    """Until files are asked for a last time, with their new names, they go to whoever has a record of them."""
    butler = things.open(writeable=True)
    refs = refs_of(butler, "a")[:2]
    others = [DatasetRef(ref.datasetType, ref.dataId, run="others") for ref in refs]
    places = [path_of(butler, ref) for ref in refs]
    butler.collections.register("others")
    change = ArtifactStores.change

    async def late(self: ArtifactStores, store: ArtifactStore, work: Any, them: Any) -> Any:
        is_claim = work == store.claim
        if is_claim and call == "claim":
            # After it was asked whose they are: one as it is, one anew, in its place.
            butler.ingest(FileDataset(str(places[0]), [others[0]]), transfer=None)
        done = await change(self, store, work, them)
        if is_claim and call == "remove":
            butler.put({"new": 1}, expanded(butler, refs[0]))
            butler.put({"new": 2}, "thing", refs[1].dataId, run="others")
        return done

    async with deleter(things.uri) as ours:
        plan = await ours.plan(DeletionScope.UNSTORE, runs=["a"])
        with monkeypatch.context() as patch:
            patch.setattr(ArtifactStores, "change", late)
            plan = await ours.delete_after(plan, grace)
        kept = {Outcome.CHANGED_LATER: 1} if call == "claim" else {}
        assert await ours.outcomes(plan) == {**kept, Outcome.REMOVED: 4 - len(kept)}
        assert (await validated(ours.repository)).findings == []
    if call == "claim":
        assert butler.get(others[0])
    else:
        assert butler.get(refs[0]) == {"new": 1}
    assert not list((things.directory / STORE).rglob(f"{CLAIM}*"))


@pytest.mark.parametrize("grace", _GRACES)
async def test_going_on_where_somebody_came_in_between(
    things: RealRepository, monkeypatch: pytest.MonkeyPatch, grace: int
) -> None:
    """A file that had its new name when all stopped gets its old one, for who has a record of it by then."""
    butler = things.open(writeable=True)
    [ref, *_] = refs_of(butler, "a")
    place = path_of(butler, ref)
    butler.collections.register("others")
    other = DatasetRef(ref.datasetType, ref.dataId, run="others")

    async def stop(self: ArtifactStores, store: ArtifactStore, work: Any, them: Any) -> Any:
        if work == store.claim:
            butler.ingest(FileDataset(str(place), [other]), transfer=None)
            list(map(work, them))
        raise StateUnavailableError("there is no disk left")

    async with deleter(things.uri) as ours:
        plan = await ours.plan(DeletionScope.PURGE, runs=["a"])
        with monkeypatch.context() as patch:
            patch.setattr(ArtifactStores, "change", stop)
            plan = await ours.delete_after(plan, grace)
        assert not place.exists()
        await ours.expire()
        rename, renamed = os.rename, []
        monkeypatch.setattr(os, "rename", lambda old, new: (renamed.append(old), rename(old, new)))
        plan = await ours.delete(plan)
        assert await ours.outcomes(plan) == {Outcome.CHANGED_LATER: 1, Outcome.REMOVED: 3}
        # From then on it keeps that name.
        assert os.fsencode(place) not in renamed
        assert (await validated(ours.repository)).findings == []
    assert butler.get(other)


@pytest.mark.parametrize("grace", _GRACES)
async def test_where_nobody_can_be_asked_a_last_time(
    things: RealRepository, monkeypatch: pytest.MonkeyPatch, grace: int
) -> None:
    """Files have their names until somebody goes on."""
    places = [path_of(things.open(), ref) for ref in refs_of(things.open(), "a")]
    asked = []

    async def ask(*arguments: Any) -> Any:
        asked.append([place.exists() for place in places])
        if not any(asked[-1]):
            raise StateUnavailableError("the database is away")
        return await users_of(*arguments)

    async with deleter(things.uri) as ours:
        plan = await ours.plan(DeletionScope.PURGE, runs=["a"])
        with monkeypatch.context() as patch:
            patch.setattr(unlinking, "users_of", ask)
            plan = await ours.delete_after(plan, grace)
        # At once it was asked when they were detached.
        assert asked == ([[True] * 4, [False] * 4] if grace else [[False] * 4])
        assert all(place.exists() for place in places)
        await ours.expire()
        assert await ours.outcomes(await ours.delete(plan)) == {Outcome.REMOVED: 4}


@pytest.mark.parametrize("end", ["restored", "one by one", "at once"])
async def test_a_file_that_two_plans_have(things: RealRepository, end: str) -> None:
    """The first leaves it to the other, which may still be undone; the last removes it."""
    butler = things.open(writeable=True)
    first, second = refs_of(butler, "d")
    place = path_of(butler, first)
    async with deleter(things.uri) as ours:
        kept = await ours.plan(DeletionScope.PURGE, uuids=[str(first.id)], override=[Reason.SHARED_ARTIFACT])
        kept = await ours.delete(kept, grace_seconds=3600)
        other = await ours.plan(DeletionScope.PURGE, uuids=[str(second.id)])
        other = await ours.delete(other, grace_seconds=3600 if end == "at once" else 0)
        if end == "at once":
            await asyncio.gather(ours.go_on(kept), ours.go_on(other))
        else:
            assert await ours.outcomes(other) == {Outcome.RECORDS_REMOVED: 1} and place.exists()
            assert (await validated(ours.repository)).findings == []
            kept = await (ours.restore(kept) if end == "restored" else ours.go_on(kept))
        outcomes = [await ours.outcomes(plan) for plan in (kept, other)]
        last = Outcome.RESTORED if end == "restored" else Outcome.REMOVED
        assert sorted(map(str, outcomes)) == sorted(map(str, [{last: 1}, {Outcome.RECORDS_REMOVED: 1}]))
        assert (await validated(ours.repository)).findings == []
    assert place.exists() == (end == "restored")
    assert end != "restored" or butler.get(first)


@pytest.mark.parametrize("scope", _SCOPES)
async def test_restoring_what_others_took_the_place_of(things: RealRepository, scope: DeletionScope) -> None:
    """Each has a named outcome, and the others come back."""
    butler = things.open(writeable=True)
    first, second, third, _ = refs_of(butler, "a")
    lost = path_of(butler, third)
    async with deleter(things.uri) as ours:
        plan = await ours.delete(await ours.plan(scope, runs=["a"]), grace_seconds=3600)
        lost.unlink()
        if scope is DeletionScope.PURGE:
            butler.put({"new": 1}, "thing", first.dataId, run="a")
            expected = "another dataset has its data ID in 'a'"
        else:
            butler.put({"new": 1}, expanded(butler, first))
            butler.pruneDatasets([second], disassociate=True, unstore=True, purge=True)
            expected = "it has been stored again"
        rows = registry_rows(things)
        plan = await ours.restore(plan)
        assert plan.state is PlanState.PARTLY_RESTORED
        reasons = {item.reason: item.outcome for item in await ours.items(plan)}
        assert reasons[expected] is Outcome.RESTORE_CONFLICT
        assert reasons["its file is not there any more"] is Outcome.LOST
        if scope is DeletionScope.UNSTORE:
            assert reasons["the dataset has been purged"] is Outcome.RESTORE_CONFLICT
        assert reasons[None] is Outcome.RESTORED
        now = registry_rows(things)
        assert all(row in now[name] for name, some in rows.items() for row in some)
        assert butler.get("thing", first.dataId, collections="a") == {"new": 1}
        assert {str(one.finding.kind) for one in (await validated(ours.repository)).rows} <= {"UNTRACKED"}


async def test_restoring_into_what_is_gone(things: RealRepository) -> None:
    """A collection, validity that was given to another, summaries that were made anew."""
    butler = things.open(writeable=True)
    dimensions = butler.dimensions.conform(["instrument", "detector"])
    kind = DatasetType("gain", dimensions, "StructuredDataDict", isCalibration=True)
    butler.registry.registerDatasetType(kind)
    for run in ("gains", "more"):
        butler.collections.register(run)
    for name in ("one", "two"):
        butler.collections.register(name, CollectionType.CALIBRATION)
    refs = [butler.put({}, kind, instrument="Cam1", detector=n, run="gains") for n in (1, 2, 3)]
    new = butler.put({}, kind, instrument="Cam1", detector=1, run="more")
    butler.registry.certify("one", refs, Timespan(None, None))
    butler.registry.certify("two", refs[2:], Timespan(None, None))
    rows = registry_rows(things)
    async with deleter(things.uri) as ours:
        plan = await ours.plan(DeletionScope.PURGE, collections=["one", "two"], find_first=False)
        plan = await ours.delete(plan, grace_seconds=3600)
        butler.registry.certify("one", [new], Timespan(None, None))
        butler.collections.x_remove("two")
        butler.registry.refresh_collection_summaries()
        plan = await ours.restore(plan)
        assert plan.state is PlanState.PARTLY_RESTORED
        reasons = {item.reason: item.outcome for item in await ours.items(plan)}
    assert reasons == {
        "another dataset has its validity in 'one'": Outcome.RESTORE_CONFLICT,
        "not into 'two': removed since": Outcome.RESTORED,
        None: Outcome.RESTORED,
    }
    butler = things.open()
    assert butler.get_dataset(refs[0].id) is None
    assert all(butler.get_dataset(ref.id) and butler.get(ref) == {} for ref in refs[1:])
    found = butler.registry.queryDatasetAssociations(kind, ["one"])
    assert {one.ref.id for one in found} == {new.id, *(ref.id for ref in refs[1:])}
    assert rows["dataset_type"] == registry_rows(things)["dataset_type"]


async def test_a_number_that_was_given_again(things: RealRepository) -> None:
    """A certification comes back under another number where its own is taken."""
    butler = things.open(writeable=True)
    dimensions = butler.dimensions.conform(["instrument", "detector"])
    kind = DatasetType("gain", dimensions, "StructuredDataDict", isCalibration=True)
    butler.registry.registerDatasetType(kind)
    butler.collections.register("gains")
    butler.collections.register("one", CollectionType.CALIBRATION)
    refs = [butler.put({}, kind, instrument="Cam1", detector=n, run="gains") for n in (1, 2)]
    butler.registry.certify("one", refs[:1], Timespan(None, None))
    rows = registry_rows(things)
    async with deleter(things.uri) as ours:
        plan = await ours.delete(await ours.plan(DeletionScope.PURGE, collections=["one"]), grace_seconds=3600)
        _give_number(things, refs[1])
        assert (await ours.restore(plan)).state is PlanState.RESTORED
    found = things.open().registry.queryDatasetAssociations(kind, ["one"])
    assert {one.ref.id for one in found} == {ref.id for ref in refs}
    assert len(registry_rows(things)["dataset"]) == len(rows["dataset"])


def _give_number(things: RealRepository, ref: DatasetRef) -> None:
    """Certify another dataset, under the number that the first certification had."""
    butler = things.open(writeable=True)
    butler.registry.certify("one", [ref], Timespan(None, None))
    database = butler._registry._db  # type: ignore[attr-defined]
    [name] = [
        name for name in registry_rows(things) if name.startswith("dataset_calibs_") and registry_rows(things)[name]
    ]
    table = f'"{things.layout.namespace}"."{name}"' if things.layout.namespace else f'"{name}"'
    with database._engine.begin() as link:
        link.execute(sa.text(f"UPDATE {table} SET id = 1"))


async def test_what_cannot_be_removed_stays_known(things: RealRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows are kept, it says why, and it can be tried again."""
    unlink = os.unlink
    butler = things.open()
    victim = os.fsencode(path_of(butler, refs_of(butler, "a")[0]).parent)

    def refuse(path: bytes, *more: object, **named: object) -> None:
        if isinstance(path, bytes) and path.startswith(victim) and b"deleting" in path and path.endswith(b"4096"):
            raise PermissionError(1, "not permitted")
        unlink(path, *more, **named)  # type: ignore[arg-type]

    async with deleter(things.uri) as ours:
        plan = await ours.plan(DeletionScope.PURGE, runs=["a"])
        monkeypatch.setattr(os, "unlink", refuse)
        plan = await ours.delete(plan)
        assert plan.state is PlanState.UNLINKED
        assert await ours.outcomes(plan) == {Outcome.REMOVED: 3, Outcome.FAILED: 1}
        [failed] = [item for item in await ours.items(plan) if item.outcome is Outcome.FAILED]
        assert failed.tries == 3 and str(failed.reason).startswith("EPERM")
        assert (await validated(ours.repository)).findings == []
        monkeypatch.undo()
        plan = await ours.delete(plan)
        assert await ours.outcomes(plan) == {Outcome.REMOVED: 4}
