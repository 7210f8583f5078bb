"""Conditions of a selection on datasets themselves: their UUIDs, runs, ingest dates, and what datastores record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from butlerql.storage.datastores.records import record_sources
from butlerql.storage.datastores.tree import Datastore
from butlerql.storage.dialect import UuidText
from butlerql.storage.registry.collections import Collection
from butlerql.storage.registry.ranges import Filter
from butlerql.storage.snapshot import Snapshot

__all__ = ["datastore_filter", "ingest_filter", "run_filter", "uuid_filter"]


def run_filter(snapshot: Snapshot, runs: Sequence[Collection]) -> Filter:
    """Only datasets of some runs."""
    dataset = snapshot.repository.tables.dataset
    keys = _keys(snapshot, "runs", snapshot.repository.tables.collection_type, [run.key for run in runs])

    def condition(table: sa.FromClause) -> sa.ColumnElement[bool]:
        row = dataset.alias()
        return sa.select(row.c.id).where(row.c.id == table.c.dataset_id, row.c.run.in_(keys)).correlate(table).exists()

    return condition


def ingest_filter(snapshot: Snapshot, after: int | None, before: int | None) -> Filter:
    """Only datasets that were put between two instants, in nanoseconds TAI, and at neither."""
    dataset = snapshot.repository.tables.dataset

    def condition(table: sa.FromClause) -> sa.ColumnElement[bool]:
        row = dataset.alias()
        found = sa.select(row.c.id).where(row.c.id == table.c.dataset_id)
        if after is not None:
            found = found.where(row.c.ingest_date > after)
        if before is not None:
            found = found.where(row.c.ingest_date < before)
        return found.correlate(table).exists()

    return condition


def uuid_filter(snapshot: Snapshot, uuids: Sequence[str]) -> Filter:
    """Only some datasets."""
    keys = _keys(snapshot, "uuids", UuidText(), uuids)
    return lambda table: table.c.dataset_id.in_(keys)


async def datastore_filter(snapshot: Snapshot, datastore: Datastore, *, absent: bool) -> Filter:
    """Only datasets that a datastore has records of, or only others."""
    leaves = set(datastore.leaves)
    sources = [source for source in await record_sources(snapshot) if source.datastore in leaves]

    def condition(table: sa.FromClause) -> sa.ColumnElement[bool]:
        found = sa.or_(sa.false(), *(source.holds(table.c.dataset_id).correlate(table) for source in sources))
        return ~found if absent else found

    return condition


def _keys(snapshot: Snapshot, name: str, kind: TypeEngine[Any], values: Sequence[Any]) -> sa.Select[Any]:
    listed = snapshot.repository.dialect.rows(name, {"key": kind}, [(value,) for value in values])
    return sa.select(listed.c.key)
