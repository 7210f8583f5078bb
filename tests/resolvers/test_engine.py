"""The engine: how often it asks, what it shares, and what it tells of errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from graphql import GraphQLScalarType, build_schema

from butlerql.resolvers.engine import Loaders, install
from butlerql.scopes import Scope
from tests.support.engine_asking import Savepoints, ask

SDL = """
scalar Text
scalar Loose
interface Named { name: String! shout(times: Int! = 1, mark: Text): String run: Run }
type Run implements Named {
  name: String! shout(times: Int! = 1, mark: Text): String run: Run type: RunType! strict: Int!
}
type Chain implements Named { name: String! shout(times: Int! = 3, mark: Text): String run: Run }
type RunType { name: String! loose: Loose }
type Dataset { uuid: String! run: Run! maybeRun: Run next: Dataset count: Int }
type Query { datasets: [Dataset!]! run: Run sureRun: Run! named: [Named] number: Int matrix: [[Int!]] }
type Mutation { change: Run! other: Run }
"""


@dataclass(eq=False)
class Run:
    name: str
    strict: int | None = 1
    of: Run | None = None


@dataclass(eq=False)
class RunType:
    name: str
    loose: Any = None


@dataclass(eq=False)
class Dataset:
    uuid: str
    run: Run
    next: Dataset | None = None
    count: Any = 1


@dataclass
class World(Savepoints):
    """What the loaders of this module answer, and a note of their calls."""

    datasets: list[Any] = field(default_factory=list)
    named: list[Any] = field(default_factory=list)
    run: Any = None
    shouts: Any = None
    type: Any = None
    runs: Any = None
    calls: list[tuple[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()


loaders = Loaders()


@loaders.interface("Named")
def _kind(row: Run) -> str:
    return "Chain" if row.name.startswith("chain") else "Run"


def _edge(target: str, answer: Any) -> None:
    @loaders.field(target)
    async def load(context: World, parents: Sequence[Any], **arguments: Any) -> Any:
        assert context.held
        context.calls.append((target, len(parents)))
        return answer(context, parents, **arguments)


def _shout(context: World, parents: Sequence[Run], *, times: int, mark: str = "!") -> Any:
    if context.shouts is not None:
        return context.shouts(parents)
    return [run.name.upper() + mark * times for run in parents]


_edge("Query.datasets", lambda context, _: [context.datasets])
_edge("Query.run", lambda context, _: [context.run])
_edge("Query.sureRun", lambda context, _: [context.run])
_edge("Query.named", lambda context, _: [context.named])
_edge("Query.matrix", lambda *_: [[[1, 2], [], None, [3]]])
_edge("Dataset.run", lambda _, parents: [dataset.run for dataset in parents])
_edge("Dataset.maybeRun", lambda context, parents: context.runs or [dataset.run for dataset in parents])
_edge("Dataset.next", lambda _, parents: [dataset.next for dataset in parents])
_edge("Named.shout", _shout)
_edge("Named.run", lambda _, parents: [run.of or run for run in parents])
_edge("Run.type", lambda context, parents: context.type(parents) if context.type else [RunType("type")] * len(parents))
loaders.column("Query.number")(lambda _: [2**31])


@loaders.mutation("change", scope=Scope.TAG)
@loaders.mutation("other", scope=Scope.TAG)
async def _change(context: World, parents: Sequence[Any]) -> list[Any]:
    return [context.run]


SCHEMA = build_schema(SDL)
SCHEMA.type_map["Loose"].extensions["passthrough"] = True
install(SCHEMA, loaders)


def _datasets(count: int) -> World:
    runs = [Run("one"), Run("two")]
    return World(datasets=[Dataset(str(number), runs[number % 2]) for number in range(count)])


async def test_each_field_is_asked_once_for_a_level() -> None:
    """However many parents there are, and whatever else is selected beside."""
    world = _datasets(1_000)
    result = await ask(
        SCHEMA,
        """{ datasets { uuid run { name type { name } ...F } other: run { name } } }
           fragment F on Run { shout type { name } run { run { name } } }""",
        world,
    )
    assert result.errors is None
    assert world.calls == [
        ("Query.datasets", 1),
        ("Dataset.run", 1_000),
        ("Dataset.run", 1_000),
        ("Run.type", 2),
        ("Named.shout", 2),
        ("Named.run", 2),
        ("Named.run", 2),
    ]
    assert world.count == len(world.calls)


async def test_equal_children_are_completed_once() -> None:
    """Ten thousand datasets in two runs have two dicts for them."""
    result = await ask(SCHEMA, "{ datasets { run { name type { name } } } }", _datasets(10_000))
    assert result.data is not None
    runs = [dataset["run"] for dataset in result.data["datasets"]]
    assert runs[:2] == [{"name": "one", "type": {"name": "type"}}, {"name": "two", "type": {"name": "type"}}]
    assert len(set(map(id, runs))) == 2
    assert runs[0]["type"] is runs[1]["type"]


async def test_a_field_of_an_interface_is_asked_once_for_all_object_types() -> None:
    """Object types that share a loader share its call, and what comes of it."""
    world = World(named=[Run("a"), Run("chain b"), None, Run("c")])
    result = await ask(SCHEMA, "{ named { __typename name shout(times: 2) run { name } } }", world)
    assert result.data == {
        "named": [
            {"__typename": "Run", "name": "a", "shout": "A!!", "run": {"name": "a"}},
            {"__typename": "Chain", "name": "chain b", "shout": "CHAIN B!!", "run": {"name": "chain b"}},
            None,
            {"__typename": "Run", "name": "c", "shout": "C!!", "run": {"name": "c"}},
        ]
    }
    assert world.calls == [("Query.named", 1), ("Named.shout", 3), ("Named.run", 3)]


async def test_object_types_that_differ_in_their_arguments_are_asked_apart() -> None:
    """An object type may have other defaults than its interface."""
    world = World(named=[Run("a"), Run("chain b"), Run("c")])
    result = await ask(SCHEMA, "{ named { shout } }", world)
    assert result.data == {"named": [{"shout": "A!"}, {"shout": "CHAIN B!!!"}, {"shout": "C!"}]}
    assert world.calls == [("Query.named", 1), ("Named.shout", 2), ("Named.shout", 1)]


async def test_object_types_that_differ_in_their_selection_are_kept_apart() -> None:
    """One selects more of the same field."""
    world = World(named=[Run("a"), Run("chain b")])
    result = await ask(SCHEMA, "{ named { run { name } ... on Run { run { strict } } } }", world)
    assert result.data == {"named": [{"run": {"name": "a", "strict": 1}}, {"run": {"name": "chain b"}}]}
    world = World(named=[Run("a", of=(shared := Run("s"))), Run("chain b", of=shared)])
    result = await ask(SCHEMA, "{ named { run { name } ... on Run { run { strict } } } }", world)
    assert result.data == {"named": [{"run": {"name": "s", "strict": 1}}, {"run": {"name": "s"}}]}


class Lazy(Sequence[Run]):
    """Runs that are made when they are read."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: Any) -> Any:
        if index >= self.size:
            raise IndexError
        return Run(str(index))


