"""The connections of a repository: not too many, and none forgotten in the middle of a call.

Drivers do not take it well when a call is cancelled: the statement runs on in a thread or on the server, the connection
is lost or, worse, given to the next in the middle of something. So every call of a driver runs in a task of its own
that is never cancelled from outside; who waits for it may go away at any moment, and what is to be done then is done
behind its back. `Connections.close` waits for all of that.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.drivers import Driver, Fault
from butlerql.storage.errors import (
    BusyError,
    ButlerQLError,
    ConnectionFailedError,
    InvalidArgumentError,
    NeedsRecoveryError,
    NotARepositoryError,
    TimedOutError,
)
from butlerql.storage.kept import Kept

__all__ = ["Connections", "Lease"]

T = TypeVar("T")

_MAXIMUM = 16
_PAUSE_SECONDS = (0.005, 0.05)
"""Between two attempts; at random, so that those who wait do not come all at once."""

_END_SECONDS = 2.0
"""How long a connection may take to end a transaction, or a pool to close; then it is torn down."""

_log = logging.getLogger(__name__)


class Lease(NamedTuple):
    """A connection in a transaction."""

    connection: AsyncConnection
    link: Any
    """The driver's own connection."""
    kept: Kept
    """What is known of the state of the database that the transaction sees."""


class Connections:
    """What a repository reads its registry through.

    Parameters
    ----------
    driver
        How to connect.
    name
        The repository's, for messages.
    """

    def __init__(self, driver: Driver, name: str) -> None:
        self.driver = driver
        self.engine = driver.create_engine(_MAXIMUM)
        self._name = name
        self._free = asyncio.Semaphore(_MAXIMUM)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._states: Kept = Kept(_MAXIMUM)
        self._closing: asyncio.Task[None] | None = None

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run something to its end, whatever becomes of the one who wants its result."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def begin(self, seconds: float) -> Lease:
        """Begin a transaction; wait so long for a free connection, and for a writer to let go of the database.

        Give the lease back by `end`, started by `start`.

        Raises
        ------
        RepositoryError
            Raised if there is none; the subclass says why.
        """
        clock = asyncio.get_running_loop().time
        give_up = clock() + seconds
        recovered = False
        while True:
            try:
                return await self._begin_once(give_up, seconds)
            except ButlerQLError:
                raise
            except Exception as error:
                fault = self.driver.fault(error)
                if fault is Fault.NEEDS_RECOVERY and not recovered:
                    found = await self._recover()
                    if found is None:
                        recovered = True
                        continue
                    fault = found
                if fault not in {Fault.BUSY, Fault.LOST} or clock() >= give_up:
                    raise self.translated(error, fault) from error
            await asyncio.sleep(random.uniform(*_PAUSE_SECONDS))  # noqa: S311 - chance, not a secret

    async def end(self, lease: Lease, running: asyncio.Task[Any] | None = None) -> None:
        """End a transaction, stop what it still runs, and free its connection."""
        connection, link, _ = lease
        try:
            try:
                if running is not None and not running.done():
                    await self.driver.stop(link, running)
                    await connection.invalidate()
                else:
                    async with asyncio.timeout(_END_SECONDS):
                        await self.driver.end(link)
            except Exception:  # noqa: BLE001 - whatever it is, nobody shall get this connection again
                await connection.invalidate()
            await connection.close()
        except Exception:  # noqa: BLE001 - there is nobody to tell but the log
            _log.exception("A connection to the registry of '%s' could not be closed.", self._name)
        finally:
            self._free.release()

    async def close(self) -> None:
        """Wait for everything that is under way, and disconnect."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _begin_once(self, give_up: float, seconds: float) -> Lease:
        try:
            async with asyncio.timeout_at(give_up):
                await self._free.acquire()
        except TimeoutError:
            raise BusyError(
                f"All {_MAXIMUM} connections to the registry of '{self._name}' are in use. Try again in a moment."
            ) from None
        beginning = self.start(self._connect(seconds))
        try:
            async with asyncio.timeout_at(give_up):
                return await asyncio.shield(beginning)
        except (TimeoutError, asyncio.CancelledError):
            beginning.add_done_callback(self._unwanted)
            raise

    async def _connect(self, seconds: float) -> Lease:
        """Begin a transaction on a connection, of which there is one free."""
        try:
            connection = await self.engine.connect()
        except BaseException:
            self._free.release()
            raise
        lease = Lease(connection, (await connection.get_raw_connection()).driver_connection, Kept())
        try:
            state = await self.driver.begin(lease.link, seconds)
        except BaseException:
            await self.end(lease)
            raise
        return lease if state is None else lease._replace(kept=self._states.setdefault(state, lease.kept))

    async def _close(self) -> None:
        for _ in range(_MAXIMUM):
            await self._free.acquire()
        if self._tasks:
            await asyncio.wait(self._tasks)
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_SECONDS):
                await self.engine.dispose()

    async def _recover(self) -> Fault | None:
        """Undo what a dead writer left; tell why it cannot be done."""
        try:
            await self.driver.recover()
        except Exception as error:  # noqa: BLE001 - whatever it is, somebody else has to recover it
            return Fault.BUSY if self.driver.fault(error) is Fault.BUSY else Fault.NEEDS_RECOVERY
        return None

    def _unwanted(self, beginning: asyncio.Task[Lease]) -> None:
        if not beginning.cancelled() and beginning.exception() is None:
            self.start(self.end(beginning.result()))

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # Whoever waited for it has got it; asyncio would complain if nobody did.

    def translated(self, error: BaseException, fault: Fault) -> ButlerQLError:
        """Make an error for clients of an error of the driver."""
        says = self.driver.explain(error)
        match fault:
            case Fault.BUSY:
                return BusyError(f"The registry of '{self._name}' is busy ({says}). Try again in a moment.")
            case Fault.NEEDS_RECOVERY:
                return NeedsRecoveryError(
                    f"A program died while it wrote to the registry of '{self._name}', and what it left cannot be "
                    "undone from here. Open the repository once with a Butler that may write to it."
                )
            case Fault.ABSENT:
                return NotARepositoryError(f"There is no registry of '{self._name}': {says}.")
            case Fault.STOPPED:
                return TimedOutError(
                    "The database stopped a statement that took too long. Ask for less, or in smaller pages."
                )
            case Fault.BAD_VALUE:
                return InvalidArgumentError(
                    "A value is out of range, or of another kind than what it is compared with."
                )
        return ConnectionFailedError(f"The registry of '{self._name}' cannot be read: {says}.")
