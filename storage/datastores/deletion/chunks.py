"""The datasets and files of a plan that are worked on together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, NamedTuple

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.datastores.artifacts.store import Identity
from butlerql.storage.datastores.deletion.files import Place
from butlerql.storage.datastores.deletion.plans import DETACHING, Outcome
from butlerql.storage.datastores.tree import FileDatastore
from butlerql.storage.dialect import Dialect, raw
from butlerql.storage.repository import Repository
from butlerql.storage.state.bulk import change_rows
from butlerql.storage.state.database import State
from butlerql.storage.state.tables import DELETION_DATASET, DELETION_ITEM, DELETION_USE

__all__ = [
    "DETACHING",
    "Chunk",
    "ChunkDataset",
    "ChunkItem",
    "Done",
    "Said",
    "datasets_left",
    "end_of_chunk",
    "files_left",
    "note",
    "read_chunk",
    "read_files",
    "read_journal",
    "write_journal",
]

_DATASETS = 20_000
"""Datasets of a chunk, or more where more share a file. On SQLite each chunk writes nearly every page of the registry's
indexes, however few of their rows it takes: with a quarter of these it is three times as much to write."""


class ChunkDataset(NamedTuple):
    """A dataset of a plan."""

    number: int
    bundle: int
    uuid: str
    dataset_type: str
    outcome: str


class ChunkItem(NamedTuple):
    """A file of a plan, or a dataset without any."""

    number: int
    place: Place | None
    """Root of the store, and path in it; None where there is no file."""
    bytes: int | None
    identity: Identity | None
    stays: bool
    outcome: str
    tries: int


@dataclass
class Chunk:
    """Whole bundles: nothing in it shares a file with a dataset of the plan that is not."""

    datasets: Sequence[ChunkDataset]
    items: Sequence[ChunkItem]
    uses: Sequence[tuple[int, str, str]]
    """Of its datasets: number of the item, UUID, and the path in the record."""

    @cached_property
    def places(self) -> Mapping[int, Place]:
        """Where files are, by their numbers."""
        return {item.number: item.place for item in self.items if item.place is not None}


class Said(NamedTuple):
    """What is written down of a dataset or a file; None leaves the last two as they are."""

    outcome: Outcome
    reason: str | None = None
    stays: bool | None = None
    tries: int | None = None


@dataclass
class Done:
    """What became of a chunk: the numbers of the datasets, and of the files, of which the same is said."""

    datasets: defaultdict[Said, list[int]] = field(default_factory=lambda: defaultdict(list))
    items: defaultdict[Said, list[int]] = field(default_factory=lambda: defaultdict(list))
    bytes: int = 0
    """How many were freed."""


def datasets_left(plan: int, outcomes: Sequence[str]) -> sa.Select[Any]:
    """Select the bundles of the datasets that have an outcome."""
    dataset = DELETION_DATASET.c
    return sa.select(dataset.bundle).where(dataset.plan_id == plan, dataset.outcome.in_(outcomes))


def files_left(plan: int) -> sa.Select[Any]:
    """Select the bundles of the files of detached datasets that are still there."""
    return sa.select(DELETION_ITEM.c.bundle).where(DELETION_ITEM.c.plan_id == plan, _is_left())


def _is_left() -> sa.ColumnElement[bool]:
    item = DELETION_ITEM.c
    # What failed and was never tried was never detached.
    return sa.or_(item.outcome == Outcome.DETACHED, sa.and_(item.outcome == Outcome.FAILED, item.tries > 0))


async def end_of_chunk(state: State, left: sa.Select[Any], after: int) -> tuple[int, int] | None:
    """Cut the next chunk of what is left to be done.

    Returns
    -------
    tuple
        Number of the last bundle in it, and how much it is, at least; None if there is nothing left.
    """
    bundle = left.selected_columns[0]
    some = left.where(bundle > after).order_by(bundle).limit(_DATASETS).subquery()
    statement = sa.select(sa.func.max(some.c.bundle), sa.func.count())

    async def read(connection: AsyncConnection) -> tuple[int | None, int]:
        row = (await connection.execute(statement)).one()
        return row[0], row[1]

    nothing: tuple[int | None, int] = (None, 0)
    last, count = await state.read(read, absent=nothing)
    return None if last is None else (last, count)


async def read_chunk(repository: Repository, plan: int, after: int, until: int) -> Chunk:
    """Read a chunk: the bundles behind one, up to another. Files are where the datastores' roots are now."""
    dataset, use, dialect = DELETION_DATASET.c, DELETION_USE.c, repository.state.dialect
    columns = [raw(dataset.dataset_id), dataset.number, dataset.bundle, dataset.dataset_type, dataset.outcome]
    within = _within(DELETION_ITEM, plan, after, until)
    uses = sa.select(raw(use.dataset_id), use.item, use.record).select_from(_USES).where(*within)
    datasets = sa.select(*columns).where(*_within(DELETION_DATASET, plan, after, until)).order_by(dataset.number)

    async def read(connection: AsyncConnection) -> Chunk:
        ids, numbers, bundles, *more = _columns(await connection.execute(datasets), len(columns))
        uuids = dialect.uuids(ids)
        found = list(map(partial(tuple.__new__, ChunkDataset), zip(numbers, bundles, uuids, *more, strict=True)))
        planned = set(uuids)
        ids, used, records = _columns(await connection.execute(uses), 3)
        its = [use for use in zip(used, dialect.uuids(ids), records, strict=True) if use[1] in planned]
        return Chunk(found, await _read_items(repository, connection, *within), its)

    return await repository.state.read(read, absent=Chunk([], [], []))


