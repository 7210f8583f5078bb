"""The one way to say which datasets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from butlerql.plain import plain
from butlerql.storage.datastores.tree import Datastore
from butlerql.storage.errors import InvalidArgumentError, UnknownCollectionError
from butlerql.storage.globs import is_glob
from butlerql.storage.provenance.filters import QuantumFilter
from butlerql.storage.registry import collections as collection_rows
from butlerql.storage.registry import dataset_types
from butlerql.storage.registry.chains import flatten, search_path
from butlerql.storage.registry.collections import Collection, CollectionType
from butlerql.storage.registry.data_id_values import constraint
from butlerql.storage.registry.dataset_counts import counts
from butlerql.storage.registry.dataset_groups import DatasetGroup, GroupKey, dataset_groups
from butlerql.storage.registry.dataset_pages import dataset_pages
from butlerql.storage.registry.dataset_types import DatasetType
from butlerql.storage.registry.datasets import Dataset, by_uuids
from butlerql.storage.registry.generated import Generated, generated_by
from butlerql.storage.registry.orders import DatasetOrder
from butlerql.storage.registry.pages import Page, PageRequest
from butlerql.storage.registry.ranges import Filter, Part, Wanted
from butlerql.storage.registry.selection_filters import datastore_filter, ingest_filter, run_filter, uuid_filter
from butlerql.storage.registry.sorted_pages import sorted_pages
from butlerql.storage.registry.summaries import candidates
from butlerql.storage.registry.taking_part import TakingPart, taking_part
from butlerql.storage.registry.where import EVERYTHING, Where
from butlerql.storage.snapshot import Snapshot

__all__ = [
    "DatasetSelection",
    "DatasetSets",
    "datasets_of_collections",
    "datasets_of_types",
    "governors_of",
    "select",
]

_FEW_PLACES = 20_000
"""So many data IDs in collections are found faster one by one than among all that the collections hold."""


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
    where
        What has to hold of them, or of what is related to them.
    related
        Whether dataset types that lack a dimension of the conditions are related to it; None: only those that are named
        in full. The others, of which a glob speaks, do not take part.
    find_first
        Per dataset type and data ID only the first in search order.
    ingested_after, ingested_before
        When they were put, in nanoseconds TAI: after the first, and before the second.
    in_datastore, not_in_datastore
        Only datasets that this datastore, or any of its children, has records of, or has none of.
    generated_by
        Only what these units of work wrote into their runs, see `butlerql.storage.provenance.outputs`; its data ID is
        what a user wrote, see `constraint`.
    """

    uuids: Sequence[str] | None = None
    dataset_types: Sequence[str] | None = None
    collections: Sequence[str] | None = None
    runs: Sequence[str] | None = None
    data_id: Mapping[str, Any] | None = None
    where: Where = EVERYTHING
    related: bool | None = None
    find_first: bool = False
    ingested_after: int | None = None
    ingested_before: int | None = None
    in_datastore: str | None = None
    not_in_datastore: str | None = None
    generated_by: QuantumFilter | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            object.__setattr__(self, name, plain(value))


@dataclass(frozen=True)
class DatasetSets:
    """The datasets of each of several parents."""

    kinds: Sequence[DatasetType] = ()
    """Dataset types that were asked for, whether or not there may be any datasets of them."""
    parts: Sequence[Part] = ()
    parents: int = 1
    wanted: Wanted = Wanted.DATASETS
    filters: Sequence[Filter] = ()
    unrelated: Sequence[str] = ()
    """Names of dataset types that are left out, since nothing relates them to the conditions."""
    generated: Generated | None = None
    """What one of the filters is about, which has to be brought into each snapshot."""

    async def pages(
        self, snapshot: Snapshot, request: PageRequest, order_by: Sequence[str] | None = None
    ) -> list[Page[Dataset]]:
        """Read the same page of each; see `dataset_pages`, and `sorted_pages` where there is an order.

        Raises
        ------
        InvalidExpressionError
            Raised if there is nothing of which the datasets could be ordered by a name.
        """
        await self._bring(snapshot)
        if not order_by:
            return await dataset_pages(
                snapshot, self.parts, self.parents, request, wanted=self.wanted, filters=self.filters
            )
        order = DatasetOrder(order_by, self.kinds)
        return await sorted_pages(
            snapshot, self.parts, self.parents, request, order, wanted=self.wanted, filters=self.filters
        )

    async def counts(self, snapshot: Snapshot, parents: Sequence[int]) -> list[int]:
        """Count those of some parents."""
        await self._bring(snapshot)
        found = await counts(snapshot, self._of(parents), self.parents, self.wanted, self.filters)
        return [found[parent] for parent in parents]

    async def groups(
        self, snapshot: Snapshot, parents: Sequence[int], by: Sequence[GroupKey], datastore: Datastore | None = None
    ) -> list[list[DatasetGroup]]:
        """Count those of some parents, and their artifacts and bytes, broken down; see `dataset_groups`.

        Raises
        ------
        AmbiguousCalibrationError
            Raised if several certifications of one data ID are found first.
        """
        await self._bring(snapshot)
        found = await dataset_groups(
            snapshot,
            self._of(parents),
            self.parents,
            by,
            wanted=self.wanted,
            filters=self.filters,
            datastore=datastore,
        )
        return [found[parent] for parent in parents]

    async def _bring(self, snapshot: Snapshot) -> None:
        if self.generated is not None:
            await self.generated.bring(snapshot)

    def _of(self, parents: Sequence[int]) -> list[Part]:
        chosen = frozenset(parents)
        return [part for part in self.parts if part.parent in chosen]


