"""The drivers of the two databases: how they connect, read one state, are stopped, and what their errors mean."""

from __future__ import annotations

import asyncio
import math
import os
import sqlite3
import ssl
from abc import ABC, abstractmethod
from collections.abc import Hashable
from contextlib import closing, suppress
from enum import Enum, auto
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from butlerql.storage.errors import InvalidArgumentError
from butlerql.storage.sqlite_link import ReadingLink

__all__ = ["Driver", "Fault", "PostgresqlDriver", "SqliteDriver", "driver_of", "has_right", "refuse_unstorable"]

_CACHE_KIB = 32_768
_STATEMENT_CACHE = 2000
_CONNECT_SECONDS = 10
_LOCK_WAIT_SECONDS = 0.1
"""How long SQLite itself waits for a lock; who begins a snapshot tries again."""

_INTERRUPT_EVERY_SECONDS = 0.01
_GRACE_SECONDS = 2
"""How much longer than a snapshot PostgreSQL lets a transaction last, should we not be there to stop it."""


class Fault(Enum):
    """What an error of a driver means to us."""

    ABSENT = auto()
    """There is no such database, or no registry in it."""
    BUSY = auto()
    """Trying again helps."""
    LOST = auto()
    """The connection broke; another may work."""
    NEEDS_RECOVERY = auto()
    STOPPED = auto()
    """The statement was stopped because it took too long."""
    BAD_VALUE = auto()
    """A value that the database cannot hold, or compute with."""
    OTHER = auto()


_SQLITE_FAULTS = {
    sqlite3.SQLITE_BUSY: Fault.BUSY,
    sqlite3.SQLITE_INTERRUPT: Fault.STOPPED,
    sqlite3.SQLITE_LOCKED: Fault.BUSY,
    sqlite3.SQLITE_NOTADB: Fault.ABSENT,
    sqlite3.SQLITE_READONLY_RECOVERY: Fault.NEEDS_RECOVERY,
    sqlite3.SQLITE_READONLY_ROLLBACK: Fault.NEEDS_RECOVERY,
    sqlite3.SQLITE_TOOBIG: Fault.BAD_VALUE,
}
"""By extended or by primary code."""

_SQLITE_UNOPENED = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR}

_POSTGRESQL_FAULTS = {
    "08": Fault.LOST,
    "22": Fault.BAD_VALUE,
    "25P03": Fault.LOST,  # idle for too long in a transaction
    "3D000": Fault.ABSENT,
    "40": Fault.BUSY,  # a serialisation failure, a deadlock, a standby that had to catch up
    "53300": Fault.BUSY,  # too many connections
    "55P03": Fault.BUSY,
    "57014": Fault.STOPPED,
    "57P01": Fault.LOST,
    "57P02": Fault.LOST,
    "57P03": Fault.BUSY,  # starting up
}
"""By SQLSTATE or by its class."""


def has_right(path: str, right: int) -> bool:
    """Whether this process may read (`os.R_OK`) or write (`os.W_OK`) a file or directory.

    A registry's file is only asked about and never opened beside SQLite: closing it would take away all locks that this
    process has on it.
    """
    return os.access(path, right, effective_ids=os.access in os.supports_effective_ids)


def refuse_unstorable(value: Any) -> None:
    """Refuse what one database would cut short, or fail on, and the other not.

    Raises
    ------
    InvalidArgumentError
        Raised for a text with a null character or half a surrogate pair, and for a number of more than 64 bits.
    """
    if isinstance(value, str):
        if "\0" in value:
            raise InvalidArgumentError("A text holds a null character, which no registry can; leave it out.")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidArgumentError("A text holds half of a surrogate pair, which is no character.") from None
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise InvalidArgumentError("A whole number is out of range: registries hold -2^63 to 2^63 - 1.")


