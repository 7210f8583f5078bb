"""Whether datasets exist, compared with what the real Butler says of the same repositories."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lsst.daf.butler import Butler, DatasetRef, DatasetType

from butlerql.storage.datastores import existence
from butlerql.storage.datastores.artifacts.store import Kind
from butlerql.storage.datastores.artifacts.stores import ArtifactStores
from butlerql.storage.datastores.existence import Existence, are_there, are_whole, files_of, looked_for, recorded
from butlerql.storage.datastores.records import Artifact
from butlerql.storage.datastores.tree import Datastore, FileDatastore
from butlerql.storage.errors import UnreadableArtifactError
from butlerql.storage.registry.datasets import by_uuids
from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.registry.selection import DatasetSelection
from butlerql.storage.repository import Repository
from butlerql.storage.snapshot import Snapshot
from tests.support.faulty_store import Fault, FaultyStore
from tests.support.repositories import Content, Layout, RealRepository, Repositories
from tests.support.snapshots import statements_of

ALL = PageRequest(10_000)


@asynccontextmanager
async def opened(real: RealRepository) -> AsyncIterator[Repository]:
    repository = await Repository.open(real.uri, snapshot_seconds=60)
    try:
        yield repository
    finally:
        await repository.close()


def theirs_of(butler: Butler, ours: Datastore) -> Any:
    """Give the Butler's own datastore that one of ours stands for."""
    if ours.parent is None:
        return butler._datastore
    return theirs_of(butler, ours.parent).datastores[ours.parent.children.index(ours)]


def answers(theirs: Any, ask: str, refs: Sequence[DatasetRef]) -> dict[DatasetRef, bool]:
    """Ask one of the Butler's datastores for each of some datasets; in bulk it finds one of those that share a file."""
    return {ref: getattr(theirs, ask)(ref) for ref in refs}


async def missing_of(repository: Repository, found: Existence) -> set[str]:
    """Read the UUIDs of what is missing, and see that counting gives as many."""
    async with repository.snapshot() as snapshot:
        [page] = await found.missing.pages(snapshot, ALL)
        assert await found.missing.counts(snapshot, [0]) == [len(page.rows)]
    return {dataset.uuid for dataset in page.rows}


async def assert_same(
    repository: Repository, butler: Butler, selection: DatasetSelection, refs: Sequence[DatasetRef]
) -> None:
    """See that of the datasets of a selection both say the same, of every datastore and by both ways."""
    refs = list(dict.fromkeys(refs))
    for datastore in repository.datastore:
        async with repository.snapshot() as snapshot:
            by_records = await recorded(snapshot, selection, datastore)
        by_looking = await looked_for(repository.snapshot, repository.stores, selection, datastore)
        for found, ask in ((by_records, "knows"), (by_looking, "exists")):
            known = answers(theirs_of(butler, datastore), ask, refs)
            absent = {str(ref.id) for ref in refs if not known[ref]}
            assert found.whole == (datastore, len(refs) - len(absent), len(absent), 0), (datastore.name, ask)
            assert await missing_of(repository, found) == absent
            assert [child.datastore for child in found.children] == list(getattr(datastore, "children", []))
            for child in found.children:
                known = answers(theirs_of(butler, child.datastore), ask, refs)
                there = sum(known[ref] for ref in refs)
                assert child == (child.datastore, there, len(refs) - there, 0)


async def test_everything(rich_in_every_layout: RealRepository) -> None:
    """Files that are lost in one datastore of the chain or in both, split datasets, zip files, trash."""
    butler = rich_in_every_layout.butler
    refs = butler.query_all_datasets("*", find_first=False, limit=None)
    exist = [butler._datastore.exists(ref) for ref in refs]
    knows = [butler._datastore.knows(ref) for ref in refs]
    assert len({(seen, known) for seen, known in zip(exist, knows, strict=True)}) == 3
    async with opened(rich_in_every_layout) as repository:
        await assert_same(repository, butler, DatasetSelection(), refs)


@pytest.mark.parametrize(
    ("types", "collections"),
    [
        (["both", "split"], ["u/alice/run1"]),
        (["both", "calexp"], ["u/alice/run2", "u/alice/run1"]),
        (["calexp"], ["u/alice/run1", "u/alice/run2"]),
        (["never_made"], ["u/alice/run1"]),
    ],
    ids=str,
)
@pytest.mark.parametrize("first", [False, True], ids=["all", "first"])
@pytest.mark.parametrize("few", [0, 1_000])
async def test_selections(
    rich: RealRepository,
    monkeypatch: pytest.MonkeyPatch,
    types: list[str],
    collections: list[str],
    first: bool,
    few: int,
) -> None:
    """Of those found first, one that is not stored is absent; no other takes its place. Few are missing, or many."""
    monkeypatch.setattr(existence, "_FEW", few)
    monkeypatch.setattr(existence, "_FEW_PLACES", few)
    selection = DatasetSelection(dataset_types=types, collections=collections, find_first=first)
    with rich.butler.query() as query:
        refs = [ref for name in types for ref in query.datasets(name, collections, find_first=first)]
    async with opened(rich) as repository:
        await assert_same(repository, rich.butler, selection, refs)


