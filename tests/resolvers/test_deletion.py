"""Deletions through the graph: planned, carried out, undone; what the storage's own tests find is shown."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from graphql import parse, validate
from lsst.daf.butler import Butler, CollectionType

from butlerql.scopes import Scope
from tests.support import things
from tests.support.asking import codes_of, data_of
from tests.support.deletion_asking import (
    DELETE,
    JOBS,
    LOG,
    PLAN,
    RESTORE,
    ask,
    do,
    files,
    items,
    moment,
    refused,
    serving,
    until,
)
from tests.support.registry_rows import registry_rows
from tests.support.repositories import Content, Layout, RealRepository, Repositories


@pytest.fixture
def real(repositories: Repositories, dialect: Any) -> Iterator[RealRepository]:
    with repositories.private(things.THINGS, Layout(dialect)) as made:
        yield made


async def test_planned_carried_out_and_undone(real: RealRepository) -> None:
    rows, before = registry_rows(real), files(real)
    butler = real.open()
    refs = {str(ref.id): ref for ref in butler.query_datasets("thing", ["a", "d", "z"], find_first=False)}
    async with serving(real) as service:
        chain = service.repository.datastore.name
        payload = await do(
            service, PLAN, select={"runs": ["a", "d", "z"]}, datastore=chain, scope="UNSTORE", clientMutationId="p"
        )
        plan = payload["plan"]
        assert (payload["clientMutationId"], payload["job"]) == ("p", None)
        sizes = {file.as_uri(): file.stat().st_size for file in map(Path, of_refs(butler, refs.values()))}
        assert plan == {
            "id": plan["id"],
            "state": "PLANNED",
            "datastore": {"name": chain},
            "scope": "UNSTORE",
            "createdBy": "anonymous",
            "createdAt": plan["createdAt"],
            "expiresAt": plan["expiresAt"],
            "unlinkAfter": None,
            "datasets": 8,
            "artifacts": 6,
            "bytes": sum(sizes.values()),
            "override": [],
            "freedBytes": 0,
            "blocked": [],
            "warnings": [],
            "outcomes": [{"outcome": "PENDING", "artifacts": 6, "bytes": sum(sizes.values())}],
        }
        lasts = moment(plan["expiresAt"]) - moment(plan["createdAt"])
        assert timedelta(days=7) <= lasts < timedelta(days=7, minutes=1)
        assert (registry_rows(real), files(real)) == (rows, before)

        listed = await items(service, plan["id"], first=2)
        assert {item["uri"]: item["bytes"] for item in listed} == sizes
        assert sorted(item["datasetCount"] for item in listed) == [1, 1, 1, 1, 2, 2]
        for item in listed:
            assert (item["outcome"], item["reason"], item["tries"]) == ("PENDING", None, 0)
            assert item["datasets"]["totalCount"] == item["datasetCount"]
            assert item["datasets"]["pageInfo"]["hasNextPage"] is (item["datasetCount"] == 2)
            [trace] = item["datasets"]["nodes"]
            ref = refs[trace["uuid"]]
            assert trace == {
                "uuid": str(ref.id),
                "datasetTypeName": "thing",
                "dataIdValues": dict(ref.dataId.required),
                "runName": ref.run,
                "dataset": {"uuid": str(ref.id), "run": {"name": ref.run}},
            }
        assert await items(service, plan["id"], outcomes=["REMOVED", "FAILED"]) == []

        begun = await do(service, DELETE, plan=plan["id"], clientMutationId="d")
        job = begun["job"]
        assert (begun["clientMutationId"], job["__typename"], job["kind"]) == ("d", "DeletionJob", "DELETION")
        assert job["plan"]["id"] == plan["id"]
        gone = await until(service, plan["id"], "DETACHED")
        assert gone["outcomes"] == [{**plan["outcomes"][0], "outcome": "DETACHED"}]
        assert moment(gone["unlinkAfter"]) - moment(plan["createdAt"]) >= timedelta(days=7)
        assert {one["id"]: one["state"] for one in (await ask(service, JOBS))["jobs"]["nodes"]}[job["id"]] == "WAITING"
        assert files(real) == before
        reader = real.open()
        assert not any(reader.stored_many(refs.values()).values())
        # Once more is the same once more.
        again = await do(service, DELETE, plan=plan["id"], graceSeconds=10**9)
        assert again["job"]["id"] == job["id"]
        assert (await until(service, plan["id"], "DETACHED"))["unlinkAfter"] == gone["unlinkAfter"]

        undone = await do(service, RESTORE, plan=plan["id"], clientMutationId="r")
        assert (undone["clientMutationId"], undone["job"], undone["plan"]["state"]) == ("r", None, "RESTORED")
        assert undone["plan"]["outcomes"] == [{**plan["outcomes"][0], "outcome": "RESTORED"}]
        assert (registry_rows(real), files(real)) == (rows, before)
        assert await refused(service, RESTORE, plan=plan["id"]) == "STALE_PLAN"
        assert await refused(service, DELETE, plan=plan["id"]) == "STALE_PLAN"

        log = (await ask(service, LOG))["auditLog"]["nodes"]
        assert [(entry["action"], entry["outcome"]) for entry in log] == [
            ("deleteDatasets", "STALE_PLAN"),
            ("restoreDeletion", "STALE_PLAN"),
            ("restoreDeletion", "RESTORED"),
            ("deleteDatasets", "DONE"),
            ("deleteDatasets", "CANCELLED"),
        ]
        assert {(entry["user"], entry["target"]) for entry in log} == {("anonymous", "plan 1")}
        assert log[-1]["detail"] == {
            "plan": 1,
            "scope": "UNSTORE",
            "datastore": chain,
            "override": [],
            "datasets": 8,
            "artifacts": 6,
            "bytes": plan["bytes"],
            "graceSeconds": 604800,
        }


def of_refs(butler: Butler, refs: Any) -> set[str]:
    """Give the paths of the files of datasets."""
    return {butler.getURI(ref).ospath for ref in refs}


async def test_a_purge_without_a_grace_period(real: RealRepository, tmp_path: Path) -> None:
    before = files(real)
    exports = f"{tmp_path}/{{name}}"
    async with serving(real, scopes=list(Scope), exports=exports, grace_floor_seconds=60) as service:
        plan = (await do(service, PLAN, select={"runs": ["b", "z"]}, scope="PURGE"))["plan"]
        assert (plan["state"], plan["datastore"], plan["scope"]) == ("PLANNED", None, "PURGE")
        await do(service, DELETE, plan=plan["id"], graceSeconds=0)
        done = await until(service, plan["id"], "UNLINKED")
        assert done["outcomes"] == [{"outcome": "REMOVED", "artifacts": 5, "bytes": plan["bytes"]}]
        assert done["freedBytes"] == done["bytes"] == plan["bytes"] > 0
        removed = await items(service, plan["id"], outcomes=["REMOVED"])
        assert len(removed) == 5
        assert all(item["tries"] == 1 and item["datasets"]["nodes"][0]["dataset"] is None for item in removed)
        assert [entry["outcome"] for entry in (await ask(service, LOG))["auditLog"]["nodes"]] == ["UNLINKED"]
        assert await refused(service, RESTORE, plan=plan["id"]) == "STALE_PLAN"
        name = service.repository.name
    assert len(before - files(real)) == 5
    assert real.open().query_datasets("thing", ["b", "z"], find_first=False, explain=False) == []
    lines = (tmp_path / name / "plan-1.jsonl").read_text().splitlines()
    assert {json.loads(line)["dataset_id"] for line in lines} >= {
        item["datasets"]["nodes"][0]["uuid"] for item in removed
    }
    assert len(lines) == 6


async def test_what_is_in_the_way(real: RealRepository) -> None:
    butler = real.open(writeable=True)
    butler.collections.register("tag", type=CollectionType.TAGGED)
    [first, *_] = refs = sorted(butler.query_datasets("thing", "a"), key=lambda ref: ref.dataId["detector"])
    butler.registry.associate("tag", [first])
    butler.collections.register("chain", type=CollectionType.CHAINED)
    butler.collections.redefine_chain("chain", ["a"])
    real.close()
    async with serving(real) as service:
        asked = {"select": {"runs": ["a"]}, "scope": "PURGE"}
        plan = (await do(service, PLAN, **asked))["plan"]
        [blocked] = plan["blocked"]
        assert (blocked["reason"], blocked["datasets"], blocked["artifacts"]) == ("TAGGED", 1, 1)
        assert [(one["reason"], one["datasets"]) for one in plan["warnings"]] == [("IN_CHAIN", 3)]
        assert plan["datasets"] == len(refs) == 4
        assert {one["outcome"]: one["artifacts"] for one in plan["outcomes"]} == {"PENDING": 3, "BLOCKED": 1}
        assert plan["bytes"] == plan["outcomes"][0]["bytes"]
        overridden = (await do(service, PLAN, **asked, override=["TAGGED"]))["plan"]
        assert (overridden["override"], overridden["blocked"]) == (["TAGGED"], [])
        assert {one["reason"]: one["datasets"] for one in overridden["warnings"]} == {"TAGGED": 1, "IN_CHAIN": 4}
        # A collection that is chosen by its name does not block.
        named = (await do(service, PLAN, select={"collections": ["tag"]}, scope="PURGE"))["plan"]
        assert (named["datasets"], named["blocked"]) == (1, [])
        query = """query ($id: ID!) { node(id: $id) { ... on DeletionPlan {
            groups(by: [RUN, DATASET_TYPE]) { key datasets artifacts bytes }
            all: groups(by: []) { key datasets } } } }"""
        grouped = (await ask(service, query, id=plan["id"]))["node"]
        [group] = grouped["groups"]
        assert group["key"] == {"RUN": "a", "DATASET_TYPE": "thing"}
        assert (group["datasets"], group["artifacts"]) == (4, 4)
        assert group["bytes"] == plan["bytes"] + blocked["bytes"]
        assert grouped["all"] == [{"key": {}, "datasets": 4}]


MISTAKES: list[tuple[str, dict[str, Any], str]] = [
    ("plan", {"select": {}}, "INVALID_ARGUMENT"),
    ("plan", {"select": {"datasetTypes": ["thing"]}}, "INVALID_ARGUMENT"),
    ("plan", {"select": {"runs": ["a"]}, "datastore": "nowhere"}, "UNKNOWN_DATASTORE"),
    ("plan", {"select": {"runs": ["a"]}, "datastore": "chain", "scope": "PURGE"}, "INVALID_ARGUMENT"),
    ("plan", {"select": {"runs": ["a"]}, "override": ["TAGGED", "IN_CHAIN"]}, "INVALID_ARGUMENT"),
    ("plan", {"select": {"collections": ["nowhere"]}}, "UNKNOWN_COLLECTION"),
    ("plan", {"select": {"runs": ["a"], "where": "detector ="}}, "INVALID_EXPRESSION"),
    ("delete", {"plan": "RGVsZXRpb25QbGFuOjc"}, "UNKNOWN_PLAN"),
    ("delete", {"plan": "RGVsZXRpb25QbGFuOng"}, "UNKNOWN_PLAN"),
    ("delete", {"plan": "VmFsaWRhdGlvbkpvYjox"}, "UNKNOWN_PLAN"),
    ("delete", {"plan": "no id"}, "INVALID_ARGUMENT"),
    ("delete", {"plan": "RGVsZXRpb25QbGFuOjc", "graceSeconds": -1}, "INVALID_ARGUMENT"),
    ("delete", {"plan": "RGVsZXRpb25QbGFuOjc", "graceSeconds": 86399}, "FORBIDDEN"),
    ("restore", {"plan": "RGVsZXRpb25QbGFuOjc"}, "UNKNOWN_PLAN"),
]


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_what_makes_no_sense_is_told_at_once(real: RealRepository) -> None:
    documents = {"plan": PLAN, "delete": DELETE, "restore": RESTORE}
    async with serving(real, works=False) as service:
        for mutation, given, code in MISTAKES:
            scope = {"scope": "UNSTORE"} if mutation == "plan" else {}
            assert await refused(service, documents[mutation], **{**scope, **given}) == code, given
        assert await service.repository.state.revision() is None


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_what_is_purged_has_to_be_written_somewhere(real: RealRepository, tmp_path: Path) -> None:
    asked = {"select": {"runs": ["a"]}, "scope": "PURGE"}
    for exports, code in ((None, "STATE_UNAVAILABLE"), (str(tmp_path), None)):
        async with serving(real, exports=exports) as service:
            service.repository.root = "s3://bucket/repository"
            result = await service.execute(parse(PLAN), variables={"input": asked})
            assert [found for _, found in codes_of(result)] == ([] if code is None else [code])
            assert result.errors is None or "deletion_exports" in result.errors[0].message


async def test_cursors_are_those_of_the_same_question(real: RealRepository) -> None:
    query = """query ($id: ID!, $after: String, $inner: String) { node(id: $id) { ... on DeletionPlan {
        items(first: 1, after: $after) { pageInfo { endCursor hasPreviousPage } nodes { datasetCount
            datasets(first: 1, after: $inner) { nodes { uuid } pageInfo { endCursor hasNextPage } } } } } } }"""
    async with serving(real) as service:
        plan = (await do(service, PLAN, select={"runs": ["d"]}, scope="UNSTORE"))["plan"]["id"]
        found = (await ask(service, query, id=plan))["node"]["items"]
        [item] = found["nodes"]
        first = item["datasets"]
        assert (item["datasetCount"], first["pageInfo"]["hasNextPage"]) == (2, True)
        inner = first["pageInfo"]["endCursor"]
        [item] = (await ask(service, query, id=plan, inner=inner))["node"]["items"]["nodes"]
        assert item["datasets"]["nodes"][0]["uuid"] > first["nodes"][0]["uuid"]
        assert item["datasets"]["pageInfo"]["hasNextPage"] is False
        digest = json.loads(base64.b64decode(inner + "==", altchars=b"-_"))[0]
        for key in ([digest], [digest, 1], [digest, "a", "b"], ["x", "a"]):
            wrong = base64.urlsafe_b64encode(json.dumps(key).encode()).decode()
            result = await service.execute(parse(query), variables={"id": plan, "inner": wrong})
            assert [code for _, code in codes_of(result)] == ["BAD_CURSOR"]
        result = await service.execute(parse(query), variables={"id": plan, "after": inner})
        assert [code for _, code in codes_of(result)] == ["BAD_CURSOR"]


def _fill_to_check(butler: Butler, outside: Path) -> None:
    things.fill(butler, outside)
    butler.collections.register("u/ops/to-check", type=CollectionType.TAGGED)
    butler.registry.associate("u/ops/to-check", butler.query_datasets("thing", ["d", "a"]))


TO_CHECK = Content("things to check", _fill_to_check)

QUESTIONS = """
mutation Plan { planDeletion(input: {datastore: "FileDatastore@<butlerRoot>", scope: UNSTORE, select: {collections: ["u/ops/to-check"]}}) {
  plan { id datasets artifacts bytes groups(by: [DATASET_TYPE]) { key datasets bytes } blocked { reason datasets bytes } warnings { reason datasets } items(first: 10) { nodes { uri bytes outcome } } } } }
