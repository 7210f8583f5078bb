"""The one way to say which datasets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from butlerql.plain import plain
from butlerql.storage.datastores.records import recorded_tables
from butlerql.storage.datastores.tree import Datastore, FileDatastore
from butlerql.storage.dialect import UuidText
from butlerql.storage.errors import InvalidArgumentError, InvalidDataIdError, UnknownCollectionError
from butlerql.storage.globs import is_glob
from butlerql.storage.registry import collections as collection_rows
from butlerql.storage.registry import dataset_types
from butlerql.storage.registry.chains import flatten, search_path
from butlerql.storage.registry.collections import Collection, CollectionType
from butlerql.storage.registry.data_id_values import constraint
from butlerql.storage.registry.dataset_pages import dataset_pages
from butlerql.storage.registry.dataset_types import DatasetType
from butlerql.storage.registry.datasets import Dataset, by_uuids
from butlerql.storage.registry.pages import Page, PageRequest
from butlerql.storage.registry.ranges import Filter, Part, Wanted, counts
from butlerql.storage.registry.summaries import candidates
from butlerql.storage.snapshot import Snapshot

__all__ = [
    "DatasetSelection",
    "DatasetSets",
    "datasets_of_collections",
    "datasets_of_types",
    "governors_of",
    "select",
    "whole_types",
]


@dataclass(frozen=True)
class DatasetSelection:
    """Which datasets: everything given must hold, and an empty list selects nothing.

    Attributes
    ----------
    uuids
        UUIDs as text.
    dataset_types
        Names or globs.
    collections
        Names or globs, searched in the order given if there are no globs. None: every RUN.
    runs
        Names or globs: only datasets whose RUN matches.
    data_id
        What their data IDs must hold, see `constraint`.
    find_first
        Per dataset type and data ID only the first in search order.
    in_datastore, not_in_datastore
        Only datasets that this datastore, or any of its children, has records of, or has none of.
    """

    uuids: Sequence[str] | None = None
    dataset_types: Sequence[str] | None = None
    collections: Sequence[str] | None = None
    runs: Sequence[str] | None = None
    data_id: Mapping[str, Any] | None = None
    find_first: bool = False
    in_datastore: str | None = None
    not_in_datastore: str | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            object.__setattr__(self, name, plain(value))


@dataclass(frozen=True)
class DatasetSets:
    """The datasets of each of several parents."""

    parts: Sequence[Part] = ()
    parents: int = 1
    wanted: Wanted = Wanted.DATASETS
    filters: Sequence[Filter] = ()

    async def pages(self, snapshot: Snapshot, request: PageRequest) -> list[Page[Dataset]]:
        """Read the same page of each; see `dataset_pages`."""
        return await dataset_pages(
            snapshot, self.parts, self.parents, request, wanted=self.wanted, filters=self.filters
        )

    async def counts(self, snapshot: Snapshot, parents: Sequence[int]) -> list[int]:
        """Count those of some parents."""
        chosen = frozenset(parents)
        parts = [part for part in self.parts if part.parent in chosen]
        found = await counts(snapshot, parts, self.parents, self.wanted, self.filters)
        return [found[parent] for parent in parents]


async def select(snapshot: Snapshot, selection: DatasetSelection, *, within: Datastore | None = None) -> DatasetSets:
    """Find out where the datasets of a selection are; with a datastore, only those that it has records of.

    Raises
    ------
    UnknownDatasetTypeError, UnknownCollectionError, UnknownDatastoreError
        Raised if something is named in full and is not there.
    InvalidArgumentError
        Raised if a component is selected, or the first found is asked for without an order of search.
    InvalidDataIdError
        Raised if the data ID makes no sense, or for a dataset type that is named in full.
    """
    kinds = await whole_types(snapshot, ["*"] if selection.dataset_types is None else selection.dataset_types)
    path = await _path(snapshot, selection)
    filters: list[Filter] = []
    if selection.runs is not None:
        filters.append(await _run_filter(snapshot, selection.runs))
    root = snapshot.repository.datastore
    if within is not None:
        filters.append(await _datastore_filter(snapshot, within, absent=False))
    if selection.in_datastore is not None:
        filters.append(await _datastore_filter(snapshot, root.find(selection.in_datastore), absent=False))
    if selection.not_in_datastore is not None:
        filters.append(await _datastore_filter(snapshot, root.find(selection.not_in_datastore), absent=True))
    values = await constraint(snapshot, selection.data_id) if selection.data_id is not None else {}
    if values is None:
        return DatasetSets()
    named = frozenset(name for name in selection.dataset_types or () if not is_glob(name))
    kinds = [kind for kind in kinds if _fits(kind, values, named)]
    data_ids: dict[DatasetType, list[Mapping[str, Any]]] = {kind: [values] for kind in kinds}
    if selection.uuids is not None:
        data_ids = await _data_ids(snapshot, selection.uuids, data_ids)
        filters.append(_uuid_filter(snapshot, selection.uuids))
    where = await candidates(snapshot, path, data_ids, governors_of(snapshot, values))
    parts = [
        Part(0, await dataset_types.position(snapshot, kind), kind, where[kind], data_ids[kind])
        for kind in data_ids
        if where[kind]
    ]
    wanted = Wanted.FIRST if selection.find_first else Wanted.DATASETS
    return DatasetSets(parts, 1, wanted, filters)


async def datasets_of_types(
    snapshot: Snapshot,
    kinds: Sequence[DatasetType],
    collections: Sequence[str] | None,
    data_id: Mapping[str, Any] | None,
    wanted: Wanted,
) -> DatasetSets:
    """Find out where the datasets of each of several dataset types, or of components, are.

    Raises
    ------
    UnknownCollectionError
        Raised if a collection is named in full and is not there.
    InvalidArgumentError, InvalidDataIdError
        See `select`.
    """
    selection = DatasetSelection(collections=collections, find_first=wanted is Wanted.FIRST)
    path = await _path(snapshot, selection)
    values = await constraint(snapshot, data_id) if data_id is not None else {}
    if values is None:
        return DatasetSets(parents=len(kinds))
    for kind in kinds:
        _fits(kind, values, frozenset({kind.name}))
    where = await candidates(snapshot, path, kinds, governors_of(snapshot, values))
    parts = [
        Part(parent, await dataset_types.position(snapshot, kind), kind, where[kind], [values])
        for parent, kind in enumerate(kinds)
    ]
    return DatasetSets(parts, len(kinds), wanted)


async def datasets_of_collections(
    snapshot: Snapshot,
    collections: Sequence[Collection],
    names: Sequence[str],
    data_id: Mapping[str, Any] | None,
    *,
    find_first: bool,
) -> DatasetSets:
    """Find out where the datasets of each of several collections are; chains are searched in order.

    Raises
    ------
    UnknownDatasetTypeError
        Raised if a dataset type is named in full and is not there.
    InvalidArgumentError, InvalidDataIdError
        See `select`.
    """
    kinds = await whole_types(snapshot, names)
    values = await constraint(snapshot, data_id) if data_id is not None else {}
    if values is None:
        return DatasetSets(parents=len(collections))
    named = frozenset(name for name in names if not is_glob(name))
    kinds = [kind for kind in kinds if _fits(kind, values, named)]
    paths = await flatten(snapshot, collections)
    every = list(dict.fromkeys(entry for path in paths for entry in path))
    where = await candidates(snapshot, every, kinds, governors_of(snapshot, values))
    parts = []
    for kind, holders in where.items():
        place, holding = await dataset_types.position(snapshot, kind), frozenset(holders)
        for parent, path in enumerate(paths):
            parts.append(Part(parent, place, kind, [entry for entry in path if entry in holding], [values]))
    return DatasetSets(parts, len(collections), Wanted.FIRST if find_first else Wanted.DATASETS)


async def whole_types(snapshot: Snapshot, names: Sequence[str]) -> list[DatasetType]:
    """List the dataset types that fit names or globs, by name; components have no datasets of their own.

    Raises
    ------
    UnknownDatasetTypeError
        Raised if one is named in full and is not there.
    InvalidArgumentError
        Raised if a component is named.
    """
    kinds = await dataset_types.match(snapshot, names)
    component = next((kind for kind in kinds if kind.is_component), None)
    if component is not None:
        raise InvalidArgumentError(
            f"'{component.name}' is a component. Select '{component.parent_name}' and ask for its component."
        )
    return kinds


async def _path(snapshot: Snapshot, selection: DatasetSelection) -> list[Collection]:
    """Collections in search order, without chains."""
    names = selection.collections
    if names is not None:
        if selection.find_first and any(is_glob(name) for name in names):
            raise InvalidArgumentError("Globs give collections no order. Name them in full to take the first found.")
        return await search_path(snapshot, names)
    if selection.find_first:
        raise InvalidArgumentError("Name the collections in which to take the first found, in the order of the search.")
    return await _runs(snapshot, ["*"])


async def _runs(snapshot: Snapshot, names: Sequence[str]) -> list[Collection]:
    """RUN collections by name; one that is named in full and is no RUN is an error."""
    found = await collection_rows.find(snapshot, names)
    wrong = next((entry for entry in found if entry.type is not CollectionType.RUN and entry.name in names), None)
    if wrong is not None:
        raise UnknownCollectionError(f"'{wrong.name}' is a {wrong.type} collection, not a RUN. Name it in collections.")
    return [entry for entry in found if entry.type is CollectionType.RUN]


async def _run_filter(snapshot: Snapshot, names: Sequence[str]) -> Filter:
    """Only datasets of some runs."""
    dataset = snapshot.repository.tables.dataset
    runs = await _runs(snapshot, names)
    keys = _keys(snapshot, "runs", snapshot.repository.tables.collection_type, [run.key for run in runs])

    def condition(table: sa.FromClause) -> sa.ColumnElement[bool]:
        row = dataset.alias()
        return sa.select(row.c.id).where(row.c.id == table.c.dataset_id, row.c.run.in_(keys)).correlate(table).exists()

    return condition


def _uuid_filter(snapshot: Snapshot, uuids: Sequence[str]) -> Filter:
    """Only some datasets."""
    keys = _keys(snapshot, "uuids", UuidText(), uuids)
    return lambda table: table.c.dataset_id.in_(keys)


def _keys(snapshot: Snapshot, name: str, kind: TypeEngine[Any], values: Sequence[Any]) -> sa.Select[Any]:
    listed = snapshot.repository.dialect.rows(name, {"key": kind}, [(value,) for value in values])
    return sa.select(listed.c.key)


async def _datastore_filter(snapshot: Snapshot, datastore: Datastore, *, absent: bool) -> Filter:
    """Only datasets that a datastore has records of, or only others."""
    tables = snapshot.repository.tables
    known = await recorded_tables(snapshot, datastore)
    everywhere = [
        leaf.records_table for leaf in snapshot.repository.datastore.leaves if isinstance(leaf, FileDatastore)
    ]
    leaves = [leaf for leaf in datastore.leaves if isinstance(leaf, FileDatastore) and leaf.records_table in known]

    def recorded(table: sa.FromClause, leaf: FileDatastore) -> sa.ColumnElement[bool]:
        records = tables.records(leaf.records_table).alias()
        found = sa.select(records.c.dataset_id).where(records.c.dataset_id == table.c.dataset_id)
        if everywhere.count(leaf.records_table) > 1:
            # Datastores that share a table are told apart by the locations alone.
            location = tables.location.alias()
            found = found.join(location, location.c.dataset_id == records.c.dataset_id)
            found = found.where(location.c.datastore_name == leaf.name)
        return found.correlate(table).exists()

    def condition(table: sa.FromClause) -> sa.ColumnElement[bool]:
        found = sa.or_(sa.false(), *(recorded(table, leaf) for leaf in leaves))
        return ~found if absent else found

    return condition


async def _data_ids(
    snapshot: Snapshot, uuids: Sequence[str], wanted: Mapping[DatasetType, Sequence[Mapping[str, Any]]]
) -> dict[DatasetType, list[Mapping[str, Any]]]:
    """Data IDs of some datasets by dataset type: they tell where in the index to look."""
    found: dict[DatasetType, list[Mapping[str, Any]]] = {}
    for dataset in filter(None, await by_uuids(snapshot, uuids)):
        kind = dataset.dataset_type
        for values in wanted.get(kind, ()):
            own = dict(zip(kind.dimensions.required, dataset.data_id, strict=True))
            if all(own.get(name, value) == value for name, value in values.items()):
                found.setdefault(kind, []).append({**own, **values})
    return found


def _fits(kind: DatasetType, values: Mapping[str, Any], named: frozenset[str]) -> bool:
    """Whether a data ID can be asked of a dataset type."""
    foreign = [name for name in values if name not in kind.dimensions.names]
    if foreign and kind.name in named:
        raise InvalidDataIdError(
            f"Dataset type '{kind.name}' has no dimension {', '.join(foreign)}; it has "
            f"{', '.join(kind.dimensions.names) or 'none'}. Leave it out, or name dataset types by a "
            "glob: it passes over those that do not fit."
        )
    return not foreign


def governors_of(snapshot: Snapshot, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of governor dimensions, by which collections are ruled out."""
    return {name: values[name] for name in snapshot.repository.universe.governors if name in values}
