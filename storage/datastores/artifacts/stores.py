"""The artifact stores of a repository, and looking into them on many threads."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
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

_THREADS = 32
"""So many wait for an answer at once: of a store that is far away each takes long."""

_BATCH = 64
"""Paths that one thread looks at before it takes others."""


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
        """Look at artifacts, each file once, some at a time on each of many threads.

        Of a member of a zip file it is the file that is looked at. One that is not below the root of its datastore, and
        to which there is no way from here, is unreadable.

        Raises
        ------
        UnavailableDatastoreError
            Raised if there is no way to the root of a datastore from here.
        """
        places = [place_in_store(artifact.datastore, Place(artifact.uri, artifact.path)) for artifact in artifacts]
        own = {artifact.datastore.root_uri for artifact in artifacts}
        wanted: dict[str, dict[str, None]] = {}
        for root, path in places:
            wanted.setdefault(root, {})[path] = None
        batches: list[tuple[str, Sequence[str]]] = []
        seen: dict[tuple[str, str], Entry] = {}
        for root, some in wanted.items():
            paths = list(some)
            try:
                self.store(root)
            except UnavailableDatastoreError as error:
                if root in own:
                    raise
                seen |= {(root, path): Entry(path, Kind.UNREADABLE, problem=str(error)) for path in paths}
            else:
                batches += [(root, paths[begin : begin + _BATCH]) for begin in range(0, len(paths), _BATCH)]
        for (root, looked_at), entries in zip(batches, await asyncio.gather(*map(self._stat, batches)), strict=True):
            seen.update(zip(((root, path) for path in looked_at), entries, strict=True))
        return [seen[place] for place in places]

    def close(self) -> None:
        """Let the threads go when they have done what they are at."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None

    async def _stat(self, batch: tuple[str, Sequence[str]]) -> Sequence[Entry]:
        root, paths = batch
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_THREADS, "artifacts")
        return await asyncio.get_running_loop().run_in_executor(self._threads, self.store(root).stat, paths)


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
