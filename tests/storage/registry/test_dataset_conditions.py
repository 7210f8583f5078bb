"""Conditions and orders by fields of the datasets that data IDs and records have are the Butler's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lsst.daf.butler import Butler

from butlerql.storage.errors import InvalidExpressionError, UnsupportedJoinError
from butlerql.storage.registry import collections, data_ids, dimension_records
from butlerql.storage.registry.pages import Page, PageRequest
from butlerql.storage.registry.where import Where
from tests.support.compared_conditions import Having, check_data_ids, check_datasets, check_records, texts
from tests.support.paging import walk
from tests.support.repositories import Layout, RealRepository, Repositories
from tests.support.rich import RICH
from tests.support.snapshots import snapshot_of

_many = settings(suppress_health_check=list(HealthCheck))
_few = settings(max_examples=6, suppress_health_check=list(HealthCheck))

_ALL = PageRequest(10_000)
_EVERYWHERE = ("chain/all",)
_HAVING = [
    Having(("calexp",), _EVERYWHERE),
    Having(("calexp",), ("u/alice/run1",)),
    Having(("calexp",), ("tag/best", "u/alice/run2")),
    Having(("calexp", "config"), ("u/alice/run2", "u/alice/run1")),
    Having(("per_band",), ("u/alice/run1", "u/alice/run2")),
    Having(("config",), _EVERYWHERE),
    Having(("bias",), ("HSC/calib",)),
    Having(("bias",), ("HSC/calib/run", "HSC/raw/all")),
    Having(("bias",), ("HSC/raw/all", "HSC/calib", "HSC/calib/fallback")),
    Having(("flat",), ("chain/calib",)),
]
_DIMENSIONS = [
    ("visit", "detector"),
    ("visit",),
    ("detector",),
    ("exposure", "detector"),
    ("band",),
    ("instrument",),
    (),
]
_BARE = ["run", "collection", "ingest_date", "dataset_id"]


@_many
@given(data=st.data())
async def test_data_ids(rich: RealRepository, data: st.DataObject) -> None:
    async with snapshot_of(rich) as snapshot:
        for _ in range(4):
            having = data.draw(st.sampled_from(_HAVING))
            names = data.draw(st.sampled_from(_DIMENSIONS))
            text = data.draw(texts(rich.butler, names, _BARE, having.types[:1]))
            await check_data_ids(snapshot, rich.butler, names, text, having)


@_many
@given(data=st.data())
async def test_dimension_records(rich: RealRepository, data: st.DataObject) -> None:
    async with snapshot_of(rich) as snapshot:
        for _ in range(2):
            having = data.draw(st.sampled_from(_HAVING))
            name = data.draw(st.sampled_from(["visit", "detector", "visit_detector_region"]))
            names = rich.butler.dimensions[name].dimensions.names
            text = data.draw(texts(rich.butler, names, types=having.types[:1]))
            await check_records(snapshot, rich.butler, name, text, having)


_BOTH = Having(("calexp", "raw"), _EVERYWHERE)
_BIAS = Having(("bias",), ("HSC/calib",))
_CALIBRATIONS = Having(("bias", "flat"), ("HSC/calib",))


@pytest.mark.parametrize(
    ("having", "names", "text"),
    [
        # Each has its own fields; the Butler takes only one type's run or ingest_date at a time.
        (Having(("calexp", "bias"), _EVERYWHERE), ["visit"], "calexp.collection = 'tag/best' AND bias.run != 'no'"),
        (Having(("calexp", "bias"), _EVERYWHERE), ["detector"], "calexp.run > bias.collection"),
        (Having(("calexp", "config"), _EVERYWHERE), ["visit"], "calexp.collection = config.collection"),
        (Having(("calexp", "config"), _EVERYWHERE), ["visit"], "config.collection = 'tag/best' OR calexp.run = 'no'"),
        # A validity that a condition speaks of need not be that at the time of anything.
        (_BIAS, ["visit", "detector"], "instrument = 'HSC' AND bias.timespan OVERLAPS visit.timespan"),
        (_BIAS, ["visit", "detector"], "instrument = 'HSC' AND NOT (bias.timespan OVERLAPS visit.timespan)"),
        (_BIAS, ["visit"], "instrument = 'HSC' AND (visit = 101 OR day_obs.timespan OVERLAPS bias.timespan)"),
        (_BIAS, ["detector"], "bias.timespan OVERLAPS bias.timespan"),
        (_CALIBRATIONS, ["detector"], "NOT (bias.timespan OVERLAPS flat.timespan)"),
        (
            _CALIBRATIONS,
            ["visit", "detector"],
            "instrument='HSC' AND NOT (flat.timespan OVERLAPS visit.timespan) AND bias.timespan OVERLAPS flat.timespan",
        ),
        # Of datasets that are not certified, the validity is all of time.
        (Having(("bias",), ("HSC/calib/run",)), ["detector"], "bias.timespan OVERLAPS T'1975-01-01'"),
        # Nothing is there to have fields.
        (Having(("calexp",), ("HSC/calib",)), ["visit"], "calexp.run != 'no'"),
        # What has no meaning
        (_BOTH, ["visit"], "run = 'u/alice/run1'"),
        (_BOTH, ["visit"], "bias.run = 'u/alice/run1'"),
        (_BOTH, ["visit"], "calexp.nope = 'u/alice/run1'"),
        (_BOTH, ["visit"], "calexp.ingest_date = 'u/alice/run1'"),
        (Having(), ["visit"], "run = 'u/alice/run1'"),
    ],
    ids=str,
)
async def test_joined_datasets(rich: RealRepository, having: Having, names: Sequence[str], text: str) -> None:
    async with snapshot_of(rich) as snapshot:
        await check_data_ids(snapshot, rich.butler, names, text, having)


@pytest.mark.parametrize(
    ("having", "names", "text"),
    [
        (_BIAS, ["visit", "detector"], "instrument = 'HSC' AND bias.timespan.end > visit.timespan.begin"),
        (_CALIBRATIONS, ["detector"], "bias.timespan.begin = flat.timespan.begin"),
        (Having(("bias",), ("HSC/raw/all", "HSC/calib")), ["detector"], "bias.timespan.begin < T'1975-01-01'"),
    ],
    ids=str,
)
async def test_bounds_of_validities(
    repositories: Repositories, having: Having, names: Sequence[str], text: str
) -> None:
    # On PostgreSQL the Butler takes an open end for 1970.
    rich = repositories.shared(RICH, Layout("sqlite"))
    async with snapshot_of(rich) as snapshot:
        await check_data_ids(snapshot, rich.butler, names, text, having)


async def test_what_the_butler_fails_on(rich: RealRepository) -> None:
    async with snapshot_of(rich) as snapshot:
        group = snapshot.repository.universe.group(["detector"])

        async def found(having: Having, text: str) -> list[Any]:
            page = await data_ids.page(snapshot, group, await having.conditions(snapshot, group, text), _ALL)
            return [one.mapping["detector"] for one in page.rows]

        # All flats are of one run; of the biases of the detectors 0 and 1, those that are valid with them are, too.
        assert await found(_CALIBRATIONS, "bias.run = flat.run AND bias.ingest_date < flat.ingest_date") == [0, 1]
        assert await found(_CALIBRATIONS, "bias.run != flat.run AND bias.run = 'HSC/calib/run'") == []
        # What is not certified is valid at any time.
        everywhere = "instrument = 'HSC' AND visit = 101 AND bias.timespan OVERLAPS visit.timespan"
        assert await found(Having(("bias",), ("HSC/calib/run",)), everywhere) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "text",
    [
        "instrument = 'HSC' AND NOT (bias.timespan OVERLAPS visit.timespan)",
        "instrument = 'HSC' AND visit = 103 AND bias.timespan OVERLAPS day_obs.timespan",
    ],
)
async def test_validities_of_what_is_asked_for(rich: RealRepository, text: str) -> None:
    async with snapshot_of(rich) as snapshot:
        await check_datasets(snapshot, rich.butler, "bias", ["HSC/calib"], text, first=False)


@pytest.mark.parametrize(
    ("text", "there"),
    [
        ("calexp.run = 'u/alice/run1' AND calexp.collection = 'tag/best'", 1),
        ("ingest_date > T'2020-01-01' AND calexp.ingest_date < T'2120-01-01'", 5),
        ("NOT (calexp.ingest_date > T'2020-01-01')", 0),
        ("calexp.dataset_id = NULL", 0),
    ],
)
async def test_every_layout(rich_in_every_layout: RealRepository, text: str, there: int) -> None:
    having = Having(("calexp",), _EVERYWHERE)
    async with snapshot_of(rich_in_every_layout) as snapshot:
        await check_data_ids(snapshot, rich_in_every_layout.butler, ["visit"], text, having)
        group = snapshot.repository.universe.group(["visit"])
        assert await data_ids.count(snapshot, group, await having.conditions(snapshot, group, text)) == there


@pytest.mark.parametrize(
    ("text", "position"),
    [("bias.run = 'x'", 0), ("visit > 1 AND calexp.nope = 'x'", 14), ("visit > 1 AND runs = 'x'", 14)],
)
async def test_what_has_no_meaning_is_refused_where_it_stands(rich: RealRepository, text: str, position: int) -> None:
    async with snapshot_of(rich) as snapshot:
        group = snapshot.repository.universe.group(["visit"])
        with pytest.raises(InvalidExpressionError) as refused:
            await Having(("calexp",), _EVERYWHERE).conditions(snapshot, group, text)
        assert refused.value.position == position


async def test_names_mean_something_also_where_nothing_can_be_found(rich: RealRepository) -> None:
    async with snapshot_of(rich) as snapshot:
        group = snapshot.repository.universe.group(["visit"])
        for text, is_known in (("calexp.run = 'x'", True), ("raw.run = 'x'", False)):
            question = data_ids.find_conditions(
                snapshot,
                group,
                types=["calexp"],
                values={"instrument": "HSC", "visit": "no such"},
                where=Where(text),
            )
            if is_known:
                assert await data_ids.count(snapshot, group, await question) == 0
            else:
                with pytest.raises(InvalidExpressionError):
                    await question


async def test_fields_of_components_are_those_of_what_they_are_of(rich: RealRepository) -> None:
    async with snapshot_of(rich) as snapshot:
        group = snapshot.repository.universe.group(["visit"])
        counts = []
        for name in ("packed", "packed.summary"):
            found = await Having((name,), ["*"]).conditions(snapshot, group, "packed.run != 'no'")
            counts.append(await data_ids.count(snapshot, group, found))
        assert counts[0] == counts[1] > 0


async def test_collections_are_asked_together_as_each_alone(rich: RealRepository) -> None:
    async with snapshot_of(rich) as snapshot:
        parents = await collections.find(snapshot, ["*"])
        for names, kind, text, order in (
            (["visit", "detector"], "calexp", "calexp.collection != 'tag/best'", []),
            (["visit"], "calexp", "calexp.run = 'u/alice/run1' OR visit = 103", ["-calexp.ingest_date"]),
            (["detector"], "bias", "bias.timespan.begin > T'2023-01-01'", ["bias.timespan.end", "-bias.run"]),
        ):
            where = Where(f"instrument = 'HSC' AND ({text})")
            group = snapshot.repository.universe.group(names)
            together = await data_ids.find_conditions_in(snapshot, group, [kind], parents, where, order)
            pages = await data_ids.page_each(snapshot, group, together, PageRequest(3))
            counts = await data_ids.count_each(snapshot, group, together)
            assert any(counts)
            for parent, page, count in zip(parents, pages, counts, strict=True):
                alone = await data_ids.find_conditions(
                    snapshot, group, types=[kind], collections=[parent.name], where=where, order_by=order
                )
                assert page == await data_ids.page(snapshot, group, alone, PageRequest(3))
                assert count == await data_ids.count(snapshot, group, alone)


def _in_order(butler: Butler, having: Having, names: Sequence[str], order: Sequence[str]) -> list[tuple[Any, ...]]:
    """List data IDs in the Butler's order. It repeats those that have several datasets: the first ones count."""
    whole = butler.dimensions.conform([*names, *butler.get_dataset_type(having.types[0]).dimensions.names])
    own = butler.dimensions.conform(names)
    with butler.query() as query:
        found = list(having.joined(query).data_ids(whole).order_by(*order, *own.required))
    return list(dict.fromkeys(one.subset(own).required_values for one in found))


