"""The datasets of a selection, put down in temporary tables: what a change works on, however many they are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from butlerql.storage.changes import Change
from butlerql.storage.dialect import UuidText
from butlerql.storage.errors import ConflictError, InvalidArgumentError
from butlerql.storage.registry import dataset_types
from butlerql.storage.registry.chosen_rows import ambiguous, chosen_rows
from butlerql.storage.registry.collections import CollectionType
from butlerql.storage.registry.dataset_rows import Read
from butlerql.storage.registry.dataset_types import DatasetType
from butlerql.storage.registry.looked_rows import looked_rows
from butlerql.storage.registry.ranges import Part, Source, TableGroup, Wanted, groups_of
from butlerql.storage.registry.selection import DatasetSelection, DatasetSets, select
from butlerql.storage.repository import Repository
from butlerql.storage.snapshot import Snapshot
from butlerql.storage.universe import DimensionGroup

__all__ = ["Chosen", "check_disjoint", "chosen_datasets", "described", "select_to_change"]

NAMED = 5
"""So many of what is wrong are named in an error."""

_ALL = 2**62

_LISTED = 10_000
"""UUIDs that go into a temporary table at once."""


class Chosen(NamedTuple):
    """Datasets whose memberships are in the same tables."""

    table: sa.Table
    """Has the columns ``dataset_type_id``, ``dataset_id`` and the required dimensions, each dataset once; and ``other``
    for the id of another dataset, which is empty."""

    tags: sa.Table
    calibs: sa.Table | None
    """None if none of them is of a calibration type."""

    dimensions: DimensionGroup
    dataset_types: Sequence[DatasetType]
    """Which they may be of."""

    is_disjoint: bool = False
    """Whether it is certain that no two have the same type and data ID."""

    @property
    def data_id(self) -> list[sa.ColumnElement[Any]]:
        """Columns of the dataset type and of the required dimensions."""
        return [self.table.c.dataset_type_id, *(self.table.c[name] for name in self.dimensions.required)]

    def same_data_id(self, other: sa.FromClause) -> sa.ColumnElement[bool]:
        """Condition that a row of another table is of the same dataset type and data ID."""
        return sa.and_(*(column == other.c[column.name] for column in self.data_id))


@asynccontextmanager
async def chosen_datasets(change: Change, selection: DatasetSelection) -> AsyncIterator[list[Chosen]]:
    """Put down which datasets a selection selects now, so that what is changed of them does not change which they are.

    A few statements for each table that their data IDs are in, however many datasets there are; where regions have to
    be looked at, one more for every some thousand rows.

    Raises
    ------
    InvalidArgumentError
        Raised if the selection does not name datasets, collections or runs, or if it selects components.
    AmbiguousCalibrationError
        Raised if several certifications of one data ID are found first.
    ButlerQLError
        Raised as by `select`.
    """
    if selection.uuids is not None and selection == DatasetSelection(uuids=selection.uuids):
        found = await _listed(change, selection.uuids)
    else:
        sets = await select_to_change(change, selection)
        by_table: dict[str, list[Part]] = {}
        for part in sets.parts:
            by_table.setdefault(part.dataset_type.tags_table, []).append(part)
        found = [
            await _put_down(change, f"butlerql_chosen_{number}", parts, sets)
            for number, (_, parts) in enumerate(sorted(by_table.items()))
        ]
    if change.repository.dialect.name == "postgresql":
        # With statistics that are not of today it would look for one row, by the index of a foreign key, and go through
        # the whole collection for each dataset. Hashing takes as long as there are rows, whatever it believes.
        await change.execute(sa.text("SET LOCAL enable_nestloop = off"))
    yield found
    for chosen in found:
        await change.execute(sa.schema.DropTable(chosen.table))


async def select_to_change(snapshot: Snapshot, selection: DatasetSelection) -> DatasetSets:
    """Find where the datasets of a selection are, of which something is to be changed.

    Raises
    ------
    InvalidArgumentError
        Raised if the selection does not name datasets, collections or runs, or if it selects components.
    ButlerQLError
        Raised as by `select`.
    """
    if selection.uuids is None and selection.collections is None and selection.runs is None:
        raise InvalidArgumentError(
            "A selection that something is changed of has to name uuids, collections or runs; "
            'for the datasets of all runs say collections: ["*"].'
        )
    sets = await select(snapshot, selection)
    if component := next((kind.name for kind in sets.kinds if kind.component is not None), None):
        raise InvalidArgumentError(f"'{component}' is a component: only the whole dataset can be changed. Name that.")
    return sets


async def check_disjoint(change: Change, chosen: Chosen) -> None:
    """Make sure that no two of the datasets have the same type and data ID.

    Raises
    ------
    ConflictError
        Raised if some have; some are named.
    """
    if chosen.is_disjoint:
        return
    several = sa.select(*chosen.data_id).group_by(*chosen.data_id).having(sa.func.count() > 1).limit(NAMED)
    if rows := await change.rows(several):
        raise ConflictError(
            "The selection has several datasets of one type and data ID, of which a collection can have one: "
            f"{'; '.join([await described(change, chosen, row) for row in rows])}. "
            "Select fewer, or the first found only (findFirst)."
        )


async def described(change: Change, chosen: Chosen, row: Sequence[Any]) -> str:
    """Name the dataset type and data ID that a row of `Chosen.data_id` has."""
    [kind] = await dataset_types.by_keys(change, [row[0]])
    data_id = ", ".join(f"{name}: {value}" for name, value in zip(chosen.dimensions.required, row[1:], strict=False))
    return f"{kind.name} {{{data_id}}}"


async def _put_down(change: Change, name: str, parts: Sequence[Part], sets: DatasetSets) -> Chosen:
    chosen = await _empty(change, name, [part.dataset_type for part in parts])
    for group in groups_of(change.repository, parts, sets.filters):
        if group.looks:
            for part in group.parts:
                await _insert_looked(change, chosen, group, part, sets.wanted)
        else:
            await _insert(change, chosen, group, sets.wanted)
    table = chosen.table
    unclear = sa.select(table.c.dataset_type_id).where(table.c.several > 1).limit(1)
    for (key,) in await change.rows(unclear):
        raise ambiguous(next(kind for kind in chosen.dataset_types if kind.key == key))
    # A collection has one dataset of each data ID, unless there are validity ranges.
    of_one = all(
        len(part.collections) == 1 and part.collections[0].type is not CollectionType.CALIBRATION for part in parts
    )
    return chosen._replace(is_disjoint=of_one and len({part.dataset_type.key for part in parts}) == len(parts))


async def _listed(change: Change, uuids: Sequence[str]) -> list[Chosen]:
    """Put down datasets of which nothing is known but who they are, however many; others do not matter."""
    dataset = change.repository.tables.dataset
    listed = _temporary("butlerql_listed", sa.Column("id", UuidText(), primary_key=True))
    await change.execute(sa.schema.CreateTable(listed))
    for begin in range(0, len(uuids), _LISTED):
        rows = [(uuid,) for uuid in uuids[begin : begin + _LISTED]]
        given = sa.select(change.repository.dialect.rows("given", {"id": UuidText()}, rows).c.id).where(sa.true())
        insert = change.repository.dialect.insert(listed).from_select(["id"], given)
        await change.execute(insert.on_conflict_do_nothing())
    # One look-up by index for each, however large the tables are.
    each = change.repository.dialect.each
    of_each = sa.select(dataset.c.dataset_type_id).select_from(each(listed, dataset)).distinct()
    of_each = of_each.where(listed.c.id == dataset.c.id)
    by_table: dict[str, list[DatasetType]] = {}
    for kind in await dataset_types.by_keys(change, [key for (key,) in await change.rows(of_each)]):
        by_table.setdefault(kind.tags_table, []).append(kind)
    found = []
    for number, (_, kinds) in enumerate(sorted(by_table.items())):
        chosen = await _empty(change, f"butlerql_chosen_{number}", kinds)
        tags, names = chosen.tags, chosen.dimensions.required
        keys = [kind.key for kind in kinds]
        memberships = (
            sa.select(tags.c.dataset_type_id, tags.c.dataset_id, sa.literal(1), *(tags.c[name] for name in names))
            .select_from(each(each(listed, dataset), tags))
            .where(
                dataset.c.id == listed.c.id,
                dataset.c.dataset_type_id.in_(keys),
                tags.c.dataset_id == dataset.c.id,
                tags.c.collection == dataset.c.run,
            )
        )
        await change.execute(sa.insert(chosen.table).from_select(list(_columns(change.repository, names)), memberships))
        found.append(chosen)
    await change.execute(sa.schema.DropTable(listed))
    return found


def _temporary(name: str, *columns: sa.Column[Any]) -> sa.Table:
    return sa.Table(name, sa.MetaData(), *columns, prefixes=["TEMPORARY"], postgresql_on_commit="DROP")


async def _empty(change: Change, name: str, kinds: Sequence[DatasetType]) -> Chosen:
    repository = change.repository
    dimensions = kinds[0].dimensions
    columns = [sa.Column(column, kind) for column, kind in _columns(repository, dimensions.required).items()]
    table = _temporary(name, *columns, sa.Column("other", UuidText()))
    await change.execute(sa.schema.CreateTable(table))
    calibs = next((kind.calibs_table for kind in kinds if kind.calibs_table is not None), None)
    tables = repository.tables
    return Chosen(
        table,
        tables.tags(kinds[0].tags_table, dimensions),
        None if calibs is None else tables.calibs(calibs, dimensions),
        dimensions,
        kinds,
    )


def _columns(repository: Repository, dimensions: Sequence[str]) -> Mapping[str, TypeEngine[Any]]:
    return {
        "dataset_type_id": sa.BigInteger(),
        "dataset_id": UuidText(),
        # How many are found first, which should be one.
        "several": sa.BigInteger(),
        **{name: repository.tables.dimension_type(name) for name in dimensions},
    }


async def _insert(change: Change, chosen: Chosen, group: TableGroup, wanted: Wanted) -> None:
    names = group.dimensions.required

    def fields(source: Source, rows: sa.FromClause) -> tuple[sa.Select[Any], list[sa.ColumnElement[Any]]]:
        return source.rows(rows, [source.ranges]), [rows.c.dataset_type_id, *(rows.c[name] for name in names)]

    rows = chosen_rows(group, wanted, fields).subquery().c
    key, *values = (rows[f"field_{index}"] for index in range(len(names) + 1))
    columns = list(_columns(change.repository, names))
    found = sa.select(key, rows.uuid, rows.several, *values)
    await change.execute(sa.insert(chosen.table).from_select(columns, found))


async def _insert_looked(change: Change, chosen: Chosen, group: TableGroup, part: Part, wanted: Wanted) -> None:
    dialect, key = change.repository.dialect, part.dataset_type.key
    columns = _columns(change.repository, group.dimensions.required)
    ask = Read(_ALL, backward=False, wanted=wanted, bounds=())
    async for rows in looked_rows(change, group, part, ask):
        uuids = dialect.uuids([row[3] for row in rows])
        looked = dialect.rows(
            "looked", columns, [(key, uuid, 1, *row[4:]) for uuid, row in zip(uuids, rows, strict=True)]
        )
        await change.execute(sa.insert(chosen.table).from_select(list(columns), sa.select(*looked.c)))
