"""Whether registry and datastore agree about what there is.

Of each dataset that a datastore has, the registry has a row of its own, and one that says that the datastore has it;
and the datastore has records. What is in the trash waits for somebody to empty it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from butlerql.storage.datastores.records import RecordSource
from butlerql.storage.datastores.validation.findings import Finding, FindingKind
from butlerql.storage.dialect import UuidText
from butlerql.storage.snapshot import Snapshot

__all__ = ["DISAGREEMENTS", "MOST", "disagreements"]

DISAGREEMENTS = (
    FindingKind.RECORD_WITHOUT_DATASET,
    FindingKind.RECORD_WITHOUT_LOCATION,
    FindingKind.LOCATION_WITHOUT_RECORD,
    FindingKind.STALE_TRASH,
)

MOST = 10_000
"""So many are found at once."""


async def disagreements(
    snapshot: Snapshot,
    source: RecordSource,
    kind: FindingKind,
    *,
    after: str | None = None,
    among: Sequence[str] | None = None,
) -> list[Finding]:
    """Find datasets of which registry and datastore say different things, in the order of their UUIDs.

    Parameters
    ----------
    snapshot
        What to read from.
    source
        Where the datastore's records are.
    kind
        One of `DISAGREEMENTS`.
    after
        Only datasets behind this one.
    among
        Only these datasets.

    Returns
    -------
    list
        `MOST` at most; if it is as many, there may be more.
    """
    dialect = snapshot.repository.dialect
    dataset_id, statement = _suspects(snapshot, source, kind)
    if after is not None:
        statement = statement.where(dataset_id > after)
    if among is not None:
        wanted = dialect.rows("among", {"id": UuidText()}, [(uuid,) for uuid in among])
        statement = statement.where(dataset_id.in_(sa.select(wanted.c.id)))
    found = await snapshot.rows(statement.order_by(dataset_id).limit(MOST))
    return [Finding(kind, path, size, dataset_id=uuid) for uuid, path, size in found]


def _suspects(
    snapshot: Snapshot, source: RecordSource, kind: FindingKind
) -> tuple[sa.ColumnElement[str], sa.Select[Any]]:
    """Select the datasets that something is wrong with: UUID, path and bytes of one of its files."""
    tables, records = snapshot.repository.tables, source.table
    here, trash = (
        sa.select(place.c.dataset_id).where(place.c.datastore_name == source.datastore.name)
        for place in (tables.location, tables.trash)
    )
    files: list[sa.ColumnElement[Any]] = [sa.func.min(records.c.path), sa.func.min(records.c.file_size)]
    if kind in {FindingKind.LOCATION_WITHOUT_RECORD, FindingKind.STALE_TRASH}:
        place = tables.location if kind is FindingKind.LOCATION_WITHOUT_RECORD else tables.trash
        is_its = sa.and_(records.c.dataset_id == place.c.dataset_id, source.own)
        its = (sa.select(column).where(is_its).scalar_subquery() for column in files)
        found = sa.select(place.c.dataset_id, *its).where(place.c.datastore_name == source.datastore.name)
        if kind is FindingKind.LOCATION_WITHOUT_RECORD:
            found = found.where(~sa.exists().where(is_its))
        return place.c.dataset_id, found
    found = sa.select(records.c.dataset_id, *files).where(source.own).group_by(records.c.dataset_id)
    has_row = records.c.dataset_id.in_(sa.select(tables.dataset.c.id))
    if kind is FindingKind.RECORD_WITHOUT_DATASET:
        return records.c.dataset_id, found.where(~has_row)
    return records.c.dataset_id, found.where(
        has_row, records.c.dataset_id.not_in(here), records.c.dataset_id.not_in(trash)
    )
