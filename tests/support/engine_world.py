"""A schema with null, lists and abstract types everywhere, and a world of rows that go wrong in every way."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from graphql import (
    GraphQLError,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLScalarType,
    GraphQLSchema,
    build_schema,
    get_named_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
)

from butlerql.resolvers.loaders import Loaders
from butlerql.scopes import Scope
from tests.support.engine_asking import Savepoints

__all__ = ["KINDS", "BoomError", "Context", "Rates", "World", "build_world_schema", "world_loaders"]

KINDS = ("Cat", "Dog", "Rock")
_ODD_KINDS = (None, "Ghost", "Colour", "Query", 3, ["Cat"])

_LEAF_FIELDS = "\n".join(
    f"  {prefix}{leaf}: {pattern.format(leaf)}"
    for leaf in ("String", "Int", "Float", "Boolean", "ID", "Colour", "Odd", "Json")
    for prefix, pattern in (("maybe", "{}"), ("sure", "{}!"), ("some", "[{}]"), ("all", "[{}!]!"), ("grid", "[[{}!]]"))
)
_ARGUMENTS = "(first: Int = 2, colours: [Colour!] = [RED], filter: Filter)"
_EDGE_FIELDS = "\n".join(
    f"  {prefix}{target}{arguments}: {pattern.format(target)}"
    for target in ("Cat", "Dog", "Named", "Thing")
    for prefix, arguments, pattern in (
        ("maybe", _ARGUMENTS, "{}"),
        ("sure", "", "{}!"),
        ("some", "", "[{}]"),
        ("all", _ARGUMENTS, "[{}!]!"),
        ("strict", "", "[{}!]"),
        ("grid", "", "[[{}]!]"),
        ("deep", "", "[[{}!]!]!"),
        ("need", "(n: Int!)", "{}"),
    )
)
_FIELDS = f"{_LEAF_FIELDS}\n{_EDGE_FIELDS}"

SDL = f"""
scalar Odd
scalar Json
enum Colour {{ RED GREEN BLUE }}
input Filter {{ colour: Colour = GREEN atLeast: Int = 0 words: [String!] }}
interface Named {{
  pal: Named
{_FIELDS}
}}
type Cat implements Named {{
  pal: Cat!
{_FIELDS}
}}
type Dog implements Named {{
  pal(loud: Boolean = true): Named
{_FIELDS}
}}
type Rock {{
{_FIELDS}
}}
union Thing = Cat | Dog | Rock
type Query {{
{_FIELDS}
}}
type Mutation {{
{_FIELDS}
}}
"""


class BoomError(Exception):
    """What loaders of the world raise and answer."""


class Rates(NamedTuple):
    """How often each thing goes wrong, as a probability."""

    null: float = 0.0
    error: float = 0.0
    bad: float = 0.0
    loader: float = 0.0


class Row:
    """A row of the world; its leaves are its attributes."""

    def __init__(self, world: World, number: int, kind: Any) -> None:
        self.world = world
        self.number = number
        self.kind = kind

    def __repr__(self) -> str:
        return f"<row {self.number}>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value = self.world.leaf(self, name)
        if isinstance(value, Exception):
            raise value
        return value


class World:
    """A few rows that point at each other, cycles included. Everything follows from the seed."""

    def __init__(self, schema: GraphQLSchema, seed: int, rates: Rates) -> None:
        self._seed = seed
        self._rates = rates
        self._types: dict[str, GraphQLOutputType] = {}
        for type_ in schema.type_map.values():
            if isinstance(type_, GraphQLObjectType | GraphQLInterfaceType):
                for name, field in type_.fields.items():
                    self._types.setdefault(_snake(name), field.type)
        generator = random.Random(seed)
        kinds = [generator.choice(_ODD_KINDS if generator.random() < rates.bad else KINDS) for _ in range(7)]
        self.rows = [Row(self, number, kind) for number, kind in enumerate(kinds)]
        self.root = Row(self, -1, "Query")

    def type_name(self, row: Row) -> Any:
        """Give the name of the object type of a row."""
        if row.number == 6 and self._rates.bad > 0.2:
            raise BoomError("nobody knows what row 6 is")
        return row.kind

    def leaf(self, row: Row, name: str) -> Any:
        """Give the value of an attribute."""
        return self._value(self._types[name], random.Random(f"{self._seed} {row.number} {name}"))

    def answer(self, name: str, parents: Sequence[Any], arguments: dict[str, Any]) -> list[Any]:
        """Answer an edge for some rows. Each answer depends on the row, the field and the arguments alone."""
        said = f"{name} {sorted(arguments.items())}"
        if random.Random(f"{self._seed} {said}").random() < self._rates.loader:
            raise BoomError(f"no {name} today")
        return [
            self._value(self._types[_snake(name)], random.Random(f"{self._seed} {row.number} {said}"))
            for row in parents
        ]

    def _value(self, type_: Any, generator: random.Random) -> Any:
        roll = generator.random()
        if roll < self._rates.null:
            return None
        roll -= self._rates.null
        if roll < self._rates.error:
            message = f"boom {generator.randrange(100)}"
            return generator.choice([BoomError(message), GraphQLError(message, extensions={"code": "BOOM"})])
        if is_non_null_type(type_):
            type_ = type_.of_type
        is_bad = generator.random() < self._rates.bad
        if is_list_type(type_):
            items = [self._value(type_.of_type, generator) for _ in range(generator.randrange(4))]
            if is_bad:
                return generator.choice([7, "text", {"a": 1}, _breaking()])
            return generator.choice([items, items, tuple(items), iter(items)])
        if is_leaf_type(type_):
            values = _LEAVES[type_.name]
            return generator.choice(values[1] if is_bad else values[0])
        return generator.choice(self.rows)


class Context(Savepoints):
    """A context that knows its world."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world


