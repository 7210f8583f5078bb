"""The schema that is built for a universe."""

from __future__ import annotations

import json
from typing import Any

import pytest
from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    assert_valid_schema,
    execute_sync,
    parse,
    validate,
)
from lsst.daf.butler import DimensionConfig, DimensionUniverse
from strawberry.utils.str_converters import to_camel_case

from butlerql.schema.build import build_schema
from butlerql.storage.universe import ElementKind, Universe
from butlerql.time_scales import iso_to_tai_ns, utc_iso_to_tai_ns
from tests.schema.print_schema import default_universe
from tests.support.repositories import UNIVERSES
from tests.support.universes import UNIVERSE_VERSIONS, universe_of


@pytest.fixture(scope="module")
def core() -> GraphQLSchema:
    """Build the schema of the default universe."""
    return build_schema(default_universe())


def shapes(core: GraphQLSchema) -> list[GraphQLObjectType | GraphQLInterfaceType]:
    return [
        named
        for named in core.type_map.values()
        if isinstance(named, (GraphQLObjectType, GraphQLInterfaceType)) and not named.name.startswith("__")
    ]


def given(core: GraphQLSchema) -> dict[str, GraphQLArgument | GraphQLInputField]:
    """Name all that a client may give."""
    found: dict[str, GraphQLArgument | GraphQLInputField] = {}
    for shape in shapes(core):
        for name, field in shape.fields.items():
            found |= {f"{shape.name}.{name}.{argument}": what for argument, what in field.args.items()}
    for named in core.type_map.values():
        if isinstance(named, GraphQLInputObjectType):
            found |= {f"{named.name}.{name}": what for name, what in named.fields.items()}
    return found


def seen(core: GraphQLSchema, query: str, variables: dict[str, Any] | None = None) -> tuple[dict[str, Any], list[str]]:
    """Ask for one root field, and give the arguments that its resolver is called with, and the errors."""
    document = parse(query)
    errors = validate(core, document)
    if errors:
        return {}, [error.message for error in errors]
    calls: list[dict[str, Any]] = []
    assert core.query_type is not None
    before = {name: field.resolve for name, field in core.query_type.fields.items()}
    for field in core.query_type.fields.values():
        field.resolve = lambda _, __, **arguments: calls.append(arguments)
    try:
        result = execute_sync(core, document, variable_values=variables)
    finally:
        for name, field in core.query_type.fields.items():
            field.resolve = before[name]
    return (calls[0] if calls else {}), [error.message for error in result.errors or []]


def test_the_schema_is_valid(core: GraphQLSchema) -> None:
    core._validation_errors = None
    assert_valid_schema(core)


def test_arguments_arrive_in_snake_case(core: GraphQLSchema) -> None:
    everything = given(core)
    assert len(everything) > 100
    for path, what in everything.items():
        assert what.out_name is not None, path
        assert to_camel_case(what.out_name) == path.rpartition(".")[2]
    arguments, errors = seen(
        core,
        """{ findDataset(datasetType: "bias", dataId: {detector: 16}, collections: ["calib"],
                         timespan: {begin: "2026-11-23T07:13:37"}) { uuid } }""",
    )
    assert not errors
    assert arguments == {
        "dataset_type": "bias",
        "data_id": {"detector": 16},
        "collections": ["calib"],
        "timespan": {"begin": iso_to_tai_ns("2026-11-23T07:13:37")},
    }


def test_what_is_left_out_stays_out(core: GraphQLSchema) -> None:
    assert all(what.default_value is not None for what in given(core).values())
    assert seen(core, "{ runs { totalCount } }") == ({"names": ["*"]}, [])
    assert seen(core, "{ runs(names: null, first: null) { totalCount } }") == ({"names": None, "first": None}, [])
    assert seen(core, "query ($n: Int) { runs(first: $n) { totalCount } }") == ({"names": ["*"]}, [])
    assert seen(core, "{ datasets(select: {}) { totalCount } }") == ({"select": {"find_first": False}}, [])