class Driver(ABC):
    """One of the two drivers. A *link* is its own connection, below SQLAlchemy's."""

    def __init__(self, url: sa.URL) -> None:
        self.url = url

    def create_engine(self, connections: int) -> AsyncEngine:
        """Make the engine; connects lazily.

        Parameters
        ----------
        connections
            How many there may be.
        """
        url, arguments = self._target()
        engine = create_async_engine(
            url,
            connect_args=arguments,
            isolation_level="AUTOCOMMIT",  # Transactions are begun and ended here.
            pool_size=connections,
            max_overflow=0,
            pool_use_lifo=True,
            pool_reset_on_return=None,
            # Otherwise each connection is told to roll back once more when it is given back.
            skip_autocommit_rollback=True,
            query_cache_size=_STATEMENT_CACHE,
            hide_parameters=True,
            # Ranges are combined with tables on purpose.
            enable_from_linting=False,
        )
        sa.event.listen(engine.sync_engine, "before_cursor_execute", _check_parameters)
        return engine

    @abstractmethod
    def _target(self) -> tuple[sa.URL, dict[str, Any]]:
        """Give the URL and the arguments to connect with."""

    @abstractmethod
    async def begin(self, link: Any, seconds: float) -> Hashable:
        """Begin a read-only transaction that sees one state of the database, and lasts so long at most.

        Returns
        -------
        state
            What is the same in another transaction only if that sees the same state; None if nothing tells.
        """

    @abstractmethod
    async def end(self, link: Any) -> None:
        """End the transaction."""

    @abstractmethod
    async def undo(self, link: Any) -> None:
        """Make the transaction usable again after a statement of it failed."""

    @abstractmethod
    def is_in_transaction(self, link: Any) -> bool:
        """Whether the transaction still lasts."""

    @abstractmethod
    async def stop(self, link: Any, running: asyncio.Task[Any]) -> None:
        """Stop the statement that a task runs, and wait for its end."""

    @abstractmethod
    async def recover(self) -> None:
        """Roll back what a dead writer left, if that is for a client to do.

        Raises
        ------
        sqlite3.Error
            Raised if it cannot be done.
        """

    @abstractmethod
    def fault(self, error: BaseException) -> Fault:
        """Tell what an error means."""

    @abstractmethod
    def explain(self, error: BaseException) -> str:
        """Say in a line, without a full stop, what the database says; names no secret."""


def _check_parameters(
    connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool
) -> None:
    if executemany:
        # Who writes many rows has looked at what is in them.
        return
    for value in parameters.values() if isinstance(parameters, dict) else parameters:
        refuse_unstorable(value)


class SqliteDriver(Driver):
    """SQLite through aiosqlite."""

    @property
    def path(self) -> str:
        """The database's file."""
        assert self.url.database is not None
        return self.url.database

    def _uri(self) -> str:
        return f"file:{quote(os.fsencode(self.path))}"

    def _target(self) -> tuple[sa.URL, dict[str, Any]]:
        url = sa.URL.create("sqlite+aiosqlite", database=self._uri(), query={"mode": "ro", "uri": "true"})
        return url, {"timeout": _LOCK_WAIT_SECONDS, "async_creator_fn": ReadingLink}

    def create_engine(self, connections: int) -> AsyncEngine:
        engine = super().create_engine(connections)

        @sa.event.listens_for(engine.sync_engine, "connect")
        def remember_more(link: Any, _record: object) -> None:
            # By default a connection keeps 2 MB of pages, less than a page of ten thousand datasets goes through.
            cursor = link.cursor()
            cursor.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            cursor.close()

        return engine

    async def begin(self, link: Any, seconds: float) -> Hashable:
        return link, await link.begin()

    async def end(self, link: Any) -> None:
        await link.rollback()

    async def undo(self, link: Any) -> None:
        """Do nothing: a statement that fails takes nothing with it."""

    def is_in_transaction(self, link: Any) -> bool:
        return bool(link.in_transaction)

    async def stop(self, link: Any, running: asyncio.Task[Any]) -> None:
        while not running.done():
            # Once may be too early: the statement may still be on its way to the driver's thread.
            with suppress(ValueError, sqlite3.Error):
                await link.interrupt()
            await asyncio.wait({running}, timeout=_INTERRUPT_EVERY_SECONDS)

    async def recover(self) -> None:
        def roll_back() -> None:
            with closing(sqlite3.connect(f"{self._uri()}?mode=rw", uri=True)) as connection:
                connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()

        await asyncio.to_thread(roll_back)

    def fault(self, error: BaseException) -> Fault:
        if isinstance(error, TimeoutError):
            return Fault.BUSY
        code = getattr(getattr(error, "orig", error), "sqlite_errorcode", 0)
        if code & 0xFF in _SQLITE_UNOPENED and not os.path.isfile(self.path):
            return Fault.ABSENT
        return _SQLITE_FAULTS.get(code) or _SQLITE_FAULTS.get(code & 0xFF, Fault.OTHER)

    def explain(self, error: BaseException) -> str:
        original = getattr(error, "orig", error)
        if self.fault(error) is Fault.BUSY:
            return "another program is writing to it"
        code = getattr(original, "sqlite_errorcode", 0)
        if code in {sqlite3.SQLITE_READONLY_DIRECTORY, sqlite3.SQLITE_READONLY_CANTINIT}:
            return f"{self.path} is in WAL mode, and then this user needs write access to its directory"
        if code & 0xFF in _SQLITE_UNOPENED:
            if not os.path.exists(self.path):
                return f"{self.path} does not exist"
            if not os.path.isfile(self.path):
                return f"{self.path} is no file"
            if not has_right(self.path, os.R_OK):
                return f"{self.path} may not be read by this user"
        return f"{self.path}: {original}"


