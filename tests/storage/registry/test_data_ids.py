"""The data IDs that exist are those that the Butler's queries find."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from butlerql.storage.errors import (
    BadCursorError,
    InvalidArgumentError,
    InvalidDataIdError,
    UnknownCollectionError,
    UnknownDatasetTypeError,
    UnsupportedJoinError,
)
from butlerql.storage.registry import collections, data_ids
from butlerql.storage.registry.data_id_values import DataId
from butlerql.storage.registry.data_ids import DataIdConditions
from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.snapshot import Snapshot
from butlerql.storage.universe import DimensionGroup
from tests.support.generated_data_ids import Question, asked, conditions_of, questions
from tests.support.repositories import RealRepository
from tests.support.snapshots import snapshot_of, statements_of

_DIMENSIONS = [
    *("instrument", "band", "physical_filter", "visit", "exposure", "detector", "tract", "patch", "skymap"),
    *("day_obs", "group", "visit_system", "subfilter", "htm7", "healpix9"),
]
_MUCH = 100_000


def _is_answered_here_only(error: Exception) -> bool:
    """Tell what the Butler cannot answer and we can."""
    # It asks for the regions of rows that are none, if every dimension has a value.
    fails_by_itself = isinstance(error, TypeError) and "decodeOverlapsBase64" in str(error)
    # Each of several kinds of calibrations has to be valid at the time of the data ID. The Butler does not say so.
    return fails_by_itself or "disconnected sets of temporal families" in str(error)


async def _walk(
    snapshot: Snapshot, group: DimensionGroup, conditions: DataIdConditions, size: int, *, backward: bool = False
) -> list[DataId]:
    """Go through all pages."""
    found: list[DataId] = []
    request = PageRequest(size, backward)
    while True:
        page = await data_ids.page(snapshot, group, conditions, request)
        found = page.rows + found if backward else found + page.rows
        if not (page.has_previous if backward else page.has_next):
            return found
        assert len(page.rows) == size
        request = PageRequest(size, backward, *((None, page.keys[0]) if backward else (page.keys[-1], None)))


async def _check(repository: RealRepository, question: Question) -> bool:
    """Compare our answer to a question with the Butler's; tell whether there was one."""
    expected = asked(repository.butler, question, lambda query: [*query.data_ids(question.dimensions)])
    async with snapshot_of(repository) as snapshot:
        group = snapshot.repository.universe.group(question.dimensions)
        if isinstance(expected, Exception) and not _is_answered_here_only(expected):
            with pytest.raises(UnsupportedJoinError):
                await data_ids.page(snapshot, group, await conditions_of(snapshot, question), PageRequest(5))
            return False
        conditions = await conditions_of(snapshot, question)
        found = await _walk(snapshot, group, conditions, _MUCH)
        assert await data_ids.count(snapshot, group, conditions) == len(found)
        assert len(set(found)) == len(found)
        if not isinstance(expected, Exception):
            assert {one.values for one in found} == {
                tuple(one.mapping[name] for name in group.names) for one in expected
            }
        assert found == sorted(found, key=_binary_order) or repository.dialect == "postgresql"
        if 0 < len(found) < 40:
            assert await _walk(snapshot, group, conditions, 3) == found
            assert await _walk(snapshot, group, conditions, 2, backward=True) == found
        return bool(found)


def _binary_order(data_id: DataId) -> list[Any]:
    """Order strings by their bytes, as SQLite does."""
    return [value.encode() if isinstance(value, str) else value for value in data_id.required]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_rich_data_ids_are_the_butlers(rich: RealRepository, data: st.DataObject) -> None:
    await _check(rich, data.draw(questions(rich.butler, _DIMENSIONS)))


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_ci_hsc_data_ids_are_the_butlers(ci_hsc: RealRepository, data: st.DataObject) -> None:
    await _check(ci_hsc, data.draw(questions(ci_hsc.butler, _DIMENSIONS)))


