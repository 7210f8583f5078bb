"""The engine: a schema and loaders that do not fit are refused at start-up, all differences at once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
import strawberry
from graphql import GraphQLSchema, build_schema
from strawberry.extensions import FieldExtension
from strawberry.permission import BasePermission

from butlerql.resolvers.engine import BatchExecutionContext, Loaders, SchemaMismatchError, install
from butlerql.resolvers.stock import install_stock
from butlerql.schema.fields import loaded
from butlerql.scopes import Scope
from tests.support.engine_asking import Savepoints, ask


class Nobody(BasePermission):
    """Lets nobody in."""

    def has_permission(self, source: Any, info: Any, **arguments: Any) -> bool:
        """Refuse."""
        return False


class Doing(FieldExtension):
    """Does nothing."""

    def resolve(self, next_: Callable[..., Any], source: Any, info: strawberry.Info, **arguments: Any) -> Any:
        """Pass on."""
        return next_(source, info, **arguments)


@strawberry.interface
class Named:
    """Has a name."""

    name: str

    @loaded
    def words(self, at_most: int = 2) -> list[str]:  # type: ignore[empty-body]
        """Split the name.

        Parameters
        ----------
        at_most
            How many.
        """


@strawberry.type
class Run(Named):
    """A run."""

    long_name: str

    @loaded
    def parent(self) -> Named | None:
        """Give what it is in."""


@strawberry.type
class Query:
    """The root."""

    @loaded
    def run(self) -> Run:  # type: ignore[empty-body]
        """Give the run."""


@strawberry.type(name="Run")
class Guarded:
    """A run with what the engine would not run."""

    secret: str = strawberry.field(permission_classes=[Nobody])
    extended: str = strawberry.field(extensions=[Doing()])

    @strawberry.field
    def computed(self) -> str:
        """Never run."""
        return "never"


@strawberry.type(name="Query")
class GuardedQuery:
    """Its root."""

    @loaded
    def run(self) -> Guarded:  # type: ignore[empty-body]
        """Give the run."""


class Row:
    """What stands behind a run."""

    name = "one two three"
    long_name = "run one two three"


def _loaders(*left_out: str) -> Loaders:
    loaders = Loaders()

    async def load(context: Savepoints, parents: Sequence[Any]) -> Sequence[Any]:
        return [Row() for _ in parents]

    async def words(context: Savepoints, parents: Sequence[Any], *, at_most: int) -> Sequence[Any]:
        return [row.name.split()[:at_most] for row in parents]

    for target, loader in (("Query.run", load), ("Run.parent", load), ("Named.words", words)):
        if target not in left_out:
            loaders.field(target)(loader)
    if "Named" not in left_out:
        loaders.interface("Named")(lambda _: "Run")
    return loaders


def _schema(query: type = Query) -> strawberry.Schema:
    schema = strawberry.Schema(query=query, types=[Run], execution_context_class=BatchExecutionContext)
    for type_ in schema._schema.type_map.values():
        for field in getattr(type_, "fields", {}).values():
            for name, argument in getattr(field, "args", {}).items():
                argument.out_name = "at_most" if name == "atMost" else name
    return schema


def _problems(schema: GraphQLSchema, loaders: Loaders) -> list[str]:
    with pytest.raises(SchemaMismatchError) as caught:
        install(schema, loaders)
    with pytest.raises(SchemaMismatchError):
        install_stock(schema, loaders)
    return str(caught.value).splitlines()[1:]


async def test_a_strawberry_schema_is_answered_by_the_engine() -> None:
    """Arguments and attributes by their names in snake case, without any Strawberry resolver."""
    schema = _schema()
    install(schema._schema, _loaders())
    text = "{ run { longName words(atMost: 1) parent { __typename words } } }"
    result = await schema.execute(text, context_value=Savepoints())
    assert result.errors is None
    expected = {
        "run": {
            "longName": "run one two three",
            "words": ["one"],
            "parent": {"__typename": "Run", "words": ["one", "two"]},
        }
    }
    assert result.data == expected
    stock = _schema()
    install_stock(stock._schema, _loaders())
    assert (await ask(stock._schema, text, executor=None)).data == expected


def test_every_declared_field_needs_a_loader() -> None:
    """Root fields, fields of object types and of their interfaces; and every interface tells its types."""
    assert _problems(_schema()._schema, _loaders("Query.run", "Run.parent", "Named.words", "Named")) == [
        "Query.run is a root field and has no loader",
        "Run.parent gives Named, of which nothing tells the object type",
        "Run.parent is declared @loaded and has no loader",
        "Run.words is declared @loaded and has no loader",
    ]


def test_every_loader_needs_a_field() -> None:
    """Of that name, of that type, declared for it."""
    loaders = _loaders()
    for target in ("Run.gone", "Gone.name", "Run.longName", "String.name"):
        loaders.field(target)(loaders.loaders["Query.run"].load)
    loaders.column("Run.lost")(list)
    loaders.interface("Run")(lambda _: "Run")
    assert _problems(_schema()._schema, loaders) == [
        "Gone.name has a loader but is not in the schema",
        "Run has a function that tells object types but is no interface or union of the schema",
        "Run.gone has a loader but is not in the schema",
        "Run.longName has a loader but is not declared @loaded",
        "Run.lost has a loader but is not in the schema",
        "String.name has a loader but is not in the schema",
    ]


def test_what_would_never_run_is_refused() -> None:
    """Permission classes, field extensions and resolvers are Strawberry's, which does not complete the fields."""
    loaders = _loaders("Run.parent", "Named.words", "Named")
    schema = strawberry.Schema(query=GuardedQuery)._schema
    assert _problems(schema, loaders) == [
        "Run.computed has a resolver, which would not run; declare it @loaded",
        "Run.extended has field extensions, which would not run",
        "Run.secret has permission classes, which would not run",
    ]


