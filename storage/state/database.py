"""The database of the own state: made and connected to when it is first needed, changed in short transactions."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import cached_property
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from butlerql.storage.dialect import dialect_of
from butlerql.storage.drivers import Fault
from butlerql.storage.errors import BusyError, ButlerQLError, StateUnavailableError, StateVersionError
from butlerql.storage.state.drivers import state_driver_of
from butlerql.storage.state.place import StatePlace
from butlerql.storage.state.tables import REGISTRY, REVISIONS

__all__ = ["State", "Work"]

T = TypeVar("T")

Work = Callable[[AsyncConnection], Awaitable[T]]
"""Statements that belong together. It may be run again from the start, so it changes nothing else."""

_CONNECTIONS = 4
_RETRY_SECONDS = 30.0
_PAUSE_SECONDS = (0.005, 0.05)
_VERSION = sa.table("alembic_version", sa.column("version_num", sa.Text()))

_migrating = asyncio.Lock()
"""Alembic's scripts talk to one connection a process."""


class _Absent(Exception):
    """There is no state as yet."""


class State:
    """What ButlerQL remembers of a repository, in tables of its own.

    Nothing happens before the first call, and a state that is not there is made by the first that writes. Every
    transaction runs to its end, whatever becomes of the one who waits for it (see `butlerql.storage.connections`).

    Parameters
    ----------
    place
        Where it is, or would be.
    name
        The repository's, for messages.
    """

    def __init__(self, place: StatePlace, name: str) -> None:
        self.place = place
        self._name = name
        self.dialect = dialect_of(place.url)
        self._driver = state_driver_of(place)
        self._tasks: set[asyncio.Task[Any]] = set()

    async def read(self, work: Work[T], *, absent: T) -> T:
        """Read one state of the database.

        Parameters
        ----------
        work
            What reads.
        absent
            The answer where there is no state as yet.

        Raises
        ------
        StateError
            Raised if it cannot be used; the subclass says why.
        BusyError
            Raised if another program keeps it locked.
        """
        try:
            return await self._transact(self._checked(work), writing=False)
        except _Absent:
            return absent

    async def write(self, work: Work[T], *more: Work[object]) -> T:
        """Change the database in one transaction; it is made if it is not there.

        Parameters
        ----------
        work
            What writes, and gives the result.
        more
            What writes after it.

        Raises
        ------
        StateError
            Raised if it cannot be used, made or written to; the subclass says why.
        BusyError
            Raised if another program keeps it locked.
        """
        try:
            return await self._transact(self._checked(work, *more), writing=True)
        except _Absent:
            await self.upgrade()
        return await self._transact(self._checked(work, *more), writing=True)

    async def join(self, connection: AsyncConnection, *works: Work[object]) -> None:
        """Change the database within a transaction of the registry that does nothing else after it.

        Parameters
        ----------
        connection
            In a transaction of the registry; only where `StatePlace.with_registry` says that it can.
        works
            What writes, one after another.

        Raises
        ------
        StateError
            Raised if the state is not there, or cannot be used.
        """
        choose = sa.text("SELECT set_config('search_path', quote_ident(:schema), TRUE)")
        await connection.execute(choose, {"schema": self.place.schema})
        try:
            await self._checked(*works)(connection)
        except _Absent:
            raise self._unavailable("it is not there any more") from None

    async def revision(self) -> str | None:
        """Tell of which revision it is; None if it is not there.

        Raises
        ------
        StateUnavailableError
            Raised if it cannot be read.
        """
        try:
            return await self._transact(self._find_revision, writing=False)
        except _Absent:
            return None

    async def upgrade(self) -> tuple[str | None, str]:
        """Make it, or bring it up to date.

        Returns
        -------
        tuple
            The revision before, None if it was not there, and the one after.

        Raises
        ------
        StateUnavailableError
            Raised if that cannot be done.
        StateVersionError
            Raised if a newer ButlerQL made it.
        """
        try:
            self._driver.make_place()
        except OSError as error:
            raise self._unavailable(f"it is not there and cannot be made: {error.strerror}") from error
        async with _migrating:
            try:
                return await self._transact(self._migrate, writing=True), REVISIONS[-1]
            except _Absent:
                raise self._unavailable("it was taken away while it was made") from None

    async def close(self) -> None:
        """Wait for the transactions that are under way, and disconnect."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        if "_engine" in self.__dict__:
            await self._engine.dispose()

    @cached_property
    def _engine(self) -> AsyncEngine:
        return self._driver.create_engine(_CONNECTIONS)

    async def _transact(self, work: Work[T], *, writing: bool) -> T:
        """Run a transaction; again, if that helps and it is certain that it did nothing."""
        clock = asyncio.get_running_loop().time
        give_up = clock() + _RETRY_SECONDS
        refused = False
        while True:
            try:
                return await asyncio.shield(self._start(self._try(work, writing=writing)))
            except (ButlerQLError, _Absent):
                raise
            except sa.exc.TimeoutError:
                raise self._busy("all its connections are in use") from None
            except Exception as error:
                if self._driver.is_missing(error):
                    raise _Absent from None
                fault = self._driver.fault(error)
                if fault not in {Fault.BUSY, Fault.LOST}:
                    if not self._driver.is_refusal(error):
                        raise
                    if refused:
                        raise self._unavailable(self._driver.explain(error)) from error
                    # Somebody may just have been making it.
                    refused = True
                elif clock() >= give_up:
                    explain = self._busy if fault is Fault.BUSY else self._unavailable
                    raise explain(self._driver.explain(error)) from error
            await asyncio.sleep(random.uniform(*_PAUSE_SECONDS))  # noqa: S311 - chance, not a secret

    async def _try(self, work: Work[T], *, writing: bool) -> T:
        if not self._driver.may_be_there():
            raise _Absent
        async with self._engine.connect() as connection:
            link = (await connection.get_raw_connection()).driver_connection
            try:
                await self._driver.open(link, writing=writing)
                result = await work(connection)
            except BaseException:
                await self._abandon(connection, link)
                raise
            try:
                await self._driver.commit(link)
            except BaseException as error:
                await self._abandon(connection, link)
                if self._driver.fault(error) is Fault.LOST:
                    raise self._unavailable(
                        "the connection broke while a change was committed; ask whether it was, before you try again"
                    ) from error
                raise
            return result

    async def _abandon(self, connection: AsyncConnection, link: Any) -> None:
        try:
            await self._driver.roll_back(link)
        except Exception:  # noqa: BLE001 - whatever it is, nobody shall get this connection again
            with suppress(Exception):
                await connection.invalidate()

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # Whoever waited for it has got it; asyncio would complain if nobody did.

    def _checked(self, work: Work[T], *more: Work[object]) -> Work[T]:
        async def run(connection: AsyncConnection) -> T:
            revision = await self._find_revision(connection)
            if revision is None:
                raise _Absent
            if revision != REVISIONS[-1]:
                self._refuse_newer(revision)
                raise StateVersionError(
                    f"ButlerQL's own state of '{self._name}' is of revision {revision}, and this program needs "
                    f"{REVISIONS[-1]}. Run `butlerql state upgrade REPO`."
                )
            result = await work(connection)
            for other in more:
                await other(connection)
            return result

        return run

    async def _find_revision(self, connection: AsyncConnection) -> str | None:
        tables = await connection.run_sync(lambda sync: sa.inspect(sync).get_table_names(self.place.schema))
        if _VERSION.name not in tables:
            if tables:
                raise self._unavailable(f"there are tables of another program in it, like '{min(tables)}'")
            return None
        found = sa.select(
            sa.select(_VERSION.c.version_num).scalar_subquery(), sa.select(REGISTRY.c.name).scalar_subquery()
        )
        revision, registry = (await connection.execute(found)).one()
        if registry != self.place.registry:
            raise self._unavailable(f"it belongs to the registry '{registry}', not to '{self.place.registry}'")
        return str(revision)

    async def _migrate(self, connection: AsyncConnection) -> str | None:
        from butlerql.storage.state.migrating import migrate

        await self._driver.make_schema(connection)
        before = await self._find_revision(connection)
        if before is not None:
            self._refuse_newer(before)
        await connection.run_sync(migrate)
        if before is None:
            await connection.execute(sa.insert(REGISTRY).values(name=self.place.registry))
        return before

    def _refuse_newer(self, revision: str) -> None:
        if revision not in REVISIONS:
            raise StateVersionError(
                f"ButlerQL's own state of '{self._name}' was made by a newer ButlerQL (revision {revision}, this "
                f"program knows {REVISIONS[-1]}). Use that one."
            )

    def _busy(self, says: str) -> BusyError:
        return BusyError(f"ButlerQL's own state of '{self._name}' is busy ({says}). Try again in a moment.")

    def _unavailable(self, says: str) -> StateUnavailableError:
        return StateUnavailableError(
            f"ButlerQL's own state of '{self._name}' in {self.place} cannot be used: {says}. "
            "The setting `state` says where it is."
        )
