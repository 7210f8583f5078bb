"""Dimensions and their records through GraphQL."""

from __future__ import annotations

import pytest

from tests.support.asking import asking, codes_of, data_of
from tests.support.repositories import RealRepository


async def test_the_universe_is_the_butlers(every_universe: RealRepository) -> None:
    query = """{ repository { universe { namespace version dimensions { name } elements { name kind isGovernor isSkypix
        keyType description required { name } implied { name } metadata { name type nullable } } } }
        dimensions { name } dimension(name: "visit") { name kind } nope: dimension(name: "nope") { name } }"""
    universe = every_universe.butler.dimensions
    async with asking(every_universe) as ask:
        found = data_of(await ask(query))
    ours = found["repository"]["universe"]
    assert (ours["namespace"], ours["version"]) == (universe.namespace, universe.version)
    assert found["dimensions"] == ours["dimensions"]
    assert [one["name"] for one in ours["dimensions"]] == [one.name for one in universe.sorted(universe.dimensions)]
    assert (found["dimension"], found["nope"]) == ({"name": "visit", "kind": "DIMENSION"}, None)
    elements = universe.sorted(universe.elements)
    for one, element in zip(ours["elements"], elements, strict=True):
        assert one["name"] == element.name
        assert [other["name"] for other in one["required"]] == list(element.required.names)
        assert [other["name"] for other in one["implied"]] == list(element.implied.names)
        assert [column["name"] for column in one["metadata"]] == list(element.metadata.names)
        assert one["isGovernor"] == (element.name in universe.governor_dimensions)
        assert one["isSkypix"] == (element.name in universe.skypix_dimensions)
        assert (one["kind"] == "JOIN") == (element.name not in universe.dimensions) == (one["keyType"] == "")


async def test_records_of_all_dimensions_at_once(rich: RealRepository) -> None:
    query = """{ dimensions { name isSkypix records(first: 2, dataId: {instrument: "HSC", visit: 101}) {
        totalCount nodes { values dataId { values } } } } }"""
    async with asking(rich) as ask:
        result = await ask(query)
    assert result.data is not None
    refused = {path[1]: code for path, code in codes_of(result)}
    assert set(refused.values()) == {"UNSUPPORTED_JOIN"}
    for place, one in enumerate(result.data["dimensions"]):
        try:
            expected = rich.butler.query_dimension_records(one["name"], explain=False, instrument="HSC", visit=101)
        except NotImplementedError:
            # Only pixels of the one division that regions are looked up by are related to them.
            assert one["isSkypix"]
            assert one["records"] is None
            assert place in refused
        else:
            assert place not in refused
            assert one["records"]["totalCount"] == len(expected)
            assert len(one["records"]["nodes"]) == min(2, len(expected))


@pytest.mark.parametrize(
    "conditions",
    [
        "first: 3",
        'dataId: {instrument: "HSC", visit: 101}',
        'dataId: {skymap: "rings µ", tract: 1}, orderBy: ["-htm7"], last: 4',
        "dataId: {htm7: 131072}",
        """where: "instrument = 'HSC' AND visit = 101 AND htm7 > 131201" """,
    ],
)
async def test_pixels_have_the_same_records_wherever_they_are_asked_for(rich: RealRepository, conditions: str) -> None:
    fields = "totalCount nodes { values region { radius } } edges { node { values } }"
    query = f"""{{ dimension(name: "htm7") {{ records({conditions}) {{ {fields} }} }}
        dimensionRecords(element: "htm7", {conditions}) {{ {fields} }} }}"""
    async with asking(rich) as ask:
        result = await ask(query)
    assert result.data is not None
    assert result.data["dimension"]["records"] == result.data["dimensionRecords"]
    assert [code for _, code in codes_of(result)] == (
        [] if result.data["dimensionRecords"] is not None else ["UNSUPPORTED_JOIN"] * 2
    )


async def test_what_cannot_be_related_is_null_and_the_rest_is_not(rich: RealRepository) -> None:
    query = '{ dimensions { name records(dataId: {instrument: "HSC", visit: 101, htm7: 147456}) { totalCount } } }'
    async with asking(rich) as ask:
        result = await ask(query)
    assert result.data is not None
    found = {one["name"]: one["records"] for one in result.data["dimensions"]}
    assert found["tract"] is None
    assert found["visit"] == {"totalCount": found["visit"]["totalCount"]}
    assert {code for _, code in codes_of(result)} == {"UNSUPPORTED_JOIN"}


async def test_records_as_pages_of_their_own(rich: RealRepository) -> None:
    query = """query ($after: String) { dimensionRecords(element: "visit", datasetTypes: ["calexp"],
        collections: ["chain/all"], dataId: {instrument: "HSC"}, first: 2, after: $after) {
            totalCount pageInfo { endCursor hasNextPage }
            nodes { values region { radius } timespan { beginUtc } } } }"""
    async with asking(rich) as ask:
        first = data_of(await ask(query))["dimensionRecords"]
        second = data_of(await ask(query, after=first["pageInfo"]["endCursor"]))["dimensionRecords"]
        nodes = [*first["nodes"], *second["nodes"]]
        assert [node["values"]["id"] for node in nodes] == [101, 102, 103, 104]
        assert (first["totalCount"], first["pageInfo"]["hasNextPage"], second["pageInfo"]["hasNextPage"]) == (
            4,
            True,
            False,
        )
        assert (nodes[3]["region"], nodes[3]["timespan"]) == (None, None)
        assert (nodes[3]["values"]["region"], nodes[3]["values"]["timespan"]) == (None, None)
        hashes = data_of(await ask('{ dimensionRecords(element: "skymap") { nodes { values } } }'))["dimensionRecords"]
        assert {node["values"]["hash"] for node in hashes["nodes"]} == {b"empty".hex(), b"\x00\xff rings".hex()}


@pytest.mark.parametrize(
    ("element", "code"), [("htm7", "UNSUPPORTED_JOIN"), ("nope", "UNKNOWN_DIMENSION"), ("a\0", "UNKNOWN_DIMENSION")]
)
async def test_elements_without_records_are_refused(rich: RealRepository, element: str, code: str) -> None:
    query = "query ($element: String!) { dimensionRecords(element: $element) { totalCount } }"
    async with asking(rich) as ask:
        assert codes_of(await ask(query, element=element)) == [(["dimensionRecords"], code)]
