"""What is in the tables of provenance."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.provenance import tables
from butlerql.storage.provenance.ingest import Ingested, ingest
from butlerql.storage.provenance.records import Record, Source
from butlerql.storage.state.database import State
from tests.support.provenance_worlds import Telling

__all__ = ["dumped", "emptied", "in_batches", "noted", "take_in"]

_TABLES = [table for name in tables.__all__ if isinstance(table := getattr(tables, name), sa.Table)]


async def emptied(state: State) -> None:
    """Forget all provenance."""

    async def empty(connection: AsyncConnection) -> None:
        for table in reversed(tables.METADATA.sorted_tables):
            if table in _TABLES:
                await connection.execute(sa.delete(table))

    await state.write(empty)


async def dumped(state: State) -> dict[str, list[Any]]:
    """Read all tables but those of sources."""

    async def dump(connection: AsyncConnection) -> dict[str, list[Any]]:
        return {
            table.name: sorted(map(tuple, await connection.execute(sa.select(table))), key=repr)
            for table in _TABLES
            if table not in (tables.SOURCE, tables.SKIPPED)
        }

    return await state.read(dump, absent={})


async def take_in(state: State, telling: Telling, digest: str = "1") -> Ingested:
    """Take in what a source tells."""
    return await ingest(state, Source(telling.kind, telling.name, digest), in_batches(telling.records))


@contextmanager
def noted(state: State) -> Iterator[list[tuple[str, Any]]]:
    """Note the statements that read something, and their parameters."""
    statements: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        if not any(name in statement for name in ("alembic_version", "sqlite_master", "pg_catalog")):
            statements.append((statement, parameters))

    engine = state._engine.sync_engine
    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)


async def in_batches(records: Iterable[Record]) -> AsyncIterator[Sequence[Record]]:
    """Give records three at a time, as a reader does with more of them."""
    left = iter(records)
    while some := tuple(islice(left, 3)):
        yield some
