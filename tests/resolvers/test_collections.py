"""Collections through GraphQL."""

from __future__ import annotations

from typing import Any

import pytest
from lsst.daf.butler import CollectionType

from tests.support.asking import Ask, asking, codes_of, data_of
from tests.support.repositories import RealRepository

_TYPENAMES = {
    "RUN": "Run",
    "TAGGED": "TaggedCollection",
    "CALIBRATION": "CalibrationCollection",
    "CHAINED": "ChainedCollection",
}

_CALIBRATIONS = ["HSC/calib", "HSC/calib/fallback", "HSC/calib/none"]


def _names(nodes: list[dict[str, Any]]) -> list[str]:
    return [node["name"] for node in nodes]


async def _walked(ask: Ask, field: str, arguments: str, size: int, *, backward: bool) -> list[str]:
    """Go through all pages of a connection of nodes with names."""
    names: list[str] = []
    cursor, page = None, {"hasNextPage": True, "hasPreviousPage": True}
    which = "last: $size, before: $cursor" if backward else "first: $size, after: $cursor"
    query = f"""query ($size: Int, $cursor: String) {{ {field}({arguments} {which}) {{
        nodes {{ name }} pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }} }} }}"""
    while page["hasPreviousPage" if backward else "hasNextPage"]:
        found = data_of(await ask(query, size=size, cursor=cursor))[field]
        names = _names(found["nodes"]) + names if backward else names + _names(found["nodes"])
        page = found["pageInfo"]
        cursor = page["startCursor" if backward else "endCursor"]
    return names


async def test_everything_is_told_as_the_butler_tells_it(rich_in_every_layout: RealRepository) -> None:
    query = """{ collections { totalCount nodes { __typename id name type doc parents { name type }
        datasetTypes { nodes { name } } ... on Run { host timespan { begin } }
        ... on ChainedCollection { children { name } flattened { name } } } } }"""
    butler = rich_in_every_layout.butler
    expected = {one.name: one for one in butler.collections.query_info("*", include_doc=True, include_parents=True)}
    async with asking(rich_in_every_layout) as ask:
        found = data_of(await ask(query))["collections"]
        again = data_of(
            await ask("query ($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=[one["id"] for one in found["nodes"]])
        )
    assert found["totalCount"] == len(found["nodes"]) == len(expected)
    assert [one["id"] for one in again["nodes"]] == [one["id"] for one in found["nodes"]]
    assert len({one["id"] for one in found["nodes"]}) == len(expected)
    for one in found["nodes"]:
        butlers = expected.pop(one["name"])
        assert (one["type"], one["__typename"]) == (butlers.type.name, _TYPENAMES[butlers.type.name])
        assert one["doc"] == (butlers.doc or None)
        assert set(_names(one["parents"])) == (butlers.parents or set())
        assert all(parent["type"] == "CHAINED" for parent in one["parents"])
        assert ("host" in one) == (one["type"] == "RUN")
        if one["type"] == "CHAINED":
            assert _names(one["children"]) == list(butlers.children)
            assert _names(one["flattened"]) == list(butler.collections.query(one["name"], flatten_chains=True))


async def test_one_collection_or_none(rich: RealRepository) -> None:
    query = """{ run: collection(name: "zip") { __typename name } chain: collection(name: "chain/all") { __typename }
        none: collection(name: "nope") { name } glob: collection(name: "*") { name }
        empty: collection(name: "") { name } asRun: run(name: "u/žofie/běh č. 1") { name }
        notRun: run(name: "chain/all") { name }
        noRun: run(name: "nope") { name } }"""
    async with asking(rich) as ask:
        found = data_of(await ask(query))
    assert found == {
        "run": {"__typename": "Run", "name": "zip"},
        "chain": {"__typename": "ChainedCollection"},
        "none": None,
        "glob": None,
        "empty": None,
        "notRun": None,
        "noRun": None,
        "asRun": {"name": "u/žofie/běh č. 1"},
    }


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("names: []", []),
        ("types: []", []),
        ('names: ["nothing*"]', []),
        ('names: ["chain/in*", "zip"]', ["chain/inner", "zip"]),
        ('names: ["chain/inner", "zip"], flattenChains: true', ["u/alice/run1", "u/alice/run2", "zip"]),
        ('names: ["chain/outer"], flattenChains: true, types: [TAGGED, CALIBRATION]', ["HSC/calib", "tag/best"]),
        ('names: ["chain/outer"], flattenChains: true, types: [CHAINED]', []),
        ("types: [TAGGED]", ["tag/best", "tag/empty", "tag/was full"]),
        (
            "names: null, types: [CALIBRATION], flattenChains: null",
            ["HSC/calib", "HSC/calib/fallback", "HSC/calib/none"],
        ),
    ],
)
async def test_some_collections(rich: RealRepository, arguments: str, expected: list[str]) -> None:
    async with asking(rich) as ask:
        found = data_of(await ask(f"{{ collections({arguments}) {{ totalCount nodes {{ name }} }} }}"))["collections"]
    assert found == {"totalCount": len(expected), "nodes": [{"name": name} for name in expected]}


