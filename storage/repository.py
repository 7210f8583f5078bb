"""A repository: what everything hangs from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Hashable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from butlerql.storage.catalog import read_catalog
from butlerql.storage.changes import Change, WritingConnections, make_change, open_change
from butlerql.storage.config import RepositoryConfig
from butlerql.storage.connections import Connections
from butlerql.storage.datastores.artifacts.stores import ArtifactStores
from butlerql.storage.datastores.tree import Datastore, build_datastores
from butlerql.storage.descriptions import FILE_NAME, Descriptions
from butlerql.storage.dialect import Dialect, dialect_of
from butlerql.storage.drivers import driver_of
from butlerql.storage.errors import ReadOnlyError, UnsupportedRepositoryError
from butlerql.storage.managers import Managers
from butlerql.storage.snapshot import Snapshot, open_snapshot
from butlerql.storage.state.database import State
from butlerql.storage.state.place import StatePlace
from butlerql.storage.statements import Statements
from butlerql.storage.storage_classes import StorageClasses
from butlerql.storage.tables import Tables
from butlerql.storage.universe import Universe

__all__ = ["Repository"]

T = TypeVar("T")

_UNIVERSE = "config:dimensions.json"


class Repository:
    """A Butler repository that is open for reading, and for writing if that was asked for.

    Make one with `open`. It belongs to the event loop that it was opened in.
    """

    universe: Universe
    managers: Managers
    tables: Tables

    server: str
    """The database's program and its version: ``SQLite 3.40.1``, ``PostgreSQL 15.7``."""

    namespace: str | None
    """Schema of the registry's tables; None on SQLite."""

    state: State
    """What ButlerQL itself remembers of it."""

    cache: dict[Hashable, Any]
    """What snapshots read and later ones find unchanged; each who keeps something here sees to that itself."""

    exports: str | None
    """Directory for what is purged, as operators have it; None if they do not say."""

    statements: Statements
    """What was put together to be read lately; it holds nothing of what is in the database."""

    write_obstacles: tuple[str, ...]
    """Why the repository could not be written to, each a part of a sentence; empty if nothing speaks against it."""

    def __init__(
        self,
        config: RepositoryConfig,
        *,
        snapshot_seconds: float,
        state: str | None,
        description_files: Sequence[Path],
        writable: bool,
        exports: str | None,
    ) -> None:
        self.config = config
        self.name = config.name
        self.root = config.root
        self.storage_classes = StorageClasses.load(config)
        own = Path(config.root, FILE_NAME) if config.root.startswith("/") else None
        self.descriptions = Descriptions(own, description_files)
        self.datastore: Datastore = build_datastores(config)
        self.stores = ArtifactStores()
        self.dialect: Dialect = dialect_of(config.registry_url)
        self._connections = Connections(driver_of(config.registry_url), config.name)
        self.engine = self._connections.engine
        self.state = State(StatePlace.find(config, state), config.name)
        self.exports = exports
        self.cache = {}
        self.statements = Statements()
        self._snapshot_seconds = snapshot_seconds
        self._writable = writable
        self._writing = WritingConnections(config.registry_url, config.name)

    @classmethod
    async def open(
        cls,
        uri: str,
        *,
        snapshot_seconds: float = 5.0,
        state: str | None = None,
        description_files: Sequence[Path] = (),
        writable: bool = False,
        exports: str | None = None,
    ) -> Repository:
        """Open a repository.

        Parameters
        ----------
        uri
            Its directory, its butler.yaml, or its label in the repository index.
        snapshot_seconds
            How long one request may read from the registry; and how long it waits for its turn.
        state
            Where ButlerQL's own state is, see `StatePlace.find`; nothing is made there before it is needed.
        description_files
            Files that say what dataset types are, beside the one in the repository's root; see `Descriptions`.
        writable
            Whether it may be changed, if nothing speaks against it.
        exports
            Directory that purged datasets are written to first, in which ``{name}`` stands for the repository's name;
            None: beside own state where that is a file, else in the repository's root where that is a directory.

        Raises
        ------
        RepositoryError
            Raised if it cannot be opened; the subclass says why.
        """
        config = RepositoryConfig.load(uri)
        repository = cls(
            config,
            snapshot_seconds=snapshot_seconds,
            state=state,
            description_files=description_files,
            writable=writable,
            exports=exports,
        )
        try:
            await repository._read_attributes()
        except BaseException:
            await repository.close()
            raise
        return repository

    @property
    def read_only(self) -> bool:
        """Whether nothing can be changed through it."""
        return not self._writable or bool(self.write_obstacles)

    def require_writable(self) -> None:
        """Make sure that it can be changed.

        Raises
        ------
        ReadOnlyError
            Raised if not, with the reason.
        """
        if not self._writable:
            raise ReadOnlyError(
                f"'{self.name}' is served to be read only. It can be changed where it is served with --writable."
            )
        if self.write_obstacles:
            raise ReadOnlyError(f"'{self.name}' cannot be written to: {'; '.join(self.write_obstacles)}.")

    @asynccontextmanager
    async def snapshot(self, seconds: float | None = None) -> AsyncIterator[Snapshot]:
        """Read one state of the registry.

        Parameters
        ----------
        seconds
            How long it may last, for what no request waits for; None: as long as one of a request.

        Raises
        ------
        BusyError
            Raised if another program keeps the registry locked, or all connections are in use, for as long as a
            snapshot may take.
        NeedsRecoveryError
            Raised if a writer died and what it left cannot be undone from here.
        ConnectionFailedError
            Raised if the database does not answer.
        """
        async with open_snapshot(self, self._connections, seconds or self._snapshot_seconds) as snapshot:
            yield snapshot

    @asynccontextmanager
    async def change(self) -> AsyncIterator[Change]:
        """Change the registry in one transaction: all that the block did when it ends, nothing if it raises.

        Not while a snapshot is open in the same task: on SQLite both would wait for each other.

        Raises
        ------
        ReadOnlyError
            Raised if the repository cannot be changed.
        BusyError
            Raised if another program keeps it locked.
        RepositoryError
            Raised if the database does not answer, or does not take what is written.
        """
        self.require_writable()
        async with open_change(self, self._writing) as change:
            yield change

    async def write(self, work: Callable[[Change], Awaitable[T]], seconds: float | None = None) -> T:
        """Change the registry in one transaction, see `change`; again from the start where others were in the way.

        Parameters
        ----------
        work
            Its statements. It may be run again, so it changes nothing else.
        seconds
            How long it may last; None: as long as one of a request.
        """
        self.require_writable()
        return await make_change(self, self._writing, work, seconds)

    async def to_the_end(self, change: Coroutine[Any, Any, T]) -> T:
        """Wait for a change, which is made whatever becomes of the one who waits; `close` waits for it, too."""
        return await asyncio.shield(self._writing.start(change))

    async def ready(self) -> None:
        """Find out whether the repository can be read now.

        Raises
        ------
        RepositoryError
            Raised if it cannot.
        """
        async with self.snapshot() as snapshot:
            await snapshot.rows(sa.select(self.tables.collection.c.name).limit(1))

    async def close(self) -> None:
        """Give up all connections; waits for the snapshots that are open."""
        await self._writing.close()
        await self.state.close()
        self.stores.close()
        await self._connections.close()

    async def _read_attributes(self) -> None:
        """Learn from the registry what it is: managers, universe, tables."""
        async with self.snapshot() as snapshot:
            catalog = await read_catalog(snapshot, self.config)
            catalog.require(["butler_attributes"])
            table = sa.table("butler_attributes", sa.column("name"), sa.column("value"), schema=catalog.namespace)
            attributes: dict[str, str] = dict(await snapshot.rows(sa.select(table.c.name, table.c.value)))
        if _UNIVERSE not in attributes:
            raise UnsupportedRepositoryError("The registry does not hold a dimension universe; it cannot be read.")
        self.server = catalog.server
        self.namespace = catalog.namespace
        self.managers = Managers(attributes)
        try:
            self.universe = Universe.from_json(attributes[_UNIVERSE])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UnsupportedRepositoryError(
                f"The dimension universe that the registry holds cannot be understood: {_UNIVERSE} is malformed."
            ) from error
        self.tables = Tables(self.universe, self.dialect, self.managers.layout, self.namespace)
        catalog.require(self.tables.required)
        self.write_obstacles = (*self.managers.write_obstacles, *catalog.write_obstacles(self.tables.required))
