"""Files in a datastore's root that belong to the repository: no artifacts, and nobody's fault."""

from __future__ import annotations

import os
from contextlib import suppress

import sqlalchemy as sa

from butlerql.storage.datastores.deletion.exports import Exports
from butlerql.storage.datastores.tree import FileDatastore
from butlerql.storage.descriptions import FILE_NAME
from butlerql.storage.locations import local_path
from butlerql.storage.repository import Repository

__all__ = ["own_files"]

_NAMES = ("butler.yaml", FILE_NAME)
_JOURNALS = ("", "-journal", "-wal", "-shm")


def own_files(repository: Repository, datastore: FileDatastore) -> frozenset[str]:
    """List the paths, relative to a datastore's root, of what is the repository's own.

    Parameters
    ----------
    repository
        Whose configuration and registry may be there.
    datastore
        Whose root.
    """
    root = local_path(datastore.root_uri)
    if root is None:
        return frozenset(_NAMES)
    files = [os.path.join(repository.root, name) for name in _NAMES]
    for url in map(sa.make_url, (repository.config.registry_url, repository.state.place.url)):
        if url.get_backend_name() == "sqlite" and url.database:
            files += [url.database + journal for journal in _JOURNALS]
    exports = Exports(repository).directory
    with suppress(OSError):
        files += [] if exports is None else [os.path.join(exports, name) for name in os.listdir(exports)]
    base = os.path.realpath(root)
    paths = (os.path.relpath(os.path.realpath(file), base) for file in files)
    return frozenset(path for path in paths if not path.startswith(".."))