def test_a_selection_arrives_as_it_is(core: GraphQLSchema) -> None:
    select = {
        "uuids": ["123E4567E89B12D3A456426614174000"],
        "datasetTypes": ["calexp"],
        "collections": [],
        "runs": ["HSC/*"],
        "dataId": {"physical_filter": "HSC-R"},
        "findFirst": True,
        "inDatastore": "one",
        "notInDatastore": None,
        "related": True,
        "where": "visit > :x",
        "bind": {"x": [1, {"y": None}]},
        "filter": {"dayObs": {"gt": "20240101"}, "dayObsRecord": {"timespan": {"isNull": False}}},
        "ingestedAfter": "2024-01-01T00:00:00.123456",
        "ingestedBefore": "2024-01-01T02:00:00.123456+02:00",
    }
    arguments, errors = seen(
        core, "query ($s: DatasetSelection!) { datasets(select: $s) { totalCount } }", {"s": select}
    )
    assert not errors
    assert arguments["select"] == {
        "uuids": ["123e4567-e89b-12d3-a456-426614174000"],
        "dataset_types": ["calexp"],
        "collections": [],
        "runs": ["HSC/*"],
        "data_id": {"physical_filter": "HSC-R"},
        "find_first": True,
        "in_datastore": "one",
        "not_in_datastore": None,
        "related": True,
        "where": "visit > :x",
        "bind": {"x": [1, {"y": None}]},
        "filter": {
            "dimensions": {"day_obs": {"gt": 20240101}},
            "records": {"day_obs": {"timespan": {"is_null": False}}},
        },
        "ingested_after": utc_iso_to_tai_ns("2024-01-01T00:00:00.123456Z"),
        "ingested_before": utc_iso_to_tai_ns("2024-01-01T00:00:00.123456Z"),
    }
    assert type(arguments["select"]) is dict


def test_variables_in_json_must_have_values(core: GraphQLSchema) -> None:
    query = "query ($x: Int) { dataIds(dimensions: [], bind: {a: [$x]}) { totalCount } }"
    for value in (1, None):
        assert seen(core, query, {"x": value}) == ({"dimensions": [], "bind": {"a": [value]}}, [])
    arguments, errors = seen(core, query)
    assert not arguments
    assert len(errors) == 1
    assert "must have a value" in errors[0]


@pytest.mark.parametrize("key", ["where_", "dataset_types", "datasetType", "filters", "__typename"])
def test_unknown_keys_of_a_selection_are_refused(core: GraphQLSchema, key: str) -> None:
    literal = f'{{ datasets(select: {{collections: ["c"], {key}: "x"}}) {{ totalCount }} }}'
    by_variable = "query ($s: DatasetSelection!) { datasets(select: $s) { totalCount } }"
    for query, variables in ((literal, None), (by_variable, {"s": {"collections": ["c"], key: "x"}})):
        arguments, errors = seen(core, query, variables)
        assert not arguments
        assert len(errors) == 1
        assert f"unknown field '{key}'" in errors[0]


def test_enums_come_in_as_members_and_go_out_by_name(core: GraphQLSchema) -> None:
    arguments, errors = seen(core, "{ collections(types: [RUN, CHAINED]) { totalCount } }")
    assert not errors
    assert arguments["types"] == ["RUN", "CHAINED"]
    assert [type(member).__name__ for member in arguments["types"]] == ["CollectionType", "CollectionType"]
    # What the storage's rows hold is an enumeration of its own, or a string.
    kind = core.type_map["DimensionKind"]
    assert isinstance(kind, GraphQLEnumType)
    for member in ElementKind:
        assert kind.serialize(member) == kind.serialize(str(member)) == member.name
    assert {member.name for member in ElementKind} == set(kind.values)
    with pytest.raises(Exception, match="cannot represent value"):
        kind.serialize("skypix")


def test_defaults_of_enums(core: GraphQLSchema) -> None:
    data_id = core.type_map["DataId"]
    assert isinstance(data_id, GraphQLObjectType)
    default = data_id.fields["datasetTypes"].args["match"].default_value
    assert default == "CONTAINING"
    assert type(default).__name__ == "DataIdMatch"


def test_rows_are_not_checked_for_their_type(core: GraphQLSchema) -> None:
    assert all(shape.is_type_of is None for shape in shapes(core) if isinstance(shape, GraphQLObjectType))


def test_loaded_fields_are_recognised_everywhere(core: GraphQLSchema) -> None:
    def is_loaded(path: str) -> bool:
        name, _, field = path.partition(".")
        shape = core.type_map[name]
        assert isinstance(shape, (GraphQLObjectType, GraphQLInterfaceType))
        return bool(getattr(shape.fields[field].extensions["strawberry-definition"], "is_loaded", False))

    for path in (
        "Collection.parents",
        "Run.parents",
        "Run.host",
        "DatasetConnection.totalCount",
        "DatasetType.dimensions",
    ):
        assert is_loaded(path), path
    for path in ("Collection.name", "Run.id", "DatasetConnection.nodes", "DatasetType.name", "Dataset.uuid"):
        assert not is_loaded(path), path


