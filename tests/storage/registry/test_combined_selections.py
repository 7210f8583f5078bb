"""All that a selection says has to hold together, and acts before the first found are taken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lsst.daf.butler import CollectionType

from butlerql.storage.errors import ButlerQLError
from butlerql.storage.globs import is_glob
from butlerql.storage.registry.datasets import ingest_dates
from butlerql.storage.registry.pages import Page, PageRequest
from butlerql.storage.registry.selection import DatasetSelection, select
from butlerql.storage.registry.where import Where
from butlerql.storage.snapshot import Snapshot
from tests.support.paging import walk
from tests.support.repositories import RealRepository
from tests.support.snapshots import snapshot_of

Row = tuple[str, tuple[Any, ...], str]
"""Dataset type, required values and UUID."""

_TYPES = [["*"], ["c*", "packed.data"], ["calexp"], ["[cp]*", "bias", "split"], ["raw", "table"], ["calexp", "sky_*"]]
_PATHS = [
    *(["chain/all"], ["chain/outer", "zip"], ["u/alice/run1", "u/alice/run2"], ["u/alice/run2", "u/alice/run1"]),
    *(["tag/best", "chain/inner"], ["HSC/calib/run", "HSC/raw/all"], ["u/žofie/běh č. 1", "u/*"], ["chain/calib"]),
]
_RUNS = [["u/alice/run1"], ["u/alice/run2", "HSC/raw/all"], ["u/*"], ["HSC/*", "zip"]]
_DATA_IDS: list[Mapping[str, Any]] = [
    {"instrument": "HSC"},
    {"instrument": "HSC", "visit": 102},
    {"instrument": "HSC", "detector": 0},
    {"band": "r"},
    {"skymap": "rings µ", "tract": 1},
]
_WHERES = [
    "instrument = 'HSC' AND visit > 101",
    "instrument = 'HSC' AND detector != 1",
    "band = 'r'",
    "NOT run = 'u/alice/run2'",
    "htm7 > 0",
]
_FILTERS: list[Mapping[str, Any]] = [
    {"dimensions": {"visit": {"in": [101, 102]}}},
    {"not": {"dimensions": {"detector": {"eq": 0}}}},
    {"or": [{"dimensions": {"band": {"eq": "g"}}}, {"dimensions": {"physical_filter": {"eq": "HSC-R"}}}]},
]


def _some(values: Iterable[Any]) -> st.SearchStrategy[Any]:
    return st.sampled_from(list(values))


_tenths = st.integers(1, 9)
_selections = st.fixed_dictionaries(
    {"dataset_types": _some(_TYPES), "collections": _some(_PATHS), "find_first": st.booleans()},
    optional={
        "uuids": st.frozensets(st.integers(0, 5), min_size=1),
        "runs": _some(_RUNS),
        "data_id": _some(_DATA_IDS),
        "where": _some(_WHERES),
        "filter": _some(_FILTERS),
        "ingested_after": _tenths,
        "ingested_before": _tenths,
        "in_datastore": _some([0, 1]),
        "not_in_datastore": _some([0, 1]),
    },
)


class Known:
    """What is known of each dataset, by its UUID."""

    def __init__(self, runs: Mapping[str, str], dates: Mapping[str, int]) -> None:
        self.runs = runs
        self.dates = dates

    @property
    def instants(self) -> list[int]:
        """When datasets were put, each instant once."""
        return sorted(set(self.dates.values()))


@pytest.fixture(scope="module")
async def known(rich: RealRepository) -> Known:
    """Look up the run and the ingest date of each dataset."""
    async with snapshot_of(rich) as snapshot:
        [page] = await (await select(snapshot, DatasetSelection())).pages(snapshot, PageRequest(10_000))
        dates = dict(zip((one.uuid for one in page.rows), await ingest_dates(snapshot, page.rows), strict=True))
    refs = [rich.butler.get_dataset(UUID(uuid)) for uuid in dates]
    return Known({str(ref.id): ref.run for ref in refs if ref is not None}, dates)


async def _answer(snapshot: Snapshot, selection: DatasetSelection, size: int = 10_000) -> list[Row]:
    sets = await select(snapshot, selection)

    async def read(request: PageRequest) -> Page[Row]:
        [page] = await sets.pages(snapshot, request)
        return page._replace(rows=[(one.dataset_type.name, one.data_id, one.uuid) for one in page.rows])

    return await walk(read, size)


def _parts(drawn: Mapping[str, Any], known: Known, datastores: Sequence[str]) -> dict[str, Any]:
    """Write what was drawn as a selection does; ``where`` and ``filter`` are told apart still."""
    parts = {name: value for name, value in drawn.items() if name not in ("collections", "find_first")}
    if "uuids" in parts:
        parts["uuids"] = [uuid for place, uuid in enumerate(sorted(known.dates)) if place % 6 in drawn["uuids"]]
    for name in ("ingested_after", "ingested_before"):
        if name in parts:
            parts[name] = known.instants[len(known.instants) * parts[name] // 10]
    for name in ("in_datastore", "not_in_datastore"):
        if name in parts:
            parts[name] = datastores[parts[name]]
    if "where" in parts:
        parts["where"] = Where(parts["where"])
    if "filter" in parts:
        parts["filter"] = Where(given=parts["filter"])
    return parts


async def _left(
    snapshot: Snapshot, known: Known, part: str, value: Any, base: DatasetSelection, rows: set[Row]
) -> set[Row]:
    """Tell what one part leaves of the datasets of a collection."""
    if part == "uuids":
        return {row for row in rows if row[2] in value}
    if part == "runs":
        return {row for row in rows if any(fnmatchcase(known.runs[row[2]], run) for run in value)}
    if part == "ingested_after":
        return {row for row in rows if known.dates[row[2]] > value}
    if part == "ingested_before":
        return {row for row in rows if known.dates[row[2]] < value}
    return rows.intersection(await _answer(snapshot, replace(base, **{"where" if part == "filter" else part: value})))


# Each example is up to fifty questions.
@settings(max_examples=settings.default.max_examples // 2)
@given(drawn=_selections, size=st.integers(1, 5))
# Some of the datasets are of one data ID.
@example(
    drawn={
        "dataset_types": ["bias"],
        "collections": ["HSC/calib/run", "HSC/raw/all"],
        "find_first": True,
        "uuids": range(6),
    },
    size=5,
)
async def test_a_selection_is_what_its_parts_have_in_common(
    rich: RealRepository, known: Known, drawn: Mapping[str, Any], size: int
) -> None:
    butler = rich.butler
    conditioned = [name for name in ("data_id", "where", "filter") if name in drawn]
    # What several conditions relate datasets to has to be one thing: then the parts do not tell the whole.
    related = None if len(conditioned) < 2 else False
    path = butler.collections.query(drawn["collections"], flatten_chains=True)
    # Certifications of one data ID have no order among themselves.
    first = drawn["find_first"] and not any(map(is_glob, drawn["collections"]))
    first = first and not any(butler.collections.get_info(one).type is CollectionType.CALIBRATION for one in path)
    async with snapshot_of(rich) as snapshot:
        parts = _parts(drawn, known, butler._datastore.names)
        types = parts.pop("dataset_types")
        together = {name: value for name, value in parts.items() if name != "filter"}
        if "filter" in parts:
            text = drawn.get("where")
            together["where"] = Where(text, given=drawn["filter"])
        whole = DatasetSelection(
            dataset_types=types, collections=drawn["collections"], related=related, find_first=first, **together
        )
        expected: dict[tuple[Any, ...], Row] = {}
        try:
            for collection in path:
                base = DatasetSelection(dataset_types=types, collections=[collection], related=related)
                rows = set(await _answer(snapshot, base))
                for name, value in parts.items():
                    rows = await _left(snapshot, known, name, value, base, rows)
                for row in rows:
                    # Of one data ID a collection, unless it is a CALIBRATION, has one dataset.
                    expected.setdefault(row[:2] if first else row, row)
        except ButlerQLError:
            with pytest.raises(ButlerQLError):
                await _answer(snapshot, whole, size)
            return
        found = await _answer(snapshot, whole, size)
        assert await (await select(snapshot, whole)).counts(snapshot, [0]) == [len(found)]
    assert len(set(found)) == len(found)
    assert set(found) == set(expected.values())
