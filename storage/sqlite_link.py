"""Connections to SQLite: one that reads asks its thread once a statement.

aiosqlite and SQLAlchemy together make four errands of a statement: a cursor, its statement, its rows, and its end. Each
wakes two threads, which takes longer than to read a page.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from typing import Any, Self

import aiosqlite

__all__ = ["ReadingLink", "SqliteLink"]


class SqliteLink(aiosqlite.Connection):
    """A connection that leaves no thread behind when it cannot be made.

    Parameters
    ----------
    arguments, options
        As of `sqlite3.connect`.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(lambda: sqlite3.connect(*arguments, **options), iter_chunk_size=64)
        self._thread.daemon = True
        self._stopping: asyncio.Future[Any] | None = None

    def stop(self) -> asyncio.Future[Any] | None:
        """Stop the thread; done when it has nothing more to tell."""
        self._stopping = super().stop()
        return self._stopping

    async def _connect(self) -> aiosqlite.Connection:
        try:
            return await super()._connect()
        except BaseException:
            # Otherwise it would tell an event loop that may be closed by then.
            if self._stopping is not None:
                await asyncio.shield(self._stopping)
            raise


class ReadingLink(SqliteLink):
    """A connection whose cursors read all rows at once."""

    def cursor(self) -> _Cursor:  # type: ignore[override]
        """Make a cursor."""
        return _Cursor(self)

    async def read(self, cursor: _Cursor, statement: str, parameters: Sequence[Any]) -> None:
        """Run a statement for a cursor."""
        await self._execute(self._read, cursor, statement, parameters)  # type: ignore[no-untyped-call]

    async def begin(self) -> int:
        """Begin to read one state of the database.

        Returns
        -------
        version
            What is the same in another transaction of this connection only if that sees the same state.
        """
        version: int = await self._execute(self._begin)  # type: ignore[no-untyped-call]
        return version

    def _read(self, cursor: _Cursor, statement: str, parameters: Sequence[Any]) -> None:
        found = self._conn.execute(statement, parameters)
        cursor.description = found.description
        cursor.rowcount = found.rowcount
        cursor.rows = found.fetchall()

    def _begin(self) -> int:
        self._conn.execute("BEGIN")
        # A transaction takes its lock, and with it its state, at the first read.
        [(version,)] = self._conn.execute("PRAGMA data_version")
        return int(version)


class _Cursor:
    """What SQLAlchemy asks of an asynchronous cursor, for statements that read."""

    def __init__(self, link: ReadingLink) -> None:
        self._link = link
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self.rows: Sequence[Any] = ()

    async def __aenter__(self) -> Self:
        return self

    async def execute(self, statement: str, parameters: Sequence[Any] = ()) -> None:
        await self._link.read(self, statement, parameters)

    async def fetchall(self) -> Sequence[Any]:
        return self.rows

    async def close(self) -> None:
        self.rows = ()
