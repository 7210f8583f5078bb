"""Changes of which datasets collections hold: tags and certifications."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from butlerql.resolvers.audit import make_change
from butlerql.resolvers.context import RequestContext
from butlerql.resolvers.dataset_connections import selection_of
from butlerql.resolvers.datasets import timespan_of
from butlerql.resolvers.jobs import ANYBODY
from butlerql.resolvers.loaders import Loaders
from butlerql.scopes import Scope
from butlerql.storage.changes import Change
from butlerql.storage.registry.certifying import certify, decertify
from butlerql.storage.registry.collections import Collection, CollectionType, by_names
from butlerql.storage.registry.registering import registered
from butlerql.storage.registry.tagging import TagConflict
from butlerql.storage.registry.tagging_jobs import Asked, TaggingRequest
from butlerql.storage.registry.timespans import Timespan
from butlerql.storage.state.jobs import Job, JobState

__all__ = ["loaders"]

loaders = Loaders()


class _TagPayload(NamedTuple):
    collection: Collection | None
    changed: int | None
    replaced: int | None
    client_mutation_id: str | None
    job: Job | None = None


class _CertifyPayload(NamedTuple):
    collection: Collection
    changed: int
    client_mutation_id: str | None


@loaders.mutation("tagDatasets", scope=Scope.TAG)
async def _tag(
    context: RequestContext,
    parents: Sequence[Any],
    *,
    input: Mapping[str, Any],  # noqa: A002 - the contract's name
) -> list[_TagPayload]:
    request = TaggingRequest(
        input["collection"],
        selection_of(input["select"]),
        TagConflict(input.get("on_conflict") or TagConflict.ERROR),
        _creates(input),
        input.get("doc"),
    )
    return [await _done(context, request, input)] * len(parents)


@loaders.mutation("untagDatasets", scope=Scope.TAG)
async def _untag(
    context: RequestContext,
    parents: Sequence[Any],
    *,
    input: Mapping[str, Any],  # noqa: A002
) -> list[_TagPayload]:
    request = TaggingRequest(input["collection"], selection_of(input["select"]))
    return [await _done(context, request, input)] * len(parents)


async def _done(context: RequestContext, request: TaggingRequest, input: Mapping[str, Any]) -> _TagPayload:  # noqa: A002
    """Tag or untag at once, or have it done; only once for each key."""
    state, word = context.repository.state, input.get("client_mutation_id")
    asked = Asked(request, ANYBODY, input.get("idempotency_key"))
    job = await asked.before(state)
    if job is None:
        async with context.savepoint() as snapshot:
            is_long = await request.is_long(snapshot)
        if is_long:
            job = await state.write(asked.ask)
            context.wake()
        else:
            done = await make_change(context, request.action, request.collection, input, asked.make)
            if done is not None:
                return _TagPayload(done[0], *done[1], word)
            job = await asked.before(state)
            assert job is not None
    if job.state is not JobState.SUCCEEDED:
        return _TagPayload(None, None, None, word, job)
    name = TaggingRequest.from_json(job.request).collection
    async with context.savepoint() as snapshot:
        found = await by_names(snapshot, [name])
    return _TagPayload(found.get(name), job.result["changed"], job.result["replaced"], word)


@loaders.field("TaggingJob.collection")
async def _collections(context: RequestContext, parents: Sequence[Job]) -> list[Collection | None]:
    names = [TaggingRequest.from_json(job.request).collection for job in parents]
    found = await by_names(context.snapshot, names)
    return [found.get(name) for name in names]


@loaders.column("TaggingJob.changed")
def _changed(parents: Sequence[Job]) -> list[int | None]:
    return [None if job.result is None else job.result["changed"] for job in parents]


@loaders.column("TaggingJob.replaced")
def _replaced(parents: Sequence[Job]) -> list[int | None]:
    return [None if job.result is None else job.result["replaced"] for job in parents]


@loaders.mutation("certifyDatasets", scope=Scope.TAG)
async def _certify(
    context: RequestContext,
    parents: Sequence[Any],
    *,
    input: Mapping[str, Any],  # noqa: A002
) -> list[_CertifyPayload]:
    selection, timespan = selection_of(input["select"]), _timespan(input)

    async def work(change: Change) -> tuple[Collection, int]:
        kind = CollectionType.CALIBRATION
        collection = await registered(change, input["collection"], kind, create=_creates(input))
        return collection, await certify(change, collection, selection, timespan)

    done = await make_change(context, "certifyDatasets", input["collection"], input, work)
    return [_CertifyPayload(*done, input.get("client_mutation_id"))] * len(parents)


@loaders.mutation("decertifyDatasets", scope=Scope.TAG)
async def _decertify(
    context: RequestContext,
    parents: Sequence[Any],
    *,
    input: Mapping[str, Any],  # noqa: A002
) -> list[_CertifyPayload]:
    selection, timespan = selection_of(input["select"]), _timespan(input)

    async def work(change: Change) -> tuple[Collection, int]:
        collection = await registered(change, input["collection"], CollectionType.CALIBRATION, create=False)
        return collection, await decertify(change, collection, selection, timespan)

    done = await make_change(context, "decertifyDatasets", input["collection"], input, work)
    return [_CertifyPayload(*done, input.get("client_mutation_id"))] * len(parents)


def _creates(input: Mapping[str, Any]) -> bool:  # noqa: A002
    return input.get("create") is not False


def _timespan(input: Mapping[str, Any]) -> Timespan:  # noqa: A002
    timespan = timespan_of(input["timespan"])
    assert timespan is not None
    return timespan
