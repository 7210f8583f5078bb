"""How the own state is connected to: as the registry is, but to write."""

from __future__ import annotations

import os
import sqlite3
from abc import abstractmethod
from contextlib import suppress
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from butlerql.storage.state.place import StatePlace
from butlerql.storage.writing import BUSY_SECONDS, IDLE_SECONDS, PostgresqlWriter, SqliteWriter, WritingDriver

__all__ = ["StateDriver", "state_driver_of"]


class StateDriver(WritingDriver):
    """A driver of one of the two databases, for transactions that write."""

    @abstractmethod
    async def open(self, link: Any, *, writing: bool) -> None:
        """Begin a transaction."""

    async def roll_back(self, link: Any) -> None:
        """Forget what was written."""
        await link.execute("ROLLBACK")

    @abstractmethod
    def make_place(self) -> None:
        """Make what must be there before one can connect.

        Raises
        ------
        OSError
            Raised if it cannot be made.
        """

    @abstractmethod
    async def make_schema(self, connection: AsyncConnection) -> None:
        """Keep all others from migrating until the transaction ends, and make what holds the tables."""

    @abstractmethod
    def may_be_there(self) -> bool:
        """Whether it is worth connecting. Where many cannot connect at once, the pool keeps some of them waiting."""

    @abstractmethod
    def is_missing(self, error: BaseException) -> bool:
        """Whether an error says that there is no database as yet."""


class _StateFile(SqliteWriter, StateDriver):
    """A file of SQLite."""

    async def open(self, link: Any, *, writing: bool) -> None:
        # One that first reads and then writes would fail where another has written meanwhile.
        await link.execute("BEGIN IMMEDIATE" if writing else "BEGIN")

    def make_place(self) -> None:
        # Never opened if it is there: closing it would take away the locks that SQLite has on it.
        with suppress(FileExistsError):
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666))

    async def make_schema(self, connection: AsyncConnection) -> None:
        """Do nothing: who writes is alone, and an empty file holds tables."""

    def may_be_there(self) -> bool:
        return os.path.lexists(self.path)

    def is_missing(self, error: BaseException) -> bool:
        code = getattr(getattr(error, "orig", None), "sqlite_errorcode", 0)
        return code & 0xFF == sqlite3.SQLITE_CANTOPEN and not os.path.lexists(self.path)


class _StateSchema(PostgresqlWriter, StateDriver):
    """A schema in a database of PostgreSQL."""

    def __init__(self, url: sa.URL, schema: str) -> None:
        super().__init__(url)
        self._schema = schema
        self._quoted = postgresql.dialect().identifier_preparer.quote_identifier(schema)  # type: ignore[no-untyped-call]

    def create_engine(self, connections: int) -> AsyncEngine:
        engine = super().create_engine(connections)

        @sa.event.listens_for(engine.sync_engine, "first_connect", insert=False)
        def name_the_schema(link: object, _record: object) -> None:
            # SQLAlchemy asks for it when it connects; here it is chosen by each transaction.
            engine.dialect.default_schema_name = self._schema

        return engine

    async def open(self, link: Any, *, writing: bool) -> None:
        # In one message. Nothing outlasts the transaction, so that poolers which share connections are no trouble.
        # To compile a large statement takes longer than is saved.
        await link.execute(
            f"BEGIN ISOLATION LEVEL {'READ COMMITTED, READ WRITE' if writing else 'REPEATABLE READ, READ ONLY'}; "
            f"SET LOCAL search_path = {self._quoted}; SET LOCAL lock_timeout = '{BUSY_SECONDS}s'; "
            f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'; SET LOCAL jit = off"
        )

    def make_place(self) -> None:
        """Do nothing: the database is its administrator's to make."""

    async def make_schema(self, connection: AsyncConnection) -> None:
        await connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": self._schema})
        # CREATE SCHEMA IF NOT EXISTS needs the right to create one also where there is one.
        found = sa.text("SELECT to_regnamespace(quote_ident(:name)) IS NOT NULL")
        if not (await connection.execute(found, {"name": self._schema})).scalar_one():
            await connection.exec_driver_sql(f"CREATE SCHEMA {self._quoted}")

    def may_be_there(self) -> bool:
        return True

    def is_missing(self, error: BaseException) -> bool:
        return False


def state_driver_of(place: StatePlace) -> StateDriver:
    """Choose the driver of a place."""
    url = sa.make_url(place.url)
    return _StateFile(url) if place.schema is None else _StateSchema(url, place.schema)
