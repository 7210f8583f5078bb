"""Changes of collections and descriptions in the graph: what they answer, who may make them, and the log of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from butlerql.storage.repository import Repository
from butlerql.storage.state.audit import BEGUN, audited
from tests.support.asking import Ask, asking, codes_of, data_of
from tests.support.registry_rows import registry_rows
from tests.support.repositories import Dialect, Layout, RealRepository, Repositories
from tests.support.small import SMALL

_CREATE = """mutation ($input: CreateCollectionInput!) { createCollection(input: $input) {
    clientMutationId collection { __typename name doc ... on ChainedCollection { children { name } } } } }"""
_EDIT = """mutation ($input: EditChainInput!) { editChain(input: $input) {
    clientMutationId collection { name ... on ChainedCollection { children { name } } } } }"""
_DESCRIBE = """mutation ($input: DescribeCollectionInput!) { describeCollection(input: $input) {
    clientMutationId collection { name doc } } }"""
_REMOVE = "mutation ($input: RemoveCollectionInput!) { removeCollection(input: $input) { name clientMutationId } }"
_SAY = """mutation ($input: DescribeDatasetTypeInput!) { describeDatasetType(input: $input) {
    clientMutationId datasetType { name description } } }"""
_LOG = "{ auditLog(first: 10) { totalCount nodes { id user action target detail outcome at } } }"
_ALL = [
    (_CREATE, "createCollection", {"name": "tag", "type": "TAGGED"}),
    (_EDIT, "editChain", {"name": "chain", "children": []}),
    (_DESCRIBE, "describeCollection", {"name": "run", "doc": "x"}),
    (_REMOVE, "removeCollection", {"name": "run"}),
    (_SAY, "describeDatasetType", {"name": "flat", "description": "x"}),
]


@pytest.fixture
def real(repositories: Repositories, dialect: Dialect) -> Iterator[RealRepository]:
    with repositories.private(SMALL, Layout(dialect)) as made:
        yield made


@pytest.fixture
async def ask(real: RealRepository) -> AsyncIterator[Ask]:
    async with asking(real, writable=True) as given:
        yield given


async def log(ask: Ask) -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = data_of(await ask(_LOG))["auditLog"]["nodes"]
    return nodes


async def test_each_answers_with_what_it_made(real: RealRepository, ask: Ask) -> None:
    made = data_of(
        await ask(_CREATE, input={"name": "tag", "type": "TAGGED", "doc": "Good ones.", "clientMutationId": "1"})
    )
    tag = {"__typename": "TaggedCollection", "name": "tag", "doc": "Good ones."}
    assert made == {"createCollection": {"clientMutationId": "1", "collection": tag}}
    made = data_of(await ask(_CREATE, input={"name": "chain", "type": "CHAINED", "children": ["run"]}))
    assert made["createCollection"]["collection"]["children"] == [{"name": "run"}]
    for mode, children, then in (
        ("PREPEND", ["tag"], ["tag", "run"]),
        ("EXTEND", ["tag"], ["run", "tag"]),
        ("REMOVE", ["run"], ["tag"]),
        (None, ["tag", "run"], ["tag", "run"]),
    ):
        given = {"name": "chain", "children": children, **({} if mode is None else {"mode": mode})}
        edited = data_of(await ask(_EDIT, input=given))["editChain"]["collection"]
        assert edited == {"name": "chain", "children": [{"name": name} for name in then]}
        assert list(real.open().collections.get_info("chain").children) == then
    described = data_of(await ask(_DESCRIBE, input={"name": "run", "doc": "All of it."}))
    assert described["describeCollection"]["collection"] == {"name": "run", "doc": "All of it."}
    assert real.open().registry.getCollectionDocumentation("run") == "All of it."
    refused = await ask(_REMOVE, input={"name": "tag"})
    assert codes_of(refused) == [(["removeCollection"], "CONFLICT")]
    removed = data_of(await ask(_REMOVE, input={"name": "tag", "unlinkFromParents": True, "clientMutationId": "2"}))
    assert removed == {"removeCollection": {"name": "tag", "clientMutationId": "2"}}
    assert data_of(await ask('{ collection(name: "tag") { name } }')) == {"collection": None}
    chain = data_of(await ask('{ collection(name: "chain") { ... on ChainedCollection { children { name } } } }'))
    assert chain == {"collection": {"children": [{"name": "run"}]}}


async def test_several_of_one_request_are_made_in_order(real: RealRepository, ask: Ask) -> None:
    answer = await ask(
        """mutation {
            a: createCollection(input: {name: "chain", type: CHAINED}) { collection { name } }
            b: editChain(input: {name: "chain", children: ["run"]}) {
                collection { ... on ChainedCollection { children { name } } } }
            c: editChain(input: {name: "chain", children: ["none"]}) { collection { name } }
            d: editChain(input: {name: "chain", children: []}) {
                collection { ... on ChainedCollection { children { name } } } }
        }"""
    )
    assert codes_of(answer) == [(["c"], "UNKNOWN_COLLECTION")]
    # They are non-null: an error takes the answer and what was to follow, not what was done before.
    assert answer.data is None
    assert real.open().collections.get_info("chain").children == ("run",)


async def test_all_are_written_down_with_their_outcome(ask: Ask) -> None:
    await ask(_CREATE, input={"name": "tag", "type": "TAGGED", "doc": "Good ones."})
    await ask(_CREATE, input={"name": "tag", "type": "RUN"})
    await ask(_REMOVE, input={"name": "none"})
    entries = await log(ask)
    assert [(entry["action"], entry["target"], entry["outcome"]) for entry in entries] == [
        ("removeCollection", "none", "UNKNOWN_COLLECTION"),
        ("createCollection", "tag", "CONFLICT"),
        ("createCollection", "tag", "DONE"),
    ]
    assert entries[2]["detail"] == {"type": "TAGGED", "doc": "Good ones.", "children": None}
    assert {entry["user"] for entry in entries} == {"anonymous"}
    page = data_of(await ask("{ auditLog(first: 1) { totalCount nodes { target } pageInfo { endCursor } } }"))[
        "auditLog"
    ]
    assert page["totalCount"] == 3
    rest = await ask(f'{{ auditLog(first: 9, after: "{page["pageInfo"]["endCursor"]}") {{ nodes {{ id }} }} }}')
    assert [node["id"] for node in data_of(rest)["auditLog"]["nodes"]] == [entry["id"] for entry in entries[1:]]


async def test_one_that_nobody_ended_is_seen(real: RealRepository, ask: Ask) -> None:
    repository = await Repository.open(real.uri, writable=True)
    async with audited(repository.state, user="somebody", action="removeCollection", target="run", detail={}) as done:
        assert (await log(ask))[0]["outcome"] == BEGUN
        await repository.state.write(done)
    assert (await log(ask))[0]["outcome"] == "DONE"
    await repository.close()


async def test_a_fault_that_nobody_foresaw_is_written_down(real: RealRepository, ask: Ask) -> None:
    repository = await Repository.open(real.uri, writable=True)
    with pytest.raises(ZeroDivisionError):
        async with audited(repository.state, user="somebody", action="removeCollection", target="run", detail={}):
            raise ZeroDivisionError
    assert (await log(ask))[0]["outcome"] == "FAILED"
    await repository.close()


async def test_nothing_is_changed_that_cannot_be_written_down(real: RealRepository, tmp_path: Any) -> None:
    before = registry_rows(real)
    async with asking(real, writable=True, state=str(tmp_path / "none" / "state.sqlite3")) as ask:
        refused = await ask(_CREATE, input={"name": "tag", "type": "TAGGED"})
    assert codes_of(refused) == [(["createCollection"], "STATE_UNAVAILABLE")]
    assert registry_rows(real) == before


async def test_only_what_is_served_writable_is_changed(real: RealRepository, ask: Ask) -> None:
    who = "{ viewer { name scopes } repository { readOnly } }"
    everything = ["READ", "TAG", "VALIDATE", "DELETE", "INGEST"]
    assert data_of(await ask(who)) == {
        "viewer": {"name": "anonymous", "scopes": everything},
        "repository": {"readOnly": False},
    }
    before = registry_rows(real)
    async with asking(real) as read_only:
        assert data_of(await read_only(who)) == {
            "viewer": {"name": "anonymous", "scopes": ["READ", "VALIDATE"]},
            "repository": {"readOnly": True},
        }
        for mutation, field, given in _ALL:
            assert codes_of(await read_only(mutation, input=given)) == [([field], "READ_ONLY")]
        assert await log(read_only) == []
    assert registry_rows(real) == before


async def test_what_is_said_of_a_dataset_type_wins_over_files(real: RealRepository, ask: Ask) -> None:
    (real.directory / "descriptions.yaml").write_text("flat: From a file.\n")
    query = '{ datasetType(name: "flat") { description } }'
    assert data_of(await ask(query)) == {"datasetType": {"description": "From a file."}}
    for text, then in (("Said.", "Said."), (" Said\nlater. ", "Said\nlater."), (None, "From a file.")):
        said = data_of(await ask(_SAY, input={"name": "flat", "description": text, "clientMutationId": "1"}))
        expected = {"clientMutationId": "1", "datasetType": {"name": "flat", "description": then}}
        assert said == {"describeDatasetType": expected}
        assert data_of(await ask(query)) == {"datasetType": {"description": then}}
    refused = await ask(_SAY, input={"name": "none", "description": "x"})
    assert codes_of(refused) == [(["describeDatasetType"], "UNKNOWN_DATASET_TYPE")]
    assert [entry["outcome"] for entry in await log(ask)] == ["DONE"] * 3


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
async def test_what_cannot_be_kept_is_refused(real: RealRepository, ask: Ask, text: str) -> None:
    before = registry_rows(real)
    for given in ({"name": text, "type": "TAGGED"}, {"name": "tag", "type": "TAGGED", "doc": text}):
        assert codes_of(await ask(_CREATE, input=given)) == [(["createCollection"], "INVALID_ARGUMENT")]
    edited = await ask(_EDIT, input={"name": "run", "children": [text]})
    assert codes_of(edited) == [(["editChain"], "INVALID_ARGUMENT")]
    assert registry_rows(real) == before
