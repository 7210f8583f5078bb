"""What the records say should be in a datastore, a stretch at a time, in the order in which a store is listed."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

import sqlalchemy as sa

from butlerql.storage.datastores.artifacts.stores import place_in_store
from butlerql.storage.datastores.records import RecordSource
from butlerql.storage.datastores.validation.looking import Recorded, Single
from butlerql.storage.datastores.validation.zip_members import Member, member_of
from butlerql.storage.dialect import UuidText, raw
from butlerql.storage.snapshot import Snapshot

__all__ = ["Catalogue", "catalogue", "datasets", "elsewhere", "known", "of_datasets", "stretches", "within"]

_ODD = ("%\\%%", "%#%", "%$%", "~%", "/%", ".%", "%:%", "%//%", "%/.%")
"""Patterns of LIKE: what is like none is what `_is_plain`."""


_LAST = "\U0010ffff"
"""What comes behind all other characters."""


class Catalogue(NamedTuple):
    """What records say should be there."""

    singles: dict[str, Single]
    """Artifacts of one dataset each, by the path, which is the same in the records and in the store."""

    others: dict[str, list[Recorded]]
    """The rest, by the absolute URI of the store that it is in: the datastore's, or that of what lies outside."""

    @property
    def texts(self) -> list[str]:
        """Paths of all, as in the records."""
        return [*self.singles, *(one.text for found in self.others.values() for one in found)]


class _Row(NamedTuple):
    path: str
    dataset_id: str
    size: int | None
    checksum: str | None


async def stretches(
    snapshot: Snapshot, source: RecordSource, after: str, files: int, bytes_: int
) -> list[tuple[str | None, int]]:
    """Cut the records of a datastore into stretches.

    Parameters
    ----------
    snapshot
        What to read from.
    source
        Where the records are.
    after
        Where to begin: behind this path.
    files, bytes_
        About how many records, and how many bytes of files, a stretch has at most.

    Returns
    -------
    list
        Of each stretch, in order, the path at which it ends, None for the last, which goes on to the end; and the
        number of its records.
    """
    path = snapshot.repository.dialect.by_bytes(source.table.c.path)
    size = sa.case((source.table.c.file_size > 0, source.table.c.file_size), else_=0)
    numbered = (
        sa.select(
            path.label("path"),
            sa.func.row_number().over(order_by=path).label("number"),
            sa.cast(sa.func.sum(size).over(order_by=path, rows=(None, 0)), sa.BigInteger).label("bytes"),
        )
        .where(source.own, path > after)
        .subquery()
    )
    stretch = numbered.c.number // files + numbered.c.bytes // bytes_
    last = sa.func.max(snapshot.repository.dialect.by_bytes(numbered.c.path))
    found: dict[str, int] = {}
    for end, count in await snapshot.rows(sa.select(last, sa.func.count()).group_by(stretch).order_by(last)):
        # All members of a zip file are in one stretch.
        file, mark, _ = end.partition("#")
        whole = f"{file}#{_LAST}" if mark else end
        found[whole] = found.get(whole, 0) + count
    *ends, rest = found.items() if found else [("", 0)]
    return [*ends, (None, rest[1])]


async def within(snapshot: Snapshot, source: RecordSource, after: str, until: str | None) -> Catalogue:
    """Read what should be there of a stretch: behind one path, and up to another."""
    path = snapshot.repository.dialect.by_bytes(source.table.c.path)
    conditions = [path > after] if until is None else [path > after, path <= until]
    return await _read(snapshot, source, *conditions)


async def catalogue(snapshot: Snapshot, source: RecordSource, texts: Sequence[str]) -> Catalogue:
    """Read what should be there of some artifacts, by `Recorded.text`."""
    return await _read(snapshot, source, _is_of(snapshot, source, texts))


async def of_datasets(snapshot: Snapshot, source: RecordSource, uuids: Sequence[str]) -> Catalogue:
    """Read what should be there of some datasets."""
    wanted = snapshot.repository.dialect.rows("datasets", {"id": UuidText()}, [(uuid,) for uuid in uuids])
    file = snapshot.repository.dialect.text_before(source.table.c.path, "#")
    chosen = sa.select(file).where(source.own, source.table.c.dataset_id.in_(sa.select(wanted.c.id))).distinct()
    # All that use a file say what it should be.
    texts = [text for (text,) in await snapshot.rows(chosen)]
    return await catalogue(snapshot, source, texts)


async def datasets(snapshot: Snapshot, source: RecordSource) -> int:
    """Count the datasets that there are records of."""
    number = sa.func.count(source.table.c.dataset_id.distinct())
    return int((await snapshot.rows(sa.select(number).where(source.own)))[0][0])


