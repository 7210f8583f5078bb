"""The peer that most would write: the same part of the schema on stock Strawberry, with data loaders."""

from __future__ import annotations

from typing import Any

import strawberry
from strawberry.dataloader import DataLoader
from strawberry.scalars import JSON
from strawberry.schema.config import StrawberryConfig
from strawberry.types import Info

from butlerql.resolvers.context import RequestContext
from butlerql.storage.datastores.records import artifacts
from butlerql.storage.registry import collections
from butlerql.storage.registry.data_id_values import expand
from butlerql.storage.registry.datasets import Dataset as Row
from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.registry.selection import DatasetSelection, select

__all__ = ["Loaders", "schema"]


class Loaders:
    """One data loader an edge, as the documentation of Strawberry advises; their SQL is the service's own."""

    def __init__(self, context: RequestContext) -> None:
        self.context = context
        self.runs: DataLoader[Any, Any] = DataLoader(self._runs)
        self.data_ids: DataLoader[Any, Any] = DataLoader(self._data_ids)
        self.artifacts: DataLoader[Any, Any] = DataLoader(self._artifacts)

    async def _runs(self, keys: list[Any]) -> list[Any]:
        async with self.context.savepoint():
            known = {run.key: run for run in await collections.by_keys(self.context.snapshot, keys)}
        return [known[key] for key in keys]

    async def _data_ids(self, rows: list[Row]) -> list[Any]:
        async with self.context.savepoint():
            return await expand(self.context.snapshot, [(row.dataset_type.dimensions, row.data_id) for row in rows])

    async def _artifacts(self, rows: list[Row]) -> list[Any]:
        async with self.context.savepoint():
            return await artifacts(self.context.snapshot, rows)


@strawberry.type
class Run:
    name: str


@strawberry.type
class DatasetType:
    name: str


@strawberry.type
class DataId:
    values: JSON


@strawberry.type
class Artifact:
    uri: str
    size: int | None


@strawberry.type
class Dataset:
    row: strawberry.Private[Row]
    uuid: str

    @strawberry.field
    def dataset_type(self) -> DatasetType:
        return DatasetType(name=self.row.dataset_type.name)

    @strawberry.field
    async def run(self, info: Info[Loaders, None]) -> Run:
        return Run(name=(await info.context.runs.load(self.row.run_key)).name)

    @strawberry.field
    async def data_id(self, info: Info[Loaders, None]) -> DataId:
        return DataId(values=(await info.context.data_ids.load(self.row)).mapping)

    @strawberry.field
    async def artifacts(self, info: Info[Loaders, None]) -> list[Artifact]:
        found = await info.context.artifacts.load(self.row)
        return [Artifact(uri=artifact.uri, size=artifact.size) for artifact in found]


@strawberry.type
class DatasetConnection:
    nodes: list[Dataset]


@strawberry.type
class Query:
    @strawberry.field
    async def datasets(self, info: Info[Loaders, None], types: list[str], first: int) -> DatasetConnection:
        context = info.context.context
        async with context.savepoint():
            sets = await select(context.snapshot, DatasetSelection(dataset_types=types, collections=["all"]))
            (page,) = await sets.pages(context.snapshot, PageRequest(first))
        return DatasetConnection(nodes=[Dataset(row=row, uuid=row.uuid) for row in page.rows])


schema = strawberry.Schema(Query, config=StrawberryConfig(auto_camel_case=True))
