"""Sources that are read while others work: on a thread, and some records at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from tempfile import TemporaryFile
from typing import BinaryIO, cast

from butlerql.storage.datastores.artifacts.local import LocalStore
from butlerql.storage.datastores.artifacts.store import ArtifactStore
from butlerql.storage.errors import InvalidSourceError
from butlerql.storage.provenance.graph_file import GraphFile
from butlerql.storage.provenance.json_lines import LinesFile
from butlerql.storage.provenance.records import Record, Source

__all__ = ["Reading", "read_graph", "read_lines"]

_RECORDS = 2_000


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
async def _read(
    store: ArtifactStore, path: str, take: Callable[[BinaryIO, str], GraphFile | LinesFile]
) -> AsyncIterator[Reading]:
    try:
        file = await asyncio.to_thread(_opened, store, path)
    except FileNotFoundError:
        raise InvalidSourceError(f"There is no file at {path!r}.") from None
    with file:
        taken = await asyncio.to_thread(take, file, path.rpartition("/")[2])
        yield Reading(taken.source, _batches(taken.records()))


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


async def _batches(records: Iterator[Record]) -> AsyncIterator[Sequence[Record]]:
    while batch := await asyncio.to_thread(lambda: list(islice(records, _RECORDS))):
        yield batch
