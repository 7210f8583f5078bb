"""Who asks, and what they may do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from butlerql.resolvers.context import RequestContext
from butlerql.resolvers.jobs import ANYBODY
from butlerql.resolvers.loaders import Loaders
from butlerql.scopes import Scope

__all__ = ["loaders"]

loaders = Loaders()


class _Viewer(NamedTuple):
    name: str
    scopes: Sequence[Scope]


@loaders.field("Query.viewer", database=False)
async def _viewer(context: RequestContext, parents: Sequence[Any]) -> list[_Viewer]:
    return [_Viewer(ANYBODY, [scope for scope in Scope if scope in context.scopes])] * len(parents)