async def test_rows_that_are_made_when_read_stay_apart() -> None:
    """The identity of what is gone may be another's."""
    world = _datasets(0)
    world.datasets = [Dataset(str(number), Run("")) for number in range(50)]
    world.runs = Lazy(50)
    result = await ask(SCHEMA, "{ datasets { maybeRun { name } } }", world)
    assert result.data == {"datasets": [{"maybeRun": {"name": str(number)}} for number in range(50)]}


async def test_equal_children_of_different_types_are_completed_once() -> None:
    """Where their parents, of whatever object types, are asked by the same place of the document."""
    run = Run("run")
    world = World(named=[run, Run("chain", of=run), Run("chain", of=Run("other")), Run("more", of=run)])
    result = await ask(SCHEMA, "{ named { run { name type { name } } } }", world)
    assert result.data is not None
    of = [row["run"] for row in result.data["named"]]
    assert [row["name"] for row in of] == ["run", "run", "other", "run"]
    assert of[0] is of[1] is of[3]
    assert world.calls == [("Query.named", 1), ("Named.run", 4), ("Run.type", 2)]


async def test_errors_of_a_shared_child_are_told_at_every_path() -> None:
    """Each path has an error of its own, with the same original."""
    world = _datasets(3)
    boom = LookupError("no shouting")
    world.shouts = lambda parents: [boom if run.name == "one" else "fine" for run in parents]
    result = await ask(SCHEMA, "{\n datasets { run { shout } }\n}", world)
    assert result.data == {"datasets": [{"run": {"shout": None}}, {"run": {"shout": "fine"}}, {"run": {"shout": None}}]}
    assert [error.path for error in result.errors or []] == [
        ["datasets", 0, "run", "shout"],
        ["datasets", 2, "run", "shout"],
    ]
    for error in result.errors or []:
        assert error.original_error is boom
        assert error.message == "no shouting"
        assert [(place.line, place.column) for place in error.locations or []] == [(2, 19)]


