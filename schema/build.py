"""The schema of a repository: the types of this room, and what its dimension universe adds to them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

import strawberry
from graphql import (
    FloatValueNode,
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLDefaultInput,
    GraphQLField,
    GraphQLFloat,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLString,
    Undefined,
)
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.schema_converter import CustomGraphQLEnumType

from butlerql.schema.collections import CalibrationCollection, ChainedCollection, Run, TaggedCollection
from butlerql.schema.datastores import ChainedDatastore, FileDatastore, InMemoryDatastore
from butlerql.schema.filters import BigIntFilter, BooleanFilter, FloatFilter, StringFilter, TimespanFilter
from butlerql.schema.jobs import DeletionJob, IngestJob, PlanningJob, TaggingJob, ValidationJob
from butlerql.schema.mutation import Mutation
from butlerql.schema.names import free_name, graphql_name
from butlerql.schema.query import Query
from butlerql.schema.scalars import SCALARS, BigInt
from butlerql.schema.subscription import Subscription
from butlerql.schema.universe_filters import add_filters

if TYPE_CHECKING:
    from butlerql.schema.enums import DescribedEnum
    from butlerql.storage.universe import Universe

__all__ = ["build_schema"]

# What is found only through an interface.
_CONCRETE = (
    CalibrationCollection,
    ChainedCollection,
    ChainedDatastore,
    DeletionJob,
    FileDatastore,
    IngestJob,
    InMemoryDatastore,
    PlanningJob,
    Run,
    TaggedCollection,
    TaggingJob,
    ValidationJob,
)
# What only the fields that a universe adds refer to.
_FILTERS = (BigIntFilter, BooleanFilter, FloatFilter, StringFilter, TimespanFilter)


def build_schema(universe: Universe) -> GraphQLSchema:
    """Build the schema of a repository.

    Parameters
    ----------
    universe
        Its dimensions: data IDs, and conditions on them, have a field for each that is not a pixelisation of the sky.

    Returns
    -------
    GraphQLSchema
        Without resolvers: it says what may be asked, and what is asked of it must be installed.
    """
    config = StrawberryConfig(scalar_map=SCALARS)
    declared = strawberry.Schema(
        query=Query, mutation=Mutation, subscription=Subscription, types=(*_CONCRETE, *_FILTERS), config=config
    )
    # Strawberry keeps what it makes for graphql-core to itself; from here on it is all that is needed.
    schema = declared._schema  # noqa: SLF001
    for named in schema.type_map.values():
        if not named.name.startswith("__"):
            _finish(named)
    _add_dimensions(schema, universe)
    add_filters(schema, universe)
    by_name = sorted(schema.type_map.items())
    schema.type_map.clear()
    schema.type_map.update(by_name)
    return schema


def _finish(named: GraphQLNamedType) -> None:
    """Take descriptions from docstrings, Python's names for what comes in, and Strawberry's type checks out."""
    definition = named.extensions.get("strawberry-definition")
    if definition is not None and named.description is None:
        # `DatasetEdge` is `Edge` of datasets, and is described there.
        origin = (getattr(definition, "concrete_of", None) or definition).origin
        named.description = inspect.cleandoc(origin.__doc__ or "")
    if isinstance(named, CustomGraphQLEnumType):
        for member in cast("type[DescribedEnum]", named.wrapped_cls):
            named.values[member.name].description = member.description
    if isinstance(named, GraphQLObjectType):
        # Rows are the storage's own tuples: their type is known from the field, or from a loader's `interface`.
        named.is_type_of = None
    for given in _inputs(named):
        # What is a keyword of Python's is written with an underscore there.
        given.out_name = given.extensions["strawberry-definition"].python_name.rstrip("_")
        if given.default_value is None:
            # What is left out stays out: a default of null would be handed to loaders as if the client had said it.
            given.default_value = Undefined
        elif isinstance(given.default_value, float):
            # As a value 1.0 is printed like a whole number.
            given.default = GraphQLDefaultInput(literal=FloatValueNode(value=str(given.default_value)))
            given.default_value = Undefined


def _inputs(named: GraphQLNamedType) -> Iterator[GraphQLArgument | GraphQLInputField]:
    if isinstance(named, GraphQLInputObjectType):
        yield from named.fields.values()
    elif isinstance(named, (GraphQLObjectType, GraphQLInterfaceType)):
        for field in named.fields.values():
            yield from field.args.values()


def _add_dimensions(core: GraphQLSchema, universe: Universe) -> None:
    """Give `DataId` a field for each dimension, after those that say what it is made of."""
    data_id = core.type_map["DataId"]
    assert isinstance(data_id, GraphQLObjectType)
    big_int = core.type_map[SCALARS[BigInt].name]
    assert isinstance(big_int, GraphQLScalarType)
    scalars = {"int": big_int, "float": GraphQLFloat, "bool": GraphQLBoolean}
    static = dict(data_id.fields)
    added: dict[str, GraphQLField] = {}
    for name, dimension in universe.dimensions.items():
        field_name = graphql_name(name)
        # What cannot be named in GraphQL is in `values` all the same.
        if dimension.is_skypix or field_name is None:
            continue
        added[free_name(field_name, {**static, **added}, "Dimension")] = GraphQLField(
            scalars.get(dimension.primary_key.type, GraphQLString),
            description=_describe(name, dimension.doc),
            extensions={"dimension": name},
        )
    data_id.fields.clear()
    for name, field in static.items():
        data_id.fields[name] = field
        if name == "dimensions":
            data_id.fields.update(added)


def _describe(name: str, doc: str) -> str:
    meaning = f": {' '.join(doc.split())}" if doc.strip() else "."
    return f"Value of the dimension `{name}`{meaning}\nNull if the data ID lacks it, or if it is implied and not known."
