"""Typed filters: the predicate that a filter becomes means what the filter says."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst import sphgeom

from butlerql.storage.errors import (
    ButlerQLError,
    InvalidArgumentError,
    LimitExceededError,
    UnknownDimensionError,
    UnsupportedJoinError,
)
from butlerql.storage.registry.expressions.filters import predicate_of
from butlerql.storage.registry.expressions.tree import (
    And,
    Comparison,
    Constant,
    DimensionKey,
    ElementField,
    InValues,
    IsNull,
    Kind,
    Literal,
    Matches,
    Not,
    Or,
    Overlaps,
    Predicate,
    Truth,
)
from butlerql.storage.registry.timespans import MAXIMUM, Timespan
from tests.support.universes import universe_of

UNIVERSE = universe_of(8)
VISITS = UNIVERSE.group(["visit"])

Row = Mapping[tuple[str, str], Any]
"""What is known of a thing, by section and name; None is NULL."""

Known = bool | None
"""Whether something holds, as SQL says it."""

COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}
START = 1_600_000_000_000_000_000
MOMENTS = range(6)


def every(values: Iterable[Known]) -> Known:
    found = list(values)
    return False if False in found else None if None in found else True


def some(values: Iterable[Known]) -> Known:
    return opposite(every(opposite(value) for value in values))


def opposite(value: Known) -> Known:
    return None if value is None else not value


def fits(text: str, pattern: str) -> bool:
    regex = re.sub(r"\\(.)|([*?])|(.)", lambda m: {"*": ".*", "?": "."}.get(m[2]) or re.escape(m[1] or m[3]), pattern)
    return re.fullmatch(regex, text) is not None


def moments(timespan: Timespan) -> set[int]:
    """Name all moments that matter; a side without a bound has some that no filter names."""
    if timespan.is_empty:
        return set()
    begin = -2 if timespan.begin is None else timespan.begin - START
    return set(range(begin, 9 if timespan.end is None else timespan.end - START))


# ---------------------------------------------------------------- what the tree says


def says(predicate: Predicate, row: Row) -> Known:
    match predicate:
        case Constant(value):
            return value
        case And(operands):
            assert len(operands) > 1
            assert not any(isinstance(one, And | Constant) for one in operands)
            return every(says(one, row) for one in operands)
        case Or(operands):
            assert len(operands) > 1
            assert not any(isinstance(one, Or | Constant) for one in operands)
            return some(says(one, row) for one in operands)
        case Not(operand):
            assert not isinstance(operand, Constant)
            return opposite(says(operand, row))
        case IsNull(operand):
            return value_of(operand, row) is None
        case _:
            value = value_of(predicate.left if isinstance(predicate, Comparison | Overlaps) else predicate.operand, row)
            return None if value is None else says_of(predicate, value)


def says_of(predicate: Predicate, value: Any) -> bool:
    match predicate:
        case Truth():
            return bool(value)
        case Comparison(sign, left, Literal(other, kind)):
            assert kind is left.kind
            names = {"=": "eq", "!=": "ne", "<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
            return COMPARE[names[sign]](value, other)
        case InValues(operand, values, kind):
            assert values and kind is operand.kind
            return value in values
        case Matches(_, pattern):
            return fits(value, pattern)
        case Overlaps(_, Literal(moment, Kind.TIME)):
            return moment - START in moments(value)
        case Overlaps(_, Literal(timespan, Kind.TIMESPAN)):
            return bool(moments(value) & moments(timespan))
    raise AssertionError(predicate)


def value_of(operand: Any, row: Row) -> Any:
    if isinstance(operand, DimensionKey):
        return row["dimensions", operand.element.name]
    assert isinstance(operand, ElementField)
    return row["records", f"{operand.element.name}.{operand.column}"]


# -------------------------------------------------------------- what the filter says


def means(asked: Mapping[str, Any], row: Row) -> Known:
    parts: list[Known] = []
    for key, value in asked.items():
        if value is None:
            continue
        if key == "and":
            parts += [means(one, row) for one in value]
        elif key == "or":
            parts.append(some(means(one, row) for one in value))
        elif key == "not":
            parts.append(opposite(means(value, row)))
        elif key == "dimensions":
            parts += [fulfils(tests, row[key, name]) for name, tests in value.items()]
        elif key == "records":
            parts += [
                fulfils(tests, row[key, f"{name}.{column}"])
                for name, columns in value.items()
                for column, tests in columns.items()
            ]
        else:
            assert key == "overlaps_time"
            parts.append(fulfils({"overlaps": value}, row["records", "visit.timespan"]))
    return every(parts)


def fulfils(tests: Mapping[str, Any], value: Any) -> Known:
    parts: list[Known] = []
    for key, other in tests.items():
        if other is None:
            continue
        if key == "is_null":
            parts.append((value is None) == other)
        elif key == "in" and not other:
            parts.append(False)
        elif key == "not_in" and not other:
            parts.append(True)
        elif value is None:
            parts.append(None)
        elif isinstance(value, Timespan):
            parts.append(timespan_fulfils(key, other, moments(value)))
        else:
            parts.append(value_fulfils(key, other, value))
    return every(parts)


def value_fulfils(key: str, other: Any, value: Any) -> bool:
    if isinstance(value, bytes):
        other = [bytes.fromhex(one) for one in other] if key in {"in", "not_in"} else bytes.fromhex(other)
    match key:
        case "in":
            return value in other
        case "not_in":
            return value not in other
        case "between":
            return bool(other[0] <= value <= other[1])
        case "glob":
            return fits(value, other)
    return COMPARE[key](value, other)


def timespan_fulfils(key: str, other: Any, mine: set[int]) -> bool:
    match key:
        case "overlaps":
            begin, end = other.get("begin"), other.get("end")
            return any(
                (begin is None or begin - START <= one) and (end is None or one < end - START) for one in mine
            ) and (begin is None or end is None or begin < end)
        case "contains":
            return other - START in mine
        case "before":
            return bool(mine) and max(mine) < other - START
    return bool(mine) and min(mine) > other - START


# ------------------------------------------------------------------------- examples

WORDS = st.sampled_from(["", "a", "b", "ab", "a*", "A", "ž", "\\", "%"])
NUMBERS = st.integers(-2, 2)
FLOATS = st.sampled_from([-1.5, 0.0, 0.5, 1e300])
HASHES = st.sampled_from([b"", b"\x00", b"\x00\xff"])
INSTANTS = st.sampled_from([START + moment for moment in MOMENTS])


def optional(strategies: Mapping[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Draw some of the keys, some of them null."""
    return st.fixed_dictionaries({}, optional={key: st.none() | value for key, value in strategies.items()})


