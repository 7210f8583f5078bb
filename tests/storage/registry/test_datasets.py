"""Which datasets are found, and in which order, is the Butler's answer, page by page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.daf.butler import Butler, CalibrationLookupError, DatasetRef
from lsst.daf.butler.time_utils import TimeConverter

from butlerql.storage.errors import (
    AmbiguousCalibrationError,
    BadCursorError,
    InvalidArgumentError,
    InvalidDataIdError,
    UnknownCollectionError,
    UnknownDatasetTypeError,
    UnknownDatastoreError,
    UnsupportedJoinError,
)
from butlerql.storage.registry.datasets import Dataset, by_uuids, ingest_dates, run_keys
from butlerql.storage.registry.pages import Key, PageRequest
from butlerql.storage.registry.selection import DatasetSelection, DatasetSets, select
from butlerql.storage.snapshot import Snapshot
from tests.support.generated import Spec, specs
from tests.support.repositories import Layout, RealRepository, Repositories
from tests.support.snapshots import snapshot_of, statements_of

_LAYOUTS = [
    Layout("sqlite"),
    Layout("postgresql"),
    Layout("sqlite", collections="nameKey", datasets="1.0.0"),
    Layout("postgresql", collections="nameKey", datasets="1.0.0"),
]

Row = tuple[str, tuple[Any, ...], str]
"""Dataset type, required values and UUID."""


def _expected(
    butler: Butler, types: list[str], collections: list[str], data_id: dict[str, Any], *, find_first: bool
) -> list[Row]:
    """What the Butler's queries find, each dataset once, in our order."""
    found: set[Row] = set()
    for name in types:
        kind = butler.get_dataset_type(name)
        if not data_id.keys() <= set(kind.dimensions.names):
            continue
        with butler.query() as query:
            refs = query.datasets(kind, collections, find_first=find_first).where(data_id)
            found |= {_row(ref) for ref in refs}
    return sorted(found)


def _row(ref: DatasetRef) -> Row:
    return ref.datasetType.name, tuple(ref.dataId.required_values), str(ref.id)


def _rows(datasets: list[Dataset]) -> list[Row]:
    return [(dataset.dataset_type.name, dataset.data_id, dataset.uuid) for dataset in datasets]


async def _all(snapshot: Snapshot, sets: DatasetSets, size: int, *, backward: bool) -> list[Dataset]:
    """Go through all pages, from either end."""
    found: list[Dataset] = []
    key: Key | None = None
    while True:
        request = PageRequest(size, backward, before=key) if backward else PageRequest(size, after=key)
        (page,) = await sets.pages(snapshot, request)
        assert len(page.rows) <= size
        assert (page.has_next if backward else page.has_previous) == (key is not None)
        found = page.rows + found if backward else found + page.rows
        if not (page.has_previous if backward else page.has_next):
            return found
        assert len(page.rows) == size
        key = page.keys[0] if backward else page.keys[-1]


async def _holds(
    snapshot: Snapshot,
    butler: Butler,
    types: list[str],
    collections: list[str],
    data_id: dict[str, Any],
    size: int,
    *,
    find_first: bool,
    backward: bool,
) -> None:
    """Our pages are the Butler's answer, or both refuse."""
    selection = DatasetSelection(
        # As globs: types that a data ID cannot constrain are passed over.
        dataset_types=[f"[{name[0]}]{name[1:]}" for name in types],
        collections=collections,
        data_id=data_id,
        find_first=find_first,
    )
    sets = await select(snapshot, selection)
    try:
        expected = _expected(butler, types, collections, data_id, find_first=find_first)
    except CalibrationLookupError:
        with pytest.raises(AmbiguousCalibrationError):
            await _all(snapshot, sets, size, backward=backward)
        return
    assert _rows(await _all(snapshot, sets, size, backward=backward)) == expected
    assert await sets.counts(snapshot, [0]) == [len(expected)]


@pytest.fixture(scope="session", params=_LAYOUTS, ids=str)
def layout(request: pytest.FixtureRequest) -> Layout:
    """Name each database and each layout in turn."""
    chosen: Layout = request.param
    return chosen


