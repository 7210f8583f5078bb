"""A change of a registry: one short transaction that writes, wholly done or not at all."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

from butlerql.storage.connections import Connections, Lease
from butlerql.storage.drivers import Fault
from butlerql.storage.errors import BusyError, ButlerQLError, ConnectionFailedError, TimedOutError, UncertainError
from butlerql.storage.snapshot import Snapshot
from butlerql.storage.state.database import Work
from butlerql.storage.writing import BUSY_SECONDS, WritingDriver, writing_driver_of

if TYPE_CHECKING:
    from butlerql.storage.repository import Repository

__all__ = ["Change", "WritingConnections", "make_change", "open_change"]

T = TypeVar("T")


_SECONDS = 120.0
"""How long a transaction may last; on SQLite nobody else can write meanwhile."""

_TRIES = 5
"""How often a change is tried that the database refuses because of what others have just done."""

_PAUSE_SECONDS = (0.005, 0.1)
"""Between two of them; at random, so that the same do not meet again."""

_log = logging.getLogger(__name__)


class WritingConnections(Connections):
    """What a repository changes its registry through.

    Parameters
    ----------
    url
        The registry's.
    name
        The repository's, for messages.
    """

    driver: WritingDriver

    def __init__(self, url: str, name: str) -> None:
        super().__init__(writing_driver_of(url), name)


class Change(Snapshot):
    """A transaction that writes. Make one with `Repository.change`.

    Whatever reads from a snapshot can read from it, and sees what was written. On SQLite it is alone. On PostgreSQL
    each statement sees what others have committed before it (READ COMMITTED); lock what must not change.

    A statement that fails ends it, and nothing of it stays. What was read of things that it then alters is not
    read again: ``cache`` is its own, and is to be cleared by who writes.
    """

    _connections: WritingConnections

    def __init__(self, repository: Repository, connections: WritingConnections, lease: Lease, seconds: float) -> None:
        super().__init__(repository, connections, lease, seconds)
        self._committing: asyncio.Task[None] | None = None
        self._notes: list[Work[object]] = []

    async def execute(self, statement: sa.Executable, parameters: Mapping[str, Any] | None = None) -> int:
        """Run a statement that gives no rows.

        Returns
        -------
        rows
            How many it inserted, altered or deleted.

        Raises
        ------
        sqlalchemy.exc.IntegrityError
            Raised if a row contradicts another, or refers to what is not there, or is still referred to.
        TimedOutError
            Raised if the change took too long.
        InvalidArgumentError
            Raised if the database cannot hold a value of the statement.
        RepositoryError
            Raised if the database does not answer any more, or does not take what is written.
        """
        return await self._done(self._run(statement, parameters, _count))

    async def lock(self, table: sa.Table) -> None:
        """Keep all others from writing to a table until the end, as the Butler does; on SQLite it is so anyway."""
        if self.repository.dialect.name == "postgresql":
            quoted = self._lease.connection.dialect.identifier_preparer.format_table(table)
            await self.execute(sa.text(f"LOCK TABLE {quoted} IN EXCLUSIVE MODE"))

    def note(self, work: Work[object]) -> None:
        """Have own state changed when the change is committed, and not if it is not.

        Where own state is a schema of the registry's database, that is the same transaction, and what cannot be written
        there undoes the change. Elsewhere it is a transaction right after it: killed in between, the change is made and
        this is not. So write down before what is intended, and what it will be known by, and look that up.

        Parameters
        ----------
        work
            Statements on tables of own state, see `State.write`; all of a change are one transaction, in their order.
        """
        self._notes.append(work)

    async def commit(self) -> None:
        """Make everything last; whoever waits for it may go away meanwhile."""
        async with self._statements:
            if self._ending is not None:
                raise self._failure or self._too_late()
            self._timer.cancel()
            self._committing = self._connections.start(self._commit())
            await asyncio.shield(self._committing)

    async def close(self) -> None:
        """Undo what was not committed."""
        if self._committing is None or self._committing.done():
            await super().close()

    async def _commit(self) -> None:
        state = self.repository.state
        is_sent = False
        try:
            if self._notes and state.place.with_registry:
                await state.join(self._lease.connection, *self._notes)
            is_sent = True
            await self._connections.driver.commit(self._lease.link)
        except Exception as error:
            if is_sent and self._connections.driver.fault(error) is Fault.LOST:
                raise UncertainError(
                    "The connection broke while a change was committed. Ask whether it was made before you try again."
                ) from error
            known = self._translated(error)
            if known is None or known is error:
                raise
            raise known from error
        finally:
            self._end()
        if self._notes and not state.place.with_registry:
            try:
                await state.write(*self._notes)
            except Exception:  # noqa: BLE001 - whatever it is, the change is made
                _log.exception("A change of '%s' was made, and what belongs to it not noted.", self.repository.name)

    async def _recover(self) -> None:
        self._end()

    def _translated(self, error: BaseException) -> ButlerQLError | None:
        known = super()._translated(error)
        if known is None and self._connections.driver.is_refusal(error):
            says = self._connections.driver.explain(error)
            return ConnectionFailedError(f"The registry of '{self.repository.name}' cannot be written to: {says}.")
        return known

    def _too_late(self) -> TimedOutError:
        return TimedOutError(
            f"A change of the registry took longer than {self._seconds:g} seconds and was not made. "
            "Change less at once."
        )


@asynccontextmanager
async def open_change(
    repository: Repository, connections: WritingConnections, seconds: float | None = None
) -> AsyncIterator[Change]:
    """Begin a change, waiting for others that write; commit it, or roll it back where the block raises.

    Parameters
    ----------
    repository
        What is changed.
    connections
        Its own for writing.
    seconds
        How long it may last; None: two minutes.

    Raises
    ------
    RepositoryError
        Raised if another program keeps the database locked, or it cannot be written to; nothing is changed then.
    """
    change = Change(repository, connections, await connections.begin(BUSY_SECONDS), seconds or _SECONDS)
    try:
        yield change
        await change.commit()
    finally:
        await change.close()


async def make_change(
    repository: Repository,
    connections: WritingConnections,
    work: Callable[[Change], Awaitable[T]],
    seconds: float | None = None,
) -> T:
    """Make a change; again from the start where that helps.

    It does where PostgreSQL ended one of several transactions that waited for each other, and where others have just
    written, or taken away, what ours found otherwise. See `open_change`.
    """
    clock = asyncio.get_running_loop().time
    give_up = clock() + BUSY_SECONDS
    tries = 0
    while True:
        tries += 1
        try:
            async with open_change(repository, connections, seconds) as change:
                return await work(change)
        except BusyError:
            if clock() >= give_up:
                raise
        except sa.exc.IntegrityError:
            if tries == _TRIES:
                raise
        await asyncio.sleep(random.uniform(*_PAUSE_SECONDS))  # noqa: S311 - chance, not a secret


def _count(result: sa.CursorResult[Any]) -> int:
    return result.rowcount
