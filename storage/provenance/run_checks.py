"""Whether registry, datastores and provenance tell the same of runs.

Provenance may be in another database than the registry. What the one says is read along an index, some thousand rows at
a time, and the other is asked about these alone, in one statement by its keys: memory does not grow with a run, nothing
is sorted, and a page goes on where the one before ended. What is in the registry's database alone is compared there.
A snapshot lasts for a few statements; what changes meanwhile may be told as it was before, or after.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from collections.abc import Collection as AnyOf

import sqlalchemy as sa

from butlerql.storage.datastores.existence import Reading
from butlerql.storage.datastores.records import record_sources
from butlerql.storage.errors import BadCursorError
from butlerql.storage.provenance.claims import CLAIMED, Claim, between, unmet_claims
from butlerql.storage.provenance.initial_outputs import lost_initial_outputs
from butlerql.storage.provenance.known_runs import KnownRun, known_runs
from butlerql.storage.provenance.problem_details import described
from butlerql.storage.provenance.run_problems import RunProblem, RunProblemKind
from butlerql.storage.provenance.tasks import written_by_work
from butlerql.storage.provenance.traces import without_producer
from butlerql.storage.registry import dataset_types
from butlerql.storage.registry.collections import Collection
from butlerql.storage.registry.dataset_groups import size_of
from butlerql.storage.registry.dataset_pages import dataset_pages
from butlerql.storage.registry.dataset_types import DatasetType
from butlerql.storage.registry.datasets import Dataset, unregistered
from butlerql.storage.registry.pages import Key, Page, PageRequest, cut
from butlerql.storage.registry.ranges import Filter, Part
from butlerql.storage.registry.selection import DatasetSets
from butlerql.storage.registry.selection_filters import datastore_filter
from butlerql.storage.registry.summaries import candidates
from butlerql.storage.repository import Repository
from butlerql.storage.snapshot import Snapshot

__all__ = ["RunChecks"]

_DATASETS = 20_000
"""Datasets of the registry that provenance is asked about at once."""

_EVERYTHING = PageRequest(0)


class RunChecks:
    """Looks for what is wrong with runs.

    Parameters
    ----------
    repository
        Whose runs.
    reading
        Begins a snapshot of the registry; called many times, one after another.
    """

    def __init__(self, repository: Repository, reading: Reading) -> None:
        self._repository = repository
        self._state = repository.state
        self._reading = reading

    async def consistent(
        self, runs: Sequence[Collection], counts: Sequence[Counter[RunProblemKind]]
    ) -> list[bool | None]:
        """Tell of each run whether registry, datastores and provenance agree; None where no work is recorded.

        Parameters
        ----------
        runs
            Which.
        counts
            What was counted of each, of the kinds that contradict something at least.
        """
        known = await known_runs(self._state, [run.name for run in runs])
        return [
            not any(kind.is_contradiction for kind in +count) if run.name in known else None
            for run, count in zip(runs, counts, strict=True)
        ]

    async def counts(
        self, runs: Sequence[Collection], kinds: AnyOf[RunProblemKind] = tuple(RunProblemKind)
    ) -> list[Counter[RunProblemKind]]:
        """Count the problems of each run by kind, of those kinds of which there are any.

        There is a statement for each so many rows of all runs together, and a few for each dataset type and table.
        """
        once = {run.key: run for run in runs}
        known = await known_runs(self._state, [run.name for run in runs])
        those = {known[run.name].id: run for run in once.values() if run.name in known}
        found: dict[int | str | None, Counter[RunProblemKind]] = {key: Counter() for key in once}
        for kind in kinds:
            if kind in CLAIMED:
                async for unmet in self._unmet(list(known.values()), those, kind, _EVERYTHING):
                    for claim in unmet:
                        found[those[claim.run_id].key][kind] += 1
            elif kind is RunProblemKind.NO_PRODUCER:
                telling = [run for run in once.values() if run.name in known and known[run.name].tells_outputs]
                async for datasets in self._unproduced(telling, _EVERYTHING):
                    for dataset in datasets:
                        found[dataset.run_key][kind] += 1
            else:
                async with self._reading() as snapshot:
                    sets = await _sets(snapshot, list(once.values()), kind)
                    counted = await sets.counts(snapshot, range(len(once)))
                for key, count in zip(once, counted, strict=True):
                    found[key][kind] += count
        return [+found[run.key] for run in runs]

    async def page(self, run: Collection, kinds: AnyOf[RunProblemKind], request: PageRequest) -> Page[RunProblem]:
        """Look at a page of the problems of a run: by kind, then by dataset, or by task and data ID of the work.

        Raises
        ------
        BadCursorError
            Raised if a key of the request cannot be one.
        """
        known = (await known_runs(self._state, [run.name])).get(run.name)
        found: list[tuple[Key, Dataset | Claim]] = []
        for kind, part in _by_kind(kinds, request):
            if len(found) <= request.limit:
                rest = part._replace(limit=request.limit - len(found))
                found += [((kind.value, *key), one) for key, one in await self._first(run, known, kind, rest)]
        page = cut(found, request)
        about = [(RunProblemKind(key[0]), one) for key, one in zip(page.keys, page.rows, strict=True)]
        return Page(await described(self._state, self._reading, about), page.keys, page.has_next, page.has_previous)

    async def _first(
        self, run: Collection, known: KnownRun | None, kind: RunProblemKind, request: PageRequest
    ) -> list[tuple[Key, Dataset | Claim]]:
        """Find the first problems of a kind, one more than a page of them, in the order of the request."""
        found: list[tuple[Key, Dataset | Claim]] = []
        if kind not in CLAIMED and kind is not RunProblemKind.NO_PRODUCER:
            async with self._reading() as snapshot:
                [page] = await (await _sets(snapshot, [run], kind)).pages(
                    snapshot, request._replace(limit=request.limit + 1)
                )
            found = list(zip(page.keys, page.rows, strict=True))
            return found[::-1] if request.backward else found
        if known is None:
            return []
        if kind is RunProblemKind.NO_PRODUCER:
            async for datasets in self._unproduced([run] if known.tells_outputs else [], request):
                found += [((one.dataset_type.name, *one.data_id, one.uuid), one) for one in datasets]
                if len(found) > request.limit:
                    break
        else:
            async for unmet in self._unmet([known], {known.id: run}, kind, request):
                found += [(claim.key, claim) for claim in unmet]
                if len(found) > request.limit:
                    break
        return found[: request.limit + 1]

    async def _unmet(
        self, known: Sequence[KnownRun], runs: Mapping[int, Collection], kind: RunProblemKind, request: PageRequest
    ) -> AsyncIterator[list[Claim]]:
        """Go through claims that the registry does not meet; those of no unit of work come first."""
        lost: list[Claim] = []
        if kind is RunProblemKind.OUTPUT_NOT_IN_REGISTRY:
            lost = between(await lost_initial_outputs(self._state, self._reading, runs), request)
        if not request.backward:
            yield lost
        async for unmet in unmet_claims(self._state, self._missing, known, kind, request):
            yield unmet
        if request.backward:
            yield lost

    async def _missing(self, uuids: Sequence[str]) -> set[str]:
        async with self._reading() as snapshot:
            return await unregistered(snapshot, uuids)

    async def _unproduced(self, runs: Sequence[Collection], request: PageRequest) -> AsyncIterator[list[Dataset]]:
        """Go through datasets that no recorded work wrote, of types that work writes."""
        async with self._reading() as snapshot:
            kinds = await dataset_types.all_types(snapshot)
            parts = await _parts(snapshot, runs, kinds)
        bare = [part.dataset_type.name for part in parts if not part.dataset_type.dimensions.required]
        made_by_none = set(bare) - await written_by_work(self._state, bare)
        left = [(part, request) for part in parts if part.dataset_type.name not in made_by_none]
        left.sort(key=lambda pair: pair[0].place, reverse=not request.backward)
        while left:
            some: list[Dataset] = []
            async with self._reading() as snapshot:
                while left and len(some) < _DATASETS:
                    part, position = left.pop()
                    [page] = await dataset_pages(snapshot, [part], 1, position._replace(limit=_DATASETS - len(some)))
                    some += reversed(page.rows) if request.backward else page.rows
                    if request.backward and page.has_previous:
                        left.append((part, position._replace(before=page.keys[0])))
                    elif not request.backward and page.has_next:
                        left.append((part, position._replace(after=page.keys[-1])))
            nobody = await without_producer(self._state, [dataset.uuid for dataset in some])
            yield [dataset for dataset in some if dataset.uuid in nobody]


def _by_kind(kinds: AnyOf[RunProblemKind], request: PageRequest) -> Iterator[tuple[RunProblemKind, PageRequest]]:
    """Give the kinds that are between the keys of a request, in its order, and what is asked of each."""
    order = list(RunProblemKind)
    bounds = []
    for key in (request.after, request.before):
        if key is not None and (not key or key[0] not in order):
            raise BadCursorError("This is not a cursor of this field. Use one that it gave, as it was given.")
        bounds.append(None if key is None else order.index(key[0]))
    first, last = bounds
    for place in range(len(order))[:: -1 if request.backward else 1]:
        if order[place] in kinds and (first is None or first <= place) and (last is None or place <= last):
            after = request.after[1:] if request.after is not None and place == first else None
            before = request.before[1:] if request.before is not None and place == last else None
            yield order[place], request._replace(after=after, before=before)


async def _parts(
    snapshot: Snapshot, runs: Sequence[Collection], kinds: Sequence[DatasetType], *, apart: bool = False
) -> list[Part]:
    """Say where the datasets of runs are; for each run by itself, or for all of them as one."""
    holders = await candidates(snapshot, runs, kinds)
    parts = []
    for kind, holding in holders.items():
        place = await dataset_types.position(snapshot, kind)
        if apart:
            parts += [Part(parent, place, kind, [run]) for parent, run in enumerate(runs) if run in holding]
        elif holding:
            parts.append(Part(0, place, kind, holding))
    return parts


async def _sets(snapshot: Snapshot, runs: Sequence[Collection], kind: RunProblemKind) -> DatasetSets:
    """Find where the datasets of each run are that a datastore says too little of."""
    kinds = await dataset_types.all_types(snapshot)
    condition = await (_not_stored if kind is RunProblemKind.OUTPUT_NOT_STORED else _incomplete)(snapshot)
    return DatasetSets(kinds, await _parts(snapshot, runs, kinds, apart=True), len(runs), filters=[condition])


async def _not_stored(snapshot: Snapshot) -> Filter:
    """Only datasets that no datastore has a record of."""
    return await datastore_filter(snapshot, snapshot.repository.datastore, absent=True)


async def _incomplete(snapshot: Snapshot) -> Filter:
    """Only datasets of which a record lacks the size, or the checksum where the datastore keeps them."""
    sources = await record_sources(snapshot)

    def condition(table: sa.FromClause) -> sa.ColumnElement[bool]:
        found = []
        for source in sources:
            records = source.table
            lacks: sa.ColumnElement[bool] = size_of(records).is_(None)
            if source.datastore.checksum:
                lacks = sa.or_(lacks, records.c.checksum.is_(None))
            found.append(sa.exists().where(records.c.dataset_id == table.c.dataset_id, source.own, lacks))
        return sa.or_(sa.false(), *(one.correlate(table) for one in found))

    return condition
