"""Tags and certifications through the graph: what is changed, what is refused, and what a Butler then sees."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from graphql import parse
from lsst.daf.butler import CollectionType

from butlerql.resolvers.context import Limits
from butlerql.resolvers.service import Service, build_service
from butlerql.storage.registry import settling, tagging_jobs
from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.registry.tagging_jobs import Tagging
from butlerql.storage.repository import Repository
from butlerql.storage.state.jobs import find_job, find_jobs
from tests.support.asking import codes_of, data_of
from tests.support.registry_rows import registry_rows
from tests.support.repositories import Layout, RealRepository, Repositories
from tests.support.rich import RICH

TAG = """mutation ($input: TagDatasetsInput!) { tagDatasets(input: $input) {
    clientMutationId changed replaced job { id }
    collection { name doc datasets { totalCount nodes { uuid run { name } } } } } }"""
UNTAG = """mutation ($input: UntagDatasetsInput!) { untagDatasets(input: $input) {
    clientMutationId changed replaced job { id } collection { name datasets { totalCount } } } }"""
CERTIFY = """mutation ($input: CertifyDatasetsInput!) { certifyDatasets(input: $input) {
    clientMutationId changed collection { name certifications(datasetTypes: ["*"]) { totalCount } } } }"""
DECERTIFY = """mutation ($input: DecertifyDatasetsInput!) { decertifyDatasets(input: $input) {
    clientMutationId changed collection { name certifications(datasetTypes: ["*"]) { totalCount } } } }"""

JOB = """query ($id: ID!) { job(id: $id) { __typename kind state error createdBy progress { done total unit }
    ... on TaggingJob { changed replaced collection { __typename name
        ... on TaggedCollection { datasets { nodes { uuid run { name } } } } } } } }"""

ON_SQLITE = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
"""For what has nothing to do with the database."""

FIRST, SECOND = "u/alice/run1", "u/alice/run2"


@pytest.fixture
def real(repositories: Repositories, dialect: Any) -> Iterator[RealRepository]:
    with repositories.private(RICH, Layout(dialect)) as made:
        yield made


@pytest.fixture
async def service(real: RealRepository) -> AsyncIterator[Service]:
    repository = await Repository.open(real.uri, snapshot_seconds=60, writable=True)
    served = build_service(repository, Limits())
    yield served
    await served.close()


async def do(service: Service, mutation: str, **given: Any) -> Any:
    [answer] = data_of(await service.execute(parse(mutation), variables={"input": given})).values()
    return answer


async def refused(service: Service, real: RealRepository, mutation: str, **given: Any) -> str:
    """Make sure that a change is refused and changes nothing; give its code."""
    before = registry_rows(real)
    [(_, code)] = codes_of(await service.execute(parse(mutation), variables={"input": given}))
    assert registry_rows(real) == before
    return code


async def ended(service: Service, begun: Any) -> Any:
    """Run the job that a mutation began, and give it."""
    assert await service.jobs.run_next()
    return data_of(await service.execute(parse(JOB), variables={"id": begun["job"]["id"]}))["job"]


async def outcomes(service: Service) -> list[tuple[str, str, str]]:
    log = data_of(await service.execute(parse("{ auditLog { nodes { action target outcome } } }")))["auditLog"]
    return [tuple(entry.values()) for entry in log["nodes"]]


async def test_tagging_and_untagging(service: Service, real: RealRepository) -> None:
    chosen = {"collections": [FIRST], "datasetTypes": ["calexp"]}
    done = await do(service, TAG, collection="mine", select=chosen, doc="Good ones.", clientMutationId="x")
    assert (done["clientMutationId"], done["changed"], done["replaced"], done["job"]) == ("x", 8, 0, None)
    assert (done["collection"]["name"], done["collection"]["doc"]) == ("mine", "Good ones.")
    assert done["collection"]["datasets"]["totalCount"] == 8
    butler = real.open()
    assert butler.collections.get_info("mine").type is CollectionType.TAGGED
    seen = {str(ref.id) for ref in butler.query_datasets("calexp", collections="mine")}
    assert seen == {one["uuid"] for one in done["collection"]["datasets"]["nodes"]}
    # Again: they are there already, and what is written about it stays.
    done = await do(service, TAG, collection="mine", select=chosen, doc="Others.")
    assert (done["changed"], done["collection"]["doc"]) == (0, "Good ones.")
    done = await do(service, UNTAG, collection="mine", select={**chosen, "where": "visit = 101 AND instrument = 'HSC'"})
    assert (done["changed"], done["replaced"], done["collection"]["datasets"]["totalCount"]) == (4, 0, 4)
    assert len(real.open().query_datasets("calexp", collections="mine")) == 4


async def test_what_is_tagged_already_is_an_error_or_stays_or_goes(service: Service, real: RealRepository) -> None:
    types = ["calexp"]
    await do(service, TAG, collection="mine", select={"runs": [FIRST], "datasetTypes": types})
    others = {"runs": [SECOND], "datasetTypes": types}
    assert await refused(service, real, TAG, collection="mine", select=others) == "CONFLICT"
    kept = await do(service, TAG, collection="mine", select=others, onConflict="KEEP")
    runs = [one["run"]["name"] for one in kept["collection"]["datasets"]["nodes"]]
    assert (kept["changed"], kept["replaced"], runs.count(FIRST), runs.count(SECOND)) == (5, 0, 8, 5)
    gone = await do(service, TAG, collection="mine", select=others, onConflict="REPLACE")
    runs = [one["run"]["name"] for one in gone["collection"]["datasets"]["nodes"]]
    assert (gone["changed"], gone["replaced"], runs.count(FIRST), runs.count(SECOND)) == (2, 2, 6, 7)
    assert len(real.open().query_datasets("calexp", collections="mine")) == 13


@ON_SQLITE
async def test_what_an_error_advises_is_possible(service: Service) -> None:
    """Untagging has no ``create``."""
    given = {"collection": "nowhere", "select": {"runs": [FIRST]}}
    result = await service.execute(parse(UNTAG), variables={"input": given})
    assert [code for _, code in codes_of(result)] == ["UNKNOWN_COLLECTION"]
    assert [str(error).count("create") for error in result.errors or ()] == [0]


@pytest.mark.parametrize("policy", ["ERROR", "REPLACE", "KEEP"])
async def test_a_selection_that_clashes_with_itself_is_refused(
    service: Service, real: RealRepository, policy: str
) -> None:
    both = {"collections": [FIRST, SECOND], "datasetTypes": ["calexp"]}
    assert await refused(service, real, TAG, collection="mine", select=both, onConflict=policy) == "CONFLICT"
    first = await do(service, TAG, collection="mine", select={**both, "findFirst": True}, onConflict=policy)
    assert first["changed"] == 13


@pytest.fixture
def unsettled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have regions be looked at dataset by dataset, as where there are many."""
    for limit in ("_MOST", "_MOST_RANGES", "_MOST_ROWS"):
        monkeypatch.setattr(settling, limit, 0)


