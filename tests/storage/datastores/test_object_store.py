"""A repository whose datastore is in an object store, made by the real Butler."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from lsst.daf.butler import Butler, Config, DatasetRef, DatasetType, FileDataset
from lsst.resources.s3utils import clean_test_environment_for_s3

from butlerql.storage.datastores.artifacts.objects import ObjectStore
from butlerql.storage.datastores.artifacts.store import Ended, Kind, Removal
from butlerql.storage.datastores.deletion.plans import DeletionScope, Outcome, PlanState
from butlerql.storage.datastores.existence import are_there, looked_for
from butlerql.storage.datastores.records import artifacts
from butlerql.storage.datastores.validation.findings import FindingKind
from butlerql.storage.errors import UnavailableDatastoreError
from butlerql.storage.registry.datasets import by_uuids
from butlerql.storage.registry.selection import DatasetSelection
from butlerql.storage.repository import Repository
from tests.support.deleted import deleter
from tests.support.object_store import ObjectServer, run_object_server
from tests.support.validated import validated

RUNS = ("one", "two", "100% #é +&?")
BUCKET = "butler"


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectServer]:
    with run_object_server() as running, clean_test_environment_for_s3(), pytest.MonkeyPatch.context() as patch:
        for name, value in running.environ.items():
            patch.setenv(name, value)
        yield running


@pytest.fixture(scope="module")
def repository(server: ObjectServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Butler]]:
    """Make a chain of a bucket and a directory, with a dataset that lost its object in a run of an odd name."""
    root = tmp_path_factory.mktemp("in_bucket")
    server.fill(BUCKET, {})
    classes = "lsst.daf.butler.datastores."
    children = [
        {"cls": classes + "fileDatastore.FileDatastore", "root": place, "records": {"table": f"records_{index}"}}
        for index, place in enumerate((f"s3://{BUCKET}/a root/", "<butlerRoot>/files"))
    ]
    config = Config({"datastore": {"cls": classes + "chainedDatastore.ChainedDatastore", "datastores": children}})
    # Otherwise it would put the datastores below the repository.
    Butler.makeRepo(root, config=config, forceConfigRoot=False)
    with Butler.from_config(str(root), writeable=True) as butler:
        kind = DatasetType("table", [], "StructuredDataDict", universe=butler.dimensions)
        butler.registry.registerDatasetType(kind)
        for run in RUNS:
            butler.collections.register(run)
            ref = butler.put({"in": run}, "table", {}, run=run)
            bucket, files = butler._datastore.datastores
            if run == "two":
                bucket.getURI(ref).remove()
            elif run == "one":
                Path(files.getURI(ref).ospath).unlink()
    # The one that wrote has copies in its cache, and takes them for what is there.
    with Butler.from_config(str(root)) as butler:
        yield str(root), butler


async def test_existence(repository: tuple[str, Butler]) -> None:
    uri, butler = repository
    refs = butler.query_datasets("table", "*", find_first=False)
    ours = await Repository.open(uri)
    try:
        for datastore, theirs in zip(ours.datastore, (butler._datastore, *butler._datastore.datastores), strict=True):
            there = sum(theirs.exists(ref) for ref in refs)
            found = await looked_for(ours.snapshot, ours.stores, DatasetSelection(), datastore)
            assert found.whole[1:] == (there, len(refs) - there, 0)
            assert there == (3 if datastore is ours.datastore else 2)
    finally:
        await ours.close()


async def test_every_object_is_found_by_listing(repository: tuple[str, Butler]) -> None:
    """What records say, put into words of the store, is what the store lists."""
    uri, butler = repository
    ours = await Repository.open(uri)
    try:
        refs = butler.query_datasets("table", "*", find_first=False)
        async with ours.snapshot() as snapshot:
            datasets = [one for one in await by_uuids(snapshot, [str(ref.id) for ref in refs]) if one]
            files = [one for some in await artifacts(snapshot, datasets) for one in some]
        assert [leaf.root_uri.partition(":")[0] for leaf in ours.datastore.leaves] == ["s3", "file"]
        for datastore in ours.datastore.leaves:
            own = [one for one in files if one.datastore is datastore]
            exist = await are_there(ours.stores, own)
            seen = await ours.stores.look(own)
            listed = list(ours.stores.store(datastore.root_uri).list())
            assert {one.path: one for one in seen if one.kind is Kind.FILE} == {one.path: one for one in listed}
            assert len(listed) == exist.count(True) == 2
    finally:
        await ours.close()


async def test_validation(server: ObjectServer, tmp_path: Path) -> None:
    server.fill("validated", {"beside": b"not in the datastore"})
    store = {"cls": "lsst.daf.butler.datastores.fileDatastore.FileDatastore", "root": "s3://validated/a root/"}
    Butler.makeRepo(tmp_path, config=Config({"datastore": store}), forceConfigRoot=False)
    keys = {}
    with Butler.from_config(str(tmp_path), writeable=True) as butler:
        kind = DatasetType("table", [], "StructuredDataDict", universe=butler.dimensions)
        butler.registry.registerDatasetType(kind)
        for run in (*RUNS, "kept"):
            butler.collections.register(run)
            ref = butler.put({"in": run}, "table", {}, run=run)
            keys[run] = butler.getURI(ref).relativeToPathRoot
    ours = await Repository.open(str(tmp_path))
    try:
        found = await validated(ours)
        assert (found.verdict, found.coverage["contents"], found.coverage["CHECKSUM_NOT_RECORDED"]) == ("VALID", 4, 4)
        missing, short, changed, _ = keys.values()
        server.client.delete_object(Bucket="validated", Key=missing)
        server.client.put_object(Bucket="validated", Key=short, Body=b"in")
        content = server.client.get_object(Bucket="validated", Key=changed)["Body"].read()
        server.client.put_object(Bucket="validated", Key=changed, Body=content[::-1])
        server.client.put_object(Bucket="validated", Key="a root/100% extra", Body=b"x")
        found = await validated(ours)
    finally:
        await ours.close()
    assert found.kinds == {
        (FindingKind.MISSING, Path(missing).name),
        (FindingKind.SIZE_MISMATCH, Path(short).name),
        (FindingKind.CHECKSUM_MISMATCH, Path(changed).name),
        (FindingKind.UNTRACKED, "100% extra"),
    }
    assert found.coverage["artifacts"] == 4


async def test_without_the_library(repository: tuple[str, Butler], monkeypatch: pytest.MonkeyPatch) -> None:
    """One is told what to install; what the records say, and what is in files, is told all the same."""
    uri, _ = repository
    monkeypatch.setitem(sys.modules, "obstore", None)
    ours = await Repository.open(uri)
    try:
        chain, bucket, files = ours.datastore
        for datastore in (chain, bucket):
            with pytest.raises(UnavailableDatastoreError, match=r"butlerql\[s3\]"):
                await looked_for(ours.snapshot, ours.stores, DatasetSelection(), datastore)
        found = await looked_for(ours.snapshot, ours.stores, DatasetSelection(), files)
        assert found.whole[1:] == (2, 1, 0)
    finally:
        await ours.close()


@contextmanager
def filled(server: ObjectServer, bucket: str, directory: Path) -> Iterator[tuple[str, Butler]]:
    """Make a repository with an object a run, below a prefix of a bucket."""
    server.fill(bucket, {"beside": b"not in the datastore"})
    root = directory / "repository"
    Butler.makeRepo(root, config=Config({"datastore": {"root": f"s3://{bucket}/root/"}}), forceConfigRoot=False)
    with Butler.from_config(str(root), writeable=True) as butler:
        kind = DatasetType("table", [], "StructuredDataDict", universe=butler.dimensions)
        butler.registry.registerDatasetType(kind)
        for run in RUNS:
            butler.collections.register(run)
            butler.put({"in": run}, "table", {}, run=run)
        yield str(root), butler


async def test_deletion(server: ObjectServer, tmp_path: Path) -> None:
    """Objects go if they are still the ones that were planned; the others stay, and so does what is not looked at."""
    with filled(server, "deleted", tmp_path) as (root, butler):
        async with deleter(root) as ours:
            plan = await ours.plan(DeletionScope.PURGE, runs=["one", RUNS[2]])
            assert plan.state is PlanState.PLANNED, (await ours.job(plan)).error
            plan = await ours.delete(plan, grace_seconds=3600)
            plan = await ours.restore(plan)
            assert await ours.outcomes(plan) == {Outcome.RESTORED: 2}
            assert butler.get("table", {}, collections="one") == {"in": "one"}
            plan = await ours.delete(await ours.plan(DeletionScope.PURGE, runs=["one", RUNS[2]]), grace_seconds=3600)
            butler.put({"new": 1}, "table", {}, run="one")
            plan = await ours.go_on(plan)
            assert await ours.outcomes(plan) == {Outcome.REMOVED: 1, Outcome.CHANGED_LATER: 1}
            assert butler.get("table", {}, collections="one") == {"new": 1}
            assert (await validated(ours.repository)).findings == []


async def test_an_object_that_others_have_at_the_last_moment(
    server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked again whose they are before each part of them goes."""
    with filled(server, "taken", tmp_path) as (root, butler):
        refs = {butler.getURI(ref): ref for run in ("one", "two") for ref in butler.query_datasets("table", run)}
        butler.collections.register("others")
        remove, removed = ObjectStore.remove, []

        def late(self: ObjectStore, removal: Removal) -> Ended:
            removed.append(removal)
            if len(removed) == 1:
                [(uri, ref)] = [(uri, ref) for uri, ref in refs.items() if not uri.geturl().endswith(removal.path)]
                files = FileDataset(uri, [DatasetRef(ref.datasetType, ref.dataId, run="others")])
                butler.ingest(files, transfer=None)
            return remove(self, removal)

        async with deleter(root) as ours:
            plan = await ours.plan(DeletionScope.PURGE, runs=["one", "two"])
            monkeypatch.setattr(ObjectStore, "at_once", 1)
            monkeypatch.setattr(ObjectStore, "remove", late)
            plan = await ours.delete(plan)
            assert await ours.outcomes(plan) == {Outcome.REMOVED: 1, Outcome.CHANGED_LATER: 1}
            assert (await validated(ours.repository)).findings == []
        assert butler.get("table", {}, collections="others")


