"""The engine: columns of leaf values, against graphql-core's way of making each."""

from __future__ import annotations

from enum import StrEnum
from types import NoneType
from typing import Any

import pytest
import strawberry
from graphql import (
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLFloat,
    GraphQLID,
    GraphQLInt,
    GraphQLLeafType,
    GraphQLScalarType,
    GraphQLString,
)
from graphql.execution.executor import Executor
from hypothesis import given, settings
from hypothesis import strategies as st

from butlerql.resolvers.leaves import LeafColumn


class Colour(StrEnum):
    """Its values are its names."""

    RED = "RED"
    BLUE = "BLUE"


@strawberry.type
class Query:
    """Has every kind of leaf."""

    colour: strawberry.enum(Colour)  # type: ignore[valid-type]


def _even(value: Any) -> Any:
    if value == 4:
        return None
    if value % 2:
        raise ValueError(f"{value} is odd")
    return f"even {value}"


TYPES: dict[str, GraphQLLeafType] = {
    "String": GraphQLString,
    "Int": GraphQLInt,
    "Float": GraphQLFloat,
    "Boolean": GraphQLBoolean,
    "ID": GraphQLID,
    "Plain": GraphQLEnumType("Plain", {"RED": "RED", "ONE": 1}),
    "Colour": strawberry.Schema(query=Query)._schema.type_map["Colour"],  # type: ignore[dict-item]
    "Even": GraphQLScalarType("Even", coerce_output_value=_even),
}

VALUES = st.one_of(
    st.sampled_from(["RED", "BLUE", "", "7", Colour.RED, 2**31, -(2**31), -(2**31) - 1, 2**31 - 1, 4, [1], {}, object]),
    st.integers(-3, 3),
    st.booleans(),
    st.floats(),
    st.text(max_size=3),
)
COLUMNS = st.one_of(
    st.lists(VALUES, max_size=4),
    *(
        st.lists(kind, max_size=5)
        for kind in (
            st.integers(-(2**32), 2**32),
            st.floats(),
            st.text(max_size=2),
            st.booleans(),
            st.sampled_from(Colour),
        )
    ),
)


@pytest.mark.parametrize("name", TYPES)
@given(column=COLUMNS, nulls=st.lists(st.integers(0, 5), max_size=2))
@settings(max_examples=settings().max_examples * 4)
def test_a_column_is_what_its_values_are(name: str, column: list[Any], nulls: list[int]) -> None:
    """Values and messages; and what is left as it is, is what would come out."""
    type_ = TYPES[name]
    expected: list[Any] = []
    messages: dict[int, str] = {}
    for position, value in enumerate(column):
        try:
            expected.append(Executor.complete_leaf_value(type_, value))
        except Exception as error:  # noqa: BLE001
            expected.append(None)
            messages[position] = f"{type(error)} {error}"
    leaves = LeafColumn(type_)
    values, errors = leaves.serialised(column)
    assert [(type(value), repr(value)) for value in values] == [(type(value), repr(value)) for value in expected]
    assert {position: f"{type(error)} {error}" for position, error in errors.items()} == messages

    with_nulls = list(column)
    for place in nulls:
        with_nulls.insert(place, None)
    types = set(map(type, with_nulls))
    for nullable in (True, False):
        if leaves.untouched(with_nulls, types, nullable):
            assert nullable or NoneType not in types
            assert messages == {}
            assert list(map(repr, column)) == list(map(repr, expected))


def test_ordinary_columns_are_left_as_they_are() -> None:
    """Or the engine would be right, and slow."""
    for name, column in (
        ("String", ["a", "b"]),
        ("ID", ["a", "b"]),
        ("Int", [1, -(2**31), 2**31 - 1]),
        ("Float", [0.5, 1e300]),
        ("Boolean", [True, False]),
    ):
        leaves = LeafColumn(TYPES[name])
        assert leaves.untouched(column, set(map(type, column)), nullable=False)
        assert leaves.untouched([*column, None], {*map(type, column), NoneType}, nullable=True)
        assert leaves.untouched([None], {NoneType}, nullable=True)