async def test_data_ids_of_every_universe_are_the_butlers(every_universe: RealRepository) -> None:
    universe = every_universe.butler.dimensions
    names = [name for name in universe.dimensions.names if name not in universe.skypix_dimensions] + ["htm7"]
    types = sorted(one.name for one in every_universe.butler.registry.queryDatasetTypes())
    singles = [Question((name,), {}, (), ()) for name in names]
    # Not all: the Butler takes its time.
    pairs = [Question(pair, {}, (), ()) for pair in itertools.islice(itertools.combinations(names, 2), 0, None, 13)]
    joined = [Question((), {}, (name,), ("run",)) for name in types]
    joined += [Question((name,), {}, (types[index % len(types)],), ("run",)) for index, name in enumerate(names)]
    answered = [await _check(every_universe, question) for question in (*singles, *pairs, *joined)]
    assert answered.count(True) > len(answered) / 2


@pytest.mark.parametrize(
    ("dimensions", "values", "types", "places"),
    [
        # Calibrations that have to be valid at the time of two visits of three.
        (("visit", "detector"), {}, ("bias",), ("HSC/calib",)),
        # Both kinds at once, and datasets that are in several runs.
        (("visit", "detector"), {}, ("bias", "calexp"), ("chain/all",)),
        (("detector",), {}, ("bias", "camera"), ("chain/calib",)),
        # Projected: the visits of a tract, by their detectors' regions.
        (("visit",), {"tract": 1, "skymap": "rings µ"}, ("calexp",), ("chain/all",)),
        (("tract",), {}, ("calexp",), ("chain/all",)),
        (("visit", "patch"), {"instrument": "HSC"}, (), ()),
        # Pixels that only datasets list.
        (("healpix9",), {}, ("sky_tile_healpix",), ("chain/all",)),
        (("htm7", "visit"), {}, ("sky_tile",), ("chain/all",)),
        (("band",), {"visit": 101, "instrument": "HSC"}, (), ()),
        ((), {}, ("config",), ("chain/all",)),
    ],
)
async def test_joins_are_the_butlers(
    rich: RealRepository,
    dimensions: tuple[str, ...],
    values: dict[str, Any],
    types: tuple[str, ...],
    places: tuple[str, ...],
) -> None:
    assert await _check(rich, Question(dimensions, values, types, places))


async def test_what_cannot_be_joined_is_refused(rich: RealRepository) -> None:
    async with snapshot_of(rich) as snapshot:
        universe = snapshot.repository.universe
        for names in (["htm7"], ["healpix9", "visit"], ["htm7", "htm8"], ["visit", "tract", "htm7"]):
            with pytest.raises(UnsupportedJoinError):
                await data_ids.page(snapshot, universe.group(names), DataIdConditions(), PageRequest(5))
        group = universe.group(["visit"])
        with pytest.raises(UnknownDatasetTypeError):
            await data_ids.find_conditions(snapshot, group, types=["nope"])
        with pytest.raises(UnknownCollectionError):
            await data_ids.find_conditions(snapshot, group, types=["calexp"], collections=["nope"])
        with pytest.raises(InvalidArgumentError, match="datasetTypes"):
            await data_ids.find_conditions(snapshot, group, collections=["chain/all"])
        with pytest.raises(InvalidDataIdError):
            await data_ids.find_conditions(snapshot, group, values={"nope": 1})
        with pytest.raises(InvalidArgumentError, match="at least one"):
            await data_ids.find_conditions_in(snapshot, group, [], [])
        for key in (("HSC",), ("HSC", "x", 1), ("HSC", 1, 2, 3), (1, 2, 3), ("HSC", 2**70, 1)):
            with pytest.raises(BadCursorError):
                await data_ids.page(
                    snapshot, universe.group(["visit", "detector"]), DataIdConditions(), PageRequest(5, after=key)
                )


