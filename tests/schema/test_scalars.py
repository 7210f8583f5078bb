"""The scalars, in and out."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from graphql import (
    GraphQLArgument,
    GraphQLError,
    GraphQLField,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    graphql_sync,
)
from hypothesis import given
from hypothesis import strategies as st

from butlerql.schema.scalars import JSON, SCALARS, UUID, BigInt, DataIdValues, DateTime, TaiTime
from butlerql.time_scales import iso_to_tai_ns

SAFE = 2**53 - 1
INT64 = st.integers(min_value=-(2**63), max_value=2**63 - 1)


def scalar(of: object) -> GraphQLScalarType:
    implementation = SCALARS[of].implementation
    assert implementation is not None
    return implementation


def echo(of: object, literal: str | None = None, **variables: Any) -> tuple[Any, list[GraphQLError] | None]:
    """Send a value through an argument of the scalar, and give what Python sees."""
    seen: list[Any] = []
    field = GraphQLField(
        scalar(JSON), args={"value": GraphQLArgument(scalar(of))}, resolve=lambda _, __, value: seen.append(value)
    )
    schema = GraphQLSchema(GraphQLObjectType("Query", {"echo": field}))
    if literal is None:
        query = f"query ($value: {scalar(of).name}) {{ echo(value: $value) }}"
    else:
        query = f"query ($inner: JSON) {{ echo(value: {literal}) json(value: $inner) }}"
        schema.query_type.fields["json"] = GraphQLField(  # type: ignore[union-attr]
            scalar(JSON), args={"value": GraphQLArgument(scalar(JSON))}
        )
    errors = graphql_sync(schema, query, variable_values=variables).errors
    return (seen[0] if seen else None), errors


@given(INT64)
def test_big_ints_round_trip(number: int) -> None:
    outside = scalar(BigInt).serialize(number)
    assert isinstance(outside, int if abs(number) <= SAFE else str)
    assert scalar(BigInt).parse_value(outside) == number
    assert scalar(BigInt).parse_value(str(number)) == number
    assert scalar(BigInt).parse_value(number) == number


@pytest.mark.parametrize(
    ("literal", "number"),
    [
        ("0", 0),
        ("-9007199254740991", -SAFE),
        ("9223372036854775807", 2**63 - 1),
        ('"-9223372036854775808"', -(2**63)),
        ('"+7"', 7),
        ("1e3", 1000),
        ("2.0", 2),
    ],
)
def test_big_int_literals(literal: str, number: int) -> None:
    value, errors = echo(BigInt, literal)
    assert errors is None
    assert value == number
    assert type(value) is int


@pytest.mark.parametrize(
    "value",
    [
        2**63,
        -(2**63) - 1,
        2**70,
        str(2**63),
        "",
        " 1",
        "1 ",
        "1_0",
        "0x1",
        "1.0",
        "٣",
        "9" * 10_000,
        1.5,
        1e300,
        2.0**53,
        *[float("nan"), float("inf"), True, False, [], {}, [1]],
    ],
)
def test_big_int_refuses(value: object) -> None:
    seen, errors = echo(BigInt, value=value)
    assert seen is None
    assert errors is not None
    assert "BigInt" in errors[0].message
    assert errors[0].extensions == {"code": "INVALID_ARGUMENT"}


@pytest.mark.parametrize("literal", ["9" * 5_000, "1.5", "true", "[]", "{}", "ABC", '"x"', "9223372036854775808"])
def test_big_int_refuses_literals(literal: str) -> None:
    seen, errors = echo(BigInt, literal)
    assert seen is None
    assert errors is not None
    assert errors[0].locations


@pytest.mark.parametrize("value", [2**63, True, 1.0, "1", None])
def test_big_int_serializes_integers_only(value: object) -> None:
    with pytest.raises(TypeError, match="BigInt cannot represent"):
        scalar(BigInt).serialize(value)


@given(st.uuids(), st.booleans(), st.booleans())
def test_uuids(value: uuid.UUID, upper: bool, hyphens: bool) -> None:
    text = str(value) if hyphens else value.hex
    seen, errors = echo(UUID, value=text.upper() if upper else text)
    assert errors is None
    assert seen == str(value)
    assert type(seen) is str


@pytest.mark.parametrize(
    "value",
    [
        "",
        "x",
        7,
        None.__class__.__name__,
        "{123e4567-e89b-12d3-a456-426614174000}",
        "urn:uuid:123e4567-e89b-12d3-a456-426614174000",
        "123e4567-e89b-12d3-a456-42661417400",
        "123e4567e-89b-12d3-a456-426614174000",
        "123e4567-e89b-12d3-a456-42661417400g",
        "123e4567-e89b-12d3-a456-4266141740\x000",
        "١23e4567e89b12d3a456426614174000",
        "----" * 9,
        "a" * 10_000_000,
    ],
)
def test_uuid_refuses(value: object) -> None:
    seen, errors = echo(UUID, value=value)
    assert seen is None
    assert errors is not None
    assert errors[0].extensions == {"code": "INVALID_ARGUMENT"}
    assert len(errors[0].message) < 1_000


@given(INT64)
def test_instants_go_out_as_text(ns: int) -> None:
    tai = scalar(TaiTime).serialize(ns)
    assert scalar(TaiTime).parse_value(tai) == ns
    utc = scalar(DateTime).serialize(ns)
    assert utc.endswith("Z")
    if ns >= -(2**63) + 1000:
        assert scalar(DateTime).parse_value(utc) == ns // 1000 * 1000


def test_instants_come_in_as_nanoseconds() -> None:
    assert echo(TaiTime, value="2026-11-23T07:13:37.123456789") == (
        iso_to_tai_ns("2026-11-23T07:13:37.123456789"),
        None,
    )
    assert echo(DateTime, value="2026-11-23T07:13:00Z") == (iso_to_tai_ns("2026-11-23T07:13:37"), None)
    assert echo(TaiTime, value=None) == (None, None)


@pytest.mark.parametrize("of", [TaiTime, DateTime])
@pytest.mark.parametrize("value", ["now", "", 7, 1.5, True, [], {}, "2300-01-01", "x" * 10_000_000])
def test_instants_refuse(of: object, value: object) -> None:
    seen, errors = echo(of, value=value)
    assert seen is None
    assert errors is not None
    assert errors[0].extensions == {"code": "INVALID_ARGUMENT"}
    assert len(errors[0].message) < 1_000


def test_data_ids_pass_through() -> None:
    values = {"instrument": "HSC", "visit": 903334, "exposure.exposure_time": 1.5, "visit.flag": True}
    assert echo(DataIdValues, value=values) == (values, None)
    assert echo(DataIdValues, value={}) == ({}, None)
    assert scalar(DataIdValues).serialize(values) is values


def test_data_id_literals_may_hold_variables() -> None:
    seen, errors = echo(DataIdValues, '{instrument: "HSC", visit: 903334, detector: $inner}', inner=16)
    assert errors is None
    assert seen == {"instrument": "HSC", "visit": 903334, "detector": 16}


@pytest.mark.parametrize("variables", [{}, {"inner": None}, {"inner": [1]}])
def test_variables_in_data_ids_must_have_values(variables: dict[str, Any]) -> None:
    # Were the dimension left out instead, the data ID would select more than was meant.
    seen, errors = echo(DataIdValues, '{instrument: "HSC", detector: $inner}', **variables)
    assert seen is None
    assert errors is not None
    assert "'detector'" in errors[0].message


@pytest.mark.parametrize("literal", ["{visit: null}", "{visit: [1]}", "[]", "7", "{visit: %s}" % ("9" * 5_000)])
def test_data_ids_refuse_literals(literal: str) -> None:
    seen, errors = echo(DataIdValues, literal)
    assert seen is None
    assert errors is not None
    assert errors[0].locations


@pytest.mark.parametrize(
    "value",
    ["x", 7, [], ["visit", 1], True, {"visit": None}, {"visit": [1]}, {"visit": {"id": 1}}, {"visit": float("nan")}],
)
def test_data_ids_refuse(value: object) -> None:
    seen, errors = echo(DataIdValues, value=value)
    assert seen is None
    assert errors is not None
    assert errors[0].extensions == {"code": "INVALID_ARGUMENT"}


@pytest.mark.parametrize("value", [None, "x", 7, 1.5, [1, {"a": None}], {"a": [True]}])
def test_json_passes_through(value: object) -> None:
    assert echo(JSON, value=value) == (value, None)
    assert scalar(JSON).serialize(value) is value


def test_passthrough_is_told() -> None:
    passing = {scalar(of).name for of in SCALARS if scalar(of).extensions.get("passthrough") is True}
    assert passing == {"UUID", "JSON", "DataIdValues"}
    for of in SCALARS:
        if scalar(of).name in passing:
            value = object()
            assert scalar(of).serialize(value) is value