# Each example is a repository of its own, in four layouts.
@settings(max_examples=settings.default.max_examples // 5)
@given(data=st.data(), spec=specs())
async def test_generated_repositories(
    data: st.DataObject, spec: Spec, layout: Layout, repositories: Repositories
) -> None:
    repository = repositories.shared(spec.content, layout)
    await _try_selections(data, repository, 4)


@given(data=st.data())
async def test_rich_repository(data: st.DataObject, rich: RealRepository) -> None:
    await _try_selections(data, rich, 6)


async def _try_selections(data: st.DataObject, repository: RealRepository, tries: int) -> None:
    butler = repository.butler
    collections = sorted(butler.collections.query("*"))
    types = sorted(kind.name for kind in butler.registry.queryDatasetTypes())
    if not collections or not types:
        return
    values = {
        "instrument": ["HSC", "Žofie-Cam"],
        "detector": [0, 1, 16],
        "visit": [101, 102, 103, 999],
        "band": ["r", "g"],
        "physical_filter": ["HSC-R", "HSC-G"],
        "htm7": [131072],
        "tract": [0, 1],
    }
    async with snapshot_of(repository) as snapshot:
        for _ in range(tries):
            await _holds(
                snapshot,
                butler,
                data.draw(st.lists(st.sampled_from(types), min_size=1, max_size=4, unique=True)),
                data.draw(st.lists(st.sampled_from(collections), min_size=1, max_size=3, unique=True)),
                data.draw(_data_ids(values)),
                data.draw(st.sampled_from([1, 2, 3, 7, 100])),
                find_first=data.draw(st.booleans()),
                backward=data.draw(st.booleans()),
            )


def _data_ids(values: dict[str, list[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Some values, with the governor that the Butler wants to know for them."""
    governors = {"detector": "instrument", "visit": "instrument", "physical_filter": "instrument", "tract": "skymap"}

    def complete(data_id: dict[str, Any]) -> dict[str, Any]:
        needed = {governors[name] for name in data_id if name in governors}
        defaults = {"instrument": "HSC", "skymap": "rings µ"}
        return {**{name: defaults[name] for name in sorted(needed)}, **data_id}

    names = st.lists(st.sampled_from(sorted(values)), max_size=2, unique=True)
    return names.flatmap(
        lambda some: st.fixed_dictionaries({name: st.sampled_from(values[name]) for name in some}).map(complete)
    )


async def test_by_uuid(rich_in_every_layout: RealRepository) -> None:
    butler = rich_in_every_layout.butler
    refs = [
        ref
        for kind in butler.registry.queryDatasetTypes()
        for ref in butler.registry.queryDatasets(kind, collections=...)
    ]
    uuids = [str(ref.id) for ref in refs]
    async with snapshot_of(rich_in_every_layout) as snapshot:
        with statements_of(snapshot) as statements:
            found = await by_uuids(snapshot, [*uuids, "00000000-0000-0000-0000-000000000000"])
        assert found[-1] is None
        known = [dataset for dataset in found if dataset is not None]
        assert _rows(known) == [_row(ref) for ref in refs]
        assert len(statements) <= 4 + len({dataset.dataset_type.tags_table for dataset in known})
        runs = await run_keys(snapshot, [dataset._replace(run_key=None) for dataset in known])
        assert runs == [dataset.run_key for dataset in known]
        dates = await ingest_dates(snapshot, known)
    converter = TimeConverter()
    # The Butler's general queries do not take pixels.
    for kind in {ref.datasetType for ref in refs if not ref.datasetType.dimensions.skypix}:
        with butler.query() as query:
            joined = query.join_dataset_search(kind, butler.collections.query("*"))
            fields = {kind.name: {"dataset_id", "ingest_date"}}
            rows = joined.general(kind.dimensions, dataset_fields=fields, find_first=False)
            expected = {str(row[f"{kind.name}.dataset_id"]): row[f"{kind.name}.ingest_date"] for row in rows}
        for dataset, date in zip(known, dates, strict=True):
            if dataset.uuid in expected:
                assert abs(date - converter.astropy_to_nsec(expected[dataset.uuid])) < 1000


@pytest.fixture
async def snapshot(rich: RealRepository) -> Any:
    """Read the rich repository."""
    async with snapshot_of(rich) as opened:
        yield opened


async def test_uuids_runs_and_datastores(snapshot: Snapshot, rich: RealRepository) -> None:
    async def chosen(**selection: Any) -> set[str]:
        sets = await select(snapshot, DatasetSelection(**selection))
        return {dataset.uuid for dataset in await _all(snapshot, sets, 50, backward=False)}

    every = await chosen()
    butler = rich.butler
    everywhere = {
        str(ref.id)
        for kind in butler.registry.queryDatasetTypes()
        for ref in butler.query_datasets(kind, collections="*", find_first=False, limit=None, explain=False)
    }
    assert every == everywhere
    some = sorted(every)[::3]
    assert await chosen(uuids=some) == set(some)
    assert await chosen(uuids=some, collections=["tag/best"]) == set(some) & await chosen(collections=["tag/best"])
    assert await chosen(uuids=[]) == await chosen(dataset_types=[]) == await chosen(collections=[]) == set()
    assert await chosen(runs=[]) == set()
    first = await chosen(runs=["u/alice/run1"])
    assert first == await chosen(collections=["u/alice/run1"]) != set()
    assert await chosen(runs=["u/alice/run1"], collections=["tag/best"]) == first & await chosen(
        collections=["tag/best"]
    )
    stored, missing = (
        await chosen(in_datastore=butler._datastore.name),
        await chosen(not_in_datastore=butler._datastore.name),
    )
    assert stored | missing == every
    assert not stored & missing
    refs = [ref for ref in map(butler.get_dataset, every) if ref is not None]
    existing = butler._exists_many(refs, full_check=False)
    assert stored == {str(ref.id) for ref, exists in existing.items() if exists}
    for child, name in zip(butler._datastore.datastores, butler._datastore.names, strict=True):
        assert await chosen(in_datastore=name) == {str(ref.id) for ref in refs if child.knows(ref)}


@pytest.mark.parametrize(
    ("selection", "error"),
    [
        ({"dataset_types": ["nope"]}, UnknownDatasetTypeError),
        ({"collections": ["nope"]}, UnknownCollectionError),
        ({"runs": ["tag/best"]}, UnknownCollectionError),
        ({"in_datastore": "nope"}, UnknownDatastoreError),
        ({"dataset_types": ["calexp"], "data_id": {"tract": 1}, "related": False}, InvalidDataIdError),
        ({"dataset_types": ["sky_tile_healpix"], "data_id": {"tract": 1}}, UnsupportedJoinError),
        ({"data_id": {"nope": 1}}, InvalidDataIdError),
        ({"collections": ["u/*"], "find_first": True}, InvalidArgumentError),
        ({"find_first": True}, InvalidArgumentError),
    ],
)
async def test_refusals(snapshot: Snapshot, selection: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        await select(snapshot, DatasetSelection(**selection))


@pytest.mark.parametrize(
    "key", [(), ("nope", 1), ("calexp",), ("calexp", "HSC", 0, 2**70, "x"), ("calexp", 1, 2, 3, 4)]
)
async def test_made_up_keys(snapshot: Snapshot, key: Key) -> None:
    sets = await select(snapshot, DatasetSelection(dataset_types=["calexp"]))
    with pytest.raises(BadCursorError):
        await sets.pages(snapshot, PageRequest(10, after=key))


async def test_pages_are_stable_while_others_write(
    rich: RealRepository, fresh: Callable[[RealRepository], RealRepository]
) -> None:
    repository = fresh(rich)
    selection = DatasetSelection(dataset_types=["calexp"], collections=["chain/inner"])
    async with snapshot_of(repository) as before:
        sets = await select(before, selection)
        (first,) = await sets.pages(before, PageRequest(2))
        rest = await _all(before, sets, 100, backward=False)
    with repository.open(writeable=True) as writer:
        gone = writer.get_dataset(first.rows[-1].uuid)
        writer.pruneDatasets([gone], disassociate=True, unstore=True, purge=True)
    async with snapshot_of(repository) as after:
        sets = await select(after, selection)
        (second,) = await sets.pages(after, PageRequest(100, after=first.keys[-1]))
    assert _rows(second.rows) == _rows(rest[2:])


async def test_statements_do_not_grow(snapshot: Snapshot) -> None:
    async def statements(types: list[str], collections: list[str], size: int) -> int:
        with statements_of(snapshot) as seen:
            sets = await select(snapshot, DatasetSelection(dataset_types=types, collections=collections))
            await sets.pages(snapshot, PageRequest(size))
        return len(seen)

    for types in (["*"], ["calexp"]):
        await statements(types, ["*"], 1)
    assert await statements(["calexp"], ["*"], 1000) <= await statements(["calexp"], ["*"], 1)
    tables = {part.dataset_type.tags_table for part in (await select(snapshot, DatasetSelection())).parts}
    assert await statements(["*"], ["*"], 1000) <= 4 + len(tables)