def equality(values: st.SearchStrategy[Any]) -> dict[str, st.SearchStrategy[Any]]:
    several = st.lists(values, max_size=3)
    return {"eq": values, "ne": values, "in": several, "not_in": several, "is_null": st.booleans()}


def ordered(values: st.SearchStrategy[Any]) -> dict[str, st.SearchStrategy[Any]]:
    two = st.lists(values, min_size=2, max_size=2)
    return {**equality(values), **dict.fromkeys(("lt", "lte", "gt", "gte"), values), "between": two}


SPANS = optional({"begin": INSTANTS, "end": INSTANTS})
PATTERNS = st.sampled_from(["*", "?", "a*", "*b", "\\*", "a\\*", ""])
TESTS: Mapping[Kind, Mapping[str, st.SearchStrategy[Any]]] = {
    Kind.INT: ordered(NUMBERS),
    Kind.FLOAT: ordered(FLOATS),
    Kind.STRING: {**equality(WORDS), "glob": PATTERNS},
    Kind.HASH: equality(HASHES.map(bytes.hex)),
    Kind.BOOL: {"eq": st.booleans(), "is_null": st.booleans()},
    Kind.TIMESPAN: {
        "overlaps": SPANS,
        "contains": INSTANTS,
        "before": INSTANTS,
        "after": INSTANTS,
        "is_null": st.booleans(),
    },
}
VALUES: Mapping[Kind, st.SearchStrategy[Any]] = {
    Kind.INT: NUMBERS,
    Kind.FLOAT: FLOATS,
    Kind.STRING: WORDS,
    Kind.HASH: HASHES,
    Kind.BOOL: st.booleans(),
    Kind.TIMESPAN: st.builds(
        lambda begin, end: Timespan(begin, end, is_empty=begin is not None and end is not None and begin >= end),
        st.none() | INSTANTS,
        st.none() | INSTANTS,
    ),
}
DIMENSIONS = {"visit": Kind.INT, "band": Kind.STRING}
RECORDS = {
    "visit": {"name": Kind.STRING, "exposure_time": Kind.FLOAT, "timespan": Kind.TIMESPAN},
    "exposure": {"seq_num": Kind.INT, "has_simulated": Kind.BOOL},
    "skymap": {"hash": Kind.HASH},
}
ROWS = st.fixed_dictionaries(
    {("dimensions", name): st.none() | VALUES[kind] for name, kind in DIMENSIONS.items()}
    | {
        ("records", f"{element}.{column}"): st.none() | VALUES[kind]
        for element, columns in RECORDS.items()
        for column, kind in columns.items()
    }
)
PLAIN = optional(
    {
        "dimensions": optional({name: optional(TESTS[kind]) for name, kind in DIMENSIONS.items()}),
        "records": optional(
            {
                element: optional({column: optional(TESTS[kind]) for column, kind in columns.items()})
                for element, columns in RECORDS.items()
            }
        ),
        "overlaps_time": SPANS,
    }
)
FILTERS = st.recursive(
    PLAIN,
    lambda inner: st.builds(
        dict.__or__,
        PLAIN,
        optional({"and": st.lists(inner, max_size=3), "or": st.lists(inner, max_size=3), "not": inner}),
    ),
    max_leaves=6,
)


