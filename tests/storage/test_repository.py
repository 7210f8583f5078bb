"""Repositories of every kind open, and what cannot be opened is refused in one clear line without secrets."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from butlerql.storage.errors import (
    ConnectionFailedError,
    NotARepositoryError,
    RepositoryError,
    UnsupportedRepositoryError,
)
from butlerql.storage.repository import Repository
from tests.conftest import EVERY_LAYOUT
from tests.support.postgres import SUPERUSER, Server
from tests.support.raw_sql import execute
from tests.support.repositories import Dialect, Layout, RealRepository, Repositories
from tests.support.rights import may_not_write
from tests.support.small import DATASETS, SMALL
from tests.support.universes import UNIVERSE_VERSIONS


@pytest.fixture
def private(repositories: Repositories, dialect: Dialect) -> Iterator[RealRepository]:
    with repositories.private(SMALL, Layout(dialect)) as real:
        yield real


@pytest.fixture
def on_sqlite(repositories: Repositories) -> Iterator[RealRepository]:
    with repositories.private(SMALL, Layout("sqlite")) as real:
        yield real


@pytest.fixture
def on_postgresql(repositories: Repositories) -> Iterator[RealRepository]:
    with repositories.private(SMALL, Layout("postgresql")) as real:
        yield real


@asynccontextmanager
async def opened(real: RealRepository | Path) -> AsyncIterator[Repository]:
    repository = await Repository.open(str(real) if isinstance(real, Path) else real.uri)
    try:
        yield repository
    finally:
        await repository.close()


async def count(repository: Repository) -> int:
    async with repository.snapshot() as snapshot:
        [(number,)] = await snapshot.rows(sa.select(sa.func.count()).select_from(repository.tables.dataset))
        return int(number)


async def refused(real: RealRepository, kind: type[RepositoryError], says: str) -> None:
    """Check that opening fails with this error, whose one line holds no secret and none of SQLAlchemy's text."""
    with pytest.raises(kind, match=says) as caught:
        await Repository.open(real.uri)
    assert type(caught.value) is kind
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".")
    for word in ("sesame", "sqlalche", "asyncpg", "<class", "postgresql://", "SELECT "):
        assert word not in message


def use_database(real: RealRepository, url: str, **registry: Any) -> None:
    real.rewrite_config(lambda config: config["registry"].update(db=url, **registry))


@pytest.mark.parametrize("layout", EVERY_LAYOUT, ids=str)
async def test_every_layout(repositories: Repositories, layout: Layout) -> None:
    real = repositories.shared(SMALL, layout)
    async with opened(real) as repository:
        await repository.ready()
        assert await count(repository) == DATASETS
        assert repository.server.startswith({"sqlite": "SQLite 3.", "postgresql": "PostgreSQL 1"}[layout.dialect])
        assert repository.namespace == (None if layout.dialect == "sqlite" else layout.namespace or "public")
        assert repository.universe.version == real.butler.dimensions.version
        assert repository.read_only and repository.write_obstacles == ()
        assert repository.managers.versions["datasets"] == layout.datasets
        assert repository.managers.classes["collections"].lower().startswith(layout.collections.lower())


@pytest.mark.parametrize("version", UNIVERSE_VERSIONS)
async def test_every_universe(repositories: Repositories, dialect: Dialect, version: int) -> None:
    async with opened(repositories.shared(SMALL, Layout(dialect, universe=version))) as repository:
        assert repository.universe.version == version
        assert await count(repository) == DATASETS


@pytest.mark.parametrize(
    "name", ["a b", "100%", "a#b", "a?b=c", "a&b", "žluťoučký 💫", "it's", 'a"b', "a\\b", "a:b@c", "file:a"]
)
async def test_odd_paths(on_sqlite: RealRepository, tmp_path: Path, name: str) -> None:
    # The neighbours that a path would become if it were decoded, or cut.
    for neighbour in ("a", "a b"):
        (tmp_path / neighbour).mkdir()
        sqlite3.connect(tmp_path / neighbour / "gen3.sqlite3").close()
    shutil.copytree(on_sqlite.directory, tmp_path / name, dirs_exist_ok=True)
    # In the last component the Butler would take # for the begin of a fragment.
    async with opened(tmp_path / name / "butler.yaml") as repository:
        assert await count(repository) == DATASETS
        assert repository.root == str(tmp_path / name)


async def test_what_may_only_be_read(on_sqlite: RealRepository) -> None:
    with may_not_write(on_sqlite.sqlite_file):
        async with opened(on_sqlite) as repository:
            assert await count(repository) == DATASETS
            assert f"this user may not write to {on_sqlite.sqlite_file}" in repository.write_obstacles
    with may_not_write(on_sqlite.directory):
        async with opened(on_sqlite) as repository:
            assert await count(repository) == DATASETS
            assert f"this user may not write to {on_sqlite.directory}" in repository.write_obstacles


