"""Jobs in the graph are what the state has of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from graphql import ExecutionResult, parse

from butlerql.resolvers.context import Limits
from butlerql.resolvers.identifiers import encode
from butlerql.resolvers.service import build_service
from butlerql.storage.repository import Repository
from butlerql.storage.state.coordinator import Coordinator
from butlerql.storage.state.database import State
from butlerql.storage.state.jobs import Job, find_job
from tests.support.asking import Ask, asking, codes_of, data_of
from tests.support.repositories import Dialect, Layout, RealRepository, Repositories
from tests.support.small import SMALL
from tests.support.squares import Squares, ask

FIELDS = """
    __typename id kind state createdBy createdAt startedAt endedAt error
    progress { done total unit fraction message bytesDone ratePerSecond etaSeconds }
"""


@pytest.fixture
def real(repositories: Repositories, dialect: Dialect) -> Iterator[RealRepository]:
    with repositories.private(SMALL, Layout(dialect)) as made:
        yield made


@pytest.fixture
async def question(real: RealRepository) -> AsyncIterator[Ask]:
    async with asking(real) as given:
        yield given


@pytest.fixture
async def state(real: RealRepository) -> AsyncIterator[State]:
    repository = await Repository.open(real.uri)
    yield repository.state
    await repository.close()


async def run_all(state: State) -> None:
    coordinator = Coordinator(state, [Squares()], lambda: ThreadPoolExecutor(2), width=2)
    while await coordinator.run_next():
        pass
    await coordinator.close()


def text_of(micros: int | None) -> str | None:
    return None if micros is None else datetime.fromtimestamp(micros / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def shown(job: Job) -> dict[str, Any]:
    progress = job.progress
    return {
        "__typename": "ValidationJob",
        "id": encode("ValidationJob", str(job.id)),
        "kind": str(job.kind),
        "state": str(job.state),
        "createdBy": "somebody",
        "createdAt": text_of(job.created_at),
        "startedAt": text_of(job.started_at),
        "endedAt": text_of(job.ended_at),
        "error": job.error,
        "progress": {
            "done": progress.done,
            "total": progress.total,
            "unit": "numbers",
            "fraction": progress.fraction,
            "message": progress.message,
            "bytesDone": progress.bytes_done,
            "ratePerSecond": progress.rate_per_second,
            "etaSeconds": progress.eta_seconds,
        },
    }


async def test_without_state_there_are_none_and_none_is_made(question: Ask, state: State) -> None:
    answer = data_of(await question("{ jobs { nodes { id } totalCount pageInfo { hasNextPage } } }"))
    assert answer == {"jobs": {"nodes": [], "totalCount": 0, "pageInfo": {"hasNextPage": False}}}
    identifier = encode("ValidationJob", "1")
    assert data_of(await question("query ($id: ID!) { job(id: $id) { id } }", id=identifier)) == {"job": None}
    cancel = "mutation ($id: ID!) { cancelJob(input: {id: $id}) { job { id } } }"
    assert codes_of(await question(cancel, id=identifier)) == [(["cancelJob"], "UNKNOWN_JOB")]
    assert await state.revision() is None


async def test_a_job_is_shown_as_it_is_in_each_of_its_states(question: Ask, state: State) -> None:
    done, failed, queued = await ask(state, [2, 3]), await ask(state, [2], refuse=[2]), await ask(state, [4])
    await question(
        "mutation ($id: ID!) { cancelJob(input: {id: $id}) { job { id } } }",
        id=encode("ValidationJob", str(queued.id)),
    )
    await run_all(state)
    new = await ask(state, [5])
    for number in (done.id, failed.id, queued.id, new.id):
        job = await find_job(state, number)
        assert job is not None
        identifier = encode("ValidationJob", str(number))
        query = f"query ($id: ID!) {{ job(id: $id) {{ {FIELDS} }} node(id: $id) {{ ... on Job {{ {FIELDS} }} }} }}"
        assert data_of(await question(query, id=identifier)) == {"job": shown(job), "node": shown(job)}
    states = data_of(await question("{ jobs { nodes { state } } }"))["jobs"]["nodes"]
    assert [row["state"] for row in states] == ["QUEUED", "CANCELLED", "FAILED", "SUCCEEDED"]


async def test_jobs_are_paged_and_chosen(question: Ask, state: State) -> None:
    jobs = [await ask(state, [number]) for number in range(5)]
    identifiers = [encode("ValidationJob", str(job.id)) for job in reversed(jobs)]
    await question("mutation ($id: ID!) { cancelJob(input: {id: $id}) { job { id } } }", id=identifiers[1])

    async def chosen(arguments: str) -> tuple[list[str], int]:
        found = data_of(await question(f"{{ jobs({arguments}) {{ nodes {{ id }} totalCount }} }}"))["jobs"]
        return [node["id"] for node in found["nodes"]], found["totalCount"]

    assert await chosen("first: 2") == (identifiers[:2], 5)
    assert await chosen("last: 2") == (identifiers[-2:], 5)
    assert await chosen("states: [CANCELLED]") == ([identifiers[1]], 1)
    assert await chosen("kinds: [VALIDATION], states: [QUEUED], first: 1") == (identifiers[:1], 4)
    assert await chosen("kinds: [INGEST]") == await chosen("states: []") == ([], 0)
    page = data_of(await question("{ jobs(first: 3) { pageInfo { endCursor } } }"))["jobs"]["pageInfo"]["endCursor"]
    assert await chosen(f'first: 3, after: "{page}"') == (identifiers[3:], 5)
    wrong = await question(f'{{ jobs(first: 3, states: [QUEUED], after: "{page}") {{ nodes {{ id }} }} }}')
    assert codes_of(wrong) == [(["jobs"], "BAD_CURSOR")]


async def test_cancelling_gives_the_job_and_the_clients_word_back(question: Ask, state: State) -> None:
    job = await ask(state, [2])
    cancel = """mutation ($id: ID!) {
        cancelJob(input: {id: $id, clientMutationId: "mine"}) { clientMutationId job { id state endedAt } }
    }"""
    identifier = encode("ValidationJob", str(job.id))
    first = data_of(await question(cancel, id=identifier))["cancelJob"]
    assert first["clientMutationId"] == "mine"
    assert first["job"]["id"] == identifier
    assert first["job"]["state"] == "CANCELLED"
    assert first["job"]["endedAt"] is not None
    assert data_of(await question(cancel, id=identifier))["cancelJob"] == first


@pytest.mark.parametrize("key", ["", "x", "-1", "0", "9" * 19, "9" * 40, "\u0661"])
async def test_what_is_no_job_is_not_found(question: Ask, state: State, key: str) -> None:
    await ask(state, [2])
    for identifier in (encode("ValidationJob", key), encode("Run", "1")):
        assert data_of(await question("query ($id: ID!) { job(id: $id) { id } }", id=identifier)) == {"job": None}
        cancel = await question("mutation ($id: ID!) { cancelJob(input: {id: $id}) { job { id } } }", id=identifier)
        assert codes_of(cancel) == [(["cancelJob"], "UNKNOWN_JOB")]
    nonsense = await question('{ job(id: "?") { id } }')
    assert codes_of(nonsense) == [(["job"], "INVALID_ARGUMENT")]


async def test_who_subscribes_sees_the_job_until_it_ends(real: RealRepository, state: State) -> None:
    service = build_service(await Repository.open(real.uri), Limits())
    job = await ask(state, range(20), seconds=0.2)
    query = parse(f"subscription ($id: ID!) {{ jobProgress(id: $id) {{ {FIELDS} }} }}")
    identifier = encode("ValidationJob", str(job.id))
    stream = await service.subscribe(query, variables={"id": identifier})
    assert isinstance(stream, AsyncIterator)
    running = asyncio.create_task(run_all(state))
    seen = [data_of(event)["jobProgress"] async for event in stream]
    await running
    ended = await find_job(state, job.id)
    assert ended is not None
    assert seen[-1] == shown(ended)
    assert [event["state"] for event in (seen[0], seen[-1])] == ["QUEUED", "SUCCEEDED"]
    assert len(seen) > 2
    assert all(before["progress"]["done"] <= after["progress"]["done"] for before, after in pairwise(seen))
    for unknown in (encode("ValidationJob", "999"), encode("Run", "run")):
        refused = await service.subscribe(query, variables={"id": unknown})
        assert isinstance(refused, ExecutionResult)
        assert codes_of(refused) == [(["jobProgress"], "UNKNOWN_JOB")]
    assert isinstance(await service.subscribe(query, variables={}), ExecutionResult)
    await service.close()
