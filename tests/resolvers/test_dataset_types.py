"""Dataset types and storage classes through GraphQL."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.asking import asking, codes_of, data_of
from tests.support.repositories import RealRepository


def _names(nodes: list[dict[str, Any]]) -> list[str]:
    return [node["name"] for node in nodes]


async def test_everything_is_told_as_the_butler_tells_it(rich_in_every_layout: RealRepository) -> None:
    query = """{ datasetTypes(components: true, first: 1000) { totalCount nodes { id name isCalibration isComponent
        parent { name } components { name isComponent } dimensions { name }
        storageClass { name components } } } }"""
    async with asking(rich_in_every_layout) as ask:
        found = data_of(await ask(query))["datasetTypes"]
        again = data_of(
            await ask("query ($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=[one["id"] for one in found["nodes"]])
        )
    assert found["totalCount"] == len(found["nodes"])
    assert [one["id"] for one in again["nodes"]] == [one["id"] for one in found["nodes"]]
    for one in found["nodes"]:
        butlers = rich_in_every_layout.butler.get_dataset_type(one["name"])
        assert one["isCalibration"] == butlers.isCalibration()
        assert one["isComponent"] == butlers.isComponent()
        assert (one["parent"] or {}).get("name") == (butlers.nameAndComponent()[0] if butlers.isComponent() else None)
        assert _names(one["dimensions"]) == list(butlers.dimensions.data_coordinate_keys)
        parts = sorted(butlers.storageClass.allComponents())
        assert one["storageClass"]["name"] == butlers.storageClass_name
        assert one["storageClass"]["components"] == parts
        assert one["components"] == (
            [] if butlers.isComponent() else [{"name": f"{one['name']}.{part}", "isComponent": True} for part in parts]
        )
    parents = [one["name"] for one in found["nodes"] if not one["isComponent"]]
    assert sorted(parents) == sorted(one.name for one in rich_in_every_layout.butler.registry.queryDatasetTypes("*"))


async def test_one_dataset_type_or_none(rich: RealRepository) -> None:
    query = """{ whole: datasetType(name: "packed") { name }
        part: datasetType(name: "packed.data") { name parent { name } }
        none: datasetType(name: "nope") { name } noPart: datasetType(name: "packed.nope") { name }
        glob: datasetType(name: "*") { name } }"""
    async with asking(rich) as ask:
        found = data_of(await ask(query))
    assert found == {
        "whole": {"name": "packed"},
        "part": {"name": "packed.data", "parent": {"name": "packed"}},
        "none": None,
        "noPart": None,
        "glob": None,
    }


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("names: []", []),
        ("storageClasses: []", []),
        ('names: ["nothing*"]', []),
        ('names: ["ca*", "raw", "ca*"]', ["calexp", "camera", "raw"]),
        ('names: ["packed.data", "packed"]', ["packed", "packed.data"]),
        ('names: ["packed*"]', ["packed"]),
        ('names: ["*.data"], components: true', ["packed.data", "split.data"]),
        ('storageClasses: ["ArrowAstropy"]', ["table"]),
        ('dimensions: ["htm7"]', ["sky_source", "sky_tile"]),
        ('names: ["sky*"], dimensions: ["htm7", "band"]', ["sky_source"]),
        ('names: ["packed", "table", "packed.data"], orderBy: []', ["packed", "packed.data", "table"]),
        ('names: ["packed", "table", "packed.data"], orderBy: ["-name"]', ["table", "packed.data", "packed"]),
        ('names: ["packed", "table", "packed.data"], orderBy: ["storageClass"]', ["table", "packed", "packed.data"]),
    ],
)
async def test_some_dataset_types(rich: RealRepository, arguments: str, expected: list[str]) -> None:
    async with asking(rich) as ask:
        found = data_of(await ask(f"{{ datasetTypes({arguments}) {{ totalCount nodes {{ name }} }} }}"))["datasetTypes"]
    assert found == {"totalCount": len(expected), "nodes": [{"name": name} for name in expected]}


@pytest.mark.parametrize("backward", [False, True])
async def test_pages_go_through_all(rich_in_every_layout: RealRepository, backward: bool) -> None:
    which = "last: 5, before: $cursor" if backward else "first: 5, after: $cursor"
    query = f"""query ($cursor: String) {{ datasetTypes(components: true, {which}) {{
        nodes {{ name }} pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }} }} }}"""
    names: list[str] = []
    cursor, page = None, {"hasNextPage": True, "hasPreviousPage": True}
    async with asking(rich_in_every_layout) as ask:
        whole = data_of(await ask("{ datasetTypes(components: true, first: 1000) { nodes { name } } }"))
        while page["hasPreviousPage" if backward else "hasNextPage"]:
            found = data_of(await ask(query, cursor=cursor))["datasetTypes"]
            names = _names(found["nodes"]) + names if backward else names + _names(found["nodes"])
            page = found["pageInfo"]
            cursor = page["startCursor" if backward else "endCursor"]
    assert names == _names(whole["datasetTypes"]["nodes"])


async def test_collections_that_hold_a_dataset_type(rich: RealRepository) -> None:
    query = """query ($types: [CollectionType!], $first: Int) { datasetTypes(names: ["*", "packed.data"]) { nodes { name
        collections(types: $types, first: $first) { totalCount nodes { name type } pageInfo { hasNextPage } } } } }"""
    butler = rich.butler
    async with asking(rich) as ask:
        whole = data_of(await ask(query))["datasetTypes"]["nodes"]
        runs = data_of(await ask(query, types=["RUN"], first=1))["datasetTypes"]["nodes"]
        chains = data_of(await ask(query, types=["CHAINED"]))["datasetTypes"]["nodes"]
        none = data_of(await ask(query, types=[]))["datasetTypes"]["nodes"]
    everything = sorted(butler.collections.query("*"))
    for position, one in enumerate(whole):
        name = one["name"].partition(".")[0]
        holding = {found.collection for found in butler.registry.queryDatasetAssociations(name, collections=everything)}
        assert _names(one["collections"]["nodes"]) == sorted(holding)
        in_runs = [other["name"] for other in one["collections"]["nodes"] if other["type"] == "RUN"]
        assert _names(runs[position]["collections"]["nodes"]) == in_runs[:1]
        assert runs[position]["collections"]["totalCount"] == len(in_runs)
        assert runs[position]["collections"]["pageInfo"]["hasNextPage"] == (len(in_runs) > 1)
        assert _names(chains[position]["collections"]["nodes"]) == [
            chain
            for chain in everything
            if chain.startswith("chain/") and holding.intersection(butler.collections.query(chain, flatten_chains=True))
        ]
        assert none[position]["collections"]["totalCount"] == 0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ('names: ["nope"]', "UNKNOWN_DATASET_TYPE"),
        ('names: ["*", "nope"]', "UNKNOWN_DATASET_TYPE"),
        ('names: ["packed.nope"]', "UNKNOWN_COMPONENT"),
        ('dimensions: ["nope"]', "UNKNOWN_DIMENSION"),
        (r'names: ["a\u0000b"]', "INVALID_ARGUMENT"),
        ('orderBy: ["dimensions"]', "INVALID_EXPRESSION"),
        ("last: -1", "INVALID_ARGUMENT"),
        ("last: 10001", "LIMIT_EXCEEDED"),
        ('before: "nonsense"', "BAD_CURSOR"),
    ],
)
async def test_what_makes_no_sense_has_a_code(rich: RealRepository, arguments: str, code: str) -> None:
    async with asking(rich) as ask:
        result = await ask(f"{{ datasetTypes({arguments}) {{ nodes {{ name }} }} }}")
    assert result.data == {"datasetTypes": None}
    assert codes_of(result) == [(["datasetTypes"], code)]
