"""What is left alone, and why; what only warns; and what is done all the same where that was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from lsst.daf.butler import CollectionType, DatasetRef, DatasetType, FileDataset, Timespan
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.datastores.deletion.plans import DeletionScope, Outcome, PlanState, Reason
from butlerql.storage.provenance.tables import DATASET, EDGE
from butlerql.storage.provenance.traces import used_as_input
from tests.support.deleted import deleter
from tests.support.repositories import Layout, RealRepository, Repositories
from tests.support.rich import RICH

_SCOPES = list(DeletionScope)


@pytest.mark.parametrize("scope", _SCOPES)
async def test_tagged(things: RealRepository, scope: DeletionScope) -> None:
    """A tag that the selection names does not block; one that it only finds does."""
    butler = things.open(writeable=True)
    for name in ("mine", "keep"):
        butler.collections.register(name, CollectionType.TAGGED)
    refs = butler.query_datasets("thing", "a")
    butler.registry.associate("mine", refs)
    butler.registry.associate("keep", refs[:1])
    butler.collections.register("chain", CollectionType.CHAINED)
    butler.collections.redefine_chain("chain", ["mine"])
    async with deleter(things.uri) as ours:
        for collections in (["mi*"], ["chain"]):
            plan = await ours.plan(scope, collections=collections)
            assert await ours.blocked(plan) == {Reason.TAGGED: 4}
            assert plan.bytes == 0 and await ours.outcomes(plan) == {Outcome.BLOCKED: 4}
            assert {item.reason for item in await ours.items(plan)} == {
                "TAGGED blocks it, unless the plan overrides that"
            }
        plan = await ours.plan(scope, collections=["mine"])
        assert await ours.blocked(plan) == {Reason.TAGGED: 1}
        plan = await ours.delete(plan)
        assert await ours.outcomes(plan) == {Outcome.REMOVED: 3, Outcome.BLOCKED: 1}
        assert [ref for ref in refs if butler.stored(ref)] == refs[:1]
        plan = await ours.plan(scope, collections=["mine"], override=[Reason.TAGGED])
        assert await ours.outcomes(await ours.delete(plan)) == {Outcome.REMOVED: 1}
    assert not any(butler.stored(ref) for ref in refs)


@pytest.mark.parametrize("scope", _SCOPES)
async def test_certified(things: RealRepository, scope: DeletionScope) -> None:
    butler = things.open(writeable=True)
    kind = DatasetType(
        "gain", {"instrument", "detector"}, "StructuredDataDict", universe=butler.dimensions, isCalibration=True
    )
    butler.registry.registerDatasetType(kind)
    butler.collections.register("gains")
    for name in ("one", "two"):
        butler.collections.register(name, CollectionType.CALIBRATION)
    refs = [butler.put({}, kind, instrument="Cam1", detector=n, run="gains") for n in (1, 2)]
    butler.registry.certify("one", refs, Timespan(None, None))
    butler.registry.certify("two", refs[:1], Timespan(None, None))
    async with deleter(things.uri) as ours:
        assert await ours.blocked(await ours.plan(scope, runs=["gains"])) == {Reason.CALIBRATION: 2}
        plan = await ours.plan(scope, collections=["one"])
        assert await ours.blocked(plan) == {Reason.CALIBRATION: 1}
        assert await ours.outcomes(await ours.delete(plan)) == {Outcome.REMOVED: 1, Outcome.BLOCKED: 1}
    assert [ref for ref in refs if butler.stored(ref)] == refs[:1]


@pytest.mark.parametrize("scope", _SCOPES)
@pytest.mark.parametrize("run", ["d", "z"])
async def test_shared_files(things: RealRepository, scope: DeletionScope, run: str) -> None:
    """A file of several datasets, and members of a zip file: all go, or none, unless the file may stay."""
    butler = things.open(writeable=True)
    refs = butler.query_datasets("thing", run)
    one = [str(refs[0].id)]
    file = butler.getURI(refs[0]).replace(fragment="")
    async with deleter(things.uri) as ours:
        plan = await ours.plan(scope, uuids=one)
        assert await ours.blocked(plan) == {Reason.SHARED_ARTIFACT: 1}
        assert (plan.datasets, plan.artifacts, plan.bytes) == (1, 1, 0)
        await ours.delete(plan)
        assert all(butler.stored(ref) for ref in refs)
        plan = await ours.plan(scope, uuids=one, override=[Reason.SHARED_ARTIFACT])
        assert plan.bytes == 0
        plan = await ours.delete(plan, grace_seconds=3600)
        assert (await ours.restore(plan)).state is PlanState.RESTORED
        assert all(butler.get(ref) for ref in refs)
        plan = await ours.plan(scope, uuids=one, override=[Reason.SHARED_ARTIFACT])
        assert await ours.outcomes(await ours.delete(plan)) == {Outcome.RECORDS_REMOVED: 1}
        assert file.exists() and butler.get(refs[1])
        # The last that has it frees it.
        plan = await ours.plan(scope, uuids=[str(refs[1].id)])
        assert plan.bytes == file.size()
        assert await ours.outcomes(await ours.delete(plan)) == {Outcome.REMOVED: 1}
    assert not file.exists()


async def test_each_reason_is_told(things: RealRepository) -> None:
    butler = things.open(writeable=True)
    refs = butler.query_datasets("thing", "d", order_by="detector")
    butler.collections.register("keep", CollectionType.TAGGED)
    butler.registry.associate("keep", refs[:1])
    async with deleter(things.uri) as ours:
        plan = await ours.plan(uuids=[str(refs[0].id)])
        [item] = await ours.items(plan)
        blocks = "blocks it, unless the plan overrides that"
        assert item.reason == f"SHARED_ARTIFACT {blocks}; TAGGED {blocks}"
        plan = await ours.plan(uuids=[str(refs[0].id)], override=[Reason.TAGGED])
        [item] = await ours.items(plan)
        assert item.reason == f"SHARED_ARTIFACT {blocks}"


async def test_files_that_records_call_by_other_names(things: RealRepository) -> None:
    """Where there are no zip files only those files are looked for that may be shared; by their URIs, too."""
    butler = things.open(writeable=True)
    butler.pruneDatasets(butler.query_datasets("thing", "z"), disassociate=True, unstore=True, purge=True)
    mine, shared = butler.query_datasets("thing", "a", order_by="detector")[0], butler.query_datasets("thing", "d")[0]
    async with deleter(things.uri) as ours:
        assert not await ours.blocked(await ours.plan(runs=["a", "d"]))
        assert await ours.blocked(await ours.plan(uuids=[str(shared.id)])) == {Reason.SHARED_ARTIFACT: 1}
    ref = DatasetRef(mine.datasetType, mine.dataId, run="e")
    butler.collections.register("e")
    butler.ingest(FileDataset(butler.getURI(mine), [ref]), transfer="direct")
    async with deleter(things.uri) as ours:
        for run in ("a", "e"):
            plan = await ours.plan(runs=[run])
            assert await ours.blocked(plan) == {Reason.SHARED_ARTIFACT: 1}
        plan = await ours.plan(runs=["a", "e"])
        assert (plan.datasets, plan.artifacts, await ours.blocked(plan)) == (5, 4, {})
        assert await ours.outcomes(await ours.delete(plan)) == {Outcome.REMOVED: 4}


async def test_one_that_is_blocked_keeps_those_that_share_its_file(things: RealRepository) -> None:
    butler = things.open(writeable=True)
    refs = butler.query_datasets("thing", "d")
    butler.collections.register("keep", CollectionType.TAGGED)
    butler.registry.associate("keep", refs[:1])
    async with deleter(things.uri) as ours:
        plan = await ours.plan(DeletionScope.PURGE, runs=["d"])
        assert await ours.blocked(plan) == {Reason.TAGGED: 1, Reason.SHARED_ARTIFACT: 1}
        await ours.delete(plan)
        assert all(butler.get(ref) for ref in refs)
        plan = await ours.plan(DeletionScope.PURGE, runs=["d"], override=[Reason.SHARED_ARTIFACT])
        assert await ours.blocked(plan) == {Reason.TAGGED: 1}
        assert await ours.outcomes(await ours.delete(plan)) == {Outcome.RECORDS_REMOVED: 1}
    assert butler.get(refs[0]) and things.open().get_dataset(refs[1].id) is None


@pytest.fixture
def chained(repositories: Repositories, dialect: str) -> Iterator[RealRepository]:
    with repositories.private(RICH, Layout(dialect)) as copy:
        yield copy


async def test_one_child_of_a_chain(chained: RealRepository) -> None:
    """What another child has goes from this one; what only this one has is left."""
    butler = chained.open()
    children = butler._datastore.names  # type: ignore[attr-defined]
    second = next(name for name in children if name.endswith("FileDatastore_1"))
    async with deleter(chained.uri) as ours:
        only = {"collections": ["*"], "dataset_types": ["both", "second_only"], "in_datastore": second}
        plan = await ours.plan(datastore=second, **only)
        refs = butler.query_datasets("second_only", "*", find_first=False)
        blocked = await ours.blocked(plan)
        assert blocked[Reason.LAST_COPY] >= len(refs) > 0
        plan = await ours.delete(plan)
        assert all(butler.stored(ref) for ref in refs)
        done = await ours.outcomes(plan)
        assert done.get(Outcome.REMOVED, 0) > 0
        plan = await ours.plan(datastore=second, override=[Reason.LAST_COPY], **only)
        await ours.delete(plan)
        assert not any(butler.stored(ref) for ref in refs)
        assert all(butler.get_dataset(ref.id) for ref in refs)


async def test_files_outside_stay(chained: RealRepository) -> None:
    async with deleter(chained.uri) as ours:
        plan = await ours.plan(DeletionScope.PURGE, collections=["*"])
        assert (await ours.blocked(plan))[Reason.OUTSIDE_ROOT] == 2
        plan = await ours.plan(DeletionScope.PURGE, collections=["*"], override=sorted(set(Reason) - {Reason.TAGGED}))
        outside = [item for item in await ours.items(plan) if item.uri and "/FileDatastore_" not in item.uri]
        files = [Path(str(item.uri).removeprefix("file://").replace("%20", " ")) for item in outside]
        there = [file for file in files if file.exists()]
        await ours.delete(plan)
        after = {item.uri: item.outcome for item in await ours.items(plan)}
        assert {after[item.uri] for item in outside} == {Outcome.RECORDS_REMOVED}
        assert there and all(file.exists() for file in there)


async def test_warnings(things: RealRepository) -> None:
    butler = things.open(writeable=True)
    butler.collections.register("chain", CollectionType.CHAINED)
    butler.collections.redefine_chain("chain", ["a", "b"])
    async with deleter(things.uri) as ours:
        plan = await ours.plan(runs=["a", "c"])
        assert await ours.warned(plan) == {Reason.IN_CHAIN: 4}
        assert await ours.blocked(plan) == {}


async def test_used_as_input(things: RealRepository) -> None:
    """What recorded work read goes all the same; and the record of it stays."""
    butler = things.open()
    refs = butler.query_datasets("thing", "a")
    async with deleter(things.uri) as ours:

        async def record(connection: AsyncConnection) -> None:
            rows = [{"id": n, "uuid": str(ref.id), "produced": True} for n, ref in enumerate(refs[:2])]
            await connection.execute(sa.insert(DATASET), rows)
            edges = [{"quantum_id": 1, "is_output": n == 0, "dataset_id": n} for n in (0, 1)]
            await connection.execute(sa.insert(EDGE), edges)

        await ours.state.write(record)
        plan = await ours.plan(DeletionScope.PURGE, runs=["a"])
        assert await ours.warned(plan) == {Reason.USED_AS_INPUT: 1}
        assert await ours.outcomes(await ours.delete(plan)) == {Outcome.REMOVED: 4}
        assert await used_as_input(ours.state, [str(ref.id) for ref in refs]) == {str(refs[1].id)}


async def test_trusted_files(things: RealRepository) -> None:
    """A reader could see them by their names until they are gone."""

    def trust(config: dict[str, Any]) -> None:
        [child] = config["datastore"]["datastores"]
        child["trust_get_request"] = True

    things.rewrite_config(trust)
    async with deleter(things.uri) as ours:
        plan = await ours.plan(runs=["a"])
        assert await ours.warned(plan) == {Reason.TRUST_MODE: 4}
        assert await ours.outcomes(await ours.delete(plan)) == {Outcome.REMOVED: 4}