async def test_a_first_one_that_is_not_stored_is_missing(rich: RealRepository) -> None:
    butler = rich.butler
    calexps = butler.query_datasets("calexp", ["u/alice/run2"], find_first=False)
    gone = [ref for ref in calexps if not butler._datastore.knows(ref)]
    assert gone
    selection = DatasetSelection(
        dataset_types=["calexp"], collections=["u/alice/run2", "u/alice/run1"], find_first=True
    )
    async with opened(rich) as repository:
        async with repository.snapshot() as snapshot:
            found = await recorded(snapshot, selection, repository.datastore)
        assert {str(ref.id) for ref in gone} <= await missing_of(repository, found)


async def test_components(fresh: Any, rich: RealRepository) -> None:
    """A component is there if all of its dataset is, even if it has a file of its own."""
    real = fresh(rich)
    butler = real.butler
    splits = list(dict.fromkeys(butler.query_datasets("split", "u/alice/run1", find_first=False)))
    for child in butler._datastore.datastores:
        os.unlink(child.getURIs(splits[0]).componentURIs["output"].ospath)
    names = ["split", "split.summary", "split.counter"]
    refs = [ref if kind == "split" else ref.makeComponentRef(kind[6:]) for kind in names for ref in splits]
    exist = answers(butler._datastore, "exists", refs)
    selection = DatasetSelection(dataset_types=names, collections=["u/alice/run1"])
    async with opened(real) as repository:
        found = await looked_for(repository.snapshot, repository.stores, selection, repository.datastore)
        assert found.whole[1:] == (sum(exist.values()), 3, 0)
        async with repository.snapshot() as snapshot:
            [page] = await found.missing.pages(snapshot, ALL)
            files = await files_of(snapshot, page.rows)
        assert [dataset.dataset_type.name for dataset in page.rows] == sorted(names)
        assert {dataset.uuid for dataset in page.rows} == {str(splits[0].id)}
        assert await are_whole(repository.stores, files) == [False] * 3


async def test_single_datasets(rich: RealRepository) -> None:
    """Looked at one by one, components among them, in every datastore."""
    butler = rich.butler
    refs = butler.query_all_datasets("*", find_first=False, limit=None)
    async with opened(rich) as repository:
        for datastore in repository.datastore:
            async with repository.snapshot() as snapshot:
                datasets = [one for one in await by_uuids(snapshot, [str(ref.id) for ref in refs]) if one]
                files = await files_of(snapshot, datasets, datastore)
            known = answers(theirs_of(butler, datastore), "exists", refs)
            assert await are_whole(repository.stores, files) == [known[ref] for ref in refs]


def _fill_first(butler: Butler, outside: Path) -> None:
    for name in ("one", "two"):
        kind = DatasetType(name, [], "StructuredDataDict", universe=butler.dimensions)
        butler.registry.registerDatasetType(kind)
    for run in ("a", "b", "c"):
        butler.collections.register(run)
        for name in ("one", "two"):
            butler.put({"run": run}, name, {}, run=run)


FIRST = Content("existence", _fill_first)
"""Two dataset types without dimensions in each of three runs."""


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    unstored=st.sets(st.integers(0, 5)),
    deleted=st.sets(st.integers(0, 5)),
    runs=st.permutations(["a", "b", "c"]),
    first=st.booleans(),
)
async def test_whatever_is_gone(
    repositories: Repositories, dialect: Any, unstored: set[int], deleted: set[int], runs: list[str], first: bool
) -> None:
    """Datasets that were dropped from the datastore, and files that were deleted by hand."""
    with repositories.private(FIRST, Layout(dialect)) as real:
        butler = real.open(writeable=True)
        refs = butler.query_all_datasets("*", find_first=False)
        for index in deleted:
            os.unlink(butler.getURI(refs[index]).ospath)
        butler.pruneDatasets([refs[index] for index in unstored], disassociate=False, unstore=True)
        with butler.query() as query:
            chosen = [ref for name in ("one", "two") for ref in query.datasets(name, runs, find_first=first)]
        selection = DatasetSelection(collections=runs, find_first=first)
        async with opened(real) as repository:
            await assert_same(repository, butler, selection, chosen)


async def test_how_many_statements_it_takes(rich: RealRepository) -> None:
    """Counting by records is one, whatever there is; the others find what is selected, and what is missing of it."""
    async with opened(rich) as repository, repository.snapshot() as snapshot:
        with statements_of(snapshot) as statements:
            await recorded(snapshot, DatasetSelection(), repository.datastore)
        counting = [statement for statement in statements if "file_datastore_records" in statement]
        assert len(counting) == 1
        assert len(statements) < 20


