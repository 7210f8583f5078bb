"""Artifacts are those that the real Butler finds."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from lsst.daf.butler import Butler, DatasetExistence, DatasetRef, DatasetType
from lsst.daf.butler.datastore import DatasetRefURIs
from lsst.resources import ResourcePath

from butlerql.storage.datastores.records import Artifact, artifacts, filenames, recorded_tables, stored
from butlerql.storage.datastores.tree import ChainedDatastore
from butlerql.storage.registry.dataset_types import find
from butlerql.storage.registry.datasets import Dataset
from butlerql.storage.repository import Repository
from butlerql.storage.snapshot import Snapshot
from tests.support.repositories import Content, Layout, RealRepository, Repositories
from tests.support.rich import RICH


@asynccontextmanager
async def opened(uri: str) -> AsyncIterator[Snapshot]:
    """Open a repository and a snapshot of it."""
    repository = await Repository.open(uri)
    try:
        async with repository.snapshot() as snapshot:
            yield snapshot
    finally:
        await repository.close()


async def as_datasets(snapshot: Snapshot, refs: Iterable[DatasetRef]) -> list[Dataset]:
    """Name datasets that the Butler named; what records are found by is the UUID and the type."""
    return [Dataset(str(ref.id), await find(snapshot, ref.datasetType.name), ()) for ref in refs]


def all_refs(butler: Butler) -> list[DatasetRef]:
    """List every dataset of a repository, and all their components."""
    refs = butler.query_all_datasets("*", find_first=False, limit=None)
    components = [ref.makeComponentRef(name) for ref in refs for name in ref.datasetType.storageClass.allComponents()]
    return [*refs, *components]


def children(butler: Butler) -> list[Any]:
    """List the Butler's own file datastores."""
    return list(getattr(butler._datastore, "datastores", [butler._datastore]))


def expected_artifacts(butler: Butler, ref: DatasetRef) -> set[tuple[Any, ...]]:
    """Tell what the Butler's datastores know about a dataset's files; of a component only its own, if it has one."""
    found = set()
    component = ref.datasetType.component()
    for child in children(butler):
        for info in child.getStoredItemsInfo(ref):
            uri = info.file_location(child.locationFactory).uri
            if component and info.component not in (None, component):
                whole = ref.makeCompositeRef().datasetType.storageClass
                if component not in whole.derivedComponents:
                    continue
            size = None if info.file_size == -1 else info.file_size
            found.add(
                (
                    child.name,
                    uri.geturl(),
                    uri.ospath if uri.isLocal else None,
                    info.component,
                    info.formatter,
                    info.storage_class_name,
                    size,
                    info.checksum,
                )
            )
    return found


async def test_artifacts(rich_in_every_layout: RealRepository) -> None:
    butler = rich_in_every_layout.butler
    refs = all_refs(butler)
    expected = [expected_artifacts(butler, ref) for ref in refs]
    async with opened(rich_in_every_layout.uri) as snapshot:
        found = await artifacts(snapshot, await as_datasets(snapshot, refs))
    assert [{(artifact.datastore.name, *artifact[1:]) for artifact in one} for one in found] == expected
    assert all(len(set(one)) == len(one) for one in found)
    # The chain's order, then by component.
    names = [child.name for child in children(butler)]
    orders = [[(names.index(artifact.datastore.name), artifact.component or "") for artifact in one] for one in found]
    assert orders == [sorted(order) for order in orders]


async def test_every_kind_is_there(rich: RealRepository) -> None:
    """What the other tests compare is worth comparing."""
    async with opened(rich.uri) as snapshot:
        datasets = await as_datasets(snapshot, all_refs(rich.butler))
        found = [artifact for one in await artifacts(snapshot, datasets) for artifact in one]
    assert any("#zip-path=" in artifact.uri or "#unzip=" in artifact.uri for artifact in found)
    assert any("%20" in artifact.uri and " " in (artifact.path or "") for artifact in found)
    assert any(artifact.path and "/outside" in artifact.path for artifact in found)
    assert any(artifact.size is None for artifact in found)
    assert any(artifact.checksum for artifact in found)
    assert any(artifact.component for artifact in found)
    assert all(artifact.path and Path(artifact.path).is_absolute() for artifact in found)


async def test_artifacts_of_one_datastore(rich: RealRepository) -> None:
    refs = all_refs(rich.butler)
    async with opened(rich.uri) as snapshot:
        datasets = await as_datasets(snapshot, refs)
        everywhere = await artifacts(snapshot, datasets)
        tree = snapshot.repository.datastore
        assert isinstance(tree, ChainedDatastore)
        for child in tree.children:
            here = await artifacts(snapshot, datasets, child)
            assert here == [[artifact for artifact in one if artifact.datastore is child] for one in everywhere]
        assert await artifacts(snapshot, datasets, tree) == everywhere


