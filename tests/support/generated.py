"""Generated repositories: hypothesis draws what one holds, the real Butler makes it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from astropy.time import Time
from hypothesis import strategies as st
from lsst.daf.butler import Butler, CollectionType, DataCoordinate, DatasetRef, DatasetType, Timespan

from tests.support.repositories import Content
from tests.support.rich_dimensions import insert_dimensions

__all__ = [
    "COLLECTION_NAMES",
    "DATA_IDS",
    "TYPE_NAMES",
    "Calibration",
    "Chain",
    "Run",
    "Spec",
    "Tag",
    "Type",
    "specs",
]

_VISITS = [{"instrument": "HSC", "visit": n} for n in (101, 102, 103, 104)] + [
    {"instrument": "Žofie-Cam", "visit": 101}
]
_DETECTORS = [{"instrument": "HSC", "detector": n} for n in (0, 1, 2)] + [{"instrument": "Žofie-Cam", "detector": 0}]
_EXPOSURES = [{"instrument": "HSC", "exposure": n} for n in (101, 102, 103, 104)]
_PIXELS = [{"htm7": n} for n in (131_072, 147_456, 200_000)]
_TRACTS = [{"skymap": "rings µ", "tract": n} for n in (0, 1)]


def _joined(*pools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Make every combination that agrees on what its parts share."""
    joined = []
    for parts in product(*pools):
        whole: dict[str, Any] = {}
        for part in parts:
            whole |= part
        if all(whole[key] == value for part in parts for key, value in part.items()):
            joined.append(whole)
    return joined


DATA_IDS: Mapping[tuple[str, ...], Sequence[Mapping[str, Any]]] = {
    (): [{}],
    ("instrument",): [{"instrument": "HSC"}, {"instrument": "Žofie-Cam"}],
    ("band",): [{"band": band} for band in ("g", "r", "white")],
    ("instrument", "detector"): _DETECTORS,
    ("instrument", "physical_filter"): [
        {"instrument": instrument, "physical_filter": name}
        for instrument, name in (("HSC", "HSC-G"), ("HSC", "HSC-R"), ("HSC", "HSC-R2"), ("Žofie-Cam", "no filter"))
    ],
    ("instrument", "group"): [{"instrument": "HSC", "group": "group, with spaces"}],
    ("instrument", "visit"): _VISITS,
    ("instrument", "exposure"): _EXPOSURES,
    ("instrument", "visit", "detector"): _joined(_VISITS, _DETECTORS),
    ("instrument", "exposure", "detector"): _joined(_EXPOSURES, _DETECTORS),
    ("skymap", "tract"): _TRACTS,
    ("skymap", "tract", "patch", "band"): [
        {**tract, "patch": patch, "band": band} for tract in _TRACTS for patch in (0, 3) for band in ("g", "r")
    ],
    ("instrument", "visit", "skymap", "tract"): _joined(_VISITS, _TRACTS),
    ("htm7",): _PIXELS,
    ("instrument", "visit", "htm7"): _joined(_VISITS, _PIXELS),
}
"""What generated dataset types may be of, and the data IDs that there are for them."""

TYPE_NAMES = ["a", "B", "b", "a_b", "aB", "Ab", "a1", "a10", "a2", "zz"]
"""Names that sort differently by bytes, by locale and by number."""

COLLECTION_NAMES = [
    *("a", "B", "b/c", "b/C", "b_c", "b%c", "b c", "ž", "Ž/é", "e\u0301", "é", "a[b", "x'y", 'x"y'),
    *("\\", "1", "10", "2", "-", "🔭", "run", "run/1", "run/2", "run/10", "u/ops/2026-11-23T00:00:00"),
]
"""Names that need quoting somewhere or sort in more than one way; none that the Butler takes for a pattern."""

_DAYS = [f"2024-01-{day:02}T00:00:00" for day in range(1, 9)]


@dataclass(frozen=True)
class Type:
    """A dataset type."""

    name: str
    dimensions: tuple[str, ...]
    is_calibration: bool