@pytest.mark.usefixtures("unsettled")
async def test_regions_are_looked_at(service: Service, real: RealRepository) -> None:
    where = "tract = 0 AND skymap = 'rings µ'"
    chosen = {"collections": [FIRST], "datasetTypes": ["calexp"], "where": where, "related": True}
    query = "query ($s: DatasetSelection!) { datasets(select: $s) { totalCount nodes { uuid } } }"
    shown = data_of(await service.execute(parse(query), variables={"s": chosen}))["datasets"]
    assert shown["totalCount"]
    begun = await do(service, TAG, collection="mine", select=chosen)
    assert (begun["changed"], begun["replaced"], begun["collection"]) == (None, None, None)
    done = await ended(service, begun)
    assert (done["state"], done["changed"], done["replaced"]) == ("SUCCEEDED", shown["totalCount"], 0)
    assert done["progress"] == {"done": shown["totalCount"], "total": shown["totalCount"], "unit": "datasets"}
    assert {one["uuid"] for one in done["collection"]["datasets"]["nodes"]} == {one["uuid"] for one in shown["nodes"]}
    begun = await do(service, UNTAG, collection="mine", select=chosen)
    done = await ended(service, begun)
    assert (done["changed"], done["collection"]["datasets"]["nodes"]) == (shown["totalCount"], [])


async def test_an_empty_list_selects_nothing(service: Service) -> None:
    for chosen in ({"uuids": []}, {"collections": []}, {"runs": []}, {"runs": [FIRST], "datasetTypes": []}):
        done = await do(service, TAG, collection="mine", select=chosen)
        assert (done["changed"], done["collection"]["datasets"]["totalCount"]) == (0, 0)