async def select(snapshot: Snapshot, selection: DatasetSelection, *, within: Datastore | None = None) -> DatasetSets:
    """Find out where the datasets of a selection are; with a datastore, only those that it has records of.

    Raises
    ------
    UnknownDatasetTypeError, UnknownComponentError, UnknownCollectionError, UnknownDatastoreError
        Raised if something is named in full and is not there.
    InvalidArgumentError
        Raised if the first found is asked for without an order of search.
    InvalidDataIdError, InvalidExpressionError, UnsupportedJoinError
        Raised if a condition makes no sense, or none for a dataset type that is named in full.
    LimitExceededError, StateError
        Raised if it cannot be told what units of work wrote; see `generated_by`.
    """
    names = ["*"] if selection.dataset_types is None else selection.dataset_types
    kinds = await dataset_types.match(snapshot, names)
    path = await _path(snapshot, selection)
    filters = await _filters(snapshot, selection, within)
    values = await constraint(snapshot, selection.data_id) if selection.data_id is not None else {}
    if values is None:
        return DatasetSets()
    found = taking_part(snapshot.repository, kinds, names, values, selection.where, selection.related)
    generated = None
    if selection.generated_by is not None:
        generated = await generated_by(snapshot, selection.generated_by)
        if generated is None:
            return DatasetSets()
        path = [entry for entry in path if entry.type is not CollectionType.RUN or entry.name in generated.runs]
        filters += await _generated_filters(snapshot, generated, path)
    if selection.uuids is not None:
        found = await _of_uuids(snapshot, selection.uuids, found)
        filters.append(uuid_filter(snapshot, selection.uuids))
    elif generated is not None and generated.few is not None and len(generated.few) * len(path) <= _FEW_PLACES:
        found = await _of_uuids(snapshot, generated.few, found)
    where = await candidates(snapshot, path, found.types, governors_of(snapshot, values))
    parts = await found.parts(snapshot, 0, where)
    wanted = Wanted.FIRST if selection.find_first else Wanted.DATASETS
    return DatasetSets(found.types, parts, 1, wanted, filters, found.unrelated, generated)


async def datasets_of_types(
    snapshot: Snapshot,
    kinds: Sequence[DatasetType],
    collections: Sequence[str] | None,
    data_id: Mapping[str, Any] | None,
    where: Where,
    wanted: Wanted,
) -> DatasetSets:
    """Find out where the datasets of each of several dataset types, or of components, are.

    Raises
    ------
    UnknownCollectionError
        Raised if a collection is named in full and is not there.
    InvalidArgumentError, InvalidDataIdError, InvalidExpressionError, UnsupportedJoinError
        See `select`.
    """
    selection = DatasetSelection(collections=collections, find_first=wanted is Wanted.FIRST)
    path = await _path(snapshot, selection)
    values = await constraint(snapshot, data_id) if data_id is not None else {}
    if values is None:
        return DatasetSets(parents=len(kinds))
    each = [taking_part(snapshot.repository, [kind], [kind.name], values, where) for kind in kinds]
    places = await candidates(snapshot, path, kinds, governors_of(snapshot, values))
    parts = [part for parent, found in enumerate(each) for part in await found.parts(snapshot, parent, places)]
    return DatasetSets(kinds, parts, len(kinds), wanted)


