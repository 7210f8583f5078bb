"""Planning a deletion, as a job: the list is frozen, with what is against it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.datastores.artifacts.store import Entry
from butlerql.storage.datastores.deletion import blockers
from butlerql.storage.datastores.deletion.bundles import settle
from butlerql.storage.datastores.deletion.files import (
    File,
    Place,
    files_of,
    leaf_names,
    sources_at,
    sources_of,
    users_of,
)
from butlerql.storage.datastores.deletion.plans import (
    DeletionScope,
    Outcome,
    Plan,
    PlanState,
    Reason,
    bits,
    find_plan,
    read_plan,
)
from butlerql.storage.datastores.deletion.rows import read_rows
from butlerql.storage.errors import LimitExceededError, UnavailableDatastoreError
from butlerql.storage.provenance.traces import used_as_input
from butlerql.storage.registry.chosen_datasets import select_to_change
from butlerql.storage.registry.collections import by_keys
from butlerql.storage.registry.datasets import Dataset, ingest_dates, run_keys
from butlerql.storage.registry.pages import Page, PageRequest
from butlerql.storage.registry.selection import DatasetSelection
from butlerql.storage.registry.selection_text import written
from butlerql.storage.repository import Repository
from butlerql.storage.snapshot import Snapshot
from butlerql.storage.state.jobs import Job, JobKind, insert_job
from butlerql.storage.state.kinds import Kind, Planned, Step
from butlerql.storage.state.tables import DELETION_DATASET, DELETION_ITEM, DELETION_PLAN, DELETION_USE, NOW
from butlerql.time_scales import tai_ns_to_utc_datetime

__all__ = ["Bounds", "Planning", "insert_plan"]

_DATASETS = 2_000
"""Datasets of a chunk."""

_FILES_OF_ONE = 1 << 12
"""Numbers of items that each dataset has for its own files."""


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


class _Use(NamedTuple):
    """That a dataset has a file."""

    row: dict[str, Any]
    place: Place
    item: int | None = None
    """Number of the item, where there is no file to find it by."""


@dataclass
class _Frozen:
    """A chunk of a plan, to be written down."""

    datasets: list[dict[str, Any]]
    by_place: dict[Place, dict[str, Any]]
    uses: list[_Use]
    roots: dict[str, Any]
    without: list[dict[str, Any]] = field(default_factory=list)

    @property
    def items(self) -> list[dict[str, Any]]:
        return [*self.by_place.values(), *self.without]

    def add(self, plan: Plan, number: int, index: int, file: File, entry: Entry, uuid: str) -> None:
        """Note a file of a dataset."""
        if file.place not in self.by_place:
            self.by_place[file.place] = {
                "plan_id": plan.id,
                "number": number * _FILES_OF_ONE + index,
                "bundle": number,
                "datastore": file.datastore.name,
                "root": file.root if file.is_outside else "",
                "path": file.place[1],
                "uri": file.uri,
                "bytes": file.size if entry.size is None else entry.size,
                "identity": None if entry.identity is None else orjson.dumps(entry.identity).decode(),
                "stays": file.is_outside,
                "outcome": Outcome.PENDING,
                "reason": entry.problem,
                "tries": 0,
            }
        row = _use_row(plan, uuid) | {
            "record": file.record,
            "storage_class": file.storage_class,
            "formatter": file.formatter,
        }
        self.uses.append(_Use(row, file.place))

    def add_nothing(self, plan: Plan, number: int, uuid: str) -> None:
        """Note a dataset that has no file."""
        item = number * _FILES_OF_ONE
        row = dict.fromkeys(("datastore", "root", "path", "uri", "bytes", "identity", "reason"))
        own = {"plan_id": plan.id, "number": item, "bundle": number, "stays": False, "tries": 0}
        self.without.append({**row, **own, "outcome": Outcome.PENDING})
        self.uses.append(_Use(_use_row(plan, uuid), ("", ""), item))


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
        self._zips: dict[tuple[int, str], bool] = {}

    async def plan(self, job: Job, after: Any) -> AsyncGenerator[Planned]:
        """Cut the selection into chunks."""
        plan = await find_plan(self._repository.state, job.request["plan"])
        key, number = (None, 0) if after is None else (after["last"], after["first"] + after["count"])
        while True:
            async with self._repository.snapshot() as snapshot:
                page = await _datasets(snapshot, plan.selection, key)
            count = len(page.rows)
            if number + count > self._bounds.datasets:
                raise LimitExceededError(
                    f"A plan may hold {self._bounds.datasets} datasets, and these are more. Select fewer at once; "
                    "operators set how many (deletion_datasets)."
                )
            if page.rows:
                yield Planned({"after": key, "last": page.keys[-1], "first": number, "count": count}, count)
                key, number = page.keys[-1], number + count
            if not page.has_next:
                return

    async def prepare(self, job: Job, work: Any) -> _Frozen:
        """Read what the registry and the records say of the chunk's datasets, and look at their files."""
        plan = await find_plan(self._repository.state, job.request["plan"])
        async with self._repository.snapshot() as snapshot:
            page = await _datasets(snapshot, plan.selection, work["after"])
            sources = await sources_of(snapshot, plan)
            uuids = [one.uuid for one in page.rows]
            names = leaf_names(self._repository, plan)
            rows = await read_rows(snapshot, DeletionScope.UNSTORE, uuids, sources, names)
            datasets = [one for one in page.rows if plan.scope is DeletionScope.PURGE or one.uuid in rows]
            files = {one.uuid: files_of(rows.get(one.uuid, {}), sources) for one in datasets}
            kinds = {one.uuid: one.dataset_type for one in datasets}
            reasons = await blockers.reasons(snapshot, plan, kinds, sources)
            users = await self._users(snapshot, job, [file for some in files.values() for file in some])
            runs = await run_keys(snapshot, datasets)
            chained = await blockers.in_chains(snapshot, runs)
            named = {one.key: one.name for one in await by_keys(snapshot, dict.fromkeys(runs))}
            days = await ingest_dates(snapshot, datasets)
        for uuid in await used_as_input(self._repository.state, list(kinds)):
            reasons[uuid].add(Reason.USED_AS_INPUT)
        places = list(dict.fromkeys(file.place for some in files.values() for file in some))
        entries = dict(zip(places, await self._repository.stores.look_at(places), strict=True))
        leaves = {file.datastore for some in files.values() for file in some if not file.is_outside}
        roots = {leaf.name: await self._mark(leaf.root_uri) for leaf in leaves if leaf.name not in plan.roots}
        frozen = _Frozen([], {}, [], roots)
        for index, (dataset, run, day) in enumerate(zip(datasets, runs, days, strict=True)):
            number = work["first"] + index + 1
            its, why = files[dataset.uuid], reasons[dataset.uuid]
            if run in chained:
                why.add(Reason.IN_CHAIN)
            if any(file.datastore.trust_get_request for file in its):
                why.add(Reason.TRUST_MODE)
            if any(file.is_outside for file in its):
                why.add(Reason.OUTSIDE_ROOT)
            frozen.datasets.append(_dataset_row(plan, number, dataset, named[run], day, why))
            if not its:
                frozen.add_nothing(plan, number, dataset.uuid)
            for position, file in enumerate(its):
                frozen.add(plan, number, position, file, entries[file.place], dataset.uuid)
        for place, others in users.items():
            frozen.uses += [_Use(_use_row(plan, uuid), place) for uuid in sorted(others) if uuid not in kinds]
        return frozen

    async def absorb(self, connection: AsyncConnection, job: Job, work: Any, result: _Frozen) -> Step:
        """Write the chunk down. A file that another chunk has is the same item."""
        insert = self._repository.state.dialect.insert
        if result.datasets:
            await connection.execute(sa.insert(DELETION_DATASET), result.datasets)
        if result.items:
            await connection.execute(insert(DELETION_ITEM).on_conflict_do_nothing(), result.items)
        if result.uses:
            numbers = await _numbers(connection, result)
            uses = [{**use.row, "item": use.item or numbers[use.place]} for use in result.uses]
            await connection.execute(insert(DELETION_USE).on_conflict_do_nothing(), uses)
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

    async def _users(self, snapshot: Snapshot, job: Job, files: Sequence[File]) -> dict[Place, set[str]]:
        """Find who else has the files; whether a store has zip files at all is looked up once."""
        for root in {file.root for file in files}:
            if (job.id, root) not in self._zips:
                sources = await sources_at(snapshot, root)
                self._zips[job.id, root] = any([await blockers.has_zips(snapshot, one) for one in sources])
        zipped = {root for (number, root), has_zips in self._zips.items() if number == job.id and has_zips}
        return await users_of(snapshot, ((file.place, file.record) for file in files), zipped)


