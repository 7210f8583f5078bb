"""Sources that are read while others work, some records at a time: on a thread, and large files in another process."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from multiprocessing.reduction import DupFd
from tempfile import TemporaryFile
from typing import Any, BinaryIO, cast

from butlerql.storage.datastores.artifacts.local import LocalStore
from butlerql.storage.datastores.artifacts.store import ArtifactStore
from butlerql.storage.errors import InvalidSourceError
from butlerql.storage.provenance.batches import how_many
from butlerql.storage.provenance.graph_file import GraphFile
from butlerql.storage.provenance.json_lines import LinesFile
from butlerql.storage.provenance.records import Record, Source
from butlerql.storage.state.workers import processes

__all__ = ["Reading", "read_graph", "read_lines"]

_RECORDS = 2_000
# Bytes of a file for which a process of its own is worth starting.
_LARGE = 1 << 22
# Batches that are read before they are asked for: more than one transaction takes in.
_AHEAD = 16

_Take = Callable[[BinaryIO, str], GraphFile | LinesFile]


@dataclass(frozen=True)
class Reading:
    """A source, and its records in batches, which can be gone through once and need not be."""

    source: Source
    batches: AsyncIterator[Sequence[Record]]


@asynccontextmanager
async def read_graph(store: ArtifactStore, path: str) -> AsyncIterator[Reading]:
    """Read a quantum graph while the block lasts.

    Raises
    ------
    InvalidSourceError
        Raised if there is none at this path, or none that can be read.
    UnreadableArtifactError
        Raised if the file cannot be read.
    """
    async with _read(store, path, GraphFile) as reading:
        yield reading


@asynccontextmanager
async def read_lines(store: ArtifactStore, path: str) -> AsyncIterator[Reading]:
    """Read executions as JSON Lines while the block lasts; raises as `read_graph` does."""
    async with _read(store, path, LinesFile) as reading:
        yield reading


@asynccontextmanager
async def _read(store: ArtifactStore, path: str, take: _Take) -> AsyncIterator[Reading]:
    try:
        file = await asyncio.to_thread(_opened, store, path)
    except FileNotFoundError:
        raise InvalidSourceError(f"There is no file at {path!r}.") from None
    name = path.rpartition("/")[2]
    with file:
        taken, source = await asyncio.to_thread(_taken, take, file, name)
        if file.seek(0, os.SEEK_END) < _LARGE:
            yield Reading(source, _here(taken.records()))
            return
        executor = processes(1).make_executor()
        try:
            yield Reading(source, _elsewhere(executor, take, file, name))
        finally:
            await asyncio.to_thread(executor.shutdown, cancel_futures=True)


def _opened(store: ArtifactStore, path: str) -> BinaryIO:
    """Open a file; an object is fetched first, since each part of it would be a request."""
    if isinstance(store, LocalStore):
        return store.open(path)
    blocks = store.read(path)
    file = cast("BinaryIO", TemporaryFile())  # noqa: SIM115
    try:
        for block in blocks:
            file.write(block)
    except BaseException:
        file.close()
        raise
    return file


def _taken(take: _Take, file: BinaryIO, name: str) -> tuple[GraphFile | LinesFile, Source]:
    taken = take(file, name)
    return taken, taken.source


async def _here(records: Iterator[Record]) -> AsyncIterator[Sequence[Record]]:
    while batch := await asyncio.to_thread(_next, records):
        yield batch


async def _elsewhere(executor: Executor, take: _Take, file: BinaryIO, name: str) -> AsyncIterator[Sequence[Record]]:
    """Have another process read, which is ahead of whoever takes in."""
    # The same file, whatever is at its path by now.
    begun = executor.submit(_begin, take, DupFd(file.fileno()), name)
    ahead = [executor.submit(_go_on) for _ in range(_AHEAD)]
    await asyncio.wrap_future(begun)
    while batch := await asyncio.wrap_future(ahead.pop(0)):
        ahead.append(executor.submit(_go_on))
        yield batch


_begun: Iterator[Record] = iter(())
"""What a process that only reads is reading."""


def _begin(take: _Take, file: Any, name: str) -> None:
    global _begun  # noqa: PLW0603 - a process for each file
    _begun = take(io.FileIO(file.detach()), name).records()


def _go_on() -> list[Record]:
    return _next(_begun)


def _next(records: Iterator[Record]) -> list[Record]:
    """Take some."""
    some, number = list[Record](), 0
    for record in records:
        some.append(record)
        number += how_many(record)
        if number >= _RECORDS:
            break
    return some
