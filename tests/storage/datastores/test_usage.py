"""Figures of a datastore are those that come of adding up what the Butler's own datastores record, one by one."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from astropy.time import Time
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.daf.butler import Butler, DataCoordinate, DatasetRef, DatasetType, FileDataset
from lsst.daf.butler.datastore.stored_file_info import StoredFileInfo
from lsst.daf.butler.datastores.fileDatastore import FileDatastore as ButlerFileDatastore
from lsst.resources import ResourcePath

from butlerql.storage.datastores.tree import ChainedDatastore, Datastore, FileDatastore, InMemoryDatastore
from butlerql.storage.datastores.usage import Usage, file_system, selected_usage, usage
from butlerql.storage.errors import UnreadableArtifactError
from butlerql.storage.registry.dataset_groups import DatasetGroup, GroupKey
from butlerql.storage.registry.selection import DatasetSelection
from butlerql.storage.snapshot import Snapshot
from tests.support.generated import Spec, specs
from tests.support.raw_sql import execute
from tests.support.repositories import Content, Layout, RealRepository, Repositories
from tests.support.rich import RICH
from tests.support.snapshots import plans_of, snapshot_of, statements_of

KEYS = st.lists(st.sampled_from(GroupKey), max_size=4, unique=True)
Figures = tuple[int, int, int, int]
"""Datasets, artifacts, bytes, unsized."""


def leaves(datastore: Any) -> Iterator[ButlerFileDatastore]:
    """List the Butler's own file datastores of one."""
    for child in getattr(datastore, "datastores", ()):
        yield from leaves(child)
    if isinstance(datastore, ButlerFileDatastore):
        yield datastore


def of_registry(butler: Butler) -> dict[Any, dict[GroupKey, Any]]:
    """Tell what the registry knows of each dataset."""
    registry: Any = butler._registry  # type: ignore[attr-defined]
    table = registry._managers.datasets._static.dataset
    with registry._db.query(sa.select(table.c.id, table.c.ingest_date)) as rows:
        days = {
            row.id: (row.ingest_date.utc.isot if isinstance(row.ingest_date, Time) else row.ingest_date.isoformat())
            for row in rows
        }
    return {
        ref.id: {
            GroupKey.DATASET_TYPE: ref.datasetType.name,
            GroupKey.RUN: ref.run,
            GroupKey.INSTRUMENT: ref.dataId.get("instrument"),
            GroupKey.INGEST_DAY: days[ref.id][:10],
        }
        for ref in butler.query_all_datasets("*", find_first=False, limit=None)
    }


def records(datastore: ButlerFileDatastore) -> Iterator[tuple[Any, str, StoredFileInfo]]:
    """List everything that a datastore has records of: dataset, URI, and what is recorded."""
    for row in datastore._table.fetch():
        info = StoredFileInfo.from_record(row)
        yield row["dataset_id"], info.file_location(datastore.locationFactory).uri.geturl(), info


def figures(rows: Sequence[tuple[Any, str, int]]) -> Figures:
    """Add up datasets, URIs and sizes (-1 or None: unsized), each file once."""
    sizes: dict[str, int] = {}
    for _, uri, size in rows:
        sizes[uri] = -1 if size is None else size
    files: dict[str, bool] = defaultdict(lambda: False)
    for uri, size in sizes.items():
        files[ResourcePath(uri).replace(fragment="").geturl()] |= size < 0
    total = sum(max(size, 0) for size in sizes.values())
    return len({row[0] for row in rows}), len(files), total, sum(files.values())


def expected(
    butler: Butler, keys: Sequence[GroupKey], *, names: set[str] | None = None, ids: set[Any] | None = None
) -> tuple[Figures, dict[tuple[Any, ...], Figures]]:
    """Add up what some datastores (by default all) record, of some datasets (by default all)."""
    known = of_registry(butler)
    nothing = dict.fromkeys(GroupKey)
    every: list[tuple[Any, str, int]] = []
    groups: dict[tuple[Any, ...], list[tuple[Any, str, int]]] = defaultdict(list)
    for datastore in leaves(butler._datastore):
        if names is not None and datastore.name not in names:
            continue
        for uuid, uri, info in records(datastore):
            if ids is not None and uuid not in ids:
                continue
            of_record = {GroupKey.STORAGE_CLASS: info.storage_class_name, GroupKey.FORMATTER: info.formatter}
            values = {**known.get(uuid, nothing), **of_record}
            every.append((uuid, uri, info.file_size))
            groups[tuple(values[key] for key in keys)].append((uuid, uri, info.file_size))
    if not keys:
        groups.setdefault((), [])
    return figures(every), {key: figures(rows) for key, rows in groups.items()}