async def datasets_of_collections(
    snapshot: Snapshot,
    collections: Sequence[Collection],
    names: Sequence[str],
    data_id: Mapping[str, Any] | None,
    where: Where,
    *,
    find_first: bool,
) -> DatasetSets:
    """Find out where the datasets of each of several collections are; chains are searched in order.

    Raises
    ------
    UnknownDatasetTypeError, UnknownComponentError
        Raised if a dataset type is named in full and is not there.
    InvalidArgumentError, InvalidDataIdError, InvalidExpressionError, UnsupportedJoinError
        See `select`.
    """
    kinds = await dataset_types.match(snapshot, names)
    values = await constraint(snapshot, data_id) if data_id is not None else {}
    if values is None:
        return DatasetSets(parents=len(collections))
    found = taking_part(snapshot.repository, kinds, names, values, where)
    paths = await flatten(snapshot, collections)
    every = list(dict.fromkeys(entry for path in paths for entry in path))
    holders = await candidates(snapshot, every, found.types, governors_of(snapshot, values))
    parts = []
    for parent, path in enumerate(paths):
        own = {kind: [entry for entry in path if entry in set(some)] for kind, some in holders.items()}
        parts += await found.parts(snapshot, parent, own)
    wanted = Wanted.FIRST if find_first else Wanted.DATASETS
    return DatasetSets(found.types, parts, len(collections), wanted, unrelated=found.unrelated)


async def _path(snapshot: Snapshot, selection: DatasetSelection) -> list[Collection]:
    """Collections in search order, without chains."""
    names = selection.collections
    if names is not None:
        if selection.find_first and any(is_glob(name) for name in names):
            raise InvalidArgumentError("Globs give collections no order. Name them in full to take the first found.")
        return await search_path(snapshot, names)
    if selection.find_first:
        raise InvalidArgumentError("Name the collections in which to take the first found, in the order of the search.")
    return await _runs(snapshot, ["*"] if selection.runs is None else selection.runs)


async def _runs(snapshot: Snapshot, names: Sequence[str]) -> list[Collection]:
    """RUN collections by name; one that is named in full and is no RUN is an error."""
    found = await collection_rows.find(snapshot, names)
    wrong = next((entry for entry in found if entry.type is not CollectionType.RUN and entry.name in names), None)
    if wrong is not None:
        raise UnknownCollectionError(f"'{wrong.name}' is a {wrong.type} collection, not a RUN. Name it in collections.")
    return [entry for entry in found if entry.type is CollectionType.RUN]


async def _filters(snapshot: Snapshot, selection: DatasetSelection, within: Datastore | None) -> list[Filter]:
    """Make the conditions on datasets themselves."""
    filters: list[Filter] = []
    # Without collections, those that are searched are the runs.
    if selection.runs is not None and selection.collections is not None:
        filters.append(run_filter(snapshot, await _runs(snapshot, selection.runs)))
    if selection.ingested_after is not None or selection.ingested_before is not None:
        filters.append(ingest_filter(snapshot, selection.ingested_after, selection.ingested_before))
    root = snapshot.repository.datastore
    if within is not None:
        filters.append(await datastore_filter(snapshot, within, absent=False))
    if selection.in_datastore is not None:
        filters.append(await datastore_filter(snapshot, root.find(selection.in_datastore), absent=False))
    if selection.not_in_datastore is not None:
        filters.append(await datastore_filter(snapshot, root.find(selection.not_in_datastore), absent=True))
    return filters


async def _generated_filters(snapshot: Snapshot, generated: Generated, path: Sequence[Collection]) -> list[Filter]:
    """Only what was written by units of work, and is in the runs of some of them."""
    if generated.few is not None:
        filters = [uuid_filter(snapshot, generated.few)]
    else:
        await generated.bring(snapshot)
        filters = [generated.condition]
    if any(entry.type is not CollectionType.RUN for entry in path):
        runs = await collection_rows.by_names(snapshot, generated.runs)
        filters.append(run_filter(snapshot, list(runs.values())))
    return filters


async def _of_uuids(snapshot: Snapshot, uuids: Sequence[str], wanted: TakingPart) -> TakingPart:
    """Look only where the data IDs of some datasets are: they tell where in the index that is."""
    # Each data ID once, though datasets of several runs may share it.
    by_key: dict[int, dict[tuple[Any, ...], Mapping[str, Any]]] = {}
    for dataset in filter(None, await by_uuids(snapshot, uuids)):
        own = dict(zip(dataset.dataset_type.dimensions.required, dataset.data_id, strict=True))
        by_key.setdefault(dataset.dataset_type.key, {})[dataset.data_id] = own
    members = []
    for member in wanted.members:
        data_ids = [
            {**own, **wanted.values}
            for own in by_key.get(member.dataset_type.key, {}).values()
            if all(own.get(name, value) == value for name, value in wanted.values.items())
        ]
        members.append(member._replace(data_ids=data_ids))
    return replace(wanted, members=members)


def governors_of(snapshot: Snapshot, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of governor dimensions, by which collections are ruled out."""
    return {name: values[name] for name in snapshot.repository.universe.governors if name in values}