async def test_what_a_loader_raises_is_the_error_of_every_parent() -> None:
    """The siblings are answered all the same."""

    def fail(parents: Sequence[Run]) -> Any:
        raise LookupError("nobody shouts")

    world = _datasets(2)
    world.shouts = fail
    result = await ask(SCHEMA, "{ datasets { run { name shout } } }", world)
    assert result.data == {
        "datasets": [{"run": {"name": "one", "shout": None}}, {"run": {"name": "two", "shout": None}}]
    }
    assert [(error.message, error.path) for error in result.errors or []] == [
        ("nobody shouts", ["datasets", 0, "run", "shout"]),
        ("nobody shouts", ["datasets", 1, "run", "shout"]),
    ]


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (["only one"], RuntimeError, "Run.shout answered 1 values for 2 parents."),
        (None, TypeError, "Run.shout answered NoneType where a sequence, one value a parent, is due."),
        ("ab", TypeError, "Run.shout answered str where a sequence, one value a parent, is due."),
    ],
)
async def test_a_loader_must_answer_one_value_a_parent(answer: Any, kind: type[Exception], message: str) -> None:
    """Anything else is an internal error, never a shift of values from parent to parent."""
    world = _datasets(2)
    world.shouts = lambda _: answer
    result = await ask(SCHEMA, "{ datasets { run { shout } } }", world)
    assert [type(error.original_error) for error in result.errors or []] == [kind, kind]
    assert {error.message for error in result.errors or []} == {message}


async def test_nulls_climb_to_where_null_may_be() -> None:
    """One error, with the path where it was met, for each position that became null."""
    world = _datasets(2)
    world.datasets[0].run.strict = None
    text = "{ datasets { uuid maybeRun { strict } } }"
    result = await ask(SCHEMA, text, world)
    assert result.data == {"datasets": [{"uuid": "0", "maybeRun": None}, {"uuid": "1", "maybeRun": {"strict": 1}}]}
    assert [(error.message, error.path) for error in result.errors or []] == [
        ("Cannot return null for non-nullable field Run.strict.", ["datasets", 0, "maybeRun", "strict"])
    ]
    kept = await ask(SCHEMA, f"query @experimental_disableErrorPropagation {text}", world)
    assert kept.data == {
        "datasets": [{"uuid": "0", "maybeRun": {"strict": None}}, {"uuid": "1", "maybeRun": {"strict": 1}}]
    }
    assert [error.path for error in kept.errors or []] == [["datasets", 0, "maybeRun", "strict"]]


async def test_the_first_error_explains_a_null() -> None:
    """First in the order of the answer: of fields in a row, and of items in a list."""
    boom = LookupError("no type")
    world = World(run=Run("r", strict=None), type=lambda parents: [boom] * len(parents))
    world.datasets = [Dataset("0", Run("a")), Dataset("1", Run("b", strict=None)), Dataset("2", Run("c", strict=None))]
    result = await ask(SCHEMA, "{ run { type { name } strict } }", world)
    assert [(error.message, error.path) for error in result.errors or []] == [("no type", ["run", "type"])]
    result = await ask(SCHEMA, "{ run { strict type { name } } }", world)
    assert [error.path for error in result.errors or []] == [["run", "strict"]]
    result = await ask(SCHEMA, "{ datasets { run { strict } } }", world)
    assert [error.path for error in result.errors or []] == [["datasets", 1, "run", "strict"]]


@pytest.mark.parametrize(
    ("text", "data", "path"),
    [
        ("{ run { strict } number }", {"run": None, "number": None}, ["run", "strict"]),
        ("{ sureRun { strict } number }", None, ["sureRun", "strict"]),
        ("mutation { other { strict } }", {"other": None}, ["other", "strict"]),
        ("mutation { other { name } change { strict } }", None, ["change", "strict"]),
    ],
)
async def test_nulls_climb_out_of_root_fields(text: str, data: Any, path: list[str]) -> None:
    """A root field becomes null, or the whole answer does where the root field must not be null."""
    result = await ask(SCHEMA, text, World(run=Run("r", strict=None)))
    assert result.data == data
    assert ("Cannot return null for non-nullable field Run.strict.", path) in [
        (error.message, error.path) for error in result.errors or []
    ]


