"""Generated conditions in the Butler's expression language, of what a repository holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from astropy.time import Time
from hypothesis import strategies as st
from lsst.daf.butler import Butler, Timespan
from lsst.daf.butler.queries.tree import DatasetFieldName
from lsst.sphgeom import LonLat, Region

__all__ = ["Sampled", "conditions", "orders", "sample", "sample_datasets"]

_COMPARISONS = ("=", "!=", "<", "<=", ">", ">=")


# Hypothesis shows what it draws from, and this would be very long.
@dataclass(repr=False)
class Sampled:
    """What a repository's records hold, by the identifier that a condition names it by."""

    values: dict[str, list[Any]] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    regions: dict[str, list[Region]] = field(default_factory=dict)
    _tests: dict[str, st.SearchStrategy[str]] = field(default_factory=dict)

    def with_more(self) -> Sampled:
        """Give another that more can be added to."""
        return Sampled(dict(self.values), dict(self.kinds), self.regions)

    def tests(self, name: str) -> st.SearchStrategy[str]:
        """Draw tests of an identifier; made once, since Hypothesis looks through all that it has not seen before."""
        if name not in self._tests:
            self._tests[name] = (_spatial if name in self.regions else _simple)(self, name)
        return self._tests[name]


def sample(butler: Butler) -> Sampled:
    """Look what is in the records of each element, and in the datasets."""
    sampled = Sampled()
    for element in butler.dimensions.elements:
        if not element.has_own_table:
            continue
        with butler.query() as query:
            records = list(query.dimension_records(element.name))
        name = element.name
        for spec in [*element.schema.dimensions, *element.schema.remainder]:
            column = spec.name
            identifier = f"{name}.{column}"
            found = [value for record in records if (value := getattr(record, column, None)) is not None]
            if spec.type == "region":
                if found:
                    sampled.regions[identifier] = found
                continue
            sampled.kinds[identifier] = spec.type
            sampled.values[identifier] = found
            if column == "id" or (column == "name" and name in butler.dimensions.dimensions.names):
                sampled.kinds[name], sampled.values[name] = spec.type, found
    runs = list(butler.collections.query("*"))
    sampled.kinds |= {"run": "string", "collection": "string", "ingest_date": "datetime", "dataset_id": "uuid"}
    sampled.values |= {"run": runs, "collection": runs, "ingest_date": [], "dataset_id": []}
    for kind in butler.registry.queryDatasetTypes():
        for ref in list(butler.registry.queryDatasets(kind, collections="*"))[:4]:
            sampled.values["dataset_id"].append(ref.id)
    return sampled


def sample_datasets(butler: Butler, sampled: Sampled, name: str) -> list[str]:
    """Look what is in the fields of the datasets of a type, and list their identifiers."""
    kinds: dict[DatasetFieldName, str] = {
        "run": "string",
        "collection": "string",
        "ingest_date": "datetime",
        "dataset_id": "uuid",
        "timespan": "validity",
    }
    with butler.query() as query:
        everywhere = butler.collections.query("*", include_chains=False)
        joined = query.join_dataset_search(name, everywhere)
        dimensions = butler.get_dataset_type(name).dimensions
        rows = list(joined.general(dimensions, dataset_fields={name: set(kinds)}, find_first=False))
    for column, kind in kinds.items():
        sampled.kinds[f"{name}.{column}"] = kind
        sampled.values[f"{name}.{column}"] = [row[f"{name}.{column}"] for row in rows]
    return [f"{name}.{column}" for column in kinds]


def conditions(sampled: Sampled, names: Sequence[str]) -> st.SearchStrategy[str]:
    """Draw expressions of some identifiers; most of them make sense."""
    plain = [name for name in names if name in sampled.kinds]
    regions = [name for name in names if name in sampled.regions]
    simple = st.sampled_from(plain).flatmap(sampled.tests)
    # The Butler's time is exponential in what stands under NOT: there is only a little.
    pair = st.builds("NOT ({} {} {})".format, simple, st.sampled_from(["AND", "OR"]), simple)
    inner = st.recursive(st.one_of(simple, simple, simple.map("NOT {}".format), pair), _combined, max_leaves=4)
    if not regions:
        return inner
    spatial = st.sampled_from(regions).flatmap(sampled.tests)
    joined = st.builds("{} AND {}".format, spatial, inner.map("({})".format))
    return st.one_of(inner, inner, spatial, joined)


def orders(names: Sequence[str]) -> st.SearchStrategy[list[str]]:
    """Draw what to order by."""
    return st.lists(
        st.builds("{}{}".format, st.sampled_from(["", "-"]), st.sampled_from(names)), min_size=1, max_size=2
    )


def _combined(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.lists(parts, min_size=2, max_size=3).map(" AND ".join),
        st.lists(parts, min_size=2, max_size=3).map(lambda some: f"({' OR '.join(some)})"),
    )


def _simple(sampled: Sampled, name: str) -> st.SearchStrategy[str]:
    kind = sampled.kinds[name]
    values = sampled.values[name]
    tests = {"int": _numbers, "float": _numbers, "string": _texts, "datetime": _times}
    tests |= {"timespan": _timespans, "validity": _validities}
    null = st.sampled_from([f"{name} = NULL", f"{name} != null"])
    if kind == "bool":
        return st.one_of(st.just(name), st.just(f"NOT {name}"), null)
    if kind == "uuid":
        return st.sampled_from(values or [""]).map(lambda value: f"{name} = UUID('{value}')")
    if kind in tests:
        return st.one_of(tests[kind](name, kind, values), tests[kind](name, kind, values), null)
    return null


