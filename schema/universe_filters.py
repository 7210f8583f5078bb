"""Conditions on the dimensions of a repository, and on their records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from graphql import GraphQLInputField, GraphQLInputObjectType, GraphQLSchema

from butlerql.schema.filters import BigIntFilter, BooleanFilter, DataIdFilter, FloatFilter, StringFilter, TimespanFilter
from butlerql.schema.names import free_name, graphql_name

if TYPE_CHECKING:
    from butlerql.storage.universe import Element, Universe

__all__ = ["add_filters"]


def add_filters(schema: GraphQLSchema, universe: Universe) -> None:
    """Give `DataIdFilter` a field for each dimension and for the records of each element.

    Parameters
    ----------
    schema
        Changed in place.
    universe
        Its dimensions and elements.

    Notes
    -----
    A `DataIdFilter` reaches the resolvers as a dictionary in the Butler's spelling: what every repository has by its
    name in snake case; beside that ``dimensions``, conditions by dimension, and ``records``, conditions by element and
    column. The extensions of the fields say the same.
    """
    filters = _input(schema, DataIdFilter)
    for name, dimension in universe.dimensions.items():
        if not dimension.is_skypix and (field := graphql_name(name)):
            type_ = _filter(schema, dimension.primary_key.type)
            field = free_name(field, filters.fields, "Dimension")
            description = f"Conditions on the dimension `{name}`."
            filters.fields[field] = _field(type_, description, field, dimension=name)
    for name, element in universe.elements.items():
        if element.has_table and (field := graphql_name(name)) and (columns := _columns(schema, element)):
            field = free_name(f"{field}Record", filters.fields, "Element")
            description = f"Conditions on the record of the element `{name}`; all that are given must hold."
            type_name = free_name(f"{field[0].upper()}{field[1:]}Filter", schema.type_map, "Filter")
            type_ = GraphQLInputObjectType(type_name, columns, f"{description}\n\nNull is as if it were left out.")
            schema.type_map[type_name] = type_
            filters.fields[field] = _field(type_, description, field, element=name)
    filters.out_type = _placed(filters.fields)  # type: ignore[assignment,method-assign]


def _columns(schema: GraphQLSchema, element: Element) -> dict[str, GraphQLInputField]:
    """Make a field for each column that conditions can be on; what cannot be named in GraphQL is left out."""
    fields: dict[str, GraphQLInputField] = {}
    for column in (*element.alternate_keys, *element.metadata):
        if name := graphql_name(column.name):
            description = f"{column.doc.rstrip('.') or f'The column `{column.name}`'}."
            name = free_name(name, fields, "Column")
            fields[name] = _field(_filter(schema, column.type), description, column.name, column=column.name)
    if element.temporal is not None:
        type_, name = _input(schema, TimespanFilter), free_name("timespan", fields, "Column")
        fields[name] = _field(type_, "When it was.", "timespan", column="timespan")
    return fields


def _field(type_: GraphQLInputObjectType, description: str, out_name: str, **meaning: str) -> GraphQLInputField:
    return GraphQLInputField(type_, description=description, out_name=out_name, extensions=meaning)


def _placed(fields: Mapping[str, GraphQLInputField]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Make the function that puts what was given for dimensions and records where it belongs."""
    places = {
        name: (section, field.extensions[kind])
        for name, field in fields.items()
        for kind, section in (("dimension", "dimensions"), ("element", "records"))
        if kind in field.extensions
    }

    def place(given: dict[str, Any]) -> dict[str, Any]:
        placed: dict[str, Any] = {}
        for key, value in given.items():
            if key in places:
                section, name = places[key]
                placed.setdefault(section, {})[name] = value
            else:
                placed[key] = value
        return placed

    return place


def _filter(schema: GraphQLSchema, column_type: str) -> GraphQLInputObjectType:
    declared = {"int": BigIntFilter, "float": FloatFilter, "bool": BooleanFilter}
    return _input(schema, declared.get(column_type, StringFilter))


def _input(schema: GraphQLSchema, declared: type) -> GraphQLInputObjectType:
    found = schema.type_map[declared.__name__]
    assert isinstance(found, GraphQLInputObjectType)
    return found
