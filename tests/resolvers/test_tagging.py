"""Tags and certifications through the graph: what is changed, what is refused, and what a Butler then sees."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from graphql import parse
from lsst.daf.butler import CollectionType

from butlerql.resolvers.context import Limits
from butlerql.resolvers.service import Service, build_service
from butlerql.storage.repository import Repository
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


@pytest.mark.parametrize("policy", ["ERROR", "REPLACE", "KEEP"])
async def test_a_selection_that_clashes_with_itself_is_refused(
    service: Service, real: RealRepository, policy: str
) -> None:
    both = {"collections": [FIRST, SECOND], "datasetTypes": ["calexp"]}
    assert await refused(service, real, TAG, collection="mine", select=both, onConflict=policy) == "CONFLICT"
    first = await do(service, TAG, collection="mine", select={**both, "findFirst": True}, onConflict=policy)
    assert first["changed"] == 13


async def test_regions_are_looked_at(service: Service, real: RealRepository) -> None:
    where = "tract = 0 AND skymap = 'rings µ'"
    chosen = {"collections": [FIRST], "datasetTypes": ["calexp"], "where": where, "related": True}
    query = "query ($s: DatasetSelection!) { datasets(select: $s) { totalCount nodes { uuid } } }"
    shown = data_of(await service.execute(parse(query), variables={"s": chosen}))["datasets"]
    assert shown["totalCount"]
    done = await do(service, TAG, collection="mine", select=chosen)
    assert done["changed"] == shown["totalCount"]
    assert {one["uuid"] for one in done["collection"]["datasets"]["nodes"]} == {one["uuid"] for one in shown["nodes"]}


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