async def read_files(
    repository: Repository, plan: int, after: int, until: int
) -> tuple[Sequence[ChunkItem], Sequence[tuple[int, str]]]:
    """Read what is left of the files of a chunk; see `read_chunk`.

    Returns
    -------
    items
        The files.
    records
        Numbers of those that the records of its datasets call otherwise than by the path, and how.
    """
    item, use = DELETION_ITEM.c, DELETION_USE.c
    within = [*_within(DELETION_ITEM, plan, after, until), _is_left()]
    # Records of others are not written down.
    named = sa.select(use.item, use.record).select_from(_USES).where(*within, use.record != "", use.record != item.path)

    async def read(connection: AsyncConnection) -> tuple[Sequence[ChunkItem], Sequence[tuple[int, str]]]:
        items = await _read_items(repository, connection, *within)
        return items, [(number, record) for number, record in await connection.execute(named)]

    nothing: tuple[Sequence[ChunkItem], Sequence[tuple[int, str]]] = ([], [])
    return await repository.state.read(read, absent=nothing)


async def read_journal(state: State, plan: int, after: int, until: int) -> dict[str, str]:
    """Read what was taken out of the Butler's tables: UUID to JSON, see `rows.Rows`."""
    dataset = DELETION_DATASET.c
    within = _within(DELETION_DATASET, plan, after, until)
    statement = sa.select(dataset.dataset_id, dataset.rows).where(*within, dataset.rows.is_not(None))

    async def read(connection: AsyncConnection) -> dict[str, str]:
        return {row[0]: row[1] for row in await connection.execute(statement)}

    nothing: dict[str, str] = {}
    return await state.read(read, absent=nothing)


_USES = DELETION_USE.join(
    DELETION_ITEM,
    sa.and_(DELETION_ITEM.c.plan_id == DELETION_USE.c.plan_id, DELETION_ITEM.c.number == DELETION_USE.c.item),
)


def _within(table: sa.Table, plan: int, after: int, until: int) -> list[sa.ColumnElement[bool]]:
    return [table.c.plan_id == plan, table.c.bundle > after, table.c.bundle <= until]


async def _read_items(
    repository: Repository, connection: AsyncConnection, *conditions: sa.ColumnElement[bool]
) -> list[ChunkItem]:
    item = DELETION_ITEM.c
    columns = [
        *(item.number, item.datastore, item.root, item.path, item.identity),
        *(item.bytes, item.stays, item.outcome, item.tries),
    ]
    # Files of one directory follow each other: what the system has to read and write of it is done with sooner.
    found = await connection.execute(sa.select(*columns).where(*conditions).order_by(item.path))
    numbers, datastores, own, paths, texts, *more = _columns(found, len(columns))
    roots = {leaf.name: leaf.root_uri for leaf in repository.datastore.leaves if isinstance(leaf, FileDatastore)}
    places = [
        None if path is None else (root or roots[datastore], path)
        for datastore, root, path in zip(datastores, own, paths, strict=True)
    ]
    sizes, *rest = more
    # All at once: one by one they take longer than to be read.
    loaded = orjson.loads(f"[{','.join([text or 'null' for text in texts])}]")
    identities = [None if one is None else tuple(one) for one in loaded]
    rows = zip(numbers, places, sizes, identities, *rest, strict=True)
    return list(map(partial(tuple.__new__, ChunkItem), rows))


def _columns(found: sa.CursorResult[Any], number: int) -> list[Sequence[Any]]:
    """Turn rows of so many columns into these: to make tens of thousands of objects of them is quicker."""
    return list(zip(*found.all(), strict=True)) or [()] * number


async def write_journal(connection: AsyncConnection, plan: int, rows: Iterable[tuple[int, str]]) -> None:
    """Write down what is about to be taken out, by the numbers of datasets; who finds it there looks whether it was."""
    changes = [(DETACHING, text, plan, number) for number, text in rows]
    await change_rows(connection, DELETION_DATASET, changes, "outcome", "rows")


async def note(
    connection: AsyncConnection, dialect: Dialect, table: sa.Table, plan: int, done: Mapping[Said, Sequence[int]]
) -> None:
    """Write down what became of datasets or files, by their numbers: a statement for all of which the same is said."""
    for said, numbers in done.items():
        these = dialect.columns("numbers", {"number": sa.BigInteger()}, [sorted(numbers)])
        change = sa.update(table).where(table.c.plan_id == plan, table.c.number.in_(sa.select(these.c.number)))
        values = {name: value for name, value in said._asdict().items() if value is not None or name == "reason"}
        await connection.execute(change.values(values))
