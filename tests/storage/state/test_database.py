"""The own state: made when first needed and not before, found where it was left, and told apart from all else."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.errors import BusyError, InvalidConfigError, StateUnavailableError, StateVersionError
from butlerql.storage.provenance import tables as _of_provenance  # noqa: F401 - so that they are known
from butlerql.storage.repository import Repository
from butlerql.storage.state.migrating import configuration
from butlerql.storage.state.tables import CHECKSUM, METADATA, NOW, REVISIONS
from tests.support.raw_sql import execute
from tests.support.repositories import Dialect, Layout, RealRepository, Repositories
from tests.support.rights import may_not_write
from tests.support.small import SMALL


@pytest.fixture
def real(repositories: Repositories, dialect: Dialect) -> Iterator[RealRepository]:
    with repositories.private(SMALL, Layout(dialect)) as made:
        yield made


@pytest.fixture
def on_sqlite(repositories: Repositories) -> Iterator[RealRepository]:
    with repositories.private(SMALL, Layout("sqlite")) as made:
        yield made


@pytest.fixture
def on_postgresql(repositories: Repositories) -> Iterator[RealRepository]:
    with repositories.private(SMALL, Layout("postgresql")) as made:
        yield made


@asynccontextmanager
async def opened(real: RealRepository, state: str | None = None) -> AsyncIterator[Repository]:
    repository = await Repository.open(real.uri, state=state)
    try:
        yield repository
    finally:
        await repository.close()


def own_file(real: RealRepository) -> Path:
    return real.directory / "butlerql.sqlite3"


def is_there(real: RealRepository) -> bool:
    if real.server is None or real.database is None:
        return own_file(real).exists()
    with real.server.connect(real.database) as link, link.cursor() as cursor:
        cursor.execute("SELECT FROM pg_namespace WHERE nspname = 'butlerql'")
        return bool(cursor.rowcount)


def change_state(real: RealRepository, statement: str) -> None:
    """Run a statement on the state, behind our back; tables are named with `butlerql.` before them."""
    if real.dialect == "postgresql":
        execute(real, statement)
        return
    with closing(sqlite3.connect(own_file(real))) as link, link:
        link.execute(statement.replace("butlerql.", ""))


async def note(connection: AsyncConnection, path: str = "a") -> None:
    await connection.execute(
        sa.insert(CHECKSUM).values(
            datastore="d",
            path=path,
            owner="o",
            size=1,
            identity="i",
            algorithm="blake2b",
            checksum="c",
            verified_at=NOW,
        )
    )


async def paths(connection: AsyncConnection) -> list[str]:
    return list(await connection.scalars(sa.select(CHECKSUM.c.path).order_by(CHECKSUM.c.path)))


async def test_it_is_made_by_the_first_who_writes(real: RealRepository) -> None:
    async with opened(real) as repository:
        await repository.ready()
        assert await repository.state.revision() is None
        assert await repository.state.read(paths, absent=["nothing"]) == ["nothing"]
        assert not is_there(real)
        await repository.state.write(note)
        assert is_there(real)
        assert await repository.state.revision() == REVISIONS[-1]
    async with opened(real) as repository:
        assert await repository.state.read(paths, absent=["nothing"]) == ["a"]
    # The Butler does not mind.
    assert len(real.open().query_datasets("flat", collections="run")) == 3


async def test_many_who_are_first_make_it_once(real: RealRepository) -> None:
    async with opened(real) as one, opened(real) as other:
        states = [one.state, other.state] * 5

        async def write(number: int, repository: Any) -> None:
            await repository.write(lambda connection: note(connection, str(number)))

        await asyncio.gather(*(write(number, state) for number, state in enumerate(states)))
        assert await one.state.read(paths, absent=[]) == [str(number) for number in range(10)]


async def test_the_migrations_make_what_the_tables_say(real: RealRepository) -> None:
    async with opened(real) as repository:
        assert await repository.state.upgrade() == (None, REVISIONS[-1])
        assert await repository.state.upgrade() == (REVISIONS[-1], REVISIONS[-1])

        def differences(connection: sa.Connection) -> Any:
            context = MigrationContext.configure(
                connection, opts={"compare_type": True, "compare_server_default": True}
            )
            return compare_metadata(context, METADATA)

        async def compare(connection: AsyncConnection) -> Any:
            return await connection.run_sync(differences)

        assert await repository.state.read(compare, absent=None) == []

        async def spoil(connection: AsyncConnection) -> None:
            await connection.exec_driver_sql("ALTER TABLE job ADD COLUMN odd TEXT")
            await connection.exec_driver_sql("DROP INDEX finding_by_kind")

        await repository.state.write(spoil)
        found = await repository.state.read(compare, absent=None)
        assert sorted(difference[0] for difference in found) == ["add_index", "remove_column"]


def test_the_revisions_are_those_of_the_migrations() -> None:
    scripts = ScriptDirectory.from_config(configuration())
    assert tuple(reversed([script.revision for script in scripts.walk_revisions()])) == REVISIONS


async def test_an_earlier_or_newer_state_is_refused_with_the_way_out(real: RealRepository) -> None:
    async with opened(real) as repository:
        await repository.state.write(note)
        change_state(real, "UPDATE butlerql.alembic_version SET version_num = '9999'")
        for ask in (
            repository.state.read(paths, absent=[]),
            repository.state.write(note),
            repository.state.upgrade(),
        ):
            with pytest.raises(StateVersionError, match="newer ButlerQL"):
                await ask


async def test_an_earlier_state_is_brought_up_to_date(real: RealRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(real) as repository:
        await repository.state.write(note)
        # What a later program finds.
        monkeypatch.setattr("butlerql.storage.state.database.REVISIONS", (*REVISIONS, "later"))
        for ask in (repository.state.read(paths, absent=[]), repository.state.write(note)):
            with pytest.raises(StateVersionError, match="butlerql state upgrade"):
                await ask
        assert await repository.state.upgrade() == (REVISIONS[-1], "later")


async def test_a_transaction_that_fails_leaves_nothing(real: RealRepository) -> None:
    async def fail(connection: AsyncConnection) -> None:
        await note(connection, "b")
        raise KeyError("a fault")

    async with opened(real) as repository:
        await repository.state.write(note)
        with pytest.raises(KeyError):
            await repository.state.write(fail)
        with pytest.raises(sa.exc.IntegrityError):
            await repository.state.write(note)
        assert await repository.state.read(paths, absent=[]) == ["a"]


async def test_a_transaction_ends_although_nobody_waits_for_it(real: RealRepository) -> None:
    entered = asyncio.Event()

    async def slow(connection: AsyncConnection) -> None:
        entered.set()
        await asyncio.sleep(0.05)
        await note(connection)

    async with opened(real) as repository:
        writing = asyncio.create_task(repository.state.write(slow))
        await entered.wait()
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
    async with opened(real) as repository:
        assert await repository.state.read(paths, absent=[]) == ["a"]


async def test_the_clock_is_the_databases_and_goes_on(real: RealRepository) -> None:
    async def look(connection: AsyncConnection) -> tuple[int, int]:
        first = await connection.scalar(sa.select(NOW))
        await asyncio.sleep(0.02)
        return first, await connection.scalar(sa.select(NOW))

    async with opened(real) as repository:
        await repository.state.upgrade()
        now = time.time()
        first, second = await repository.state.read(look, absent=(0, 0))
        assert 10_000 < second - first < 5_000_000
        assert abs(first / 1e6 - now) < 5


async def test_who_writes_waits_for_another_and_is_told_in_the_end(
    on_sqlite: RealRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("butlerql.storage.writing.BUSY_SECONDS", 0.05)
    monkeypatch.setattr("butlerql.storage.state.database._RETRY_SECONDS", 0.3)
    async with opened(on_sqlite) as repository:
        await repository.state.write(note)
        with closing(sqlite3.connect(own_file(on_sqlite), isolation_level=None)) as link:
            link.execute("BEGIN IMMEDIATE")
            with pytest.raises(BusyError, match="own state"):
                await repository.state.write(lambda connection: note(connection, "b"))
            writing = asyncio.create_task(repository.state.write(lambda connection: note(connection, "c")))
            await asyncio.sleep(0.1)
            link.execute("COMMIT")
            await writing
        assert await repository.state.read(paths, absent=[]) == ["a", "c"]


async def test_a_repository_that_may_not_be_written_to_is_served_without(on_sqlite: RealRepository) -> None:
    with may_not_write(on_sqlite.directory):
        async with opened(on_sqlite) as repository:
            await repository.ready()
            assert await repository.state.read(paths, absent=[]) == []
            with pytest.raises(StateUnavailableError, match="cannot be made: Permission denied"):
                await repository.state.write(note)
    assert not is_there(on_sqlite)


async def test_a_state_that_may_not_be_written_to_is_read(on_sqlite: RealRepository) -> None:
    async with opened(on_sqlite) as repository:
        await repository.state.write(note)
    with may_not_write(on_sqlite.directory, own_file(on_sqlite)):
        async with opened(on_sqlite) as repository:
            assert await repository.state.read(paths, absent=[]) == ["a"]
            with pytest.raises(StateUnavailableError, match="readonly"):
                await repository.state.write(note)


async def test_without_the_right_to_make_a_schema_the_message_says_so(on_postgresql: RealRepository) -> None:
    execute(
        on_postgresql,
        "DROP ROLE IF EXISTS reader",
        "CREATE ROLE reader LOGIN",
        "GRANT USAGE ON SCHEMA public TO reader",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader",
    )
    assert on_postgresql.server is not None and on_postgresql.database is not None
    url = on_postgresql.server.url(on_postgresql.database, user="reader")
    on_postgresql.rewrite_config(lambda config: config["registry"].update(db=url))
    async with opened(on_postgresql) as repository:
        assert await repository.state.read(paths, absent=[]) == []
        with pytest.raises(StateUnavailableError, match="permission denied for database"):
            await repository.state.write(note)
        execute(on_postgresql, "CREATE SCHEMA butlerql AUTHORIZATION reader")
        await repository.state.write(note)
        assert await repository.state.read(paths, absent=[]) == ["a"]
    execute(on_postgresql, "DROP OWNED BY reader", "DROP ROLE reader")


async def test_it_can_be_elsewhere(real: RealRepository, tmp_path: Path) -> None:
    place = str(tmp_path / "{name}.sqlite3")
    async with opened(real, place) as repository:
        await repository.state.write(note)
    assert not is_there(real)
    assert (tmp_path / f"{real.directory.name}.sqlite3").exists()
    async with opened(real, place) as repository:
        assert await repository.state.read(paths, absent=[]) == ["a"]
    missing = str(tmp_path / "nowhere" / "state.sqlite3")
    async with opened(real, missing) as repository:
        assert await repository.state.read(paths, absent=[]) == []
        with pytest.raises(StateUnavailableError, match="No such file or directory"):
            await repository.state.write(note)


async def test_a_registry_on_sqlite_can_have_it_on_postgresql(
    on_sqlite: RealRepository, on_postgresql: RealRepository
) -> None:
    assert on_postgresql.server is not None and on_postgresql.database is not None
    url = on_postgresql.server.url(on_postgresql.database)
    async with opened(on_sqlite, url) as repository:
        await repository.state.write(note)
        assert await repository.state.read(paths, absent=[]) == ["a"]
    assert not is_there(on_sqlite)
    # What is another's is nobody else's.
    async with opened(on_postgresql, url) as repository:
        with pytest.raises(StateUnavailableError, match="belongs to the registry"):
            await repository.state.write(note)


async def test_two_registries_in_one_directory_do_not_share_it(on_sqlite: RealRepository, tmp_path: Path) -> None:
    async with opened(on_sqlite) as repository:
        await repository.state.write(note)
    on_sqlite.sqlite_file.rename(on_sqlite.directory / "other.sqlite3")
    on_sqlite.rewrite_config(lambda config: config["registry"].update(db="sqlite:///<butlerRoot>/other.sqlite3"))
    async with opened(on_sqlite) as repository:
        with pytest.raises(StateUnavailableError, match=r"belongs to the registry 'gen3\.sqlite3'"):
            await repository.state.read(paths, absent=[])


async def test_registries_in_two_schemas_have_their_own(repositories: Repositories) -> None:
    with repositories.private(SMALL, Layout("postgresql", namespace="first")) as real:
        async with opened(real) as repository:
            assert repository.state.place.schema == "butlerql_first"
            await repository.state.write(note)
            assert await repository.state.read(paths, absent=[]) == ["a"]


async def test_it_moves_with_its_repository(on_sqlite: RealRepository) -> None:
    async with opened(on_sqlite) as repository:
        await repository.state.write(note)
    moved = on_sqlite.directory.with_name("moved")
    on_sqlite.directory.rename(moved)
    try:
        repository = await Repository.open(str(moved))
        assert await repository.state.read(paths, absent=[]) == ["a"]
        await repository.close()
    finally:
        moved.rename(on_sqlite.directory)


async def test_what_is_not_ours_is_left_alone(on_sqlite: RealRepository) -> None:
    with closing(sqlite3.connect(own_file(on_sqlite))) as link:
        link.execute("CREATE TABLE precious (x)")
    async with opened(on_sqlite) as repository:
        for ask in (repository.state.write(note), repository.state.upgrade(), repository.state.read(paths, absent=[])):
            with pytest.raises(StateUnavailableError, match="'precious'"):
                await ask
    own_file(on_sqlite).write_bytes(b"no database at all, but long enough to be read as one" * 100)
    async with opened(on_sqlite) as repository:
        for ask in (repository.state.write(note), repository.state.read(paths, absent=[])):
            with pytest.raises(StateUnavailableError, match="not a database"):
                await ask


@pytest.mark.parametrize("setting", ["mysql://somewhere/state", "s3://bucket/state.sqlite3", "://"])
async def test_a_place_that_cannot_be_is_refused_at_the_start(on_sqlite: RealRepository, setting: str) -> None:
    with pytest.raises(InvalidConfigError, match="`state`"):
        await Repository.open(on_sqlite.uri, state=setting)


async def test_a_server_that_does_not_answer_is_told(on_sqlite: RealRepository) -> None:
    async with opened(on_sqlite, "postgresql://nobody:secret@127.0.0.1:1/state") as repository:
        for ask in (repository.state.write(note), repository.state.read(paths, absent=[])):
            with pytest.raises(StateUnavailableError, match=r"127\.0\.0\.1:1") as caught:
                await ask
            assert "secret" not in str(caught.value)


async def test_a_connection_that_is_lost_before_the_commit_is_tried_again(on_postgresql: RealRepository) -> None:
    tries = []

    async def lose(connection: AsyncConnection) -> None:
        tries.append(await connection.scalar(sa.text("SELECT pg_backend_pid()")))
        await note(connection, str(len(tries)))
        if len(tries) == 1:
            await asyncio.to_thread(execute, on_postgresql, f"SELECT pg_terminate_backend({tries[0]})")
            await note(connection, "never")

    async with opened(on_postgresql) as repository:
        await repository.state.upgrade()
        await repository.state.write(lose)
        assert len(set(tries)) == 2
        assert await repository.state.read(paths, absent=[]) == ["2"]


async def test_a_connection_that_is_lost_in_the_commit_is_told_and_nothing_is_done_twice(
    on_postgresql: RealRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can tell whether the server had committed; here it had."""
    async with opened(on_postgresql) as repository:
        await repository.state.upgrade()
        driver = repository.state._driver
        commit = driver.commit

        async def lose(link: Any) -> None:
            await commit(link)
            raise ConnectionResetError

        monkeypatch.setattr(driver, "commit", lose)
        with pytest.raises(StateUnavailableError, match="ask whether it was"):
            await repository.state.write(note)
        monkeypatch.undo()
        assert await repository.state.read(paths, absent=[]) == ["a"]
