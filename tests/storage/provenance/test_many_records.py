"""Records by the hundred: read in another process, taken in from the middle, and counted where they are added."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.datastores.artifacts.local import LocalStore
from butlerql.storage.provenance import ingest as ingesting
from butlerql.storage.provenance import reading
from butlerql.storage.provenance.graph_file import GraphFile
from butlerql.storage.provenance.ingest import ingest
from butlerql.storage.provenance.records import Record
from butlerql.storage.provenance.tables import EDGE
from butlerql.storage.state.bulk import add_rows
from butlerql.storage.state.database import State
from tests.support.pipelines.recorded import Recorded
from tests.support.provenance_records import one_by_one
from tests.support.provenance_state import dumped, emptied, in_batches


@pytest.fixture
def path(pipelines: Recorded) -> Path:
    return pipelines.graph("retried.provenance")


async def test_another_process_reads_the_same(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_LARGE", 0)
    monkeypatch.setattr(reading, "_RECORDS", 10)
    async with reading.read_graph(LocalStore(str(path.parent)), path.name) as found:
        told = [record async for batch in found.batches for record in batch]
    with path.open("rb") as file:
        graph = GraphFile(file, path.name)
        assert (found.source, told) == (graph.source, list(graph.records()))


async def test_the_death_of_who_reads_is_noticed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_LARGE", 0)
    monkeypatch.setattr(reading, "_go_on", _die)
    async with reading.read_graph(LocalStore(str(path.parent)), path.name) as found:
        with pytest.raises(BrokenExecutor):
            await anext(aiter(found.batches))


def _die() -> list[Record]:
    os.kill(os.getpid(), signal.SIGKILL)
    return []


async def test_who_goes_on_may_begin_in_the_middle_of_many(
    state: State, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingesting, "_BATCH", 3)
    with path.open("rb") as file:
        graph = GraphFile(file, path.name)
        source, records = graph.source, list(graph.records())
    await emptied(state)
    await ingest(state, source, in_batches(records))
    whole = await dumped(state)
    singles = list(one_by_one(records))
    for last in (20, len(singles) - 5):
        await emptied(state)

        def stopped(last: int = last) -> Iterator[Record]:
            yield from singles[:last]
            raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            await ingest(state, source, in_batches(stopped()))
        assert (await ingest(state, source, in_batches(records))).records == len(singles)
        assert {name: len(rows) for name, rows in (await dumped(state)).items()} == {
            name: len(rows) for name, rows in whole.items()
        }


async def test_rows_that_are_there_are_not_counted(state: State) -> None:
    await emptied(state)
    rows = [(number, number % 2 == 0, number) for number in range(250)]

    async def add(connection: AsyncConnection) -> list[int]:
        return [await add_rows(connection, state.dialect, EDGE, rows[begin:]) for begin in (120, 120, 0, 250)]

    async def count(connection: AsyncConnection) -> list[tuple[bool, int]]:
        counts = sa.select(EDGE.c.is_output, sa.func.count()).group_by(EDGE.c.is_output)
        return sorted(map(tuple, await connection.execute(counts)))

    assert await state.write(add) == [130, 0, 120, 0]
    assert await state.read(count, absent=[]) == [(False, 125), (True, 125)]
