"""Questions to the service in GraphQL, without a server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any

from graphql import ExecutionResult, parse, validate

from butlerql.resolvers.context import Limits
from butlerql.resolvers.service import build_service
from butlerql.scopes import Scope
from butlerql.storage.repository import Repository
from tests.support.repositories import RealRepository

__all__ = ["Ask", "asking", "codes_of", "data_of"]

Ask = Callable[..., Awaitable[ExecutionResult]]
"""``await ask(query, **variables)``"""


@asynccontextmanager
async def asking(
    repository: RealRepository, scopes: Collection[Scope] | None = None, **options: Any
) -> AsyncIterator[Ask]:
    """Give a function that answers queries about a repository, opened with these options."""
    opened = await Repository.open(repository.uri, snapshot_seconds=60, **options)
    service = build_service(opened, Limits(), scopes=scopes)

    async def ask(query: str, **variables: Any) -> ExecutionResult:
        document = parse(query)
        problems = validate(service.schema, document)
        assert not problems, problems
        return await service.execute(document, variables=variables)

    try:
        yield ask
    finally:
        await service.close()


def data_of(result: ExecutionResult) -> dict[str, Any]:
    """Give the answer of a query that must not have errors."""
    assert result.errors is None, result.errors
    assert result.data is not None
    return result.data


def codes_of(result: ExecutionResult) -> list[tuple[list[str | int], str]]:
    """List where an answer has errors, and their codes."""
    found = []
    for error in result.errors or ():
        code = getattr(error.original_error, "code", None) or (error.extensions or {}).get("code")
        found.append((list(error.path or ()), str(code)))
    return found
