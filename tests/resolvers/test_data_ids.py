"""Data IDs through GraphQL."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
import sqlalchemy as sa

from tests.support.asking import asking, codes_of, data_of
from tests.support.repositories import RealRepository

_VISIT = {"instrument": "HSC", "visit": 102, "band": "r", "day_obs": 20240101, "physical_filter": "HSC-R"}


async def test_a_data_id_says_all_of_itself(rich: RealRepository) -> None:
    async with asking(rich) as ask:
        found = data_of(
            await ask(
                """query ($values: DataIdValues!) { dataId(values: $values) {
                    id values dimensions { name } instrument visit band physicalFilter dayObs exposure htm: tract
                    record(element: "visit") { element { name } dataId { values } values timespan { begin end } }
                    other: record(element: "tract") { values }
                    records { element { name } }
                    region { kind ra dec radius stcs vertices } timespan { begin beginUtc end endUtc isEmpty } } }""",
                values={"instrument": "HSC", "visit": "HSCA10200"},
            )
        )["dataId"]
        assert found["values"] == _VISIT
        assert [one["name"] for one in found["dimensions"]] == list(_VISIT)
        assert [
            found[name] for name in ("instrument", "visit", "band", "physicalFilter", "dayObs", "exposure", "htm")
        ] == [
            *("HSC", 102, "r", "HSC-R", 20240101),
            *(None, None),
        ]
        record = found["record"]
        assert (record["element"]["name"], record["dataId"]["values"], found["other"]) == ("visit", _VISIT, None)
        assert record["values"]["name"] == "HSCA10200"
        assert record["values"]["region"] == found["region"]
        assert record["values"]["timespan"] == found["timespan"]
        assert found["timespan"] == {
            "begin": "2024-01-01T21:00:00.000000000",
            "beginUtc": "2024-01-01T20:59:23.000000Z",
            "end": "2024-01-01T21:01:00.000000000",
            "endUtc": "2024-01-01T21:00:23.000000Z",
            "isEmpty": False,
        }
        assert found["region"]["kind"] == "ConvexPolygon"
        assert len(found["region"]["vertices"]) == 4
        names = [record["element"]["name"] for record in found["records"]]
        assert names == ["band", "instrument", "day_obs", "physical_filter", "visit"]
        again = data_of(await ask("query ($id: ID!) { node(id: $id) { id ... on DataId { values } } }", id=found["id"]))
        assert again["node"] == {"id": found["id"], "values": _VISIT}


async def test_a_data_id_without_a_record_is_null(rich: RealRepository) -> None:
    query = "query ($values: DataIdValues!) { dataId(values: $values) { values } }"
    async with asking(rich) as ask:
        assert data_of(await ask(query, values={"instrument": "HSC", "visit": 987_654})) == {"dataId": None}
        assert data_of(await ask(query, values={})) == {"dataId": {"values": {}}}
        for values in ({"visit": 101}, {"instrument": "HSC", "visit": 2**70}, {**_VISIT, "band": "g"}, {"band": "\0"}):
            assert codes_of(await ask(query, values=values)) == [(["dataId"], "INVALID_DATA_ID")]


async def test_data_ids_come_in_pages(rich: RealRepository) -> None:
    query = """query ($first: Int, $after: String, $last: Int, $before: String) {
        dataIds(dimensions: ["visit", "detector"], dataId: {instrument: "HSC"}, datasetTypes: ["calexp"],
            collections: ["chain/all"], first: $first, after: $after, last: $last, before: $before) {
                nodes { values visit } totalCount edges { cursor }
                pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"""
    async with asking(rich) as ask:
        whole = data_of(await ask(query))["dataIds"]
        values = [node["values"] for node in whole["nodes"]]
        assert whole["totalCount"] == len(values)
        butler = rich.butler.query_datasets("calexp", collections="chain/all", instrument="HSC")
        assert {tuple(one.items()) for one in values} == {tuple(ref.dataId.mapping.items()) for ref in butler}
        first = data_of(await ask(query, first=4))["dataIds"]
        assert first["pageInfo"]["hasNextPage"]
        rest = data_of(await ask(query, after=first["pageInfo"]["endCursor"]))["dataIds"]
        assert [*first["nodes"], *rest["nodes"]] == whole["nodes"]
        last = data_of(await ask(query, last=3, before=whole["edges"][5]["cursor"]))["dataIds"]
        assert last["nodes"] == whole["nodes"][2:5]
        assert (last["pageInfo"]["hasNextPage"], last["pageInfo"]["hasPreviousPage"]) == (True, True)


async def test_data_ids_of_collections_are_found_together(rich: RealRepository) -> None:
    query = """{ collections { nodes { name dataIds(dimensions: ["visit"], datasetTypes: ["calexp"], first: 2) {
        totalCount nodes { values band } } } } }"""
    alone = query.replace("collections { nodes {", 'one: collection(name: "u/alice/run1") {').removesuffix("}")
    async with asking(rich) as ask:
        found = data_of(await ask(query))["collections"]["nodes"]
        found.append(data_of(await ask(alone))["one"])
    for one in found:
        with rich.butler.query() as asked:
            joined = asked.join_dataset_search("calexp", [one["name"]])
            expected = [dict(data_id.mapping) for data_id in joined.data_ids(["visit"]).order_by("instrument", "visit")]
        assert one["dataIds"]["totalCount"] == len(expected)
        assert [node["values"] for node in one["dataIds"]["nodes"]] == expected[:2]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"dimensions": ["nope"]}, "UNKNOWN_DIMENSION"),
        ({"dimensions": ["visit_definition"]}, "UNKNOWN_DIMENSION"),
        ({"dimensions": ["htm7"]}, "UNSUPPORTED_JOIN"),
        ({"dimensions": ["visit"], "datasetTypes": ["nope"]}, "UNKNOWN_DATASET_TYPE"),
        ({"dimensions": ["visit"], "datasetTypes": ["calexp"], "collections": ["nope"]}, "UNKNOWN_COLLECTION"),
        ({"dimensions": ["visit"], "collections": ["chain/all"]}, "INVALID_ARGUMENT"),
        ({"dimensions": ["visit"], "dataId": {"x": 1}}, "INVALID_DATA_ID"),
        ({"dimensions": ["visit"], "dataId": {"visit": 2**70}}, "INVALID_DATA_ID"),
        ({"dimensions": ["visit"], "after": "x"}, "BAD_CURSOR"),
        ({"dimensions": ["visit"], "first": -1}, "INVALID_ARGUMENT"),
        ({"dimensions": ["visit"], "first": 10_001}, "LIMIT_EXCEEDED"),
        ({"dimensions": ["visit"], "dataId": {"instrument": "x" * 1_000_000}}, None),
    ],
)
async def test_bad_questions_have_coded_errors(
    rich: RealRepository, arguments: dict[str, Any], code: str | None
) -> None:
    query = """query ($dimensions: [String!]!, $datasetTypes: [String!], $collections: [String!], $dataId: DataIdValues,
        $first: Int, $after: String) { dataIds(dimensions: $dimensions, datasetTypes: $datasetTypes,
        collections: $collections, dataId: $dataId, first: $first, after: $after) { nodes { values } } }"""
    async with asking(rich) as ask:
        result = await ask(query, **arguments)
    assert codes_of(result) == ([] if code is None else [(["dataIds"], code)])


async def test_ids_that_somebody_made_up_are_refused(rich: RealRepository) -> None:
    keys: list[Any] = [{"visit": 101}, {"instrument": 5}, {"instrument": "a\0"}, {"visit": 2**63, "instrument": "HSC"}]
    keys += [{"nope": 1}, [], 5, {"instrument": "HSC", "visit": 987_654}, {"visit": 101, "instrument": "HSC"}]
    texts = [orjson.dumps(key).decode() for key in keys] + ["{", ""]
    ids = [base64.urlsafe_b64encode(f"DataId:{text}".encode()).decode().rstrip("=") for text in texts]
    async with asking(rich) as ask:
        result = await ask("query ($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=ids)
    assert result.data == {"nodes": [None] * len(ids)}
    assert codes_of(result) == [(["nodes", index], "INVALID_ARGUMENT") for index in range(len(ids))]


async def test_the_number_of_statements_does_not_depend_on_the_number_of_data_ids(ci_hsc: RealRepository) -> None:
    query = """query ($first: Int) { dataIds(dimensions: ["visit", "detector"], first: $first) { totalCount nodes {
        id values records { values dataId { values } } record(element: "visit") { region { ra } }
        region { ra } timespan { begin } } } }"""
    statements: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        statements.append(statement)

    used = []
    async with asking(ci_hsc) as ask:
        # What is kept as long as the registry stays as it is.
        await ask(query, first=1)
        for first in (1, 50, 150):
            statements.clear()
            sa.event.listen(sa.Engine, "before_cursor_execute", note)
            try:
                nodes = data_of(await ask(query, first=first))["dataIds"]["nodes"]
            finally:
                sa.event.remove(sa.Engine, "before_cursor_execute", note)
            assert len(nodes) == first
            used.append(len(statements))
    assert len(set(used)) == 1
