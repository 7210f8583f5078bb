"""Questions with a condition, put to the Butler and to us: both answer the same, or both refuse."""

from __future__ import annotations

import re
import warnings
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple, TypeVar

import pytest
from hypothesis import strategies as st
from lsst.daf.butler import Butler, CalibrationLookupError, DimensionGroup
from lsst.daf.butler._exceptions import ButlerUserError
from lsst.daf.butler.queries import Query
from sqlalchemy.exc import SADeprecationWarning

from butlerql.storage.errors import AmbiguousCalibrationError, ButlerQLError
from butlerql.storage.registry import data_ids, dimension_records
from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.registry.selection import DatasetSelection, select
from butlerql.storage.registry.where import Where
from butlerql.storage.snapshot import Snapshot
from tests.support.generated_conditions import Sampled, conditions, identifiers, sample, sample_datasets

__all__ = ["Having", "check_data_ids", "check_datasets", "check_records", "texts"]

T = TypeVar("T")

_ALL = PageRequest(10_000)
_sampled = cache(sample)


class Having(NamedTuple):
    """Dataset types that there have to be datasets of, and where."""

    types: Sequence[str] = ()
    collections: Sequence[str] = ()

    def joined(self, query: Query) -> Query:
        """Put it to the Butler."""
        for name in self.types:
            query = query.join_dataset_search(name, self.collections)
        return query

    async def conditions(self, snapshot: Snapshot, group: Any, text: str) -> data_ids.DataIdConditions:
        """Put it to us, with a condition."""
        return await data_ids.find_conditions(
            snapshot,
            group,
            types=self.types or None,
            collections=self.collections if self.types else None,
            where=Where(text),
        )


_NOTHING = Having()


def _asked(butler: Butler, ask: Callable[[Query], Any]) -> Any:
    with butler.query() as query, warnings.catch_warnings():
        # It negates texts in a way that SQLAlchemy is about to give up.
        warnings.simplefilter("ignore", SADeprecationWarning)
        try:
            return ask(query)
        except (ButlerUserError, AssertionError, AttributeError, ValueError, TypeError, NotImplementedError) as error:
            return error


def _fails_by_itself(answer: Any) -> bool:
    """Tell where the Butler stumbles: over records without a region, and where there is no row."""
    return isinstance(answer, AttributeError | TypeError) and "overlaps" in str(answer).lower()


def _finds_too_much(dimensions: DimensionGroup, text: str) -> bool:
    """Tell whether the Butler may have each of two overlaps fulfilled by another patch or tract."""
    related = set(re.findall(r"(\w+)\.region OVERLAPS", text)).difference(dimensions.elements)
    # What is of the same family is related by its dimensions, and not by a second overlap.
    families = {dimensions.universe[name].spatial for name in related}
    return bool(dimensions.spatial and families.difference(dimensions.spatial))


@cache
def _sampled_with(butler: Butler, types: tuple[str, ...]) -> tuple[Sampled, list[str]]:
    """Look into datasets, too, and list the identifiers of their fields."""
    sampled = _sampled(butler).with_more()
    return sampled, [field for name in types for field in sample_datasets(butler, sampled, name)]


def texts(
    butler: Butler, names: Collection[str], more: Sequence[str] = (), types: Sequence[str] = ()
) -> st.SearchStrategy[str]:
    """Draw conditions of what is asked for, now and then of what is related to it, and of datasets of some types."""
    return _texts(butler, tuple(names), tuple(more), tuple(types))


@cache
def _texts(butler: Butler, names: Sequence[str], more: Sequence[str], types: tuple[str, ...]) -> st.SearchStrategy[str]:
    sampled, fields = _sampled_with(butler, types)
    own = [*identifiers(butler, sampled, names), *more]
    others = identifiers(butler, sampled, ("visit", "detector", "patch", "exposure"))
    bare = conditions(sampled, own * 4 + others + fields * 8)
    instruments = ", ".join(f"'{name}'" for name in sampled.values["instrument"])
    governors = f"instrument IN ({instruments}) AND skymap != 'no'"
    governed = bare.map(
        lambda text: f"{governors} AND {text}" if "OVERLAPS" in text else f"instrument IN ({instruments}) AND ({text})"
    )
    return st.one_of(bare, governed)


