"""Whether datasets exist, through GraphQL."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lsst.daf.butler import Butler, DatasetType

from butlerql.storage.datastores.artifacts import local
from tests.support.asking import asking, codes_of, data_of
from tests.support.repositories import Content, Layout, RealRepository, Repositories

FIGURES = "selected present absent unreadable all children { datastore { name } present absent unreadable }"


async def test_every_datastore_by_both_ways(rich: RealRepository) -> None:
    """The figures, and the list of what is missing, are what asking for each dataset gives."""
    query = f"""{{
        datastores {{ name
            recorded: existence(select: {{}}) {{ {FIGURES} missing(first: 1000) {{ totalCount nodes {{ uuid }} }} }}
            seen: existence(select: {{}}, check: ARTIFACT) {{ {FIGURES}
                missing(first: 1000) {{ totalCount nodes {{ uuid }} }} }} }}
        datasets(select: {{}}, first: 1000) {{ totalCount nodes {{ uuid isStored seen: isStored(check: ARTIFACT) }} }}
    }}"""
    async with asking(rich) as ask:
        data = data_of(await ask(query))
        nodes = data["datasets"]["nodes"]
        for datastore in data["datastores"]:
            one = f'datastore: "{datastore["name"]}"'
            each = data_of(
                await ask(
                    f"""{{ datasets(select: {{}}, first: 1000) {{ nodes {{
                        uuid recorded: isStored({one}) seen: isStored({one}, check: ARTIFACT) }} }} }}"""
                )
            )["datasets"]["nodes"]
            for way in ("recorded", "seen"):
                found = datastore[way]
                there = sum(dataset[way] for dataset in each)
                assert (found["selected"], found["present"], found["absent"]) == (len(each), there, len(each) - there)
                assert found["unreadable"] == 0 and found["all"] is (there == len(each))
                assert {dataset["uuid"] for dataset in found["missing"]["nodes"]} == {
                    dataset["uuid"] for dataset in each if not dataset[way]
                }
                assert found["missing"]["totalCount"] == found["absent"]
    chain, *children = data["datastores"]
    for way in ("recorded", "seen"):
        assert [
            {
                "datastore": {"name": child["name"]},
                **{key: child[way][key] for key in ("present", "absent", "unreadable")},
            }
            for child in children
        ] == chain[way]["children"]
        assert [child[way]["children"] for child in children] == [[], []]
    assert chain["recorded"]["absent"] == sum(not node["isStored"] for node in nodes)
    assert chain["seen"]["absent"] == sum(not node["seen"] for node in nodes) > chain["recorded"]["absent"]


@pytest.mark.parametrize("check", ["RECORDED", "ARTIFACT"])
async def test_pages_of_what_is_missing(rich: RealRepository, check: str) -> None:
    """One after the other they are the whole list, in its order; a cursor of another question is none."""
    query = """query ($first: Int, $after: String, $check: ExistenceCheck!, $name: String!) { datastore(name: $name) {
        existence(select: {}, check: $check) { missing(first: $first, after: $after) {
            nodes { uuid } pageInfo { hasNextPage endCursor } groups(by: [DATASET_TYPE]) { key datasets } } } } }"""
    async with asking(rich) as ask:
        names = [one["name"] for one in data_of(await ask("{ datastores { name } }"))["datastores"]]

        async def missing(**more: Any) -> Any:
            found = await ask(query, check=check, name=names[1], **more)
            return data_of(found)["datastore"]["existence"]["missing"]

        whole = await missing(first=1000)
        assert sum(group["datasets"] for group in whole["groups"]) == len(whole["nodes"]) > 7
        pages, after = [], None
        while True:
            page = await missing(first=3, after=after)
            pages += page["nodes"]
            if not page["pageInfo"]["hasNextPage"]:
                break
            after = page["pageInfo"]["endCursor"]
        assert pages == whole["nodes"]
        other = await ask(query, check=check, name=names[2], first=3, after=after)
        assert codes_of(other) == [(["datastore", "existence", "missing"], "BAD_CURSOR")]


async def test_artifacts(rich: RealRepository) -> None:
    query = "{ datasets(select: {}, first: 1000) { nodes { uuid artifacts { path exists } } } }"
    async with asking(rich) as ask:
        nodes = data_of(await ask(query))["datasets"]["nodes"]
    artifacts = [artifact for node in nodes for artifact in node["artifacts"]]
    is_there = list(map(os.path.isfile, (artifact["path"] for artifact in artifacts)))
    assert [artifact["exists"] for artifact in artifacts] == is_there
    assert {artifact["exists"] for artifact in artifacts} == {True, False}


async def test_what_cannot_be_looked_at(rich: RealRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is null, with an error where it was asked of one; and counted where it was asked of many."""
    real = os.lstat

    def broken(path: Any, *arguments: Any) -> Any:
        if isinstance(path, bytes) and b"/table" in path:
            raise OSError(5, "broken")
        return real(path, *arguments)

    query = f"""{{
        datasets(select: {{datasetTypes: ["table"]}}) {{ nodes {{ isStored(check: ARTIFACT) artifacts {{ exists }} }} }}
        datastores {{ existence(select: {{datasetTypes: ["table"]}}, check: ARTIFACT) {{ {FIGURES} }} }} }}"""
    async with asking(rich) as ask:
        monkeypatch.setattr(local.os, "lstat", broken)
        result = await ask(query)
    assert result.data is not None
    for node in result.data["datasets"]["nodes"]:
        assert node == {"isStored": None, "artifacts": [{"exists": None}]}
    count = len(result.data["datasets"]["nodes"])
    assert count > 1
    assert [code for _, code in codes_of(result)] == ["ARTIFACT_UNREADABLE"] * (2 * count)
    chain, first, second = (datastore["existence"] for datastore in result.data["datastores"])
    assert [one["all"] for one in (chain, first, second)] == [None, None, False]
    assert [one["unreadable"] for one in (chain, first, second)] == [count, count, 0]
    assert all(one["present"] == 0 for one in (chain, first, second))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ('select: {datasetTypes: ["nothing"]}', "UNKNOWN_DATASET_TYPE"),
        ('select: {collections: ["nothing"]}', "UNKNOWN_COLLECTION"),
        ('select: {datasetTypes: ["raw"], where: "1 +"}', "INVALID_EXPRESSION"),
        ("select: {findFirst: true}", "INVALID_ARGUMENT"),
    ],
)
@pytest.mark.parametrize("check", ["RECORDED", "ARTIFACT"])
async def test_selections_that_make_no_sense(rich: RealRepository, arguments: str, code: str, check: str) -> None:
    async with asking(rich) as ask:
        result = await ask(f"{{ datastores {{ existence({arguments}, check: {check}) {{ all }} }} }}")
    assert codes_of(result) == [(["datastores", index, "existence"], code) for index in range(3)]


