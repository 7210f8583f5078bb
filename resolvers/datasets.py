"""Datasets: looked up one by one, and what is known of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from butlerql.resolvers.context import RequestContext
from butlerql.resolvers.identifiers import encode
from butlerql.resolvers.loaders import Loaders
from butlerql.storage.datastores.records import Artifact, artifacts, filenames
from butlerql.storage.registry import collections as collection_rows
from butlerql.storage.registry import dataset_types
from butlerql.storage.registry.certifications import Certification, certifications_of
from butlerql.storage.registry.collections import Collection
from butlerql.storage.registry.data_id_values import DataId, expand
from butlerql.storage.registry.datasets import Dataset, by_uuids, ingest_dates, run_keys
from butlerql.storage.registry.find_dataset import find_dataset
from butlerql.storage.registry.membership import collections_of
from butlerql.storage.registry.timespans import Timespan

__all__ = ["loaders", "timespan_of"]

loaders = Loaders()


def timespan_of(given: Mapping[str, int | None] | None) -> Timespan | None:
    """Read a timespan that was given; one that ends before it begins is empty."""
    if given is None:
        return None
    begin, end = given.get("begin"), given.get("end")
    return Timespan(begin, end, is_empty=begin is not None and end is not None and begin >= end)


@loaders.field("Query.dataset")
async def _dataset(context: RequestContext, parents: Sequence[Any], *, uuid: str) -> list[Dataset | None]:
    return await by_uuids(context.snapshot, [uuid]) * len(parents)


@loaders.field("Query.findDataset")
async def _find_dataset(
    context: RequestContext,
    parents: Sequence[Any],
    *,
    dataset_type: str,
    data_id: Mapping[str, Any],
    collections: Sequence[str],
    timespan: Mapping[str, int | None] | None = None,
) -> list[Dataset | None]:
    found = await find_dataset(context.snapshot, dataset_type, data_id, collections, timespan_of(timespan))
    return [found] * len(parents)


@loaders.column("Dataset.id")
def _ids(parents: Sequence[Dataset]) -> list[str]:
    return [
        encode("Dataset", f"{dataset.uuid}.{dataset.dataset_type.component}")
        if dataset.dataset_type.component
        else encode("Dataset", dataset.uuid)
        for dataset in parents
    ]


@loaders.field("Dataset.dataId")
async def _data_ids(context: RequestContext, parents: Sequence[Dataset]) -> list[DataId]:
    return await expand(context.snapshot, [(dataset.dataset_type.dimensions, dataset.data_id) for dataset in parents])


@loaders.field("Dataset.run")
async def _runs(context: RequestContext, parents: Sequence[Dataset]) -> list[Collection]:
    keys = await run_keys(context.snapshot, parents)
    known = {run.key: run for run in await collection_rows.by_keys(context.snapshot, set(keys))}
    return [known[key] for key in keys]


@loaders.field("Dataset.ingestDate")
async def _ingest_dates(context: RequestContext, parents: Sequence[Dataset]) -> list[int]:
    return await ingest_dates(context.snapshot, parents)


@loaders.field("Dataset.collections")
async def _collections(
    context: RequestContext, parents: Sequence[Dataset], *, chains: bool | None = False
) -> list[list[Collection]]:
    datasets = [(dataset.uuid, dataset.dataset_type) for dataset in parents]
    return await collections_of(context.snapshot, datasets, chains=bool(chains))


@loaders.field("Dataset.certifications")
async def _certifications(context: RequestContext, parents: Sequence[Dataset]) -> list[list[Certification]]:
    return await certifications_of(context.snapshot, parents)


@loaders.field("Dataset.component")
async def _components(context: RequestContext, parents: Sequence[Dataset], *, name: str) -> list[Dataset | None]:
    found: list[Dataset | None] = []
    for dataset in parents:
        kind = await dataset_types.find_or_none(context.snapshot, f"{dataset.dataset_type.name}.{name}")
        found.append(None if kind is None else dataset._replace(dataset_type=kind))
    return found


@loaders.field("Dataset.artifacts")
async def _artifacts(
    context: RequestContext, parents: Sequence[Dataset], *, datastore: str | None = None
) -> list[list[Artifact]]:
    return await artifacts(context.snapshot, parents, _datastore(context, datastore))


@loaders.field("Dataset.filename")
async def _filenames(context: RequestContext, parents: Sequence[Dataset]) -> list[str | None]:
    return await filenames(context.snapshot, parents)


def _datastore(context: RequestContext, name: str | None) -> Any:
    root = context.repository.datastore
    return root if name is None else root.find(name)
