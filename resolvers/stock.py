"""Ordinary resolvers, one object at a time, derived from the loaders: the engine's yardstick in the tests."""

from __future__ import annotations

from typing import Any

from graphql import (
    GraphQLFieldResolver,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
    GraphQLTypeResolver,
    GraphQLUnionType,
)

from butlerql.resolvers.binding import BoundField, bind
from butlerql.resolvers.loaders import Loaders, RegisteredLoader, TypeOfRow, fetch, pick

__all__ = ["install_stock"]


def install_stock(schema: GraphQLSchema, loaders: Loaders) -> None:
    """Let graphql-core alone answer a schema: every loader is called with one parent.

    Parameters
    ----------
    schema
        Complete: changed in place, all its fields get resolvers and its types know their rows.
    loaders
        One for each declared field.

    Raises
    ------
    SchemaMismatchError
        If schema and loaders do not fit.
    """
    binding = bind(schema, loaders)
    for bound in binding.fields.values():
        bound.definition.resolve = _resolver(bound)
    for type_ in schema.type_map.values():
        if isinstance(type_, GraphQLObjectType):
            # Strawberry would compare the row with its own class.
            type_.is_type_of = None
        elif isinstance(type_, GraphQLInterfaceType | GraphQLUnionType) and type_.name in binding.interfaces:
            type_.resolve_type = _type_resolver(binding.interfaces[type_.name])


def _resolver(bound: BoundField) -> GraphQLFieldResolver:
    name = f"{bound.parent.name}.{bound.name}"
    source = bound.source
    if isinstance(source, RegisteredLoader):

        async def load(parent: Any, info: GraphQLResolveInfo[Any], **arguments: Any) -> Any:
            return (await fetch(source, name, info.context, [parent], arguments))[0]

        return load

    def look(parent: Any, _info: GraphQLResolveInfo[Any]) -> Any:
        return pick(source, name, [parent])[0]

    return look


def _type_resolver(type_of_row: TypeOfRow) -> GraphQLTypeResolver:
    return lambda row, _info, _abstract: type_of_row(row)