def without_nulls(asked: Any) -> Any:
    if isinstance(asked, dict):
        return {key: without_nulls(value) for key, value in asked.items() if value is not None}
    return [without_nulls(one) for one in asked] if isinstance(asked, list) else asked


PLACES = [(("dimensions", name), kind) for name, kind in DIMENSIONS.items()] + [
    (("records", element, column), kind) for element, columns in RECORDS.items() for column, kind in columns.items()
]


@pytest.mark.parametrize(
    ("place", "kind", "key"), [(place, kind, key) for place, kind in PLACES for key in TESTS[kind]]
)
@settings(max_examples=100)
@given(data=st.data())
def test_each_test_means_what_it_says(place: tuple[str, ...], kind: Kind, key: str, data: st.DataObject) -> None:
    asked: dict[str, Any] = {key: data.draw(TESTS[kind][key])}
    for name in reversed(place):
        asked = {name: asked}
    row = {(place[0], ".".join(place[1:])): data.draw(st.none() | VALUES[kind])}
    assert says(predicate_of(VISITS, asked), row) is means(without_nulls(asked), row)


@settings(max_examples=200)
@given(asked=FILTERS, rows=st.lists(ROWS, min_size=1, max_size=4))
def test_a_predicate_means_what_the_filter_says(asked: dict[str, Any], rows: list[Row]) -> None:
    # A null within is the same as nothing, also in what tells the meaning here.
    plain = without_nulls(asked)
    predicate = predicate_of(VISITS, asked)
    assert predicate == predicate_of(VISITS, plain)
    for row in rows:
        assert says(predicate, row) is means(plain, row)


@pytest.mark.parametrize(
    ("asked", "value"),
    [
        ({}, True),
        ({"and": []}, True),
        ({"or": []}, False),
        ({"or": [{}]}, True),
        ({"not": {}}, False),
        ({"and": None, "or": None, "not": None, "cone": None, "overlaps_time": None}, True),
        ({"dimensions": {"visit": {"in": []}}}, False),
        ({"dimensions": {"visit": {"not_in": []}}}, True),
        ({"dimensions": {"visit": {"eq": None}, "band": {}}, "records": {"visit": {"timespan": None}}}, True),
        ({"dimensions": {"visit": {"eq": 1}}, "or": []}, False),
        ({"or": [{"dimensions": {"visit": {"eq": 1}}}, {}]}, True),
    ],
)
def test_what_is_empty(asked: dict[str, Any], *, value: bool) -> None:
    assert predicate_of(VISITS, asked) == Constant(value)


