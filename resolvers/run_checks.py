"""Whether registry, datastores and provenance tell the same of runs."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection as AnyOf
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from butlerql.resolvers.connections import Connection, Edge, PageInfo, paging
from butlerql.resolvers.context import RequestContext
from butlerql.resolvers.loaders import Loaders
from butlerql.storage.provenance.run_checks import RunChecks
from butlerql.storage.provenance.run_problems import RunProblem, RunProblemKind
from butlerql.storage.registry import dataset_types
from butlerql.storage.registry.collections import Collection
from butlerql.storage.registry.dataset_types import DatasetType

__all__ = ["loaders"]

loaders = Loaders()

_ALL = tuple(RunProblemKind)
_CONTRADICTIONS = [kind for kind in _ALL if kind.is_contradiction]


class _Counted:
    """What was counted of all runs that are checked together, each kind once."""

    def __init__(self, runs: Sequence[Collection]) -> None:
        self._runs = runs
        self._counts = [Counter[RunProblemKind]() for _ in runs]
        self._kinds: set[RunProblemKind] = set()
        self._lock = asyncio.Lock()

    async def of(self, context: RequestContext, kinds: AnyOf[RunProblemKind]) -> list[Counter[RunProblemKind]]:
        """Count problems of these kinds at least, of each run."""
        async with self._lock:
            left = [kind for kind in kinds if kind not in self._kinds]
            if left:
                async with context.outside():
                    found = await _checks(context).counts(self._runs, left)
                for known, more in zip(self._counts, found, strict=True):
                    known.update(more)
                self._kinds.update(left)
        return self._counts

    async def may_be(self, place: int, kinds: AnyOf[RunProblemKind]) -> list[RunProblemKind]:
        """Leave out the kinds of which a run is known to have no problems."""
        async with self._lock:
            return [kind for kind in kinds if kind not in self._kinds or self._counts[place][kind]]


class _RunCheck(NamedTuple):
    run: Collection
    place: int
    """Of the run among those that are checked together."""

    counted: _Counted

    async def counts(self, context: RequestContext, kinds: AnyOf[RunProblemKind]) -> Counter[RunProblemKind]:
        """Give how many problems there are, of these kinds at least."""
        return (await self.counted.of(context, kinds))[self.place]


class _Problems(NamedTuple):
    """A page of problems of a run; they are counted outside of the snapshot, since that may take long."""

    page: Connection
    check: _RunCheck
    kinds: AnyOf[RunProblemKind]

    @property
    def nodes(self) -> list[RunProblem]:
        return self.page.nodes

    @property
    def edges(self) -> list[Edge]:
        return self.page.edges

    @property
    def page_info(self) -> PageInfo:
        return self.page.page_info


@dataclass(frozen=True)
class _ProblemCount:
    kind: RunProblemKind
    count: int


def _checks(context: RequestContext) -> RunChecks:
    return RunChecks(context.repository, context.savepoint)


@loaders.column("Run.check")
def _of_runs(parents: Sequence[Collection]) -> list[_RunCheck]:
    counted = _Counted(parents)
    return [_RunCheck(run, place, counted) for place, run in enumerate(parents)]


@loaders.field("RunCheck.consistent", database=False)
async def _consistent(context: RequestContext, parents: Sequence[_RunCheck]) -> list[bool | None]:
    counts = [await check.counts(context, _CONTRADICTIONS) for check in parents]
    return await _checks(context).consistent([check.run for check in parents], counts)


@loaders.field("RunCheck.summary", database=False)
async def _summaries(context: RequestContext, parents: Sequence[_RunCheck]) -> list[list[_ProblemCount]]:
    counts = [await check.counts(context, _ALL) for check in parents]
    return [[_ProblemCount(kind, count[kind]) for kind in _ALL if count[kind]] for count in counts]


@loaders.field("RunCheck.problems", database=False)
async def _problems(
    context: RequestContext, parents: Sequence[_RunCheck], *, kinds: Sequence[str] | None = None, **pages: Any
) -> list[_Problems]:
    page = paging(context, "RunCheck.problems", {"kinds": kinds}, **pages)
    chosen = _ALL if kinds is None else [kind for kind in _ALL if kind in kinds]
    found = []
    for check in parents:
        # If somebody counts them already, it is worth while to wait.
        left = await check.counted.may_be(check.place, chosen)
        async with context.outside():
            found.append(await _checks(context).page(check.run, left, page.request))
    return [_Problems(page.connection(one, None), check, chosen) for one, check in zip(found, parents, strict=True)]


@loaders.field("RunProblemConnection.totalCount", database=False)
async def _totals(context: RequestContext, parents: Sequence[_Problems]) -> list[int]:
    counts = [await problems.check.counts(context, problems.kinds) for problems in parents]
    return [sum(count[kind] for kind in one.kinds) for one, count in zip(parents, counts, strict=True)]


@loaders.field("RunProblem.datasetType")
async def _dataset_types(context: RequestContext, parents: Sequence[RunProblem]) -> list[DatasetType | None]:
    names = {problem.dataset_type_name for problem in parents if problem.dataset_type_name is not None}
    found = {name: await dataset_types.find_or_none(context.snapshot, name) for name in names}
    return [None if one.dataset_type_name is None else found[one.dataset_type_name] for one in parents]
