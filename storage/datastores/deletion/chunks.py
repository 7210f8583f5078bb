"""The datasets and files of a plan that are worked on together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

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
    "datasets_left",
    "end_of_chunk",
    "files_left",
    "note",
    "read_chunk",
    "read_files",
    "read_journal",
    "write_journal",
]

_DATASETS = 5_000
"""Datasets of a chunk, or more where more share a file."""


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
    bundle: int
    datastore: str | None
    root: str | None
    path: str | None
    """None where there is no file."""
    bytes: int | None
    identity: Any
    stays: bool
    outcome: str
    reason: str | None
    tries: int

    @property
    def place(self) -> Place:
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

    def records_of(self, items: Iterable[ChunkItem]) -> list[tuple[Place, str]]:
        """List where files are, with the path in each record of them."""
        by_number = {item.number: item.place for item in items}
        return [
            (by_number[number], record)
            for records in self.records.values()
            for number, record in records
            if number in by_number
        ]


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
    dataset, item, use, dialect = DELETION_DATASET.c, DELETION_ITEM.c, DELETION_USE.c, repository.state.dialect
    columns = [dataset.number, dataset.bundle, raw(dataset.dataset_id), dataset.dataset_type, dataset.outcome]
    within = [item.plan_id == plan, item.bundle > after, item.bundle <= until]
    joined = DELETION_USE.join(DELETION_ITEM, sa.and_(item.plan_id == use.plan_id, item.number == use.item))
    uses = sa.select(use.item, raw(use.dataset_id), use.record).select_from(joined).where(*within)
    items = sa.select(*(item[name] for name in ChunkItem._fields)).where(*within).order_by(item.number)
    datasets = sa.select(*columns).where(*_within(plan, after, until)).order_by(dataset.number)
    roots = _roots(repository)

    async def read(connection: AsyncConnection) -> Chunk:
        rows = (await connection.execute(datasets)).all()
        uuids = dialect.uuids([row[2] for row in rows])
        found = [ChunkDataset(*row)._replace(uuid=uuid) for row, uuid in zip(rows, uuids, strict=True)]
        planned = set(uuids)
        used = (await connection.execute(uses)).all()
        users: dict[int, list[str]] = {}
        records: dict[str, list[tuple[int, str]]] = {}
        for (number, _, record), uuid in zip(used, dialect.uuids([row[1] for row in used]), strict=True):
            if uuid in planned:
                users.setdefault(number, []).append(uuid)
                records.setdefault(uuid, []).append((number, record))
        placed = [_placed(roots, *row) for row in (await connection.execute(items)).all()]
        return Chunk(found, placed, users, records)

    return await repository.state.read(read, absent=Chunk([], [], {}, {}))


async def read_files(repository: Repository, plan: int, after: int, until: int) -> dict[ChunkItem, list[str]]:
    """Read of a chunk the files alone, and by what paths the records of its datasets call each; see `read_chunk`."""
    item, use = DELETION_ITEM.c, DELETION_USE.c
    joined = DELETION_ITEM.outerjoin(DELETION_USE, sa.and_(use.plan_id == item.plan_id, use.item == item.number))
    columns = [item[name] for name in ChunkItem._fields]
    within = [item.plan_id == plan, item.bundle > after, item.bundle <= until]
    statement = sa.select(use.record, *columns).select_from(joined).where(*within).order_by(item.number)
    roots = _roots(repository)

    async def read(connection: AsyncConnection) -> dict[ChunkItem, list[str]]:
        found: dict[ChunkItem, list[str]] = {}
        for record, *row in (await connection.execute(statement)).all():
            records = found.setdefault(_placed(roots, *row), [])
            if record:  # Those of others are not written down.
                records.append(record)
        return found

    nothing: dict[ChunkItem, list[str]] = {}
    return await repository.state.read(read, absent=nothing)


async def read_journal(state: State, plan: int, after: int, until: int) -> dict[str, str]:
    """Read what was taken out of the Butler's tables: UUID to JSON, see `rows.Rows`."""
    dataset = DELETION_DATASET.c
    statement = sa.select(dataset.dataset_id, dataset.rows).where(
        *_within(plan, after, until), dataset.rows.is_not(None)
    )

    async def read(connection: AsyncConnection) -> dict[str, str]:
        return {row[0]: row[1] for row in await connection.execute(statement)}

    nothing: dict[str, str] = {}
    return await state.read(read, absent=nothing)


def _within(plan: int, after: int, until: int) -> list[sa.ColumnElement[bool]]:
    dataset = DELETION_DATASET.c
    return [dataset.plan_id == plan, dataset.bundle > after, dataset.bundle <= until]


def _roots(repository: Repository) -> dict[str, str]:
    return {leaf.name: leaf.root_uri for leaf in repository.datastore.leaves if isinstance(leaf, FileDatastore)}


def _placed(
    roots: Mapping[str, str], number: int, bundle: int, datastore: str | None, root: str | None, *rest: Any
) -> ChunkItem:
    path, size, identity, *more = rest
    if root == "":
        root = roots[datastore or ""]
    known = None if identity is None else tuple(orjson.loads(identity))
    return ChunkItem(number, bundle, datastore, root, path, size, known, *more)


async def write_journal(connection: AsyncConnection, plan: int, rows: Iterable[tuple[int, str]]) -> None:
    """Write down what is about to be taken out, by the numbers of datasets; who finds it there looks whether it was."""
    changes = [(DETACHING, text, plan, number) for number, text in rows]
    await change_rows(connection, DELETION_DATASET, changes, "outcome", "rows")


async def note(
    connection: AsyncConnection,
    dialect: Dialect,
    table: sa.Table,
    plan: int,
    changes: Iterable[tuple[int, Mapping[str, Any]]],
) -> None:
    """Write down what became of datasets or files, by their numbers: a statement for all of which the same is said."""
    alike: dict[tuple[tuple[str, Any], ...], list[int]] = {}
    for number, values in changes:
        alike.setdefault(tuple(values.items()), []).append(number)
    for said, numbers in alike.items():
        these = dialect.rows("numbers", {"number": sa.BigInteger()}, [(one,) for one in numbers])
        change = sa.update(table).where(table.c.plan_id == plan, table.c.number.in_(sa.select(these.c.number)))
        await connection.execute(change.values(dict(said)))
