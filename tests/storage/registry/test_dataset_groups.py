"""Figures of datasets are those that come of counting what the Butler lists, one by one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any
from zipfile import ZipFile

import pytest
import sqlalchemy as sa
from astropy.time import Time
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.daf.butler import Butler, CalibrationLookupError, DatasetRef, DatasetType
from lsst.resources import ResourcePath

from butlerql.storage.errors import AmbiguousCalibrationError
from butlerql.storage.registry.collections import Collection, find
from butlerql.storage.registry.dataset_groups import DatasetGroup, GroupKey
from butlerql.storage.registry.dataset_types import find as dataset_type
from butlerql.storage.registry.ranges import Wanted
from butlerql.storage.registry.selection import (
    DatasetSelection,
    DatasetSets,
    datasets_of_collections,
    datasets_of_types,
    select,
)
from butlerql.storage.registry.where import Where
from butlerql.storage.snapshot import Snapshot
from butlerql.time_scales import tai_ns_to_utc_datetime, utc_iso_to_tai_ns
from tests.support.generated import Spec, specs
from tests.support.raw_sql import execute
from tests.support.repositories import Content, Layout, RealRepository, Repositories
from tests.support.snapshots import snapshot_of, statements_of

Key = tuple[Any, ...]
KEYS = st.lists(st.sampled_from(GroupKey), max_size=6)

# ------------------------------------------------- what the Butler lists, counted


def listed(
    butler: Butler, names: Iterable[str], collections: Sequence[str], data_id: Mapping[str, Any], *, find_first: bool
) -> set[DatasetRef]:
    """List what a selection is, components as such.

    Raises
    ------
    CalibrationLookupError
        Raised if several are found first, which the Butler itself notices if it happens to see one after the other.
    """
    found: set[DatasetRef] = set()
    for name in names:
        whole, component = DatasetType.splitDatasetTypeName(name)
        kind = butler.get_dataset_type(whole)
        with butler.query() as query:
            refs = set(query.datasets(kind, collections, find_first=find_first).where(data_id))
        if find_first and len({ref.dataId for ref in refs}) < len(refs):
            raise CalibrationLookupError(name)
        found |= refs if component is None else {ref.makeComponentRef(component) for ref in refs}
    return found


def dimensions_of(butler: Butler, name: str) -> set[str]:
    """Tell what the data IDs of a dataset type, or of a component, may hold."""
    return set(butler.get_dataset_type(name).dimensions.names)


@lru_cache(maxsize=10_000)
def files_of(butler: Butler, ref: DatasetRef) -> list[tuple[str, str, int, str, str]]:
    """List a dataset's files: URI, URI with the member of a zip file, size, storage class, formatter."""
    found = []
    component = ref.datasetType.component()
    for child in getattr(butler._datastore, "datastores", [butler._datastore]):
        for info in child.getStoredItemsInfo(ref):
            if component and info.component not in (None, component):
                whole = ref.makeCompositeRef().datasetType.storageClass
                if component not in whole.derivedComponents:
                    continue
            uri = info.file_location(child.locationFactory).uri
            size = max(info.file_size, 0)
            found.append(
                (uri.replace(fragment="").geturl(), uri.geturl(), size, info.storage_class_name, info.formatter)
            )
    return found


@lru_cache(maxsize=8)
def days_of(butler: Butler) -> dict[Any, str]:
    """Tell on which day each dataset was put, as astropy counts days."""
    registry: Any = butler._registry  # type: ignore[attr-defined]
    table = registry._managers.datasets._static.dataset
    with registry._db.query(sa.select(table.c.id, table.c.ingest_date)) as rows:
        return {
            row.id: (row.ingest_date.utc.isot if isinstance(row.ingest_date, Time) else row.ingest_date.isoformat())[
                :10
            ]
            for row in rows
        }