@pytest.mark.parametrize(
    ("collection", "select", "code"),
    [
        ("mine", {"datasetTypes": ["calexp"]}, "INVALID_ARGUMENT"),
        ("mine", {"runs": [FIRST], "datasetTypes": ["split.summary"]}, "INVALID_ARGUMENT"),
        ("mine", {"runs": ["nowhere"]}, "UNKNOWN_COLLECTION"),
        ("mine", {"runs": [FIRST], "datasetTypes": ["nothing"]}, "UNKNOWN_DATASET_TYPE"),
        ("mine", {"runs": [FIRST], "where": "("}, "INVALID_EXPRESSION"),
        (FIRST, {"runs": [FIRST]}, "INVALID_ARGUMENT"),
        ("HSC/calib", {"runs": [FIRST]}, "INVALID_ARGUMENT"),
        ("chain/inner", {"runs": [FIRST]}, "INVALID_ARGUMENT"),
        ("", {"runs": [FIRST]}, "INVALID_ARGUMENT"),
        ("u/*", {"runs": [FIRST]}, "INVALID_ARGUMENT"),
        ("mine", {"collections": ["HSC/calib"], "datasetTypes": ["bias"], "findFirst": True}, "AMBIGUOUS_CALIBRATION"),
    ],
)
async def test_what_makes_no_sense_changes_nothing(
    service: Service, real: RealRepository, collection: str, select: dict[str, Any], code: str
) -> None:
    assert await refused(service, real, TAG, collection=collection, select=select) == code


async def test_what_is_not_there_is_made_only_if_wanted(service: Service, real: RealRepository) -> None:
    absent = {"collection": "mine", "select": {"runs": [FIRST]}}
    assert await refused(service, real, TAG, **absent, create=False) == "UNKNOWN_COLLECTION"
    assert await refused(service, real, UNTAG, **absent) == "UNKNOWN_COLLECTION"
    certain = {"begin": "2024-01-01T00:00:00"}
    assert await refused(service, real, CERTIFY, **absent, create=False, timespan=certain) == "UNKNOWN_COLLECTION"
    assert await refused(service, real, DECERTIFY, **absent, timespan=certain) == "UNKNOWN_COLLECTION"


async def test_certifying_and_decertifying(service: Service, real: RealRepository) -> None:
    bias = {"runs": ["HSC/calib/run"], "datasetTypes": ["bias"]}
    year = {"begin": "2024-01-01T00:00:00", "end": "2025-01-01T00:00:00"}
    done = await do(service, CERTIFY, collection="mine", select=bias, timespan=year, clientMutationId="y")
    assert (done["clientMutationId"], done["changed"]) == ("y", 4)
    assert done["collection"] == {"name": "mine", "certifications": {"totalCount": 4}}
    assert real.open().collections.get_info("mine").type is CollectionType.CALIBRATION
    # What touches does not overlap.
    after = {"begin": year["end"]}
    assert (await do(service, CERTIFY, collection="mine", select=bias, timespan=after))["changed"] == 4
    assert await refused(service, real, CERTIFY, collection="mine", select=bias, timespan={}) == "CONFLICT"
    june = {"begin": "2024-06-01T00:00:00", "end": "2024-07-01T00:00:00"}
    done = await do(service, DECERTIFY, collection="mine", select=bias, timespan=june)
    assert (done["changed"], done["collection"]["certifications"]["totalCount"]) == (4, 12)
    done = await do(service, DECERTIFY, collection="mine", select=bias, timespan={})
    assert (done["changed"], done["collection"]["certifications"]["totalCount"]) == (12, 0)


async def test_what_cannot_be_certified(service: Service, real: RealRepository) -> None:
    ever: dict[str, Any] = {"collection": "mine", "timespan": {}}
    calexp, bias = {"runs": [FIRST], "datasetTypes": ["calexp"]}, {"runs": ["HSC/calib/run"], "datasetTypes": ["bias"]}
    assert await refused(service, real, CERTIFY, **ever, select=calexp) == "INVALID_ARGUMENT"
    never = {"begin": "2024-01-01T00:00:00", "end": "2024-01-01T00:00:00"}
    for mutation in (CERTIFY, DECERTIFY):
        given = {"collection": "HSC/calib", "select": bias, "timespan": never}
        assert await refused(service, real, mutation, **given) == "INVALID_ARGUMENT"
        given = {"collection": "tag/best", "select": bias, "timespan": {}}
        assert await refused(service, real, mutation, **given) == "INVALID_ARGUMENT"
    both = {"runs": ["HSC/calib/run", "HSC/raw/all"], "datasetTypes": ["bias"]}
    assert await refused(service, real, CERTIFY, **ever, select=both) == "CONFLICT"


