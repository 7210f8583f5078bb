"""Anything, by its id."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from butlerql.resolvers.collections import type_of_collection
from butlerql.resolvers.context import RequestContext
from butlerql.resolvers.data_ids import data_ids_by_key
from butlerql.resolvers.deletion import plans_by_key
from butlerql.resolvers.identifiers import decode
from butlerql.resolvers.jobs import JOB_TYPES, jobs_by_key, type_of_job
from butlerql.resolvers.loaders import Loaders
from butlerql.resolvers.quanta import quanta_by_key
from butlerql.resolvers.tasks import pipeline_executions_by_key, tasks_by_key
from butlerql.storage.datastores.deletion.plans import Plan
from butlerql.storage.datastores.tree import Datastore
from butlerql.storage.errors import ButlerQLError, InvalidArgumentError
from butlerql.storage.provenance.pipeline_executions import PipelineExecution
from butlerql.storage.provenance.quanta import Quantum
from butlerql.storage.provenance.tasks import Task
from butlerql.storage.registry import collections as collection_rows
from butlerql.storage.registry import dataset_types
from butlerql.storage.registry.collections import Collection
from butlerql.storage.registry.data_id_values import DataId
from butlerql.storage.registry.dataset_types import DatasetType
from butlerql.storage.registry.datasets import Dataset, by_uuids
from butlerql.storage.state.jobs import Job

__all__ = ["loaders"]

loaders = Loaders()

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NOBODY = "00000000-0000-0000-0000-000000000000"


@loaders.interface("Node")
def _type_of(row: Any) -> str:
    if isinstance(row, Collection):
        return type_of_collection(row)
    if isinstance(row, Job):
        return type_of_job(row)
    if isinstance(row, Plan):
        return "DeletionPlan"
    return type(row).__name__


@loaders.field("Query.node")
async def _node(context: RequestContext, parents: Sequence[Any], *, id: str) -> list[Any]:  # noqa: A002
    return await _find(context, [id]) * len(parents)


@loaders.field("Query.nodes")
async def _nodes(context: RequestContext, parents: Sequence[Any], *, ids: Sequence[str]) -> list[list[Any]]:
    return [await _find(context, ids)] * len(parents)


async def _find(context: RequestContext, ids: Sequence[str]) -> list[Any]:
    """Find what ids stand for, all of one kind at once; an error for what is not there."""
    found: dict[str, Any] = {}
    kinds: dict[str, dict[str, str]] = {}
    for text in ids:
        try:
            kind, key = decode(text)
        except ButlerQLError as error:
            found[text] = error
        else:
            kinds.setdefault(kind, {})[text] = key
    for kind, keys in kinds.items():
        rows = await _FINDERS.get(kind, _datastores)(context, keys.values())
        # A name may have gone to something of another kind since.
        found |= {
            text: row if row is None or _type_of(row) == kind else None for text, row in zip(keys, rows, strict=True)
        }
    missing = InvalidArgumentError("Nothing has this id. It may have been removed; take ids from a field id.")
    return [missing if found[text] is None else found[text] for text in ids]


async def _datasets(context: RequestContext, keys: Iterable[str]) -> list[Dataset | None]:
    parts = [key.partition(".") for key in keys]
    uuids = [uuid if _UUID.fullmatch(uuid) else _NOBODY for uuid, _, _ in parts]
    found: list[Dataset | None] = []
    for dataset, (_, _, component) in zip(await by_uuids(context.snapshot, uuids), parts, strict=True):
        if dataset is None or not component:
            found.append(dataset)
        else:
            kind = await dataset_types.find_or_none(context.snapshot, f"{dataset.dataset_type.name}.{component}")
            found.append(None if kind is None else dataset._replace(dataset_type=kind))
    return found


async def _dataset_types(context: RequestContext, keys: Iterable[str]) -> list[DatasetType | None]:
    return [await dataset_types.find_or_none(context.snapshot, name) for name in keys]


async def _collections(context: RequestContext, keys: Iterable[str]) -> list[Collection | None]:
    names = list(keys)
    known = await collection_rows.by_names(context.snapshot, names)
    return [known.get(name) for name in names]


async def _data_ids(context: RequestContext, keys: Iterable[str]) -> list[DataId | None]:
    return await data_ids_by_key(context, list(keys))


async def _datastores(context: RequestContext, keys: Iterable[str]) -> list[Datastore | None]:
    known = {datastore.name: datastore for datastore in context.repository.datastore}
    return [known.get(name) for name in keys]


async def _tasks(context: RequestContext, keys: Iterable[str]) -> list[Task | None]:
    return await tasks_by_key(context, list(keys))


async def _quanta(context: RequestContext, keys: Iterable[str]) -> list[Quantum | None]:
    return await quanta_by_key(context, list(keys))


async def _pipeline_executions(context: RequestContext, keys: Iterable[str]) -> list[PipelineExecution | None]:
    uuids = [key if _UUID.fullmatch(key) else _NOBODY for key in keys]
    return await pipeline_executions_by_key(context, uuids)


_FINDERS: dict[str, Callable[[RequestContext, Iterable[str]], Awaitable[Sequence[Any]]]] = {
    "Dataset": _datasets,
    "DatasetType": _dataset_types,
    "Run": _collections,
    "TaggedCollection": _collections,
    "CalibrationCollection": _collections,
    "ChainedCollection": _collections,
    "DataId": _data_ids,
    "DeletionPlan": plans_by_key,
    "Task": _tasks,
    "Quantum": _quanta,
    "PipelineExecution": _pipeline_executions,
    **dict.fromkeys(JOB_TYPES.values(), jobs_by_key),
}
