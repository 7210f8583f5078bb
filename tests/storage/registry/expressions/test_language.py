"""An expression is refused where the Butler refuses it, and else means what it means for the Butler."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lsst.daf.butler import DimensionConfig, DimensionGroup, DimensionUniverse

from butlerql.storage.errors import ButlerQLError, InvalidExpressionError, UnsupportedJoinError
from butlerql.storage.registry.expressions.language import parse
from butlerql.storage.registry.expressions.names import Scope
from butlerql.storage.registry.expressions.tree import Predicate
from butlerql.storage.universe import Universe
from tests.support.butler_expressions import butler_predicate
from tests.support.canonical_predicates import canonical
from tests.support.generated_expressions import expressions, identifiers, loose_expressions, token_soup
from tests.support.repositories import UNIVERSES
from tests.support.universes import UNIVERSE_VERSIONS, universe_of

_GROUPS = [
    ("visit",),
    ("visit", "detector"),
    ("exposure", "detector"),
    ("exposure", "visit"),
    ("tract", "patch", "band"),
    ("physical_filter",),
    ("visit", "tract"),
    ("htm7",),
    ("instrument",),
    (),
]
_quiet = settings(suppress_health_check=list(HealthCheck))
_DATASET_TYPE = "calexp"


@cache
def _their_universe(version: int) -> DimensionUniverse:
    return DimensionUniverse(DimensionConfig(UNIVERSES.format(version)))


@cache
def _our_universe(version: int) -> Universe:
    return universe_of(version)


@cache
def _group(version: int, names: tuple[str, ...]) -> DimensionGroup:
    return _their_universe(version).conform(names)


def _ours(
    text: str,
    group: DimensionGroup,
    bind: Mapping[str, Any] | None = None,
    dataset_type: str | None = None,
    constrained: frozenset[str] = frozenset(),
) -> Predicate | ButlerQLError:
    scope = Scope(_our_universe(group.universe.version).group(group.names), dataset_type, constrained)
    try:
        return parse(text, scope, bind or {})
    except (InvalidExpressionError, UnsupportedJoinError) as error:
        return error


def _is_meant(expected: Any, found: Any) -> bool:
    """Whether answers differ for a reason that stands at `DIFFERENCES`."""
    if isinstance(found, Exception):
        return "of type region" in str(found) and not isinstance(expected, Exception)
    return "Invalid column type ingest_date for operator" in str(expected)


DIFFERENCES = [
    # Ours refuses it, with or without these binds.
    ("visit.region = POINT(1, 2)", {}, "bytes would be compared, not regions"),
    ("visit.region IN (NULL)", {}, "likewise"),
    ("visit = 9223372036854775808", {}, "no database holds it"),
    ("visit.exposure_time < 1e999", {}, "no number"),
    ("visit.region OVERLAPS CIRCLE(1, 2, -1)", {}, "nothing lies within"),
    ("visit.region OVERLAPS BOX(1, 2, -1, 1)", {}, "likewise"),
    ("visit.region OVERLAPS REGION('CIRCLE nan 0 1')", {}, "no number"),
    ("visit IN (5..4)", {}, "a range that holds nothing is a mistake"),
    ("NOT NOT visit.region OVERLAPS POINT(1, 2)", {}, "simpler to say without"),
    ("visit = \u0663", {}, "digits are those of ASCII"),
]
"""What the Butler takes and we do not."""

ALLOWANCES = [
    ("calexp.ingest_date < ingest_date", {}, "an ingest date is a time like any other"),
    ("ingest_date > :x", {"x": "2024-01-01T00:00:00Z"}, "JSON has no times"),
    ("dataset_id = :x", {"x": "e15ab039-bc8b-4135-87c5-90902a7c0b22"}, "JSON has no UUIDs"),
    ("visit.timespan OVERLAPS :x", {"x": {"begin": None, "end": "2024-01-01T00:00:00"}}, "JSON has no timespans"),
    ("visit.region OVERLAPS :x", {"x": "CIRCLE 1 2 3"}, "JSON has no regions"),
    ("exposure.can_see_sky = :x", {"x": True}, "a truth value is a truth value"),
    ("exposure.can_see_sky != :x", {"x": False}, "likewise"),
    ("visit.region OVERLAPS CIRCLE((1), 2, 3)", {}, "POINT takes such numbers, too"),
    (
        "instrument IN (:x) AND visit = 1",
        {"x": ["HSC"]},
        "a list says of which instrument, as one that is written does",
    ),
]
"""What we take and the Butler does not."""


def _check(text: str, group: DimensionGroup, dataset_type: str | None, data_id: Mapping[str, Any]) -> None:
    expected = butler_predicate(text, group, dataset_type=dataset_type, constrained=data_id)
    found = _ours(text, group, dataset_type=dataset_type, constrained=frozenset(data_id))
    if _is_meant(expected, found):
        return
    if isinstance(expected, Exception) or isinstance(found, Exception):
        assert isinstance(found, Exception), (text, group, expected)
        assert isinstance(expected, Exception), (text, group, found)
    else:
        assert canonical(found) == canonical(expected), (text, group)


def test_a_bound_truth_value_is_a_number_where_one_is_wanted() -> None:
    group = _group(UNIVERSE_VERSIONS[-1], ("visit", "exposure"))
    for text in ("instrument = 'HSC' AND visit = :x", "instrument = 'HSC' AND visit IN (:x, 3)"):
        found = _ours(text, group, bind={"x": True})
        expected = butler_predicate(text, group, bind={"x": True})
        assert canonical(found) == canonical(expected)
    seen = "exposure.can_see_sky"
    for text, same in ((f"{seen} = :x", seen), (f":x != {seen}", f"NOT {seen}")):
        assert _ours(text, group, bind={"x": True}) == _ours(same, group)


_group_drawn = st.builds(_group, st.sampled_from(UNIVERSE_VERSIONS), st.sampled_from(_GROUPS))
_type_drawn = st.sampled_from([None, _DATASET_TYPE])
_data_id_drawn = st.sampled_from([{}, {"instrument": "HSC"}, {"instrument": "HSC", "skymap": "rings"}])


@_quiet
@given(data=st.data())
def test_what_is_well_typed(data: st.DataObject) -> None:
    for _ in range(12):
        group, dataset_type, data_id = data.draw(_group_drawn), data.draw(_type_drawn), data.draw(_data_id_drawn)
        names = identifiers(group, dataset_type=dataset_type)
        if names:
            _check(data.draw(expressions(names)), group, dataset_type, data_id)


@_quiet
@given(data=st.data())
def test_what_is_grammatical(data: st.DataObject) -> None:
    for _ in range(12):
        group, dataset_type, data_id = data.draw(_group_drawn), data.draw(_type_drawn), data.draw(_data_id_drawn)
        names = identifiers(group, dataset_type=dataset_type)
        _check(data.draw(loose_expressions(names)), group, dataset_type, data_id)


@_quiet
@given(data=st.data())
def test_what_is_neither(data: st.DataObject) -> None:
    group = _group(7, ("visit", "detector"))
    for _ in range(12):
        _check(data.draw(token_soup()), group, None, {"instrument": "HSC"})


def _both(text: str, bind: Mapping[str, Any]) -> tuple[Any, Any]:
    group = _group(7, ("visit",))
    data_id = {} if "instrument" in text else {"instrument": "HSC"}
    expected = butler_predicate(text, group, bind, dataset_type=_DATASET_TYPE, constrained=data_id)
    return expected, _ours(text, group, bind, _DATASET_TYPE, frozenset(data_id))


@pytest.mark.parametrize(("text", "bind", "why"), DIFFERENCES)
def test_we_refuse_more(text: str, bind: Mapping[str, Any], why: str) -> None:
    expected, found = _both(text, bind)
    assert not isinstance(expected, Exception) and isinstance(found, ButlerQLError)


@pytest.mark.parametrize(("text", "bind", "why"), ALLOWANCES)
def test_we_take_more(text: str, bind: Mapping[str, Any], why: str) -> None:
    expected, found = _both(text, bind)
    assert isinstance(expected, Exception) and not isinstance(found, Exception), found


def test_the_radius_of_a_circle_is_what_is_documented() -> None:
    written, _ = _both("visit.region OVERLAPS REGION('CIRCLE 10 20 3')", {})
    _, found = _both("visit.region OVERLAPS CIRCLE(10, 20, 3)", {})
    assert canonical(found) == canonical(written)


@pytest.mark.parametrize(
    "text",
    [
        "visit IN (UUID(" * 3000 + "1" + "))" * 3000,
        *("(" * 3000 + "visit" + ")" * 3000, "(" * 50_000, "NOT " * 5000 + "visit = 1", "-" * 5000 + "visit = 1"),
        *(
            "visit" + " + 1" * 5000 + " = 1",
            "visit = 1" + " = 1" * 5000,
            "visit = " + "1" * 5000,
            "visit = " + "1" * 5000 + ".",
        ),
        *("'" * 50_001, "T'" * 50_000, "1..2" * 10_000, "visit IN (" + "1, " * 50_000, "1 " * 50_000, "a." * 50_000),
    ],
    ids=lambda text: f"{text[:12]}...",
)
def test_what_is_monstrous_is_refused(text: str) -> None:
    found = _ours(text, _group(7, ("visit",)), constrained=frozenset({"instrument"}))
    assert isinstance(found, InvalidExpressionError)
    assert len(str(found)) < 1000


def test_what_is_long_is_read() -> None:
    group, constrained = _group(7, ("visit",)), frozenset({"instrument"})
    for text in (
        " AND ".join(f"visit != {n}" for n in range(10_000)),
        " OR ".join(f"visit = {n}" for n in range(10_000)),
        f"visit IN ({', '.join(map(str, range(100_000)))})",
    ):
        assert not isinstance(_ours(text, group, constrained=constrained), Exception)


@_quiet
@given(text=st.text(max_size=40), bind=st.dictionaries(st.sampled_from(["x", "y"]), st.integers() | st.text()))
def test_any_text_is_refused_or_read(text: str, bind: dict[str, Any]) -> None:
    found = _ours(text, _group(7, ("visit",)), bind)
    if isinstance(found, InvalidExpressionError):
        assert found.position is None or 0 <= found.position <= len(text)