def told(found: Usage, keys: Sequence[GroupKey]) -> tuple[Figures, dict[tuple[Any, ...], Figures]]:
    """Give what we say in the same form."""
    groups = {tuple(group.key[key] for key in keys): _figures(group) for group in found.groups}
    assert len(groups) == len(found.groups)
    return _figures(found.total), groups


def _figures(group: DatasetGroup) -> Figures:
    return group.datasets, group.artifacts, group.bytes, group.unsized


def names_of(datastore: Datastore) -> set[str]:
    """Name the file datastores of one."""
    return {leaf.name for leaf in datastore.leaves if isinstance(leaf, FileDatastore)}


async def agrees(snapshot: Snapshot, butler: Butler, keys: Sequence[GroupKey]) -> None:
    """Each datastore has what its records add up to, in one statement."""
    await usage(snapshot, snapshot.repository.datastore, [])  # What is remembered of the repository is known now.
    for datastore in snapshot.repository.datastore:
        with statements_of(snapshot) as statements:
            found = await usage(snapshot, datastore, keys)
        assert len(statements) <= 1
        assert told(found, keys) == expected(butler, keys, names=names_of(datastore))


@pytest.mark.parametrize("keys", [[], *([key] for key in GroupKey), list(GroupKey)], ids=str)
async def test_everything(rich_in_every_layout: RealRepository, keys: list[GroupKey]) -> None:
    async with snapshot_of(rich_in_every_layout) as snapshot:
        assert isinstance(snapshot.repository.datastore, ChainedDatastore)
        await agrees(snapshot, rich_in_every_layout.butler, keys)


async def test_there_is_something_to_tell(rich: RealRepository) -> None:
    """Shared files, files without a size, copies in two datastores, split datasets and members of a zip file."""
    every = [record for child in leaves(rich.butler._datastore) for record in records(child)]
    (datasets, artifacts, size, unsized), _ = expected(rich.butler, [])
    assert len(every) > datasets != artifacts
    assert len({uri for _, uri, _ in every}) < len(every)
    assert any("#" in uri for _, uri, _ in every)
    assert any(info.component for *_, info in every)
    assert min(size, unsized) > 0


@settings(max_examples=settings.default.max_examples // 5)
@given(data=st.data(), spec=specs())
async def test_generated_repositories(
    data: st.DataObject, spec: Spec, dialect: Any, repositories: Repositories
) -> None:
    repository = repositories.shared(spec.content, Layout(dialect))
    async with snapshot_of(repository) as snapshot:
        await agrees(snapshot, repository.butler, data.draw(KEYS))


@settings(max_examples=settings.default.max_examples // 5)
@given(data=st.data())
async def test_selections(data: st.DataObject, rich: RealRepository) -> None:
    butler = rich.butler
    keys = data.draw(KEYS)
    names = sorted(kind.name for kind in butler.registry.queryDatasetTypes())
    chosen = data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=4, unique=True))
    runs = data.draw(st.lists(st.sampled_from(sorted(butler.collections.query("*"))), min_size=1, max_size=3))
    listed = partial(butler.query_datasets, collections=runs, find_first=False, limit=None, explain=False)
    ids = {ref.id for name in chosen for ref in listed(name)}
    async with snapshot_of(rich) as snapshot:
        for datastore in snapshot.repository.datastore:
            selection = DatasetSelection(dataset_types=chosen, collections=runs)
            found = await selected_usage(snapshot, datastore, selection, keys)
            assert told(found, keys) == expected(butler, keys, names=names_of(datastore), ids=ids)