async def test_wal_mode_needs_a_directory_to_write_to(on_sqlite: RealRepository) -> None:
    with closing(sqlite3.connect(on_sqlite.sqlite_file)) as link:
        link.execute("PRAGMA journal_mode = WAL")
    with may_not_write(on_sqlite.directory):
        await refused(on_sqlite, ConnectionFailedError, "in WAL mode, and then this user needs write access")
    async with opened(on_sqlite) as repository:
        assert await count(repository) == DATASETS


async def test_no_such_path(tmp_path: Path) -> None:
    with pytest.raises(NotARepositoryError, match="is no Butler repository"):
        await Repository.open(str(tmp_path / "nowhere"))


def _remove(file: Path) -> None:
    file.unlink()


def _empty(file: Path) -> None:
    file.write_bytes(b"")


def _overwrite(file: Path) -> None:
    file.write_bytes(b"This is not a database. " * 100)


def _make_directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_remove, "gen3.sqlite3 does not exist"),
        (_empty, "the table 'butler_attributes' is missing"),
        (_overwrite, "gen3.sqlite3: file is not a database"),
        (_make_directory, "gen3.sqlite3 is no file"),
    ],
)
async def test_no_database(on_sqlite: RealRepository, spoil: Callable[[Path], None], says: str) -> None:
    spoil(on_sqlite.sqlite_file)
    await refused(on_sqlite, NotARepositoryError, says)
    with pytest.raises(Exception):  # noqa: B017, PT011 - of whatever kind
        on_sqlite.open()


async def test_a_file_that_may_not_be_read(on_sqlite: RealRepository) -> None:
    on_sqlite.sqlite_file.chmod(0)
    with may_not_write(on_sqlite.directory / "butler.yaml"):
        await refused(on_sqlite, ConnectionFailedError, "gen3.sqlite3 may not be read by this user")


MANAGERS = "config:registry.managers."
OPAQUE = "lsst.daf.butler.registry.opaque.ByNameOpaqueTableStorageManager"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (f"UPDATE {{t}} SET value = 'elsewhere.Other' WHERE name = '{MANAGERS}opaque'", "'Other' for its opaque"),
        (
            f"UPDATE {{t}} SET value = 'x.ByDimensionsDatasetRecordStorageManager' WHERE name = '{MANAGERS}datasets'",
            "'ByDimensionsDatasetRecordStorageManager' for its datasets, which is not known here",
        ),
        (
            f"UPDATE {{t}} SET value = '0.3.0' WHERE name = 'version:{OPAQUE}'",
            r"of version 0\.3\.0; this program reads 0\.2",
        ),
        (f"UPDATE {{t}} SET value = '1.2.0' WHERE name = 'version:{OPAQUE}'", r"of version 1\.2\.0; .* newer ButlerQL"),
        (f"UPDATE {{t}} SET value = 'new' WHERE name = 'version:{OPAQUE}'", "'new'"),
        (f"DELETE FROM {{t}} WHERE name = '{MANAGERS}datasets'", "which managers it was made with .*datasets"),
        ("DELETE FROM {t} WHERE name = 'config:dimensions.json'", "does not hold a dimension universe"),
        ("UPDATE {t} SET value = '[' WHERE name = 'config:dimensions.json'", "universe"),
        ("UPDATE {t} SET value = '{{}}' WHERE name = 'config:dimensions.json'", "universe"),
        ("DROP TABLE collection_chain", "lacks the table 'collection_chain', which"),
        ("DROP TABLE dataset_location", "lacks the table 'dataset_location', which"),
        ("DROP TABLE visit_definition", "lacks the table 'visit_definition', which"),
    ],
)
async def test_unsupported(private: RealRepository, change: str, says: str) -> None:
    execute(private, change.format(t="butler_attributes"))
    await refused(private, UnsupportedRepositoryError, says)
    if not change.startswith("DROP"):  # The real Butler stumbles over a missing table later.
        with pytest.raises(Exception):  # noqa: B017, PT011 - of whatever kind
            private.open()


async def test_a_universe_of_the_future(private: RealRepository) -> None:
    universe = json.dumps({**private.butler.dimensions.dimensionConfig.toDict(), "version": 9}).replace("'", "''")
    private.close()
    execute(private, f"UPDATE butler_attributes SET value = '{universe}' WHERE name = 'config:dimensions.json'")
    await refused(private, UnsupportedRepositoryError, "universe 9")


async def test_an_older_minor_version_is_read_but_not_written(private: RealRepository) -> None:
    execute(private, f"UPDATE butler_attributes SET value = '0.1.7' WHERE name = 'version:{OPAQUE}'")
    async with opened(private) as repository:
        assert await count(repository) == DATASETS
        [obstacle] = repository.write_obstacles
        assert "'opaque' is of version 0.1.7" in obstacle
    assert len(private.butler.query_datasets("flat", "run")) == DATASETS
    with pytest.raises(Exception, match="version"):
        private.open(writeable=True)


