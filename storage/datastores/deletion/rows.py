"""The Butler's rows about datasets: read whole, taken out, and put back as they were."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeDecorator, TypeEngine

from butlerql.storage.changes import Change
from butlerql.storage.datastores.deletion.plans import DeletionScope
from butlerql.storage.datastores.records import RecordSource
from butlerql.storage.datastores.tree import FileDatastore
from butlerql.storage.dialect import UuidText, raw
from butlerql.storage.registry import dataset_types
from butlerql.storage.registry.collections import by_keys
from butlerql.storage.registry.dataset_types import DatasetType
from butlerql.storage.snapshot import Snapshot

__all__ = [
    "DATASET",
    "LOCATION",
    "Rows",
    "RowsOf",
    "association_tables",
    "by_table",
    "given_rows",
    "insert_rows",
    "located_elsewhere",
    "lock_datasets",
    "read_rows",
    "remove_rows",
]

Rows = dict[str, list[dict[str, Any]]]
"""Rows of one dataset: ``dataset``, ``location``, ``tags:<table>``, ``calibs:<table>``, ``records:<datastore>``.

Columns go by the names that `Tables` has for them. Where rows refer to a dataset type or a collection, its name is
with them (``dataset_type_name``, ``collection_name``), for who reads them without the registry.
"""

RowsOf = dict[str, Rows]
"""By the UUID of the dataset; one that has none is not in it."""

DATASET, LOCATION = "dataset", "location"


async def read_rows(
    snapshot: Snapshot,
    scope: DeletionScope,
    uuids: Sequence[str],
    sources: Sequence[RecordSource],
    names: Sequence[str],
) -> RowsOf:
    """Read what would go with some datasets: a statement a table.

    Parameters
    ----------
    snapshot
        What to read from.
    scope
        Files and their records alone, or all there is of the datasets.
    uuids
        Which datasets.
    sources
        Where the records of the datastores are.
    names
        Names of the datastores.
    """
    tables, wanted = snapshot.repository.tables, _wanted(snapshot, uuids)
    found: RowsOf = {uuid: {} for uuid in uuids}
    for source in sources:
        records = await _read(snapshot, wanted, source.table, source.own)
        _add(found, f"records:{source.datastore.name}", records)
    here = tables.location.c.datastore_name.in_(names)
    _add(found, LOCATION, await _read(snapshot, wanted, tables.location, here))
    if scope is DeletionScope.PURGE:
        await _read_registry(snapshot, wanted, found)
    return {uuid: rows for uuid, rows in found.items() if rows}


async def _read_registry(snapshot: Snapshot, wanted: sa.FromClause, found: RowsOf) -> None:
    tables = snapshot.repository.tables
    dataset = await _read(snapshot, wanted, tables.dataset, sa.true(), key="id")
    kinds = {
        kind.key: kind for kind in await dataset_types.by_keys(snapshot, {row["dataset_type_id"] for row in dataset})
    }
    for row in dataset:
        row["dataset_type_name"] = kinds[row["dataset_type_id"]].name
    held = {
        name: await _read(snapshot, wanted, table, sa.true())
        for name, table in association_tables(snapshot, kinds.values()).items()
    }
    keys = {row["run"] for row in dataset}.union(row["collection"] for rows in held.values() for row in rows)
    named = {one.key: one.name for one in await by_keys(snapshot, list(keys))}
    for row in dataset:
        row["collection_name"] = named[row["run"]]
    _add(found, DATASET, dataset, key="id")
    for name, rows in held.items():
        for row in rows:
            row["collection_name"] = named[row["collection"]]
        _add(found, name, rows)


def association_tables(snapshot: Snapshot, kinds: Iterable[DatasetType]) -> dict[str, sa.Table]:
    """Give the tables of the memberships of datasets of some types, as `Rows` names them."""
    tables = snapshot.repository.tables
    found = {}
    for kind in kinds:
        found[f"tags:{kind.tags_table}"] = tables.tags(kind.tags_table, kind.dimensions)
        if kind.calibs_table is not None:
            found[f"calibs:{kind.calibs_table}"] = tables.calibs(kind.calibs_table, kind.dimensions)
    return dict(sorted(found.items()))


async def lock_datasets(change: Change, uuids: Sequence[str]) -> None:
    """Keep others from tagging, certifying, pruning or storing some datasets until the end.

    In the order in which a Butler that prunes takes its locks, so that neither waits for the other for ever.
    """
    tables = change.repository.tables
    if change.repository.dialect.name == "sqlite":
        return  # Who writes is alone.
    ids = sa.select(_wanted(change, uuids).c.id)
    for column in (tables.location.c.dataset_id, tables.dataset.c.id):
        await change.rows(sa.select(column).where(column.in_(ids)).order_by(column).with_for_update())


async def located_elsewhere(snapshot: Snapshot, uuids: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Find datasets of which the registry says that another datastore has them: UUID to its name."""
    location = snapshot.repository.tables.location.c
    ids = sa.select(_wanted(snapshot, uuids).c.id)
    rows = sa.select(location.dataset_id, location.datastore_name)
    rows = rows.where(location.dataset_id.in_(ids), location.datastore_name.not_in(names))
    return {row[0]: row[1] for row in await snapshot.rows(rows)}