async def test_a_bucket_that_is_empty(server: ObjectServer, tmp_path: Path) -> None:
    """It may be another of the same name: nothing is planned, and no object taken for gone."""
    with filled(server, "emptied", tmp_path) as (root, butler):
        async with deleter(root) as ours:
            planned = await ours.plan(DeletionScope.PURGE, runs=["one"])
            waiting = await ours.delete(await ours.plan(DeletionScope.PURGE, runs=["two"]), grace_seconds=3600)
            saved = {}
            for one in server.client.list_objects_v2(Bucket="emptied", Prefix="root/")["Contents"]:
                saved[one["Key"]] = server.client.get_object(Bucket="emptied", Key=one["Key"])["Body"].read()
                server.client.delete_object(Bucket="emptied", Key=one["Key"])
            for plan in (
                await ours.plan(DeletionScope.PURGE, runs=["one"]),
                await ours.delete(planned),
                await ours.go_on(waiting),
            ):
                assert plan.state is PlanState.FAILED
                assert "it is empty" in str((await ours.job(plan)).error)
            assert butler.query_datasets("table", "one")
            for key, content in saved.items():
                server.client.put_object(Bucket="emptied", Key=key, Body=content)
            plan = await ours.delete(waiting)
            assert Outcome.ALREADY_GONE not in await ours.outcomes(plan)