def single(uris: DatasetRefURIs | None, component: str | None) -> str | None:
    """Return the only file of what the Butler says of a dataset."""
    if uris is None:
        return None
    uri = uris.componentURIs.get(component) if component and uris.componentURIs else uris.primaryURI
    return None if uri is None else uri.ospath if uri.isLocal else uri.geturl()


async def test_filenames(rich_in_every_layout: RealRepository) -> None:
    butler = rich_in_every_layout.butler
    refs = all_refs(butler)
    known = butler.get_many_uris(refs, allow_missing=True)
    expected = [single(known.get(ref), ref.datasetType.component()) for ref in refs]
    async with opened(rich_in_every_layout.uri) as snapshot:
        assert await filenames(snapshot, await as_datasets(snapshot, refs)) == expected


async def test_the_file_that_get_uri_names(rich: RealRepository) -> None:
    """The Butler looks at the files; so does this test for the records."""
    refs = rich.butler.query_all_datasets("*", find_first=False, limit=None)
    async with opened(rich.uri) as snapshot:
        found = await artifacts(snapshot, await as_datasets(snapshot, refs))
    for ref, one in zip(refs, found, strict=True):
        try:
            uris = rich.butler.getURIs(ref)
        except FileNotFoundError:
            assert not any(_exists(artifact) for artifact in one)
        else:
            first = next(artifact.datastore for artifact in one if _exists(artifact))
            named = {uri.geturl() for uri in (uris.primaryURI, *uris.componentURIs.values()) if uri is not None}
            assert named == {artifact.uri for artifact in one if artifact.datastore is first}


def _exists(artifact: Artifact) -> bool:
    return ResourcePath(artifact.uri).exists()


async def test_stored(rich_in_every_layout: RealRepository) -> None:
    butler = rich_in_every_layout.butler
    refs = all_refs(butler)
    existence = butler._exists_many(refs, full_check=False)
    async with opened(rich_in_every_layout.uri) as snapshot:
        datasets = await as_datasets(snapshot, refs)
        assert await stored(snapshot, datasets) == [DatasetExistence.DATASTORE in existence[ref] for ref in refs]
        tree = snapshot.repository.datastore
        assert isinstance(tree, ChainedDatastore)
        for ours, theirs in zip(tree.children, children(butler), strict=True):
            known = theirs.knows_these(refs)
            assert await stored(snapshot, datasets, ours) == [known[ref] for ref in refs]


async def test_nothing_asked(rich: RealRepository) -> None:
    async with opened(rich.uri) as snapshot:
        assert await artifacts(snapshot, []) == []
        assert await filenames(snapshot, []) == []
        assert await stored(snapshot, []) == []