async def remove_rows(
    change: Change, scope: DeletionScope, uuids: Sequence[str], sources: Sequence[RecordSource], names: Sequence[str]
) -> None:
    """Take out what `read_rows` reads; a statement a table. What is in collections goes with the dataset."""
    tables = change.repository.tables
    ids = sa.select(_wanted(change, uuids).c.id)
    for source in sources:
        table = tables.records(source.datastore.records_table)
        own = source.own
        if not isinstance(own, sa.sql.elements.True_):
            # Several datastores share the table: the condition is one of the alias that it was made for.
            mine = sa.select(source.table.c.path).where(source.table.c.dataset_id.in_(ids), own)
            await change.execute(sa.delete(table).where(table.c.dataset_id.in_(ids), table.c.path.in_(mine)))
        else:
            await change.execute(sa.delete(table).where(table.c.dataset_id.in_(ids)))
    location = tables.location
    await change.execute(
        sa.delete(location).where(location.c.dataset_id.in_(ids), location.c.datastore_name.in_(names))
    )
    if scope is DeletionScope.PURGE:
        await change.execute(sa.delete(tables.dataset).where(tables.dataset.c.id.in_(ids)))


async def insert_rows(change: Change, rows: Iterable[Rows]) -> None:
    """Put rows back, a statement a table, in the order in which they refer to each other.

    Raises
    ------
    sqlalchemy.exc.IntegrityError
        Raised if something is in their place, or what they refer to is gone.
    """
    for table, some in await by_table(change, rows):
        given = given_rows(change, table, some)
        await change.execute(sa.insert(table).from_select([column.key for column in table.c], sa.select(*given.c)))


async def by_table(change: Change, rows: Iterable[Rows]) -> list[tuple[sa.Table, list[dict[str, Any]]]]:
    """Put the rows of datasets together, table by table, in the order in which they refer to each other."""
    tables = change.repository.tables
    found: dict[str, list[dict[str, Any]]] = {}
    for one in rows:
        for name, some in one.items():
            found.setdefault(name, []).extend(some)
    associations = association_tables(change, await dataset_types.all_types(change))
    order = {DATASET: 0, "tags": 1, "calibs": 2, LOCATION: 3, "records": 4}
    ordered = []
    for name in sorted(found, key=lambda name: (order[name.partition(":")[0]], name)):
        if name in {DATASET, LOCATION}:
            table = tables.dataset if name == DATASET else tables.location
        elif name.startswith("records:"):
            leaf = change.repository.datastore.find(name.partition(":")[2])
            assert isinstance(leaf, FileDatastore)
            table = tables.records(leaf.records_table)
        else:
            table = associations[name]
        ordered.append((table, found[name]))
    return ordered


def given_rows(change: Change, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> sa.FromClause:
    """Make a table of values like another, of rows as they were read."""
    columns = list(table.c)
    types: dict[str, TypeEngine[Any]] = {
        column.key: sa.Text() if _is_written(column) else column.type for column in columns
    }
    given = change.repository.dialect.rows("given", types, [[row.get(name) for name in types] for row in rows])
    on_postgresql = change.repository.dialect.name == "postgresql"
    return sa.select(
        *(
            sa.cast(given.c[column.key], _sql_type(column)).label(column.key)
            if on_postgresql and _is_written(column)
            else given.c[column.key]
            for column in columns
        )
    ).subquery()


def _is_written(column: sa.ColumnElement[Any]) -> bool:
    """Whether what a column holds is kept as the database writes it: ranges, and moments of some older registries."""
    kind = column.type
    return isinstance(kind, postgresql.INT8RANGE) or (
        isinstance(kind, TypeDecorator) and not isinstance(kind, UuidText)
    )


def _sql_type(column: sa.ColumnElement[Any]) -> TypeEngine[Any]:
    return column.type.impl_instance if isinstance(column.type, TypeDecorator) else column.type


async def _read(
    snapshot: Snapshot,
    wanted: sa.FromClause,
    table: sa.FromClause,
    own: sa.ColumnElement[bool],
    *,
    key: str = "dataset_id",
) -> list[dict[str, Any]]:
    dialect, others = snapshot.repository.dialect, [column for column in table.c if column.key != key]
    shown = [sa.cast(column, sa.Text) if _is_written(column) else column for column in others]
    statement = (
        sa.select(raw(table.c[key]), *shown)
        .select_from(dialect.each(wanted, table))
        .where(table.c[key] == wanted.c.id, own)
    )
    rows = await snapshot.rows(statement)
    if not rows:
        return []
    names = [key, *(str(column.key) for column in others)]
    ids, *columns = zip(*rows, strict=True)
    return [dict(zip(names, row, strict=True)) for row in zip(dialect.uuids(ids), *columns, strict=True)]


def _wanted(snapshot: Snapshot, uuids: Sequence[str]) -> sa.FromClause:
    # In their order, neighbours are found on the same pages of the index.
    return snapshot.repository.dialect.columns("wanted", {"id": UuidText()}, [sorted(uuids)])


def _add(found: RowsOf, name: str, rows: Iterable[dict[str, Any]], *, key: str = "dataset_id") -> None:
    for row in rows:
        its = found[row[key]]
        if name in its:
            its[name].append(row)
        else:
            its[name] = [row]
