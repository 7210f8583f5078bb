"""Two services and a stock Butler change the same collections at once: nothing is lost, and nothing is half done."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lsst.daf.butler import Butler, CollectionType, DatasetType

from butlerql.storage.changes import Change
from butlerql.storage.registry.collection_changes import describe
from butlerql.storage.registry.collections import CollectionType as OurType
from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.registry.registering import registered
from butlerql.storage.registry.selection import DatasetSelection
from butlerql.storage.registry.tagging import tag
from butlerql.storage.repository import Repository
from butlerql.storage.state.audit import DONE, find_entries
from tests.support.concurrent_writers import CALIBRATION, CHAIN, ROUNDS, TAG, WRITERS, own, same
from tests.support.registry_rows import registry_rows
from tests.support.repositories import Content, Dialect, Layout, RealRepository, Repositories
from tests.support.small import SMALL, add_datasets

NUMBER = len(WRITERS) * ROUNDS


def _fill(butler: Butler, outside: Path) -> None:
    butler.registry.insertDimensionData("instrument", {"name": "Cam", "class_name": "nowhere.Cam"})
    butler.collections.register("run")
    dimensions = butler.dimensions.conform(["instrument", "detector"])
    butler.registry.registerDatasetType(DatasetType("flat", dimensions, "StructuredDataDict", isCalibration=True))
    add_datasets(butler, 0, NUMBER)
    butler.collections.register(CHAIN, CollectionType.CHAINED)
    butler.collections.register(TAG, CollectionType.TAGGED)
    butler.collections.register(CALIBRATION, CollectionType.CALIBRATION)


SHARED = Content("shared", _fill)


@pytest.fixture
def real(repositories: Repositories, dialect: Dialect) -> Iterator[RealRepository]:
    with repositories.private(SHARED, Layout(dialect)) as made:
        yield made


@pytest.mark.slow
async def test_nothing_is_lost_and_nothing_is_half_done(real: RealRepository) -> None:
    writers = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.support.concurrent_writers", real.uri, str(writer)),
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
            stderr=asyncio.subprocess.PIPE,
        )
        for writer in range(len(WRITERS))
    ]
    told = [(await writer.communicate())[1].decode() for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * len(writers), told
    kept = [(writer, turn) for writer in range(len(WRITERS)) for turn in range(ROUNDS) if turn % 3 != 2]
    detectors = {writer * ROUNDS + turn for writer, turn in kept}
    butler = real.open()
    assert set(butler.collections.get_info(CHAIN).children) == {own(*one) for one in kept}
    assert {info.name for info in butler.collections.query_info("own/*")} == {own(*one) for one in kept}
    assert {ref.dataId["detector"] for ref in butler.query_datasets("flat", collections=TAG)} == detectors
    for turn in range(ROUNDS):
        assert {ref.dataId["detector"] for ref in butler.query_datasets("flat", collections=same(turn))} == set(
            range(5)
        )
    certified = list(butler.registry.queryDatasetAssociations("flat", collections=[CALIBRATION]))
    assert sorted(one.ref.dataId["detector"] for one in certified) == list(range(NUMBER))
    # What collections hold is in their summaries, without which the Butler would not look for it.
    rows = registry_rows(real)
    [tags] = [rows[name] for name in rows if name.startswith("dataset_tags_")]
    assert len(tags) == NUMBER + len(detectors) + 5 * ROUNDS
    repository = await Repository.open(real.uri)
    entries = (await find_entries(repository.state, PageRequest(1000))).rows
    await repository.close()
    assert {entry.outcome for entry in entries} == {DONE}
    assert len(entries) == 2 * (5 * ROUNDS + 2 * (ROUNDS // 3))


async def test_who_makes_the_same_tag_at_once_makes_it_once(real: RealRepository) -> None:
    repository = await Repository.open(real.uri, writable=True)
    begun: set[asyncio.Task[object] | None] = set()
    everybody = asyncio.Event()

    async def work(change: Change) -> int:
        # On PostgreSQL none goes on before all have begun; on SQLite there is one at a time.
        begun.add(asyncio.current_task())
        if len(begun) == 4 or repository.dialect.name == "sqlite":
            everybody.set()
        await everybody.wait()
        collection = await registered(change, "new tag", OurType.TAGGED, create=True)
        return (await tag(change, collection, DatasetSelection(runs=["run"]))).changed

    done = await asyncio.gather(*(repository.write(work) for _ in range(4)))
    await repository.close()
    assert sorted(done) == [0, 0, 0, NUMBER]
    assert len(real.open().query_datasets("flat", collections="new tag")) == NUMBER


async def test_transactions_that_wait_for_each_other_are_made_one_after_another(repositories: Repositories) -> None:
    with repositories.private(SMALL, Layout("postgresql")) as real:
        butler = real.open(writeable=True)
        for name in ("a", "b"):
            butler.collections.register(name, CollectionType.TAGGED)
        repository = await Repository.open(real.uri, writable=True)
        tries: list[str] = []
        first = {"a": asyncio.Event(), "b": asyncio.Event()}

        async def both(change: Change, one: str, other: str) -> None:
            tries.append(one)
            await describe(change, one, f"by {one}")
            first[one].set()
            await first[other].wait()
            await describe(change, other, f"by {one}")

        await asyncio.gather(
            repository.write(lambda change: both(change, "a", "b")),
            repository.write(lambda change: both(change, "b", "a")),
        )
        await repository.close()
        assert sorted(tries) in (["a", "a", "b"], ["a", "b", "b"])
        docs = {real.open().registry.getCollectionDocumentation(name) for name in ("a", "b")}
        # Who was ended came last.
        assert docs == {f"by {max(tries, key=tries.count)}"}
