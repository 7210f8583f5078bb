"""Whose artifacts are."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from butlerql.storage.datastores.records import RecordSource
from butlerql.storage.dialect import raw
from butlerql.storage.snapshot import Snapshot

__all__ = ["users"]


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
    dialect, path = snapshot.repository.dialect, source.table.c.path
    asked = set(paths)
    wanted = dialect.rows("paths", {"path": sa.Text()}, [(one,) for one in asked])
    names = sa.select(wanted.c.path)
    is_its: sa.ColumnElement[bool] = path.in_(names)
    if members:
        is_its = sa.or_(is_its, sa.and_(path.like("%#%"), dialect.text_before(path, "#").in_(names)))
    rows = await snapshot.rows(sa.select(path, raw(source.table.c.dataset_id)).where(source.own, is_its))
    found: dict[str, set[str]] = {}
    for (text, _), uuid in zip(rows, dialect.uuids([row[1] for row in rows]), strict=True):
        for one in {text, text.partition("#")[0]} if "#" in text else (text,):
            if one in asked:
                found.setdefault(one, set()).add(uuid)
    return {one: sorted(uuids) for one, uuids in found.items()}
