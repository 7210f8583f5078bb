"""A service without a repository, for what concerns HTTP alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any

from graphql import DocumentNode, ExecutionResult, GraphQLSchema, build_schema, execute, subscribe

from butlerql.storage.errors import BusyError, UnknownCollectionError

__all__ = ["TinyService"]

_SCHEMA = '''
"""What may be asked."""
type Query {
  hello(name: String = "world"): String
  item: Item
  items(first: Int): [Item!]!
  "Never answers."
  sleep: String
  "Fails with a code of the storage room."
  collection(name: String!): String
  "Fails in a way that nobody foresaw."
  broken: String
  "Fails where nothing may be missing."
  brokenItem: Item!
  "A value that its type cannot write."
  unwritable: Int
  busy: String
  "What was given, as it is."
  echo(value: Anything): Anything
}
type Item { id: ID! name: String! self: Item! friends(first: Int): [Item!]! }
type Mutation { set(value: Int!): Int }
type Subscription { ticks(trouble: String): Int }
scalar Anything
'''


class TinyService:
    """Answers a small schema; remembers what was asked of it.

    Parameters
    ----------
    trouble
        What `ready` and `execute` raise, if anything.
    """

    def __init__(self, trouble: Exception | None = None) -> None:
        self.schema: GraphQLSchema = build_schema(_SCHEMA)
        self.trouble = trouble
        self.value = 0
        self.executed = 0
        self.running = 0
        self.cancelled = 0
        self.closed = False

    async def execute(
        self, document: DocumentNode, *, variables: dict[str, Any] | None, operation_name: str | None
    ) -> ExecutionResult:
        """Run one operation."""
        if self.trouble is not None:
            raise self.trouble
        self.executed += 1
        self.running += 1
        try:
            result = execute(
                self.schema, document, _Root(self), variable_values=variables, operation_name=operation_name
            )
            return await result if isinstance(result, Awaitable) else result
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1

    async def subscribe(
        self, document: DocumentNode, *, variables: dict[str, Any] | None, operation_name: str | None
    ) -> AsyncIterator[ExecutionResult] | ExecutionResult:
        """Run a subscription."""
        stream = subscribe(self.schema, document, _Root(self), variable_values=variables, operation_name=operation_name)
        return await stream if isinstance(stream, Awaitable) else stream

    async def ready(self) -> None:
        """Raise the trouble."""
        if self.trouble is not None:
            raise self.trouble

    async def close(self) -> None:
        """Remember it."""
        self.closed = True


class _Item:
    id = "1"
    name = "one"

    def self(self, info: Any) -> _Item:
        return self

    def friends(self, info: Any, first: int = 1) -> list[_Item]:
        return [self] * first


class _Root:
    def __init__(self, service: TinyService) -> None:
        self._service = service

    def hello(self, info: Any, name: str) -> str:
        return f"Hello, {name}!"

    def item(self, info: Any) -> _Item:
        return _Item()

    def items(self, info: Any, first: int = 1) -> list[_Item]:
        return [_Item()] * first

    async def sleep(self, info: Any) -> str:
        await asyncio.sleep(3600)
        return "awake"

    def collection(self, info: Any, name: str) -> str:
        raise UnknownCollectionError(f"There is no collection '{name}'.")

    def broken(self, info: Any) -> str:
        raise RuntimeError("password=hunter2")

    def brokenItem(self, info: Any) -> _Item:  # noqa: N802 - the name in the schema
        raise RuntimeError("password=hunter2")

    def unwritable(self, info: Any) -> str:
        return "hunter2"

    def busy(self, info: Any) -> str:
        raise BusyError("Another program holds the database; try again.")

    def echo(self, info: Any, value: Any = None) -> Any:
        if value == "surrogate":
            return "name \udcff of a file"
        if value == "large":
            return 2**70
        if value == "nan":
            return [float("nan"), "\udcff", (1, {"a": float("inf")})]
        return value

    async def ticks(self, info: Any, trouble: str | None = None) -> AsyncIterator[dict[str, int]]:
        self._service.running += 1
        try:
            yield {"ticks": 1}
            await asyncio.sleep(0.05)
            yield {"ticks": 2}
            if trouble == "broken":
                raise RuntimeError("password=hunter2")
            if trouble == "busy":
                raise BusyError("Another program holds the database; try again.")
            if trouble == "endless":
                await asyncio.sleep(3600)
        finally:
            self._service.running -= 1

    def set(self, info: Any, value: int) -> int:
        self._service.value = value
        return value
