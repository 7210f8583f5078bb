"""Datasets, and what is known of them by their UUID."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from butlerql.plain import plain
from butlerql.storage.dialect import UuidText
from butlerql.storage.registry import dataset_types
from butlerql.storage.registry.dataset_types import DatasetType
from butlerql.storage.snapshot import Snapshot
from butlerql.storage.universe import DimensionGroup
from butlerql.time_scales import utc_datetime_to_tai_ns

__all__ = ["Dataset", "by_uuids", "ingest_dates", "run_keys", "unregistered"]


class Dataset(NamedTuple):
    """A dataset, or a component of one.

    Attributes
    ----------
    uuid
        Lower case, with hyphens; a component has its parent's.
    dataset_type
        What it is.
    data_id
        Values of the required dimensions, in the order of the dataset type's group.
    run_key
        Its RUN; None where it was found by another collection: `run_keys` tells.
    """

    uuid: str
    dataset_type: DatasetType
    data_id: tuple[Any, ...]
    run_key: int | str | None = None


async def by_uuids(snapshot: Snapshot, uuids: Sequence[str]) -> list[Dataset | None]:
    """Find datasets by UUID; None where there is none.

    One statement, and one more for each tags table they are in; by the primary keys.
    """
    uuids = plain(uuids)
    rows = await _columns(snapshot, set(uuids), "dataset_type_id", "run")
    types = await dataset_types.by_keys(snapshot, [row[1] for row in rows])
    by_table: dict[str, list[tuple[str, DatasetType, Any]]] = {}
    for (uuid, _, run), kind in zip(rows, types, strict=True):
        by_table.setdefault(kind.tags_table, []).append((uuid, kind, run))
    found: dict[str, Dataset] = {}
    for name, entries in by_table.items():
        keys = [(uuid, run) for uuid, _, run in entries]
        data_ids = await _data_ids(snapshot, name, entries[0][1].dimensions, keys)
        found |= {uuid: Dataset(uuid, kind, data_ids[uuid], run) for uuid, kind, run in entries if uuid in data_ids}
    return [found.get(uuid) for uuid in uuids]


async def unregistered(snapshot: Snapshot, uuids: Sequence[str]) -> set[str]:
    """Tell which datasets the registry does not have, in one statement by its primary key."""
    dataset = snapshot.repository.tables.dataset
    wanted = snapshot.repository.dialect.rows("wanted", {"id": UuidText()}, [(uuid,) for uuid in uuids])
    is_there = sa.exists().where(dataset.c.id == wanted.c.id)
    return {uuid for (uuid,) in await snapshot.rows(sa.select(wanted.c.id).where(~is_there))}


async def run_keys(snapshot: Snapshot, datasets: Sequence[Dataset]) -> list[int | str]:
    """Tell the RUN of each dataset, in one statement if any has to be looked up."""
    unknown = [entry.uuid for entry in datasets if entry.run_key is None]
    found = dict(await _columns(snapshot, unknown, "run")) if unknown else {}
    return [found[entry.uuid] if entry.run_key is None else entry.run_key for entry in datasets]


async def ingest_dates(snapshot: Snapshot, datasets: Sequence[Dataset]) -> list[int]:
    """Tell when each dataset was put, in nanoseconds TAI since 1970-01-01 TAI, in one statement."""
    found = dict(await _columns(snapshot, [entry.uuid for entry in datasets], "ingest_date"))
    dates = (found[entry.uuid] for entry in datasets)
    # The datasets manager 1.0.0 keeps UTC timestamps.
    return [date if isinstance(date, int) else utc_datetime_to_tai_ns(date) for date in dates]


async def _columns(snapshot: Snapshot, uuids: Collection[str], *names: str) -> Sequence[Any]:
    """Read UUIDs of datasets and columns of the dataset table, of those that there are; by its primary key."""
    dataset, dialect = snapshot.repository.tables.dataset, snapshot.repository.dialect
    columns = {"id": UuidText()}

    def make() -> sa.Select[Any]:
        wanted = dialect.slots("wanted", columns)
        return sa.select(dataset.c.id, *(dataset.c[name] for name in names)).join_from(
            wanted, dataset, dataset.c.id == wanted.c.id
        )

    statement = snapshot.repository.statements.get(("columns of datasets", names), make)
    return await snapshot.rows(statement, dialect.given("wanted", columns, [(uuid,) for uuid in uuids]))


async def _data_ids(
    snapshot: Snapshot, table: str, dimensions: DimensionGroup, keys: Sequence[tuple[str, Any]]
) -> dict[str, tuple[Any, ...]]:
    """Read the data IDs of datasets, by UUID and run, from the tags table of their types; by its primary key."""
    repository = snapshot.repository
    columns = {"id": UuidText(), "collection": repository.tables.collection_type}

    def make() -> sa.Select[Any]:
        tags, wanted = repository.tables.tags(table, dimensions), repository.dialect.slots("keys", columns)
        matching = sa.and_(tags.c.dataset_id == wanted.c.id, tags.c.collection == wanted.c.collection)
        values = sa.select(tags.c.dataset_id, *(tags.c[name] for name in dimensions.required))
        return values.join_from(wanted, tags, matching)

    statement = repository.statements.get(("data IDs of datasets", table), make)
    rows = await snapshot.rows(statement, repository.dialect.given("keys", columns, keys))
    return {row[0]: tuple(row[1:]) for row in rows}
