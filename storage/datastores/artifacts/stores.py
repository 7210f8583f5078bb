"""The artifact stores of a repository, and looking into them on many threads."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit

from butlerql.storage.datastores.artifacts.local import LocalStore
from butlerql.storage.datastores.artifacts.objects import ObjectStore
from butlerql.storage.datastores.artifacts.store import ArtifactStore, Entry, Kind
from butlerql.storage.errors import UnavailableDatastoreError
from butlerql.storage.locations import Place, local_path

if TYPE_CHECKING:
    from butlerql.storage.datastores.records import Artifact
    from butlerql.storage.datastores.tree import FileDatastore

__all__ = ["ArtifactStores", "open_store", "place_in_store"]

S = TypeVar("S")
T = TypeVar("T")

_THREADS = 32
"""So many wait for an answer at once: of a store that is far away each takes long."""

_BATCH = 64
"""Paths that one thread looks at before it takes others."""

_FEW = 16
"""Files that one thread takes before others may, where it need not wait."""

_PATIENCE = 0.25
"""Seconds that one thread may wait for a file system before others help: what is on a disk of this machine, or
remembered, is there at once, and threads would only wait for each other."""


def open_store(root: str) -> ArtifactStore:
    """Make the store below a root, an absolute URI.

    Raises
    ------
    UnavailableDatastoreError
        Raised if there is no way to it from here.
    """
    path = local_path(root)
    if path is not None:
        return LocalStore(path)
    if root.startswith("s3://"):
        return ObjectStore(root, os.environ)
    raise UnavailableDatastoreError(f"What is at {root} cannot be looked at: only files and objects by S3 can.")


class ArtifactStores:
    """Opens each store once, when something is first asked of it."""

    def __init__(self) -> None:
        self._stores: dict[str, ArtifactStore] = {}
        self._threads: ThreadPoolExecutor | None = None
        self._near = Lock()

    def store(self, root: str) -> ArtifactStore:
        """Give the store below a root, an absolute URI; see `open_store`.

        Raises
        ------
        UnavailableDatastoreError
            Raised if there is no way to it from here.
        """
        if root not in self._stores:
            self._stores[root] = open_store(root)
        return self._stores[root]

    async def look(self, artifacts: Sequence[Artifact]) -> list[Entry]:
        """Look at artifacts; see `look_at`. Of a member of a zip file it is the file that is looked at.

        Raises
        ------
        UnavailableDatastoreError
            Raised if there is no way to the root of a datastore from here.
        """
        for root in {artifact.datastore.root_uri for artifact in artifacts}:
            self.store(root)
        return await self.look_at(
            [place_in_store(artifact.datastore, Place(artifact.uri, artifact.path)) for artifact in artifacts]
        )

    async def look_at(self, places: Sequence[tuple[str, str]]) -> list[Entry]:
        """Look at files, each once, some at a time on each of many threads.

        Parameters
        ----------
        places
            Root of a store, and path in it; see `place_in_store`. One to which there is no way from here is unreadable.
        """
        wanted: dict[str, dict[str, None]] = {}
        for root, path in places:
            wanted.setdefault(root, {})[path] = None
        seen: dict[tuple[str, str], Entry] = {}
        for root, some in wanted.items():
            paths = list(some)
            try:
                store = self.store(root)
            except UnavailableDatastoreError as error:
                entries: Sequence[Entry] = [Entry(path, Kind.UNREADABLE, problem=str(error)) for path in paths]
            else:
                entries = await self._in_batches(store, store.stat, paths)
            seen.update(zip(((root, path) for path in paths), entries, strict=True))
        return [seen[place] for place in places]

    async def change(self, store: ArtifactStore, work: Callable[[S], T], them: Sequence[S]) -> list[T]:
        """Have something changed about each of many files of a store, some at a time on each of many threads."""
        return await self._in_batches(store, lambda batch: list(map(work, batch)), them)

    async def on_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        """Have something done that waits for a store."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_THREADS, "artifacts")
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    def close(self) -> None:
        """Let the threads go when they have done what they are at."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None

    async def _in_batches(
        self, store: ArtifactStore, work: Callable[[Sequence[S]], Sequence[T]], them: Sequence[S]
    ) -> list[T]:
        """Have something done with many: on one thread as long as it is quick, and then on as many as help."""
        done: list[T] = []
        threads = _THREADS
        if isinstance(store, LocalStore):
            done, threads = await self.on_thread(self._while_near, work, them)
        # Where there are few, all threads have something to do.
        size = max(1, min(_BATCH, (len(them) - len(done)) // threads))
        at_once = asyncio.Semaphore(threads)

        async def do(begin: int) -> Sequence[T]:
            async with at_once:
                return await self.on_thread(work, them[begin : begin + size])

        for some in await asyncio.gather(*map(do, range(len(done), len(them), size))):
            done += some
        return done

    def _while_near(self, work: Callable[[Sequence[S]], Sequence[T]], them: Sequence[S]) -> tuple[list[T], int]:
        """Do something with a few at a time, until some time is lost by waiting.

        Returns
        -------
        done
            What came of it.
        threads
            How many others are to do the rest: they wait as much as this one did.
        """
        done: list[T] = []
        spent = worked = 0.0
        while len(done) < len(them) and spent <= worked + _PATIENCE:
            # One after the other, whoever asks: to wait for each other would seem to be the disk's fault.
            with self._near:
                begin, begin_work = time.perf_counter(), time.thread_time()
                done += work(them[len(done) : len(done) + _FEW])
                spent += time.perf_counter() - begin
                worked += time.thread_time() - begin_work
        return done, min(_THREADS, 1 + int(spent / max(worked, 1e-6)))


def place_in_store(datastore: FileDatastore, place: Place) -> tuple[str, str]:
    """Say in which store, and where in it, an artifact is: that of its datastore if it is below the root.

    Returns
    -------
    root
        Absolute URI of the store.
    path
        Relative to it, without the member of a zip file.
    """
    root = datastore.root_uri
    if place.path is not None:
        directory = f"{datastore.root.rstrip('/')}/"
        if place.path.startswith(directory):
            return root, place.path.removeprefix(directory)
        return "file:///", place.path.lstrip("/")
    parts = urlsplit(place.uri)
    path = unquote(parts.path)
    within = urlsplit(root)
    if (within.scheme, within.netloc) == (parts.scheme, parts.netloc) and path.startswith(unquote(within.path)):
        return root, path.removeprefix(unquote(within.path))
    return f"{parts.scheme}://{parts.netloc}/", path.lstrip("/")
