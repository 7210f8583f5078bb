"""Conditions on data IDs: the inputs that are made for a universe, and what reaches the resolvers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from graphql import GraphQLInputObjectType, GraphQLSchema, assert_valid_schema, parse_value, value_from_ast_untyped
from lsst.daf.butler import DimensionConfig, DimensionUniverse
from strawberry.utils.str_converters import to_camel_case

from butlerql.schema.build import build_schema
from butlerql.storage.registry.expressions.filters import predicate_of
from butlerql.storage.registry.expressions.tree import Constant, DimensionKey, ElementField, columns_of
from tests.schema.print_schema import default_universe
from tests.schema.test_build import seen, small_universe
from tests.support.repositories import UNIVERSES
from tests.support.universes import UNIVERSE_VERSIONS, universe_of

ASK = "query ($f: DataIdFilter) { dataIds(dimensions: [], filter: $f) { totalCount } }"
INPUTS = {"int": "BigIntFilter", "float": "FloatFilter", "bool": "BooleanFilter", "datetime": "TimespanFilter"}
EXAMPLES: dict[str, dict[str, Any]] = {
    "StringFilter": {"eq": "61", "ne": "61", "in": ["61"], "notIn": ["61"], "isNull": True},
    "BigIntFilter": {
        "eq": "61",
        "ne": 61,
        "in": [61],
        "notIn": [61],
        "lt": 61,
        "lte": 61,
        "gt": 61,
        "gte": 61,
        "between": [61, 62],
        "isNull": False,
    },
    "FloatFilter": {
        "eq": 61,
        "ne": 6.1,
        "lt": 6.1,
        "lte": 6.1,
        "gt": 6.1,
        "gte": 6.1,
        "between": [6.1, 6.2],
        "isNull": False,
    },
    "BooleanFilter": {"eq": False, "isNull": False},
    "TimespanFilter": {
        "overlaps": {"begin": "2024-01-01"},
        "contains": "2024-01-01",
        "before": "2024-01-01",
        "after": "2024-01-01",
        "isNull": False,
    },
}
"""A condition of each kind on each kind of column; a glob is not for every text."""


@pytest.fixture(scope="module")
def core() -> GraphQLSchema:
    """Build the schema of the default universe."""
    return build_schema(default_universe())


def input_of(core: GraphQLSchema, name: str) -> GraphQLInputObjectType:
    found = core.type_map[name]
    assert isinstance(found, GraphQLInputObjectType)
    return found


def generated(core: GraphQLSchema) -> Iterator[tuple[tuple[str, ...], tuple[str, ...], str]]:
    """Name every place for conditions in GraphQL, what it is to the Butler, and its type."""
    for name, field in input_of(core, "DataIdFilter").fields.items():
        if "dimension" in field.extensions:
            yield (name,), (field.extensions["dimension"],), str(field.type)
        elif "element" in field.extensions:
            for column, inner in input_of(core, str(field.type)).fields.items():
                place = (field.extensions["element"], inner.extensions["column"])
                yield (name, column), place, str(inner.type)


@pytest.mark.parametrize("version", UNIVERSE_VERSIONS)
def test_places_of_every_universe(version: int) -> None:
    theirs = DimensionUniverse(DimensionConfig(UNIVERSES.format(version)))
    core = build_schema(universe_of(version))
    assert_valid_schema(core)
    expected: dict[tuple[str, ...], str] = {}
    for dimension in theirs.dimensions:
        if dimension.name not in theirs.skypix_dimensions.names:
            kind = "int" if dimension.primaryKey.getPythonType() is int else "string"
            expected[dimension.name,] = INPUTS.get(kind, "StringFilter")
    for element in theirs.elements:
        if element.has_own_table:
            for column in (*element.alternate_keys, *element.metadata_columns):
                expected[element.name, column.name] = INPUTS.get(column.type, "StringFilter")
            if element.temporal is not None:
                expected[element.name, "timespan"] = "TimespanFilter"
    found = list(generated(core))
    assert {place: type_ for _, place, type_ in found} == expected
    assert len(found) == len(expected)
    for names, place, _ in found:
        assert names[0] == to_camel_case(place[0]) + ("Record" if len(place) == 2 else "")
        assert names[1:] == tuple(map(to_camel_case, place[1:]))


@pytest.mark.parametrize("version", UNIVERSE_VERSIONS)
def test_no_condition_is_dropped(version: int) -> None:
    """Each key of each place arrives, and makes a predicate of its own on the column that is meant."""
    universe = universe_of(version)
    core = build_schema(universe)
    group = universe.group(["visit"])
    for names, place, type_ in generated(core):
        tests = {**EXAMPLES[type_], **({"glob": "6*"} if type_ == "StringFilter" and "hash" not in place else {})}
        assert {*tests, "glob"} == {*input_of(core, type_).fields, "glob"}
        predicates = []
        for key, value in tests.items():
            asked: dict[str, Any] = {key: value}
            for name in reversed(names):
                asked = {name: asked}
            arguments, errors = seen(core, ASK, {"f": asked})
            assert not errors
            predicates.append(predicate_of(group, arguments["filter"]))
            columns = set(columns_of(predicates[-1]))
            assert len(columns) == 1
            [column] = columns
            assert isinstance(column, DimensionKey | ElementField)
            meant = (column.element.name,) if isinstance(column, DimensionKey) else (column.element.name, column.column)
            assert meant == place
        assert len(set(predicates)) == len(predicates)


@pytest.mark.parametrize(
    "asked",
    [
        {"and": [{"visit": {"eq": 1}}]},
        {"or": [{"visit": {"eq": 1}}]},
        {"not": {"visit": {"eq": 1}}},
        {"overlapsTime": {}},
        {"cone": {"ra": 1, "dec": 1, "radius": 1}},
    ],
)
def test_what_every_universe_has_is_not_dropped(core: GraphQLSchema, asked: dict[str, Any]) -> None:
    arguments, errors = seen(core, ASK, {"f": asked})
    assert not errors
    predicate = predicate_of(default_universe().group(["visit"]), arguments["filter"])
    assert not isinstance(predicate, Constant)


def test_a_filter_arrives_in_the_butlers_spelling(core: GraphQLSchema) -> None:
    arguments, errors = seen(
        core,
        """query ($inner: DataIdFilter! = {dayObs: {notIn: [1, "2"]}}, $number: BigInt) {
            dataIds(dimensions: [], filter: {
                and: [$inner, {physicalFilter: {isNull: false}}], or: [$inner], not: $inner,
                visit: {eq: $number, ne: null},
                visitRecord: {exposureTime: {gt: 1}, timespan: {contains: "1970-01-01T00:00:01"}}, exposure: null,
                detectorRecord: {nameInRaft: {in: "a"}}, overlapsTime: {end: null}, cone: {ra: 1, dec: 2, radius: 3}
            }) { totalCount } }""",
    )
    assert not errors
    inner = {"dimensions": {"day_obs": {"not_in": [1, 2]}}}
    assert arguments["filter"] == {
        "and": [inner, {"dimensions": {"physical_filter": {"is_null": False}}}],
        "or": [inner],
        "not": inner,
        "dimensions": {"visit": {"ne": None}, "exposure": None},
        "records": {
            "visit": {"exposure_time": {"gt": 1.0}, "timespan": {"contains": 1_000_000_000}},
            "detector": {"name_in_raft": {"in": ["a"]}},
        },
        "overlaps_time": {"end": None},
        "cone": {"ra": 1.0, "dec": 2.0, "radius": 3.0},
    }


@pytest.mark.parametrize(
    "asked",
    [
        "{htm7: {eq: 1}}",
        "{day_obs: {eq: 1}}",
        "{visit: {eq: 1}, nope: null}",
        "{dimensions: {visit: {eq: 1}}}",
        "{and: [{or: [{not: {nope: {}}}]}]}",
        "{visit: {equals: 1}}",
        "{visitRecord: {exposure_time: {gt: 1}}}",
        "{visitRecord: {timespan: {overlaps: {start: null}}}}",
        "{cone: {ra: 1, dec: 1, radius: 1, unit: 1}}",
    ],
)
def test_unknown_keys_are_refused(core: GraphQLSchema, asked: str) -> None:
    literal = f"{{ datasets(select: {{filter: {asked}}}) {{ totalCount }} }}"
    variable = value_from_ast_untyped(parse_value(asked))
    by_variable = "query ($f: DataIdFilter) { datasets(select: {filter: $f}) { totalCount } }"
    for query, variables in ((literal, None), (by_variable, {"f": variable})):
        arguments, errors = seen(core, query, variables)
        assert not arguments
        assert len(errors) == 1
        assert "unknown field" in errors[0]


def test_deep_filters_are_refused(core: GraphQLSchema) -> None:
    asked: dict[str, Any] = {}
    for _ in range(1000):
        asked = {"and": [asked]}
    arguments, errors = seen(core, ASK, {"f": asked})
    assert not arguments
    assert len(errors) == 1


def test_names_that_clash_get_a_suffix() -> None:
    names = ["and", "cone", "day_obs", "dayObs", "visit", "visit_record", "Visit", "not_dimension", "not", "_7"]
    core = build_schema(small_universe(*((name, "string") for name in names)))
    assert_valid_schema(core)
    fields = input_of(core, "DataIdFilter").fields
    found = {field.extensions["dimension"]: name for name, field in fields.items() if "dimension" in field.extensions}
    assert {found.pop("day_obs"), found.pop("dayObs")} == {"dayObs", "dayObsDimension"}
    assert {found.pop("not"), found.pop("not_dimension")} == {"notDimension", "notDimensionDimension"}
    assert found == {
        "and": "andDimension",
        "cone": "coneDimension",
        "visit": "visit",
        "visit_record": "visitRecord",
        "Visit": "Visit",
    }
    arguments, errors = seen(core, ASK, {"f": {"and": [{"andDimension": {"eq": "x"}}], "coneDimension": {"eq": "y"}}})
    assert not errors
    assert arguments["filter"] == {
        "and": [{"dimensions": {"and": {"eq": "x"}}}],
        "dimensions": {"cone": {"eq": "y"}},
    }
