"""Provenance is taken in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from butlerql.resolvers.context import RequestContext
from butlerql.resolvers.jobs import ANYBODY, JobPayload
from butlerql.resolvers.loaders import Loaders
from butlerql.scopes import Scope
from butlerql.storage.provenance.job import Ingestion, ProvenanceSource, Request, taken_in
from butlerql.storage.registry import collections
from butlerql.storage.state.jobs import Job, JobKind, insert_job

__all__ = ["loaders"]

loaders = Loaders()


@loaders.mutation("ingestProvenance", scope=Scope.INGEST)
async def _ingest(
    context: RequestContext,
    parents: Sequence[Any],
    *,
    input: Mapping[str, Any],  # noqa: A002 - the contract's name
) -> list[JobPayload]:
    request = Request(ProvenanceSource(input["source"]), input.get("runs"), input.get("uri")).validated()
    if request.uri is not None:
        # Who may name any file of the service's machine finds out which there are.
        context.repository.require_writable()
    if request.runs is not None:
        # What makes no sense is told at once, not by a job that fails.
        async with context.savepoint() as snapshot:
            await collections.find(snapshot, request.runs)
    job = await context.repository.state.write(
        lambda connection: insert_job(
            connection,
            JobKind.INGEST,
            asdict(request),
            unit=Ingestion.unit,
            user=ANYBODY,
            idempotency_key=input.get("idempotency_key"),
        )
    )
    context.wake()
    return [JobPayload(job, input.get("client_mutation_id"))] * len(parents)


@loaders.field("IngestJob.quanta", database=False)
async def _quanta(context: RequestContext, parents: Sequence[Job]) -> list[int]:
    return await _counts(context, parents, "quanta")


@loaders.field("IngestJob.executions", database=False)
async def _executions(context: RequestContext, parents: Sequence[Job]) -> list[int]:
    return await _counts(context, parents, "executions")


@loaders.field("IngestJob.skipped", database=False)
async def _skipped(context: RequestContext, parents: Sequence[Job]) -> list[int]:
    return await _counts(context, parents, "skipped")


async def _counts(context: RequestContext, jobs: Sequence[Job], name: str) -> list[int]:
    return [taken.get(name, 0) for taken in await taken_in(context.repository.state, [job.id for job in jobs])]
