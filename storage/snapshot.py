"""One state of the database, read through one connection."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Hashable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.dialect import DriverFault
from butlerql.storage.errors import BusyError, ConnectionFailedError, NeedsRecoveryError, TimedOutError

if TYPE_CHECKING:
    from butlerql.storage.repository import Repository

__all__ = ["Snapshot", "open_snapshot"]

_CONNECTION_FAULTS = (OSError, DBAPIError, PoolTimeoutError)


class Snapshot:
    """A read-only transaction.

    Everything read through it is of one state of the database. It is short: after ``seconds`` the statement that runs is stopped and
    no other begins, because on SQLite an open read blocks every writer's commit.
    """

    def __init__(self, repository: Repository, connection: AsyncConnection, seconds: float) -> None:
        self.repository = repository
        self.cache: dict[Hashable, Any] = {}
        self._connection = connection
        self._lock = asyncio.Lock()
        self._seconds = seconds
        self._deadline = asyncio.get_running_loop().time() + seconds

    async def rows(self, statement: sa.Executable, parameters: Mapping[str, Any] | None = None) -> Sequence[sa.Row[*tuple[Any, ...]]]:
        """Run a statement and take all its rows.

        Raises
        ------
        TimedOutError
            Raised if the snapshot's time is over.
        """
        running = asyncio.ensure_future(self._connection.execute(statement, parameters))
        try:
            async with asyncio.timeout_at(self._deadline):
                # Shielded: a statement that is cancelled would go on in the driver's thread; it is stopped in `_abandon`.
                return (await asyncio.shield(running)).all()
        except TimeoutError:
            await self._abandon(running)
            raise TimedOutError(
                f"Reading the registry took longer than {self._seconds:g} seconds. Ask for less, or in smaller pages."
            ) from None
        except asyncio.CancelledError:
            await self._abandon(running)
            raise
        except DBAPIError as error:
            if self.repository.dialect.fault(error.orig) == DriverFault.BUSY:
                raise _busy() from error
            raise

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Let one reader at a time work, so that its failure leaves the snapshot usable for the next."""
        async with self._lock:
            if not self.repository.dialect.needs_savepoints:
                yield
                return
            nested = await self._connection.begin_nested()
            try:
                yield
            except BaseException:
                if not self._connection.invalidated:
                    await nested.rollback()
                raise
            await nested.commit()

    async def _abandon(self, running: asyncio.Future[Any]) -> None:
        """Stop the statement that runs and give the connection up: nobody knows what state it is in."""
        await self.repository.dialect.interrupt(self._connection, running)
        await asyncio.gather(running, return_exceptions=True)
        await self._connection.invalidate()


@asynccontextmanager
async def open_snapshot(repository: Repository, seconds: float) -> AsyncIterator[Snapshot]:
    """Begin a snapshot, waiting for a writer that holds the database, and end it.

    Raises
    ------
    BusyError
        Raised if another program kept the database locked for as long as the snapshot may take.
    NeedsRecoveryError
        Raised if a writer died and its journal cannot be rolled back from here.
    ConnectionFailedError
        Raised if the database does not answer.
    """
    connection = await _begin(repository, seconds)
    try:
        yield Snapshot(repository, connection, seconds)
    finally:
        await asyncio.shield(connection.close())


async def _begin(repository: Repository, seconds: float) -> AsyncConnection:
    dialect = repository.dialect
    give_up = asyncio.get_running_loop().time() + seconds
    recovered = False
    while True:
        connection: AsyncConnection | None = None
        try:
            connection = await repository.engine.connect()
            await dialect.begin_snapshot(connection)
        except BaseException as error:
            if connection is not None:
                await asyncio.shield(connection.close())
            if not isinstance(error, _CONNECTION_FAULTS):
                raise
            fault = dialect.fault(getattr(error, "orig", None))
            if fault == DriverFault.BUSY and asyncio.get_running_loop().time() < give_up:
                await asyncio.sleep(random.uniform(0.005, 0.05))
            elif fault == DriverFault.BUSY:
                raise _busy() from error
            elif fault == DriverFault.NEEDS_RECOVERY and not recovered:
                recovered = True
                await dialect.recover()
            elif fault == DriverFault.NEEDS_RECOVERY:
                raise _needs_recovery() from error
            else:
                raise ConnectionFailedError(
                    f"The registry of '{repository.name}' cannot be read: {dialect.explain(error)}"
                ) from error
        else:
            return connection


def _busy() -> BusyError:
    return BusyError("Another program is writing to the registry; try again in a moment.")


def _needs_recovery() -> NeedsRecoveryError:
    return NeedsRecoveryError(
        "A program died while it wrote to the registry and left a journal that cannot be rolled back from here. "
        "Open the repository once with a program that may write to it (any stock Butler command with write access)."
    )
