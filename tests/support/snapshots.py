"""Our own view of a real repository, for tests of the storage room."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import sqlalchemy as sa

from butlerql.storage.repository import Repository
from butlerql.storage.snapshot import Snapshot
from tests.support.repositories import RealRepository

__all__ = ["plans_of", "snapshot_of", "statements_of"]


@asynccontextmanager
async def snapshot_of(repository: RealRepository) -> AsyncIterator[Snapshot]:
    """Open a repository and one snapshot of it."""
    opened = await Repository.open(repository.uri, snapshot_seconds=60)
    try:
        async with opened.snapshot() as snapshot:
            yield snapshot
    finally:
        await opened.close()


@contextmanager
def statements_of(snapshot: Snapshot) -> Iterator[list[str]]:
    """Collect the SQL that is run in the block."""
    statements: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        statements.append(statement)

    engine = snapshot.repository.engine.sync_engine
    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)


@contextmanager
def plans_of(snapshot: Snapshot) -> Iterator[list[str]]:
    """Collect how SQLite goes about what is run in the block: the lines of its query plans."""
    lines: list[str] = []

    def explain(connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
        lines.extend(row[-1] for row in cursor.fetchall())

    engine = snapshot.repository.engine.sync_engine
    sa.event.listen(engine, "before_cursor_execute", explain)
    try:
        yield lines
    finally:
        sa.event.remove(engine, "before_cursor_execute", explain)
