"""Another database of SQLite that is attached to a snapshot."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from butlerql.storage.errors import TimedOutError
from butlerql.storage.repository import Repository
from tests.support.repositories import Layout, RealRepository, Repositories
from tests.support.small import SMALL

THINGS = sa.select(sa.table("thing", sa.column("name"), schema="other").c.name)


@pytest.fixture(scope="module")
def real(repositories: Repositories) -> RealRepository:
    return repositories.shared(SMALL, Layout("sqlite"))


@pytest.fixture
def other(tmp_path: Path) -> Iterator[tuple[str, sqlite3.Connection]]:
    """Give a database in a file with a name that has to be quoted, and a connection to it."""
    path = str(tmp_path / "ot'her?a=b#%41 c.sqlite3")
    with closing(sqlite3.connect(path, isolation_level=None)) as link:
        link.execute("CREATE TABLE thing (name)")
        link.execute("INSERT INTO thing VALUES ('one')")
        yield path, link


async def test_it_is_read_together_with_the_registry(
    real: RealRepository, other: tuple[str, sqlite3.Connection]
) -> None:
    """It stays as it is until the snapshot ends; the next one sees what was written."""
    path, link = other
    link.execute("PRAGMA busy_timeout = 0")
    repository = await Repository.open(real.uri)
    for name in ("one", "two"):
        async with repository.snapshot() as snapshot:
            for _ in range(2):
                await snapshot.attach(path, "other")
            assert await snapshot.rows(THINGS) == [(name,)]
            both = sa.select(repository.tables.collection.c.name).where(sa.exists(THINGS))
            assert await snapshot.rows(both) == [("run",)]
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                link.execute("UPDATE thing SET name = 'three'")
        link.execute("UPDATE thing SET name = 'two'")
    await repository.close()


async def test_it_waits_for_who_writes(real: RealRepository, other: tuple[str, sqlite3.Connection]) -> None:
    path, link = other
    repository = await Repository.open(real.uri)
    link.execute("BEGIN EXCLUSIVE")
    async with repository.snapshot() as snapshot:
        attaching = asyncio.create_task(snapshot.attach(path, "other"))
        await asyncio.sleep(0.4)
        assert not attaching.done()
        link.execute("COMMIT")
        await attaching
        assert await snapshot.rows(THINGS) == [("one",)]
    link.execute("BEGIN EXCLUSIVE")
    with pytest.raises(TimedOutError):
        async with repository.snapshot(0.4) as snapshot:
            await snapshot.attach(path, "other")
    link.execute("COMMIT")
    await repository.close()