async def test_statements_do_not_depend_on_datasets(rich: RealRepository) -> None:
    async with opened(rich.uri) as snapshot:
        datasets = await as_datasets(snapshot, all_refs(rich.butler))
        statements: list[str] = []

        @sa.event.listens_for(snapshot.repository.engine.sync_engine, "before_cursor_execute")
        def remember(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if "file_datastore_records" in statement:
                statements.append(statement)

        counts = set()
        for some in (datasets[:1], datasets, datasets * 20):
            statements.clear()
            await artifacts(snapshot, some)
            counts.add(len(statements))
        assert counts == {2}


# ------------------------------------------------- repositories made for one test


def _chain() -> dict[str, Any]:
    """Configure a chain whose children share a table of records; each takes one dataset type."""
    classes = "lsst.daf.butler.datastores."
    return {
        "datastore": {
            "cls": classes + "chainedDatastore.ChainedDatastore",
            "datastores": [
                {
                    "cls": classes + "fileDatastore.FileDatastore",
                    "root": f"<butlerRoot>/{name}",
                    "records": {"table": "shared"},
                    "constraints": {"accept": [name]},
                }
                for name in ("one", "two")
            ],
        }
    }


def _fill_shared(butler: Butler, outside: Path) -> None:
    for name in ("one", "two"):
        butler.registry.registerDatasetType(DatasetType(name, [], "StructuredDataDict", universe=butler.dimensions))
        for run in ("kept", "trashed"):
            butler.collections.register(run)
            ref = butler.put({"in": name}, name, {}, run=run)
            if run == "trashed":
                for child in children(butler):
                    child.trash(ref, ignore_errors=True)


SHARED_TABLE = Content("shared table", _fill_shared, _chain)


async def test_datastores_that_share_a_table(repositories: Repositories, layout: Layout) -> None:
    """Each record counts for the datastore that the registry says has it, as the Butler's getURI finds by looking."""
    repository = repositories.shared(SHARED_TABLE, layout)
    refs = repository.butler.query_all_datasets("*", find_first=False)
    async with opened(repository.uri) as snapshot:
        datasets = await as_datasets(snapshot, refs)
        found = await artifacts(snapshot, datasets)
        assert [[artifact.uri for artifact in one] for one in found] == [
            [repository.butler.getURI(ref).geturl()] for ref in refs
        ]
        assert await filenames(snapshot, datasets) == [repository.butler.getURI(ref).ospath for ref in refs]
        tree = snapshot.repository.datastore
        assert isinstance(tree, ChainedDatastore)
        for child, name in zip(tree.children, ("one", "two"), strict=True):
            here = [ref.datasetType.name == name for ref in refs]
            assert await stored(snapshot, datasets, child) == here
            assert [bool(one) for one in await artifacts(snapshot, datasets, child)] == here


@pytest.fixture(params=["sqlite", "postgresql"])
def layout(request: pytest.FixtureRequest) -> Layout:
    """Name each database."""
    return Layout(request.param)


async def test_a_repository_that_holds_no_file(tmp_path: Path) -> None:
    """The Butler makes the tables of records when it first opens the datastores to write."""
    Butler.makeRepo(tmp_path)
    with Butler.from_config(str(tmp_path), writeable=True, without_datastore=True) as butler:
        ref = insert(butler)
    async with opened(str(tmp_path)) as snapshot:
        tree = snapshot.repository.datastore
        datasets = await as_datasets(snapshot, [ref])
        assert await recorded_tables(snapshot, tree) == []
        assert await stored(snapshot, datasets) == [False]
        assert await filenames(snapshot, datasets) == [None]
        assert await artifacts(snapshot, datasets) == [[]]
    with Butler.from_config(str(tmp_path), writeable=True):
        pass
    async with opened(str(tmp_path)) as snapshot:
        assert await recorded_tables(snapshot, snapshot.repository.datastore) == ["file_datastore_records"]
        assert await artifacts(snapshot, await as_datasets(snapshot, [ref])) == [[]]


def insert(butler: Butler) -> DatasetRef:
    """Make a dataset that has no file."""
    butler.registry.registerDatasetType(DatasetType("table", [], "ArrowAstropy", universe=butler.dimensions))
    butler.collections.register("run")
    (ref,) = butler.registry.insertDatasets("table", [{}], run="run")
    return ref


@pytest.mark.parametrize("whole", ["__NULL_STRING__", "NULL", "''"])
async def test_ways_to_write_no_component(whole: str, tmp_path: Path) -> None:
    """Older repositories have other marks of a dataset that is stored whole."""
    Butler.makeRepo(tmp_path)
    with Butler.from_config(str(tmp_path), writeable=True) as butler:
        ref = insert(butler)
    with closing(sqlite3.connect(tmp_path / "gen3.sqlite3")) as database, database:
        database.execute("DROP TABLE file_datastore_records")
        database.execute(
            "CREATE TABLE file_datastore_records (dataset_id CHAR(32), path TEXT, formatter TEXT, storage_class TEXT, "
            "component VARCHAR(32), checksum TEXT, file_size BIGINT)"
        )
        mark = whole if whole in ("NULL", "''") else f"'{whole}'"
        database.execute(
            f"INSERT INTO file_datastore_records VALUES (?, 'a/b.parq', 'f', 'ArrowAstropy', {mark}, NULL, NULL)",
            (ref.id.hex,),
        )
    async with opened(str(tmp_path)) as snapshot:
        datasets = await as_datasets(snapshot, [ref, ref.makeComponentRef("schema")])
        for (artifact,) in await artifacts(snapshot, datasets):
            assert (artifact.component, artifact.size, artifact.path) == (None, None, f"{tmp_path}/a/b.parq")
        assert await filenames(snapshot, datasets) == [f"{tmp_path}/a/b.parq"] * 2


@pytest.mark.parametrize("kind", ["one table each", "one table for both"])
async def test_records_are_found_by_their_key(kind: str, repositories: Repositories) -> None:
    """Without statistics, as a fresh repository is, and however many records there are."""
    if kind == "one table each":
        repository = repositories.shared(RICH, Layout())
    else:
        repository = repositories.shared(SHARED_TABLE, Layout())
    refs = repository.butler.query_all_datasets("*", find_first=False, limit=None)
    async with opened(repository.uri) as snapshot:
        datasets = await as_datasets(snapshot, refs)
        statements: list[tuple[str, Any]] = []

        @sa.event.listens_for(snapshot.repository.engine.sync_engine, "before_cursor_execute")
        def remember(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
            if "json_each" in statement:
                statements.append((statement, parameters))

        await artifacts(snapshot, datasets)
    with closing(sqlite3.connect(repository.sqlite_file)) as database:
        for statement, parameters in statements:
            plan = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]
            scanned = {step.split()[1] for step in plan if step.startswith("SCAN")}
            # What was asked for is all that is gone through.
            assert scanned <= {"anon_1", "json_each", "wanted_1"}, plan
