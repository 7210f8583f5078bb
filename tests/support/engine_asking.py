"""Asking a small schema that the engine answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

from graphql import ExecutionResult, GraphQLSchema, execute, parse, validate
from graphql.execution.executor import Executor

from butlerql.resolvers.engine import BatchExecutionContext
from butlerql.scopes import Scope

__all__ = ["Savepoints", "ask"]


class Savepoints:
    """A context that counts its savepoints, and lets in one at a time."""

    def __init__(self) -> None:
        self.count = 0
        self.held = False
        self._lock = asyncio.Lock()

    def require_scope(self, scope: Scope) -> None:
        """Allow everything."""

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Let in one at a time; one who comes again from inside waits for ever."""
        async with self._lock:
            self.count += 1
            self.held = True
            try:
                yield
            finally:
                self.held = False


async def ask(
    schema: GraphQLSchema,
    text: str,
    context: Any = None,
    *,
    root: Any = None,
    variables: dict[str, Any] | None = None,
    executor: type[Executor[Any]] | None = BatchExecutionContext,
) -> ExecutionResult:
    """Validate and execute a document.

    Parameters
    ----------
    schema
        With a resolver for each root field.
    text
        The document.
    context
        `Savepoints` if none is given.
    root
        The parent of the root fields.
    variables
        Their values.
    executor
        The engine's; None for graphql-core's own.
    """
    document = parse(text)
    errors = [
        error for error in validate(schema, document) if "experimental_disableErrorPropagation" not in error.message
    ]
    assert errors == []
    result = execute(schema, document, root, context or Savepoints(), variables, executor_class=executor)
    settled = await result if isinstance(result, Awaitable) else result
    assert isinstance(settled, ExecutionResult)
    return settled