async def test_an_obscore_table_is_an_obstacle_to_writing(private: RealRepository) -> None:
    path = "lsst.daf.butler.registry.obscore.ObsCoreLiveTableManager"
    execute(
        private,
        f"INSERT INTO butler_attributes VALUES ('{MANAGERS}obscore', '{path}')",
        f"INSERT INTO butler_attributes VALUES ('version:{path}', '0.0.1')",
    )
    async with opened(private) as repository:
        assert await count(repository) == DATASETS
        assert repository.write_obstacles == ("its obscore table would have to be kept up with every change",)


async def test_no_registry_in_the_database(on_postgresql: RealRepository, postgres: Server) -> None:
    name = postgres.create_database()
    use_database(on_postgresql, postgres.url(name))
    await refused(on_postgresql, NotARepositoryError, "in the schema 'public' of its database")
    postgres.drop_database(name)


async def test_a_missing_schema(on_postgresql: RealRepository) -> None:
    on_postgresql.rewrite_config(lambda config: config["registry"].update(namespace="Nowhere; --"))
    await refused(on_postgresql, NotARepositoryError, "has no schema 'Nowhere; --'")
    execute(on_postgresql, 'CREATE SCHEMA "Nowhere; --"')
    await refused(on_postgresql, NotARepositoryError, "in the schema 'Nowhere; --'")


async def test_a_missing_database(on_postgresql: RealRepository, postgres: Server) -> None:
    use_database(on_postgresql, postgres.url("no such"))
    await refused(on_postgresql, NotARepositoryError, 'database "no such" does not exist')


async def test_a_missing_extension(on_postgresql: RealRepository) -> None:
    execute(on_postgresql, "DROP EXTENSION btree_gist CASCADE")
    await refused(on_postgresql, UnsupportedRepositoryError, "lacks the extension btree_gist")
    with pytest.raises(RuntimeError, match="btree_gist"):
        on_postgresql.open()


async def test_a_server_that_is_not_there(on_postgresql: RealRepository) -> None:
    use_database(on_postgresql, "postgresql://user:sesame@127.0.0.1:1/db")
    await refused(on_postgresql, ConnectionFailedError, r"no PostgreSQL server answers at 127\.0\.0\.1:1")


async def test_credentials(
    on_postgresql: RealRepository, postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = on_postgresql.database
    assert database is not None
    use_database(on_postgresql, postgres.guarded_url(database, "wrong sesame"))
    await refused(on_postgresql, ConnectionFailedError, 'password authentication failed for user "guarded"')
    use_database(on_postgresql, postgres.guarded_url(database))
    await refused(on_postgresql, ConnectionFailedError, "password")
    file = tmp_path / "db-auth.yaml"
    file.write_text(f"- url: postgresql://127.0.0.1:{postgres.port}/*\n  username: guarded\n  password: open sesame\n")
    file.chmod(0o600)
    monkeypatch.setenv("LSST_DB_AUTH", str(file))
    async with opened(on_postgresql) as repository:
        assert await count(repository) == DATASETS
        for shown in (repr(repository.config), repr(repository.engine), repr(repository)):
            assert "sesame" not in shown


async def test_what_a_role_may_do(on_postgresql: RealRepository, postgres: Server) -> None:
    database = on_postgresql.database
    assert database is not None
    execute(on_postgresql, "CREATE ROLE reader LOGIN")
    try:
        use_database(on_postgresql, postgres.url(database, user="reader"))
        await refused(on_postgresql, ConnectionFailedError, "does not let its user read the table 'butler_attributes'")
        execute(
            on_postgresql, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader", "REVOKE SELECT ON run FROM reader"
        )
        await refused(on_postgresql, ConnectionFailedError, r"read the table 'run'\. Grant it SELECT")
        execute(on_postgresql, "GRANT SELECT ON run TO reader", "GRANT INSERT ON run TO reader")
        async with opened(on_postgresql) as repository:
            assert await count(repository) == DATASETS
            [obstacle] = repository.write_obstacles
            assert obstacle.startswith("its user may not write to the table 'collection' and ")
        grant = "GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO reader"
        execute(on_postgresql, grant, "CREATE TABLE somebody_elses (a INT)")
        async with opened(on_postgresql) as repository:
            assert repository.write_obstacles == ()
        execute(on_postgresql, "REVOKE USAGE ON SCHEMA public FROM PUBLIC")
        await refused(on_postgresql, NotARepositoryError, "has no schema that its user may use")
        on_postgresql.rewrite_config(lambda config: config["registry"].update(namespace="public"))
        await refused(on_postgresql, ConnectionFailedError, "does not let its user read the table 'butler_attributes'")
    finally:
        execute(on_postgresql, "DROP OWNED BY reader", "DROP ROLE reader")


async def test_the_schema_is_the_first_on_the_path_as_for_the_butler(on_postgresql: RealRepository) -> None:
    """Without `registry.namespace` only the current schema counts, though PostgreSQL would look into others as well."""
    execute(on_postgresql, f"CREATE SCHEMA {SUPERUSER}")
    with pytest.raises(Exception):  # noqa: B017, PT011 - of whatever kind
        on_postgresql.open()
    await refused(on_postgresql, NotARepositoryError, f"in the schema '{SUPERUSER}' of its database")
