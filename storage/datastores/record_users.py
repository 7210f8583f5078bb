"""Whose artifacts are."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from butlerql.storage.datastores.records import RecordSource
from butlerql.storage.dialect import raw
from butlerql.storage.snapshot import Snapshot

__all__ = ["is_of", "users"]


def is_of(
    snapshot: Snapshot, source: RecordSource, paths: Sequence[str], *, members: bool = True
) -> sa.ColumnElement[bool]:
    """Condition that a record is of one of some artifacts, or of a member of one; see `users`."""
    dialect, path = snapshot.repository.dialect, source.table.c.path
    wanted = dialect.rows("paths", {"path": sa.Text()}, [(one,) for one in paths])
    names = sa.select(wanted.c.path)
    is_its: sa.ColumnElement[bool] = path.in_(names)
    return sa.or_(is_its, sa.and_(path.like("%#%"), dialect.text_before(path, "#").in_(names))) if members else is_its


async def users(
    snapshot: Snapshot, source: RecordSource, paths: Sequence[str], *, members: bool = True
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

    Returns
    -------
    dict
        Path to UUIDs, in order, each once; without the paths that nobody has.
    """
    asked = set(paths)
    is_its = is_of(snapshot, source, list(asked), members=members)
    record = source.table.c
    rows = await snapshot.rows(sa.select(record.path, raw(record.dataset_id)).where(source.own, is_its))
    found: dict[str, set[str]] = {}
    for (text, _), uuid in zip(rows, snapshot.repository.dialect.uuids([row[1] for row in rows]), strict=True):
        for one in {text, text.partition("#")[0]} if "#" in text else (text,):
            if one in asked:
                found.setdefault(one, set()).add(uuid)
    return {one: sorted(uuids) for one, uuids in found.items()}
