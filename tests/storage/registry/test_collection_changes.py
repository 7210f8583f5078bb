"""Changes of collections: after each, a twin that the real Butler changed has the same rows in all tables."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from lsst.daf.butler import Butler, CollectionCycleError, CollectionType, MissingCollectionError
from lsst.daf.butler.registry import CollectionTypeError, OrphanedRecordError

from butlerql.storage.changes import Change
from butlerql.storage.errors import ButlerQLError, ConflictError, InvalidArgumentError, UnknownCollectionError
from butlerql.storage.registry import collection_changes
from butlerql.storage.registry.collection_changes import ChainEdit
from butlerql.storage.registry.collections import CollectionType as OurType
from butlerql.storage.repository import Repository
from tests.support.registry_rows import registry_rows
from tests.support.repositories import Dialect, Layout, RealRepository, Repositories
from tests.support.rich import RICH
from tests.support.small import SMALL

_LAYOUTS = [
    Layout("sqlite"),
    Layout("postgresql"),
    Layout("sqlite", collections="nameKey", datasets="1.0.0"),
    Layout("postgresql", collections="nameKey", namespace="butler"),
]
_NEW = ["new/a", "new/b", "nèw č 100%", "it's"]
_CHAINS = ["chain/inner", "chain/outer", "chain/all", "chain/odd positions", "chain/empty", "chain/deep0"]
_OTHERS = ["u/alice/run1", "u/bob/never", "tag/best", "HSC/calib", "a/late run", "there is none"]
_names = st.sampled_from(_NEW + _CHAINS + _OTHERS)
_several = st.lists(_names, max_size=4)
_docs = st.sampled_from([None, "", "What it is.", "line\nline", "Überall"])
_CODES: dict[type[Exception], type[ButlerQLError]] = {
    CollectionCycleError: ConflictError,
    MissingCollectionError: UnknownCollectionError,
    CollectionTypeError: InvalidArgumentError,
    OrphanedRecordError: ConflictError,
}

_Step = tuple[Callable[[Change], Awaitable[Any]], Callable[[Butler], Any]]


def _create(name: str, kind: str, doc: str | None) -> _Step:
    def butler_creates(butler: Butler) -> None:
        if not butler.collections.register(name, CollectionType[kind], doc=doc):
            raise OrphanedRecordError("the Butler says nothing here, and we do")

    return (lambda change: collection_changes.create(change, name, OurType(kind), doc)), butler_creates


def _edit(name: str, children: Sequence[str], mode: ChainEdit) -> _Step:
    def butler_edits(butler: Butler) -> None:
        chains = butler.collections
        edit = {
            ChainEdit.REPLACE: chains.redefine_chain,
            ChainEdit.PREPEND: chains.prepend_chain,
            ChainEdit.EXTEND: chains.extend_chain,
            ChainEdit.REMOVE: chains.remove_from_chain,
        }[mode]
        edit(name, children)

    return (lambda change: collection_changes.edit_chain(change, name, children, mode)), butler_edits


def _describe(name: str, doc: str | None) -> _Step:
    return (
        lambda change: collection_changes.describe(change, name, doc),
        lambda butler: butler.registry.setCollectionDocumentation(name, doc),
    )


def _remove(name: str, unlink: bool) -> _Step:
    def butler_removes(butler: Butler) -> None:
        info = butler.collections.get_info(name)
        # Where a dataset has no record in a datastore the Butler would take it away with its run.
        if info.type is CollectionType.RUN and butler.query_all_datasets(name, limit=1):
            raise OrphanedRecordError(name)
        with butler.transaction():
            if unlink:
                for parent in sorted(butler.registry.getCollectionParentChains(name)):
                    butler.collections.remove_from_chain(parent, name)
            butler.collections.x_remove(name)

    return (lambda change: collection_changes.remove(change, name, unlink=unlink)), butler_removes


_steps = st.one_of(
    st.builds(_create, _names, st.sampled_from([kind.value for kind in OurType]), _docs),
    st.builds(_edit, st.sampled_from(_CHAINS + _NEW), _several, st.sampled_from(ChainEdit)),
    st.builds(_edit, st.sampled_from(_CHAINS), _several, st.sampled_from(ChainEdit)),
    st.builds(_edit, st.sampled_from(_OTHERS), _several, st.sampled_from(ChainEdit)),
    st.builds(_describe, _names, _docs),
    st.builds(_remove, _names, st.booleans()),
)


async def _ours(repository: Repository, work: Callable[[Change], Awaitable[Any]]) -> type[ButlerQLError] | None:
    try:
        async with repository.change() as change:
            await work(change)
    except ButlerQLError as error:
        return type(error)
    return None


def _butlers(butler: Butler, work: Callable[[Butler], Any]) -> set[type[ButlerQLError]]:
    """Tell the errors of ours that fit what the Butler raises; it looks at things in another order."""
    try:
        work(butler)
    except tuple(_CODES):
        return set(_CODES.values())
    return set()


@pytest.mark.parametrize("layout", _LAYOUTS, ids=str)
@settings(max_examples=3, phases=[Phase.generate])
@given(steps=st.lists(_steps, min_size=15, max_size=30))
def test_the_butler_changes_the_same_rows(repositories: Repositories, layout: Layout, steps: list[_Step]) -> None:
    async def run(ours: RealRepository, twin: RealRepository) -> int:
        repository = await Repository.open(ours.uri, writable=True)
        butler = twin.open(writeable=True)
        before, made = registry_rows(ours), 0
        for ours_does, butler_does in steps:
            error, expected = await _ours(repository, ours_does), _butlers(butler, butler_does)
            assert (error in expected) if expected else error is None
            after = registry_rows(ours)
            assert after == registry_rows(twin)
            if error is None:
                made += 1
            else:
                assert after == before
            before = after
        await repository.close()
        assert ours.open().collections.query_info("*", include_doc=True) == twin.open().collections.query_info(
            "*", include_doc=True
        )
        return made

    with repositories.private(RICH, layout) as ours, repositories.private(RICH, layout) as twin:
        assert asyncio.run(run(ours, twin)) > 0


@pytest.fixture
def small(repositories: Repositories, dialect: Dialect) -> Iterator[RealRepository]:
    with repositories.private(SMALL, Layout(dialect)) as made:
        yield made


async def test_a_chain_is_made_with_its_members_or_not_at_all(small: RealRepository) -> None:
    repository = await Repository.open(small.uri, writable=True)
    before = registry_rows(small)
    for children, error in ((["run", "none"], UnknownCollectionError), (["run", "chain"], ConflictError)):
        assert await _ours(repository, _chain("chain", children)) is error
        assert registry_rows(small) == before
    assert await _ours(repository, _chain("chain", ["run", "run"])) is None
    assert await _ours(repository, _chain("empty", [])) is None
    await repository.close()
    butler = small.open()
    assert butler.collections.get_info("chain").children == ("run",)
    assert butler.collections.get_info("empty").children == ()


@pytest.mark.parametrize("name", ["", " ", "a*", "[ab]?"])
async def test_what_could_not_be_named_again_is_not_made(small: RealRepository, name: str) -> None:
    repository = await Repository.open(small.uri, writable=True)
    assert await _ours(repository, _chain(name, [])) is InvalidArgumentError
    await repository.close()


async def test_a_run_that_was_made_can_be_written_to(small: RealRepository) -> None:
    repository = await Repository.open(small.uri, writable=True)
    made = await _ours(repository, lambda change: collection_changes.create(change, "second", OurType.RUN))
    assert made is None
    butler = small.open(writeable=True)
    butler.registry.insertDatasets("flat", [{"instrument": "Cam", "detector": 0}], run="second")
    removed = await _ours(repository, lambda change: collection_changes.remove(change, "second"))
    assert removed is ConflictError
    assert len(small.open().query_datasets("flat", collections="second")) == 1
    await repository.close()


async def test_positions_come_to_an_end(small: RealRepository) -> None:
    repository = await Repository.open(small.uri, writable=True)
    await _ours(repository, _chain("chain", ["run"]))
    for name in ("a", "b"):
        await _ours(repository, _chain(name, []))
    table = repository.tables.chain
    async with repository.change() as change:
        await change.execute(sa.update(table).values(position=2**15 - 2))

    def extended(name: str) -> Callable[[Change], Awaitable[Any]]:
        return lambda change: collection_changes.edit_chain(change, "chain", [name], ChainEdit.EXTEND)

    assert await _ours(repository, extended("a")) is None
    assert await _ours(repository, extended("b")) is ConflictError
    assert small.open().collections.get_info("chain").children == ("run", "a")
    await repository.close()


async def test_those_who_extend_a_chain_at_once_all_do(small: RealRepository) -> None:
    repository = await Repository.open(small.uri, writable=True)
    await _ours(repository, _chain("chain", []))
    names = [f"tag{number}" for number in range(12)]

    async def add(name: str) -> None:
        async with repository.change() as change:
            await collection_changes.create(change, name, OurType.TAGGED)
            await collection_changes.edit_chain(change, "chain", [name], ChainEdit.EXTEND)

    await asyncio.gather(*map(add, names))
    await repository.close()
    assert sorted(small.open().collections.get_info("chain").children) == sorted(names)


async def test_those_who_would_close_a_circle_at_once(small: RealRepository) -> None:
    """Each link is harmless by itself; one of the two is made."""
    butler = small.open(writeable=True)
    for name, children in (("m", []), ("n", []), ("a", ["m"]), ("b", ["n"])):
        butler.collections.register(name, CollectionType.CHAINED)
        butler.collections.redefine_chain(name, children)
    repository = await Repository.open(small.uri, writable=True)
    met = asyncio.Barrier(2)

    async def link(change: Change, chain: str, child: str) -> None:
        await collection_changes.edit_chain(change, chain, [child], ChainEdit.EXTEND)
        # Nobody commits before both have linked, unless one of them has to wait.
        with suppress(TimeoutError, asyncio.BrokenBarrierError):
            await asyncio.wait_for(met.wait(), 0.5)

    outcomes = await asyncio.gather(
        _ours(repository, lambda change: link(change, "m", "b")),
        _ours(repository, lambda change: link(change, "n", "a")),
    )
    await repository.close()
    assert sorted(map(str, outcomes)) == sorted(map(str, [None, ConflictError]))
    butler = small.open()
    links = [butler.collections.get_info(name).children for name in ("m", "n")]
    assert sorted(links) in ([(), ("a",)], [(), ("b",)])


async def test_a_butler_that_links_what_is_being_edited(small: RealRepository) -> None:
    """It links our chain into its own while we wait for it to end, and nobody is turned away."""
    butler = small.open(writeable=True)
    for name in ("ours", "its", "third"):
        butler.collections.register(name, CollectionType.CHAINED)
    repository = await Repository.open(small.uri, writable=True)

    async def butler_links(change: Change) -> None:
        await collection_changes.edit_chain(change, "ours", ["run"], ChainEdit.EXTEND)
        if repository.dialect.name == "postgresql":
            await asyncio.wait_for(asyncio.to_thread(butler.collections.extend_chain, "its", "ours"), 10)
        await collection_changes.edit_chain(change, "ours", ["third"], ChainEdit.EXTEND)

    assert await _ours(repository, butler_links) is None
    await repository.close()
    assert small.open().collections.get_info("ours").children == ("run", "third")


async def test_of_those_who_make_the_same_at_once_one_does(small: RealRepository) -> None:
    repository = await Repository.open(small.uri, writable=True)
    outcomes = await asyncio.gather(*(_ours(repository, _chain("chain", ["run"])) for _ in range(8)))
    assert sorted(map(str, outcomes)) == sorted(map(str, [None, *[ConflictError] * 7]))
    await repository.close()


def _chain(name: str, children: Sequence[str]) -> Callable[[Change], Awaitable[Any]]:
    return lambda change: collection_changes.create(change, name, OurType.CHAINED, None, children)