@dataclass(frozen=True)
class Run:
    """A RUN: ``(type, data ID)`` of each dataset, as positions; and how many of them are purged again."""

    name: str
    datasets: tuple[tuple[int, int], ...]
    purged: int
    doc: str | None


@dataclass(frozen=True)
class Tag:
    """A TAGGED collection: positions among all datasets."""

    name: str
    members: tuple[int, ...]


@dataclass(frozen=True)
class Calibration:
    """A CALIBRATION collection: ``(position among all calibration datasets, begin, end)``, as days or `None`."""

    name: str
    certified: tuple[tuple[int, int | None, int | None], ...]


@dataclass(frozen=True)
class Chain:
    """A CHAINED collection: positions among the collections before it; some children are put in front later."""

    name: str
    children: tuple[int, ...]
    prepended: tuple[int, ...]


@dataclass(frozen=True)
class Spec:
    """What a generated repository holds.

    Positions are taken modulo what there is, and what the Butler would refuse (a second dataset of a data ID in a
    collection, overlapping validity ranges) is left out, so that every spec can be built.
    """

    types: tuple[Type, ...]
    runs: tuple[Run, ...]
    tags: tuple[Tag, ...]
    calibrations: tuple[Calibration, ...]
    chains: tuple[Chain, ...]

    @property
    def content(self) -> Content:
        """What `Repositories` builds."""
        digest = hashlib.sha256(repr(self).encode()).hexdigest()
        return Content(f"generated {digest}", lambda butler, _: _build(self, butler), base=_PREPARED)


def _prepare(butler: Butler, outside: Path) -> None:
    insert_dimensions(butler)
    # Makes the tables, so that generated types cost a row and not DDL.
    for number, dimensions in enumerate(DATA_IDS):
        _register(butler, Type(f"unused{number}", dimensions, is_calibration=True))


def _register(butler: Butler, wanted: Type) -> None:
    butler.registry.registerDatasetType(
        DatasetType(
            wanted.name,
            wanted.dimensions,
            "StructuredDataDict",
            universe=butler.dimensions,
            isCalibration=wanted.is_calibration,
        )
    )


_PREPARED = Content("prepared for generated ones", _prepare)


def _build(spec: Spec, butler: Butler) -> None:
    for wanted in spec.types:
        _register(butler, wanted)
    datasets = [ref for run in spec.runs for ref in _build_run(spec, run, butler)]
    for tag in spec.tags:
        _build_tag(tag, datasets, butler)
    calibrations = [ref for ref in datasets if ref.datasetType.isCalibration()]
    for calibration in spec.calibrations:
        _build_calibration(calibration, calibrations, butler)
    names = [named.name for named in (*spec.runs, *spec.tags, *spec.calibrations)]
    for chain in spec.chains:
        _build_chain(chain, names, butler)
        names.append(chain.name)


def _build_run(spec: Spec, run: Run, butler: Butler) -> list[DatasetRef]:
    butler.collections.register(run.name, doc=run.doc)
    if not spec.types:
        return []
    wanted: dict[Type, dict[int, Mapping[str, Any]]] = {}
    for type_position, position in run.datasets:
        type_ = spec.types[type_position % len(spec.types)]
        pool = DATA_IDS[type_.dimensions]
        wanted.setdefault(type_, {})[position % len(pool)] = pool[position % len(pool)]
    refs = [ref for type_, data_ids in wanted.items() for ref in _insert(butler, run.name, type_.name, data_ids)]
    butler.pruneDatasets(refs[: run.purged], disassociate=True, unstore=True, purge=True)
    return refs[run.purged :]


def _insert(butler: Butler, run: str, name: str, data_ids: Mapping[int, Mapping[str, Any]]) -> list[DatasetRef]:
    dataset_type = butler.get_dataset_type(name)
    refs = [
        DatasetRef(
            dataset_type,
            DataCoordinate.standardize(data_id, dimensions=dataset_type.dimensions),
            run=run,
            # The Butler's own begin with the time: they would sort as the runs do, and differ from one try to the next.
            id=uuid5(NAMESPACE_URL, f"{run} {name} {position}"),
        )
        for position, data_id in data_ids.items()
    ]
    imported: list[DatasetRef] = butler.registry._importDatasets(refs)
    return imported


