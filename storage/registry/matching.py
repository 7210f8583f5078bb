"""How the data IDs of datasets may relate to a data ID."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from butlerql.storage.errors import UnsupportedJoinError
from butlerql.storage.registry import dataset_types
from butlerql.storage.registry.chains import search_path
from butlerql.storage.registry.combinations import check_relations
from butlerql.storage.registry.data_id_values import DataId
from butlerql.storage.registry.dataset_types import DatasetType
from butlerql.storage.registry.extents import timespans
from butlerql.storage.registry.ranges import Part, Wanted
from butlerql.storage.registry.selection import DatasetSets
from butlerql.storage.registry.summaries import candidates
from butlerql.storage.repository import Repository
from butlerql.storage.snapshot import Snapshot
from butlerql.storage.universe import DimensionGroup

__all__ = ["DataIdMatch", "matching_datasets"]


class DataIdMatch(StrEnum):
    """How the data IDs of a dataset type may relate to the one asked about.

    The dimensions of a data ID are its whole group, required and implied.
    """

    EXACT = "EXACT"
    """The same group."""

    CONTAINING = "CONTAINING"
    """Its group or more."""

    WITHIN = "WITHIN"
    """Required dimensions among its group."""

    RELATED = "RELATED"
    """Any, joined as the Butler's ``query_all_datasets`` does: through relationships and overlap on the sky."""


async def matching_datasets(
    snapshot: Snapshot,
    data_ids: Sequence[DataId],
    *,
    collections: Sequence[str],
    names: Sequence[str],
    match: DataIdMatch,
    include_dimensionless: bool,
    wanted: Wanted = Wanted.DATASETS,
) -> DatasetSets:
    """Find where datasets that match data IDs may be; the parents are the data IDs.

    Parameters
    ----------
    snapshot
        What to read from.
    data_ids
        The data IDs asked about.
    collections
        Names or globs of where to look.
    names
        Names or globs of dataset types.
    match
        How data IDs may relate.
    include_dimensionless
        Whether dataset types without dimensions, which every data ID has, count too.
    wanted
        What of the datasets that are found counts.

    Raises
    ------
    UnknownDatasetTypeError, UnknownComponentError, UnknownCollectionError
        Raised if something is named in full and is not there.
    """
    path = await search_path(snapshot, collections)
    kinds = await dataset_types.match(snapshot, names)
    asked: list[tuple[int, DatasetType, Mapping[str, Any]]] = []
    related: dict[tuple[Any, ...], bool] = {}
    unrelated: dict[str, None] = {}
    for parent, data_id in enumerate(data_ids):
        for kind in kinds:
            values = _values(kind.dimensions, data_id, match, include_dimensionless=include_dimensionless)
            if values is None:
                continue
            question = (kind.dimensions, *values)
            if question not in related:
                related[question] = _is_related(snapshot.repository, kind.dimensions, values)
            if related[question]:
                asked.append((parent, kind, values))
            else:
                unrelated[kind.name] = None
    matching = list(dict.fromkeys(kind for _, kind, _ in asked))
    where = await candidates(snapshot, path, matching)
    # What is related says by itself when calibrations have to be valid.
    is_timed = match is not DataIdMatch.RELATED and any(kind.is_calibration for _, kind, _ in asked)
    periods = await timespans(snapshot, data_ids) if is_timed else [None] * len(data_ids)
    parts = [
        Part(parent, await dataset_types.position(snapshot, kind), kind, where[kind], [values], periods[parent])
        for parent, kind, values in asked
        if where[kind]
    ]
    return DatasetSets(matching, parts, len(data_ids), wanted, unrelated=list(unrelated))


def _is_related(repository: Repository, dimensions: DimensionGroup, values: Mapping[str, Any]) -> bool:
    try:
        check_relations(repository, dimensions, [dimensions], values)
    except UnsupportedJoinError:
        return False
    return True


def _values(
    dimensions: DimensionGroup, data_id: DataId, match: DataIdMatch, *, include_dimensionless: bool
) -> Mapping[str, Any] | None:
    """What a dataset's data ID must hold to match; None if those of its dimensions cannot."""
    own = data_id.dimensions
    if not dimensions.names and own.names and not include_dimensionless:
        return None
    if not dimensions.names and match is not DataIdMatch.RELATED:
        return {}
    if match is DataIdMatch.EXACT:
        fits = dimensions is own
    elif match is DataIdMatch.CONTAINING:
        fits = set(own.names).issubset(dimensions.names)
    elif match is DataIdMatch.RELATED:
        fits = True
    else:
        fits = set(dimensions.required).issubset(own.names)
    if not fits:
        return None
    shared = dimensions.required if match is DataIdMatch.WITHIN else own.required
    known = data_id.mapping
    return {name: known[name] for name in shared} if known.keys() >= set(shared) else None
