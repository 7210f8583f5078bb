"""The files of datasets: where they are, and who has a record of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple
from urllib.parse import quote

from butlerql.storage.datastores.artifacts.store import path_bytes
from butlerql.storage.datastores.artifacts.stores import place_in_store
from butlerql.storage.datastores.deletion.plans import Plan
from butlerql.storage.datastores.deletion.rows import Rows
from butlerql.storage.datastores.record_users import users
from butlerql.storage.datastores.records import RecordSource, record_sources
from butlerql.storage.datastores.tree import FileDatastore
from butlerql.storage.repository import Repository
from butlerql.storage.snapshot import Snapshot

__all__ = ["File", "Place", "files_of", "is_member", "leaf_names", "sources_at", "sources_of", "users_of"]

Place = tuple[str, str]
"""Root of a store, an absolute URI, and path in it."""


class File(NamedTuple):
    """A file of a dataset, by a record."""

    datastore: FileDatastore
    place: Place
    uri: str
    """Without the member of a zip file."""
    record: str
    """The path in the record."""
    size: int | None
    storage_class: str | None
    formatter: str | None

    @property
    def root(self) -> str:
        """Absolute URI of the store."""
        return self.place[0]

    @property
    def is_outside(self) -> bool:
        """Whether it is not below the datastore's root: then it is nobody's to remove."""
        return self.root != self.datastore.root_uri or ".." in self.place[1].split("/")


async def sources_of(snapshot: Snapshot, plan: Plan) -> list[RecordSource]:
    """Say where the records of a plan's datastores are."""
    root = snapshot.repository.datastore
    return await record_sources(snapshot, root if plan.datastore is None else root.find(plan.datastore))


def leaf_names(repository: Repository, plan: Plan) -> list[str]:
    """Name the datastores that a plan takes files from, those that hold something themselves."""
    datastore = repository.datastore if plan.datastore is None else repository.datastore.find(plan.datastore)
    return [leaf.name for leaf in datastore.leaves if isinstance(leaf, FileDatastore)]


def files_of(rows: Rows, sources: Sequence[RecordSource]) -> list[File]:
    """Say where the files of a dataset are, in order, by its rows."""
    found = []
    for source in sources:
        leaf = source.datastore
        for row in rows.get(f"records:{leaf.name}", ()):
            place = leaf.artifacts.place(row["path"])
            size = None if row["file_size"] == -1 else row["file_size"]
            uri = place.uri.partition("#")[0]
            where = place_in_store(leaf, place)
            found.append(File(leaf, where, uri, row["path"], size, row["storage_class"], row["formatter"]))
    return found if len(found) < 2 else sorted(found, key=lambda file: (file.place, file.record))


def is_member(record: str) -> bool:
    """Whether a record is of a member of a zip file."""
    return "#" in record


async def sources_at(snapshot: Snapshot, root: str) -> list[RecordSource]:
    """Say where there may be records of the files of a store; what is outside any datastore's root may be anybody's."""
    sources = await record_sources(snapshot)
    return [one for one in sources if one.datastore.root_uri == root] or sources


async def users_of(
    snapshot: Snapshot, files: Iterable[tuple[Place, str]], with_members: Collection[str] = ()
) -> dict[Place, set[str]]:
    """Find the datasets that have a record of some files; a few statements a store.

    Parameters
    ----------
    snapshot
        What to read from.
    files
        Where each is, and the path in a record of it.
    with_members
        Roots of stores where members of zip files may be recorded of any file. Of a store that one of the files is a
        zip file of they are looked for in any case; that goes through all records.

    Returns
    -------
    dict
        Where a file is to the UUIDs of those who have it; without the files that nobody has.
    """
    by_root: dict[str, dict[str, str]] = {}
    zipped = set(with_members)
    for (root, path), record in files:
        names = by_root.setdefault(root, {})
        # What records may call it: as this one does, by its path, or by its URI.
        uri = root + quote(path_bytes(path))
        names[path] = names[uri] = names[uri.removeprefix("file://")] = path
        if is_member(record):
            zipped.add(root)
            names[record.partition("#")[0]] = path
        else:
            names[record] = path
    found: dict[Place, set[str]] = {}
    for root, names in by_root.items():
        for source in await sources_at(snapshot, root):
            for name, uuids in (await users(snapshot, source, list(names), members=root in zipped)).items():
                found.setdefault((root, names[name]), set()).update(uuids)
    return found