def _numbers(name: str, kind: str, values: Sequence[Any]) -> st.SearchStrategy[str]:
    known = st.sampled_from([*values, *values, 0 if kind == "int" else 0.5])
    number = known.map(repr) if kind == "float" else st.one_of(known.map(str), known.map(str), known.map("{}.0".format))
    listed = st.lists(number, min_size=1, max_size=3).map(", ".join)
    tests = [
        st.builds("{} {} {}".format, st.just(name), st.sampled_from(_COMPARISONS), number),
        st.builds("{} {} {}".format, number, st.sampled_from(_COMPARISONS), st.just(name)),
        st.builds("{} {}IN ({})".format, st.just(name), st.sampled_from(["", "NOT "]), listed),
    ]
    whole = known.map(str) if kind == "int" else known.map(repr)
    one = "1" if kind == "int" else "1.0"
    arithmetic = st.sampled_from(["{0} + {2} > {1}", "-{0} < -{1}", "{0} * {2} - {1} = {1} - {1}", "{0} / {2} >= {1}"])
    tests.append(st.builds(lambda form, value: form.format(name, value, one), arithmetic, whole))
    if kind == "int":
        ranges = st.builds(
            lambda start, length, step: f"{name} IN ({start}..{start + length}:{step}, 7)",
            known,
            st.integers(0, 5),
            st.integers(1, 3),
        )
        tests += [ranges, known.map(lambda value: f"{name} % 2 = {abs(value) % 2}")]
    return st.one_of(tests)


def _texts(name: str, _kind: str, values: Sequence[Any]) -> st.SearchStrategy[str]:
    known = [value for value in values if "'" not in value]
    value = st.sampled_from([*known, *known, "no"]).map("'{}'".format)
    listed = st.lists(value, min_size=1, max_size=3).map(", ".join)
    forms = st.sampled_from(["{start}*", "*{rest}", "?{tail}", "*", "[H]*", "*%*", "*_*", "\\*"])
    pattern = st.builds(
        lambda text, form: form.format(start=text[:2], rest=text[2:], tail=text[1:]),
        st.sampled_from([*known, "no"]),
        forms,
    )
    return st.one_of(
        st.builds("{} {} {}".format, st.just(name), st.sampled_from(("=", "!=")), value),
        st.builds("{} {}IN ({})".format, st.just(name), st.sampled_from(["", "NOT "]), listed),
        pattern.map(lambda text: f"GLOB({name}, '{text}')"),
    )


def _times(name: str, _kind: str, values: Sequence[Any]) -> st.SearchStrategy[str]:
    return st.builds("{} {} {}".format, st.just(name), st.sampled_from(_COMPARISONS), _instants(values))


def _instants(values: Sequence[Any]) -> st.SearchStrategy[str]:
    times: list[Time] = []
    for value in values:
        if isinstance(value, Time):
            times.append(value)
        if isinstance(value, Timespan):
            times += [bound for bound in (value.begin, value.end) if isinstance(bound, Time)]
    known = [f"T'{time.tai.isot}/tai'" for time in times]
    return st.sampled_from(
        [*known, *known, "T'2024-01-01T21:00:30'", "T'60311.5'", "T'2024:002'", "T'jd/2460311.0/utc'"]
    )


def _timespans(name: str, kind: str, values: Sequence[Any]) -> st.SearchStrategy[str]:
    bounds = st.builds("{}.{}".format, st.just(name), st.sampled_from(["begin", "end"]))
    return st.one_of(
        _validities(name, kind, values),
        st.builds("{} {} {}".format, bounds, st.sampled_from(_COMPARISONS), _instants(values)),
    )


def _validities(name: str, _kind: str, values: Sequence[Any]) -> st.SearchStrategy[str]:
    """Test timespans that may be open at an end, whose bounds the Butler does not compare alike on all databases."""
    instant = _instants(values)
    bound = st.one_of(instant, instant, st.just("NULL"))
    return st.one_of(
        st.builds("{} OVERLAPS {}".format, st.just(name), instant),
        st.builds("({}, {}) OVERLAPS {}".format, st.just("NULL"), instant, st.just(name)),
        st.builds("{} OVERLAPS ({}, NULL)".format, st.just(name), bound),
    )


def _spatial(sampled: Sampled, name: str) -> st.SearchStrategy[str]:
    def overlap(region: Region, shift: float, size: float, form: str) -> str:
        centre = LonLat(region.getBoundingCircle().getCenter())
        ra, dec = (centre.getLon().asDegrees() + shift) % 360, max(-89.0, min(89.0, centre.getLat().asDegrees()))
        corners = [(ra - size, dec - size), (ra + size, dec - size), (ra, dec + size)]
        polygon = ", ".join(f"{a % 360}, {d}" for a, d in corners)
        return f"{name} OVERLAPS {form.format(ra=ra, dec=dec, size=size, polygon=polygon)}"

    return st.builds(
        overlap,
        st.sampled_from(sampled.regions[name]),
        st.sampled_from([0.0, 0.3, 1.5]),
        st.sampled_from([0.05, 0.7]),
        st.sampled_from(
            [
                "POINT({ra}, {dec})",
                "REGION('CIRCLE {ra} {dec} {size}')",
                "BOX({ra}, {dec}, {size}, {size})",
                "POLYGON({polygon})",
            ]
        ),
    )


def identifiers(butler: Butler, sampled: Sampled, names: Sequence[str]) -> list[str]:
    """List the identifiers of elements whose dimensions are all among some."""
    group = butler.dimensions.conform(names)
    elements = set(group.elements)
    known: Mapping[str, Any] = {**sampled.kinds, **sampled.regions}
    return [name for name in known if name.partition(".")[0] in elements]
