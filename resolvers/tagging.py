"""Changes of which datasets collections hold: tags and certifications."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from butlerql.resolvers.audit import make_change
from butlerql.resolvers.context import RequestContext
from butlerql.resolvers.dataset_connections import selection_of
from butlerql.resolvers.datasets import timespan_of
from butlerql.resolvers.loaders import Loaders
from butlerql.scopes import Scope
from butlerql.storage.changes import Change
from butlerql.storage.registry.certifying import certify, decertify
from butlerql.storage.registry.collections import Collection, CollectionType
from butlerql.storage.registry.registering import registered
from butlerql.storage.registry.tagging import TagConflict, Tagged, tag, untag
from butlerql.storage.registry.timespans import Timespan

__all__ = ["loaders"]

loaders = Loaders()


class _TagPayload(NamedTuple):
    collection: Collection
    changed: int
    replaced: int
    client_mutation_id: str | None
    job: None = None
    """Everything is done at once."""


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
    selection, policy = selection_of(input["select"]), TagConflict(input.get("on_conflict") or TagConflict.ERROR)

    async def work(change: Change) -> tuple[Collection, Tagged]:
        collection = await registered(
            change, input["collection"], CollectionType.TAGGED, create=_creates(input), doc=input.get("doc")
        )
        return collection, await tag(change, collection, selection, policy)

    collection, done = await make_change(context, "tagDatasets", input["collection"], input, work)
    return [_TagPayload(collection, *done, input.get("client_mutation_id"))] * len(parents)


@loaders.mutation("untagDatasets", scope=Scope.TAG)
async def _untag(
    context: RequestContext,
    parents: Sequence[Any],
    *,
    input: Mapping[str, Any],  # noqa: A002
) -> list[_TagPayload]:
    selection = selection_of(input["select"])

    async def work(change: Change) -> tuple[Collection, Tagged]:
        collection = await registered(change, input["collection"], CollectionType.TAGGED, create=False)
        return collection, await untag(change, collection, selection)

    collection, done = await make_change(context, "untagDatasets", input["collection"], input, work)
    return [_TagPayload(collection, *done, input.get("client_mutation_id"))] * len(parents)


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
