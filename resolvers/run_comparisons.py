"""Two runs side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

from butlerql.resolvers.connections import Connection, paging_of
from butlerql.resolvers.context import RequestContext
from butlerql.resolvers.loaders import Loaders
from butlerql.storage.datastores.run_comparisons import (
    Contents,
    Figures,
    compare_contents,
    compare_validated,
    definitions_changed,
    figures_of,
    worth_validated,
)
from butlerql.storage.datastores.tree import Datastore
from butlerql.storage.provenance.distributions import Measure
from butlerql.storage.provenance.run_comparisons import (
    TaskComparison,
    compare_tasks,
    configs_changed,
    packages_changed,
    ratios_of,
)
from butlerql.storage.registry.collections import Collection
from butlerql.storage.registry.dataset_types import DatasetType
from butlerql.storage.registry.run_comparisons import ComparedType, Runs, compare_types, find_runs, only_in
from butlerql.storage.snapshot import Snapshot

__all__ = ["loaders"]

loaders = Loaders()

T = TypeVar("T")

_DATASETS = 200_000
"""Datasets that are read in one snapshot, if a dataset type alone has no more: a second or two."""


class _Comparison:
    """Two runs that are compared; what several fields are told of is found out once, when the first of them is asked.

    Whoever finds it out begins to read after it is their turn, so nobody who reads waits for them.
    """

    def __init__(self, runs: Runs, datastore: Datastore, arguments: Mapping[str, Any]) -> None:
        self.base, self.other = self.runs = runs
        self.datastore = datastore
        self.arguments = arguments
        self._turn = asyncio.Lock()
        self._known: dict[Any, Any] = {}

    async def types(self, context: RequestContext) -> list[ComparedType]:
        """Count what there is of each dataset type."""
        names = self.arguments.get("dataset_types")

        async def find() -> list[ComparedType]:
            async with context.savepoint() as snapshot:
                return await compare_types(snapshot, self.runs, ["*"] if names is None else names)

        return await self._once(compare_types, find)

    async def contents(self, context: RequestContext) -> Mapping[DatasetType, Contents]:
        """Compare files."""
        types, state = await self.types(context), context.repository.state

        async def find() -> Mapping[DatasetType, Contents]:
            found = await self._in_parts(
                context,
                types,
                lambda snapshot, some: compare_contents(snapshot, self.runs, some, self.datastore),
            )
            if kinds := await worth_validated(state, types, found, self.datastore):
                async with context.outside():
                    found |= await compare_validated(context.savepoint, state, self.runs, kinds, self.datastore)
            return found

        return await self._once(compare_contents, find)

    async def read(self, context: RequestContext, ask: Callable[..., Awaitable[Any]]) -> Any:
        """Ask something of what the datastore has."""
        types = await self.types(context)

        async def find() -> Any:
            return await self._in_parts(
                context,
                types,
                lambda snapshot, some: ask(snapshot, self.runs, [one.dataset_type for one in some], self.datastore),
            )

        return await self._once(ask, find)

    async def _in_parts(
        self,
        context: RequestContext,
        types: Sequence[ComparedType],
        ask: Callable[[Snapshot, list[ComparedType]], Awaitable[Mapping[DatasetType, T]]],
    ) -> dict[DatasetType, T]:
        """Ask of some dataset types at a time, each time in a snapshot of its own, so that none lasts long."""
        found: dict[DatasetType, T] = {}
        async with context.outside():
            for some in _parts(types):
                async with context.savepoint() as snapshot:
                    found.update(await ask(snapshot, some))
        return found

    async def _once(self, name: Any, find: Callable[[], Awaitable[T]]) -> T:
        async with self._turn:
            if name not in self._known:
                self._known[name] = await find()
            found: T = self._known[name]
            return found


def _parts(types: Sequence[ComparedType]) -> Iterator[list[ComparedType]]:
    """Put dataset types together, as long as they have no more than so many datasets."""
    some: list[ComparedType] = []
    number = 0
    for one in types:
        own = one.base_count + one.other_count
        if some and number + own > _DATASETS:
            yield some
            some, number = [], 0
        some.append(one)
        number += own
    if some:
        yield some


class _Type(NamedTuple):
    """A dataset type in both runs."""

    comparison: _Comparison
    counts: ComparedType

    @property
    def dataset_type(self) -> DatasetType:
        return self.counts.dataset_type

    @property
    def base_count(self) -> int:
        return self.counts.base_count

    @property
    def other_count(self) -> int:
        return self.counts.other_count

    @property
    def common(self) -> int:
        return self.counts.common


@loaders.field("Query.compareRuns")
async def _compare_runs(
    context: RequestContext, parents: Sequence[Any], *, base: str, other: str, datastore: str | None = None, **more: Any
) -> list[_Comparison]:
    root = context.repository.datastore
    where = root if datastore is None else root.find(datastore)
    return [_Comparison(await find_runs(context.snapshot, base, other), where, more)] * len(parents)


@loaders.field("RunComparison.datasetTypes", database=False)
async def _dataset_types(context: RequestContext, parents: Sequence[_Comparison]) -> list[list[_Type]]:
    return [[_Type(one, counts) for counts in await one.types(context)] for one in parents]


@loaders.field("RunComparison.identical", database=False)
async def _identical(context: RequestContext, parents: Sequence[_Comparison]) -> list[bool | None]:
    return [await _are_identical(context, one) for one in parents]


async def _are_identical(context: RequestContext, comparison: _Comparison) -> bool | None:
    types = await comparison.types(context)
    if any(not one.base_count == one.common == one.other_count for one in types):
        return False
    contents = await comparison.contents(context)
    if any(one.changed for one in contents.values()):
        return False
    return True if all(contents[one.dataset_type].by_checksum == one.common for one in types) else None


async def _contents(context: RequestContext, parents: Sequence[_Type]) -> list[Contents]:
    return [(await one.comparison.contents(context))[one.dataset_type] for one in parents]


@loaders.field("DatasetTypeComparison.changed", database=False)
async def _changed(context: RequestContext, parents: Sequence[_Type]) -> list[int]:
    return [one.changed for one in await _contents(context, parents)]


@loaders.field("DatasetTypeComparison.comparedByChecksum", database=False)
async def _by_checksum(context: RequestContext, parents: Sequence[_Type]) -> list[int]:
    return [one.by_checksum for one in await _contents(context, parents)]


@loaders.field("DatasetTypeComparison.comparedBySize", database=False)
async def _by_size(context: RequestContext, parents: Sequence[_Type]) -> list[int]:
    return [one.by_size for one in await _contents(context, parents)]


async def _figures(context: RequestContext, parents: Sequence[_Type]) -> list[tuple[Figures, Figures]]:
    return [(await one.comparison.read(context, figures_of))[one.dataset_type] for one in parents]


@loaders.field("DatasetTypeComparison.baseBytes", database=False)
async def _base_bytes(context: RequestContext, parents: Sequence[_Type]) -> list[int | None]:
    return [base.bytes for base, _ in await _figures(context, parents)]


@loaders.field("DatasetTypeComparison.otherBytes", database=False)
async def _other_bytes(context: RequestContext, parents: Sequence[_Type]) -> list[int | None]:
    return [other.bytes for _, other in await _figures(context, parents)]


@loaders.field("DatasetTypeComparison.baseStored", database=False)
async def _base_stored(context: RequestContext, parents: Sequence[_Type]) -> list[int]:
    return [base.stored for base, _ in await _figures(context, parents)]


@loaders.field("DatasetTypeComparison.otherStored", database=False)
async def _other_stored(context: RequestContext, parents: Sequence[_Type]) -> list[int]:
    return [other.stored for _, other in await _figures(context, parents)]


@loaders.field("DatasetTypeComparison.definitionChanged", database=False)
async def _definition_changed(context: RequestContext, parents: Sequence[_Type]) -> list[bool]:
    return [(await one.comparison.read(context, definitions_changed))[one.dataset_type] for one in parents]


@loaders.field("DatasetTypeComparison.onlyInBase")
async def _only_in_base(context: RequestContext, parents: Sequence[_Type], **arguments: Any) -> list[Connection]:
    return await _only_in(context, parents, "base", "other", arguments)


@loaders.field("DatasetTypeComparison.onlyInOther")
async def _only_in_other(context: RequestContext, parents: Sequence[_Type], **arguments: Any) -> list[Connection]:
    return await _only_in(context, parents, "other", "base", arguments)


async def _only_in(
    context: RequestContext, parents: Sequence[_Type], present: str, absent: str, arguments: Mapping[str, Any]
) -> list[Connection]:
    # They are of one comparison: there is no other way to them.
    runs = parents[0].comparison.runs
    here: Collection = getattr(runs, present)
    there: Collection = getattr(runs, absent)
    page = paging_of(context, "DatasetTypeComparison.only", arguments, [here.name, there.name])
    counts = [attrgetter(f"{present}_count")(one) - one.common for one in parents]
    asked = {place: one.dataset_type for place, one in enumerate(parents) if counts[place]}
    sets = await only_in(context.snapshot, here, there, asked, len(parents))

    async def counted(_snapshot: Snapshot, places: Sequence[int]) -> list[int]:
        return [counts[place] for place in places]

    return page.connections(await sets.pages(context.snapshot, page.request), counted, sets.groups)


@loaders.field("RunComparison.tasks", database=False)
async def _tasks(context: RequestContext, parents: Sequence[_Comparison]) -> list[list[TaskComparison]]:
    found = []
    for one in parents:
        labels = one.arguments.get("tasks")
        names = ["*"] if labels is None else labels
        found.append(await compare_tasks(context.repository.state, one.base.name, one.other.name, names))
    return found


@loaders.field("TaskComparison.runTimeRatio", database=False)
async def _run_time_ratios(context: RequestContext, parents: Sequence[TaskComparison]) -> list[float | None]:
    return await ratios_of(context.repository.state, parents, Measure.RUN_TIME)


@loaders.field("TaskComparison.maxRssRatio", database=False)
async def _memory_ratios(context: RequestContext, parents: Sequence[TaskComparison]) -> list[float | None]:
    return await ratios_of(context.repository.state, parents, Measure.MAX_RSS)


@loaders.field("TaskComparison.configChanged", database=False)
async def _configs_changed(context: RequestContext, parents: Sequence[TaskComparison]) -> list[bool | None]:
    return await configs_changed(context.repository.state, parents)


@loaders.field("TaskComparison.packagesChanged", database=False)
async def _packages_changed(context: RequestContext, parents: Sequence[TaskComparison]) -> Sequence[Any]:
    return await packages_changed(context.repository.state, [(one.base_run, one.other_run) for one in parents])
