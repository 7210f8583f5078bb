"""What NumPy holds means the same as the plain value, wherever storage takes values: to us and to the real Butler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from butlerql.storage.errors import InvalidArgumentError
from butlerql.storage.registry import data_ids
from butlerql.storage.registry.collections import find
from butlerql.storage.registry.data_id_values import constraint, resolve
from butlerql.storage.registry.dataset_types import match
from butlerql.storage.registry.datasets import by_uuids
from butlerql.storage.registry.find_dataset import find_dataset
from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.registry.selection import DatasetSelection, select
from tests.support.numpy_kinds import numpy_forms
from tests.support.repositories import RealRepository
from tests.support.snapshots import snapshot_of

_DATA_IDS: list[tuple[str, dict[str, Any]]] = [
    ("calexp", {"instrument": "HSC", "visit": 101, "detector": 1}),
    ("calexp", {"instrument": "HSC", "visit": 103.0, "detector": False}),
    ("calexp", {"instrument": "Žofie-Cam", "visit": 101, "detector": 0}),
    ("sky_tile", {"htm7": 131_072}),
    ("per_band", {"band": "r"}),
    ("orbit", {"ssp_hypothesis_table": "orbits", "ssp_hypothesis_bundle": 7}),
]
_RUNS = ["u/alice/run2", "u/alice/run1", "u/žofie/běh č. 1"]


def _draw(data: st.DataObject, values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: data.draw(st.sampled_from(numpy_forms(value)), name) for name, value in values.items()}


def _understood(value: Any) -> bool:
    """Whether the Butler takes this form for its value: bytes, truth values and arrays it does not."""
    return not isinstance(value, bytes | np.bool_ | np.ndarray)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), asked=st.sampled_from(_DATA_IDS))
async def test_data_ids(rich: RealRepository, data: st.DataObject, asked: tuple[str, dict[str, Any]]) -> None:
    name, values = asked
    given_values = _draw(data, values)
    given_name = data.draw(st.sampled_from(numpy_forms(name)))
    runs = (
        np.array(_RUNS) if data.draw(st.booleans()) else [data.draw(st.sampled_from(numpy_forms(run))) for run in _RUNS]
    )
    async with snapshot_of(rich) as snapshot:
        assert await resolve(snapshot, given_values) == await resolve(snapshot, values)
        assert await constraint(snapshot, given_values) == await constraint(snapshot, values)
        expected = await find_dataset(snapshot, name, values, _RUNS, None)
        assert expected is not None
        assert await find_dataset(snapshot, given_name, given_values, runs, None) == expected
        if all(map(_understood, given_values.values())):
            theirs = rich.butler.find_dataset(name, given_values, collections=_RUNS)
            assert theirs is not None
            assert str(theirs.id) == expected.uuid


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), asked=st.sampled_from(_DATA_IDS))
async def test_selections(rich: RealRepository, data: st.DataObject, asked: tuple[str, dict[str, Any]]) -> None:
    name, values = asked
    given_values = _draw(data, values)
    forms = [data.draw(st.sampled_from(numpy_forms(each))) for each in (name, *_RUNS)]
    async with snapshot_of(rich) as snapshot:
        [expected] = await (
            await select(snapshot, DatasetSelection(None, [name], _RUNS, data_id=values, find_first=True))
        ).pages(snapshot, PageRequest(10))
        assert expected.rows
        uuids = [data.draw(st.sampled_from(numpy_forms(row.uuid))) for row in expected.rows]
        selection = DatasetSelection(
            uuids, forms[:1], forms[1:], runs=np.array(_RUNS), data_id=given_values, find_first=np.bool_(1)
        )
        [found] = await (await select(snapshot, selection)).pages(snapshot, PageRequest(np.int8(10)))
        assert found.rows == expected.rows
        assert await by_uuids(snapshot, uuids) == await by_uuids(snapshot, [row.uuid for row in expected.rows])
        if all(map(_understood, given_values.values())):
            theirs = rich.butler.query_datasets(name, _RUNS, data_id=given_values)
            assert {str(ref.id) for ref in theirs} == {row.uuid for row in found.rows}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_names(rich: RealRepository, data: st.DataObject) -> None:
    def forms(*names: str) -> list[Any]:
        return [data.draw(st.sampled_from(numpy_forms(name))) for name in names]

    async with snapshot_of(rich) as snapshot:
        universe = snapshot.repository.universe
        assert await find(snapshot, forms("u/alice/run1", "HSC/*")) == await find(snapshot, ["u/alice/run1", "HSC/*"])
        assert await match(snapshot, forms("raw", "sky_*")) == await match(snapshot, ["raw", "sky_*"])
        assert universe.group(forms("visit", "detector")) is universe.group(["visit", "detector"])
        assert universe.element(*forms("visit")) is universe.element("visit")
        datastore = snapshot.repository.datastore
        assert datastore.find(*forms(datastore.name)) is datastore
        group = universe.group(["visit", "detector"])
        conditions = await data_ids.find_conditions(
            snapshot,
            group,
            types=forms("calexp"),
            collections=forms("u/alice/run1"),
            values={"visit": np.int16(101)},
        )
        page = await data_ids.page(snapshot, group, conditions, PageRequest(10))
        assert len(page.rows) == 4


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.data(),
    kind=st.sampled_from(
        [
            (sa.BigInteger(), st.integers(-(2**63), 2**63 - 1)),
            (sa.Text(), st.text("aé%")),
            (sa.Double(), st.floats(allow_nan=False, allow_infinity=False, width=32)),
            (sa.Boolean(), st.booleans()),
        ]
    ),
)
async def test_tables_of_values(rich: RealRepository, data: st.DataObject, kind: tuple[Any, Any]) -> None:
    column, strategy = kind
    values = data.draw(st.lists(st.none() | strategy, max_size=5))
    forms = [value if value is None else data.draw(st.sampled_from(numpy_forms(value))) for value in values]
    async with snapshot_of(rich) as snapshot:
        table = snapshot.repository.dialect.rows
        for columns, width in (({"a": column}, 1), ({"a": column, "b": sa.BigInteger()}, 2)):
            rows = [(form, index)[:width] for index, form in enumerate(forms)]
            made = table("given", columns, rows)
            found = await snapshot.rows(sa.select(made.c.a))
            assert [row[0] for row in found] == values


async def test_what_is_no_value_of_a_column_is_refused_as_before(rich: RealRepository) -> None:
    async with snapshot_of(rich) as snapshot:
        for kind, value in (
            (sa.BigInteger(), np.float64(1)),
            (sa.BigInteger(), np.str_("1")),
            (sa.BigInteger(), np.uint64(2**63)),
            (sa.Text(), np.int8(1)),
            (sa.Text(), np.bytes_(b"\xff")),
            (sa.Double(), np.float32("inf")),
        ):
            with pytest.raises(InvalidArgumentError):
                snapshot.repository.dialect.rows("given", {"a": kind}, [(value,)])