def counted(butler: Butler, refs: Iterable[DatasetRef], keys: Sequence[GroupKey]) -> dict[Key, tuple[int, int, int]]:
    """Count datasets, artifacts and bytes, by the values of keys."""
    days = days_of(butler)
    datasets: dict[Key, set[DatasetRef]] = defaultdict(set)
    files: dict[Key, set[str]] = defaultdict(set)
    sizes: dict[Key, dict[str, int]] = defaultdict(dict)
    for ref in refs:
        known: dict[GroupKey, str | None] = {
            GroupKey.DATASET_TYPE: ref.datasetType.name,
            GroupKey.RUN: ref.run,
            GroupKey.INSTRUMENT: ref.dataId.get("instrument"),  # type: ignore[dict-item]
            GroupKey.INGEST_DAY: days[ref.id],
            GroupKey.STORAGE_CLASS: None,
            GroupKey.FORMATTER: None,
        }
        own = files_of(butler, ref)
        for file, member, size, storage_class, formatter in own:
            of_file = {**known, GroupKey.STORAGE_CLASS: storage_class, GroupKey.FORMATTER: formatter}
            key = tuple(of_file[name] for name in keys)
            datasets[key].add(ref)
            files[key].add(file)
            sizes[key][member] = size
        if not own:
            datasets[tuple(known[name] for name in keys)].add(ref)
    return {key: (len(found), len(files[key]), sum(sizes[key].values())) for key, found in datasets.items()}


def told(groups: Sequence[DatasetGroup], keys: Sequence[GroupKey]) -> dict[Key, tuple[int, int, int]]:
    """Give what we say in the same form."""
    assert all(list(group.key) == list(dict.fromkeys(keys)) for group in groups)
    found = {tuple(group.key[key] for key in keys): (group.datasets, group.artifacts, group.bytes) for group in groups}
    assert len(found) == len(groups)
    return found


async def agrees(
    snapshot: Snapshot, butler: Butler, sets: DatasetSets, refs: Sequence[set[DatasetRef]], keys: Sequence[GroupKey]
) -> None:
    """Our figures of each parent are those that come of counting, all in one statement for the figures."""
    parents = list(range(len(refs)))
    await sets.groups(snapshot, parents, keys)  # What is remembered of the repository is known now.
    with statements_of(snapshot) as statements:
        found = await sets.groups(snapshot, parents, keys)
    assert len(statements) <= 1
    for groups, own in zip(found, refs, strict=True):
        expected = counted(butler, own, keys)
        if not keys:
            expected = expected or {(): (0, 0, 0)}
        assert told(groups, keys) == expected


# ------------------------------------------------- generated selections

_DATA_IDS: list[dict[str, Any]] = [
    {},
    {"instrument": "HSC"},
    {"instrument": "HSC", "visit": 101},
    {"instrument": "HSC", "exposure": 102},
    {"instrument": "HSC", "detector": 0},
    {"instrument": "HSC", "visit": 999},
    {"band": "r"},
]


async def try_selections(data: st.DataObject, repository: RealRepository, tries: int) -> None:
    butler = repository.butler
    collections = sorted(butler.collections.query("*"))
    kinds = sorted(butler.registry.queryDatasetTypes(), key=lambda kind: kind.name)
    names = [kind.name for kind in kinds]
    names += [kind.componentTypeName(part) for kind in kinds for part in kind.storageClass.allComponents()]
    if not collections or not names:
        return
    async with snapshot_of(repository) as snapshot:
        for _ in range(tries):
            chosen = data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=6, unique=True))
            path = data.draw(st.lists(st.sampled_from(collections), min_size=1, max_size=3, unique=True))
            data_id, find_first = data.draw(st.sampled_from(_DATA_IDS)), data.draw(st.booleans())
            keys = data.draw(KEYS)
            chosen = [name for name in chosen if data_id.keys() <= dimensions_of(butler, name)]
            selection = DatasetSelection(dataset_types=chosen, collections=path, data_id=data_id, find_first=find_first)
            sets = await select(snapshot, selection)
            try:
                refs = listed(butler, chosen, path, data_id, find_first=find_first)
            except CalibrationLookupError:
                with pytest.raises(AmbiguousCalibrationError):
                    await sets.groups(snapshot, [0], keys)
                continue
            await agrees(snapshot, butler, sets, [refs], keys)


