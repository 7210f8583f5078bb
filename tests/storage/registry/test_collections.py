"""Collections, chains and search orders are the Butler's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.daf.butler import Butler, MissingCollectionError
from lsst.daf.butler import CollectionType as ButlerCollectionType

from butlerql.storage.errors import UnknownCollectionError
from butlerql.storage.globs import is_glob
from butlerql.storage.registry import chains, collections
from butlerql.storage.registry.collections import Collection, CollectionSelection, CollectionType, RunDetails
from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.registry.timespans import Timespan
from butlerql.storage.repository import Repository
from butlerql.storage.snapshot import Snapshot
from tests.support.raw_sql import execute, write_chains
from tests.support.repositories import Content, Layout, RealRepository, Repositories
from tests.support.snapshots import snapshot_of, statements_of

_LAYOUTS = [
    Layout("sqlite"),
    Layout("postgresql"),
    Layout("sqlite", collections="nameKey"),
    Layout("postgresql", collections="nameKey"),
]

_globs = st.sampled_from(
    ["*", "chain/*", "[ct]*", "???", "[!u]*", "*/*", "u/*", "*1*", "u/ž*", "*[0-9]", "nothing*", "*calib*", "chain/d*"]
)
_names_of_rich = st.sampled_from(
    [
        *("zip", "u/alice/run1", "u/žofie/běh č. 1", "u/bob/100% #1", "tag/best", "HSC/calib", "a/late run"),
        *("chain/outer", "chain/deep5", "chain/empty", "chain/all", "chain/odd positions"),
    ]
)
_missing = st.sampled_from(["nope", "", "ZIP", "zip ", "a["])


@pytest.fixture(scope="module")
async def opened(rich_in_every_layout: RealRepository) -> AsyncIterator[Repository]:
    """Open the repository that has one of everything."""
    repository = await Repository.open(rich_in_every_layout.uri, snapshot_seconds=60)
    yield repository
    await repository.close()


@pytest.fixture(scope="session", params=_LAYOUTS, ids=str)
def layout(request: pytest.FixtureRequest) -> Layout:
    """Name each database, and each way to refer to collections, in turn."""
    chosen: Layout = request.param
    return chosen


def _names(found: Iterable[Collection]) -> list[str]:
    return [collection.name for collection in found]


async def _everything(snapshot: Snapshot) -> list[Collection]:
    return await collections.find(snapshot, ["*"])


async def _name_order(snapshot: Snapshot, names: Iterable[str]) -> list[str]:
    """Order names as the database does."""
    c = snapshot.repository.tables.collection.c
    rows = await snapshot.rows(sa.select(c.name).order_by(c.name))
    return [row.name for row in rows if row.name in set(names)]


def _ancestors(butler: Butler) -> Mapping[str, set[str]]:
    """Find what reaches each collection, by what the Butler says of children."""
    info = butler.collections.query_info("*")
    reached: dict[str, set[str]] = {one.name: set() for one in info}
    for chain in info:
        for name in butler.collections.query(chain.name, flatten_chains=True, include_chains=True):
            if name != chain.name:
                reached[name].add(chain.name)
    return reached


async def test_everything_is_told_as_the_butler_tells_it(rich_in_every_layout: RealRepository) -> None:
    butler = rich_in_every_layout.butler
    expected = {one.name: one for one in butler.collections.query_info("*", include_doc=True, include_parents=True)}
    async with snapshot_of(rich_in_every_layout) as snapshot:
        found = await _everything(snapshot)
        children = await chains.children(snapshot, found)
        parents = await chains.parents(snapshot, found)
        flattened = await chains.flatten(snapshot, found)
        ancestors = await chains.ancestors(snapshot, found)
        assert sorted(_names(found)) == sorted(expected)
        for parent in parents:
            assert _names(parent) == await _name_order(snapshot, _names(parent))
    reaching = _ancestors(butler)
    for position, one in enumerate(found):
        butlers = expected[one.name]
        assert one.type == butlers.type.name
        assert (one.doc or "") == butlers.doc
        assert one.doc != ""
        assert _names(children[position]) == list(butlers.children)
        assert set(_names(parents[position])) == (butlers.parents or set())
        assert _names(flattened[position]) == list(butler.collections.query(one.name, flatten_chains=True))
        assert set(_names(ancestors[position])) == reaching[one.name]


@given(lists=st.lists(st.lists(_names_of_rich | _globs | _missing, min_size=1, max_size=4), min_size=3, max_size=6))
async def test_names_and_globs_mean_what_they_mean_to_the_butler(
    rich_in_every_layout: RealRepository, opened: Repository, lists: list[list[str]]
) -> None:
    layout = rich_in_every_layout.layout
    query = rich_in_every_layout.butler.collections.query
    names = query("*")
    async with opened.snapshot() as snapshot:
        for patterns in [["*"], *lists]:
            if any(not is_glob(pattern) and pattern not in names for pattern in patterns):
                # With "*" the Butler looks at nothing else.
                if "*" not in patterns:
                    with pytest.raises(MissingCollectionError):
                        query(patterns)
                for function in (collections.find, chains.search_path):
                    with pytest.raises(UnknownCollectionError, match="named"):
                        await function(snapshot, patterns)
                continue
            for function, flatten in ((collections.find, False), (chains.search_path, True)):
                ours = _names(await function(snapshot, patterns))
                butlers = list(query(patterns, flatten_chains=flatten))
                if layout != Layout("sqlite") and any(map(is_glob, patterns)):
                    # PostgreSQL gives the Butler what it asks for in any order, and names do not tell what came first.
                    assert sorted(ours) == sorted(butlers)
                else:
                    assert ours == butlers


_RUNS = ["run0", "run1", "run2", "tag"]
_CHAINS = [f"chain{number}" for number in range(6)]
# The Butler reads a member once for each way that leads to it, so there must not be too many.
_positions = st.lists(st.integers(-32_768, 32_767), max_size=4, unique=True)
_members = st.lists(st.integers(0, 99), min_size=4, max_size=4)


def _fill(butler: Butler, outside: Path) -> None:
    for name in _RUNS:
        butler.collections.register(name, ButlerCollectionType.TAGGED if name == "tag" else ButlerCollectionType.RUN)
    for name in _CHAINS:
        butler.collections.register(name, ButlerCollectionType.CHAINED)


_EMPTY_CHAINS = Content("empty chains", _fill)


@pytest.fixture(scope="module")
def chained(repositories: Repositories, layout: Layout) -> Iterator[RealRepository]:
    """Give a repository whose chains may be written to."""
    with repositories.private(_EMPTY_CHAINS, layout) as repository:
        yield repository


@given(drawn=st.lists(st.tuples(_positions, _members), min_size=len(_CHAINS), max_size=len(_CHAINS)))
async def test_chains_of_any_shape_are_walked_as_the_butler_walks_them(
    chained: RealRepository, drawn: Sequence[tuple[list[int], list[int]]]
) -> None:
    written = {}
    for number, (positions, members) in enumerate(drawn):
        # Only what comes before, so that there is no cycle; the same member may come again.
        below = _RUNS + _CHAINS[:number]
        names = (below[member % len(below)] for member in members)
        written[_CHAINS[number]] = list(zip(positions, names, strict=False))
    write_chains(chained, written)
    butler = chained.butler
    async with snapshot_of(chained) as snapshot:
        found = await _everything(snapshot)
        children = await chains.children(snapshot, found)
        flattened = await chains.flatten(snapshot, found)
        ancestors = await chains.ancestors(snapshot, found)
        parents = await chains.parents(snapshot, found)
        together = _names(await chains.expand(snapshot, found[::-1]))
    assert together == list(butler.collections.query(_names(found[::-1]), flatten_chains=True))
    butlers = {one.name: one for one in butler.collections.query_info("*", include_parents=True)}
    reaching = _ancestors(butler)
    for position, one in enumerate(found):
        assert _names(children[position]) == list(butlers[one.name].children)
        assert _names(flattened[position]) == list(butler.collections.query(one.name, flatten_chains=True))
        assert set(_names(parents[position])) == (butlers[one.name].parents or set())
        assert len(parents[position]) == len(butlers[one.name].parents or ())
        assert set(_names(ancestors[position])) == reaching[one.name]


async def test_cycles_come_to_an_end(chained: RealRepository) -> None:
    write_chains(
        chained,
        {
            "chain0": [(0, "chain1"), (1, "run0")],
            "chain1": [(0, "chain0"), (1, "run1"), (2, "chain2")],
            "chain2": [(-5, "chain2"), (3, "run2"), (4, "run1")],
        },
    )
    async with snapshot_of(chained) as snapshot:
        cycle = await collections.find(snapshot, ["chain0", "chain1", "chain2", "run2"])
        flattened = [_names(below) for below in await chains.flatten(snapshot, cycle)]
        ancestors = [set(_names(above)) for above in await chains.ancestors(snapshot, cycle)]
        selection = CollectionSelection(["chain1"], flatten_chains=True)
        page = await collections.page(snapshot, selection, PageRequest(10))
    assert flattened == [["run1", "run2", "run0"], ["run0", "run1", "run2"], ["run2", "run1"], ["run2"]]
    assert ancestors == [
        {"chain0", "chain1"},
        {"chain0", "chain1"},
        {"chain0", "chain1", "chain2"},
        {"chain0", "chain1", "chain2"},
    ]
    assert _names(page.rows) == ["run0", "run1", "run2"]


_selections = st.builds(
    CollectionSelection,
    st.lists(_globs, max_size=2) | st.sampled_from([["chain/*", "u/alice/run1"], ["*"], ["chain/outer", "tag/best"]]),
    st.none() | st.frozensets(st.sampled_from(list(CollectionType)), max_size=3),
    st.booleans(),
)


@settings(max_examples=15)
@given(selection=_selections, size=st.integers(1, 5))
async def test_pages_go_through_all_in_the_order_of_the_database(
    rich_in_every_layout: RealRepository, opened: Repository, selection: CollectionSelection, size: int
) -> None:
    query = rich_in_every_layout.butler.collections.query
    types = None if selection.types is None else {ButlerCollectionType[one.name] for one in selection.types}
    expected = (
        query(selection.names, collection_types=types, flatten_chains=selection.flatten_chains)
        if selection.names and types != set()
        else ()
    )
    async with opened.snapshot() as snapshot:
        ordered = await _name_order(snapshot, expected)
        assert await collections.count(snapshot, selection) == len(ordered)
        for backward in (False, True):
            found: list[str] = []
            request = PageRequest(size, backward)
            while True:
                page = await collections.page(snapshot, selection, request)
                assert page.keys == [(name,) for name in _names(page.rows)]
                found = _names(page.rows) + found if backward else found + _names(page.rows)
                if not (page.has_previous if backward else page.has_next):
                    break
                assert len(page.rows) == size
                request = request._replace(**{"before": page.keys[0]} if backward else {"after": page.keys[-1]})
            assert found == ordered


async def test_a_page_begins_behind_a_name_that_is_gone(rich: RealRepository) -> None:
    async with snapshot_of(rich) as snapshot:
        request = PageRequest(2, after=("chain/deep3 was here",), before=("chain/empty",))
        page = await collections.page(snapshot, CollectionSelection(), request)
    assert _names(page.rows) == ["chain/deep4", "chain/deep5"]


@pytest.mark.parametrize("selection", [CollectionSelection(["nope"]), CollectionSelection(["u/*", "nope", "no"])])
async def test_a_name_that_is_not_there_is_an_error_of_pages(
    rich: RealRepository, selection: CollectionSelection
) -> None:
    async with snapshot_of(rich) as snapshot:
        with pytest.raises(UnknownCollectionError, match="nope"):
            await collections.page(snapshot, selection, PageRequest(10))
        with pytest.raises(UnknownCollectionError, match="nope"):
            await collections.count(snapshot, selection)


async def test_runs_are_described_where_somebody_filled_the_table(
    rich_in_every_layout: RealRepository, fresh: Callable[[RealRepository], RealRepository]
) -> None:
    repository = fresh(rich_in_every_layout)
    key = "name" if repository.layout.collections == "nameKey" else "collection_id"
    times = "timespan_begin = 0, timespan_end = 5" if repository.dialect == "sqlite" else "timespan = int8range(0, 5)"
    schema = "" if repository.layout.namespace is None else f"{repository.layout.namespace}."
    execute(
        repository,
        f"UPDATE {schema}run SET host = 'tiger', {times}"
        f" WHERE {key} = (SELECT {key} FROM {schema}collection WHERE name = 'zip')",
        f"DELETE FROM {schema}run WHERE {key} = (SELECT {key} FROM {schema}collection WHERE name = 'u/bob/never')",
    )
    async with snapshot_of(repository) as snapshot:
        runs = await collections.find(snapshot, ["zip", "u/bob/never", "u/alice/run1"])
        details = await collections.run_details(snapshot, [run.key for run in runs])
    assert details == [RunDetails("tiger", Timespan(None, 5)), RunDetails(None, None), RunDetails(None, None)]


async def test_statements_do_not_grow_with_what_is_asked_about(rich_in_every_layout: RealRepository) -> None:
    async def used(number: int) -> list[int]:
        async with snapshot_of(rich_in_every_layout) as snapshot:
            some = (await _everything(snapshot))[-number:]
            snapshot.cache.clear()
            counts = []
            for function in (chains.children, chains.flatten, chains.parents, chains.ancestors, chains.expand):
                with statements_of(snapshot) as statements:
                    await function(snapshot, some)
                counts.append(len(statements))
            with statements_of(snapshot) as statements:
                await collections.by_keys(snapshot, [one.key for one in some])
                await collections.by_names(snapshot, {one.name for one in some})
                await collections.run_details(snapshot, [one.key for one in some])
            return [*counts, len(statements)]

    assert await used(1) == await used(20) == [1, 1, 1, 1, 0, 3]