mutation Delete($plan: ID!) { deleteDatasets(input: {plan: $plan}) { job { id state progress { done total unit etaSeconds } } } }
mutation Restore($plan: ID!) { restoreDeletion(input: {plan: $plan}) { plan { state outcomes { outcome artifacts } } } }
"""  # noqa: E501 - as clients have them


async def test_as_clients_ask(repositories: Repositories, dialect: Any) -> None:
    with repositories.private(TO_CHECK, Layout(dialect)) as real:
        rows = registry_rows(real)
        async with serving(real) as service:

            async def run(name: str, **variables: Any) -> Any:
                document = parse(QUESTIONS)
                assert not validate(service.schema, document)
                [answer] = data_of(await service.execute(document, variables=variables, operation_name=name)).values()
                return answer

            plan = (await run("Plan"))["plan"]
            assert (plan["datasets"], plan["artifacts"], plan["blocked"], plan["warnings"]) == (4, 3, [], [])
            assert plan["groups"] == [{"key": {"DATASET_TYPE": "thing"}, "datasets": 4, "bytes": plan["bytes"]}]
            assert sum(item["bytes"] for item in plan["items"]["nodes"]) == plan["bytes"]
            job = (await run("Delete", plan=plan["id"]))["job"]
            assert job["progress"]["unit"] == "datasets and files"
            await until(service, plan["id"], "DETACHED")
            restored = (await run("Restore", plan=plan["id"]))["plan"]
            assert restored == {"state": "RESTORED", "outcomes": [{"outcome": "RESTORED", "artifacts": 3}]}
        assert registry_rows(real) == rows
