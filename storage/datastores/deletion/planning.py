"""Planning a deletion, as a job: the list is frozen, with what is against it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.datastores.deletion import blockers
from butlerql.storage.datastores.deletion.bundles import settle
from butlerql.storage.datastores.deletion.files import File, Place, read_files, sources_at, sources_of, users_of
from butlerql.storage.datastores.deletion.freezing import Frozen, freeze
from butlerql.storage.datastores.deletion.listing import read_listed, stored
from butlerql.storage.datastores.deletion.plans import (
    DeletionScope,
    Outcome,
    PlanState,
    Reason,
    bits,
    find_plan,
    read_plan,
)
from butlerql.storage.errors import LimitExceededError, TimedOutError, UnavailableDatastoreError
from butlerql.storage.provenance.traces import used_as_input
from butlerql.storage.registry.chosen_datasets import select_to_change
from butlerql.storage.registry.datasets import Dataset
from butlerql.storage.registry.pages import Page, PageRequest
from butlerql.storage.registry.selection import DatasetSelection
from butlerql.storage.registry.selection_text import written
from butlerql.storage.repository import Repository
from butlerql.storage.snapshot import Snapshot
from butlerql.storage.state.jobs import Job, JobKind, insert_job
from butlerql.storage.state.kinds import Kind, Planned, Step
from butlerql.storage.state.tables import DELETION_DATASET, DELETION_ITEM, DELETION_PLAN, NOW

__all__ = ["Bounds", "Planning", "insert_plan"]

_DATASETS = 5_000
"""Datasets of a chunk."""

_AHEAD = 50_000
"""Datasets that are read at once to cut them into chunks; fewer, where that takes too long."""

_FEWEST = 2_000
"""Where even fewer than these take too long, it is given up."""


@dataclass(frozen=True)
class Bounds:
    """What operators allow.

    Attributes
    ----------
    plan_seconds
        How long a plan can be carried out.
    datasets, bytes
        What one plan may hold.
    unconditional
        Whether objects may be removed from stores that do not heed conditions, so that an object that is put in the
        place of another at the moment of its deletion may be lost.
    """

    plan_seconds: int = 7 * 86_400
    datasets: int = 1_000_000
    bytes: int = 10**15
    unconditional: bool = False


async def insert_plan(
    connection: AsyncConnection,
    selection: DatasetSelection,
    scope: DeletionScope,
    datastore: str | None,
    overridden: Sequence[Reason],
    user: str,
) -> tuple[int, Job]:
    """Have a plan made, in a transaction of the state that writes.

    Returns
    -------
    plan
        Its number.
    job
        What makes it.
    """
    new = sa.insert(DELETION_PLAN).values(
        state=PlanState.PLANNING,
        scope=scope,
        datastore=datastore,
        selection=orjson.dumps(written(selection)).decode(),
        overridden=bits(overridden),
        roots="{}",
        created_by=user,
        created_at=NOW,
        expires_at=NOW,
        datasets=0,
        artifacts=0,
        bytes=0,
    )
    number = int((await connection.execute(new.returning(DELETION_PLAN.c.id))).scalar_one())
    job = await insert_job(
        connection, Planning.name, {"plan": number}, unit=Planning.unit, user=user, subject=str(number)
    )
    await connection.execute(sa.update(DELETION_PLAN).where(DELETION_PLAN.c.id == number).values(job_id=job.id))
    return number, job


class Planning(Kind):
    """Lists the datasets of a selection with their files, looks at each file, and finds out what is against it.

    Parameters
    ----------
    repository
        Whose datasets, and whose own state.
    bounds
        What operators allow.
    """

    name = JobKind.PLANNING
    unit = "datasets"

    def __init__(self, repository: Repository, bounds: Bounds = Bounds()) -> None:
        self._repository = repository
        self._bounds = bounds
        self._names: dict[tuple[int, str], tuple[bool, bool]] = {}

    async def plan(self, job: Job, after: Any) -> AsyncGenerator[Planned]:
        """Cut the selection into chunks."""
        plan = await find_plan(self._repository.state, job.request["plan"])
        key, number = (None, 0) if after is None else (after["last"], after["first"] + after["count"])
        size = _AHEAD
        while True:
            try:
                async with self._repository.snapshot() as snapshot:
                    page = await _datasets(snapshot, plan.selection, key, size)
            except TimedOutError:
                if size < _FEWEST:
                    raise
                size //= 5
                continue
            if number + len(page.rows) > self._bounds.datasets:
                raise LimitExceededError(
                    f"A plan may hold {self._bounds.datasets} datasets, and these are more. Select fewer at once; "
                    "operators set how many (deletion_datasets)."
                )
            for begin in range(0, len(page.rows), _DATASETS):
                some = page.rows[begin : begin + _DATASETS]
                of_types = [
                    (name, "".join([one.uuid for one in its]).replace("-", ""))
                    for name, its in groupby(some, attrgetter("dataset_type.name"))
                ]
                key = page.keys[begin + len(some) - 1]
                # Who they are is written down: what the selection selects may be something else when it is asked again.
                yield Planned({"first": number, "count": len(some), "datasets": of_types, "last": key}, len(some))
                number += len(some)
            if not page.has_next:
                return

    async def prepare(self, job: Job, work: Any) -> Frozen:
        """Read what the registry and the records say of the chunk's datasets, and look at their files."""
        plan = await find_plan(self._repository.state, job.request["plan"])
        async with self._repository.snapshot() as snapshot:
            datasets = await read_listed(snapshot, work["datasets"])
            uuids = [one.uuid for one in datasets]
            sources = await sources_of(snapshot, plan)
            files, shared = await read_files(snapshot, uuids, sources)
            if plan.scope is DeletionScope.UNSTORE and len(files) < len(uuids):
                known = files.keys() | await stored(snapshot, plan, [uuid for uuid in uuids if uuid not in files])
                datasets = [one for one in datasets if one.uuid in known]
            kinds = {one.uuid: one.dataset_type for one in datasets}
            found = await blockers.reasons(snapshot, plan, kinds, sources)
            runs = {one.run_key for one in datasets}
            chained = await blockers.in_chains(snapshot, runs)
            users = await self._users(snapshot, job, [file for its in files.values() for file in its], shared)
        of_run = {run: bits([Reason.IN_CHAIN] if run in chained else []) for run in runs}
        reasons = {one.uuid: of_run[one.run_key] for one in datasets}
        for uuid, its in found.items():
            reasons[uuid] |= bits(its)
        for uuid in await used_as_input(self._repository.state, list(kinds)):
            reasons[uuid] |= bits([Reason.USED_AS_INPUT])
        places = list(dict.fromkeys(file.place for its in files.values() for file in its))
        entries = dict(zip(places, await self._repository.stores.look_at(places), strict=True))
        leaves = {file.datastore for its in files.values() for file in its if not file.is_outside}
        roots = {leaf.name: await self._mark(leaf.root_uri) for leaf in leaves if leaf.name not in plan.roots}
        return freeze(plan, work["first"], datasets, files, entries, reasons, users, roots)

    async def absorb(self, connection: AsyncConnection, job: Job, work: Any, result: Frozen) -> Step:
        """Write the chunk down."""
        await result.write(connection, self._repository.state.dialect)
        if result.roots:
            plan = await read_plan(connection, job.request["plan"], lock=True)
            roots = orjson.dumps({**plan.roots, **result.roots}).decode()
            await connection.execute(sa.update(DELETION_PLAN).where(DELETION_PLAN.c.id == plan.id).values(roots=roots))
        return Step(work["count"])

    async def finish(self, connection: AsyncConnection, job: Job) -> dict[str, Any]:
        """Conclude who goes with whom, what is blocked for what, and how much it all is."""
        plan = await read_plan(connection, job.request["plan"])
        await settle(connection, plan)
        item = DELETION_ITEM.c
        goes = [item.plan_id == plan.id, item.outcome == Outcome.PENDING, sa.not_(item.stays)]
        size = await connection.scalar(sa.select(sa.func.coalesce(sa.func.sum(item.bytes), 0)).where(*goes))
        if int(size or 0) > self._bounds.bytes:
            raise LimitExceededError(
                f"A plan may hold {self._bounds.bytes} bytes, and these are {size}. Select fewer at once; operators "
                "set how many (deletion_bytes)."
            )
        datasets = sa.select(sa.func.count()).where(DELETION_DATASET.c.plan_id == plan.id)
        artifacts = sa.select(sa.func.count()).where(item.plan_id == plan.id, item.uri.is_not(None))
        await connection.execute(
            sa.update(DELETION_PLAN)
            .where(DELETION_PLAN.c.id == plan.id)
            .values(
                state=PlanState.PLANNED,
                datasets=datasets.scalar_subquery(),
                artifacts=artifacts.scalar_subquery(),
                bytes=size,
                expires_at=NOW + self._bounds.plan_seconds * 1_000_000,
            )
        )
        return {}

    async def _mark(self, root: str) -> Any:
        """Make sure that files can be removed from a store, and tell what its root is."""
        stores = self._repository.stores
        store = stores.store(root)
        mark = await stores.on_thread(store.mark)
        if not self._bounds.unconditional and not await stores.on_thread(store.removes_exactly):
            raise UnavailableDatastoreError(
                f"The object store of {root} removes objects whatever has been put in their place meanwhile. Operators "
                "can accept that (deletion_unconditional)."
            )
        return mark

    async def _users(
        self, snapshot: Snapshot, job: Job, files: Sequence[File], shared: Sequence[File]
    ) -> dict[Place, set[str]]:
        """Find who has the files that somebody else may have, too."""
        names = {root: await self._other_names(snapshot, job, root) for root in {file.root for file in files}}
        of_any = {root for root, has_others in names.items() if any(has_others)}
        asked = [
            *(file for file in files if file.root in of_any),
            *(file for file in shared if file.root not in of_any),
        ]
        zipped = {root for root, (has_members, _) in names.items() if has_members}
        return await users_of(snapshot, ((file.place, file.record) for file in asked), zipped)

    async def _other_names(self, snapshot: Snapshot, job: Job, root: str) -> tuple[bool, bool]:
        """Look up once a job by what else records call files of a store; see `blockers.other_names`."""
        if (job.id, root) not in self._names:
            found = [await blockers.other_names(snapshot, one, root) for one in await sources_at(snapshot, root)]
            self._names[job.id, root] = (any(has for has, _ in found), any(has for _, has in found))
        return self._names[job.id, root]


async def _datasets(
    snapshot: Snapshot, selection: DatasetSelection, after: Sequence[Any] | None, most: int
) -> Page[Dataset]:
    sets = await select_to_change(snapshot, selection)
    [page] = await sets.pages(snapshot, PageRequest(most, after=None if after is None else tuple(after)))
    return page