@pytest.mark.parametrize("check", ["RECORDED", "ARTIFACT"])
async def test_nothing_selected(rich: RealRepository, check: str) -> None:
    """All of nothing is there."""
    select = f"select: {{uuids: []}}, check: {check}"
    async with asking(rich) as ask:
        data = data_of(
            await ask(f"{{ datastores {{ existence({select}) {{ {FIGURES} missing {{ totalCount }} }} }} }}")
        )
    for found in (datastore["existence"] for datastore in data["datastores"]):
        assert (found["selected"], found["present"], found["absent"], found["all"]) == (0, 0, 0, True)
        assert found["missing"] == {"totalCount": 0}


def _fill_memory(butler: Butler, outside: Path) -> None:
    butler.registry.registerDatasetType(DatasetType("one", [], "StructuredDataDict", universe=butler.dimensions))
    butler.collections.register("run")
    butler.put({}, "one", {}, run="run")


IN_MEMORY = Content(
    "in memory",
    _fill_memory,
    lambda: {
        "datastore": {
            "cls": "lsst.daf.butler.datastores.chainedDatastore.ChainedDatastore",
            "datastores": [
                {"cls": "lsst.daf.butler.datastores.inMemoryDatastore.InMemoryDatastore"},
                {
                    "cls": "lsst.daf.butler.datastores.fileDatastore.FileDatastore",
                    "root": "<butlerRoot>/files",
                    "records": {"table": "file_datastore_records"},
                },
            ],
        }
    },
)


async def test_what_another_process_has_in_memory_is_not_here(repositories: Repositories) -> None:
    repository = repositories.shared(IN_MEMORY, Layout())
    async with asking(repository) as ask:
        for check in ("RECORDED", "ARTIFACT"):
            query = f"{{ datastores {{ existence(select: {{}}, check: {check}) {{ selected present absent }} }} }}"
            found = [one["existence"] for one in data_of(await ask(query))["datastores"]]
            assert [(one["selected"], one["present"], one["absent"]) for one in found] == [
                (1, 1, 0),
                (1, 0, 1),
                (1, 1, 0),
            ]


@pytest.mark.parametrize(
    "query",
    [
        "datasets(select: {}, first: 50) { nodes { isStored(check: ARTIFACT) dataId { values } run { name } } }",
        "datasets(select: {}, first: 50) { nodes { artifacts { exists } run { name } } }",
        """datasets(select: {}, first: 50) { nodes { id } }
        datastores { existence(select: {}, check: ARTIFACT) { absent missing { nodes { dataId { values } } } } }""",
    ],
)
async def test_a_writer_need_not_wait_for_files(
    rich: RealRepository,
    fresh: Callable[[RealRepository], RealRepository],
    monkeypatch: pytest.MonkeyPatch,
    query: str,
) -> None:
    """While files are looked at, the Butler commits; on SQLite an open snapshot would keep it waiting."""
    repository = fresh(rich)
    butler = repository.open(writeable=True)
    real = local.LocalStore.stat
    numbers = itertools.count()

    def looking(store: local.LocalStore, paths: Any) -> Any:
        number = next(numbers)
        if number == 0:
            butler.collections.register("u/new")
        return real(store, paths)

    monkeypatch.setattr(local.LocalStore, "stat", looking)
    async with asking(repository) as ask, asyncio.timeout(30):
        data_of(await ask(f"{{ {query} }}"))
    assert next(numbers) > 0
    assert butler.collections.query("u/new") == ["u/new"]