async def elsewhere(snapshot: Snapshot, source: RecordSource) -> set[str]:
    """Find the paths below the root that records have in another form than the store.

    Zip files are among them: records name their members.
    """
    path = source.table.c.path
    odd = sa.or_(*(path.like(pattern, escape="\\") for pattern in _ODD))
    text = snapshot.repository.dialect.text_before(path, "#")
    found = await snapshot.rows(sa.select(text).where(source.own, odd).distinct())
    places = (place_in_store(source.datastore, source.datastore.artifacts.place(text)) for (text,) in found)
    return {path for root, path in places if root == source.datastore.root_uri}


async def known(snapshot: Snapshot, source: RecordSource, paths: Sequence[str]) -> set[str]:
    """Keep the paths that records have in the form that the store has, whoever's they are."""
    texts = [path for path in paths if _is_text(path)]
    if not texts:
        return set()
    file = snapshot.repository.dialect.text_before(source.table.c.path, "#")
    found = sa.select(file).where(_is_of(snapshot, source, texts)).distinct()
    return {path for (path,) in await snapshot.rows(found)}


def _is_of(snapshot: Snapshot, source: RecordSource, texts: Sequence[str]) -> sa.ColumnElement[bool]:
    """Condition that a record is of one of some artifacts, or of a member of one."""
    dialect, path = snapshot.repository.dialect, source.table.c.path
    wanted = dialect.rows("paths", {"path": sa.Text()}, [(text,) for text in texts])
    names = sa.select(wanted.c.path)
    return sa.or_(path.in_(names), sa.and_(path.like("%#%"), dialect.text_before(path, "#").in_(names)))


async def _read(snapshot: Snapshot, source: RecordSource, *conditions: sa.ColumnElement[bool]) -> Catalogue:
    """Read records, and put together those of one artifact; what is in the trash alone need not be there any more."""
    table, tables = source.table, snapshot.repository.tables
    here, trash = (
        sa.select(place.c.dataset_id).where(place.c.datastore_name == source.datastore.name)
        for place in (tables.location, tables.trash)
    )
    is_kept = sa.or_(table.c.dataset_id.not_in(trash), table.c.dataset_id.in_(here))
    columns = (table.c.path, raw(table.c.dataset_id), table.c.file_size, table.c.checksum)
    found = await snapshot.rows(sa.select(*columns).where(source.own, *conditions, is_kept))
    singles: dict[str, Single] = {}
    shared: dict[str, list[_Row]] = {}
    others: dict[tuple[str, str], list[_Row]] = {}
    paths, ids, sizes, checksums = zip(*found, strict=True) if found else ((), (), (), ())
    owners = snapshot.repository.dialect.uuids(ids)
    known = (None if size == -1 else size for size in sizes)
    for path, *what in zip(paths, owners, known, checksums, strict=True):
        if not _is_plain(path):
            place = place_in_store(source.datastore, source.datastore.artifacts.place(path))
            others.setdefault(place, []).append(_Row(path, *what))
        elif path in shared:
            shared[path].append(_Row(path, *what))
        elif path in singles:
            shared[path] = [_Row(path, *singles.pop(path)), _Row(path, *what)]
        else:
            singles[path] = tuple(what)
    for path, rows in shared.items():
        others.setdefault((source.datastore.root_uri, path), []).extend(rows)
    stores: dict[str, list[Recorded]] = {}
    for (root, path), rows in others.items():
        stores.setdefault(root, []).append(_recorded(path, rows))
    return Catalogue(singles, stores)


def _recorded(path: str, rows: Sequence[_Row]) -> Recorded:
    first = rows[0]
    if len(rows) == 1:
        owner = first.dataset_id
    else:
        owner = blake2b("".join(sorted({row.dataset_id for row in rows})).encode(), digest_size=16).hexdigest()
    if member_of(first.path) is not None:
        members = {Member(member_of(row.path) or "", row.size) for row in rows}
        return Recorded(path, first.path.rpartition("#")[0], owner, members=tuple(sorted(members, key=_order)))
    sizes = {row.size for row in rows if row.size is not None}
    checksums = {row.checksum for row in rows if row.checksum is not None}
    return Recorded(path, first.path, owner, tuple(sorted(sizes)), min(checksums, default=None))


def _order(member: Member) -> tuple[str, int]:
    return member.name, -1 if member.size is None else member.size


def _is_plain(path: str) -> bool:
    """Whether a store has a path as its record does: nothing is escaped, expanded, normalised, or a fragment."""
    special = "%" in path or "#" in path or "$" in path or ":" in path or "//" in path or "/." in path
    return not (special or path.startswith(("/", "~", ".")))


def _is_text(path: str) -> bool:
    """Whether a database could hold a path: file names may have bytes that are no UTF-8."""
    return path.isascii() or not any("\ud800" <= character <= "\udfff" for character in path)