@given(data=st.data())
async def test_rich(data: st.DataObject, rich: RealRepository) -> None:
    await try_selections(data, rich, 4)


@settings(max_examples=settings.default.max_examples // 5)
@given(data=st.data())
async def test_every_layout(data: st.DataObject, rich_in_every_layout: RealRepository) -> None:
    await try_selections(data, rich_in_every_layout, 4)


@settings(max_examples=settings.default.max_examples // 5)
@given(data=st.data())
async def test_demonstration(data: st.DataObject, demonstration: RealRepository) -> None:
    await try_selections(data, demonstration, 4)


@settings(max_examples=settings.default.max_examples // 5)
@given(data=st.data(), spec=specs())
async def test_generated_repositories(
    data: st.DataObject, spec: Spec, dialect: Any, repositories: Repositories
) -> None:
    await try_selections(data, repositories.shared(spec.content, Layout(dialect)), 3)


@lru_cache(maxsize=8)
def associated_in(butler: Butler) -> set[DatasetRef]:
    """List what is in any collection."""
    collections = butler.collections.query("*")
    return {
        association.ref
        for kind in butler.registry.queryDatasetTypes()
        for association in butler.registry.queryDatasetAssociations(kind.name, collections, flattenChains=True)
    }


@pytest.mark.parametrize("keys", [[], *([key] for key in GroupKey), list(GroupKey), list(reversed(GroupKey))], ids=str)
async def test_everything(rich_in_every_layout: RealRepository, keys: list[GroupKey]) -> None:
    butler = rich_in_every_layout.butler
    associated = associated_in(butler)
    async with snapshot_of(rich_in_every_layout) as snapshot:
        sets = await select(snapshot, DatasetSelection(collections=["*"]))
        await agrees(snapshot, butler, sets, [associated], keys)
        assert sum(group.datasets for group in (await sets.groups(snapshot, [0], [GroupKey.RUN]))[0]) == len(associated)


# ------------------------------------------------- what is counted


async def groups_of(
    repository: RealRepository, keys: Sequence[GroupKey] = (), **selection: Any
) -> list[tuple[Key, int, int, int]]:
    """Ask for the groups of a selection: values of the keys, datasets, artifacts, bytes."""
    async with snapshot_of(repository) as snapshot:
        sets = await select(snapshot, DatasetSelection(**selection))
        (groups,) = await sets.groups(snapshot, [0], keys)
    return [(tuple(group.key.values()), group.datasets, group.artifacts, group.bytes) for group in groups]


def size_of(repository: RealRepository, *refs: DatasetRef) -> int:
    """Add up what is on disk, each file once."""
    uris = {file for ref in refs for file, *_ in files_of(repository.butler, ref)}
    return sum(ResourcePath(uri).size() for uri in uris)


async def test_a_shared_file_counts_once(rich: RealRepository) -> None:
    where = {"instrument": "HSC", "exposure": 102}
    shared = rich.butler.query_datasets("raw", "HSC/raw/all", data_id=where)
    assert await groups_of(rich, dataset_types=["raw"], collections=["HSC/raw/all"], data_id=where) == [
        ((), 3, 1, size_of(rich, *shared))
    ]


async def test_the_file_of_a_whole_counts_once_for_components(rich: RealRepository) -> None:
    names = ["packed", "packed.data", "packed.counter"]
    packed = rich.butler.query_datasets("packed", "u/alice/run1")
    assert await groups_of(rich, dataset_types=names, collections=["u/alice/run1"]) == [
        ((), 6, 4, size_of(rich, *packed))
    ]


async def test_unsized_counts_as_nothing(rich: RealRepository) -> None:
    where = {"instrument": "HSC", "exposure": 101, "detector": 1}
    assert await groups_of(rich, dataset_types=["raw"], data_id=where) == [((), 1, 1, 0)]


async def test_sizes_that_are_null(rich: RealRepository, fresh: Callable[[RealRepository], RealRepository]) -> None:
    copy = fresh(rich)
    execute(copy, "UPDATE file_datastore_records_0 SET file_size = NULL")
    assert await groups_of(copy, dataset_types=["config"]) == [((), 2, 2, 0)]


async def test_members_of_a_zip_file(rich: RealRepository) -> None:
    """A record has the size of the member, so what is counted is a little less than the file."""
    ((_, datasets, artifacts, size),) = await groups_of(rich, collections=["zip"])
    refs = rich.butler.query_all_datasets("zip")
    assert (datasets, artifacts) == (len(refs), 1) == (3, 1)
    members = {member: length for ref in refs for _, member, length, *_ in files_of(rich.butler, ref)}
    (file,) = {file for ref in refs for file, *_ in files_of(rich.butler, ref)}
    with ZipFile(ResourcePath(file).ospath) as packed:
        sizes = {info.filename: info.file_size for info in packed.infolist()}
    assert size == sum(members.values()) == sum(sizes[member.partition("#zip-path=")[2]] for member in members)
    assert size < size_of(rich, *refs)
    by_type = await groups_of(rich, [GroupKey.DATASET_TYPE], collections=["zip"])
    assert [(key, datasets, artifacts) for key, datasets, artifacts, _ in by_type] == [
        (("raw",), 2, 1),
        (("split",), 1, 1),
    ]
    assert sum(part for *_, part in by_type) == size


async def test_nothing(rich: RealRepository) -> None:
    for selection in ({"dataset_types": []}, {"collections": ["u/bob/never"]}, {"uuids": []}):
        assert await groups_of(rich, **selection) == [((), 0, 0, 0)]
        assert await groups_of(rich, [GroupKey.RUN], **selection) == []


async def test_repeated_keys(rich: RealRepository) -> None:
    once = await groups_of(rich, [GroupKey.RUN, GroupKey.DATASET_TYPE])
    assert await groups_of(rich, [GroupKey.RUN, GroupKey.DATASET_TYPE, GroupKey.RUN]) == once


@pytest.mark.parametrize(
    "keys",
    [[GroupKey.RUN, GroupKey.STORAGE_CLASS], [GroupKey.INSTRUMENT, GroupKey.DATASET_TYPE, GroupKey.FORMATTER]],
    ids=str,
)
async def test_order(rich: RealRepository, keys: list[GroupKey]) -> None:
    """By values in the order of the keys, null last; the databases of the tests order by code points."""
    found = [key for key, *_ in await groups_of(rich, keys, collections=["*"])]
    assert found == sorted(found, key=lambda values: [(value is None, value or "") for value in values])
    assert any(None in key for key in found)


async def test_filters_hold(rich: RealRepository) -> None:
    butler = rich.butler
    every = butler.query_datasets("calexp", butler.collections.query("u/*"), find_first=False)
    chosen = [ref for ref in every if ref.run == "u/alice/run2" and files_of(butler, ref)]
    async with snapshot_of(rich) as snapshot:
        first = snapshot.repository.datastore.find("FileDatastore@<butlerRoot>/FileDatastore_0").name
        sets = await select(
            snapshot, DatasetSelection(dataset_types=["calexp"], runs=["u/alice/run2"], in_datastore=first)
        )
        await agrees(snapshot, butler, sets, [set(chosen)], [GroupKey.RUN, GroupKey.FORMATTER])
        sets = await select(snapshot, DatasetSelection(uuids=[str(ref.id) for ref in every[:3]]))
        await agrees(snapshot, butler, sets, [set(every[:3])], [GroupKey.DATASET_TYPE])


async def test_several_parents(rich: RealRepository) -> None:
    """Each has its own, those that were not asked for are left out, and the statements stay as few."""
    butler = rich.butler
    names = ["u/alice/run1", "chain/inner", "tag/best", "u/bob/never", "HSC/calib"]
    kinds = ["bias", "calexp", "config", "split"]
    async with snapshot_of(rich) as snapshot:
        infos = [await _collection(snapshot, name) for name in names]
        for find_first in (False, True):
            sets = await datasets_of_collections(snapshot, infos[:4], kinds, None, Where(), find_first=find_first)
            refs = [listed(butler, kinds, [name], {}, find_first=find_first) for name in names[:4]]
            await agrees(snapshot, butler, sets, refs, [GroupKey.DATASET_TYPE, GroupKey.STORAGE_CLASS])
            groups = await sets.groups(snapshot, [2, 0, 2], [])
            whole = await sets.groups(snapshot, [0, 1, 2], [])
            assert groups == [whole[2], whole[0], whole[2]]
        everywhere = await datasets_of_collections(snapshot, infos, kinds, None, Where(), find_first=True)
        with pytest.raises(AmbiguousCalibrationError):
            await everywhere.groups(snapshot, [4], [])
        asked = [await dataset_type(snapshot, name) for name in kinds]
        of_types = await datasets_of_types(snapshot, asked, ["chain/inner"], None, Where(), Wanted.FIRST)
        refs = [listed(butler, [name], ["chain/inner"], {}, find_first=True) for name in kinds]
        await agrees(snapshot, butler, of_types, refs, [GroupKey.RUN])


async def _collection(snapshot: Snapshot, name: str) -> Collection:
    (found,) = await find(snapshot, [name])
    return found


# ------------------------------------------------- days

_MIDNIGHTS = [
    "1972-06-30",
    "1972-07-01",
    "1999-01-01",
    "2016-12-31",
    "2017-01-01",
    "2017-01-02",
    "2026-11-23",
]
_SECOND = 1_000_000_000
_INSTANTS = [
    utc_iso_to_tai_ns(f"{day}T00:00:00Z") + shift
    for day in _MIDNIGHTS
    for shift in (-2 * _SECOND, -_SECOND, -1_000, 0, 1_000, 43_200 * _SECOND)
]


@pytest.mark.parametrize(
    "layout", [Layout(d, datasets=v) for d in ("sqlite", "postgresql") for v in ("1.0.0", "2.0.0")], ids=str
)
async def test_days(layout: Layout, repositories: Repositories) -> None:
    """Around midnights with and without a leap second."""
    with repositories.private(INSTANTS, layout) as repository:
        ids = sorted(ref.id.hex for ref in repository.butler.query_datasets("one", "*", find_first=False, limit=None))
        repository.close()
        for uuid, instant in zip(ids, _INSTANTS, strict=True):
            value = f"'{tai_ns_to_utc_datetime(instant)}'" if layout.datasets == "1.0.0" else instant
            execute(repository, f"UPDATE dataset SET ingest_date = {value} WHERE id = '{uuid}'")
        refs = set(repository.butler.query_datasets("one", "*", find_first=False, limit=None))
        async with snapshot_of(repository) as snapshot:
            sets = await select(snapshot, DatasetSelection())
            await agrees(snapshot, repository.butler, sets, [refs], [GroupKey.INGEST_DAY])
            (groups,) = await sets.groups(snapshot, [0], [GroupKey.INGEST_DAY])
        found = [group.key["INGEST_DAY"] for group in groups]
        assert found == sorted(found)
        assert {"1972-06-30", "2016-12-31", "2026-11-23"} <= set(found)


def _fill_instants(butler: Butler, outside: Any) -> None:
    butler.registry.registerDatasetType(DatasetType("one", [], "StructuredDataDict", universe=butler.dimensions))
    for number in range(len(_INSTANTS)):
        butler.collections.register(f"run{number}")
        butler.registry.insertDatasets("one", [{}], run=f"run{number}")


INSTANTS = Content("instants", _fill_instants, dict)