async def test_what_waits_in_the_trash(rich: RealRepository, fresh: Callable[[RealRepository], RealRepository]) -> None:
    """The registry knows nothing of it any more; its file is there all the same."""
    copy = fresh(rich)
    butler = copy.open(writeable=True)
    ref = next(ref for ref in butler.query_datasets("calexp", "u/alice/run1") if butler.stored(ref))
    butler._datastore.trash(ref)
    butler._registry.removeDatasets([ref])  # type: ignore[attr-defined]
    keys = [GroupKey.DATASET_TYPE, GroupKey.INSTRUMENT, GroupKey.INGEST_DAY]
    async with snapshot_of(copy) as snapshot:
        found = await usage(snapshot, snapshot.repository.datastore, keys)
        selected = await selected_usage(snapshot, snapshot.repository.datastore, DatasetSelection(), [])
    assert told(found, keys) == expected(butler, keys)
    unknown = [group.datasets for group in found.groups if set(group.key.values()) == {None}]
    assert unknown == [1]
    assert selected.total.datasets == found.total.datasets - 1


async def test_sizes_that_are_null(rich: RealRepository, fresh: Callable[[RealRepository], RealRepository]) -> None:
    copy = fresh(rich)
    execute(copy, "UPDATE file_datastore_records_0 SET file_size = NULL")
    async with snapshot_of(copy) as snapshot:
        (first, *_) = snapshot.repository.datastore.leaves
        found = (await usage(snapshot, first, [])).total
        assert _figures(found) == expected(copy.butler, [], names={first.name})[0]
        selected = (await selected_usage(snapshot, first, DatasetSelection(), [])).total
    assert found.bytes == selected.bytes == 0
    assert found.unsized == found.artifacts
    assert selected.unsized == selected.artifacts


# ------------------------------------------------- repositories made for one test


