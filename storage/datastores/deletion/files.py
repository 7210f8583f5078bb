"""The files of datasets: where they are, and who has a record of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from itertools import repeat
from typing import NamedTuple
from urllib.parse import quote

import sqlalchemy as sa

from butlerql.storage.datastores.artifacts.store import path_bytes
from butlerql.storage.datastores.artifacts.stores import place_in_store
from butlerql.storage.datastores.deletion.plans import Plan
from butlerql.storage.datastores.deletion.rows import RowsOf
from butlerql.storage.datastores.record_users import may_begin, users
from butlerql.storage.datastores.records import RecordSource, record_sources
from butlerql.storage.datastores.tree import FileDatastore
from butlerql.storage.dialect import UuidText, raw
from butlerql.storage.locations import Place as LocatedAt
from butlerql.storage.repository import Repository
from butlerql.storage.snapshot import Snapshot

__all__ = [
    "File",
    "Place",
    "is_member",
    "leaf_names",
    "read_files",
    "recorded_files",
    "sources_at",
    "sources_of",
    "users_of",
]

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
    is_outside: bool
    """Whether it is not below the datastore's root: then it is nobody's to remove."""

    @property
    def root(self) -> str:
        """Absolute URI of the store."""
        return self.place[0]


async def sources_of(snapshot: Snapshot, plan: Plan) -> list[RecordSource]:
    """Say where the records of a plan's datastores are."""
    root = snapshot.repository.datastore
    return await record_sources(snapshot, root if plan.datastore is None else root.find(plan.datastore))


def leaf_names(repository: Repository, plan: Plan) -> list[str]:
    """Name the datastores that a plan takes files from, those that hold something themselves."""
    datastore = repository.datastore if plan.datastore is None else repository.datastore.find(plan.datastore)
    return [leaf.name for leaf in datastore.leaves if isinstance(leaf, FileDatastore)]


def recorded_files(rows: RowsOf, sources: Sequence[RecordSource]) -> set[tuple[str, Place, str]]:
    """Say which files datasets have by their rows: UUID, where the file is, and the path in the record."""
    found: set[tuple[str, Place, str]] = set()
    for source in sources:
        name = f"records:{source.datastore.name}"
        records = [(uuid, row["path"]) for uuid, its in rows.items() for row in its.get(name, ())]
        places = _places(source.datastore, *source.datastore.artifacts.places([path for _, path in records]))
        found.update((uuid, place, path) for (uuid, path), place in zip(records, places, strict=True))
    return found


async def read_files(
    snapshot: Snapshot, uuids: Sequence[str], sources: Sequence[RecordSource]
) -> tuple[dict[str, list[File]], list[File]]:
    """Find the files of datasets by their records, in a statement a datastore.

    Returns
    -------
    files
        Of each dataset that has a record, in order.
    shared
        Those of them that another dataset may have, too: another record has the same path, or the path is not the
        plain one in the store. Where records call files by other names, any may be shared; see `users_of`.
    """
    dialect = snapshot.repository.dialect
    wanted = dialect.rows("wanted", {"id": UuidText()}, [(uuid,) for uuid in uuids])
    found: dict[str, list[File]] = {}
    shared: list[File] = []
    for source in sources:
        record = source.table.c
        others = [
            sa.exists().where(
                other.table.c.path == record.path, other.table.c.dataset_id != record.dataset_id, other.own
            )
            for other in await sources_at(snapshot, source.datastore.root_uri)
        ]
        rows = await snapshot.rows(
            sa.select(raw(record.dataset_id), sa.or_(*others), *(record[name] for name in _COLUMNS))
            .select_from(dialect.each(wanted, source.table))
            .where(record.dataset_id == wanted.c.id, source.own)
        )
        if not rows:
            continue
        ids, has_others, *columns = zip(*rows, strict=True)
        files = _files(source.datastore, *columns)
        for uuid, file, is_shared in zip(dialect.uuids(ids), files, has_others, strict=True):
            found.setdefault(uuid, []).append(file)
            if is_shared or file.is_outside or file.record != file.place[1]:
                shared.append(file)
    for some in found.values():
        if len(some) > 1:
            some.sort(key=lambda file: (file.place, file.record))
    return found, shared


_COLUMNS = ("path", "file_size", "storage_class", "formatter")


def _files(
    leaf: FileDatastore,
    paths: Sequence[str],
    sizes: Sequence[int | None],
    classes: Sequence[str],
    formatters: Sequence[str],
) -> list[File]:
    """Make files of columns of records, without a call of Python each: there are many."""
    uris, local = leaf.artifacts.places(paths)
    root, places = leaf.root_uri, _places(leaf, uris, local)
    columns = zip(
        repeat(leaf, len(paths)),
        places,
        [uri.partition("#")[0] for uri in uris],
        paths,
        [None if size == -1 else size for size in sizes],
        classes,
        formatters,
        [where != root or (".." in path and ".." in path.split("/")) for where, path in places],
        strict=True,
    )
    return list(map(partial(tuple.__new__, File), columns))


def _places(leaf: FileDatastore, uris: Sequence[str], paths: Sequence[str | None]) -> list[Place]:
    """Say in which stores files are, of their URIs and local paths."""
    root, directory = leaf.root_uri, f"{leaf.root.rstrip('/')}/"
    return [
        (root, path.removeprefix(directory))
        if path is not None and path.startswith(directory)
        else place_in_store(leaf, LocatedAt(uri, path))
        for uri, path in zip(uris, paths, strict=True)
    ]


def is_member(record: str) -> bool:
    """Whether a record, or one of several that are joined, is of a member of a zip file."""
    return "#" in record


async def sources_at(snapshot: Snapshot, root: str) -> list[RecordSource]:
    """Say where there may be records of the files of a store; what is outside any datastore's root may be anybody's."""
    sources = await record_sources(snapshot)
    return [one for one in sources if one.datastore.root_uri == root] or sources


async def users_of(
    snapshot: Snapshot,
    files: Iterable[tuple[Place, str]],
    with_members: Collection[str] = (),
    *,
    but: Collection[str] = (),
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
    but
        UUIDs of datasets that are not looked for.

    Returns
    -------
    dict
        Where a file is to the UUIDs of those who have it; without the files that nobody has.
    """
    by_root: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for (root, path), record in files:
        by_root[root].append((path, record))
    found: dict[Place, set[str]] = {}
    for root, some in by_root.items():
        is_zipped = root in with_members or is_member("".join([record for _, record in some]))
        for source in await sources_at(snapshot, root):
            names = _names(some)
            if await may_begin(snapshot, source, {root, root.removeprefix("file://")}):
                names |= _absolute_names(root, some)
            for name, uuids in (await users(snapshot, source, list(names), members=is_zipped, but=but)).items():
                found.setdefault((root, names[name]), set()).update(uuids)
    return found


def _names(files: Sequence[tuple[str, str]]) -> dict[str, str]:
    """List what records may call files: as these do, or by the path; and which path each is."""
    return {record.partition("#")[0] if "#" in record else record: path for path, record in files} | {
        path: path for path, _ in files
    }


def _absolute_names(root: str, files: Sequence[tuple[str, str]]) -> dict[str, str]:
    """List what else they may call them: by the URI, or what follows its scheme."""
    paths = [path for path, _ in files]
    text = "".join(paths)
    is_plain = quote(path_bytes(text)) == text
    uris = [root + path if is_plain else root + quote(path_bytes(path)) for path in paths]
    return dict(zip([*uris, *(uri.removeprefix("file://") for uri in uris)], [*paths, *paths], strict=True))