def test_every_loaded_field_is_loaded_in_what_implements_it(core: GraphQLSchema) -> None:
    for shape in shapes(core):
        for interface in shape.interfaces:
            for name, field in interface.fields.items():
                theirs, ours = (
                    getattr(each.extensions["strawberry-definition"], "is_loaded", False)
                    for each in (field, shape.fields[name])
                )
                assert ours == theirs, f"{shape.name}.{name}"


@pytest.mark.parametrize("version", UNIVERSE_VERSIONS)
def test_dimensions_of_every_universe(version: int) -> None:
    theirs = DimensionUniverse(DimensionConfig(UNIVERSES.format(version)))
    assert theirs.version == version
    data_id = build_schema(universe_of(version)).type_map["DataId"]
    assert isinstance(data_id, GraphQLObjectType)
    scalars = {int: "BigInt", str: "String"}
    expected = {
        name: scalars[theirs.dimensions[name].primaryKey.getPythonType()]
        for name in theirs.dimensions.names
        if name not in theirs.skypix_dimensions.names
    }
    added = {
        field.extensions["dimension"]: (name, str(field.type))
        for name, field in data_id.fields.items()
        if "dimension" in field.extensions
    }
    assert added == {name: (to_camel_case(name), type_) for name, type_ in expected.items()}


def small_universe(*elements: tuple[str, str]) -> Universe:
    """Make a universe of independent dimensions."""
    return Universe.from_json(
        json.dumps(
            {
                "version": 1,
                "namespace": "small",
                "skypix": {"common": "htm7", "htm": {"class": "lsst.sphgeom.HtmPixelization", "max_level": 8}},
                "elements": {
                    name: {
                        "doc": "",
                        "keys": [{"name": "id", "type": type_}],
                        "requires": [],
                        "implies": [],
                        "metadata": [],
                        "governor": True,
                        "storage": {"cls": "lsst.daf.butler.registry.dimensions.governor.GovernorStorage"},
                    }
                    for name, type_ in elements
                },
                "topology": {"spatial": {}, "temporal": {}},
                "packers": {},
            }
        )
    )


def added_fields(schema: GraphQLSchema) -> dict[str, tuple[str, GraphQLField]]:
    data_id: GraphQLNamedType = schema.type_map["DataId"]
    assert isinstance(data_id, GraphQLObjectType)
    return {
        field.extensions["dimension"]: (name, field)
        for name, field in data_id.fields.items()
        if "dimension" in field.extensions
    }


def test_names_that_clash_get_a_suffix() -> None:
    names = ["region", "records", "day_obs", "dayObs", "__odd", "dataset_types", "dataset_types_dimension", "id", "7th"]
    fields = added_fields(build_schema(small_universe(*((name, "string") for name in names))))
    assert {name: field for name, (field, _) in fields.items()} == {
        "region": "regionDimension",
        "records": "recordsDimension",
        "day_obs": fields["day_obs"][0],
        "dayObs": fields["dayObs"][0],
        "dataset_types": fields["dataset_types"][0],
        "dataset_types_dimension": fields["dataset_types_dimension"][0],
        "id": "idDimension",
    }
    assert {fields["day_obs"][0], fields["dayObs"][0]} == {"dayObs", "dayObsDimension"}
    assert {fields["dataset_types"][0], fields["dataset_types_dimension"][0]} == {
        "datasetTypesDimension",
        "datasetTypesDimensionDimension",
    }


def test_types_of_keys() -> None:
    fields = added_fields(
        build_schema(small_universe(*((f"a_{type_}", type_) for type_ in ("int", "string", "float", "bool", "hash"))))
    )
    assert {name: str(field.type) for name, (_, field) in fields.items()} == {
        "a_int": "BigInt",
        "a_string": "String",
        "a_float": "Float",
        "a_bool": "Boolean",
        "a_hash": "String",
    }
    assert all(field.description for _, field in fields.values())


def test_schemas_of_two_universes_live_beside_each_other() -> None:
    one, other = build_schema(small_universe(("telescope", "string"))), build_schema(default_universe())
    assert set(added_fields(one)) == {"telescope"}
    assert "instrument" in added_fields(other)
    assert "telescope" not in added_fields(other)
    for schema in (one, other):
        assert not validate(schema, parse("{ dataId(values: {}) { values dimensions { name } } }"))
    assert validate(other, parse("{ dataId(values: {}) { telescope } }"))
