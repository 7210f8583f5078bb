"""Certifications of CALIBRATION collections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from butlerql.resolvers.connections import Connection, paging
from butlerql.resolvers.context import RequestContext
from butlerql.resolvers.datasets import timespan_of
from butlerql.resolvers.loaders import Loaders
from butlerql.storage.registry.certifications import certification_counts, certification_pages
from butlerql.storage.registry.collections import Collection
from butlerql.storage.registry.dataset_types import match
from butlerql.storage.snapshot import Snapshot

__all__ = ["loaders"]

loaders = Loaders()


@loaders.field("CalibrationCollection.certifications")
async def _certifications(
    context: RequestContext,
    parents: Sequence[Collection],
    *,
    dataset_types: Sequence[str] | None = None,
    overlaps: Mapping[str, int | None] | None = None,
    **pages: Any,
) -> list[Connection]:
    names = ["*"] if dataset_types is None else dataset_types
    page = paging(context, "certifications", {"types": names, "overlaps": overlaps}, **pages)
    kinds = await match(context.snapshot, names)
    timespan = timespan_of(overlaps)
    found = await certification_pages(context.snapshot, parents, kinds, timespan, page.request)

    async def counts(snapshot: Snapshot, indexes: list[int]) -> list[int]:
        chosen = [parents[index] for index in indexes]
        return await certification_counts(snapshot, chosen, kinds, timespan)

    return page.connections(found, counts)
