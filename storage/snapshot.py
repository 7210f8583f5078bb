"""One state of the database, read through one connection."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Hashable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import sqlalchemy as sa

from butlerql.storage.connections import Connections, Lease
from butlerql.storage.drivers import Fault
from butlerql.storage.errors import BusyError, ButlerQLError, TimedOutError

if TYPE_CHECKING:
    from butlerql.storage.repository import Repository

__all__ = ["Snapshot", "open_snapshot"]

T = TypeVar("T")

_PAUSE_SECONDS = (0.005, 0.05)
"""Between two looks whether another database that is written to can be read."""


class Snapshot:
    """A read-only transaction.

    Everything read through it is of one state of the database. It is short: after ``seconds`` the statement that runs
    is stopped, the transaction ends, and no other statement begins, because on SQLite an open read blocks every
    writer's commit. A statement that fails leaves it usable; one that is stopped, because its time is over or because
    who waited for it was cancelled, ends it.

    Attributes
    ----------
    cache
        What was read through it.
    kept
        What was read of the state that it sees, through whatever snapshot: a little of what is asked for all the time.
    """

    def __init__(self, repository: Repository, connections: Connections, lease: Lease, seconds: float) -> None:
        self.repository = repository
        self.cache: dict[Hashable, Any] = {}
        self.kept = lease.kept
        self._connections = connections
        self._lease = lease
        self._seconds = seconds
        self._readers = asyncio.Lock()
        self._statements = asyncio.Lock()
        self._running: asyncio.Task[Any] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._failure: ButlerQLError | None = None
        loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = loop.create_future()
        self._timer = loop.call_later(seconds, self._end)

    async def rows(
        self, statement: sa.Executable, parameters: Mapping[str, Any] | None = None
    ) -> Sequence[sa.Row[*tuple[Any, ...]]]:
        """Run a statement and take all its rows.

        Raises
        ------
        TimedOutError
            Raised if the snapshot's time is over.
        InvalidArgumentError
            Raised if the database cannot hold, or compare, a value of the statement.
        RepositoryError
            Raised if the database does not answer any more.
        """
        return await self._done(self._run(statement, parameters, _all))

    async def attach(self, path: str, name: str) -> None:
        """Have the tables of another database of SQLite, too, to read them in the same statements.

        From now on nobody can write to it before the snapshot ends.

        Parameters
        ----------
        path
            Of its file.
        name
            Of the schema that its tables are in, the same for the same path.

        Raises
        ------
        ButlerQLError
            Raised as by `rows`.
        """
        uri = f"file:{quote(os.fsencode(path))}?mode=ro"
        attach = sa.text("ATTACH DATABASE :uri AS :name").bindparams(uri=uri, name=name)
        first_read = sa.select(sa.literal(1)).select_from(sa.table("sqlite_master", schema=name)).limit(1)
        while ("attached", name) not in self.cache:
            try:
                # It stays with the connection.
                if name not in {row[1] for row in await self.rows(sa.text("PRAGMA database_list"))}:
                    await self._done(self._run(attach, None, _nothing))
                await self.rows(first_read)
            except BusyError:
                await asyncio.sleep(random.uniform(*_PAUSE_SECONDS))  # noqa: S311 - chance, not a secret
            else:
                self.cache["attached", name] = True

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Let one reader at a time work; if it fails, the next finds the snapshot as usable as before."""
        async with self._readers:
            yield

    async def close(self) -> None:
        """End the transaction, if its time did not end it."""
        self._end()
        if self._ending is not None and (self._running is None or self._running.done()):
            await asyncio.shield(self._ending)

    async def _done(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for a statement, the only one at a time."""
        async with self._statements:
            if self._ending is not None:
                work.close()
                raise self._failure or self._too_late()
            running: asyncio.Task[T] = self._connections.start(work)
            self._running = running
            try:
                await asyncio.wait((running, self._over), return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                self._end()
                raise
            if not running.done() or running.cancelled():
                raise self._too_late()
            if (error := running.exception()) is None:
                return running.result()
            known = self._translated(error)
            if known is None or known is error:
                raise error
            if self._ending is not None:
                self._failure = known
            raise known from error

    async def _run(
        self,
        statement: sa.Executable,
        parameters: Mapping[str, Any] | None,
        taken: Callable[[sa.CursorResult[Any]], T],
    ) -> T:
        try:
            return taken(await self._lease.connection.execute(statement, parameters))
        except Exception:
            await self._recover()
            raise

    async def _recover(self) -> None:
        """Make the transaction usable again after a statement that failed, if it lasts."""
        driver, link = self._connections.driver, self._lease.link
        if driver.is_in_transaction(link):
            with suppress(Exception):  # The first failure says more.
                await driver.undo(link)
        else:
            self._end()

    def _translated(self, error: BaseException) -> ButlerQLError | None:
        """Make an error for clients of one that came up in a statement; None if it has no meaning to us."""
        if isinstance(error, ButlerQLError):
            return error
        if isinstance(original := getattr(error, "orig", None), ButlerQLError):
            return original
        fault = self._connections.driver.fault(error)
        if fault is Fault.STOPPED:
            return self._too_late()
        return None if fault is Fault.OTHER else self._connections.translated(error, fault)

    def _end(self) -> None:
        if self._ending is None:
            self._timer.cancel()
            self._over.set_result(None)
            self._ending = self._connections.start(self._connections.end(self._lease, self._running))

    def _too_late(self) -> TimedOutError:
        return TimedOutError(
            f"Reading the registry took longer than {self._seconds:g} seconds. Ask for less, or in smaller pages."
        )


def _all(result: sa.CursorResult[Any]) -> Sequence[sa.Row[*tuple[Any, ...]]]:
    return result.all()


def _nothing(result: sa.CursorResult[Any]) -> None:
    """Take nothing."""


@asynccontextmanager
async def open_snapshot(repository: Repository, connections: Connections, seconds: float) -> AsyncIterator[Snapshot]:
    """Begin a snapshot, waiting for a writer that holds the database, and end it.

    Raises
    ------
    RepositoryError
        Raised if the database is busy for longer than the snapshot may last, or cannot be read.
    """
    snapshot = Snapshot(repository, connections, await connections.begin(seconds), seconds)
    try:
        yield snapshot
    finally:
        await snapshot.close()