async def test_an_error_of_a_root_field_is_located_once() -> None:
    """Raised or answered, leaf or list."""
    result = await ask(SCHEMA, "{ number matrix run { name } }", World(run=LookupError("gone")))
    assert result.data == {"number": None, "matrix": [[1, 2], [], None, [3]], "run": None}
    assert sorted((error.message, repr(error.path)) for error in result.errors or []) == [
        ("Int cannot represent non 32-bit signed integer value: 2147483648", "['number']"),
        ("gone", "['run']"),
    ]


async def test_arguments_are_read_once_a_field() -> None:
    """Not once a parent; what is absent and has no default stays absent."""
    read: list[Any] = []
    text_type = SCHEMA.type_map["Text"]
    assert isinstance(text_type, GraphQLScalarType)

    def parse(value: Any) -> Any:
        read.append(value)
        return value

    text_type.coerce_input_value = parse
    try:
        world = World(named=[Run(str(number)) for number in range(100)])
        result = await ask(SCHEMA, '{ named { a: shout(mark: ".", times: 3) b: shout } }', world)
        assert result.data is not None
        assert result.data["named"][7] == {"a": "7...", "b": "7!"}
        assert read.count(".") <= 2  # Once when validated, once when executed.
    finally:
        del text_type.coerce_input_value


async def test_bad_arguments_are_an_error_at_every_parent() -> None:
    """And the loader is not called for them."""
    world = _datasets(2)
    result = await ask(
        SCHEMA,
        "query ($times: Int = 2) { datasets { run { shout(times: $times) } } }",
        world,
        variables={"times": None},
    )
    assert result.data == {"datasets": [{"run": {"shout": None}}, {"run": {"shout": None}}]}
    assert [error.path for error in result.errors or []] == [
        ["datasets", 0, "run", "shout"],
        ["datasets", 1, "run", "shout"],
    ]
    assert world.calls == [("Query.datasets", 1), ("Dataset.run", 2)]


async def test_a_selection_that_cannot_be_read_is_an_error_of_every_object() -> None:
    """A null for a directive, which a default lets pass validation."""
    text = "query ($either: Boolean = true) { datasets { uuid maybeRun { name @include(if: $either) } } }"
    result = await ask(SCHEMA, text, _datasets(2), variables={"either": None})
    assert result.data == {"datasets": [{"uuid": "0", "maybeRun": None}, {"uuid": "1", "maybeRun": None}]}
    assert [error.path for error in result.errors or []] == [["datasets", 0, "maybeRun"], ["datasets", 1, "maybeRun"]]


async def test_values_of_passing_scalars_are_not_touched() -> None:
    """They are the loader's own objects."""
    value = {"deep": [1, 2]}
    world = World(run=Run("r"), type=lambda _: [RunType("t", value)])
    result = await ask(SCHEMA, "{ run { type { loose } } }", world)
    assert result.data is not None
    assert result.data["run"]["type"]["loose"] is value


async def test_an_attribute_that_some_rows_lack_is_an_error_of_those() -> None:
    """The others keep theirs."""
    world = _datasets(3)
    world.datasets[1] = SimpleNamespace(uuid="1")
    result = await ask(SCHEMA, "{ datasets { count } }", world)
    assert result.data == {"datasets": [{"count": 1}, {"count": None}, {"count": 1}]}
    assert [error.message for error in result.errors or []] == [
        "'types.SimpleNamespace' object has no attribute 'count'"
    ]


async def test_depth_does_not_meet_the_limit_of_the_stack() -> None:
    """Neither on the way down nor for errors at the bottom."""
    depth = 180
    dataset = Dataset("x", Run("r"))
    dataset.next, dataset.count = dataset, "many"
    text = "{ datasets {" + "next {" * depth + "count" + "}" * depth + "} }"
    result = await ask(SCHEMA, text, World(datasets=[dataset]))
    assert [error.path for error in result.errors or []] == [["datasets", 0, *["next"] * depth, "count"]]


async def test_introspection_is_left_to_graphql_core() -> None:
    """Beside a field that the engine answers."""
    result = await ask(SCHEMA, '{ __typename __type(name: "Run") { name } run { name } }', World(run=Run("r")))
    assert result.errors is None
    assert result.data == {"__typename": "Query", "__type": {"name": "Run"}, "run": {"name": "r"}}
