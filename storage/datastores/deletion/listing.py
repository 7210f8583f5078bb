"""The datasets that a plan is made of, by their UUIDs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from butlerql.storage.datastores.deletion.files import leaf_names
from butlerql.storage.datastores.deletion.plans import Plan
from butlerql.storage.dialect import UuidText, raw
from butlerql.storage.registry import dataset_types
from butlerql.storage.registry.collections import by_keys
from butlerql.storage.registry.dataset_types import DatasetType
from butlerql.storage.registry.ingest_days import ingest_day, ingest_day_text
from butlerql.storage.snapshot import Snapshot
from butlerql.storage.universe import DimensionGroup
from butlerql.storage.uuids import hyphenated_each

__all__ = ["Listed", "read_listed", "stored"]


class Listed(NamedTuple):
    """A dataset as the registry knows it."""

    uuid: str
    dataset_type: DatasetType
    data_id: Sequence[Any]
    """Values of the required dimensions."""

    run_key: int | str
    run: str
    ingest_day: str


async def read_listed(snapshot: Snapshot, of_types: Sequence[tuple[str, str]]) -> list[Listed]:
    """Read datasets, by their primary keys: a statement for each table of data IDs.

    Parameters
    ----------
    snapshot
        What to read from.
    of_types
        Names of dataset types, and the UUIDs of their datasets as one text of digits.

    Returns
    -------
    list
        In the order in which they were given, without those that are gone.
    """
    kinds = {kind.name: kind for kind in await dataset_types.all_types(snapshot)}
    listed = [(kinds[name], hyphenated_each([digits])) for name, digits in of_types if name in kinds]
    by_table: dict[str, tuple[DimensionGroup, list[str]]] = {}
    for kind, uuids in listed:
        by_table.setdefault(kind.tags_table, (kind.dimensions, []))[1].extend(uuids)
    found: dict[str, Sequence[Any]] = {}
    for table, (dimensions, uuids) in by_table.items():
        rows = await snapshot.rows(_statement(snapshot, table, dimensions, uuids))
        found.update(zip(snapshot.repository.dialect.uuids([row[0] for row in rows]), rows, strict=True))
    days = {day: ingest_day_text(day) for day in {row[2] for row in found.values()}}
    runs = {one.key: one.name for one in await by_keys(snapshot, {row[1] for row in found.values()})}
    return [
        Listed(uuid, kind, data_id, run, runs[run], days[day])
        for kind, uuids in listed
        for uuid in uuids
        if uuid in found
        for _, run, day, *data_id in (found[uuid],)
    ]


def _statement(snapshot: Snapshot, name: str, dimensions: DimensionGroup, uuids: Sequence[str]) -> sa.Select[Any]:
    tables, dialect = snapshot.repository.tables, snapshot.repository.dialect
    dataset, tags = tables.dataset, tables.tags(name, dimensions)
    wanted = dialect.rows("wanted", {"id": UuidText()}, [(uuid,) for uuid in uuids])
    return (
        sa.select(raw(dataset.c.id), dataset.c.run, ingest_day(tables, dataset.c.ingest_date))
        .add_columns(*(tags.c[dimension] for dimension in dimensions.required))
        .select_from(dialect.each(dialect.each(wanted, dataset), tags))
        .where(dataset.c.id == wanted.c.id, tags.c.dataset_id == wanted.c.id, tags.c.collection == dataset.c.run)
    )


async def stored(snapshot: Snapshot, plan: Plan, uuids: Sequence[str]) -> set[str]:
    """Tell of which datasets the registry says that a plan's datastores have them."""
    location, dialect = snapshot.repository.tables.location, snapshot.repository.dialect
    wanted = dialect.rows("wanted", {"id": UuidText()}, [(uuid,) for uuid in uuids])
    rows = await snapshot.rows(
        sa.select(location.c.dataset_id)
        .select_from(dialect.each(wanted, location))
        .where(
            location.c.dataset_id == wanted.c.id,
            location.c.datastore_name.in_(leaf_names(snapshot.repository, plan)),
        )
    )
    return {row[0] for row in rows}
