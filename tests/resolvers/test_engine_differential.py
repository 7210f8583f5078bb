"""The engine and graphql-core's own execution, side by side on random worlds and documents."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from graphql import ExecutionResult, GraphQLError, GraphQLSchema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from butlerql.resolvers.engine import BatchExecutionContext, install
from butlerql.resolvers.stock import install_stock
from tests.support.engine_asking import ask
from tests.support.engine_documents import documents
from tests.support.engine_world import Context, Rates, World, build_world_schema, world_loaders

_OFF = "@experimental_disableErrorPropagation"


# Where a sibling fails at once, graphql-core drops resolvers of deeper fields that it has not begun to await. That is
# to be told of here, where it is ignored, and not wherever the collector happens to run.
pytestmark = pytest.mark.filterwarnings(r"ignore:coroutine '(Executor|_resolver)\..*' was never awaited:RuntimeWarning")


@pytest.fixture(scope="module", autouse=True)
def _collected_by_hand() -> Iterator[None]:
    gc.collect()
    gc.freeze()
    gc.disable()
    yield
    gc.collect()
    gc.enable()
    gc.unfreeze()


def _installed(how: Any) -> GraphQLSchema:
    schema = build_world_schema()
    how(schema, world_loaders(schema))
    return schema


ENGINE = _installed(install)
STOCK = _installed(install_stock)

_SHARE = st.sampled_from([0.0, 0.0, 0.0, 0.02, 0.02, 0.1, 0.3])
_RATES = st.builds(Rates, null=_SHARE, error=_SHARE, bad=_SHARE, loader=_SHARE)


async def _answer(schema: GraphQLSchema, world: World, text: str, variables: dict[str, Any]) -> ExecutionResult:
    executor = BatchExecutionContext if schema is ENGINE else None
    return await ask(schema, text, Context(world), root=world.root, variables=variables, executor=executor)


def _told(errors: list[GraphQLError] | None) -> list[tuple[str, str, str]]:
    return sorted((repr(error.path), error.message, repr(error.locations)) for error in errors or [])


def _nulls(data: Any, path: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    if data is None:
        return {path}
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return {null for key, value in items for null in _nulls(value, (*path, key))}


def _nulled_by(data: Any, path: list[str | int]) -> tuple[str | int, ...]:
    """Give the null position of an answer in which a path ends."""
    for length, key in enumerate(path):
        if data is None:
            return tuple(path[:length])
        data = data[key]
    assert data is None
    return tuple(path)


@pytest.mark.parametrize("root", ["Query", "Mutation"])
@given(data=st.data(), seed=st.integers(0, 2**16), rates=_RATES)
@settings(max_examples=settings().max_examples * 2, suppress_health_check=[HealthCheck.too_slow])
async def test_random_documents_are_answered_as_by_stock(
    root: str, data: st.DataObject, seed: int, rates: Rates
) -> None:
    """With error propagation off: the same data and errors. With it on: the same data, and each null explained once."""
    document = data.draw(documents(STOCK, STOCK.type_map[root]))
    await _compare(
        World(STOCK, seed, rates), lambda directive: document.text(root.lower(), directive), document.variables
    )


@given(seed=st.integers(0, 2**32))
@settings(max_examples=settings().max_examples * 2)
async def test_lists_in_lists_are_answered_as_by_stock(seed: int) -> None:
    """One document with much in it, and worlds in which little goes wrong: errors deep in the middle of lists."""
    chance = random.Random(seed)
    null, error, bad = (chance.choice([0.0, 0.005, 0.02]) for _ in range(3))
    world = World(STOCK, seed, Rates(null, error, bad, loader=0.02))
    await _compare(world, lambda directive: f"query Q {directive}\n{_LISTS}", {})


_LISTS = """{ allNamed { ...Deep } deepThing { ...Thing } gridCat { ...Deep pal { sureInt } } strictDog { ...Deep } }
fragment Deep on Named {
  allInt sureString gridOdd maybeFloat allColour
  strictCat { sureID deepNamed { allInt maybeNamed { sureString } } }
  again: deepNamed { sureBoolean gridThing { ...Thing } }
}
fragment Thing on Thing {
  ... on Cat { sureInt strictNamed { sureFloat } } ... on Rock { allString } ... on Dog { gridID }
}
"""


async def _compare(world: World, text: Callable[[str], str], variables: dict[str, Any]) -> None:
    off_stock = await _answer(STOCK, world, text(_OFF), variables)
    off = await _answer(ENGINE, world, text(_OFF), variables)
    assert repr(off.data) == repr(off_stock.data)
    assert _told(off.errors) == _told(off_stock.errors)

    on_stock = await _answer(STOCK, world, text(""), variables)
    on = await _answer(ENGINE, world, text(""), variables)
    gc.collect()
    assert repr(on.data) == repr(on_stock.data)
    assert set(_told(on.errors)) <= set(_told(off.errors))
    if on.data is None:
        assert on.errors
        return
    nulled = [_nulled_by(on.data, error.path or []) for error in on.errors or []]
    assert len(set(nulled)) == len(nulled)
    innocent = _nulls(off.data) - {tuple(error.path or ()) for error in off.errors or ()}
    assert _nulls(on.data) - innocent == set(nulled)
