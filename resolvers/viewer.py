"""Who asks, and what they may do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from butlerql.resolvers.context import RequestContext
from butlerql.resolvers.jobs import ANYBODY
from butlerql.resolvers.loaders import Loaders

__all__ = ["loaders"]

loaders = Loaders()

_ALWAYS = ["READ", "VALIDATE"]
_WHERE_WRITABLE = ["READ", "TAG", "VALIDATE", "DELETE", "INGEST", "ADMIN"]


class _Viewer(NamedTuple):
    name: str
    scopes: Sequence[str]


@loaders.field("Query.viewer", database=False)
async def _viewer(context: RequestContext, parents: Sequence[Any]) -> list[_Viewer]:
    return [_Viewer(ANYBODY, _ALWAYS if context.repository.read_only else _WHERE_WRITABLE)] * len(parents)