async def test_no_snapshot_is_open_while_files_are_looked_at(
    rich: RealRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In pieces, and the same comes of it."""
    monkeypatch.setattr(existence, "_CHUNK", 7)
    async with opened(rich) as repository:
        whole = await looked_for(repository.snapshot, repository.stores, DatasetSelection(), repository.datastore)
        open_now = 0
        looks = 0

        @asynccontextmanager
        async def reading() -> AsyncIterator[Snapshot]:
            nonlocal open_now
            async with repository.snapshot() as snapshot:
                open_now += 1
                yield snapshot
                open_now -= 1

        class Stores(ArtifactStores):
            async def look(self, artifacts: Sequence[Any]) -> Any:
                nonlocal looks
                assert open_now == 0
                looks += 1
                return await super().look(artifacts)

        found = await looked_for(reading, Stores(), DatasetSelection(), repository.datastore)
        assert looks > 5
        assert found[:2] == whole[:2]
        assert await missing_of(repository, found) == await missing_of(repository, whole)


@pytest.mark.parametrize("for_ever", [False, True])
async def test_what_cannot_be_looked_at(rich: RealRepository, for_ever: bool) -> None:
    """It is neither there nor missing; in a chain another datastore may have it; and the figures add up."""
    selection = DatasetSelection(dataset_types=["both", "split", "packed"])
    async with opened(rich) as repository:
        first = next(iter(repository.datastore.leaves))
        assert isinstance(first, FileDatastore)
        true = await looked_for(repository.snapshot, repository.stores, selection, repository.datastore)
        selected = sum(true.whole[1:])
        for at in range(1, 12):
            stores = ArtifactStores()
            stores._stores[first.root_uri] = FaultyStore(
                stores.store(first.root_uri), Fault.FAIL, at, for_ever=for_ever
            )
            found = await looked_for(repository.snapshot, stores, selection, repository.datastore)
            assert [sum(tally[1:]) for tally in (found.whole, *found.children)] == [selected] * 3
            here, there = found.children
            assert there == true.children[1]
            assert here.absent <= true.children[0].absent
            assert here.unreadable >= (1 if at == 1 else 0)
            assert found.whole.present >= there.present
            assert await missing_of(repository, found) <= await missing_of(repository, true)


async def test_of_what_cannot_be_looked_at_one_is_told_why(rich: RealRepository) -> None:
    async with opened(rich) as repository:
        async with repository.snapshot() as snapshot:
            refs = rich.butler.query_datasets("packed", ["u/alice/run1"], data_id={"instrument": "HSC", "visit": 101})
            datasets = [one for one in await by_uuids(snapshot, [str(refs[0].id)]) if one]
            files = await files_of(snapshot, datasets)
        stores = ArtifactStores()
        for datastore in repository.datastore.leaves:
            root = datastore.root_uri
            stores._stores[root] = FaultyStore(stores.store(root), Fault.FAIL, 1, for_ever=True)
        [whole] = await are_whole(stores, files)
        assert isinstance(whole, UnreadableArtifactError)
        assert files[0][0].uri in str(whole) and errno.errorcode[errno.EIO] in str(whole)
        assert [type(one) for one in await are_there(stores, files[0])] == [UnreadableArtifactError] * len(files[0])


async def test_what_is_no_file_is_not_there(fresh: Any, rich: RealRepository) -> None:
    """A directory, a link that leads nowhere, a pipe where the file of a dataset should be."""
    real = fresh(rich)
    async with opened(real) as repository:
        refs = real.butler.query_datasets("raw", "HSC/raw/all", find_first=False)
        async with repository.snapshot() as snapshot:
            datasets = [one for one in await by_uuids(snapshot, [str(ref.id) for ref in refs]) if one]
            files = await files_of(snapshot, datasets)
        paths = sorted({path for some in files for one in some if (path := one.path) and path.startswith(real.uri)})
        assert len(paths) >= 2
        before = await are_whole(repository.stores, files)
        for path, make in zip(paths, (os.mkdir, os.mkfifo), strict=False):
            os.unlink(path)
            make(path)
        after = await are_whole(repository.stores, files)
        touched = [any(one.path in paths[:2] for one in some) for some in files]
        assert after == [old and not gone for old, gone in zip(before, touched, strict=True)]


async def test_a_store_that_is_far_away_is_asked_many_things_at_once(rich: RealRepository) -> None:
    """What each thread looks at takes longer than all of it may."""
    async with opened(rich) as repository:
        datastore = next(iter(repository.datastore.leaves))
        assert isinstance(datastore, FileDatastore)
        uris = [f"{datastore.root_uri}{number}" for number in range(1_000)]
        places = [Artifact(datastore, uri, uri.removeprefix("file://"), None, "", "", None, None) for uri in uris]
        stores = ArtifactStores()
        root = datastore.root_uri
        stores._stores[root] = FaultyStore(stores.store(root), Fault.DELAY, 1, for_ever=True, seconds=0.01)
        began = asyncio.get_running_loop().time()
        assert [entry.kind for entry in await stores.look(places)] == [Kind.MISSING] * 1_000
        assert asyncio.get_running_loop().time() - began < 5
        stores.close()
