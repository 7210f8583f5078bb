"""Generated expressions in the Butler's language, of any identifiers and values: well typed, loose, and soup."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce

from hypothesis import strategies as st
from lsst.daf.butler import DimensionGroup

__all__ = ["DATASET_FIELDS", "LITERALS", "expressions", "identifiers", "loose_expressions", "token_soup"]

DATASET_FIELDS = {
    "dataset_id": "uuid",
    "ingest_date": "ingest_date",
    "run": "string",
    "collection": "string",
    "timespan": "timespan",
}
"""Fields of datasets, and their types as the Butler names them."""

LITERALS: Mapping[str, Sequence[str]] = {
    "int": ["0", "1", "903334", "-7", "+3", "- 2", "007"],
    "float": ["0.5", "12.", ".25", "1e3", "-1.5e-3", "903334.0"],
    "string": ["''", "'HSC'", "'a b'", "'Ž%_*'", "'--'", "'T'"],
    "datetime": [
        "T'2013-11-01'",
        "t'2013-06-17 13:30:00.5'",
        "T'2024-01-01T20:00:00/tai'",
        "T'56500.25'",
        "T'2024:002:03:04'",
        "T'jd/2460311.0/utc'",
        "T'unix/1700000000.0'",
    ],
    "timespan": [
        "(T'2013-11-01', T'2013-11-02')",
        "(NULL, T'2024-01-01')",
        "(T'56500.0', null)",
        "(T'2013-11-02', T'2013-11-01')",
        "(T'2013-11-02', T'2013-11-02')",
        "(null, NULL)",
    ],
    "region": [
        "POINT(320.5, -0.25)",
        "BOX(320, 0, 1.5, 1)",
        "POLYGON(10, 10, 12, 10, 12, 12.5)",
        "REGION('CIRCLE 320 -1 2.5')",
        "REGION('RANGE 12.5 14 -2 2')",
    ],
    "uuid": ["UUID('e15ab039-bc8b-4135-87c5-90902a7c0b22')", "uuid('E15AB039BC8B413587C590902A7C0B22')"],
    "hash": [],
    "bool": [],
}
"""Literals of each type."""

_ORDERED = ("int", "float", "string", "datetime")
_COMPARISONS = ("=", "!=", "<", "<=", ">", ">=")


def identifiers(group: DimensionGroup, *, dataset_type: str | None = None) -> dict[str, str]:
    """List what can be named in a query of some dimensions, with the Butler's name for its type."""
    universe = group.universe
    names = {name: universe.dimensions[name].primary_key.type for name in group.names}
    bare: dict[str, list[str]] = {}
    for element in map(universe.__getitem__, group.elements):
        for spec in [*element.schema.dimensions, *element.schema.remainder]:
            names[f"{element.name}.{spec.name}"] = spec.type
            bare.setdefault(spec.name, []).append(spec.type)
    if dataset_type is not None:
        for field, type_ in DATASET_FIELDS.items():
            names[f"{dataset_type}.{field}"] = type_
            bare.setdefault(field, []).append(type_)
    names |= {name: types[0] for name, types in bare.items() if len(types) == 1 and name not in universe.dimensions}
    for name in [name for name, type_ in names.items() if type_ == "timespan"]:
        names |= {f"{name}.begin": "datetime", f"{name}.end": "datetime"}
    return names


def expressions(
    names: Mapping[str, str],
    values: Mapping[str, Sequence[str]] | None = None,
    *,
    with_regions: bool = True,
    max_leaves: int = 3,
) -> st.SearchStrategy[str]:
    """Draw well-typed expressions.

    Parameters
    ----------
    names
        Identifiers, and their types as the Butler names them.
    values
        Literals by identifier, as they are written, to compare the identifier with; else those of `LITERALS`.
    with_regions
        Whether to have overlaps of regions, which stand alone or between ANDs.
    max_leaves
        How many tests there are at most, roughly.
    """
    plain = {name: type_ for name, type_ in names.items() if type_ != "region"}
    regions = [name for name, type_ in names.items() if type_ == "region"]
    tests = st.sampled_from(sorted(plain)).flatmap(lambda name: _test(name, plain, values or {}))
    # The Butler's time is exponential in what stands under NOT: there is only a little.
    operators = st.sampled_from(["AND", "OR"])
    pairs = st.builds("{} ({} {} {})".format, st.sampled_from(["NOT", "not NOT"]), tests, operators, tests)
    inner = st.recursive(st.one_of(tests, tests, tests.map("NOT {}".format), pairs), _combined, max_leaves=max_leaves)
    if not regions or not with_regions:
        return inner
    spatial = st.builds(
        _either_way, st.sampled_from(regions), st.just("OVERLAPS"), st.sampled_from(LITERALS["region"]), st.booleans()
    )
    joined = st.builds("{} {} ({})".format, spatial, st.sampled_from(["AND", "and\n"]), inner)
    return st.one_of(inner, inner, spatial, joined)