async def _answer(expected: Any, ours: Callable[[], Awaitable[T]]) -> T | None:
    """Ask us what the Butler was asked; None if its answer is none to compare with, and we may or must refuse, too."""
    if _fails_by_itself(expected):
        await ours()
    elif isinstance(expected, CalibrationLookupError):
        # What the condition relates a certification to repeats it for the Butler, which then takes it for several.
        with suppress(AmbiguousCalibrationError):
            await ours()
    elif isinstance(expected, Exception):
        with pytest.raises(ButlerQLError):
            await ours()
    else:
        return await ours()
    return None


async def check_data_ids(
    snapshot: Snapshot, butler: Butler, names: Sequence[str], text: str, having: Having = _NOTHING
) -> None:
    """Compare data IDs and their number."""
    expected = _asked(butler, lambda query: list(having.joined(query).where(text).data_ids(names)))
    group = snapshot.repository.universe.group(names)

    async def ours() -> tuple[set[Any], int]:
        found = await having.conditions(snapshot, group, text)
        page = await data_ids.page(snapshot, group, found, _ALL)
        assert len(set(page.rows)) == len(page.rows)
        return {one.values for one in page.rows}, await data_ids.count(snapshot, group, found)

    found = await _answer(expected, ours)
    if found is not None:
        # The Butler repeats data IDs of which there are several certifications.
        whole = {tuple(one.mapping[name] for name in group.names) for one in expected}
        keys, number = found
        assert number == len(keys), text
        assert keys <= whole if _finds_too_much(butler.dimensions.conform(names), text) else keys == whole, text


async def check_records(snapshot: Snapshot, butler: Butler, name: str, text: str, having: Having = _NOTHING) -> None:
    """Compare which records there are, and how many."""
    expected = _asked(butler, lambda query: list(having.joined(query).where(text).dimension_records(name)))
    element = snapshot.repository.universe.element(name)
    group = dimension_records.dimensions_of(element, snapshot.repository.universe.group)

    async def ours() -> set[Any]:
        found = await having.conditions(snapshot, group, text)
        page = await dimension_records.page(snapshot, element, found, _ALL)
        assert await dimension_records.count(snapshot, element, found) == len(page.rows)
        return {record.data_id.required for record in page.rows}

    found = await _answer(expected, ours)
    if found is not None:
        whole = {tuple(record.dataId.required_values) for record in expected}
        too_much = _finds_too_much(butler.dimensions[name].minimal_group, text)
        assert found <= whole if too_much else found == whole, text


async def check_datasets(
    snapshot: Snapshot, butler: Butler, kind: str, where: list[str], text: str, *, first: bool
) -> None:
    """Compare which datasets there are, and how many."""

    def ask(query: Query) -> Any:
        return list(query.datasets(kind, where, find_first=first).where(text))

    dimensions = butler.get_dataset_type(kind).dimensions
    expected = _asked(butler, ask)
    if dimensions.skypix and "OVERLAPS" in text and isinstance(expected, list):
        # The Butler takes the pixels of the dataset for those that say what overlaps, and finds less.
        expected = AttributeError("overlaps")

    async def ours() -> set[str]:
        selection = DatasetSelection(
            dataset_types=[kind], collections=where, where=Where(text), related=True, find_first=first
        )
        sets = await select(snapshot, selection)
        [page] = await sets.pages(snapshot, _ALL)
        uuids = [dataset.uuid for dataset in page.rows]
        assert len(set(uuids)) == len(uuids)
        assert await sets.counts(snapshot, [0]) == [len(uuids)]
        return set(uuids)

    found = await _answer(expected, ours)
    if found is not None:
        wanted = {str(ref.id) for ref in expected}
        places = _places(butler, kind, tuple(where))
        ours_at, theirs_at = {places[uuid] for uuid in found}, {places[uuid] for uuid in wanted}
        if _finds_too_much(dimensions, text):
            assert ours_at <= theirs_at, text
        else:
            # Of several certified datasets of one data ID the Butler, if it has to drop repetitions, keeps any one.
            assert found >= wanted, text
            assert ours_at == theirs_at, text


@cache
def _places(butler: Butler, name: str, collections: tuple[str, ...]) -> dict[str, Any]:
    """Data ID of each certified dataset; all others are on their own."""
    return {
        str(found.ref.id): found.ref.id if found.timespan is None else found.ref.dataId
        for found in butler.registry.queryDatasetAssociations(name, collections, flattenChains=True)
    }
