"""Deletions through the graph: planned, carried out, undone; what the storage's own tests find is shown."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from graphql import parse, validate
from lsst.daf.butler import Butler, CollectionType

from butlerql.resolvers import deletion
from butlerql.resolvers.context import Limits
from butlerql.resolvers.service import Service, build_service
from butlerql.scopes import Scope
from butlerql.storage.datastores.deletion.planning import Bounds
from butlerql.storage.datastores.deletion.rules import Rules
from butlerql.storage.repository import Repository
from tests.support import things
from tests.support.asking import codes_of, data_of
from tests.support.registry_rows import registry_rows
from tests.support.repositories import Content, Layout, RealRepository, Repositories

PLAN_FIELDS = """{
    id state datastore { name } scope createdBy createdAt expiresAt unlinkAfter datasets artifacts bytes override
    freedBytes blocked { reason datasets artifacts bytes } warnings { reason datasets artifacts bytes }
    outcomes { outcome artifacts bytes }
}"""
PLAN = f"""mutation ($input: PlanDeletionInput!) {{ planDeletion(input: $input) {{
    clientMutationId plan {PLAN_FIELDS} job {{ id kind state error ... on PlanningJob {{ plan {{ id }} }} }} }} }}"""
DELETE = """mutation ($input: DeleteDatasetsInput!) { deleteDatasets(input: $input) {
    clientMutationId job { __typename id kind state ... on DeletionJob { plan { id state } } } } }"""
RESTORE = f"""mutation ($input: RestoreDeletionInput!) {{ restoreDeletion(input: $input) {{
    clientMutationId plan {PLAN_FIELDS} job {{ id state }} }} }}"""
CANCEL = "mutation ($id: ID!) { cancelJob(input: {id: $id}) { job { id state } } }"
LOOK = f"query ($id: ID!) {{ node(id: $id) {{ __typename ... on DeletionPlan {PLAN_FIELDS} }} }}"
ITEMS = """query ($id: ID!, $outcomes: [DeletionOutcome!], $first: Int, $after: String) { node(id: $id) {
    ... on DeletionPlan { items(outcomes: $outcomes, first: $first, after: $after) {
        totalCount pageInfo { hasNextPage endCursor } nodes { uri bytes outcome reason tries datasetCount
            datasets(first: 1) { totalCount pageInfo { hasNextPage }
                nodes { uuid datasetTypeName dataIdValues runName dataset { uuid run { name } } } } } } } } }"""
JOBS = "{ jobs { nodes { id kind state error } } }"
LOG = "{ auditLog { nodes { user action target detail outcome } } }"

Serve = Callable[..., AbstractAsyncContextManager[Service]]


@pytest.fixture
def real(repositories: Repositories, dialect: Any) -> Iterator[RealRepository]:
    with repositories.private(things.THINGS, Layout(dialect)) as made:
        yield made


@asynccontextmanager
async def serving(
    real: RealRepository,
    *,
    writable: bool = True,
    works: bool = True,
    scopes: Any = None,
    exports: str | None = None,
    **rules: Any,
) -> AsyncIterator[Service]:
    """Serve a repository, with somebody who does what is asked for."""
    repository = await Repository.open(real.uri, snapshot_seconds=60, writable=writable, exports=exports)
    service = build_service(repository, Limits(deletion=Rules(**rules)), scopes=scopes)
    if works:
        service.start()
    try:
        yield service
    finally:
        await service.close()


async def ask(service: Service, query: str, **variables: Any) -> Any:
    document = parse(query)
    assert not validate(service.schema, document)
    return data_of(await service.execute(document, variables=variables))


async def do(service: Service, mutation: str, **given: Any) -> Any:
    [answer] = (await ask(service, mutation, input=given)).values()
    return answer


async def refused(service: Service, mutation: str, **given: Any) -> str:
    [(_, code)] = codes_of(await service.execute(parse(mutation), variables={"input": given}))
    return code


async def until(service: Service, plan: str, state: str) -> Any:
    """Wait for a plan to come to a state."""
    for _ in range(600):
        found = (await ask(service, LOOK, id=plan))["node"]
        if found["state"] == state:
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(found)


async def items(service: Service, plan: str, **arguments: Any) -> list[Any]:
    """Page through the items of a plan."""
    found, after, total = [], None, None
    while True:
        page = (await ask(service, ITEMS, id=plan, after=after, **arguments))["node"]["items"]
        found += page["nodes"]
        after, total = page["pageInfo"]["endCursor"], page["totalCount"]
        if not page["pageInfo"]["hasNextPage"]:
            assert total == len(found)
            return found


def files(real: RealRepository) -> set[str]:
    store = real.directory / things.STORE
    return {os.path.relpath(file, store) for file in store.rglob("*") if file.is_file()}


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


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


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_who_may(real: RealRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"select": {"runs": ["a"]}, "scope": "UNSTORE"}
    with monkeypatch.context() as patch:
        patch.setattr(deletion, "_WAIT_SECONDS", 0)
        async with serving(real, works=False) as service:
            assert (await do(service, PLAN, **asked))["job"]["state"] == "QUEUED"
    async with serving(real, writable=False, works=False) as service:
        assert not await service.jobs.run_next()
    async with serving(real, writable=False) as service:
        assert await refused(service, PLAN, **asked) == "READ_ONLY"
    async with serving(real, scopes=[Scope.READ, Scope.TAG]) as service:
        assert await refused(service, PLAN, **asked) == "FORBIDDEN"
    async with serving(real) as service:
        plan = (await do(service, PLAN, **asked))["plan"]["id"]
        await do(service, DELETE, plan=plan, graceSeconds=86400)
        job = (await ask(service, JOBS))["jobs"]["nodes"][0]["id"]
        await until(service, plan, "DETACHED")
    async with serving(real, writable=False, grace_floor_seconds=0) as service:
        for mutation in (DELETE, RESTORE):
            assert await refused(service, mutation, plan=plan) == "READ_ONLY"
        [(_, code)] = codes_of(await service.execute(parse(CANCEL), variables={"id": job}))
        assert code == "READ_ONLY"
        assert (await ask(service, LOOK, id=plan))["node"]["state"] == "DETACHED"


async def test_cancelling_undoes(real: RealRepository) -> None:
    rows = registry_rows(real)
    async with serving(real) as service:
        plan = (await do(service, PLAN, select={"runs": ["a"]}, scope="PURGE"))["plan"]["id"]
        job = (await do(service, DELETE, plan=plan))["job"]["id"]
        await until(service, plan, "DETACHED")
        assert registry_rows(real) != rows
        cancelled = (await ask(service, CANCEL, id=job))["cancelJob"]["job"]
        assert cancelled == {"id": job, "state": "CANCELLED"}
        await until(service, plan, "RESTORED")
        assert registry_rows(real) == rows
        assert (await ask(service, CANCEL, id=job))["cancelJob"]["job"] == cancelled
        log = (await ask(service, LOG))["auditLog"]["nodes"]
        assert [(entry["action"], entry["outcome"]) for entry in log] == [
            ("cancelJob", "RESTORED"),
            ("deleteDatasets", "CANCELLED"),
        ]


async def test_a_run_stays_that_datasets_can_be_restored_to(real: RealRepository) -> None:
    remove = 'mutation { removeCollection(input: {name: "a"}) { name } }'
    async with serving(real, scopes=list(Scope)) as service:
        plan = (await do(service, PLAN, select={"runs": ["a"]}, scope="PURGE"))["plan"]["id"]
        await do(service, DELETE, plan=plan)
        await until(service, plan, "DETACHED")
        refusal = await service.execute(parse(remove))
        assert codes_of(refusal) == [(["removeCollection"], "CONFLICT")]
        assert refusal.errors is not None and "can still be restored" in refusal.errors[0].message
        assert (await do(service, RESTORE, plan=plan))["plan"]["state"] == "RESTORED"
        plan = (await do(service, PLAN, select={"runs": ["a"]}, scope="PURGE"))["plan"]["id"]
        await do(service, DELETE, plan=plan, graceSeconds=0)
        await until(service, plan, "UNLINKED")
        assert await ask(service, remove) == {"removeCollection": {"name": "a"}}


async def test_the_same_key_is_the_same_job(real: RealRepository) -> None:
    async with serving(real, scopes=list(Scope)) as service:
        one, other = [
            (await do(service, PLAN, select={"runs": [run]}, scope="UNSTORE"))["plan"]["id"] for run in ("a", "b")
        ]
        given = {"graceSeconds": 0, "idempotencyKey": "k"}
        job = (await do(service, DELETE, plan=one, **given))["job"]["id"]
        await until(service, one, "UNLINKED")
        assert (await do(service, DELETE, plan=one, **given))["job"]["id"] == job
        assert await refused(service, DELETE, plan=other, **given) == "INVALID_ARGUMENT"
        assert (await ask(service, LOOK, id=other))["node"]["state"] == "PLANNED"
        assert (await do(service, DELETE, plan=other, graceSeconds=0))["job"]["id"] != job
        await until(service, other, "UNLINKED")


async def test_a_plan_that_takes_long_and_one_that_fails(real: RealRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deletion, "_WAIT_SECONDS", 0.3)
    asked = {"select": {"runs": ["a"]}, "scope": "UNSTORE"}
    async with serving(real, works=False) as service:
        begun = await do(service, PLAN, **asked)
        plan, job = begun["plan"], begun["job"]
        assert (plan["state"], plan["datasets"]) == ("PLANNING", 0)
        assert (job["kind"], job["state"], job["plan"]) == ("PLANNING", "QUEUED", {"id": plan["id"]})
        assert await refused(service, DELETE, plan=plan["id"]) == "STALE_PLAN"
        service.start()
        service.jobs.wake()
        assert (await until(service, plan["id"], "PLANNED"))["datasets"] == 4
    monkeypatch.setattr(deletion, "_WAIT_SECONDS", 30)
    async with serving(real, bounds=Bounds(datasets=3)) as service:
        failed = await do(service, PLAN, **asked)
        assert (failed["plan"]["state"], failed["job"]["state"]) == ("FAILED", "FAILED")
        assert "deletion_datasets" in failed["job"]["error"]
        assert await refused(service, DELETE, plan=failed["plan"]["id"]) == "STALE_PLAN"
    async with serving(real, bounds=Bounds(plan_seconds=0)) as service:
        expired = (await do(service, PLAN, **asked))["plan"]
        assert expired["state"] == "EXPIRED"
        assert await refused(service, DELETE, plan=expired["id"]) == "STALE_PLAN"


async def test_a_deletion_that_fails_is_written_down_and_tried_again(real: RealRepository) -> None:
    store, elsewhere = real.directory / things.STORE, real.directory / "elsewhere"
    async with serving(real) as service:
        plan = (await do(service, PLAN, select={"runs": ["a"]}, scope="PURGE"))["plan"]["id"]
        store.rename(elsewhere)
        await do(service, DELETE, plan=plan)
        await until(service, plan, "FAILED")
        job, *_ = (await ask(service, JOBS))["jobs"]["nodes"]
        assert job["state"] == "FAILED" and str(store) in job["error"]
        elsewhere.rename(store)
        await do(service, DELETE, plan=plan)
        await until(service, plan, "DETACHED")
        log = (await ask(service, LOG))["auditLog"]["nodes"]
        assert [entry["outcome"] for entry in log] == ["BEGUN", "FAILED"]
        assert (await do(service, RESTORE, plan=plan))["plan"]["state"] == "RESTORED"


async def test_what_is_not_there_has_no_node(real: RealRepository) -> None:
    async with serving(real, works=False) as service:
        result = await service.execute(parse(LOOK), variables={"id": "RGVsZXRpb25QbGFuOjc"})
        assert codes_of(result) == [(["node"], "INVALID_ARGUMENT")]


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