def loose_expressions(names: Iterable[str]) -> st.SearchStrategy[str]:
    """Draw expressions that are grammatical; few of them are well typed."""
    literals = [literal for some in LITERALS.values() for literal in some]
    atoms = st.one_of(
        st.sampled_from([*sorted(names), "NULL", "nothing", "visit.nothing", "instrument.name.begin"]),
        st.sampled_from([*literals, "1..5", "-1..5:2", "7..3"]),
    )
    calls = st.builds(
        "{}({})".format,
        st.sampled_from(["POINT", "circle", "BOX", "POLYGON", "REGION", "GLOB", "UUID", "COUNT"]),
        st.lists(atoms, max_size=4).map(", ".join),
    )
    operators = st.sampled_from([*_COMPARISONS, "OVERLAPS", "+", "-", "*", "/", "%", "AND", "OR"])

    def above(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        listed = st.lists(st.one_of(atoms, calls), min_size=1, max_size=3).map(", ".join)
        return st.one_of(
            st.builds("{} {} {}".format, parts, operators, parts),
            st.builds("{} {} {}".format, parts, operators, parts),
            st.builds("{}{}".format, st.sampled_from(["NOT ", "-", "+"]), parts),
            parts.map("({})".format),
            st.builds("({}, {})".format, parts, parts),
            st.builds("{} {}({})".format, parts, st.sampled_from(["IN", "not in "]), listed),
        )

    return st.recursive(st.one_of(atoms, atoms, calls), above, max_leaves=5)


def token_soup() -> st.SearchStrategy[str]:
    """Draw what consists of the language's words and is hardly ever grammatical."""
    words = [
        *("visit", "detector", "exposure.id", "a.b.c", "a.b.c.d", "x", ":x", ":", "T", "nUll", "POINT", "GLOB", "e5"),
        *("1", "1.", ".5", ".", "..", "1..3", "-1..2", "1 .. 2 : 3", "1..3:0", "1e5", "1e", "2.e-1", "0x1", "1a"),
        *("'a'", "''", "'", "T'2020-01-01'", "t'1.5'", "T 'x'", "AND", "oR", "NOT", "IN", "in.x", "OVERLAPS", "andx"),
        *("=", "!=", "<", "<=", ">", ">=", "==", "<>", "!", "+", "-", "*", "/", "%", "(", ")", ",", ";", "#", '"'),
        *("--", "\n", "\t", "\r", "\u00a0", "é", "ſ", "٣", "\x00", "\\"),
    ]
    return st.lists(st.tuples(st.sampled_from(words), st.sampled_from([" ", " ", ""])).map("".join), max_size=9).map(
        "".join
    )


def _test(name: str, names: Mapping[str, str], values: Mapping[str, Sequence[str]]) -> st.SearchStrategy[str]:
    """Draw a test of an identifier."""
    type_ = names[name]
    literals = [*values.get(name, ())] or [*LITERALS["datetime" if type_ == "ingest_date" else type_]]
    null = st.sampled_from([f"{name} = NULL", f"{name} != null", f"NULL = {name}"])
    if type_ == "bool":
        return st.one_of(st.sampled_from([name, f"NOT {name}", f"({name})"]), null)
    if type_ == "hash" or not literals:
        return null
    literal = st.sampled_from(literals)
    others = [other for other, its in names.items() if its == type_]
    operators = _COMPARISONS if type_ in {*_ORDERED, "ingest_date"} else ("=", "!=")
    equality = st.sampled_from(["=", "!="])
    tests = [
        null,
        st.builds(_either_way, st.just(name), st.sampled_from(operators), literal, st.booleans()),
        st.builds("{} {} {}".format, st.just(name), equality, st.sampled_from(others)),
    ]
    if type_ == "timespan":
        instant = st.one_of(literal, st.sampled_from(others), st.sampled_from(LITERALS["datetime"]))
        return st.one_of(*tests, st.builds(_either_way, st.just(name), st.just("OVERLAPS"), instant, st.booleans()))
    members = [literal]
    if type_ == "int":
        members += [st.sampled_from(["3..9", "-1 .. 4:2", "5..5"]), st.sampled_from(LITERALS["float"])]
        tests.append(st.builds("{} % {} = 1".format, st.just(name), st.integers(1, 9)))
    if type_ == "float":
        members.append(st.sampled_from(LITERALS["int"]))
    if type_ in {"int", "float"}:
        other = st.one_of(literal, literal, st.sampled_from(others))
        form = st.sampled_from(["{0} + {1} > {1}", "-{0} * {1} < {0} - {1}", "{1} - (+{0} - {1}) / {0} != {1}"])
        tests.append(st.builds(lambda form, other: form.format(name, other), form, other))
        tests.append(st.builds("{} {} {}".format, st.just(name), st.sampled_from(_COMPARISONS), _numbers()))
    if type_ == "string":
        patterns = st.sampled_from(["H*", "?SC", "*", "**", "\\*", "[a]%_"])
        tests.append(st.builds("{}({}, '{}')".format, st.sampled_from(["GLOB", "glob"]), st.just(name), patterns))
    members.append(st.just("NULL"))
    listed = st.lists(st.one_of(*members), min_size=1, max_size=3).map(", ".join)
    words = st.sampled_from(["IN", "NOT IN", "not in"])
    return st.one_of(*tests, st.builds("{} {} ({})".format, st.just(name), words, listed))


def _numbers() -> st.SearchStrategy[str]:
    return st.sampled_from([*LITERALS["int"], *LITERALS["float"]])


def _either_way(left: str, operator: str, right: str, is_swapped: bool) -> str:
    return f"{right} {operator} {left}" if is_swapped else f"{left} {operator} {right}"


def _combined(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operators = st.sampled_from(["AND", "OR", "and", "Or"])
    chains = st.lists(st.tuples(operators, parts), min_size=1, max_size=2)
    return st.one_of(
        st.builds(
            lambda first, rest: reduce(lambda text, one: f"{text} {one[0]} {one[1]}", rest, first), parts, chains
        ),
        parts.map("({})".format),
    )
