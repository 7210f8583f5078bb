"""What the records say should be in a datastore, a stretch at a time, in the order in which a store is listed."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Sequence
from functools import reduce
from typing import NamedTuple

import sqlalchemy as sa

from butlerql.storage.datastores.artifacts.stores import place_in_store
from butlerql.storage.datastores.record_users import is_of
from butlerql.storage.datastores.records import RecordSource
from butlerql.storage.datastores.tree import FileDatastore
from butlerql.storage.datastores.validation.recorded import UNKNOWN, Plain, Recorded, Row
from butlerql.storage.dialect import UuidText, raw
from butlerql.storage.snapshot import Snapshot

__all__ = ["Catalogue", "catalogue", "datasets", "elsewhere", "is_text", "known", "of_datasets", "stretches", "within"]

_ODD = ("%\\%%", "%#%", "%$%", "~%", "/%", ".%", "%:%", "%//%", "%/.%")
"""Patterns of LIKE: what is like none is plain, see `_are_plain`."""

_SPECIAL, _ODD_STEP = "%#$:", re.compile("/[/~.]")
"""The same, behind a slash."""

_LAST = "\U0010ffff"
"""What comes behind all other characters."""


class Catalogue(NamedTuple):
    """What records say should be there."""

    plain: Plain

    others: dict[str, list[Recorded]]
    """The rest, by the absolute URI of the store that it is in: the datastore's, or that of what lies outside."""

    @property
    def texts(self) -> list[str]:
        """Paths of all, as in the records."""
        return [*self.plain.names, *(one.text for found in self.others.values() for one in found)]


