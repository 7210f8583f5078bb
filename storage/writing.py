"""The drivers of the two databases, for transactions that write."""

from __future__ import annotations

import sqlite3
from abc import abstractmethod
from collections.abc import Hashable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from butlerql.storage.drivers import Driver, PostgresqlDriver, SqliteDriver

__all__ = ["BUSY_SECONDS", "IDLE_SECONDS", "PostgresqlWriter", "SqliteWriter", "WritingDriver", "writing_driver_of"]

BUSY_SECONDS = 30
"""How long a transaction waits for another that writes."""

IDLE_SECONDS = 60
"""How long PostgreSQL lets a transaction do nothing, should we not be there to end it."""

_SQLITE_REFUSALS = {
    sqlite3.SQLITE_AUTH,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
}
"""By primary code."""

# Failed connections, no such database, wrong passwords, missing rights, full disks, standbys, read-only databases.
_POSTGRESQL_REFUSALS = ("08", "25006", "28", "3D000", "3F", "42501", "53", "57", "58")


class WritingDriver(Driver):
    """A driver of one of the two databases, for transactions that write."""

    async def commit(self, link: Any) -> None:
        """Make what was written last."""
        await link.execute("COMMIT")

    @abstractmethod
    def is_refusal(self, error: BaseException) -> bool:
        """Whether an error is the database's, or its disk's, and not a mistake in a statement."""


class SqliteWriter(SqliteDriver, WritingDriver):
    """SQLite through aiosqlite."""

    def _target(self) -> tuple[sa.URL, dict[str, Any]]:
        # Where it may not be written to, SQLite by itself opens it to read.
        url = sa.URL.create("sqlite+aiosqlite", database=self._uri(), query={"mode": "rw", "uri": "true"})
        return url, {"timeout": BUSY_SECONDS}

    async def begin(self, link: Any, seconds: float) -> Hashable:
        # One that first reads and then writes would fail where another has written meanwhile.
        await link.execute("BEGIN IMMEDIATE")
        return None

    def is_refusal(self, error: BaseException) -> bool:
        return getattr(getattr(error, "orig", error), "sqlite_errorcode", 0) & 0xFF in _SQLITE_REFUSALS


class PostgresqlWriter(PostgresqlDriver, WritingDriver):
    """PostgreSQL through asyncpg."""

    async def begin(self, link: Any, seconds: float) -> Hashable:
        # In one message. Nothing outlasts the transaction, so that poolers which share connections are no trouble.
        # Timestamps without a time zone are UTC in a registry.
        await link.execute(
            "BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE; SET LOCAL TIME ZONE 0; "
            f"SET LOCAL lock_timeout = '{BUSY_SECONDS}s'; "
            f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'"
        )
        return None

    async def end(self, link: Any) -> None:
        if link.is_in_transaction():
            await super().end(link)

    def is_refusal(self, error: BaseException) -> bool:
        original = getattr(error, "orig", error)
        return isinstance(original, OSError) or str(getattr(original, "sqlstate", "")).startswith(_POSTGRESQL_REFUSALS)


class _RegistryFile(SqliteWriter):
    """A registry on SQLite."""

    def create_engine(self, connections: int) -> AsyncEngine:
        engine = super().create_engine(connections)

        @sa.event.listens_for(engine.sync_engine, "connect")
        def check_references(link: Any, _record: object) -> None:
            # As the Butler has it: rows go with what they belong to, and nothing goes that is still referred to.
            cursor = link.cursor()
            cursor.execute("PRAGMA foreign_keys = ON")
            cursor.close()

        return engine


def writing_driver_of(url: str) -> WritingDriver:
    """Choose the driver of a registry's URL."""
    parsed = sa.make_url(url)
    return _RegistryFile(parsed) if parsed.get_backend_name() == "sqlite" else PostgresqlWriter(parsed)
