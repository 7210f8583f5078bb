"""How the data IDs of datasets may relate to a data ID."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from butlerql.storage.registry import dataset_types
from butlerql.storage.registry.chains import search_path
from butlerql.storage.registry.data_id_values import DataId
from butlerql.storage.registry.dataset_types import DatasetType
from butlerql.storage.registry.extents import timespans
from butlerql.storage.registry.ranges import Part
from butlerql.storage.registry.selection import whole_types
from butlerql.storage.registry.summaries import candidates
from butlerql.storage.snapshot import Snapshot
from butlerql.storage.universe import DimensionGroup

__all__ = ["DataIdMatch", "matching_parts"]


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


async def matching_parts(
    snapshot: Snapshot,
    data_ids: Sequence[DataId],
    *,
    collections: Sequence[str],
    names: Sequence[str],
    match: DataIdMatch,
    include_dimensionless: bool,
) -> list[Part]:
    """Find where datasets that match data IDs may be; the parents of the parts are the data IDs.

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

    Raises
    ------
    UnknownDatasetTypeError, UnknownCollectionError
        Raised if something is named in full and is not there.
    InvalidArgumentError
        Raised if a component is named.
    """
    path = await search_path(snapshot, collections)
    kinds = await whole_types(snapshot, names)
    wanted: list[tuple[int, DatasetType, Mapping[str, Any]]] = []
    for parent, data_id in enumerate(data_ids):
        for kind in kinds:
            values = _values(kind.dimensions, data_id, match, include_dimensionless=include_dimensionless)
            if values is not None:
                wanted.append((parent, kind, values))
    where = await candidates(snapshot, path, {kind for _, kind, _ in wanted})
    periods = await timespans(snapshot, data_ids) if any(kind.is_calibration for _, kind, _ in wanted) else None
    return [
        Part(
            parent,
            await dataset_types.position(snapshot, kind),
            kind,
            where[kind],
            [values],
            None if periods is None else periods[parent],
        )
        for parent, kind, values in wanted
        if where[kind]
    ]


def _values(
    dimensions: DimensionGroup, data_id: DataId, match: DataIdMatch, *, include_dimensionless: bool
) -> Mapping[str, Any] | None:
    """What a dataset's data ID must hold to match; None if those of its dimensions cannot."""
    own = data_id.dimensions
    if not dimensions.names:
        return {} if include_dimensionless or not own.names else None
    if match is DataIdMatch.EXACT:
        fits = dimensions is own
    elif match is DataIdMatch.CONTAINING:
        fits = set(own.names).issubset(dimensions.names)
    else:
        fits = set(dimensions.required).issubset(own.names)
    if not fits:
        return None
    shared = dimensions.required if match is DataIdMatch.WITHIN else own.required
    known = data_id.mapping
    return {name: known[name] for name in shared} if known.keys() >= set(shared) else None
