"""The first dataset found: one dataset type, one data ID, collections searched in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from butlerql.storage.errors import AmbiguousCalibrationError
from butlerql.storage.registry import dataset_types
from butlerql.storage.registry.chains import search_path
from butlerql.storage.registry.collections import CollectionType
from butlerql.storage.registry.data_id_values import resolve
from butlerql.storage.registry.datasets import Dataset
from butlerql.storage.registry.extents import timespans
from butlerql.storage.registry.ranges import Part, groups_of
from butlerql.storage.registry.selection import governors_of
from butlerql.storage.registry.summaries import candidates
from butlerql.storage.registry.timespans import Timespan
from butlerql.storage.snapshot import Snapshot

__all__ = ["find_dataset"]


async def find_dataset(
    snapshot: Snapshot, name: str, values: Mapping[str, Any], collections: Sequence[str], timespan: Timespan | None
) -> Dataset | None:
    """Find the first dataset in search order; None if there is none.

    Parameters
    ----------
    snapshot
        What to read from.
    name
        Name of a dataset type, or of a component's.
    values
        Its data ID. It may name more dimensions: an exposure, visit or day tells when a calibration must be valid.
    collections
        Names or globs, chains are searched depth first.
    timespan
        When a calibration must be valid; None: at the time of the data ID, or at any time if it has none.

    Raises
    ------
    UnknownDatasetTypeError, UnknownComponentError, UnknownCollectionError
        Raised if something named in full is not there.
    InvalidDataIdError
        Raised if the data ID makes no sense, or lacks a dimension of the dataset type.
    AmbiguousCalibrationError
        Raised if the first collection that has any holds several certifications, as where the Butler raises.
    """
    kind = await dataset_types.find(snapshot, name)
    path = await search_path(snapshot, collections)
    data_id = await resolve(snapshot, values, kind.dimensions)
    if data_id is None:
        return None
    if timespan is None and kind.is_calibration:
        timespan = (await timespans(snapshot, [data_id]))[0]
    known = data_id.mapping
    wanted = {dimension: known[dimension] for dimension in kind.dimensions.required}
    where = await candidates(snapshot, path, [kind], governors_of(snapshot, wanted))
    part = Part(0, 0, kind, where[kind], [wanted], timespan or Timespan(None, None))
    found = await _matches(snapshot, part)
    if not found:
        return None
    rank, uuid = found[0]
    collection = part.collections[rank]
    if len(found) > 1:
        raise AmbiguousCalibrationError(
            f"Collection '{collection.name}' has {len(found)} certified datasets of type '{kind.name}' for {wanted} "
            "that are valid then. Give a timespan in which only one is."
        )
    run = collection.key if collection.type is CollectionType.RUN else None
    return Dataset(uuid, kind, tuple(wanted.values()), run)


async def _matches(snapshot: Snapshot, part: Part) -> list[tuple[int, str]]:
    """Rank and UUID of all that matches in the first collection that has any, each certification on its own."""
    found: list[tuple[int, str]] = []
    for group in groups_of(snapshot.repository, [part]):
        for source in group.sources():
            rows = source.table.alias()
            statement = source.rows(rows, [source.ranges]).add_columns(source.ranges.c.rank, rows.c.dataset_id)
            found += [(rank, uuid) for rank, uuid in await snapshot.rows(statement)]
    first = min((rank for rank, _ in found), default=None)
    return [entry for entry in found if entry[0] == first]
