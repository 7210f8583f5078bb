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
from butlerql.storage.provenance.graph_file import GraphFile
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


async def taken_in(place: Path, source: Source, records: Iterator[Record]) -> tuple[int, float]:
    """Take a source into a new state; executions, and seconds of the processor."""
    state = State(StatePlace(f"sqlite+aiosqlite:///{place}", None, "registry"), "measured")
    await state.upgrade()
    gc.collect()
    begin = time.process_time()
    result = await ingest(state, source, batches(records))
    seconds = time.process_time() - begin
    await state.close()
    assert not result.skipped
    return result.executions, seconds


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
    for title in ("graph", "metadata and logs"):
        best, least, number = float("inf"), float("inf"), 0
        for _ in range(3):
            with TemporaryDirectory() as directory, graph(cache).open("rb") as file:
                full, empty = (Path(directory) / f"{name}.sqlite3" for name in ("full", "empty"))
                if title == "graph":
                    read = GraphFile(file, "graph.qg")
                    source, records = read.source, read.records()
                else:
                    source, records = Source(SourceKind.TASK_RECORDS, "u/run", "1"), of_files(cache)
                number, seconds = await taken_in(full, source, records)
                best, least = min(best, seconds), min(least, await bare(full, empty))
        print(f"{number} executions from {title}")
        print(f"  taken in         {best:6.2f} s   {number / best:,.0f} executions a second")
        print(f"  bare INSERT      {least:6.2f} s   (1/{best / least:.1f} of it)")


if __name__ == "__main__":
    # As a service does.
    gc.freeze()
    gc.set_threshold(500_000, 10, 10)
    asyncio.run(main(Path(sys.argv[1])))
