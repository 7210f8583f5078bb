"""Deletions as jobs: who may have them, how they are cancelled, asked for twice, and fail."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from graphql import parse

from butlerql.resolvers import deletion
from butlerql.scopes import Scope
from butlerql.storage.datastores.deletion.planning import Bounds
from tests.support import things
from tests.support.asking import codes_of
from tests.support.deletion_asking import (
    CANCEL,
    DELETE,
    JOBS,
    LOG,
    LOOK,
    PLAN,
    RESTORE,
    ask,
    do,
    refused,
    serving,
    until,
)
from tests.support.registry_rows import registry_rows
from tests.support.repositories import Layout, RealRepository, Repositories


@pytest.fixture
def real(repositories: Repositories, dialect: Any) -> Iterator[RealRepository]:
    with repositories.private(things.THINGS, Layout(dialect)) as made:
        yield made


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