async def _datasets(snapshot: Snapshot, selection: DatasetSelection, after: Sequence[Any] | None) -> Page[Dataset]:
    sets = await select_to_change(snapshot, selection)
    [page] = await sets.pages(snapshot, PageRequest(_DATASETS, after=None if after is None else tuple(after)))
    return page


def _dataset_row(
    plan: Plan, number: int, dataset: Dataset, run: str, ingested: int, reasons: set[Reason]
) -> dict[str, Any]:
    data_id = dict(zip(dataset.dataset_type.dimensions.required, dataset.data_id, strict=True))
    return {
        "plan_id": plan.id,
        "number": number,
        "bundle": number,
        "dataset_id": dataset.uuid,
        "dataset_type": dataset.dataset_type.name,
        "data_id": orjson.dumps(data_id).decode(),
        "run": run,
        "ingest_day": tai_ns_to_utc_datetime(ingested).date().isoformat(),
        "instrument": data_id.get("instrument"),
        "reasons": bits(reasons),
        "outcome": Outcome.PENDING,
        "reason": None,
        "rows": None,
    }


def _use_row(plan: Plan, uuid: str) -> dict[str, Any]:
    return {"plan_id": plan.id, "dataset_id": uuid, "record": "", "storage_class": None, "formatter": None}


async def _numbers(connection: AsyncConnection, frozen: _Frozen) -> dict[Place, int]:
    """Tell the numbers of a chunk's files, those that another chunk has written down among them."""
    item = DELETION_ITEM.c
    numbers = {place: row["number"] for place, row in frozen.by_place.items()}
    # A file that nobody shares is of this chunk alone.
    users = Counter(place for place, _ in {(use.place, use.row["dataset_id"]) for use in frozen.uses})
    for place, row in frozen.by_place.items():
        if users[place] > 1:
            its = [item[name] == row[name] for name in ("plan_id", "datastore", "root", "path")]
            numbers[place] = (await connection.execute(sa.select(item.number).where(*its))).scalar_one()
    return numbers