def wrapped(depth: int, keys: tuple[str, ...] = ("and", "or", "not")) -> dict[str, Any]:
    asked: dict[str, Any] = {"dimensions": {"visit": {"eq": 1}}}
    for level in range(depth):
        key = keys[level % len(keys)]
        asked = {key: asked if key == "not" else [asked, {"dimensions": {"band": {"eq": str(level)}}}]}
    return asked


def test_depth_is_bounded() -> None:
    predicate_of(VISITS, wrapped(100))
    for depth in (101, 10_000):
        for keys in (("and",), ("or",), ("not",), ("and", "or", "not")):
            with pytest.raises(LimitExceededError):
                predicate_of(VISITS, wrapped(depth, keys))


def test_many_alternatives() -> None:
    members = [{"dimensions": {"visit": {"eq": number}}} for number in range(10_000)]
    predicate = predicate_of(VISITS, {"or": members})
    assert isinstance(predicate, Or)
    assert len(predicate.operands) == 10_000


def test_a_cone_is_of_the_most_precise_region() -> None:
    predicate = predicate_of(
        UNIVERSE.group(["visit", "detector"]), {"and": [{"cone": {"ra": 361, "dec": -90, "radius": 180}}]}
    )
    assert isinstance(predicate, Overlaps)
    assert predicate.left == ElementField(UNIVERSE.element("visit_detector_region"), "region", Kind.REGION)
    assert isinstance(predicate.right, Literal)
    assert predicate.right.kind is Kind.REGION
    assert isinstance(predicate.right.value, sphgeom.Circle)
    assert predicate.right.value.isFull()


def test_a_cone_has_its_rim_where_it_says() -> None:
    predicate = predicate_of(VISITS, {"cone": {"ra": 10.0, "dec": 20.0, "radius": 1.5}})
    assert isinstance(predicate, Overlaps)
    assert isinstance(predicate.right, Literal)
    circle = predicate.right.value
    centre = sphgeom.LonLat(circle.getCenter())
    assert centre.getLon().asDegrees() == pytest.approx(10)
    assert centre.getLat().asDegrees() == pytest.approx(20)
    assert circle.getOpeningAngle().asDegrees() == pytest.approx(1.5)


def test_a_point_is_a_cone() -> None:
    assert isinstance(predicate_of(VISITS, {"cone": {"ra": 0, "dec": 90, "radius": 0}}), Overlaps)


@pytest.mark.parametrize("cone", [(0, 91, 1), (0, -90.1, 1), (0, 0, -1), (0, 0, 180.1), (float("nan"), 0, 1)])
def test_cones_that_there_are_not(cone: tuple[float, float, float]) -> None:
    with pytest.raises(InvalidArgumentError, match="declination"):
        predicate_of(VISITS, {"cone": dict(zip(("ra", "dec", "radius"), cone, strict=True))})


@pytest.mark.parametrize(
    ("names", "found"), [(["visit", "patch"], "visit"), (["band"], "none of band"), ([], "none of")]
)
def test_a_cone_that_could_mean_several_regions_or_none(names: list[str], found: str) -> None:
    with pytest.raises(InvalidArgumentError, match=found):
        predicate_of(UNIVERSE.group(names), {"cone": {"ra": 0, "dec": 0, "radius": 1}})


@pytest.mark.parametrize("where", ["or", "not"])
def test_a_cone_is_certain(where: str) -> None:
    cone = {"and": [{"cone": {"ra": 0, "dec": 0, "radius": 1}}]}
    with pytest.raises(UnsupportedJoinError):
        predicate_of(VISITS, {"and": [{where: cone if where == "not" else [{}, cone]}]})