async def test_where_nothing_may_be_changed_it_says_so(real: RealRepository) -> None:
    service = build_service(await Repository.open(real.uri), Limits())
    ever: dict[str, Any] = {"collection": "mine", "select": {"runs": [FIRST]}}
    assert await refused(service, real, TAG, **ever) == "READ_ONLY"
    assert await refused(service, real, UNTAG, **ever) == "READ_ONLY"
    assert await refused(service, real, CERTIFY, **ever, timespan={}) == "READ_ONLY"
    assert await refused(service, real, DECERTIFY, **ever, timespan={}) == "READ_ONLY"
    await service.close()


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have all become jobs but what is very little."""
    monkeypatch.setattr(tagging_jobs, "AT_ONCE", 3)
    monkeypatch.setattr(tagging_jobs, "_LISTED", 3)


@pytest.mark.usefixtures("few")
async def test_what_is_much_becomes_a_job(service: Service, real: RealRepository) -> None:
    chosen = {"runs": [FIRST], "datasetTypes": ["calexp"]}
    before = registry_rows(real)
    begun = await do(service, TAG, collection="mine", select=chosen, doc="Good ones.", clientMutationId="x")
    assert begun["clientMutationId"] == "x"
    assert registry_rows(real) == before
    done = await ended(service, begun)
    assert (done["__typename"], done["kind"], done["state"]) == ("TaggingJob", "TAGGING", "SUCCEEDED")
    assert (done["changed"], done["replaced"], done["createdBy"]) == (8, 0, "anonymous")
    assert done["collection"]["__typename"] == "TaggedCollection"
    assert real.open().registry.getCollectionDocumentation("mine") == "Good ones."
    assert len(real.open().query_datasets("calexp", collections="mine")) == 8
    # Few of many are done at once.
    little = {
        "runs": [FIRST],
        "datasetTypes": ["calexp"],
        "where": "visit = 101 AND detector < 2",
        "dataId": {"instrument": "HSC"},
    }
    assert (await do(service, UNTAG, collection="mine", select=little))["job"] is None
    begun = await do(service, UNTAG, collection="mine", select=chosen)
    assert (await ended(service, begun))["state"] == "SUCCEEDED"
    assert real.open().query_datasets("calexp", collections="mine", explain=False) == []
    assert set(await outcomes(service)) == {("tagDatasets", "mine", "DONE"), ("untagDatasets", "mine", "DONE")}


@pytest.mark.usefixtures("few", "unsettled")
@pytest.mark.parametrize("looked", [False, True])
async def test_a_job_that_cannot_change_all_changes_nothing(
    service: Service, real: RealRepository, looked: bool
) -> None:
    where = {"where": "tract = 0 AND skymap = 'rings µ'", "related": True} if looked else {}
    first, second = ({"runs": [run], "datasetTypes": ["calexp"], **where} for run in (FIRST, SECOND))
    assert (await ended(service, await do(service, TAG, collection="mine", select=first)))["state"] == "SUCCEEDED"
    before = registry_rows(real)
    done = await ended(service, await do(service, TAG, collection="mine", select=second))
    assert (done["state"], done["changed"]) == ("FAILED", None)
    assert "other datasets of the same type and data ID are tagged already" in done["error"]
    both = {**first, "runs": [FIRST, SECOND]}
    done = await ended(service, await do(service, TAG, collection="mine", select=both, onConflict="REPLACE"))
    assert "several datasets of one type and data ID" in done["error"]
    assert registry_rows(real) == before
    assert [outcome for *_, outcome in await outcomes(service)] == ["CONFLICT", "CONFLICT", "DONE"]
    done = await ended(service, await do(service, TAG, collection="mine", select=second, onConflict="REPLACE"))
    assert (done["state"], done["replaced"] > 0) == ("SUCCEEDED", True)


@ON_SQLITE
@pytest.mark.usefixtures("few")
async def test_what_makes_no_sense_begins_no_job(service: Service, real: RealRepository) -> None:
    much: dict[str, Any] = {"select": {"runs": [FIRST]}}
    assert await refused(service, real, TAG, collection="mine", create=False, **much) == "UNKNOWN_COLLECTION"
    assert await refused(service, real, UNTAG, collection="mine", **much) == "UNKNOWN_COLLECTION"
    assert await refused(service, real, TAG, collection=FIRST, **much) == "INVALID_ARGUMENT"
    assert not await service.jobs.run_next()


@ON_SQLITE
@pytest.mark.usefixtures("few")
async def test_a_job_that_is_cancelled_before_it_begins_changes_nothing(service: Service, real: RealRepository) -> None:
    before = registry_rows(real)
    begun = await do(service, TAG, collection="mine", select={"runs": [FIRST]})
    cancel = "mutation ($id: ID!) { cancelJob(input: {id: $id}) { job { state } } }"
    data_of(await service.execute(parse(cancel), variables={"id": begun["job"]["id"]}))
    assert not await service.jobs.run_next()
    assert registry_rows(real) == before
    assert await outcomes(service) == []


@ON_SQLITE
@pytest.mark.usefixtures("few")
async def test_a_service_that_may_not_write_leaves_the_job_to_one_that_may(
    service: Service, real: RealRepository
) -> None:
    begun = await do(service, TAG, collection="mine", select={"runs": [FIRST]})
    read_only = build_service(await Repository.open(real.uri), Limits())
    assert not await read_only.jobs.run_next()
    await read_only.close()
    assert (await ended(service, begun))["state"] == "SUCCEEDED"


@pytest.mark.usefixtures("few")
async def test_a_change_that_was_made_is_not_made_again(service: Service) -> None:
    """Its coordinator was killed before it could say that the chunk was done."""
    begun = await do(service, TAG, collection="mine", select={"runs": [FIRST], "datasetTypes": ["calexp"]})
    number = (await find_jobs(service.repository.state, PageRequest(1))).rows[0].id
    kind, state = Tagging(service.repository), service.repository.state
    for _ in range(2):
        job = await find_job(state, number)
        assert job is not None
        [chunk] = [chunk async for chunk in kind.plan(job, None)]
        await kind.review(job, chunk.work, None)
    assert await outcomes(service) == [("tagDatasets", "mine", "DONE")]
    assert (await ended(service, begun))["changed"] == 8


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_key_is_good_for_one_result(
    service: Service, real: RealRepository, at_once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not at_once:
        monkeypatch.setattr(tagging_jobs, "AT_ONCE", 3)
    given: dict[str, Any] = {"collection": "mine", "select": {"runs": [FIRST], "datasetTypes": ["calexp"]}}
    first = await do(service, TAG, **given, idempotencyKey="k")
    if not at_once:
        assert (await do(service, TAG, **given, idempotencyKey="k"))["job"] == first["job"]
        await ended(service, first)
        first = await do(service, TAG, **given, idempotencyKey="k")
    assert (first["changed"], first["replaced"], first["job"]) == (8, 0, None)
    assert len(first["collection"]["datasets"]["nodes"]) == 8
    untagged = await do(
        service, UNTAG, collection="mine", select={"uuids": [first["collection"]["datasets"]["nodes"][0]["uuid"]]}
    )
    assert untagged["changed"] == 1
    before = registry_rows(real)
    again = await do(service, TAG, **given, idempotencyKey="k", clientMutationId="again")
    assert (again["changed"], again["clientMutationId"], again["collection"]["datasets"]["totalCount"]) == (
        8,
        "again",
        7,
    )
    assert registry_rows(real) == before
    if at_once:
        other = await do(service, TAG, **given, idempotencyKey="another")
        assert (other["changed"], len(await outcomes(service))) == (1, 3)


@ON_SQLITE
async def test_a_key_that_came_with_what_failed_may_be_used_again(service: Service, real: RealRepository) -> None:
    given: dict[str, Any] = {"collection": "mine", "select": {"runs": [FIRST, SECOND], "datasetTypes": ["calexp"]}}
    assert await refused(service, real, TAG, **given, idempotencyKey="k") == "CONFLICT"
    given["select"]["runs"] = [FIRST]
    assert (await do(service, TAG, **given, idempotencyKey="k"))["changed"] == 8


async def test_a_key_that_is_used_twice_at_once(service: Service, real: RealRepository) -> None:
    given: dict[str, Any] = {"collection": "mine", "select": {"runs": [FIRST], "datasetTypes": ["calexp"]}}
    answers = await asyncio.gather(*(do(service, TAG, **given, idempotencyKey="k") for _ in range(6)))
    assert {answer["collection"]["name"] for answer in answers} == {"mine"}
    assert len(real.open().query_datasets("calexp", collections="mine")) == 8
    if real.dialect == "postgresql":
        assert {answer["changed"] for answer in answers} == {8}
    # On SQLite the result is written a moment after the change.
    assert (await do(service, TAG, **given, idempotencyKey="k"))["changed"] in {0, 8}
