"""What a run holds of provenance: graphs, metadata and logs, read outside of all snapshots.

Of work whose metadata and logs are in a graph, the graph tells.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from butlerql.storage.datastores.artifacts.store import ArtifactStore
from butlerql.storage.datastores.artifacts.stores import place_in_store
from butlerql.storage.datastores.records import Artifact, artifacts
from butlerql.storage.errors import ButlerQLError, InvalidSourceError
from butlerql.storage.locations import Place
from butlerql.storage.provenance.package_versions import told_of_run
from butlerql.storage.provenance.reading import Reading, read_graph
from butlerql.storage.provenance.records import DatasetRecord, Record, Skipped, Source, SourceKind, TaskRecord
from butlerql.storage.provenance.run_contents import Contents, Kept, Unit, contents_of, digest_of, few, units
from butlerql.storage.provenance.task_configs import told_of_task
from butlerql.storage.provenance.task_records import Content, Traces, told_of
from butlerql.storage.registry.collections import Collection
from butlerql.storage.registry.dataset_types import DatasetType
from butlerql.storage.registry.datasets import Dataset, by_uuids
from butlerql.storage.repository import Repository

__all__ = ["sources_of_run"]

_OF_GRAPH = "ProvenanceFormatter"
# Registry questions that no request waits for.
_SECONDS = 60.0
_THREADS = 8
# Bytes of a file, for each of the threads: a task that logs more is broken.
_SIZE = 1 << 26


async def sources_of_run(repository: Repository, run: str) -> AsyncIterator[Reading | Skipped]:
    """Go through the sources that a run holds, graphs first; the batches of one before the next.

    Raises
    ------
    UnknownCollectionError
        Raised if there is no such collection.
    InvalidArgumentError
        Raised if it is no run.
    """
    async with repository.snapshot(_SECONDS) as snapshot:
        contents = await contents_of(snapshot, run)
        graphs = [dataset for kind in contents.graphs for dataset in await few(snapshot, contents.run, kind)]
        places = [(dataset, found) for dataset, found in zip(graphs, await artifacts(snapshot, graphs), strict=True)]
        digest = await digest_of(snapshot, contents)
    for dataset, found in places:
        if not found:
            yield Skipped(_name(dataset), "It is in no datastore.")
            continue
        store, path = _place(repository, found[0])
        try:
            async with read_graph(store, path) as reading:
                yield reading
        except ButlerQLError as error:
            yield Skipped(path, str(error))
    yield Reading(Source(SourceKind.TASK_RECORDS, run, digest), _task_records(repository, contents))


async def _task_records(repository: Repository, contents: Contents) -> AsyncIterator[Sequence[Record]]:
    run = contents.run
    if contents.packages is not None:
        yield await _few_records(repository, run, contents.packages, partial(_of_run, run.name))
    for task in contents.tasks:
        if task.config is not None:
            yield await _few_records(repository, run, task.config, partial(_of_task, run.name, task.label))
        after: tuple[Any, ...] | None = None
        is_over = task.log is None and task.metadata is None
        while not is_over:
            async with repository.snapshot(_SECONDS) as snapshot:
                page, after = await units(snapshot, contents.run, task, after)
                datasets = [each for unit in page for each in (unit.log, unit.metadata) if each is not None]
                found = await artifacts(snapshot, datasets)
            is_over = after is None
            stored = {dataset.uuid: places for dataset, places in zip(datasets, found, strict=True)}
            step = -(-len(page) // _THREADS) or 1
            parts = [page[begin : begin + step] for begin in range(0, len(page), step)]
            told = [asyncio.to_thread(_told, repository, contents.run.name, task, part, stored) for part in parts]
            records = [record for records in await asyncio.gather(*told) for record in records]
            yield await _with_types(repository, run, task, records) if records else []


async def _with_types(
    repository: Repository, run: Collection, task: Kept, records: Sequence[Record]
) -> Sequence[Record]:
    """Add what the registry knows of outputs of which metadata tell no more than that they were written."""
    written = [record for record in records if isinstance(record, DatasetRecord)]
    async with repository.snapshot(_SECONDS) as snapshot:
        found = await by_uuids(snapshot, [str(record.uuid) for record in written])
    # They were made just now, and nobody else has them.
    for record, dataset in zip(written, found, strict=True):
        if dataset is not None:
            record.dataset_type = dataset.dataset_type.name
            record.data_id = dict(zip(dataset.dataset_type.dimensions.required, dataset.data_id, strict=True))
    outputs = {record.dataset_type for record in written if record.dataset_type is not None}
    return [*records, TaskRecord(task.label, run.name, outputs=tuple(sorted(outputs)))]


async def _few_records(
    repository: Repository, run: Collection, kind: DatasetType, told: Callable[[Content, bytes], Record]
) -> Sequence[Record]:
    """Read the datasets of a type of which there are few."""
    async with repository.snapshot(_SECONDS) as snapshot:
        datasets = await few(snapshot, run, kind)
        found = await artifacts(snapshot, datasets)
    records: list[Record] = []
    for dataset, places in zip(datasets, found, strict=True):
        if _is_in_graph(places):
            continue
        content = await asyncio.to_thread(_content, repository, dataset, places)
        if isinstance(content, Skipped):
            records.append(content)
            continue
        assert content.content is not None
        try:
            records.append(told(content, content.content))
        except InvalidSourceError as error:
            records.append(Skipped(content.name, str(error)))
    return records


def _of_run(run: str, found: Content, content: bytes) -> Record:
    return told_of_run(run, found.name, content)


def _of_task(run: str, label: str, found: Content, content: bytes) -> Record:
    return told_of_task(run, label, found.uuid, content)


def _told(
    repository: Repository, run: str, task: Kept, page: Sequence[Unit], stored: dict[str, list[Artifact]]
) -> list[Record]:
    """Read the files of some units of work."""
    records: list[Record] = []
    for unit in page:
        contents: list[Content | None] = []
        for dataset in (unit.metadata, unit.log):
            if dataset is None or _is_in_graph(stored[dataset.uuid]):
                contents.append(None)
                continue
            content = _content(repository, dataset, stored[dataset.uuid])
            if isinstance(content, Skipped):
                records.append(content)
                content = Content(UUID(dataset.uuid), dataset.dataset_type.name, content.name)
            contents.append(content)
        metadata, log = contents
        if metadata is not None or log is not None:
            data_id = dict(zip(task.dimensions, unit.data_id, strict=True))
            records += told_of(Traces(run, task.label, data_id, metadata, log, task.keeps_log))
    return records


def _content(repository: Repository, dataset: Dataset, found: Sequence[Artifact]) -> Content | Skipped:
    if not found:
        return Skipped(_name(dataset), "It is in no datastore.")
    store, path = _place(repository, found[0])
    parts, size = [], 0
    try:
        for block in store.read(path):
            size += len(block)
            if size > _SIZE:
                return Skipped(path, f"It is larger than {_SIZE} bytes.")
            parts.append(block)
    except FileNotFoundError:
        return Skipped(path, "It is not there.")
    except ButlerQLError as error:
        return Skipped(path, str(error))
    return Content(UUID(dataset.uuid), dataset.dataset_type.name, path, b"".join(parts))


def _is_in_graph(found: Sequence[Artifact]) -> bool:
    return bool(found) and found[0].formatter.endswith(_OF_GRAPH)


def _place(repository: Repository, artifact: Artifact) -> tuple[ArtifactStore, str]:
    root, path = place_in_store(artifact.datastore, Place(artifact.uri, artifact.path))
    return repository.stores.store(root), path


def _name(dataset: Dataset) -> str:
    return f"{dataset.dataset_type.name} {dataset.uuid}"