async def test_runs(rich: RealRepository) -> None:
    async with asking(rich) as ask:
        found = data_of(await ask("{ all: runs { nodes { name } } none: runs(names: []) { totalCount } }"))
        some = data_of(await ask('{ runs(names: ["u/*", "zip", "chain/*"]) { totalCount nodes { name } } }'))["runs"]
        chain = await ask('{ runs(names: ["nope"]) { nodes { name } } }')
    assert _names(found["all"]["nodes"]) == sorted(
        rich.butler.collections.query("*", collection_types=CollectionType.RUN)
    )
    assert found["none"] == {"totalCount": 0}
    assert _names(some["nodes"]) == [name for name in _names(found["all"]["nodes"]) if name[:2] in ("u/", "zi")]
    assert codes_of(chain) == [(["runs"], "UNKNOWN_COLLECTION")]


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("collections", 'names: ["*"]'),
        ("collections", "types: [RUN],"),
        ("collections", 'orderBy: ["-type", "doc"],'),
        ("runs", ""),
    ],
)
async def test_pages_go_through_all(
    rich_in_every_layout: RealRepository, field: str, arguments: str, backward: bool
) -> None:
    async with asking(rich_in_every_layout) as ask:
        whole = data_of(await ask(f"{{ {field}({arguments} first: 1000) {{ nodes {{ name }} }} }}"))[field]
        assert await _walked(ask, field, arguments, 4, backward=backward) == _names(whole["nodes"])


async def test_dataset_types_of_collections(rich: RealRepository) -> None:
    query = """query ($names: [String!], $first: Int) { collections(names: ["u/alice/*", "chain/outer", "u/bob/*"]) {
        nodes { name datasetTypes(names: $names, first: $first) {
            totalCount nodes { name } pageInfo { endCursor } } } } }"""
    async with asking(rich) as ask:
        whole = data_of(await ask(query))["collections"]["nodes"]
        some = data_of(await ask(query, names=["*a*", "packed.data"], first=1))["collections"]["nodes"]
        none = data_of(await ask(query, names=[]))["collections"]["nodes"]
        cursor = next(one for one in some if one["name"] == "u/alice/run2")["datasetTypes"]["pageInfo"]["endCursor"]
        following = """query ($after: String) { collection(name: "u/alice/run2") {
            datasetTypes(names: ["*a*", "packed.data"], after: $after) { nodes { name } } } }"""
        rest = data_of(await ask(following, after=cursor))["collection"]["datasetTypes"]["nodes"]
        missing = await ask('{ collection(name: "zip") { name datasetTypes(names: ["nope"]) { totalCount } } }')
    held = {one["name"]: _names(one["datasetTypes"]["nodes"]) for one in whole}
    for name, types in held.items():
        assert types == sorted(
            dataset_type.name
            for dataset_type in rich.butler.registry.queryDatasetTypes("*")
            if list(rich.butler.registry.queryDatasetAssociations(dataset_type, collections=[name]))
        )
    assert held["u/bob/emptied"] == []
    for one in some:
        matching = [name for name in held[one["name"]] if "a" in name]
        assert one["datasetTypes"]["totalCount"] == len(matching) + ("packed" in matching)
        assert _names(one["datasetTypes"]["nodes"]) == matching[:1]
    run2 = [name for name in held["u/alice/run2"] if "a" in name]
    assert [name for name in _names(rest) if "." not in name] == run2[1:]
    assert all(one["datasetTypes"]["totalCount"] == 0 for one in none)
    assert missing.data == {"collection": {"name": "zip", "datasetTypes": None}}
    assert codes_of(missing) == [(["collection", "datasetTypes"], "UNKNOWN_DATASET_TYPE")]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ('names: ["nope"]', "UNKNOWN_COLLECTION"),
        ('names: ["*", "nope"]', "UNKNOWN_COLLECTION"),
        ('names: [""]', "UNKNOWN_COLLECTION"),
        (r'names: ["a\u0000b"]', "INVALID_ARGUMENT"),
        (r'names: ["a\u0000*"]', "INVALID_ARGUMENT"),
        (f'names: ["{"*" * 20_000}"]', "INVALID_ARGUMENT"),
        ("first: -1", "INVALID_ARGUMENT"),
        ("first: 1, last: 1", "INVALID_ARGUMENT"),
        ("first: 10001", "LIMIT_EXCEEDED"),
        ('after: "nonsense"', "BAD_CURSOR"),
    ],
)
async def test_what_makes_no_sense_has_a_code(rich: RealRepository, arguments: str, code: str) -> None:
    async with asking(rich) as ask:
        for field in ("collections", "runs"):
            result = await ask(f"{{ {field}({arguments}) {{ nodes {{ name }} }} }}")
            assert result.data == {field: None}
            assert codes_of(result) == [([field], code)]


@pytest.mark.parametrize("field", ["collection", "run"])
async def test_a_name_that_no_database_takes_has_a_code(rich: RealRepository, field: str) -> None:
    async with asking(rich) as ask:
        result = await ask(rf'{{ {field}(name: "a\u0000b") {{ name }} }}')
    assert codes_of(result) == [([field], "INVALID_ARGUMENT")]


async def test_the_order_may_be_another(rich: RealRepository) -> None:
    query = """query ($order: [String!], $after: String) { collections(orderBy: $order, first: 1000, after: $after) {
        nodes { name type } pageInfo { startCursor } } }"""
    async with asking(rich) as ask:
        named = data_of(await ask(query))["collections"]
        turned = data_of(await ask(query, order=["type", "-name"]))["collections"]
        elsewhere = await ask(query, order=["type"], after=turned["pageInfo"]["startCursor"])
    backward = named["nodes"][::-1]
    assert turned["nodes"] == sorted(backward, key=lambda one: one["type"])
    assert codes_of(elsewhere) == [(["collections"], "BAD_CURSOR")]


async def test_a_cursor_of_other_filters_is_refused(rich: RealRepository) -> None:
    query = "query ($names: [String!], $after: String) { collections(names: $names, after: $after, first: 1) {"
    query += " nodes { name } pageInfo { endCursor } } }"
    async with asking(rich) as ask:
        found = data_of(await ask(query, names=["u/*"]))["collections"]
        other = await ask(query, names=["u/?*"], after=found["pageInfo"]["endCursor"])
    assert codes_of(other) == [(["collections"], "BAD_CURSOR")]
