"""What may be in a collection, what is in it now, and which collections a dataset is in: all as the Butler says."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.daf.butler import Butler

from butlerql.storage.registry import chains, collections, dataset_types
from butlerql.storage.registry.collections import Collection, CollectionType
from butlerql.storage.registry.dataset_types import DatasetType
from butlerql.storage.registry.membership import collections_of, holder_counts, holder_pages, types_held
from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.registry.summaries import candidates
from butlerql.storage.repository import Repository
from butlerql.storage.snapshot import Snapshot
from tests.support.generated import Spec, specs
from tests.support.raw_sql import execute
from tests.support.repositories import Layout, RealRepository, Repositories
from tests.support.rich import RICH
from tests.support.snapshots import plans_of, snapshot_of, statements_of

_LAYOUTS = [Layout("sqlite"), Layout("postgresql"), Layout("postgresql", collections="nameKey", datasets="1.0.0")]
_GOVERNORS = [
    {},
    *({"instrument": value} for value in ("HSC", "Žofie-Cam", "hsc", "")),
    *({"skymap": value} for value in ("rings µ", "empty")),
    {"instrument": "HSC", "skymap": "rings µ"},
    {"instrument": "HSC", "ssp_hypothesis_table": "orbits"},
]


@pytest.fixture(scope="module")
async def opened(rich_in_every_layout: RealRepository) -> AsyncIterator[Repository]:
    """Open the repository that has one of everything."""
    repository = await Repository.open(rich_in_every_layout.uri, snapshot_seconds=60)
    yield repository
    await repository.close()


async def _types(snapshot: Snapshot) -> list[DatasetType]:
    """List the dataset types that may have datasets, and two of their components."""
    found = await dataset_types.match(snapshot, ["*"])
    components = [part for one in found for part in dataset_types.components(snapshot, one)]
    return [one for one in found if not one.name.startswith("unused")] + components[:2]


async def _held(snapshot: Snapshot, butler: Butler) -> dict[str, dict[str, set[str]]]:
    """Find what each collection that is not a chain holds: UUIDs by dataset type, by collection."""
    held: dict[str, dict[str, set[str]]] = {name: {} for name in butler.collections.query("*", flatten_chains=True)}
    for dataset_type in butler.registry.queryDatasetTypes("*"):
        for association in butler.registry.queryDatasetAssociations(dataset_type, collections=list(held)):
            in_it = held[association.collection].setdefault(dataset_type.name, set())
            in_it.add(str(association.ref.id))
    # Of what may be certified and has a time itself (of a visit) the Butler leaves out what is certified for other
    # times, and, whatever collection it is in, that whose time is not known.
    tables = snapshot.repository.tables
    for ours in await dataset_types.all_types(snapshot):
        if ours.calibs_table is not None and any(element.temporal for element in ours.dimensions.elements):
            members = [tables.tags(ours.tags_table, ours.dimensions), tables.calibs(ours.calibs_table, ours.dimensions)]
            for table in members:
                rows = sa.select(table.c.dataset_id, tables.collection.c.name).join(
                    tables.collection, tables.collection_key == table.c.collection
                )
                for row in await snapshot.rows(rows.where(table.c.dataset_type_id == ours.key)):
                    held[row.name].setdefault(ours.name, set()).add(row.dataset_id)
    return held


async def _check_holders(snapshot: Snapshot, butler: Butler) -> None:
    held = await _held(snapshot, butler)
    types = await _types(snapshot)
    everything = await collections.find(snapshot, ["*"])
    flattened = {one.name: butler.collections.query(one.name, flatten_chains=True) for one in everything}
    expected = {one.name: {name for below in flattened[one.name] for name in held[below]} for one in everything}
    found = await types_held(snapshot, everything, types)
    for one, in_it in zip(everything, found, strict=True):
        assert {dataset_type.name for dataset_type in in_it} == {
            dataset_type.name for dataset_type in types if dataset_type.parent_name in expected[one.name]
        }
    order = await collections.in_name_order(snapshot, [one.key for one in everything])
    for wanted in (None, {CollectionType.RUN}, {CollectionType.CHAINED}, set(CollectionType), set()):
        allowed = set(CollectionType) - {CollectionType.CHAINED} if wanted is None else wanted
        pages = await holder_pages(snapshot, types, wanted, PageRequest(1000))
        counts = await holder_counts(snapshot, types, wanted)
        for dataset_type, page, count in zip(types, pages, counts, strict=True):
            assert page.rows == [
                one for one in order if one.type in allowed and dataset_type.parent_name in expected[one.name]
            ]
            assert count == len(page.rows)


async def _check_candidates(snapshot: Snapshot, butler: Butler, governors: Mapping[str, str]) -> None:
    types = await _types(snapshot)
    path = await chains.search_path(snapshot, ["*"])
    summaries = {one.name: butler.registry.getCollectionSummary(one.name) for one in path}
    constraint = {name: {value} for name, value in governors.items()}
    found = await candidates(snapshot, path[::-1], types, governors)
    assert list(found) == types
    for dataset_type, chosen in found.items():
        butlers = butler.get_dataset_type(dataset_type.name)
        assert chosen == [one for one in path[::-1] if summaries[one.name].is_compatible_with(butlers, constraint)]


async def _check_collections_of(snapshot: Snapshot, butler: Butler) -> None:
    datasets: dict[tuple[str, str], set[str]] = {}
    for name, types in (await _held(snapshot, butler)).items():
        for dataset_type, uuids in types.items():
            for uuid in uuids:
                datasets.setdefault((uuid, dataset_type), set()).add(name)
    asked = [(uuid, await dataset_types.find(snapshot, name)) for uuid, name in datasets]
    direct = await collections_of(snapshot, asked)
    with_chains = await collections_of(snapshot, asked, chains=True)
    order = await collections.find(snapshot, ["*"])
    order = await collections.in_name_order(snapshot, [one.key for one in order])
    below = {one.name: set(butler.collections.query(one.name, flatten_chains=True)) for one in order}
    for holders, without, reached in zip(datasets.values(), direct, with_chains, strict=True):
        assert without == [one for one in order if one.name in holders]
        assert reached == [one for one in order if not holders.isdisjoint(below[one.name])]


async def test_what_is_in_collections_is_what_the_butler_finds_there(
    rich_in_every_layout: RealRepository, opened: Repository
) -> None:
    async with opened.snapshot() as snapshot:
        await _check_holders(snapshot, rich_in_every_layout.butler)
        await _check_collections_of(snapshot, rich_in_every_layout.butler)


@pytest.mark.parametrize("governors", _GOVERNORS, ids=str)
async def test_collections_are_ruled_out_where_the_butler_rules_them_out(
    rich_in_every_layout: RealRepository, opened: Repository, governors: Mapping[str, str]
) -> None:
    async with opened.snapshot() as snapshot:
        await _check_candidates(snapshot, rich_in_every_layout.butler, governors)


@pytest.mark.parametrize("layout", _LAYOUTS, ids=str)
@settings(max_examples=5)
@given(spec=specs(), governors=st.sampled_from(_GOVERNORS))
async def test_so_it_is_in_whatever_repository(
    repositories: Repositories, layout: Layout, spec: Spec, governors: Mapping[str, str]
) -> None:
    repository = repositories.shared(spec.content, layout)
    async with snapshot_of(repository) as snapshot:
        await _check_holders(snapshot, repository.butler)
        await _check_collections_of(snapshot, repository.butler)
        await _check_candidates(snapshot, repository.butler, governors)


async def test_pages_of_holders_go_on_where_they_ended(opened: Repository) -> None:
    async with opened.snapshot() as snapshot:
        types = await _types(snapshot)
        whole = await holder_pages(snapshot, types, set(CollectionType), PageRequest(1000))
        for backward in (False, True):
            walked: list[list[Collection]] = [[] for _ in types]
            for position, dataset_type in enumerate(types):
                request = PageRequest(2, backward)
                while True:
                    (page,) = await holder_pages(snapshot, [dataset_type], set(CollectionType), request)
                    walked[position] = page.rows + walked[position] if backward else walked[position] + page.rows
                    if not (page.has_previous if backward else page.has_next):
                        break
                    before, after = (page.keys[0], None) if backward else (None, page.keys[-1])
                    request = PageRequest(2, backward, after, before)
            assert walked == [page.rows for page in whole]


async def test_summaries_that_lie_are_believed_as_the_butler_believes_them(
    rich: RealRepository, fresh: Callable[[RealRepository], RealRepository]
) -> None:
    repository = fresh(rich)
    run = "(SELECT collection_id FROM collection WHERE name = 'u/alice/run2')"
    # On PostgreSQL foreign keys would forbid it.
    off = ["SET session_replication_role = replica"] if repository.dialect == "postgresql" else []
    execute(
        repository,
        *off,
        f"UPDATE collection_summary_instrument SET instrument = 'Žofie-Cam' WHERE collection_id = {run}",
        f"DELETE FROM collection_summary_dataset_type WHERE collection_id = {run}"
        " AND dataset_type_id = (SELECT id FROM dataset_type WHERE name = 'per_band')",
    )
    async with snapshot_of(repository) as snapshot:
        for governors in _GOVERNORS:
            await _check_candidates(snapshot, repository.butler, governors)
        await _check_holders(snapshot, repository.butler)
        (run2,) = await collections.find(snapshot, ["u/alice/run2"])
        calexp, per_band = [await dataset_types.find(snapshot, name) for name in ("calexp", "per_band")]
        unconstrained = await candidates(snapshot, [run2], [calexp, per_band])
        constrained = await candidates(snapshot, [run2], [calexp, per_band], {"instrument": "HSC"})
    assert unconstrained == {calexp: [run2], per_band: []}
    assert constrained == {calexp: [], per_band: []}
    assert (
        repository.butler.find_dataset("calexp", instrument="HSC", visit=103, detector=0, collections=run2.name) is None
    )


async def test_nothing_is_asked_where_nothing_can_be_found(rich: RealRepository) -> None:
    async with snapshot_of(rich) as snapshot:
        types = await _types(snapshot)
        (empty,) = await collections.find(snapshot, ["chain/empty"])
        assert await types_held(snapshot, [empty], types) == [set()]
        with statements_of(snapshot) as statements:
            assert await types_held(snapshot, [empty], []) == [set()]
            assert await types_held(snapshot, [], types) == []
            assert await candidates(snapshot, [], types) == {dataset_type: [] for dataset_type in types}
            assert await candidates(snapshot, [empty], []) == {}
            assert await holder_pages(snapshot, [], None, PageRequest(1)) == []
            assert await collections_of(snapshot, []) == []
            assert [page.rows for page in await holder_pages(snapshot, types[:1], set(), PageRequest(1))] == [[]]
    assert statements == []


async def test_statements_do_not_grow_with_what_is_asked_about(rich_in_every_layout: RealRepository) -> None:
    async def used(number: int) -> list[int]:
        async with snapshot_of(rich_in_every_layout) as snapshot:
            types = (await _types(snapshot))[:number]
            some = (await collections.find(snapshot, ["*"]))[-number:]
            path = await chains.search_path(snapshot, ["u/*"])
            rows = await snapshot.rows(sa.select(snapshot.repository.tables.dataset.c.id))
            calexp = await dataset_types.find(snapshot, "calexp")
            datasets = [(row.id, calexp) for row in rows[:number]]
            calls: Sequence[Callable[[], Awaitable[object]]] = [
                lambda: types_held(snapshot, some, types),
                lambda: holder_pages(snapshot, types, None, PageRequest(5)),
                lambda: holder_pages(snapshot, types, set(CollectionType), PageRequest(5)),
                lambda: holder_counts(snapshot, types, None),
                lambda: candidates(snapshot, path[:number], types, {"instrument": "HSC", "skymap": "rings µ"}),
                lambda: collections_of(snapshot, datasets),
                lambda: collections_of(snapshot, datasets, chains=True),
            ]
            counts = []
            for call in calls:
                snapshot.cache.clear()
                with statements_of(snapshot) as statements:
                    await call()
                counts.append(len(statements))
            return counts

    few, many = await used(1), await used(20)
    assert many == [2, 1, 1, 1, 3, 2, 4]
    # With one dataset type, which has no sky map, there is less to ask.
    assert all(one <= other for one, other in zip(few, many, strict=True))


async def test_no_table_of_memberships_is_read_from_end_to_end(repositories: Repositories) -> None:
    async with snapshot_of(repositories.shared(RICH, Layout("sqlite"))) as snapshot:
        types = await _types(snapshot)
        everything = await collections.find(snapshot, ["*"])
        calexp = await dataset_types.find(snapshot, "calexp")
        with plans_of(snapshot) as plans:
            await types_held(snapshot, everything, types)
            await holder_pages(snapshot, types, set(CollectionType), PageRequest(5))
            await candidates(snapshot, everything, types, {"instrument": "HSC"})
            await collections_of(snapshot, [("00000000-0000-0000-0000-000000000000", calexp)], chains=True)
            await chains.ancestors(snapshot, everything)
            await chains.flatten(snapshot, everything)
    assert any("USING COVERING INDEX" in line for line in plans)
    assert [line for line in plans if re.match(r"SCAN (dataset|collection_)", line)] == []
