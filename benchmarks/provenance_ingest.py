"""Provenance taken in, from reading to sums, beside writing the same rows with the bare driver; in processor time.

usage: python -m benchmarks.provenance_ingest CACHE      where what is read is kept
"""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID, uuid4

from benchmarks.provenance_readers import files, graph
from butlerql.storage.datastores.artifacts.local import LocalStore
from butlerql.storage.provenance import reading
from butlerql.storage.provenance.ingest import ingest
from butlerql.storage.provenance.records import QuantumRecord, Record, Source, SourceKind
from butlerql.storage.provenance.task_records import Content, Traces, told_of
from butlerql.storage.state.database import State
from butlerql.storage.state.place import StatePlace

_TABLES = ("run", "task", "host", "dataset", "quantum", "execution", "plan", "edge")


def of_files(cache: Path) -> Iterator[Record]:
    """Give what metadata and logs tell, each of a unit of work of its own."""
    for number, (metadata, log) in enumerate(files(cache)):
        contents = [Content(uuid4(), kind, kind, path.read_bytes()) for kind, path in (("m", metadata), ("l", log))]
        data_id: dict[str, int | str] = {"instrument": "Cam", "exposure": number, "detector": number % 189}
        for record in told_of(Traces("u/run", "isr", data_id, *contents)):
            # Files are few, and repeat what they wrote.
            yield (
                replace(record, outputs=(*record.outputs[:2], UUID(int=number)))
                if isinstance(record, QuantumRecord)
                else record
            )


async def batches(records: Iterator[Record]) -> AsyncIterator[list[Record]]:
    """Give records as a job gets them."""
    while some := list(islice(records, 2_000)):
        yield some


async def taken_in(place: Path, cache: Path, title: str, *, elsewhere: bool) -> tuple[int, float, float]:
    """Take a source into a new state; executions, and seconds of the processor and of the clock.

    Parameters
    ----------
    elsewhere
        Whether another process may read; what it takes of the processor is not counted.
    """
    state = State(StatePlace(f"sqlite+aiosqlite:///{place}", None, "registry"), "measured")
    await state.upgrade()
    gc.collect()
    reading._LARGE = 0 if elsewhere else sys.maxsize
    begin, clock = time.process_time(), time.perf_counter()
    if title == "graph":
        path = graph(cache)
        async with reading.read_graph(LocalStore(str(path.parent)), path.name) as found:
            result = await ingest(state, found.source, found.batches)
            seconds, passed = time.process_time() - begin, time.perf_counter() - clock
    else:
        result = await ingest(state, Source(SourceKind.TASK_RECORDS, "u/run", "1"), batches(of_files(cache)))
        seconds, passed = time.process_time() - begin, time.perf_counter() - clock
    await state.close()
    assert not result.skipped
    return result.executions, seconds, passed


async def bare(full: Path, empty: Path) -> float:
    """Write all rows of one state into another with the driver alone; seconds of the processor."""
    state = State(StatePlace(f"sqlite+aiosqlite:///{empty}", None, "registry"), "measured")
    await state.upgrade()
    await state.close()
    with sqlite3.connect(full) as known, sqlite3.connect(empty) as new:
        rows = {table: known.execute(f"SELECT * FROM {table}").fetchall() for table in _TABLES}
        begin = time.process_time()
        for table, of_table in rows.items():
            if of_table:
                slots = ", ".join("?" * len(of_table[0]))
                new.executemany(f"INSERT INTO {table} VALUES ({slots})", of_table)
        new.commit()
        return time.process_time() - begin


async def main(cache: Path) -> None:
    """Take in each kind several times; the best counts."""
    for title, elsewhere in (("graph", False), ("graph", True), ("metadata and logs", False)):
        best, shortest, least, number = float("inf"), float("inf"), float("inf"), 0
        for _ in range(3):
            with TemporaryDirectory() as directory:
                full, empty = (Path(directory) / f"{name}.sqlite3" for name in ("full", "empty"))
                number, seconds, passed = await taken_in(full, cache, title, elsewhere=elsewhere)
                best, shortest = min(best, seconds), min(shortest, passed)
                least = min(least, await bare(full, empty))
        print(f"{number} executions from {title}{', which another process reads' if elsewhere else ''}")
        print(f"  taken in         {best:6.2f} s   {number / best:,.0f} executions a second")
        print(f"  by the clock     {shortest:6.2f} s   {number / shortest:,.0f} executions a second")
        print(f"  bare INSERT      {least:6.2f} s   (1/{best / least:.1f} of it)")


if __name__ == "__main__":
    # As a service does.
    gc.freeze()
    gc.set_threshold(500_000, 10, 10)
    asyncio.run(main(Path(sys.argv[1])))
