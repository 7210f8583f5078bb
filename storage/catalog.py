"""What a database says of itself when a repository is opened: its tables, its version, and what may be done with it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from butlerql.storage.config import RepositoryConfig
from butlerql.storage.drivers import has_right
from butlerql.storage.errors import ConnectionFailedError, NotARepositoryError, UnsupportedRepositoryError
from butlerql.storage.snapshot import Snapshot

__all__ = ["Catalog", "read_catalog"]

_DATABASE = sa.text(
    """
    SELECT current_setting('server_version') AS version, current_database() AS database,
        coalesce(:namespace, current_schema()) AS namespace,
        to_regnamespace(quote_ident(coalesce(:namespace, current_schema()))) AS found,
        EXISTS (SELECT FROM pg_extension WHERE extname = 'btree_gist') AS has_btree_gist,
        pg_is_in_recovery() AS is_standby
    """
).bindparams(sa.bindparam("namespace", type_=sa.Text()))
_TABLES = sa.text(
    """
    SELECT relname, usable AND has_table_privilege(c.oid, 'SELECT'),
        usable AND has_table_privilege(c.oid, 'INSERT')
            AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE')
    FROM pg_class AS c, has_schema_privilege(c.relnamespace, 'USAGE') AS usable
    WHERE relnamespace = to_regnamespace(quote_ident(:namespace)) AND relkind IN ('r', 'p', 'v', 'm', 'f')
    """
).bindparams(sa.bindparam("namespace", type_=sa.Text()))


@dataclass(frozen=True)
class Catalog:
    """What was found in a database."""

    server: str
    """Name and version of the database's program."""

    namespace: str | None
    """Schema that the tables are in; None on SQLite, which has none."""

    tables: frozenset[str]

    unreadable: frozenset[str]
    """Tables that we may not read."""

    unwritable: frozenset[str]
    """Tables that we may not write to."""

    obstacles: tuple[str, ...]
    """Why we could not write to any, each a part of a sentence."""

    def write_obstacles(self, tables: Iterable[str]) -> tuple[str, ...]:
        """Why we could not write to these tables, each a part of a sentence; there may be others beside them."""
        refused = sorted(self.unwritable.intersection(tables))
        return (*self.obstacles, f"its user may not write to {_named(refused)}") if refused else self.obstacles

    def require(self, tables: Iterable[str]) -> None:
        """Make sure that tables are there and may be read.

        Raises
        ------
        UnsupportedRepositoryError
            Raised if one is missing.
        ConnectionFailedError
            Raised if one may not be read.
        """
        wanted = set(tables)
        if missing := sorted(wanted - self.tables):
            raise UnsupportedRepositoryError(
                f"The registry lacks {_named(missing)}, which belongs to its universe or its managers."
            )
        if refused := sorted(wanted & self.unreadable):
            raise ConnectionFailedError(f"The database does not let its user read {_named(refused)}. Grant it SELECT.")


async def read_catalog(snapshot: Snapshot, config: RepositoryConfig) -> Catalog:
    """Ask a database what it is.

    Raises
    ------
    NotARepositoryError
        Raised if it has no tables of a registry.
    UnsupportedRepositoryError
        Raised if it lacks an extension that registries need.
    """
    if snapshot.repository.dialect.name == "sqlite":
        catalog = await _read_sqlite(snapshot, sa.make_url(config.registry_url).database or "")
    else:
        catalog = await _read_postgresql(snapshot, config.namespace)
    if "butler_attributes" not in catalog.tables:
        place = "" if catalog.namespace is None else f" in the schema '{catalog.namespace}' of its database"
        raise NotARepositoryError(
            f"There is no registry of '{config.name}'{place}: the table 'butler_attributes' is missing."
        )
    return catalog


async def _read_sqlite(snapshot: Snapshot, path: str) -> Catalog:
    [(version,)] = await snapshot.rows(sa.select(sa.func.sqlite_version()))
    found = await snapshot.rows(sa.text("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"))
    refused = [place for place in (path, os.path.dirname(path)) if not has_right(place, os.W_OK)]
    obstacles = tuple(f"this user may not write to {place}" for place in refused)
    tables = frozenset(name for (name,) in found)
    return Catalog(f"SQLite {version}", None, tables, frozenset(), frozenset(), obstacles)


async def _read_postgresql(snapshot: Snapshot, namespace: str | None) -> Catalog:
    [database] = await snapshot.rows(_DATABASE, {"namespace": namespace})
    if database.found is None:
        schema = "that its user may use" if database.namespace is None else f"'{database.namespace}'"
        raise NotARepositoryError(
            f"The database '{database.database}' has no schema {schema}. "
            "Give the one that holds the registry in the configuration: `registry.namespace`."
        )
    if not database.has_btree_gist:
        raise UnsupportedRepositoryError(
            f"The database '{database.database}' lacks the extension btree_gist, without which no Butler opens it. "
            "Have its administrator run CREATE EXTENSION btree_gist."
        )
    found = await snapshot.rows(_TABLES, {"namespace": database.namespace})
    return Catalog(
        f"PostgreSQL {database.version}",
        database.namespace,
        frozenset(name for name, *_ in found),
        frozenset(name for name, may_read, _ in found if not may_read),
        frozenset(name for name, _, may_write in found if not may_write),
        ("the PostgreSQL server is a standby",) if database.is_standby else (),
    )


def _named(tables: list[str]) -> str:
    """Name some tables, the first by name and the others by number."""
    more = f" and {len(tables) - 1} more" if len(tables) > 1 else ""
    return f"the table '{tables[0]}'{more}"
