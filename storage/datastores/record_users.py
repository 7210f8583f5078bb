"""Whose artifacts are."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import sqlalchemy as sa

from butlerql.storage.datastores.records import RecordSource
from butlerql.storage.dialect import UuidText, raw
from butlerql.storage.snapshot import Snapshot

__all__ = ["is_of", "may_begin", "users"]


def is_of(snapshot: Snapshot, source: RecordSource, paths: Sequence[str]) -> sa.ColumnElement[bool]:
    """Condition that a record is of one of some artifacts, or of a member of one; see `users`."""
    dialect, path = snapshot.repository.dialect, source.table.c.path
    wanted = dialect.rows("paths", {"path": sa.Text()}, [(one,) for one in paths])
    names = sa.select(wanted.c.path)
    return sa.or_(path.in_(names), sa.and_(path.like("%#%"), dialect.text_before(path, "#").in_(names)))


async def may_begin(snapshot: Snapshot, source: RecordSource, starts: Collection[str]) -> bool:
    """Tell whether any path in the records may begin with one of some texts: on PostgreSQL no index tells."""
    if not snapshot.repository.dialect.indexes_by_bytes:
        return True
    path = source.table.c.path
    any_ = [sa.exists().where(path >= start, path < start[:-1] + chr(ord(start[-1]) + 1)) for start in starts]
    [(is_any,)] = await snapshot.rows(sa.select(sa.or_(*any_)))
    return bool(is_any)


async def users(
    snapshot: Snapshot,
    source: RecordSource,
    paths: Sequence[str],
    *,
    members: bool = True,
    but: Collection[str] = (),
) -> dict[str, list[str]]:
    """Find the datasets that have some artifacts, or members of them, by the paths in the records.

    Parameters
    ----------
    snapshot
        What to read from.
    source
        Where the records are.
    paths
        Which artifacts.
    members
        Whether members of zip files are looked for, which goes through all records; without, it is by the index of
        paths.
    but
        UUIDs of datasets that are not looked for.

    Returns
    -------
    dict
        Path to UUIDs, in order, each once; without the paths that nobody has.
    """
    asked, dialect, record = set(paths), snapshot.repository.dialect, source.table.c
    statement = sa.select(record.path, raw(record.dataset_id)).where(source.own)
    if members:
        statement = statement.where(is_of(snapshot, source, list(asked)))
    else:
        # SQLite would sort all records, to look each up after it. In order, neighbours are on the same pages.
        wanted = dialect.columns("paths", {"path": sa.Text()}, [sorted(asked)])
        statement = statement.select_from(dialect.each(wanted, source.table)).where(record.path == wanted.c.path)
    if but:
        known = dialect.rows("known", {"id": UuidText()}, [(uuid,) for uuid in sorted(but)])
        statement = statement.where(record.dataset_id.not_in(sa.select(known.c.id)))
    rows = await snapshot.rows(statement)
    found: dict[str, set[str]] = {}
    for (text, _), uuid in zip(rows, dialect.uuids([row[1] for row in rows]), strict=True):
        for one in {text, text.partition("#")[0]} if "#" in text else (text,):
            if one in asked:
                found.setdefault(one, set()).add(uuid)
    return {one: sorted(uuids) for one, uuids in found.items()}