@_few
@given(data=st.data())
async def test_orders(rich_in_every_layout: RealRepository, data: st.DataObject) -> None:
    butler = rich_in_every_layout.butler
    async with snapshot_of(rich_in_every_layout) as snapshot:
        having = data.draw(st.sampled_from(_HAVING))
        names = data.draw(st.sampled_from(_DIMENSIONS))
        kind = having.types[0]
        fields = [f"{kind}.{field}" for field in ("run", "collection", "ingest_date")]
        # On PostgreSQL the Butler takes an open end for 1970.
        if kind == "bias" and rich_in_every_layout.dialect == "sqlite":
            fields += ["bias.timespan.begin", "bias.timespan.end"]
        signed = st.builds("{}{}".format, st.sampled_from(["", "-"]), st.sampled_from([*fields, *fields, *names]))
        order = data.draw(st.lists(signed, min_size=1, max_size=3))
        group = snapshot.repository.universe.group(names)
        conditions = await data_ids.find_conditions(
            snapshot, group, types=having.types, collections=having.collections, order_by=order
        )

        async def read(request: PageRequest) -> Page[Any]:
            return await data_ids.page(snapshot, group, conditions, request)

        expected = _in_order(butler, having, names, order)
        assert [one.required for one in await walk(read, 10_000)] == expected
        assert [one.required for one in await walk(read, 3)] == expected
        assert [one.required for one in await walk(read, 2, backward=True)] == expected
        assert await data_ids.count(snapshot, group, conditions) == len(expected)