def _of(children: list[dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    classes = "lsst.daf.butler.datastores."
    files = {"cls": classes + "fileDatastore.FileDatastore"}
    memory = {"cls": classes + "inMemoryDatastore.InMemoryDatastore"}
    chain = {
        "cls": classes + "chainedDatastore.ChainedDatastore",
        "datastores": [{**files, **child} if child else memory for child in children],
    }
    return lambda: {"datastore": chain}


def _fill(butler: Butler, outside: Path) -> None:
    for name in ("one", "two"):
        kind = DatasetType(name, [], "StructuredDataDict", universe=butler.dimensions)
        butler.registry.registerDatasetType(kind)
        for run in ("a", "b"):
            butler.collections.register(run)
            butler.put({"in": name}, kind, {}, run=run)
    butler.collections.register("c")
    shared = outside / "shared.yaml"
    shared.write_text("in: both")
    empty = DataCoordinate.make_empty(butler.dimensions)
    for name in ("one", "two"):
        ref = DatasetRef(butler.get_dataset_type(name), empty, run="c")
        butler.ingest(FileDataset(path=str(shared), refs=[ref]), transfer="direct")


_ROOT = "<butlerRoot>/files"
SAME_ROOT = Content(
    "same root",
    _fill,
    _of([{"root": _ROOT, "records": {"table": name}} for name in ("first", "second")]),
)
WITH_MEMORY = Content("with memory", _fill, _of([{}, {"root": _ROOT}]))

SHARED_TABLE = Content(
    "one table for two",
    _fill,
    _of(
        [
            {"root": f"<butlerRoot>/{name}", "records": {"table": "shared"}, "constraints": {"accept": [name]}}
            for name in ("one", "two")
        ]
    ),
)


async def test_datastores_that_share_a_table(dialect: Any, repositories: Repositories) -> None:
    """Each has the datasets whose files the Butler finds below its root, or elsewhere by its location."""
    repository = repositories.shared(SHARED_TABLE, Layout(dialect))
    butler = repository.butler
    async with snapshot_of(repository) as snapshot:
        tree = snapshot.repository.datastore
        assert isinstance(tree, ChainedDatastore)
        everything = (await usage(snapshot, tree, [])).total
        for leaf, name in zip(tree.children, ("one", "two"), strict=True):
            sizes = [butler.getURI(ref).size() for ref in butler.query_datasets(name, "*", find_first=False)]
            found = await usage(snapshot, leaf, [GroupKey.DATASET_TYPE])
            assert told(found, [GroupKey.DATASET_TYPE])[1] == {(name,): _figures(found.total)}
            assert (found.total.datasets, found.total.bytes) == (len(sizes), sum(sizes)) != (0, 0)
            assert found.total == (await selected_usage(snapshot, leaf, DatasetSelection(), [])).total
    # The file that a dataset of each has is one.
    assert (everything.datasets, everything.artifacts) == (6, 5)


@pytest.mark.parametrize("content", [SAME_ROOT, WITH_MEMORY], ids=lambda content: content.name)
@pytest.mark.parametrize("keys", [[], [GroupKey.RUN], [GroupKey.FORMATTER, GroupKey.DATASET_TYPE]], ids=str)
async def test_odd_chains(content: Content, keys: list[GroupKey], dialect: Any, repositories: Repositories) -> None:
    """Where datastores have the same files, these are counted once; what is in memory is not seen."""
    repository = repositories.shared(content, Layout(dialect))
    async with snapshot_of(repository) as snapshot:
        await agrees(snapshot, repository.butler, keys)
        for leaf in snapshot.repository.datastore.leaves:
            if isinstance(leaf, InMemoryDatastore):
                found = await usage(snapshot, leaf, keys)
                assert _figures(found.total) == (0, 0, 0, 0)
                assert told(found, keys)[1] == ({} if keys else {(): (0, 0, 0, 0)})
                found = await selected_usage(snapshot, leaf, DatasetSelection(), keys)
                assert _figures(found.total) == (0, 0, 0, 0)


async def test_a_repository_that_holds_no_file(tmp_path: Path) -> None:
    Butler.makeRepo(tmp_path)
    repository = RealRepository(tmp_path, Content("none", lambda *_: None), Layout(), None, None)
    async with snapshot_of(repository) as snapshot:
        found = await usage(snapshot, snapshot.repository.datastore, [])
        assert _figures(found.total) == (0, 0, 0, 0)
        assert (await usage(snapshot, snapshot.repository.datastore, [GroupKey.RUN])).groups == []


async def test_plan(repositories: Repositories) -> None:
    """On SQLite: paths by their index alone, datasets by their keys, and records read through once."""
    repository = repositories.shared(RICH, Layout())
    async with snapshot_of(repository) as snapshot:
        (first, *_) = snapshot.repository.datastore.leaves
        await usage(snapshot, first, [])
        with plans_of(snapshot) as lines:
            await usage(snapshot, first, [GroupKey.DATASET_TYPE, GroupKey.RUN])
    table = r"file_datastore_records_0(_\d+)?"
    scans = [line for line in lines if re.match(rf"SCAN {table}\b", line)]
    assert len(scans) == 2
    assert sum("USING COVERING INDEX file_datastore_records_0_idx_path" in line for line in scans) == 1
    assert any(re.match(rf"SEARCH {table} USING INDEX file_datastore_records_0_idx_path", line) for line in lines)
    assert not any(re.match(r"SCAN dataset(_\d+)?\b", line) for line in lines)


# ------------------------------------------------- the file system


async def test_file_system(rich: RealRepository) -> None:
    async with snapshot_of(rich) as snapshot:
        leaves_of = list(snapshot.repository.datastore.leaves)
    for leaf in leaves_of:
        assert isinstance(leaf, FileDatastore)
        found = file_system(leaf)
        assert found is not None
        status = os.statvfs(leaf.root)
        assert found.total == status.f_blocks * status.f_frsize
        assert 0 < found.free < found.total


def _file_datastore(root: str) -> FileDatastore:
    return FileDatastore("name", root, root, "records", checksum=False, trust_get_request=False)


def test_no_root(tmp_path: Path) -> None:
    with pytest.raises(UnreadableArtifactError, match="ENOENT"):
        file_system(_file_datastore(f"file://{tmp_path}/gone/"))


def test_an_object_store() -> None:
    assert file_system(_file_datastore("s3://bucket/root/")) is None
