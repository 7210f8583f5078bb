"""Files in a datastore's root that belong to the repository: no artifacts, and nobody's fault."""

from __future__ import annotations

import os

import sqlalchemy as sa

from butlerql.storage.datastores.tree import FileDatastore
from butlerql.storage.locations import local_path
from butlerql.storage.repository import Repository

__all__ = ["own_files"]

_JOURNALS = ("", "-journal", "-wal", "-shm")


def own_files(repository: Repository, datastore: FileDatastore, state: str | None) -> frozenset[str]:
    """List the paths, relative to a datastore's root, of what is the repository's own.

    Parameters
    ----------
    repository
        Whose configuration and registry may be there.
    datastore
        Whose root.
    state
        URL of the database of the own state.
    """
    root = local_path(datastore.root_uri)
    if root is None:
        return frozenset({"butler.yaml"})
    files = [os.path.join(repository.root, "butler.yaml")]
    for url in (repository.config.registry_url, state):
        parsed = None if url is None else sa.make_url(url)
        if parsed is not None and parsed.get_backend_name() == "sqlite" and parsed.database:
            files += [parsed.database + journal for journal in _JOURNALS]
    paths = (os.path.relpath(os.path.realpath(file), os.path.realpath(root)) for file in files)
    return frozenset(path for path in paths if not path.startswith(".."))
