"""Jobs: how far they are, and how they are stopped."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from butlerql.resolvers.connections import Connection, paging
from butlerql.resolvers.context import RequestContext
from butlerql.resolvers.identifiers import decode, digits, encode
from butlerql.resolvers.loaders import Loaders
from butlerql.scopes import Scope
from butlerql.storage.datastores.deletion.cancelling import cancel
from butlerql.storage.errors import UnknownJobError
from butlerql.storage.snapshot import Snapshot
from butlerql.storage.state.jobs import Job, JobKind, JobState, count_jobs, find_job, find_jobs, watch_job
from butlerql.time_scales import utc_datetime_to_tai_ns

__all__ = ["ANYBODY", "JOB_TYPES", "JobPayload", "instant", "jobs_by_key", "loaders", "type_of_job"]

loaders = Loaders()

JOB_TYPES = {
    JobKind.VALIDATION: "ValidationJob",
    JobKind.PLANNING: "PlanningJob",
    JobKind.DELETION: "DeletionJob",
    JobKind.TAGGING: "TaggingJob",
    JobKind.INGEST: "IngestJob",
}

ANYBODY = "anonymous"
"""Nobody has to log in."""

_SCOPES = {
    JobKind.VALIDATION: Scope.VALIDATE,
    JobKind.PLANNING: Scope.DELETE,
    JobKind.DELETION: Scope.DELETE,
    JobKind.TAGGING: Scope.TAG,
    JobKind.INGEST: Scope.INGEST,
}
"""What those need who have a job done, or stop it."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class JobPayload(NamedTuple):
    """What a change did to a job."""

    job: Job
    client_mutation_id: str | None


@loaders.interface("Job")
def type_of_job(job: Job) -> str:
    """Name the type of the schema that a job is of."""
    return JOB_TYPES[job.kind]


@loaders.column("Job.id")
def _ids(parents: Sequence[Job]) -> list[str]:
    return [encode(type_of_job(job), str(job.id)) for job in parents]


@loaders.column("Job.createdAt")
def _created(parents: Sequence[Job]) -> list[int | None]:
    return [instant(job.created_at) for job in parents]


@loaders.column("Job.startedAt")
def _started(parents: Sequence[Job]) -> list[int | None]:
    return [instant(job.started_at) for job in parents]


@loaders.column("Job.endedAt")
def _ended(parents: Sequence[Job]) -> list[int | None]:
    return [instant(job.ended_at) for job in parents]


@loaders.field("Query.job", database=False)
async def _job(context: RequestContext, parents: Sequence[Any], *, id: str) -> list[Job | None]:  # noqa: A002
    number = _number(id)
    found = None if number is None else await find_job(context.repository.state, number)
    return [found] * len(parents)


@loaders.field("Query.jobs", database=False)
async def _jobs(
    context: RequestContext,
    parents: Sequence[Any],
    *,
    kinds: Sequence[str] | None = None,
    states: Sequence[str] | None = None,
    **pages: Any,
) -> list[Connection]:
    page = paging(context, "jobs", {"filters": [kinds, states]}, **pages)
    state = context.repository.state
    chosen: dict[str, Any] = {
        "kinds": None if kinds is None else [JobKind(name) for name in kinds],
        "states": None if states is None else [JobState(name) for name in states],
    }

    async def counts(_snapshot: Snapshot, indexes: list[int]) -> list[int]:
        return [await count_jobs(state, **chosen)] * len(indexes)

    return [page.connection(await find_jobs(state, page.request, **chosen), counts)] * len(parents)


@loaders.mutation("cancelJob", scope=Scope.READ)
async def _cancel_job(
    context: RequestContext,
    parents: Sequence[Any],
    *,
    input: dict[str, Any],  # noqa: A002
) -> list[JobPayload]:
    number = _required(input["id"])
    if (found := await find_job(context.repository.state, number)) is not None:
        context.require_scope(_SCOPES[found.kind])
    job = await cancel(context.repository, number, ANYBODY)
    context.wake()
    return [JobPayload(job, input.get("client_mutation_id"))] * len(parents)


@loaders.stream("Subscription.jobProgress")
async def _job_progress(context: RequestContext, *, id: str) -> AsyncIterator[Job]:  # noqa: A002
    return await watch_job(context.repository.state, _required(id))


async def jobs_by_key(context: RequestContext, keys: Iterable[str]) -> list[Job | None]:
    """Find jobs by what their identifiers hold."""
    numbers = [digits(key) for key in keys]
    return [None if number is None else await find_job(context.repository.state, number) for number in numbers]


def _required(identifier: str) -> int:
    number = _number(identifier)
    if number is None:
        raise UnknownJobError("This is not the id of a job. The field jobs lists them.")
    return number


def _number(identifier: str) -> int | None:
    kind, key = decode(identifier)
    return digits(key) if kind in JOB_TYPES.values() else None


def instant(micros: int | None) -> int | None:
    """Give a moment of the own state as the schema's scalars have it: nanoseconds TAI since 1970."""
    return None if micros is None else utc_datetime_to_tai_ns(_EPOCH + timedelta(microseconds=micros))
