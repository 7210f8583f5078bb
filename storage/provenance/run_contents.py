"""Which datasets of a run tell of executions, and the log and the metadata of each unit of work side by side."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from itertools import groupby
from typing import Any, NamedTuple

import sqlalchemy as sa

from butlerql.storage.registry import dataset_types
from butlerql.storage.registry.collections import Collection, run_by_name
from butlerql.storage.registry.dataset_types import DatasetType
from butlerql.storage.registry.datasets import Dataset
from butlerql.storage.registry.summaries import candidates
from butlerql.storage.snapshot import Snapshot

__all__ = ["CONFIGS", "PACKAGES", "Contents", "Kept", "Unit", "contents_of", "digest_of", "few", "units"]

CONFIGS = "Config"
"""The storage class of configurations."""

_GRAPHS, _LOGS = "ProvenanceQuantumGraph", "ButlerLogRecords"
PACKAGES = "packages"
"""The Butler's name of the dataset type, and in lower case that of its storage class."""

_METADATA = frozenset({"TaskMetadata", "PropertySet", "PropertyList"})
_SUFFIXES = {"_config": frozenset({CONFIGS}), "_log": frozenset({_LOGS}), "_metadata": _METADATA}
_PAGE = 1_000


class Kept(NamedTuple):
    """What a run may hold of a task."""

    label: str
    config: DatasetType | None
    log: DatasetType | None
    metadata: DatasetType | None
    keeps_log: bool
    """Whether there are logs of the task anywhere in the repository."""

    @property
    def dimensions(self) -> Sequence[str]:
        """Names of the required dimensions of its work."""
        kind = self.log or self.metadata
        return () if kind is None else kind.dimensions.required


class Contents(NamedTuple):
    """What a run may hold that tells of executions."""

    run: Collection
    graphs: Sequence[DatasetType]
    tasks: Sequence[Kept]
    packages: DatasetType | None
    """Versions of the software that it was made with."""

    @property
    def kept(self) -> Sequence[DatasetType]:
        """All types but those of graphs."""
        of_tasks = (kind for task in self.tasks for kind in (task.config, task.log, task.metadata))
        return [kind for kind in (*of_tasks, self.packages) if kind is not None]


class Unit(NamedTuple):
    """What a run holds of a unit of work."""

    data_id: tuple[Any, ...]
    log: Dataset | None
    metadata: Dataset | None


async def contents_of(snapshot: Snapshot, run: str) -> Contents:
    """Find out of which types there may be datasets.

    Raises
    ------
    UnknownCollectionError
        Raised if there is no such collection.
    InvalidArgumentError
        Raised if it is no run.
    """
    collection = await run_by_name(snapshot, run)
    types = await dataset_types.all_types(snapshot)
    may_hold = {kind for kind, found in (await candidates(snapshot, [collection], types)).items() if found}
    known: dict[str, dict[str, DatasetType]] = {}
    for kind in types:
        for suffix, classes in _SUFFIXES.items():
            if kind.name.endswith(suffix) and kind.storage_class in classes:
                known.setdefault(kind.name.removesuffix(suffix), {})[suffix] = kind
    tasks = []
    for label, of_label in known.items():
        config, log, metadata = (
            kind if kind in may_hold else None for kind in map(of_label.get, ("_config", "_log", "_metadata"))
        )
        if log and metadata and log.dimensions != metadata.dimensions:
            # They are not of the same work, whatever their names are.
            tasks.append(Kept(label, None, None, metadata, keeps_log=True))
            metadata = None
        if config or log or metadata:
            tasks.append(Kept(label, config, log, metadata, "_log" in of_label))
    graphs = [kind for kind in types if kind in may_hold and kind.storage_class == _GRAPHS]
    of_run = (kind for kind in types if kind in may_hold and kind.name == kind.storage_class.lower() == PACKAGES)
    return Contents(collection, graphs, tasks, next(of_run, None))


async def few(snapshot: Snapshot, run: Collection, kind: DatasetType) -> list[Dataset]:
    """Find the datasets of a type of which there are few."""
    tags = snapshot.repository.tables.tags(kind.tags_table, kind.dimensions)
    dimensions = [tags.c[name] for name in kind.dimensions.required]
    rows = await snapshot.rows(
        sa.select(tags.c.dataset_id, *dimensions)
        .where(tags.c.dataset_type_id == kind.key, tags.c.collection == run.key)
        .order_by(*dimensions)
    )
    return [Dataset(uuid, kind, tuple(values), run.key) for uuid, *values in rows]


async def units(
    snapshot: Snapshot, run: Collection, task: Kept, after: tuple[Any, ...] | None
) -> tuple[list[Unit], tuple[Any, ...] | None]:
    """Read the units of work of a task whose data IDs come behind one, in order, and say where to go on; None: nowhere.

    One statement: a range of an index for the log, and one for the metadata.
    """
    kinds = {kind.key: kind for kind in (task.log, task.metadata) if kind is not None}
    rows = await snapshot.rows(_both(snapshot, run, list(kinds.values()), after))
    found = [Dataset(uuid, kinds[key], tuple(values), run.key) for key, uuid, *values in rows]
    grouped = [(data_id, list(group)) for data_id, group in groupby(found, key=lambda dataset: dataset.data_id)]
    if len(rows) == _PAGE:
        # The other one of the last may be on the next page.
        grouped.pop()
    result = []
    for data_id, group in grouped:
        by_type = {dataset.dataset_type: dataset for dataset in group}
        log, metadata = (None if kind is None else by_type.get(kind) for kind in (task.log, task.metadata))
        result.append(Unit(data_id, log, metadata))
    return result, grouped[-1][0] if len(rows) == _PAGE else None


def _both(
    snapshot: Snapshot, run: Collection, kinds: Sequence[DatasetType], after: tuple[Any, ...] | None
) -> sa.Select[Any]:
    parts = []
    for kind in kinds:
        tags = snapshot.repository.tables.tags(kind.tags_table, kind.dimensions)
        dimensions = [tags.c[name] for name in kind.dimensions.required]
        part = sa.select(sa.literal(kind.key).label("type"), tags.c.dataset_id, *dimensions).where(
            tags.c.dataset_type_id == kind.key, tags.c.collection == run.key
        )
        if after is not None:
            values = (sa.literal(value, column.type) for value, column in zip(after, dimensions, strict=True))
            part = part.where(sa.tuple_(*dimensions).op(">", is_comparison=True)(sa.tuple_(*values)))
        parts.append(sa.select(part.order_by(*dimensions).limit(_PAGE).subquery()))
    both = sa.union_all(*parts).subquery()
    _, _, *order = both.c
    return sa.select(both).order_by(*order, both.c.type).limit(_PAGE)


async def digest_of(snapshot: Snapshot, contents: Contents) -> str:
    """Say by what one knows that a run holds the same as before: how many of each type, and when the last was put."""
    digest = blake2b(digest_size=16)
    dataset = snapshot.repository.tables.dataset
    for kind in contents.kept:
        tags = snapshot.repository.tables.tags(kind.tags_table, kind.dimensions)
        statement = (
            sa.select(sa.func.count(), sa.func.max(dataset.c.ingest_date))
            .join_from(tags, dataset, tags.c.dataset_id == dataset.c.id)
            .where(tags.c.dataset_type_id == kind.key, tags.c.collection == contents.run.key)
        )
        [row] = await snapshot.rows(statement)
        digest.update(f"{kind.name} {row[0]} {row[1]}\n".encode())
    return digest.hexdigest()
