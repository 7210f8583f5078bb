"""A repository: what everything hangs from."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import sqlalchemy as sa

from butlerql.storage.config import RepositoryConfig
from butlerql.storage.datastores.tree import Datastore, build_datastores
from butlerql.storage.dialect import Dialect, dialect_of
from butlerql.storage.errors import UnsupportedRepositoryError
from butlerql.storage.managers import Managers
from butlerql.storage.snapshot import Snapshot, open_snapshot
from butlerql.storage.storage_classes import StorageClasses
from butlerql.storage.tables import Tables
from butlerql.storage.universe import Universe

__all__ = ["Repository"]

_UNIVERSE = "config:dimensions.json"


class Repository:
    """A Butler repository that is open for reading.

    Make one with `open`.
    """

    universe: Universe
    managers: Managers
    tables: Tables

    def __init__(self, config: RepositoryConfig, *, snapshot_seconds: float) -> None:
        self.config = config
        self.name = config.name
        self.root = config.root
        self.storage_classes = StorageClasses.load(config)
        self.datastore: Datastore = build_datastores(config)
        self.dialect: Dialect = dialect_of(config.registry_url)
        self.engine = self.dialect.create_engine()
        self._snapshot_seconds = snapshot_seconds

    @classmethod
    async def open(cls, uri: str, *, snapshot_seconds: float = 5.0) -> Repository:
        """Open a repository.

        Parameters
        ----------
        uri
            Its directory, its butler.yaml, or its label in the repository index.
        snapshot_seconds
            How long one request may read from the registry.

        Raises
        ------
        RepositoryError
            Raised if it cannot be opened; the subclass says why.
        """
        repository = cls(RepositoryConfig.load(uri), snapshot_seconds=snapshot_seconds)
        try:
            await repository._read_attributes()
        except BaseException:
            await repository.close()
            raise
        return repository

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Snapshot]:
        """Read one state of the registry."""
        async with open_snapshot(self, self._snapshot_seconds) as snapshot:
            yield snapshot

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
        """Give up all connections."""
        await self.engine.dispose()

    async def _read_attributes(self) -> None:
        """Learn from the registry what it is: managers, universe, tables."""
        table = sa.table("butler_attributes", sa.column("name"), sa.column("value"), schema=self.config.namespace)
        async with self.snapshot() as snapshot:
            attributes = {name: value for name, value in await snapshot.rows(sa.select(table.c.name, table.c.value))}
        if _UNIVERSE not in attributes:
            raise UnsupportedRepositoryError("The registry does not hold a dimension universe; it cannot be read.")
        self.managers = Managers(attributes)
        self.universe = Universe.from_json(attributes[_UNIVERSE])
        self.tables = Tables(self.universe, self.dialect, self.managers.layout, self.config.namespace)
