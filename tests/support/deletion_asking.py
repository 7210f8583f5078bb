"""Asking for deletions through the graph."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from typing import Any

from graphql import parse, validate

from butlerql.resolvers.context import Limits
from butlerql.resolvers.service import Service, build_service
from butlerql.storage.datastores.deletion.rules import Rules
from butlerql.storage.repository import Repository
from tests.support import things
from tests.support.asking import codes_of, data_of
from tests.support.repositories import RealRepository

__all__ = [
    "CANCEL",
    "DELETE",
    "ITEMS",
    "JOBS",
    "LOG",
    "LOOK",
    "PLAN",
    "PLAN_FIELDS",
    "RESTORE",
    "ask",
    "do",
    "files",
    "items",
    "moment",
    "refused",
    "serving",
    "until",
]

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
