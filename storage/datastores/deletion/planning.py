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
from butlerql.storage.errors import LimitExceededError, TimedOutError, UnavailableDatastoreError
from butlerql.storage.provenance.traces import used_as_input
from butlerql.storage.registry.chosen_datasets import select_to_change
from butlerql.storage.registry.collections import by_keys
from butlerql.storage.registry.datasets import Dataset, ingest_dates, run_keys
from butlerql.storage.registry.pages import Page, PageRequest
from butlerql.storage.registry.selection import DatasetSelection
from butlerql.storage.registry.selection_text import written
from butlerql.storage.repository import Repository
from butlerql.storage.snapshot import Snapshot
from butlerql.storage.state.bulk import add_rows
from butlerql.storage.state.jobs import Job, JobKind, insert_job
from butlerql.storage.state.kinds import Kind, Planned, Step
from butlerql.storage.state.tables import DELETION_DATASET, DELETION_ITEM, DELETION_PLAN, DELETION_USE, NOW
from butlerql.storage.uuids import digits_of, digits_of_each
from butlerql.time_scales import tai_ns_to_utc_datetime

__all__ = ["Bounds", "Planning", "insert_plan"]

_DATASETS = 5_000
"""Datasets of a chunk."""

_AHEAD = 50_000
"""Datasets that are read at once to cut them into chunks; fewer, where that takes too long."""

_FEWEST = 2_000
"""Where even fewer than these take too long, it is given up."""

_PENDING = str(Outcome.PENDING)
_FILE = [(DELETION_ITEM.c.keys().index(name), name) for name in ("plan_id", "datastore", "root", "path")]
"""Columns by which a file is known, and their places."""

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

    place: Place
    uuid: str
    record: str = ""
    storage_class: str | None = None
    formatter: str | None = None