async def test_records_are_ordered(rich: RealRepository) -> None:
    having = Having(("calexp",), _EVERYWHERE)
    order = ["-calexp.collection"]
    async with snapshot_of(rich) as snapshot:
        element = snapshot.repository.universe.element("visit")
        group = dimension_records.dimensions_of(element, snapshot.repository.universe.group)
        conditions = await data_ids.find_conditions(
            snapshot, group, types=having.types, collections=having.collections, order_by=order
        )
        page = await dimension_records.page(snapshot, element, conditions, _ALL)
        found = [record.data_id.required for record in page.rows]
        assert found == _in_order(rich.butler, having, ["visit"], order)
        assert found != sorted(found)


async def test_orders_where_regions_are_looked_at(rich: RealRepository) -> None:
    having = Having(("calexp",), _EVERYWHERE)
    overlap = "instrument = 'HSC' AND {}.region OVERLAPS REGION('CIRCLE 10.0 0.0 3.0')"
    async with snapshot_of(rich) as snapshot:
        group = snapshot.repository.universe.group(["visit"])

        async def read(element: str, order: Sequence[str]) -> list[Any]:
            conditions = await data_ids.find_conditions(
                snapshot,
                group,
                types=having.types,
                collections=having.collections,
                where=Where(overlap.format(element)),
                order_by=order,
            )
            return await walk(lambda request: data_ids.page(snapshot, group, conditions, request), 1)

        plain = await read("visit", [])
        ordered = await read("visit", ["calexp.run", "-visit"])
        assert len(plain) > 1
        assert ordered != plain
        assert sorted(one.required for one in ordered) == [one.required for one in plain]
        # Which of the datasets count is not known before the detectors are looked at.
        assert await read("visit_detector_region", [])
        with pytest.raises(UnsupportedJoinError):
            await read("visit_detector_region", ["calexp.run"])


@pytest.mark.parametrize("name", ["raw.run", "calexp.dataset_id", "calexp.timespan", "calexp.nope", "calexp"])
async def test_what_gives_no_order_is_refused(rich: RealRepository, name: str) -> None:
    async with snapshot_of(rich) as snapshot:
        group = snapshot.repository.universe.group(["visit"])
        with pytest.raises(InvalidExpressionError):
            await data_ids.find_conditions(snapshot, group, types=["calexp"], order_by=[name])