def test_time_without_timespans() -> None:
    with pytest.raises(InvalidArgumentError, match="none of band has a timespan"):
        predicate_of(UNIVERSE.group(["band"]), {"overlaps_time": {}})


def test_time_of_several_families() -> None:
    """Each family's most precise element is asked, as the time of a data ID is what they have in common."""
    for version in range(9):
        group = universe_of(version).group(["visit"])
        predicate = predicate_of(group, {"overlaps_time": {"begin": START}})
        parts = predicate.operands if isinstance(predicate, And) else (predicate,)
        assert {part.left.element.name for part in parts} >= {"visit"}  # type: ignore[union-attr]


@pytest.mark.parametrize("instant", [-(2**63), -1, MAXIMUM, 2**63 - 1])
@pytest.mark.parametrize("key", ["before", "after", "contains", "begin", "end"])
def test_instants_that_the_registry_cannot_hold(instant: int, key: str) -> None:
    """No end is a later one than any that can be named, no begin an earlier one."""
    value = {"overlaps": {key: instant}} if key in {"begin", "end"} else {key: instant}
    predicate = predicate_of(VISITS, {"records": {"visit": {"timespan": value}}})
    assert bounded(predicate, Timespan(None, None)) is (key not in {"before", "after"})
    late = instant > 0
    expected = {"before": late, "after": not late, "contains": False, "begin": not late, "end": late}
    assert bounded(predicate, Timespan(START, START + 1)) is expected[key]


def bounded(predicate: Predicate, timespan: Timespan) -> bool:
    """Evaluate as the database does: by the two numbers that the registry has."""
    match predicate:
        case And(operands):
            return all(bounded(one, timespan) for one in operands)
        case Not(operand):
            return not bounded(operand, timespan)
        case Overlaps(_, Literal(value, kind)):
            begin, end = (value, value + 1) if kind is Kind.TIME else value.bounds
            return begin < timespan.bounds[1] and timespan.bounds[0] < end
    raise AssertionError(predicate)


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"visit": {"eq": 1}}, InvalidArgumentError),
        ({"dimensions": {"nope": {"eq": 1}}}, UnknownDimensionError),
        ({"dimensions": {"visit_definition": {"eq": 1}}}, UnknownDimensionError),
        ({"dimensions": {"visit": {"glob": "*"}}}, InvalidArgumentError),
        ({"dimensions": {"visit": {"nope": 1}}}, InvalidArgumentError),
        ({"dimensions": {"band": {"lt": "r"}}}, InvalidArgumentError),
        ({"dimensions": {"band": {"eq": "r\0"}}}, InvalidArgumentError),
        ({"dimensions": {"visit": {"between": [1]}}}, InvalidArgumentError),
        ({"dimensions": {"visit": {"between": [1, 2, 3]}}}, InvalidArgumentError),
        ({"records": {"nope": {"name": {}}}}, UnknownDimensionError),
        ({"records": {"visit": {"region": {"is_null": True}}}}, InvalidArgumentError),
        ({"records": {"visit": {"id": {"eq": 1}}}}, InvalidArgumentError),
        ({"records": {"band": {"timespan": {"is_null": True}}}}, InvalidArgumentError),
        ({"records": {"visit": {"exposure_time": {"eq": float("inf")}}}}, InvalidArgumentError),
        ({"records": {"visit": {"timespan": {"eq": 1}}}}, InvalidArgumentError),
        ({"records": {"skymap": {"hash": {"eq": "xyz"}}}}, InvalidArgumentError),
        ({"records": {"skymap": {"hash": {"glob": "*"}}}}, InvalidArgumentError),
        ({"records": {"exposure": {"has_simulated": {"in": [True]}}}}, InvalidArgumentError),
        ({"or": [{}, {"dimensions": {"visit": {"between": []}}}]}, InvalidArgumentError),
    ],
)
def test_what_cannot_be_asked(asked: dict[str, Any], error: type[ButlerQLError]) -> None:
    with pytest.raises(error):
        predicate_of(VISITS, asked)
