"""A stock Butler and ourselves change one repository in turn; a plain model says what is there after each step."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any, TypeVar
from urllib.parse import quote

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from lsst.daf.butler import CollectionType, DatasetRef, FileDataset, Timespan

from butlerql.storage.changes import Change
from butlerql.storage.datastores.deletion.plans import DeletionScope, Outcome, Plan, PlanState
from butlerql.storage.datastores.validation.findings import FindingKind
from butlerql.storage.registry.collections import CollectionType as OurType
from butlerql.storage.registry.registering import registered
from butlerql.storage.registry.selection import DatasetSelection
from butlerql.storage.registry.tagging import TagConflict, Tagged, tag, untag
from butlerql.storage.repository import Repository
from tests.support.deleted import Deleter
from tests.support.repositories import Dialect, Layout, RealRepository, Repositories
from tests.support.things import CALIBRATIONS
from tests.support.validated import validated

T = TypeVar("T")

RUNS, DETECTORS = ("a", "b"), (1, 2, 3)
TAG, CALIBRATION = "tag", "calibration"
ALWAYS = Timespan(None, None)


@dataclass(frozen=True)
class Known:
    """A dataset as it should be."""

    ref: DatasetRef
    content: dict[str, int]
    written: int | None
    """Which of all files that were ever written is its; None if it is not stored."""

    @property
    def place(self) -> tuple[str, int]:
        return self.ref.run, int(self.ref.dataId["detector"])


class Ends(Enum):
    """When files go."""

    AT_ONCE = auto()
    AFTER_A_WAIT = auto()
    LATER = auto()


@dataclass
class Waiting:
    """A plan that is carried out up to its grace period, with what it took away."""

    plan: Plan
    scope: DeletionScope
    taken: dict[str, Known] = field(default_factory=dict)
    restored: int | None = None
    """How many are back, of one that was undone in part."""


class Machine(RuleBasedStateMachine):
    """What is done, and what it should come to."""

    real: RealRepository
    repositories: Repositories

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.new_event_loop()
        self._copy = self.repositories.copy(self.real)
        self._here = self._copy.__enter__()
        self._butler = self._here.open(writeable=True)
        self._butler.collections.register(TAG, CollectionType.TAGGED)
        self._butler.collections.register(CALIBRATION, CollectionType.CALIBRATION)
        self._repository = self._do(Repository.open(self._here.uri, snapshot_seconds=60, writable=True))
        self._ours = Deleter(self._repository)
        self._numbers = iter(range(1, 10_000))
        self._files: dict[tuple[str, int], int] = {}
        self._paths: dict[tuple[str, int], str] = {}
        self._known: dict[str, Known] = {}
        self._tagged: set[str] = set()
        self._certified: set[str] = set()
        self._foreign: set[tuple[str, int]] = set()
        self._waiting: list[Waiting] = []
        for ref in self._butler.query_datasets("thing", RUNS, find_first=False):
            if ref.dataId["detector"] in DETECTORS:
                self._note(ref, self._butler.get(ref))

    def teardown(self) -> None:
        self.validate()
        self._do(self._repository.close())
        self._loop.close()
        self._copy.__exit__(None, None, None)

    def _do(self, work: Awaitable[T]) -> T:
        async def wait() -> T:
            return await work

        return self._loop.run_until_complete(wait())

    def _note(self, ref: DatasetRef, content: dict[str, int]) -> None:
        number = next(self._numbers)
        known = Known(ref, content, number)
        self._known[str(ref.id)] = known
        self._files[known.place] = number
        self._paths[known.place] = self._butler.getURI(ref).ospath

    def _at(self, place: tuple[str, int]) -> Known | None:
        return next((one for one in self._known.values() if one.place == place), None)

    @rule(run=st.sampled_from(RUNS), detector=st.sampled_from(DETECTORS))
    def put(self, run: str, detector: int) -> None:
        there = self._at((run, detector))
        content = {"n": next(self._numbers)}
        if there is None:
            self._note(self._butler.put(content, "thing", instrument="Cam1", detector=detector, run=run), content)
        elif there.written is None:
            ref = there.ref.expanded(self._butler.registry.expandDataId(there.ref.dataId))
            self._note(self._butler.put(content, ref), content)

    @rule(run=st.sampled_from(RUNS), detector=st.sampled_from(DETECTORS))
    def ingest(self, run: str, detector: int) -> None:
        if self._at((run, detector)) is None:
            content = {"n": next(self._numbers)}
            file = self._here.directory / "ingested.yaml"
            file.write_text(f"n: {content['n']}\n")
            data_id = self._butler.registry.expandDataId(instrument="Cam1", detector=detector)
            ref = DatasetRef(self._butler.get_dataset_type("thing"), data_id, run)
            self._butler.ingest(FileDataset(str(file), [ref]), transfer="copy")
            self._note(ref, content)

    @rule()
    def validate(self) -> None:
        found = self._do(validated(self._repository)).findings
        # Nobody knows what somebody wrote there.
        foreign = {f"file://{quote(self._paths[place])}" for place in self._foreign}
        assert {str(one.path) for one in found} <= foreign, found
        assert {one.kind for one in found} <= {FindingKind.UNTRACKED}

    @rule()
    def empty_trash(self) -> None:
        self._butler._datastore.emptyTrash()  # type: ignore[attr-defined]

    @precondition(lambda self: self._known)
    @rule(data=st.data(), purge=st.booleans())
    def prune(self, data: st.DataObject, purge: bool) -> None:
        uuid = data.draw(st.sampled_from(sorted(self._known)))
        known = self._known[uuid]
        # The Butler refuses to purge what is certified.
        purge = purge and uuid not in self._certified
        self._butler.pruneDatasets(
            [known.ref], disassociate=purge, unstore=True, purge=purge, tags=[TAG] if purge else ()
        )
        if known.written is not None:
            self._files.pop(known.place, None)
        if purge:
            del self._known[uuid]
            self._tagged.discard(uuid)
        else:
            self._known[uuid] = replace(known, written=None)

    @precondition(lambda self: self._known)
    @rule(data=st.data())
    def tag(self, data: st.DataObject) -> None:
        uuid = data.draw(st.sampled_from(sorted(self._known)))
        if not self._others(self._tagged, uuid):
            self._butler.registry.associate(TAG, [self._known[uuid].ref])
            self._tagged.add(uuid)

    @precondition(lambda self: self._tagged)
    @rule()
    def untag(self) -> None:
        self._butler.registry.disassociate(TAG, [self._known[uuid].ref for uuid in self._tagged])
        self._tagged.clear()

    @precondition(lambda self: self._known)
    @rule(data=st.data())
    def tag_by_us(self, data: st.DataObject) -> None:
        uuid = data.draw(st.sampled_from(sorted(self._known)))

        async def work(change: Change) -> Tagged:
            collection = await registered(change, TAG, OurType.TAGGED, create=False)
            return await tag(change, collection, DatasetSelection(uuids=[uuid]), TagConflict.REPLACE)

        others = self._others(self._tagged, uuid)
        assert self._do(self._repository.write(work)) == (uuid not in self._tagged, len(others))
        self._tagged = self._tagged - others | {uuid}

    @precondition(lambda self: self._tagged)
    @rule(data=st.data())
    def untag_by_us(self, data: st.DataObject) -> None:
        uuid = data.draw(st.sampled_from(sorted(self._tagged)))

        async def work(change: Change) -> Tagged:
            collection = await registered(change, TAG, OurType.TAGGED, create=False)
            return await untag(change, collection, DatasetSelection(uuids=[uuid]))

        assert self._do(self._repository.write(work)) == (1, 0)
        self._tagged.remove(uuid)

    @precondition(lambda self: self._known)
    @rule(data=st.data())
    def certify(self, data: st.DataObject) -> None:
        uuid = data.draw(st.sampled_from(sorted(self._known)))
        if uuid not in self._certified and not self._others(self._certified, uuid):
            self._butler.registry.certify(CALIBRATION, [self._known[uuid].ref], ALWAYS)
            self._certified.add(uuid)

    @precondition(lambda self: self._certified)
    @rule()
    def decertify(self) -> None:
        self._butler.registry.decertify(CALIBRATION, "thing", ALWAYS)
        self._certified.clear()

    def _others(self, uuids: set[str], uuid: str) -> set[str]:
        """Tell which of some datasets have the data ID of another."""
        detector = self._known[uuid].place[1]
        return {one for one in uuids if one != uuid and self._known[one].place[1] == detector}

    @rule(scope=st.sampled_from(DeletionScope), run=st.sampled_from(RUNS), ends=st.sampled_from(Ends))
    def delete_run(self, scope: DeletionScope, run: str, ends: Ends) -> None:
        """Those that are tagged or certified stay."""
        chosen = {uuid: one for uuid, one in self._known.items() if one.place[0] == run}
        if scope is DeletionScope.UNSTORE:
            chosen = {uuid: one for uuid, one in chosen.items() if one.written is not None}
        going = {uuid: one for uuid, one in chosen.items() if uuid not in self._tagged | self._certified}
        self._delete(scope, len(chosen), going, ends, runs=[run], uuids=sorted(chosen))

    @rule(ends=st.sampled_from(Ends))
    def unstore_tag(self, ends: Ends) -> None:
        """What is tagged for it goes, but for what is certified."""
        chosen = {uuid for uuid in self._tagged if self._known[uuid].written is not None}
        going = {uuid: self._known[uuid] for uuid in chosen - self._certified}
        self._delete(DeletionScope.UNSTORE, len(chosen), going, ends, collections=[TAG])

    def _delete(self, scope: DeletionScope, chosen: int, going: dict[str, Known], ends: Ends, **selection: Any) -> None:
        plan = self._do(self._ours.plan(scope, **selection))
        assert (plan.state, plan.datasets) == (PlanState.PLANNED, chosen)
        assert sum(self._do(self._ours.blocked(plan)).values()) == chosen - len(going)
        plan = self._do(self._ours.delete(plan, grace_seconds=0 if ends is Ends.AT_ONCE else 3600))
        for uuid, one in going.items():
            if scope is DeletionScope.PURGE:
                del self._known[uuid]
            else:
                self._known[uuid] = replace(one, written=None)
        waiting = Waiting(plan, scope, going)
        if ends is Ends.LATER:
            self._waiting.append(waiting)
        elif ends is Ends.AT_ONCE:
            self._unlinked(waiting, plan)
        else:
            self._go_on(waiting)

    @precondition(lambda self: self._waiting)
    @rule(data=st.data())
    def unlink(self, data: st.DataObject) -> None:
        self._go_on(self._waiting.pop(data.draw(st.integers(0, len(self._waiting) - 1))))

    @precondition(lambda self: self._waiting)
    @rule(data=st.data(), is_lost=st.booleans())
    def meddle(self, data: st.DataObject, is_lost: bool) -> None:
        """Somebody takes a file away that waits, or writes another."""
        waiting = data.draw(st.sampled_from(self._waiting))
        files = [one.place for one in waiting.taken.values() if one.written is not None]
        files = [place for place in files if self._files.get(place) in {one.written for one in waiting.taken.values()}]
        if files:
            place = data.draw(st.sampled_from(sorted(files)))
            os.unlink(self._paths[place])
            del self._files[place]
            if not is_lost:
                with open(self._paths[place], "w") as file:
                    file.write("somebody's own")
                self._files[place] = next(self._numbers)
                self._foreign.add(place)

    def _go_on(self, waiting: Waiting) -> None:
        if waiting.restored is not None:
            assert self._do(self._ours.delete(waiting.plan, grace_seconds=3600)).state is PlanState.DETACHED
        self._unlinked(waiting, self._do(self._ours.go_on(waiting.plan)))

    def _unlinked(self, waiting: Waiting, plan: Plan) -> None:
        assert plan.state is PlanState.UNLINKED
        expected = {Outcome.RESTORED: waiting.restored} if waiting.restored else {}
        for one in waiting.taken.values():
            there = self._files.get(one.place)
            if one.written is None:
                outcome = Outcome.REMOVED
            elif there == one.written:
                outcome = Outcome.REMOVED
                del self._files[one.place]
            else:
                outcome = Outcome.ALREADY_GONE if there is None else Outcome.CHANGED_LATER
            expected[outcome] = expected.get(outcome, 0) + 1
        found = self._do(self._ours.outcomes(plan))
        found.pop(Outcome.BLOCKED, None)
        assert found == expected

    @precondition(lambda self: self._waiting)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        """What could not be restored waits, to be tried again or to be deleted after all."""
        waiting = self._waiting.pop(data.draw(st.integers(0, len(self._waiting) - 1)))
        plan = self._do(self._ours.restore(waiting.plan))
        expected = {Outcome.RESTORED: waiting.restored} if waiting.restored else {}
        left: dict[str, Known] = {}
        for uuid, one in waiting.taken.items():
            outcome = self._restored(waiting.scope, uuid, one)
            expected[outcome] = expected.get(outcome, 0) + 1
            if outcome is Outcome.RESTORED:
                self._known[uuid] = one
            else:
                left[uuid] = one
        found = self._do(self._ours.outcomes(plan))
        found.pop(Outcome.BLOCKED, None)
        assert found == expected
        is_whole = set(expected) <= {Outcome.RESTORED}
        assert plan.state is (PlanState.RESTORED if is_whole else PlanState.PARTLY_RESTORED)
        if left:
            self._waiting.append(Waiting(plan, waiting.scope, left, expected.get(Outcome.RESTORED, 0)))

    def _restored(self, scope: DeletionScope, uuid: str, one: Known) -> Outcome:
        there = self._known.get(uuid)
        if scope is DeletionScope.UNSTORE:
            if there is None or there.written is not None:
                return Outcome.RESTORE_CONFLICT
            other = self._at(one.place)
            if other is not None and other.written is not None:
                return Outcome.RESTORE_CONFLICT
        elif self._at(one.place) is not None:
            return Outcome.RESTORE_CONFLICT
        if one.written is not None and self._files.get(one.place) != one.written:
            return Outcome.LOST
        return Outcome.RESTORED

    @invariant()
    def as_it_should_be(self) -> None:
        refs = self._butler.query_datasets("thing", RUNS, find_first=False, explain=False)
        there = {str(ref.id): ref for ref in refs if ref.dataId["detector"] in DETECTORS}
        assert set(there) == set(self._known)
        for uuid, known in self._known.items():
            stored = self._butler.stored(there[uuid])
            assert stored is (known.written is not None), (known, stored)
            if stored:
                assert self._butler.get(there[uuid]) == known.content
        tagged = self._butler.query_datasets("thing", TAG, explain=False)
        assert {str(ref.id) for ref in tagged} == self._tagged


def test_any_steps(repositories: Repositories, dialect: Dialect) -> None:
    with repositories.private(CALIBRATIONS, Layout(dialect)) as real:

        class Here(Machine):
            """Begins each time with a copy of the same repository."""

        Here.real, Here.repositories = real, repositories
        profile = settings()
        run_state_machine_as_test(
            Here,
            settings=settings(
                max_examples=max(3, profile.max_examples // 8),
                stateful_step_count=40,
                suppress_health_check=list(HealthCheck),
                print_blob=True,
            ),
        )
