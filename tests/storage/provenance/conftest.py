"""A state for provenance, on each database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from butlerql.storage.state.database import State
from butlerql.storage.state.place import StatePlace
from tests.support.repositories import Dialect


@pytest.fixture(scope="module")
def place(
    dialect: Dialect, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[StatePlace]:
    if dialect == "sqlite":
        yield StatePlace(f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('state')}/butlerql.sqlite3", None, "registry")
        return
    server = request.getfixturevalue("postgres")
    database = server.create_database()
    yield StatePlace(server.url(database).replace("psycopg2", "asyncpg"), "butlerql", "registry")
    server.drop_database(database)


@pytest.fixture(scope="module")
async def state(place: StatePlace) -> AsyncIterator[State]:
    """Give a state; `emptied` forgets what other tests left in it."""
    opened = State(place, "tested")
    await opened.upgrade()
    yield opened
    await opened.close()