@dataclass
class _Frozen:
    """A chunk of a plan, to be written down: rows of the tables, with their columns in the tables' order."""

    plan: int
    datasets: list[tuple[Any, ...]] = field(default_factory=list)
    items: list[tuple[Any, ...]] = field(default_factory=list)
    numbers: dict[Place, int] = field(default_factory=dict)
    """Of the items, by where the file is."""
    uses: list[_Use] = field(default_factory=list)
    roots: dict[str, Any] = field(default_factory=dict)

    def add(self, number: int, index: int, file: File, entry: Entry, uuid: str) -> None:
        """Note a file of a dataset."""
        place, is_outside = file.place, file.is_outside
        if place not in self.numbers:
            item = self.numbers[place] = number * _FILES_OF_ONE + index
            identity = None if entry.identity is None else orjson.dumps(entry.identity).decode()
            size = file.size if entry.size is None else entry.size
            root = file.root if is_outside else ""
            row = (self.plan, item, number, file.datastore.name, root, place[1], file.uri, size, identity, is_outside)
            self.items.append((*row, _PENDING, entry.problem, 0))
        self.uses.append(_Use(place, uuid, file.record, file.storage_class, file.formatter))

    def add_nothing(self, number: int, uuid: str) -> None:
        """Note a dataset that has no file."""
        nowhere = ("", uuid)
        item = self.numbers[nowhere] = number * _FILES_OF_ONE
        self.items.append((self.plan, item, number, *[None] * 6, False, _PENDING, None, 0))
        self.uses.append(_Use(nowhere, uuid))


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
            most = min(size // 5, _DATASETS)
            for begin in range(0, len(page.rows), most):
                end = min(begin + most, len(page.rows))
                work = {"after": key, "last": page.keys[end - 1], "first": number, "count": end - begin}
                yield Planned(work, end - begin)
                key, number = page.keys[end - 1], number + end - begin
            if not page.has_next:
                return

    async def prepare(self, job: Job, work: Any) -> _Frozen:
        """Read what the registry and the records say of the chunk's datasets, and look at their files."""
        plan = await find_plan(self._repository.state, job.request["plan"])
        async with self._repository.snapshot() as snapshot:
            page = await _datasets(snapshot, plan.selection, work["after"], work["count"])
            sources = await sources_of(snapshot, plan)
            uuids = [one.uuid for one in page.rows]
            names = leaf_names(self._repository, plan)
            rows = await read_rows(snapshot, DeletionScope.UNSTORE, uuids, sources, names)
            datasets = [one for one in page.rows if plan.scope is DeletionScope.PURGE or one.uuid in rows]
            files = files_of({one.uuid: rows.get(one.uuid, {}) for one in datasets}, sources)
            kinds = {one.uuid: one.dataset_type for one in datasets}
            reasons = await blockers.reasons(snapshot, plan, kinds, sources)
            users = await self._users(snapshot, job, [file for some in files.values() for file in some])
            runs = await run_keys(snapshot, datasets)
            chained = await blockers.in_chains(snapshot, runs)
            named = {one.key: one.name for one in await by_keys(snapshot, dict.fromkeys(runs))}
            ingested = await ingest_dates(snapshot, datasets)
        for uuid in await used_as_input(self._repository.state, list(kinds)):
            reasons[uuid].add(Reason.USED_AS_INPUT)
        places = list(dict.fromkeys(file.place for some in files.values() for file in some))
        entries = dict(zip(places, await self._repository.stores.look_at(places), strict=True))
        leaves = {file.datastore for some in files.values() for file in some if not file.is_outside}
        roots = {leaf.name: await self._mark(leaf.root_uri) for leaf in leaves if leaf.name not in plan.roots}
        days = [tai_ns_to_utc_datetime(moment).date().isoformat() for moment in ingested]
        frozen = _Frozen(plan.id, roots=roots)
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
                frozen.add_nothing(number, dataset.uuid)
            for position, file in enumerate(its):
                frozen.add(number, position, file, entries[file.place], dataset.uuid)
        for place, some in users.items():
            frozen.uses += [_Use(place, uuid) for uuid in sorted(some) if uuid not in kinds]
        return frozen

    async def absorb(self, connection: AsyncConnection, job: Job, work: Any, result: _Frozen) -> Step:
        """Write the chunk down. A file that another chunk has is the same item."""
        dialect = self._repository.state.dialect
        await add_rows(connection, dialect, DELETION_DATASET, result.datasets)
        await add_rows(connection, dialect, DELETION_ITEM, result.items)
        numbers = await _numbers(connection, result)
        ids = digits_of_each([use.uuid for use in result.uses])
        uses = [(result.plan, numbers[use.place], one, *use[2:]) for use, one in zip(result.uses, ids, strict=True)]
        await add_rows(connection, dialect, DELETION_USE, uses)
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


async def _datasets(
    snapshot: Snapshot, selection: DatasetSelection, after: Sequence[Any] | None, most: int
) -> Page[Dataset]:
    sets = await select_to_change(snapshot, selection)
    [page] = await sets.pages(snapshot, PageRequest(most, after=None if after is None else tuple(after)))
    return page


def _dataset_row(
    plan: Plan, number: int, dataset: Dataset, run: str, day: str, reasons: set[Reason]
) -> tuple[Any, ...]:
    kind = dataset.dataset_type
    data_id = dict(zip(kind.dimensions.required, dataset.data_id, strict=True))
    what = (digits_of(dataset.uuid), kind.name, orjson.dumps(data_id).decode(), run, day, data_id.get("instrument"))
    return (plan.id, number, number, *what, bits(reasons), _PENDING, None, None)


async def _numbers(connection: AsyncConnection, frozen: _Frozen) -> dict[Place, int]:
    """Tell the numbers of a chunk's files, those that another chunk has written down among them."""
    table = DELETION_ITEM.c
    numbers = dict(frozen.numbers)
    # A file that nobody shares is of this chunk alone.
    users = Counter(place for place, _ in {use[:2] for use in frozen.uses})
    for place, row in zip(frozen.numbers, frozen.items, strict=True):
        if users[place] > 1:
            its = [table[name] == row[index] for index, name in _FILE]
            numbers[place] = (await connection.execute(sa.select(table.number).where(*its))).scalar_one()
    return numbers