def build_world_schema() -> GraphQLSchema:
    """Build the schema; each is installed into once."""
    schema = build_schema(SDL)
    odd, json = schema.type_map["Odd"], schema.type_map["Json"]
    assert isinstance(odd, GraphQLScalarType)
    odd.coerce_output_value = _odd
    json.extensions["passthrough"] = True
    return schema


def world_loaders(schema: GraphQLSchema) -> Loaders:
    """Register loaders for all edges, and for the fields of the roots; the leaves of rows are attributes."""
    loaders = Loaders()
    for type_ in schema.type_map.values():
        if isinstance(type_, GraphQLObjectType) and not type_.name.startswith("__"):
            is_root = type_.name in ("Query", "Mutation")
            for name, field in type_.fields.items():
                if is_root or not is_leaf_type(get_named_type(field.type)):
                    _register(loaders, type_.name, name, field)
    loaders.interface("Named")(_type_name)
    loaders.interface("Thing")(_type_name)
    return loaders


def _register(loaders: Loaders, type_name: str, name: str, field: GraphQLField) -> None:
    owner = type_name if type_name in ("Query", "Mutation", "Rock") or name == "pal" else "Named"
    target = f"{owner}.{name}"
    if target in loaders.loaders or target in loaders.columns:
        return
    if name.startswith("some") and owner != "Mutation":

        @loaders.column(target)
        def pick(parents: Sequence[Any]) -> list[Any]:
            worlds = [row.world for row in parents]
            return worlds[0].answer(name, parents, {}) if worlds else []

        return

    register = (
        loaders.mutation(name, scope=Scope.TAG)
        if owner == "Mutation"
        else loaders.field(target, database=not name.startswith(("deep", "grid")))
    )

    @register
    async def load(context: Context, parents: Sequence[Any], **arguments: Any) -> Sequence[Any]:
        assert len(set(map(id, parents))) == len(parents)
        await asyncio.sleep(0)
        return context.world.answer(name, parents, arguments)


def _type_name(row: Row) -> Any:
    return row.world.type_name(row)


def _odd(value: Any) -> Any:
    if value == 13:
        return None
    if not isinstance(value, int) or value % 2 == 0:
        raise ValueError(f"{value!r} is not odd")
    return str(value)


def _breaking() -> Iterator[Any]:
    # Before anything bad comes out: where it breaks off later, graphql-core also tells of items of a list that is null.
    yield from ()
    raise BoomError("the list broke off")


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


_LEAVES: dict[str, tuple[list[Any], list[Any]]] = {
    "String": (["a", "b", ""], [1, 2.5, True, [1], object, float("nan")]),
    "Int": ([0, 1, -5, 2**31 - 1], [2**31, "7", "x", 3.0, 3.5, True, [1]]),
    "Float": ([0.5, -1.0, 1e300], [3, "2.5", "x", float("inf"), float("nan"), True, [1]]),
    "Boolean": ([True, False], [0, 1.5, "true", [1]]),
    "ID": (["id1", "id2"], [5, 2.5, True, [1]]),
    "Colour": (["RED", "GREEN", "BLUE"], ["PINK", 4, ["RED"]]),
    "Odd": ([1, 3, 99], [2, 13, "x"]),
    "Json": ([{"a": [1, None]}, [1, 2], "text", 5, False], ["same", "more"]),
}