def _build_tag(tag: Tag, datasets: Sequence[DatasetRef], butler: Butler) -> None:
    butler.collections.register(tag.name, CollectionType.TAGGED)
    if datasets:
        members = {}
        for position in tag.members:
            ref = datasets[position % len(datasets)]
            members.setdefault((ref.datasetType, ref.dataId), ref)
        butler.registry.associate(tag.name, members.values())


def _build_calibration(calibration: Calibration, datasets: Sequence[DatasetRef], butler: Butler) -> None:
    butler.collections.register(calibration.name, CollectionType.CALIBRATION)
    certified: dict[tuple[Any, Any], list[Timespan]] = {}
    for position, begin, end in calibration.certified if datasets else ():
        ref, timespan = datasets[position % len(datasets)], _timespan(begin, end)
        others = certified.setdefault((ref.datasetType, ref.dataId), [])
        if not any(timespan.overlaps(other) for other in others):
            others.append(timespan)
            butler.registry.certify(calibration.name, [ref], timespan)


def _timespan(begin: int | None, end: int | None) -> Timespan:
    if begin is not None and end is not None:
        begin, end = min(begin, end), max(begin, end) + 1
    return Timespan(*(None if day is None else Time(_DAYS[day], scale="tai") for day in (begin, end)))


def _build_chain(chain: Chain, names: Sequence[str], butler: Butler) -> None:
    butler.collections.register(chain.name, CollectionType.CHAINED)
    if names:
        butler.collections.redefine_chain(chain.name, [names[position % len(names)] for position in chain.children])
        butler.collections.prepend_chain(chain.name, [names[position % len(names)] for position in chain.prepended])


def _storable(text: str) -> bool:
    # Neither database takes lone surrogates, and PostgreSQL takes no NUL.
    return "\0" not in text and text.isprintable()


def _tuples(
    elements: st.SearchStrategy[Any], least: int, most: int, unique_by: Callable[[Any], Any] | None = None
) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(elements, min_size=least, max_size=most, unique_by=unique_by).map(tuple)


def _name(named: Any) -> str:
    name: str = named.name
    return name


_positions = st.integers(0, 60)
_days = st.none() | st.integers(0, len(_DAYS) - 2)
_docs = st.none() | st.text(max_size=8).filter(_storable)
_names = st.sampled_from(COLLECTION_NAMES)
_types = st.builds(Type, st.sampled_from(TYPE_NAMES), st.sampled_from(list(DATA_IDS)), st.booleans())
# Few data IDs, so that runs shadow each other; and one in three runs loses some, or all, of what it had.
_datasets = _tuples(st.tuples(st.integers(0, 3), st.integers(0, 11)), 3, 16)
_runs = st.builds(Run, _names, _datasets, st.sampled_from([0, 0, 0, 0, 2, 16]), _docs)
_tags = st.builds(Tag, _names, _tuples(_positions, 0, 12))
_calibrations = st.builds(Calibration, _names, _tuples(st.tuples(_positions, _days, _days), 0, 12))
_chains = st.builds(Chain, _names, _tuples(_positions, 0, 5), _tuples(_positions, 0, 2))


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    """Draw what a repository holds: at least a dataset type or two, and a run or two with datasets."""
    types = draw(_tuples(_types, 2, 4, unique_by=_name))
    taken: set[str] = set()

    def some(strategy: st.SearchStrategy[Any], least: int, most: int) -> tuple[Any, ...]:
        drawn = draw(_tuples(strategy.filter(lambda named: named.name not in taken), least, most, unique_by=_name))
        taken.update(named.name for named in drawn)
        return drawn

    return Spec(types, some(_runs, 2, 4), some(_tags, 0, 2), some(_calibrations, 0, 2), some(_chains, 1, 5))
