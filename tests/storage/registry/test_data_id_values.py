"""Data IDs as users write them mean what they mean to the Butler, or are refused where it is silently wrong."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lsst.daf.butler import Butler, DataIdValueError, DimensionNameError, InconsistentDataIdError
from lsst.daf.butler.registry import DataIdError

from butlerql.storage.errors import InvalidDataIdError
from butlerql.storage.registry.data_id_values import DataId, constraint, existing, expand, resolve
from butlerql.storage.snapshot import Snapshot
from tests.support.repositories import RealRepository
from tests.support.snapshots import snapshot_of, statements_of

_VISIT = {"instrument": "HSC", "visit": 102, "band": "r", "day_obs": 20240101, "physical_filter": "HSC-R"}


def _spellings(butler: Butler, data_id: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """List the ways to say one dimension of a data ID that the Butler understands."""
    value = data_id[name]
    ways: list[dict[str, Any]] = [{name: value}]
    if isinstance(value, int):
        ways += [{name: float(value)}, {name: np.int64(value)}]
        if value in (0, 1) and butler._registry._db.dialect.name == "sqlite":
            # PostgreSQL does not compare one with a number, and the Butler fails.
            ways.append({name: bool(value)})
    else:
        ways.append({name: np.str_(value)})
    required = butler.dimensions[name].required.names
    [record] = butler.query_dimension_records(name, data_id={key: data_id[key] for key in required})
    for column in (*butler.dimensions[name].alternate_keys.names, *butler.dimensions[name].metadata.names):
        held = getattr(record, column, None)
        if isinstance(held, str | int):
            ways.append({f"{name}.{column}": held, name: value})
    for alternate in butler.dimensions[name].alternate_keys.names:
        held = getattr(record, alternate)
        if isinstance(held, str):
            ways += [{name: held}, {f"{name}.{alternate}": held}]
    return ways


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_every_spelling_means_what_it_means_to_the_butler(rich: RealRepository, data: st.DataObject) -> None:
    butler = rich.butler
    name = data.draw(st.sampled_from(["calexp", "raw", "coadd", "per_band", "group_log", "both", "sky_source"]))
    refs = butler.query_datasets(name, collections="*", find_first=False, explain=False)
    if not refs:
        return
    wanted = data.draw(st.sampled_from(sorted({ref.dataId for ref in refs})))
    values: dict[str, Any] = {}
    for dimension in wanted.required:
        ways = [{dimension: wanted[dimension]}]
        if dimension not in butler.dimensions.skypix_dimensions:
            ways = _spellings(butler, wanted.mapping, dimension)
        values |= data.draw(st.sampled_from(ways))
    for dimension in data.draw(st.lists(st.sampled_from([*wanted.mapping]), max_size=2)):
        if dimension not in wanted.required:
            values[dimension] = wanted[dimension]
    ref = butler.find_dataset(name, values, collections=sorted(butler.collections.query("*", flatten_chains=True)))
    assert ref is not None
    async with snapshot_of(rich) as snapshot:
        group = snapshot.repository.universe.group(ref.datasetType.dimensions.names)
        found = await resolve(snapshot, values, group)
        assert found is not None
        assert found.mapping == dict(ref.dataId.mapping)
        assert await resolve(snapshot, found.mapping) == found
        given_back = await constraint(snapshot, values)
        assert given_back is not None
        assert given_back.items() <= found.mapping.items()
        assert set(group.required) <= given_back.keys()


async def _resolve_or_none(snapshot: Snapshot, values: Mapping[str, Any]) -> DataId | None:
    with suppress(InvalidDataIdError):
        return await resolve(snapshot, values)
    return None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.fixed_dictionaries(
        {},
        optional={
            "instrument": st.sampled_from(["HSC", "Žofie-Cam", "no", "hsc"]),
            "visit": st.sampled_from([101, 103, 987_654, -1, 2**62]),
            "exposure": st.sampled_from([101, 105, 0]),
            "detector": st.sampled_from([0, 1, 3, 99]),
            "band": st.sampled_from(["r", "zz"]),
            "skymap": st.sampled_from(["rings µ", "empty", "no"]),
            "tract": st.sampled_from([0, 1, 2]),
            "patch": st.sampled_from([0, 9]),
            "htm7": st.sampled_from([131_072, 5]),
            "visit_system": st.sampled_from([0, 1]),
        },
    )
)
async def test_plain_data_ids_are_expanded_as_by_the_butler(rich: RealRepository, values: dict[str, Any]) -> None:
    expected: dict[str, Any] | Exception
    try:
        expected = dict(rich.butler.registry.expandDataId(values).mapping)
    except (DataIdValueError, DataIdError, DimensionNameError, ValueError) as error:
        expected = error
    async with snapshot_of(rich) as snapshot:
        if isinstance(expected, DimensionNameError):
            with pytest.raises(InvalidDataIdError, match="lacks"):
                await resolve(snapshot, values)
        elif isinstance(expected, InconsistentDataIdError):
            # The records do not relate what was given, or say otherwise.
            assert await _resolve_or_none(snapshot, values) is None
        elif isinstance(expected, Exception):
            assert await resolve(snapshot, values) is None
        else:
            wrong = {name for name in values if values[name] != expected[name]}
            if wrong:
                # The Butler overwrites what is wrong.
                with pytest.raises(InvalidDataIdError, match="by the records"):
                    await resolve(snapshot, values)
            else:
                found = await resolve(snapshot, values)
                assert found is not None
                assert found.mapping == expected


@pytest.mark.parametrize(
    ("values", "answer"),
    [
        # Where the Butler ignores what is wrong.
        ({**_VISIT, "band": "g"}, "by the records it is 'r'"),
        # Where it looks only for an alternate key: then a number.
        ({"instrument": "HSC", "visit": "102"}, _VISIT),
        ({"instrument": "HSC", "visit": "+102"}, _VISIT),
        ({"instrument": "HSC", "visit": "HSCA10200"}, _VISIT),
        ({"instrument": "HSC", "detector": "1"}, {"instrument": "HSC", "detector": 1}),
        ({"skymap": "rings µ", "tract": "1"}, {"skymap": "rings µ", "tract": 1}),
        ({"instrument": "Žofie-Cam", "detector": "1"}, "the full_name of one detector and the number of another"),
        ({"instrument": "Žofie-Cam", "detector.full_name": "1"}, {"instrument": "Žofie-Cam", "detector": 0}),
        # Where it raises: there is no such record.
        ({"instrument": "HSC", "visit": "no such"}, None),
        ({"instrument": "HSC", "visit": "987654"}, None),
        ({"instrument": "HSC", "exposure.obs_id": "no such"}, None),
        ({"instrument": "HSC", "visit": 987_654, "visit.seq_num": 2}, None),
        # Where it fails by itself.
        ({"htm7": -1}, None),
        ({"instrument": "HSC", "visit": np.float64(102)}, _VISIT),
        # Where it wants all required dimensions: a key that is unique is enough.
        ({"visit.name": "HSCA10200"}, _VISIT),
        ({"skymap.hash": b"empty".hex()}, {"skymap": "empty"}),
        # What contradicts itself.
        ({"instrument": "HSC", "visit": 101, "visit.name": "HSCA10200"}, "does not have name = 'HSCA10200'"),
        ({"instrument": "HSC", "visit": 101, "visit.id": 102}, "two values for 'visit'"),
        ({"instrument": "HSC", "visit": "HSCA10200", "visit.id": 101}, "as 101, and other keys of it as 102"),
        ({"instrument": "HSC", "visit": "a", "visit.id": "b"}, "two values for 'visit'"),
        # What is not enough.
        ({"visit": 101}, "lacks 'instrument'"),
        ({"patch": 1}, "lacks 'skymap', 'tract'"),
        ({"instrument": "HSC", "visit.target_name": "α Centauri"}, "Several records of visit have target_name"),
        ({"detector.raft": "1"}, "Add 'instrument' or 'detector'"),
        # What makes no sense.
        ({"instrument": "HSC", "seq_num": 1}, "Write 'exposure.seq_num' or 'visit.seq_num'"),
        ({"nope": 1}, "no dimension of this repository"),
        ({"nope.nope": 1}, "no dimension of this repository"),
        ({"visit.nope": 1}, "no dimension of this repository"),
        ({"htm7.nope": 1}, "no dimension of this repository"),
        ({"visit_definition": 1}, "no dimension of this repository"),
        ({"visit.region": "x"}, "no dimension of this repository"),
        ({"visit": None}, "has no value"),
        ({"visit": [1]}, "must be a string or a number"),
        ({"visit": 1.5}, "must be a whole number, not 1.5"),
        ({"visit": float("nan")}, "must be a whole number"),
        ({"visit": float("inf")}, "must be a whole number"),
        ({"visit": 2**70}, "64 bits"),
        ({"visit": 1e30}, "64 bits"),
        ({"visit": str(2**70)}, "64 bits"),
        ({"visit": 10**5000}, "64 bits"),
        ({"tract": "one"}, "must be a whole number, not 'one'"),
        ({"tract": "x" * 10_000}, "not what was given"),
        ({"instrument": 3}, "must be a string, not 3"),
        ({"instrument": "a\0"}, "NUL"),
        ({"instrument": "\ud800"}, "not valid Unicode"),
        ({"visit.exposure_time": "long"}, "must be a number"),
        ({"exposure.can_see_sky": 2}, "must be true or false"),
        ({"skymap.hash": "xyz"}, "hexadecimal"),
        ({"skymap.hash": 5}, "must be a string"),
    ],
)
async def test_what_is_meant(rich: RealRepository, values: dict[str, Any], answer: dict[str, Any] | str | None) -> None:
    async with snapshot_of(rich) as snapshot:
        if isinstance(answer, str):
            with pytest.raises(InvalidDataIdError, match=answer):
                await resolve(snapshot, values)
        else:
            found = await resolve(snapshot, values)
            assert (found and found.mapping) == answer


@pytest.mark.parametrize(
    ("values", "answer"),
    [
        ({}, {}),
        ({"visit": 101}, {"visit": 101}),
        ({"band": "r"}, {"band": "r"}),
        ({"visit": 987_654, "band": "zz"}, {"visit": 987_654, "band": "zz"}),
        ({"visit": "HSCA10200"}, {"instrument": "HSC", "visit": 102}),
        ({"visit": "102"}, {"visit": 102}),
        ({"instrument": "no", "visit": "HSCA10200"}, None),
        ({"day_obs": 20240102, "instrument": "HSC", "exposure.seq_num": 3}, {"instrument": "HSC", "exposure": 105}),
        ({"instrument": "HSC", "exposure": 101, "obs_id": "HSCA101"}, {"instrument": "HSC", "exposure": 101}),
        ({"visit.exposure_time": 30.5}, {"instrument": "HSC", "visit": 103}),
        ({"exposure.can_see_sky": True}, {"instrument": "HSC", "exposure": 101}),
        ({"exposure.physical_filter": "HSC-G"}, {"instrument": "HSC", "exposure": 101}),
        ({"detector": "1"}, "the number of another"),
        ({"exposure.seq_num": 1}, "Several records of exposure"),
    ],
)
async def test_constraints(rich: RealRepository, values: dict[str, Any], answer: dict[str, Any] | str | None) -> None:
    async with snapshot_of(rich) as snapshot:
        if isinstance(answer, str):
            with pytest.raises(InvalidDataIdError, match=answer):
                await constraint(snapshot, values)
        elif answer is None:
            assert await constraint(snapshot, values) is None
        else:
            assert (await constraint(snapshot, values) or {}).items() >= answer.items()


async def test_bare_names_are_looked_for_in_the_dimensions_of_the_dataset_type(rich: RealRepository) -> None:
    async with snapshot_of(rich) as snapshot:
        universe = snapshot.repository.universe
        values = {"instrument": "HSC", "detector": 0, "day_obs": 20240102, "seq_num": 3}
        for names, visit, exposure in ((["exposure", "detector"], None, 105), (["visit", "detector"], 103, None)):
            found = await resolve(snapshot, values, universe.group(names))
            assert found is not None
            assert (found.mapping.get("visit"), found.mapping.get("exposure")) == (visit, exposure)
        # For calibrations, that of the exposure, as with the Butler.
        found = await resolve(snapshot, values, universe.group(["detector"]))
        assert found is not None
        assert found.mapping["exposure"] == 105


async def test_every_universe_is_expanded_as_by_the_butler(every_universe: RealRepository) -> None:
    butler = every_universe.butler
    async with snapshot_of(every_universe) as snapshot:
        for element in butler.dimensions.elements:
            if element.name in butler.dimensions.skypix_dimensions:
                continue
            records = butler.query_dimension_records(element.name, explain=False)
            expected = [butler.registry.expandDataId(record.dataId) for record in records]
            group = snapshot.repository.universe.group(element.minimal_group.names)
            ids = [(group, tuple(one[name] for name in group.required)) for one in expected]
            for found in (await expand(snapshot, ids), await existing(snapshot, ids)):
                assert [one and one.mapping for one in found] == [dict(one.mapping) for one in expected]
                assert [one and [*one.mapping] for one in found] == [[*one.mapping] for one in expected]


async def test_what_does_not_exist_is_told_from_what_does(rich: RealRepository) -> None:
    async with snapshot_of(rich) as snapshot:
        group = snapshot.repository.universe.group(["visit", "detector"])
        keys = [("HSC", 0, 101), ("HSC", 0, 987_654), ("HSC", 99, 101), ("no", 0, 101), ("HSC", 0, 101)]
        found = await existing(snapshot, [(group, key) for key in keys])
        assert [one is None for one in found] == [False, True, True, True, False]
        made = await expand(snapshot, [(group, key) for key in keys])
        assert made[1].mapping == {"instrument": "HSC", "detector": 0, "visit": 987_654}
        assert made[0] is made[4] is found[0]


async def test_parts_of_a_data_id(rich: RealRepository) -> None:
    async with snapshot_of(rich) as snapshot:
        universe = snapshot.repository.universe
        whole = await resolve(snapshot, {"instrument": "HSC", "visit": 102, "detector": 1})
        assert whole is not None
        assert whole.required == ("HSC", 1, 102)
        assert whole.key_of(universe.element("physical_filter")) == ("HSC", "HSC-R")


async def test_the_number_of_statements_does_not_depend_on_the_number_of_data_ids(ci_hsc: RealRepository) -> None:
    async with snapshot_of(ci_hsc) as snapshot:
        group = snapshot.repository.universe.group(["visit", "detector"])
        data_ids = ci_hsc.butler.query_data_ids(["visit", "detector"])
        keys = [(group, tuple(one[name] for name in group.required)) for one in data_ids]

        async def used(size: int) -> tuple[int, int]:
            snapshot.cache.clear()
            with statements_of(snapshot) as statements:
                await expand(snapshot, keys[:size])
            snapshot.cache.clear()
            with statements_of(snapshot) as more:
                await existing(snapshot, keys[:size])
            return len(statements), len(more)

        # What few records imply is read once, and kept.
        await used(1)
        assert await used(1) == await used(176) == (1, 1)
