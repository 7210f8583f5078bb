"""A change is made wholly or not at all, waits for its turn, and is refused where nothing may be changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage import changes
from butlerql.storage.errors import BusyError, ConnectionFailedError, ReadOnlyError, TimedOutError, UncertainError
from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.repository import Repository
from butlerql.storage.state.audit import BEGUN, DONE, audited, find_entries
from butlerql.storage.state.database import Work
from butlerql.storage.state.descriptions import describe_dataset_type, descriptions_of_dataset_types
from tests.support.repositories import Dialect, Layout, RealRepository, Repositories
from tests.support.small import SMALL
from tests.support.writing_butler import writing_butler


@pytest.fixture
def real(repositories: Repositories, dialect: Dialect) -> Iterator[RealRepository]:
    with repositories.private(SMALL, Layout(dialect)) as made:
        yield made


@asynccontextmanager
async def opened(real: RealRepository, state: Path | None = None) -> AsyncIterator[Repository]:
    repository = await Repository.open(real.uri, writable=True, state=None if state is None else str(state))
    try:
        yield repository
    finally:
        await repository.close()


@pytest.fixture
async def repository(real: RealRepository) -> AsyncIterator[Repository]:
    async with opened(real) as repository:
        yield repository


def described(repository: Repository, doc: str) -> sa.Update:
    c = repository.tables.collection
    return sa.update(c).where(c.c.name == "run").values(doc=doc)


def doc_of(real: RealRepository) -> str | None:
    butler = real.open()
    return butler.registry.getCollectionDocumentation("run")


async def test_all_of_it_lasts(real: RealRepository, repository: Repository) -> None:
    async with repository.change() as change:
        assert await change.execute(described(repository, "new")) == 1
        # It sees what it wrote.
        [(doc,)] = await change.rows(
            sa.select(repository.tables.collection.c.doc).where(repository.tables.collection.c.name == "run")
        )
        assert doc == "new"
    assert doc_of(real) == "new"


async def test_nothing_of_it_lasts_where_the_block_raises(real: RealRepository, repository: Repository) -> None:
    async def work() -> None:
        async with repository.change() as change:
            await change.execute(described(repository, "new"))
            raise KeyError

    with pytest.raises(KeyError):
        await work()
    assert not doc_of(real)
    # The connection is as good as before.
    async with repository.change() as change:
        await change.execute(described(repository, "newer"))
    assert doc_of(real) == "newer"


async def test_a_statement_that_fails_takes_the_others_with_it(real: RealRepository, repository: Repository) -> None:
    async def work() -> None:
        async with repository.change() as change:
            await change.execute(described(repository, "new"))
            # There are no such collections: references are checked, on SQLite too.
            await change.execute(sa.insert(repository.tables.chain).values(parent=999, position=0, child=998))

    with pytest.raises(sa.exc.IntegrityError):
        await work()
    assert not doc_of(real)


async def test_one_that_is_cancelled_changes_nothing(real: RealRepository, repository: Repository) -> None:
    written = asyncio.Event()

    async def work() -> None:
        async with repository.change() as change:
            await change.execute(described(repository, "new"))
            written.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await written.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not doc_of(real)
    async with repository.change() as change:
        await change.execute(described(repository, "newer"))
    assert doc_of(real) == "newer"


async def test_it_waits_for_others_that_write(real: RealRepository, repository: Repository) -> None:
    async with writing_butler(real) as butler:

        async def work() -> None:
            async with repository.change() as change:
                await change.execute(described(repository, "new"))

        task = asyncio.create_task(work())
        await asyncio.sleep(0.3)
        # SQLite has one writer; on PostgreSQL they touch different rows.
        assert task.done() == (real.dialect == "postgresql")
        await butler.commit()
        await task
    assert doc_of(real) == "new"
    assert len(real.open().query_datasets("flat", collections="run")) == 13


async def test_many_changes_at_once_are_all_made(real: RealRepository, repository: Repository) -> None:
    c = repository.tables.collection.c

    async def add() -> None:
        async with repository.change() as change:
            await change.execute(
                sa.update(repository.tables.collection)
                .where(c.name == "run")
                .values(doc=sa.func.coalesce(c.doc, "") + "x")
            )

    await asyncio.gather(*(add() for _ in range(25)))
    assert doc_of(real) == "x" * 25


async def test_what_is_kept_of_an_earlier_state_is_not_shown(repository: Repository) -> None:
    from butlerql.storage.registry import collections

    for doc in ("one", "two"):
        async with repository.snapshot() as snapshot:
            before = (await collections.by_names(snapshot, ["run"]))["run"]
        async with repository.change() as change:
            await change.execute(described(repository, doc))
        async with repository.snapshot() as snapshot:
            assert (await collections.by_names(snapshot, ["run"]))["run"] == before._replace(doc=doc)


async def test_one_that_lasts_too_long_is_not_made(
    real: RealRepository, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "_SECONDS", 0.2)

    async def work() -> None:
        async with repository.change() as change:
            await change.execute(described(repository, "new"))
            await asyncio.sleep(0.5)

    with pytest.raises(TimedOutError):
        await work()
    assert not doc_of(real)


async def test_one_that_cannot_begin_says_so(
    real: RealRepository, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    if real.dialect == "postgresql":
        pytest.skip("there are many writers")
    monkeypatch.setattr(changes, "BUSY_SECONDS", 0.2)
    async with writing_butler(real) as butler:
        with pytest.raises(BusyError):
            async with repository.change() as change:
                await change.execute(described(repository, "new"))
        await butler.commit()


async def test_without_being_asked_for_nothing_can_be_changed(real: RealRepository) -> None:
    repository = await Repository.open(real.uri)
    assert repository.read_only
    with pytest.raises(ReadOnlyError, match="--writable"):
        async with repository.change():
            pass
    await repository.close()


async def test_what_speaks_against_it_is_said(real: RealRepository) -> None:
    repository = await Repository.open(real.uri, writable=True)
    assert not repository.read_only
    repository.write_obstacles = ("its obscore table would have to be kept up with every change",)
    assert repository.read_only
    with pytest.raises(ReadOnlyError, match="obscore"):
        async with repository.change():
            pass
    await repository.close()


async def make(repository: Repository, *more: Work[object], failing: str | None = None) -> None:
    """Describe the run, and note with it that the dataset type is described, and that all is done."""
    async with (
        audited(repository.state, user="me", action="make", target="run", detail={}) as done,
        repository.change() as change,
    ):
        for work in (describe_dataset_type("flat", "noted"), *more, done):
            change.note(work)
        await change.execute(described(repository, "new"))
        assert await descriptions_of_dataset_types(repository.state) == {}
        if failing is not None:
            await change.execute(sa.text(failing))


async def found(real: RealRepository, repository: Repository) -> tuple[str | None, str | None, str]:
    """What is written about the run, what was noted, and what the log says."""
    noted = await descriptions_of_dataset_types(repository.state)
    [entry, *_] = (await find_entries(repository.state, PageRequest(1))).rows
    return doc_of(real), noted.get("flat"), entry.outcome


async def test_what_is_noted_becomes_true_with_it(real: RealRepository, repository: Repository) -> None:
    await make(repository)
    assert await found(real, repository) == ("new", "noted", DONE)


async def test_what_is_noted_does_not_become_true_without_it(real: RealRepository, repository: Repository) -> None:
    with pytest.raises(sa.exc.DBAPIError):
        await make(repository, failing="SELECT nothing FROM nowhere")
    assert await found(real, repository) == (None, None, "FAILED")


async def test_what_cannot_be_noted_undoes_it_where_it_can(
    real: RealRepository, repository: Repository, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(connection: AsyncConnection) -> None:
        raise ZeroDivisionError

    if real.dialect == "postgresql":
        with pytest.raises(ZeroDivisionError):
            await make(repository, fail)
        assert await found(real, repository) == (None, None, "FAILED")
    else:
        await make(repository, fail)
        assert await found(real, repository) == ("new", None, BEGUN)
        assert "was made, and what belongs to it not noted" in caplog.text


KILL = "SELECT pg_terminate_backend(pg_backend_pid())"
"""Has the server end the connection, as an administrator does."""


@pytest.fixture
def on_postgresql(repositories: Repositories) -> Iterator[RealRepository]:
    with repositories.private(SMALL, Layout("postgresql")) as made:
        yield made


async def killed(connection: AsyncConnection) -> None:
    await connection.execute(sa.text(KILL))


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_a_connection_that_breaks_before_the_commit(
    on_postgresql: RealRepository, elsewhere: bool, tmp_path: Path
) -> None:
    async with opened(on_postgresql, tmp_path / "state.sqlite3" if elsewhere else None) as repository:
        with pytest.raises(ConnectionFailedError, match="terminating connection"):
            await make(repository, failing=KILL)
        assert await found(on_postgresql, repository) == (None, None, "CONNECTION_FAILED")
        # The next gets another.
        await make(repository)
    assert doc_of(on_postgresql) == "new"


async def test_a_connection_that_breaks_before_all_is_noted(on_postgresql: RealRepository) -> None:
    async with opened(on_postgresql) as repository:
        with pytest.raises(ConnectionFailedError, match="terminating connection"):
            await make(repository, killed)
        assert await found(on_postgresql, repository) == (None, None, "CONNECTION_FAILED")


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("committed", [False, True])
async def test_a_connection_that_breaks_in_the_commit(
    on_postgresql: RealRepository, elsewhere: bool, committed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(on_postgresql, tmp_path / "state.sqlite3" if elsewhere else None) as repository:

        async def commit(link: Any) -> None:
            await link.execute("COMMIT" if committed else "ROLLBACK")
            raise ConnectionResetError

        monkeypatch.setattr(repository._writing.driver, "commit", commit)
        with pytest.raises(UncertainError, match="Ask whether it was made"):
            await make(repository)
        # The log says what is known for certain.
        told = (DONE, "noted") if committed and not elsewhere else (BEGUN, None)
        assert await found(on_postgresql, repository) == ("new" if committed else None, told[1], told[0])


@pytest.mark.parametrize("where", ["default", "the same", "another name of it", "a file"])
async def test_one_transaction_is_made_where_it_can_be(
    on_postgresql: RealRepository, where: str, tmp_path: Path
) -> None:
    assert on_postgresql.server is not None and on_postgresql.database is not None
    url = sa.make_url(on_postgresql.server.url(on_postgresql.database)).set(drivername="postgresql")
    settings = {
        "default": None,
        "the same": url.render_as_string(hide_password=False),
        "another name of it": url.set(host="localhost").render_as_string(hide_password=False),
        "a file": str(tmp_path / "state.sqlite3"),
    }
    repository = await Repository.open(on_postgresql.uri, state=settings[where], writable=True)
    assert repository.state.place.with_registry == (where in {"default", "the same"})
    await make(repository)
    assert await found(on_postgresql, repository) == ("new", "noted", DONE)
    await repository.close()
