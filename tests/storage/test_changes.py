"""A change is made wholly or not at all, waits for its turn, and is refused where nothing may be changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import sqlalchemy as sa

from butlerql.storage import changes
from butlerql.storage.errors import BusyError, ReadOnlyError, TimedOutError
from butlerql.storage.repository import Repository
from tests.support.repositories import Dialect, Layout, RealRepository, Repositories
from tests.support.small import SMALL
from tests.support.writing_butler import writing_butler


@pytest.fixture
def real(repositories: Repositories, dialect: Dialect) -> Iterator[RealRepository]:
    with repositories.private(SMALL, Layout(dialect)) as made:
        yield made


@pytest.fixture
async def repository(real: RealRepository) -> AsyncIterator[Repository]:
    opened = await Repository.open(real.uri, writable=True)
    yield opened
    await opened.close()


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
