"""Collections and dataset types come in the order that was asked for, NULLs last, and no page loses any of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from butlerql.storage.errors import BadCursorError, InvalidExpressionError
from butlerql.storage.registry import collections, dataset_types
from butlerql.storage.registry.collections import CollectionSelection
from butlerql.storage.registry.pages import Page, PageRequest
from butlerql.storage.repository import Repository
from butlerql.storage.snapshot import Snapshot
from tests.support.paging import walk
from tests.support.repositories import RealRepository
from tests.support.snapshots import snapshot_of

_Fields = Mapping[str, Callable[[str], Sequence[Any]]]
"""What a butler says of something by its name, by the field to order by."""

_sizes = st.integers(1, 7)


def _orders(*fields: str) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from([*fields, *(f"-{field}" for field in fields)]), max_size=4)


@pytest.fixture(scope="module")
async def opened(rich_in_every_layout: RealRepository) -> AsyncIterator[Repository]:
    """Open the repository that has one of everything."""
    repository = await Repository.open(rich_in_every_layout.uri, snapshot_seconds=60)
    yield repository
    await repository.close()


async def _sorted(snapshot: Snapshot, names: Iterable[str], order: Sequence[str], fields: _Fields) -> list[str]:
    """Sort names by what a butler says of them, texts as the database has them, NULLs last."""
    found = list(names)
    values = {value for name in found for field in fields.values() for value in field(name)}
    texts = [(value,) for value in values if isinstance(value, str)]
    table = snapshot.repository.dialect.rows("texts", {"text": sa.Text()}, texts)
    rows = await snapshot.rows(sa.select(table.c["text"]).order_by(table.c["text"]))
    places = {row[0]: place for place, row in enumerate(rows)}
    for term in ["name", *reversed(order)]:
        keys = {name: fields[term.removeprefix("-")](name) for name in found}
        some = [name for name in found if None not in keys[name]]
        some.sort(key=lambda name: [places.get(one, one) for one in keys[name]], reverse=term.startswith("-"))
        found = some + [name for name in found if None in keys[name]]
    return found


async def _check_pages(ours: Callable[[PageRequest], Any], size: int, expected: list[str]) -> None:
    async def named(request: PageRequest) -> Page[str]:
        page: Page[Any] = await ours(request)
        return page._replace(rows=[row.name for row in page.rows])

    assert await walk(named, 10_000) == expected
    assert await walk(named, size) == expected
    assert await walk(named, size, backward=True) == expected


@given(order=_orders("name", "type", "doc"), size=_sizes)
async def test_collections_come_in_the_order_asked_for(
    rich_in_every_layout: RealRepository, opened: Repository, order: list[str], size: int
) -> None:
    butlers = {one.name: one for one in rich_in_every_layout.butler.collections.query_info("*", include_doc=True)}
    fields: _Fields = {
        "name": lambda name: [name],
        "type": lambda name: [butlers[name].type.name],
        "doc": lambda name: [butlers[name].doc or None],
    }
    async with opened.snapshot() as snapshot:
        expected = await _sorted(snapshot, butlers, order, fields)
        await _check_pages(
            lambda request: collections.page(snapshot, CollectionSelection(), request, order), size, expected
        )


@given(order=_orders("name", "storageClass", "isCalibration", "isComponent"), size=_sizes, components=st.booleans())
async def test_dataset_types_come_in_the_order_asked_for(
    rich_in_every_layout: RealRepository, opened: Repository, order: list[str], size: int, components: bool
) -> None:
    butler = rich_in_every_layout.butler
    fields: _Fields = {
        # The components of a dataset type come behind it, whatever else is named alike, and no database orders them.
        "name": lambda name: [name.partition(".")[0], name.partition(".")[2].encode()],
        "storageClass": lambda name: [butler.get_dataset_type(name).storageClass_name],
        "isCalibration": lambda name: [butler.get_dataset_type(name).isCalibration()],
        "isComponent": lambda name: [butler.get_dataset_type(name).isComponent()],
    }
    async with opened.snapshot() as snapshot:
        chosen = await dataset_types.match(snapshot, ["*"], components=components)
        expected = await _sorted(snapshot, [one.name for one in chosen], order, fields)
        await _check_pages(lambda request: dataset_types.page(snapshot, chosen, request, order), size, expected)


async def test_a_page_begins_behind_what_is_gone(rich: RealRepository) -> None:
    async with snapshot_of(rich) as snapshot:
        chosen = await dataset_types.match(snapshot, ["*"])
        whole = (await dataset_types.page(snapshot, chosen, PageRequest(100), ["-storageClass"])).rows
        place = [one.storage_class for one in whole].index("Metrics") + 1
        request = PageRequest(100, after=("Metrics", whole[place - 1].name, 0))
        for some in (chosen, [one for one in chosen if one is not whole[place - 1]]):
            page = await dataset_types.page(snapshot, some, request, ["-storageClass"])
            assert page.rows == whole[place:]
        between = PageRequest(100, after=("CHAINED", "chain/deep3 was here"), before=("CHAINED", "chain/empty"))
        page = await collections.page(snapshot, CollectionSelection(), between, ["type"])
    assert [one.name for one in page.rows] == ["chain/deep4", "chain/deep5"]


@pytest.mark.parametrize("order", [["nope"], ["name", "--name"], [""], ["-"], ["Name"], ["name "], ["na\0me"]])
async def test_what_has_no_order_is_refused(rich: RealRepository, order: list[str]) -> None:
    async with snapshot_of(rich) as snapshot:
        with pytest.raises(InvalidExpressionError, match="ordered by is name, type, doc,"):
            await collections.page(snapshot, CollectionSelection(), PageRequest(1), order)
        with pytest.raises(InvalidExpressionError, match="is name, storageClass, isCalibration, isComponent,"):
            await dataset_types.page(snapshot, [], PageRequest(1), order)


@pytest.mark.parametrize("key", [("zip",), (1, "zip"), ("RUN", None), ("RUN", "zip", "")])
async def test_a_key_of_another_order_is_refused(rich: RealRepository, key: tuple[Any, ...]) -> None:
    async with snapshot_of(rich) as snapshot:
        with pytest.raises(BadCursorError):
            await collections.page(snapshot, CollectionSelection(), PageRequest(1, after=key), ["type"])
