"""Validations of datastores, and what they found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from butlerql.resolvers.connections import Connection, page_by_uuid, paging, paging_of
from butlerql.resolvers.context import RequestContext
from butlerql.resolvers.dataset_connections import selection_of
from butlerql.resolvers.jobs import ANYBODY, JobPayload
from butlerql.resolvers.loaders import Loaders
from butlerql.scopes import Scope
from butlerql.storage.datastores.record_users import users
from butlerql.storage.datastores.records import record_sources
from butlerql.storage.datastores.tree import Datastore, FileDatastore
from butlerql.storage.datastores.validation import results
from butlerql.storage.datastores.validation.findings import Check, FindingKind
from butlerql.storage.datastores.validation.job import Validation
from butlerql.storage.datastores.validation.request import Request
from butlerql.storage.datastores.validation.results import FindingCount
from butlerql.storage.registry.datasets import Dataset, by_uuids
from butlerql.storage.registry.pages import Page
from butlerql.storage.registry.selection import select
from butlerql.storage.snapshot import Snapshot
from butlerql.storage.state.jobs import Job, JobKind, count_jobs, find_jobs, insert_job

__all__ = ["loaders"]

loaders = Loaders()

_ARGUMENTS = ("sample", "seed", "rate_limit", "grace_seconds", "max_age_seconds")


class _Finding(NamedTuple):
    """A finding that was written down, and where."""

    row: results.FoundRow
    datastore: Datastore

    @property
    def kind(self) -> str:
        return self.row.finding.kind

    @property
    def uri(self) -> str:
        path = self.row.finding.path
        assert isinstance(self.datastore, FileDatastore)
        return self.datastore.root_uri if path is None else self.datastore.artifacts.place(path).uri

    @property
    def expected(self) -> str | None:
        return self.row.finding.expected

    @property
    def observed(self) -> str | None:
        return self.row.finding.observed


@loaders.mutation("validateDatastore", scope=Scope.VALIDATE)
async def _validate(
    context: RequestContext,
    parents: Sequence[Any],
    *,
    input: Mapping[str, Any],  # noqa: A002 - the contract's name
) -> list[JobPayload]:
    chosen, checks = input.get("select"), input.get("checks")
    selection = None if chosen is None else selection_of(chosen)
    request = Request(
        input["datastore"],
        selection,
        None if checks is None else frozenset(map(Check, checks)),
        **{name: input[name] for name in _ARGUMENTS if input.get(name) is not None},
    ).validated(context.repository.datastore)
    if selection is not None:
        # What makes no sense is told at once, not by a job that fails.
        async with context.savepoint() as snapshot:
            await select(snapshot, selection)
    job = await context.repository.state.write(
        lambda connection: insert_job(
            connection,
            JobKind.VALIDATION,
            request.as_json,
            unit=Validation.unit,
            user=ANYBODY,
            subject=request.datastore,
            idempotency_key=input.get("idempotency_key"),
        )
    )
    context.wake()
    return [JobPayload(job, input.get("client_mutation_id"))] * len(parents)


@loaders.field("Datastore.validations", database=False)
async def _validations(context: RequestContext, parents: Sequence[Datastore], **pages: Any) -> list[Connection]:
    state = context.repository.state
    page = paging(context, "Datastore.validations", {}, **pages)
    names = [datastore.name for datastore in parents]
    kinds = [JobKind.VALIDATION]

    async def counts(_snapshot: Snapshot, indexes: list[int]) -> list[int]:
        return [await count_jobs(state, kinds=kinds, subject=names[index]) for index in indexes]

    found = [await find_jobs(state, page.request, kinds=kinds, subject=name) for name in names]
    return page.connections(found, counts)


@loaders.column("ValidationJob.checks")
def _checks(parents: Sequence[Job]) -> list[list[Check]]:
    asked = [Request.from_json(job.request).checks or () for job in parents]
    return [[check for check in Check if check in checks] for checks in asked]


@loaders.field("ValidationJob.datastore", database=False)
async def _datastores_of_jobs(context: RequestContext, parents: Sequence[Job]) -> list[Datastore]:
    return [context.repository.datastore.find(Request.from_json(job.request).datastore) for job in parents]


@loaders.column("ValidationJob.verdict")
def _verdicts(parents: Sequence[Job]) -> list[str | None]:
    return [None if job.result is None else job.result["verdict"] for job in parents]


@loaders.field("ValidationJob.coverage", database=False)
async def _coverage(context: RequestContext, parents: Sequence[Job]) -> list[dict[str, int]]:
    return [await results.coverage_of(context.repository.state, job.id) for job in parents]


@loaders.field("ValidationJob.summary", database=False)
async def _summaries(context: RequestContext, parents: Sequence[Job]) -> list[list[FindingCount]]:
    return [await results.counts_of(context.repository.state, job.id) for job in parents]


@loaders.field("ValidationJob.findings", database=False)
async def _findings(
    context: RequestContext, parents: Sequence[Job], *, kinds: Sequence[str] | None = None, **pages: Any
) -> list[Connection]:
    state = context.repository.state
    page = paging(context, "ValidationJob.findings", {"kinds": kinds}, **pages)
    chosen = None if kinds is None else [FindingKind(kind) for kind in kinds]

    async def counts(_snapshot: Snapshot, indexes: list[int]) -> list[int]:
        return [await results.count_findings(state, parents[index].id, kinds=chosen) for index in indexes]

    found = []
    for job in parents:
        rows = await results.findings(state, job.id, page.request, kinds=chosen)
        placed = [_Finding(row, context.repository.datastore.find(row.datastore)) for row in rows.rows]
        found.append(Page(placed, rows.keys, rows.has_next, rows.has_previous))
    return page.connections(found, counts)


@loaders.field("Finding.datasetCount")
async def _dataset_counts(context: RequestContext, parents: Sequence[_Finding]) -> list[int]:
    return [len(uuids) for uuids in await _users(context.snapshot, parents)]


@loaders.field("Finding.datasets")
async def _datasets(context: RequestContext, parents: Sequence[_Finding], **arguments: Any) -> list[Connection]:
    page = paging_of(context, "Finding.datasets", arguments, [one.row.id for one in parents])
    everyone = await _users(context.snapshot, parents)
    known: dict[str, Dataset] = {}
    for dataset in await by_uuids(context.snapshot, sorted(set().union(*everyone))):
        if dataset is not None:
            known[dataset.uuid] = dataset
    sets = [[known[uuid] for uuid in uuids if uuid in known] for uuids in everyone]

    async def counts(_snapshot: Snapshot, indexes: list[int]) -> list[int]:
        return [len(sets[index]) for index in indexes]

    return page.connections([page_by_uuid(some, page.request) for some in sets], counts)


async def _users(snapshot: Snapshot, parents: Sequence[_Finding]) -> list[list[str]]:
    """Find the datasets that findings are about, one statement a datastore."""
    sources = {source.datastore: source for source in await record_sources(snapshot)}
    paths: dict[FileDatastore, list[str]] = {}
    for one in parents:
        finding = one.row.finding
        if finding.dataset_id is None and finding.path is not None and finding.kind is not FindingKind.UNTRACKED:
            assert isinstance(one.datastore, FileDatastore)
            paths.setdefault(one.datastore, []).append(finding.path)
    known = {
        datastore: await users(snapshot, sources[datastore], some)
        for datastore, some in paths.items()
        if datastore in sources
    }
    return [
        [one.row.finding.dataset_id]
        if one.row.finding.dataset_id is not None
        else known.get(one.datastore, {}).get(one.row.finding.path or "", [])  # type: ignore[call-overload]
        for one in parents
    ]
