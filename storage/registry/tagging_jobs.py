"""Tagging that takes long: many datasets, or regions that have to be looked at first."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.changes import Change
from butlerql.storage.errors import BusyError
from butlerql.storage.registry.chosen_datasets import select_to_change
from butlerql.storage.registry.collections import Collection, CollectionType
from butlerql.storage.registry.dataset_counts import exceeds
from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.registry.ranges import groups_of
from butlerql.storage.registry.registering import check_registered, registered
from butlerql.storage.registry.selection import DatasetSelection
from butlerql.storage.registry.selection_text import selection_of, written
from butlerql.storage.registry.tagging import TagConflict, Tagged, tag, untag
from butlerql.storage.repository import Repository
from butlerql.storage.snapshot import Snapshot
from butlerql.storage.state.audit import audited
from butlerql.storage.state.database import State
from butlerql.storage.state.jobs import Job, JobKind, find_job_of_key, insert_job
from butlerql.storage.state.kinds import Kind, Planned, Step
from butlerql.storage.state.tables import CHUNK, JOB

__all__ = ["AT_ONCE", "Asked", "Tagging", "TaggingRequest"]

AT_ONCE = 20_000
"""So many datasets are tagged in a second or two, as measured on both databases."""

_LISTED = 5_000
"""Datasets that are listed in one snapshot."""

_PLANNING_SECONDS = 60.0
"""How long a snapshot may last in which datasets are counted, or some listed."""

_SECONDS = 3600.0
"""How long a transaction of a job may last."""


@dataclass(frozen=True)
class TaggingRequest:
    """What is to be tagged, or untagged, and where.

    Attributes
    ----------
    collection
        Name of a TAGGED collection.
    select
        Which datasets.
    on_conflict
        What to do where others of the same type and data ID are there; None: the datasets are taken out.
    create
        Whether the collection may be made.
    doc
        What is written about it if it is made.
    """

    collection: str
    select: DatasetSelection
    on_conflict: TagConflict | None = None
    create: bool = False
    doc: str | None = None

    @property
    def action(self) -> str:
        """Name of the mutation."""
        return "untagDatasets" if self.on_conflict is None else "tagDatasets"

    async def is_long(self, snapshot: Snapshot) -> bool:
        """Tell whether it takes so long that nobody should wait for it.

        Raises
        ------
        ButlerQLError
            Raised if it makes no sense; see `registered` and `select_to_change`.
        """
        await check_registered(snapshot, self.collection, CollectionType.TAGGED, create=self.create)
        sets = await select_to_change(snapshot, self.select)
        return await exceeds(snapshot, sets.parts, sets.filters, AT_ONCE)

    async def make(self, change: Change, select: DatasetSelection | None = None) -> tuple[Collection, Tagged]:
        """Do it, or with other datasets instead; see `tag` and `untag`."""
        collection = await registered(change, self.collection, CollectionType.TAGGED, create=self.create, doc=self.doc)
        if self.on_conflict is None:
            return collection, await untag(change, collection, select or self.select)
        return collection, await tag(change, collection, select or self.select, self.on_conflict)

    @property
    def as_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        return {**vars(self), "select": written(self.select)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> TaggingRequest:
        """Read a request that was written down."""
        policy = values["on_conflict"]
        read = {"select": selection_of(values["select"]), "on_conflict": policy and TagConflict(policy)}
        return cls(**{**values, **read})


@dataclass(frozen=True)
class Asked:
    """Somebody's request, which is done once if they give it a key.

    What comes of it is remembered as a job that has ended.
    """

    request: TaggingRequest
    user: str
    key: str | None

    async def before(self, state: State) -> Job | None:
        """Find what was asked for with the same key before."""
        return None if self.key is None else await find_job_of_key(state, JobKind.TAGGING, self.user, self.key)

    async def ask(self, connection: AsyncConnection, result: Any = None) -> Job:
        """Have it done, in a transaction of the state that writes; or only remember what came of it."""
        return await insert_job(
            connection,
            JobKind.TAGGING,
            self.request.as_json,
            unit=Tagging.unit,
            user=self.user,
            subject=self.request.collection,
            idempotency_key=self.key,
            result=result,
        )

    async def make(self, change: Change) -> tuple[Collection, Tagged] | None:
        """Do it; None if it was done meanwhile."""
        if await self.before(change.repository.state) is not None:
            return None
        done = await self.request.make(change)
        if self.key is not None:
            can_undo = change.repository.state.place.with_registry
            change.note(partial(self._remember, done[1], can_undo))
        return done

    async def _remember(self, tagged: Tagged, can_undo: bool, connection: AsyncConnection) -> None:
        result = tagged._asdict()
        if (await self.ask(connection, result)).result != result and can_undo:
            raise BusyError("The same is being asked for at the same time. Try again.")


class Tagging(Kind):
    """Puts datasets into a TAGGED collection, or takes them out, in one transaction: all of them or none.

    Where regions have to be looked at, the datasets are listed first, some at a time, so that nobody is kept from
    writing meanwhile; each chunk but the last is such a list. The last chunk is the change.

    Its result has ``changed`` and ``replaced``, and is written with the change. On SQLite a service that is killed just
    between the two makes the change again when it goes on, which alters nothing, and counts nothing.
    """

    name = JobKind.TAGGING
    unit = "datasets"

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    async def plan(self, job: Job, after: Any) -> AsyncGenerator[Planned]:
        """List the datasets, if regions have to be looked at; the change comes last."""
        request = TaggingRequest.from_json(job.request)
        count, key = (0, None) if after is None else (after["count"], after["after"])
        while after is None or "uuids" in after:
            async with self._repository.snapshot(_PLANNING_SECONDS) as snapshot:
                sets = await select_to_change(snapshot, request.select)
                looks = any(group.looks for group in groups_of(self._repository, sets.parts, sets.filters))
                if not looks:
                    [count] = await sets.counts(snapshot, [0])
                    break
                [page] = await sets.pages(snapshot, PageRequest(_LISTED, after=key and tuple(key)))
            if not page.rows:
                break
            count, key = count + len(page.rows), list(page.keys[-1])
            after = {"uuids": [dataset.uuid for dataset in page.rows], "after": key, "count": count}
            yield Planned(after, 0)
        if after is None or "uuids" in after:
            yield Planned({"is_listed": after is not None, "count": count}, count)

    async def review(self, job: Job, work: Any, result: Any) -> Any:
        """Make the change, if it is not made yet."""
        if "uuids" not in work and job.result is None:
            request = TaggingRequest.from_json(job.request)
            state = self._repository.state
            listed = DatasetSelection(uuids=await self._listed(job)) if work["is_listed"] else None
            async with audited(
                state, user=job.created_by, action=request.action, target=request.collection, detail=job.request
            ) as done:

                async def make(change: Change) -> None:
                    _, tagged = await request.make(change, listed)
                    change.note(partial(_write_result, job.id, tagged))
                    change.note(done)

                await self._repository.write(make, _SECONDS)
        return None

    async def absorb(self, connection: AsyncConnection, job: Job, work: Any, result: Any) -> Step:
        """Count what is done."""
        return Step(0 if "uuids" in work else work["count"])

    async def finish(self, connection: AsyncConnection, job: Job) -> Any:
        """Keep what was written with the change."""
        return job.result

    async def _listed(self, job: Job) -> list[str]:
        """Read which datasets were listed."""

        async def read(connection: AsyncConnection) -> list[str]:
            chunks = sa.select(CHUNK.c.work).where(CHUNK.c.job_id == job.id).order_by(CHUNK.c.number)
            works = map(orjson.loads, await connection.scalars(chunks))
            return [uuid for work in works for uuid in work.get("uuids", ())]

        return await self._repository.state.read(read, absent=[])


async def _write_result(number: int, tagged: Tagged, connection: AsyncConnection) -> None:
    result = orjson.dumps(tagged._asdict()).decode()
    await connection.execute(sa.update(JOB).where(JOB.c.id == number).values(result=result))
