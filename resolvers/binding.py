"""The schema and its loaders put together, and checked against each other when the server starts."""

# Whatever is raised here becomes the error of a field.
# ruff: noqa: BLE001

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final, NamedTuple

from graphql import (
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    get_named_type,
    is_abstract_type,
    is_introspection_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
)

from butlerql.resolvers.leaves import LeafColumn
from butlerql.resolvers.loaders import Column, Loaders, RegisteredLoader, TypeOfRow

__all__ = ["Binding", "BoundField", "Composite", "Leaf", "ListOf", "SchemaMismatchError", "Shape", "bind", "shape_of"]

_DEFINITION: Final = "strawberry-definition"


class SchemaMismatchError(Exception):
    """What the schema declares and what the loaders answer differ; the message lists every difference."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A scalar or an enum."""

    non_null: bool
    column: LeafColumn


@dataclass(frozen=True, slots=True)
class Composite:
    """An object, or what an interface or a union promises."""

    non_null: bool
    type: Any


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list."""

    non_null: bool
    item: Shape


Shape = Leaf | Composite | ListOf


class BoundField(NamedTuple):
    """A field of an object type, and what answers it."""

    parent: GraphQLObjectType
    name: str
    definition: GraphQLField
    shape: Shape
    source: RegisteredLoader | Column


@dataclass(frozen=True)
class Binding:
    """What answers each field of a schema.

    Attributes
    ----------
    fields
        By the names of the object type and of the field.
    interfaces
        By the name of the interface or union.
    """

    fields: Mapping[tuple[str, str], BoundField]
    interfaces: Mapping[str, TypeOfRow]


def bind(schema: GraphQLSchema, loaders: Loaders) -> Binding:
    """Find what answers each field of a schema.

    Parameters
    ----------
    schema
        With every field that the universe of the repository adds.
    loaders
        All of them.

    Raises
    ------
    SchemaMismatchError
        If a declared field has no loader, a loader no field, or a field something that would never run.
    """
    problems = list(_loaders_without_field(schema, loaders))
    fields: dict[tuple[str, str], BoundField] = {}
    leaves: dict[str, LeafColumn] = {}
    for type_ in _object_types(schema):
        is_stream = type_ is schema.subscription_type
        is_root = type_ in (schema.query_type, schema.mutation_type)
        for name, definition in type_.fields.items():
            names = _registered_names(type_, name, loaders)
            if len(names) > 1:
                problems.append(f"{type_.name}.{name} is answered by both {names[0]} and {names[1]}")
            source = _source(names[0], loaders) if names else None
            if not is_stream:
                problems.extend(_field_problems(schema, type_, name, source, is_root))
            elif f"{type_.name}.{name}" not in loaders.streams or source is not None:
                problems.append(f"{type_.name}.{name} is a subscription, which a stream answers and nothing else")
            fields[type_.name, name] = BoundField(
                type_, name, definition, shape_of(definition.type, leaves), source or _attribute(name)
            )
            abstract = get_named_type(definition.type)
            if is_abstract_type(abstract) and abstract.name not in loaders.interfaces:
                problems.append(f"{type_.name}.{name} gives {abstract.name}, of which nothing tells the object type")
    if problems:
        raise SchemaMismatchError("\n".join(["The schema and its loaders do not fit:", *sorted(set(problems))]))
    return Binding(fields, loaders.interfaces)


def shape_of(type_: GraphQLOutputType, leaves: dict[str, LeafColumn]) -> Shape:
    """Take the type of a field apart.

    Parameters
    ----------
    type_
        The type.
    leaves
        What is known of the leaf types already, by name; added to.
    """
    non_null = is_non_null_type(type_)
    nullable: Any = type_.of_type if is_non_null_type(type_) else type_
    if is_list_type(nullable):
        return ListOf(non_null, shape_of(nullable.of_type, leaves))
    if is_leaf_type(nullable):
        if nullable.name not in leaves:
            leaves[nullable.name] = LeafColumn(nullable)
        return Leaf(non_null, leaves[nullable.name])
    return Composite(non_null, nullable)


def _object_types(schema: GraphQLSchema) -> Iterator[GraphQLObjectType]:
    for type_ in schema.type_map.values():
        if isinstance(type_, GraphQLObjectType) and not is_introspection_type(type_):
            yield type_


def _loaders_without_field(schema: GraphQLSchema, loaders: Loaders) -> Iterator[str]:
    for target in (*loaders.loaders, *loaders.columns, *loaders.streams):
        type_name, _, field_name = target.partition(".")
        type_ = schema.type_map.get(type_name)
        if not isinstance(type_, GraphQLObjectType | GraphQLInterfaceType) or field_name not in type_.fields:
            yield f"{target} has a loader but is not in the schema"
            continue
        if target in loaders.streams and type_ is not schema.subscription_type:
            yield f"{target} has a stream but is no subscription"
        declaration = type_.fields[field_name].extensions.get(_DEFINITION)
        if target in loaders.loaders and declaration is not None and not getattr(declaration, "is_loaded", False):
            yield f"{target} has a loader but is not declared @loaded"
    for name in loaders.interfaces:
        if not is_abstract_type(schema.type_map.get(name)):
            yield f"{name} has a function that tells object types but is no interface or union of the schema"


def _field_problems(
    schema: GraphQLSchema,
    type_: GraphQLObjectType,
    name: str,
    source: RegisteredLoader | Column | None,
    is_root: bool,
) -> Iterator[str]:
    label = f"{type_.name}.{name}"
    definition = type_.fields[name]
    declaration = definition.extensions.get(_DEFINITION)
    is_loaded = getattr(declaration, "is_loaded", False)
    if source is None and is_root:
        yield f"{label} is a root field and has no loader"
    elif source is None and is_loaded:
        yield f"{label} is declared @loaded and has no loader"
    elif type_ is schema.mutation_type and (not isinstance(source, RegisteredLoader) or source.scope is None):
        yield f"{label} is a mutation and names no scope"
    elif definition.args and not isinstance(source, RegisteredLoader):
        yield f"{label} takes arguments, which only a loader gets"
    if get_named_type(definition.type) in (schema.query_type, schema.mutation_type, schema.subscription_type):
        yield f"{label} leads back to a root type"
    if declaration is None:
        return
    if declaration.permission_classes:
        yield f"{label} has permission classes, which would not run"
    elif declaration.extensions:
        yield f"{label} has field extensions, which would not run"
    if declaration.base_resolver is not None and not is_loaded:
        yield f"{label} has a resolver, which would not run; declare it @loaded"


def _registered_names(type_: GraphQLObjectType, name: str, loaders: Loaders) -> list[str]:
    """Give the registrations that answer a field: its own, or else those of its interfaces."""
    owners: Sequence[GraphQLObjectType | GraphQLInterfaceType]
    for owners in ((type_,), type_.interfaces):
        targets = [f"{owner.name}.{name}" for owner in owners]
        registered = [target for target in targets if target in loaders.loaders or target in loaders.columns]
        if registered:
            return registered
    return []


def _source(target: str, loaders: Loaders) -> RegisteredLoader | Column:
    return loaders.loaders.get(target) or loaders.columns[target]


def _attribute(field_name: str) -> Column:
    """Make the column of the attribute that has the name of a field in snake case."""
    attribute = re.sub(r"(?<!^)(?=[A-Z])", "_", field_name).lower()
    get = attrgetter(attribute)

    def column(rows: Sequence[Any]) -> list[Any]:
        try:
            return list(map(get, rows))
        except Exception:
            return [_attempt(get, row) for row in rows]

    return column


def _attempt(get: attrgetter[Any], row: Any) -> Any:
    try:
        return get(row)
    except Exception as error:
        return error
