"""The datasets and files of a plan that are worked on together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.datastores.deletion.plans import Outcome
from butlerql.storage.datastores.tree import FileDatastore
from butlerql.storage.repository import Repository
from butlerql.storage.state.database import State
from butlerql.storage.state.tables import DELETION_DATASET, DELETION_ITEM, DELETION_USE

__all__ = [
    "DETACHING",
    "Chunk",
    "ChunkDataset",
    "ChunkItem",
    "datasets_left",
    "end_of_chunk",
    "files_left",
    "names_of",
    "note_datasets",
    "note_items",
    "read_chunk",
]

DETACHING = "DETACHING"
"""Of a dataset whose rows are in the journal and, it may be, not yet out of the Butler's tables."""

_DATASETS = 2_000
"""Datasets of a chunk, or more where more share a file."""


class ChunkDataset(NamedTuple):
    """A dataset of a plan."""

    number: int
    bundle: int
    uuid: str
    dataset_type: str
    outcome: str
    rows: str | None
    """JSON, see `rows.Rows`; None before they are in the journal."""


class ChunkItem(NamedTuple):
    """A file of a plan, or a dataset without any."""

    number: int
    bundle: int
    datastore: str | None
    root: str | None
    path: str | None
    uri: str | None
    bytes: int | None
    identity: Any
    stays: bool
    outcome: str
    reason: str | None
    tries: int

    @property
    def place(self) -> tuple[str, str]:
        """Root of the store, and path in it."""
        assert self.root is not None
        assert self.path is not None
        return self.root, self.path


@dataclass(frozen=True)
class Chunk:
    """Whole bundles: nothing in it shares a file with a dataset of the plan that is not."""

    datasets: Sequence[ChunkDataset]
    items: Sequence[ChunkItem]
    users: Mapping[int, Sequence[str]]
    """Number of an item to the datasets of the plan that have it."""
    records: Mapping[str, Sequence[tuple[int, str]]]
    """UUID to its files: item, and path in the record."""


def names_of(item: ChunkItem, record: str) -> set[str]:
    """List what records may call a file: as this one does, by its path, or by its URI."""
    assert item.uri is not None
    assert item.path is not None
    return {record.partition("#")[0], item.path, item.uri, item.uri.removeprefix("file://")}


def datasets_left(plan: int, outcomes: Sequence[str]) -> sa.Select[Any]:
    """Select the bundles of the datasets that have an outcome."""
    dataset = DELETION_DATASET.c
    return sa.select(dataset.bundle).where(dataset.plan_id == plan, dataset.outcome.in_(outcomes))


def files_left(plan: int) -> sa.Select[Any]:
    """Select the bundles of the files of detached datasets that are still there."""
    item = DELETION_ITEM.c
    failed = sa.and_(item.outcome == Outcome.FAILED, item.tries > 0)
    return sa.select(item.bundle).where(item.plan_id == plan, sa.or_(item.outcome == Outcome.DETACHED, failed))


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
    dataset, item, use = DELETION_DATASET.c, DELETION_ITEM.c, DELETION_USE.c

    async def read(connection: AsyncConnection) -> Chunk:
        columns = (
            getattr(dataset, name) for name in ("number", "bundle", "dataset_id", "dataset_type", "outcome", "rows")
        )
        within = sa.select(*columns).where(dataset.plan_id == plan, dataset.bundle > after, dataset.bundle <= until)
        datasets = [ChunkDataset(*row) for row in await connection.execute(within.order_by(dataset.number))]
        names = (name for name in ChunkItem._fields)
        its = sa.select(*(item[name] for name in names)).where(
            item.plan_id == plan, item.bundle > after, item.bundle <= until
        )
        items = [_placed(repository, ChunkItem(*row)) for row in await connection.execute(its.order_by(item.number))]
        joined = DELETION_USE.join(DELETION_ITEM, sa.and_(item.plan_id == use.plan_id, item.number == use.item))
        uses = (
            sa.select(use.item, use.dataset_id, use.record)
            .select_from(joined)
            .where(item.plan_id == plan, item.bundle > after, item.bundle <= until)
        )
        planned = {one.uuid for one in datasets}
        users: dict[int, list[str]] = {}
        records: dict[str, list[tuple[int, str]]] = {}
        for number, uuid, record in await connection.execute(uses):
            if uuid in planned:
                users.setdefault(number, []).append(uuid)
                records.setdefault(uuid, []).append((number, record))
        return Chunk(datasets, items, users, records)

    return await repository.state.read(read, absent=Chunk([], [], {}, {}))


def _placed(repository: Repository, item: ChunkItem) -> ChunkItem:
    identity = None if item.identity is None else tuple(orjson.loads(item.identity))
    if item.root != "" or item.datastore is None or item.path is None:
        return item._replace(identity=identity)
    leaf = repository.datastore.find(item.datastore)
    assert isinstance(leaf, FileDatastore)
    return item._replace(identity=identity, root=leaf.root_uri, uri=leaf.root_uri + quote(item.path))


async def note_datasets(
    connection: AsyncConnection, plan: int, changes: Iterable[tuple[int, Mapping[str, Any]]]
) -> None:
    """Write down what became of datasets, by their numbers; all with the same columns."""
    await _note(connection, DELETION_DATASET, plan, changes)


async def note_items(connection: AsyncConnection, plan: int, changes: Iterable[tuple[int, Mapping[str, Any]]]) -> None:
    """Write down what became of files, by their numbers; all with the same columns."""
    await _note(connection, DELETION_ITEM, plan, changes)


async def _note(
    connection: AsyncConnection, table: sa.Table, plan: int, changes: Iterable[tuple[int, Mapping[str, Any]]]
) -> None:
    rows = [
        {"its_number": number, **{f"new_{name}": value for name, value in values.items()}} for number, values in changes
    ]
    if rows:
        names = [name.removeprefix("new_") for name in rows[0] if name != "its_number"]
        statement = sa.update(table).where(
            table.c.plan_id == plan, table.c.number == sa.bindparam("its_number", type_=sa.BigInteger)
        )
        values = {name: sa.bindparam(f"new_{name}", type_=table.c[name].type) for name in names}
        await connection.execute(statement.values(values), rows)
