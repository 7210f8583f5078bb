"""Provenance is taken in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from butlerql.resolvers.context import RequestContext
from butlerql.resolvers.jobs import ANYBODY, JobPayload
from butlerql.resolvers.loaders import Loaders
from butlerql.storage.provenance.job import Ingestion, ProvenanceSource, Request
from butlerql.storage.registry import collections
from butlerql.storage.state.jobs import Job, JobKind, insert_job

__all__ = ["loaders"]

loaders = Loaders()


@loaders.field("Mutation.ingestProvenance", database=False)
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


@loaders.column("IngestJob.quanta")
def _quanta(parents: Sequence[Job]) -> list[int | None]:
    return [_result(job, "quanta") for job in parents]


@loaders.column("IngestJob.executions")
def _executions(parents: Sequence[Job]) -> list[int | None]:
    return [_result(job, "executions") for job in parents]


@loaders.column("IngestJob.skipped")
def _skipped(parents: Sequence[Job]) -> list[int | None]:
    return [_result(job, "skipped") for job in parents]


def _result(job: Job, name: str) -> int | None:
    return None if job.result is None else job.result.get(name, 0)
