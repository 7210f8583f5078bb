"""The batch engine: every field of a level of a query answered once, for all the objects of that level.

The parts, from the outside in: `install` here; `loaders` (what answers a field), `binding` (checked against the schema
at start-up), `selections` (what a request selects), `execution` (level after level, and the way into graphql-core),
`completion` (the answer as it grows: nulls, errors, paths), `leaves` (columns of leaf values). `stock` derives ordinary
resolvers from the same loaders.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from graphql import GraphQLFieldResolver, GraphQLResolveInfo, GraphQLSchema

from butlerql.resolvers.binding import Binding, BoundField, SchemaMismatchError, bind
from butlerql.resolvers.execution import BatchExecutionContext, Uncompleted
from butlerql.resolvers.loaders import LoaderContext, Loaders, RegisteredLoader, Stream, fetch, pick

__all__ = ["BatchExecutionContext", "LoaderContext", "Loaders", "SchemaMismatchError", "install"]


def install(schema: GraphQLSchema, loaders: Loaders) -> None:
    """Let the engine answer a schema.

    Parameters
    ----------
    schema
        Complete: changed in place, its root fields get their resolvers, and subscriptions their streams. It must be
        executed by `BatchExecutionContext`, with a context that is a `LoaderContext`.
    loaders
        One for each declared field.

    Raises
    ------
    SchemaMismatchError
        If schema and loaders do not fit.
    """
    binding = bind(schema, loaders)
    for root in (schema.query_type, schema.mutation_type):
        if root is not None:
            for name, definition in root.fields.items():
                definition.resolve = _root_resolver(binding, binding.fields[root.name, name])
    if schema.subscription_type is not None:
        for name, definition in schema.subscription_type.fields.items():
            definition.subscribe = _subscriber(loaders.streams[f"{schema.subscription_type.name}.{name}"])
            definition.resolve = _event_resolver(binding)


def _root_resolver(binding: Binding, bound: BoundField) -> GraphQLFieldResolver:
    name = f"{bound.parent.name}.{bound.name}"

    async def resolve(source: Any, info: GraphQLResolveInfo[Any], **arguments: Any) -> Uncompleted:
        if isinstance(bound.source, RegisteredLoader):
            values = await fetch(bound.source, name, info.context, [source], arguments)
        else:
            values = pick(bound.source, name, [source])
        return Uncompleted(values[0], binding)

    return resolve


def _subscriber(stream: Stream) -> GraphQLFieldResolver:
    async def subscribe(source: Any, info: GraphQLResolveInfo[Any], **arguments: Any) -> AsyncIterator[Any]:
        return await stream(info.context, **arguments)

    return subscribe


def _event_resolver(binding: Binding) -> GraphQLFieldResolver:
    def resolve(row: Any, info: GraphQLResolveInfo[Any], **arguments: Any) -> Uncompleted:
        return Uncompleted(row, binding)

    return resolve