class PostgresqlDriver(Driver):
    """PostgreSQL through asyncpg."""

    def _target(self) -> tuple[sa.URL, dict[str, Any]]:
        return self.url, {"timeout": _CONNECT_SECONDS, "server_settings": {"application_name": "butlerql"}}

    async def begin(self, link: Any, seconds: float) -> Hashable:
        # One message; and nothing outlasts the transaction, so that poolers which share connections are no trouble.
        # Without statistics, as in a fresh repository, bitmaps look cheaper than the order that an index has: a page of
        # a hundred datasets then costs ten times as much. What is asked here is nearly always a stretch of an index.
        limit = math.ceil((seconds + _GRACE_SECONDS) * 1000)
        try:
            await link.execute(
                "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; "
                f"SET LOCAL statement_timeout = {limit}; SET LOCAL idle_in_transaction_session_timeout = {limit}; "
                "SET LOCAL jit = off; SET LOCAL enable_bitmapscan = off; SAVEPOINT clean"
            )
            # A standby's snapshot does not name the transactions that still run.
            state: str | None = await link.fetchval("SELECT pg_current_snapshot()::text WHERE NOT pg_is_in_recovery()")
        except Exception as error:
            if link.is_closed():
                raise ConnectionResetError("the connection was closed") from error
            raise
        return state

    async def end(self, link: Any) -> None:
        await link.execute("ROLLBACK")

    async def undo(self, link: Any) -> None:
        # Reading leaves nothing behind: the one savepoint is as good as one before each statement, and costs nothing.
        await link.execute("ROLLBACK TO SAVEPOINT clean")

    def is_in_transaction(self, link: Any) -> bool:
        return bool(not link.is_closed() and link.is_in_transaction())

    async def stop(self, link: Any, running: asyncio.Task[Any]) -> None:
        # asyncpg then has the server cancel the statement. Only once: the second would stop it in doing so.
        running.cancel()
        await asyncio.wait({running})

    async def recover(self) -> None:
        """Do nothing: the server recovers by itself."""

    def fault(self, error: BaseException) -> Fault:
        original = getattr(error, "orig", error)
        if isinstance(original, TimeoutError):
            return Fault.BUSY
        if isinstance(original, ConnectionResetError) or getattr(error, "connection_invalidated", False):
            return Fault.LOST
        # asyncpg's own refusals to encode a value have no state.
        if isinstance(error, DBAPIError) and isinstance(original.__cause__, ValueError):
            return Fault.BAD_VALUE
        state = getattr(original, "sqlstate", None) or ""
        return _POSTGRESQL_FAULTS.get(state) or _POSTGRESQL_FAULTS.get(state[:2], Fault.OTHER)

    def explain(self, error: BaseException) -> str:
        host = self.url.host or self.url.query.get("host") or os.environ.get("PGHOST", "localhost")
        place = f"{host}:{self.url.port or os.environ.get('PGPORT', '5432')}"
        original: BaseException = getattr(error, "orig", error)
        if isinstance(original, ssl.SSLError):
            return f"no encrypted connection with the PostgreSQL server at {place}: {original.reason}"
        if isinstance(original, TimeoutError):
            return f"the PostgreSQL server at {place} does not answer in time"
        if isinstance(original, OSError):
            return f"no PostgreSQL server answers at {place}: {original.strerror or original}"
        # SQLAlchemy's wrapper puts the name of the class in front.
        text = " ".join(str(original.__cause__ or original).split()).rstrip(".")
        return f"the PostgreSQL server at {place} says: {text}"


def driver_of(url: str) -> Driver:
    """Choose the driver of a database URL."""
    parsed = sa.make_url(url)
    return SqliteDriver(parsed) if parsed.get_backend_name() == "sqlite" else PostgresqlDriver(parsed)