def test_fields_that_nothing_can_answer_are_refused() -> None:
    """Arguments for a column, two interfaces that both answer, and a way back to the root."""
    schema = build_schema("""
        interface A { x: Int }
        interface B { x: Int }
        type Row implements A & B { x: Int y(n: Int): Int z(n: Int): Int back: Query }
        type Query { row: Row }
    """)
    loaders = Loaders()
    loaders.column("Query.row")(list)
    loaders.column("A.x")(list)
    loaders.column("B.x")(list)
    loaders.column("Row.y")(list)
    assert _problems(schema, loaders) == [
        "Row.back leads back to a root type",
        "Row.x is answered by both A.x and B.x",
        "Row.y takes arguments, which only a loader gets",
        "Row.z takes arguments, which only a loader gets",
    ]


def test_registries_are_put_together_once() -> None:
    """A field answered twice, and a target that is none, are refused when they are registered."""
    first, second = _loaders("Named", "Run.parent", "Named.words"), Loaders()
    second.column("Run.parent")(list)
    second.interface("Named")(lambda _: "Run")
    whole = Loaders.merged(first, second)
    assert set(whole.loaders) == {"Query.run"}
    assert set(whole.columns) == {"Run.parent"}
    assert set(whole.interfaces) == {"Named"}
    with pytest.raises(ValueError, match=r"Query\.run is answered twice"):
        Loaders.merged(whole, first)
    with pytest.raises(ValueError, match=r"Run\.parent is answered twice"):
        whole.column("Run.parent")(list)
    with pytest.raises(ValueError, match="Named are told by two"):
        whole.interface("Named")(lambda _: "Run")
    with pytest.raises(ValueError, match="not of the form"):
        whole.column("parent")(list)


def test_a_mutation_type_is_installed_too() -> None:
    """Its fields need loaders, that say who may call them."""
    schema = build_schema("type Query { a: Int } type Mutation { b: Int c: Int d: Int e: Int }")
    loaders = Loaders()
    loaders.column("Query.a")(list)
    loaders.column("Mutation.c")(list)
    loaders.field("Mutation.d")(_none)
    loaders.mutation("e", scope=Scope.TAG)(_none)
    assert _problems(schema, loaders) == [
        "Mutation.b is a root field and has no loader",
        "Mutation.c is a mutation and names no scope",
        "Mutation.d is a mutation and names no scope",
    ]


async def _none(context: Savepoints, parents: Sequence[Any]) -> list[None]:
    raise NotImplementedError


async def _nothing(context: object, **arguments: object) -> AsyncIterator[int]:
    raise NotImplementedError


def test_subscriptions_are_answered_by_streams_alone() -> None:
    schema = build_schema("type Query { a: Int } type Subscription { b(n: Int): Int c: Int }")
    loaders = Loaders()
    loaders.column("Query.a")(list)
    loaders.column("Subscription.c")(list)
    assert _problems(schema, loaders) == [
        "Subscription.b is a subscription, which a stream answers and nothing else",
        "Subscription.c is a subscription, which a stream answers and nothing else",
    ]
    streams = Loaders()
    for target in ("Query.a", "Subscription.b", "Subscription.c"):
        streams.stream(target)(_nothing)
    assert _problems(schema, streams) == [
        "Query.a has a stream but is no subscription",
        "Query.a is a root field and has no loader",
    ]