async def test_an_alternate_key_without_a_record_matches_nothing(rich: RealRepository) -> None:
    async with snapshot_of(rich) as snapshot:
        group = snapshot.repository.universe.group(["visit"])
        conditions = await data_ids.find_conditions(snapshot, group, values={"instrument": "HSC", "visit": "no such"})
        assert (await data_ids.page(snapshot, group, conditions, PageRequest(5))).rows == []
        assert await data_ids.count(snapshot, group, conditions) == 0


async def test_a_page_with_every_dimension_given_is_one_or_none(rich: RealRepository) -> None:
    async with snapshot_of(rich) as snapshot:
        group = snapshot.repository.universe.group(["visit", "tract"])
        for tract, there in ((0, 1), (1, 0)):
            values = {"instrument": "HSC", "visit": 101, "skymap": "rings µ", "tract": tract}
            conditions = await data_ids.find_conditions(snapshot, group, values=values)
            page = await data_ids.page(snapshot, group, conditions, PageRequest(5))
            assert (len(page.rows), page.keys) == (there, [()] * there)
            assert await data_ids.count(snapshot, group, conditions) == there
            behind = await data_ids.page(snapshot, group, conditions, PageRequest(5, after=()))
            assert behind.rows == []
        assert (await data_ids.page(snapshot, group, conditions, PageRequest(0))).rows == []


async def test_collections_are_asked_together_as_each_alone(rich: RealRepository) -> None:
    async with snapshot_of(rich) as snapshot:
        universe = snapshot.repository.universe
        parents = await collections.find(snapshot, ["*"])
        for dimensions, types in (
            (["visit", "detector"], ["calexp"]),
            (["visit"], ["calexp"]),
            (["detector"], ["bias"]),
            (["visit", "detector"], ["calexp", "config"]),
            (["visit", "detector"], ["calexp", "bias"]),
            (["visit", "tract"], ["calexp"]),
            ([], ["config"]),
            (["htm7"], ["sky_tile"]),
            (["visit"], ["never_made"]),
        ):
            group = universe.group(dimensions)
            together = await data_ids.find_conditions_in(snapshot, group, types, parents)
            pages = await data_ids.page_each(snapshot, group, together, PageRequest(3))
            counts = await data_ids.count_each(snapshot, group, together)
            for parent, page, count in zip(parents, pages, counts, strict=True):
                alone = await data_ids.find_conditions(snapshot, group, types=types, collections=[parent.name])
                assert page == await data_ids.page(snapshot, group, alone, PageRequest(3))
                assert count == await data_ids.count(snapshot, group, alone)
                single = await data_ids.find_conditions_in(snapshot, group, types, [parent])
                assert await data_ids.page_each(snapshot, group, single, PageRequest(3)) == [page]
                assert await data_ids.count_each(snapshot, group, single) == [count]


async def test_the_number_of_statements_does_not_depend_on_the_number_of_rows(ci_hsc: RealRepository) -> None:
    async with snapshot_of(ci_hsc) as snapshot:
        universe = snapshot.repository.universe
        parents = await collections.find(snapshot, ["*"])

        async def used(size: int) -> list[int]:
            counts = []
            for names, types in (
                (["visit", "detector"], None),
                (["visit", "detector"], ["calexp"]),
                (["tract", "visit"], None),
            ):
                snapshot.cache.clear()
                with statements_of(snapshot) as statements:
                    group = universe.group(names)
                    conditions = await data_ids.find_conditions(snapshot, group, types=types)
                    await data_ids.page(snapshot, group, conditions, PageRequest(size))
                counts.append(len(statements))
            snapshot.cache.clear()
            with statements_of(snapshot) as statements:
                group = universe.group(["visit"])
                conditions = await data_ids.find_conditions_in(snapshot, group, ["calexp"], parents * size)
                await data_ids.page_each(snapshot, group, conditions, PageRequest(size))
            return [*counts, len(statements)]

        # What does not change is read once, not once a question.
        await used(1)
        assert await used(1) == await used(30)