async def stretches(
    snapshot: Snapshot, source: RecordSource, after: str, files: int, bytes_: int | None
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
        About how many records, and how many bytes of files, a stretch has at most; None: as many as there are.

    Returns
    -------
    list
        Of each stretch, in order, the path at which it ends, None for the last, which goes on to the end; and the
        number of its records.
    """
    dialect = snapshot.repository.dialect
    path = dialect.by_bytes(source.table.c.path)
    if bytes_ is None and dialect.indexes_by_bytes:
        ends = _whole(await _steps(snapshot, source, after, files))
    else:
        numbers: list[sa.ColumnElement[int]] = [sa.func.row_number().over(order_by=path) // files]
        if bytes_ is not None:
            size = sa.case((source.table.c.file_size > 0, source.table.c.file_size), else_=0)
            before = sa.func.sum(size).over(order_by=path, rows=(None, 0))
            numbers.append(sa.cast(before, sa.BigInteger) // bytes_)
        stretch = reduce(operator.add, numbers).label("stretch")
        numbered = sa.select(path.label("path"), stretch).where(source.own, path > after).subquery()
        last = sa.func.max(dialect.by_bytes(numbered.c.path))
        found = await snapshot.rows(sa.select(last, sa.func.count()).group_by(numbered.c.stretch).order_by(last))
        ends = _whole(found)
    *others, rest = ends.items() if ends else [("", 0)]
    return [*others, (None, rest[1])]


async def _steps(snapshot: Snapshot, source: RecordSource, after: str, files: int) -> list[tuple[str, int]]:
    """Go along the index of paths: the end of each stretch, and how many records it has."""
    path = source.table.c.path
    found: list[tuple[str, int]] = []
    while True:
        ahead = sa.select(path).where(source.own, path > after).order_by(path)
        end = await snapshot.rows(ahead.offset(files - 1).limit(1))
        if not end:
            number = sa.select(sa.func.count()).select_from(ahead.subquery())
            rest = int((await snapshot.rows(number))[0][0])
            return [*found, (_LAST, rest)] if rest else found
        after = end[0][0]
        found.append((after, files))


def _whole(ends: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Have all members of a zip file in one stretch."""
    found: dict[str, int] = {}
    for end, count in ends:
        file, mark, _ = end.partition("#")
        whole = f"{file}#{_LAST}" if mark else end
        found[whole] = found.get(whole, 0) + count
    return found


async def within(
    snapshot: Snapshot, source: RecordSource, after: str, until: str | None, *, checksums: bool
) -> Catalogue:
    """Read what should be there of a stretch: behind one path, and up to another; checksums only if they are needed."""
    path = snapshot.repository.dialect.by_bytes(source.table.c.path)
    conditions = [path > after] if until is None else [path > after, path <= until]
    return await _read(snapshot, source, *conditions, checksums=checksums)


async def catalogue(snapshot: Snapshot, source: RecordSource, texts: Sequence[str], *, checksums: bool) -> Catalogue:
    """Read what should be there of some artifacts, by `Recorded.text`."""
    return await _read(snapshot, source, is_of(snapshot, source, texts), checksums=checksums)


async def of_datasets(snapshot: Snapshot, source: RecordSource, uuids: Sequence[str], *, checksums: bool) -> Catalogue:
    """Read what should be there of some datasets."""
    wanted = snapshot.repository.dialect.rows("datasets", {"id": UuidText()}, [(uuid,) for uuid in uuids])
    file = snapshot.repository.dialect.text_before(source.table.c.path, "#")
    chosen = sa.select(file).where(source.own, source.table.c.dataset_id.in_(sa.select(wanted.c.id))).distinct()
    # All that use a file say what it should be.
    texts = [text for (text,) in await snapshot.rows(chosen)]
    return await catalogue(snapshot, source, texts, checksums=checksums)


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
    texts = [path for path in paths if is_text(path)]
    if not texts:
        return set()
    file = snapshot.repository.dialect.text_before(source.table.c.path, "#")
    found = sa.select(file).where(is_of(snapshot, source, texts)).distinct()
    return {path for (path,) in await snapshot.rows(found)}


async def _read(
    snapshot: Snapshot, source: RecordSource, *conditions: sa.ColumnElement[bool], checksums: bool
) -> Catalogue:
    """Read records, and put together those of one artifact; what is in the trash alone need not be there any more."""
    table, tables = source.table, snapshot.repository.tables
    here, trash = (
        sa.select(place.c.dataset_id).where(place.c.datastore_name == source.datastore.name)
        for place in (tables.location, tables.trash)
    )
    is_kept = sa.or_(table.c.dataset_id.not_in(trash), table.c.dataset_id.in_(here))
    chosen = (source.own, *conditions, is_kept)
    columns = [
        table.c.path,
        sa.cast(raw(table.c.dataset_id), sa.Text),
        sa.func.coalesce(sa.cast(table.c.file_size, sa.Text), UNKNOWN),
    ]
    if checksums:
        columns.append(sa.func.coalesce(table.c.checksum, ""))
    lines = (sa.func.aggregate_strings(column, "\n") for column in columns)
    [(number, *texts)] = await snapshot.rows(sa.select(sa.func.count(), *lines).where(*chosen))
    if not number:
        return Catalogue(Plain(), {})
    plain = Plain(number, *texts)
    if not plain.is_whole:
        rows = [Row(*row) for row in await snapshot.rows(sa.select(*columns).where(*chosen))]
    elif _are_plain(plain.paths):
        return Catalogue(plain, {})
    else:
        rows = plain.rows
    return _catalogue(source.datastore, rows)


def _catalogue(datastore: FileDatastore, rows: Sequence[Row]) -> Catalogue:
    """Put together what is recorded of one artifact."""
    places: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        path, root = row.path, datastore.root_uri
        place = (root, path) if _are_plain(path) else place_in_store(datastore, datastore.artifacts.place(path))
        places.setdefault(place, []).append(row)
    plain: list[Row] = []
    others: dict[str, list[Recorded]] = {}
    for (root, path), found in places.items():
        if root == datastore.root_uri and all(row.path == path and "\n" not in "".join(row) for row in found):
            plain += found
        else:
            others.setdefault(root, []).append(Recorded.of(path, found))
    return Catalogue(Plain.of(plain), others)


def _are_plain(paths: str) -> bool:
    """Whether a store has paths, one a line, as their records do: none is escaped, expanded, normalised, a fragment."""
    # All at once: this is asked of millions.
    steps = f"/{paths}".replace("\n", "/")
    return not any(special in steps for special in _SPECIAL) and _ODD_STEP.search(steps) is None


def is_text(path: str) -> bool:
    """Whether a database could hold a path: file names may have bytes that are no UTF-8."""
    return path.isascii() or not any("\ud800" <= character <= "\udfff" for character in path)
