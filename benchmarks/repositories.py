"""Large repositories: the real Butler makes the frame, the many rows are written as it would write them."""

from __future__ import annotations

import io
import math
import random
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

from astropy.time import Time, TimeDelta
from lsst.daf.butler import Butler, CollectionType, Config, DatasetType, Timespan
from lsst.sphgeom import Angle, Circle, LonLat, UnitVector3d

from tests.support.postgres import Server

__all__ = ["CHAIN", "DETECTORS", "INSTRUMENT", "PER_DETECTOR", "PER_VISIT", "RERUN", "fill", "large"]

INSTRUMENT = "LSSTCam"
CHAIN = "all"
RERUN = "rerun"
"""The run that is searched first; it holds every tenth visit's ``calexp`` once more."""

DETECTORS = 100
PER_DETECTOR = [
    "calexp",
    *(f"{name}_{part}" for name in ("isr", "char", "cal") for part in ("src", "log", "meta", "psf", "bg")),
]
"""Dataset types of a visit and detector: the first for every visit, the others for the first in 22."""
PER_VISIT = [
    f"visit_{name}" for name in ("table", "summary", "log", "meta", "image", "wcs", "psf", "sky", "qa", "plot")
]

_PER_VISIT_ON_AVERAGE = 188
_FORMATTER = "lsst.daf.butler.formatters.yaml.YamlFormatter"
_STORAGE_CLASS = "StructuredDataDict"
_BATCH = 50_000
_INGEST_DATE = 1_790_000_000_000_000_000


def large(directory: Path, *, datasets: int = 200_000, runs: int = 2, server: Server | None = None) -> str:
    """Give a large repository, which is made if it is not there.

    Parameters
    ----------
    directory
        Where repositories are kept, such as ``.cache/repositories``.
    datasets
        At least how many.
    runs
        How many runs they are in, all of them children of the chain `CHAIN`.
    server
        Put the registry into a new database of this server, instead of into a SQLite file. Databases go with their
        server, so this repository is always made anew.

    Returns
    -------
    uri
        Path of its root.
    """
    root = directory / f"{'sqlite' if server is None else 'postgresql'}-{datasets}-{runs}"
    complete = root / "complete"
    if server is None and complete.exists():
        return str(root)
    shutil.rmtree(root, ignore_errors=True)
    config = Config()
    if server is not None:
        database = server.create_database()
        config["registry", "db"] = server.url(database)
    Butler.makeRepo(root, config=config)
    with Butler.from_config(root, writeable=True) as butler:
        fill(butler, datasets, runs)
    if server is not None:
        # As the server would by itself, in time.
        with server.connect(database) as link, link.cursor() as cursor:
            cursor.execute("ANALYZE")
    complete.touch()
    return str(root)


def fill(butler: Butler, datasets: int, runs: int) -> None:
    """Fill an empty repository.

    Parameters
    ----------
    butler
        A Butler that may write to it.
    datasets
        At least how many.
    runs
        In how many runs: `RERUN`, and others that the visits are dealt to in turn.
    """
    visits = range(1_000, 1_000 + math.ceil(datasets / _PER_VISIT_ON_AVERAGE))
    _add_dimensions(butler, visits)
    for names, dimensions in ((PER_DETECTOR, ["visit", "detector"]), (PER_VISIT, ["visit"])):
        for name in names:
            dataset_type = DatasetType(name, dimensions, _STORAGE_CLASS, universe=butler.dimensions)
            butler.registry.registerDatasetType(dataset_type)
    run_names = [RERUN, *(f"run/{number}" for number in range(1, runs))]
    for name in run_names:
        butler.collections.register(name)
    butler.collections.register(CHAIN, CollectionType.CHAINED)
    butler.collections.redefine_chain(CHAIN, run_names)
    connection = butler._registry._db._engine.raw_connection()
    try:
        _Writer(connection.driver_connection, visits, run_names).write()
        connection.commit()
    finally:
        connection.close()
    butler.registry.refresh()


def _add_dimensions(butler: Butler, visits: range) -> None:
    insert = butler.registry.insertDimensionData
    insert("instrument", {"name": INSTRUMENT, "visit_max": 10**6, "exposure_max": 10**6, "detector_max": DETECTORS})
    insert("physical_filter", *({"instrument": INSTRUMENT, "name": f"{band}_01", "band": band} for band in "griz"))
    insert(
        "detector",
        *({"instrument": INSTRUMENT, "id": n, "full_name": f"R{n // 10}_S{n % 10}"} for n in range(DETECTORS)),
    )
    insert("day_obs", *({"instrument": INSTRUMENT, "id": day} for day in sorted({_day(visit) for visit in visits})))
    start, second = Time("2025-01-01T00:00:00", scale="tai"), TimeDelta(1, format="sec", scale="tai")
    insert(
        "visit",
        *(
            {
                "instrument": INSTRUMENT,
                "id": visit,
                "name": f"visit {visit}",
                "day_obs": _day(visit),
                "physical_filter": f"{'griz'[visit % 4]}_01",
                "exposure_time": 30.0,
                "timespan": Timespan(start + 40 * visit * second, start + (40 * visit + 30) * second),
                # Along a spiral, so that they are everywhere.
                "region": Circle(
                    UnitVector3d(LonLat.fromDegrees(visit * 7.3 % 360, visit * 0.37 % 120 - 60)),
                    Angle.fromDegrees(0.2),
                ),
            }
            for visit in visits
        ),
    )


def _day(visit: int) -> int:
    return 20250101 + visit // 500


@dataclass(frozen=True)
class _Dataset:
    id: UUID
    type: str
    run: str
    visit: int
    detector: int | None


class _Writer:
    """Writes the rows that the Butler writes when it puts a dataset: six tables.

    Source: statements of ``Butler.put`` and ``Butler.ingest`` as traced on both databases.
    """

    def __init__(self, link: Any, visits: range, runs: list[str]) -> None:
        self._link = link
        self._is_sqlite = isinstance(link, sqlite3.Connection)
        self._visits = visits
        self._runs = runs
        self._random = random.Random(0)
        self._written = 0

    def write(self) -> None:
        """Write all of them."""
        cursor = self._link.cursor()
        # Rows that agree need no check of each foreign key, which would take most of the time.
        if self._is_sqlite:
            for pragma in ("foreign_keys = OFF", "synchronous = OFF", "journal_mode = OFF", "cache_size = -1000000"):
                cursor.execute(f"PRAGMA {pragma}")
            cursor.execute("BEGIN")
        else:
            cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute("SELECT name, collection_id FROM collection")
        self._run_keys = dict(cursor.fetchall())
        cursor.execute("SELECT name, id, tag_association_table FROM dataset_type")
        self._types = {name: (key, table) for name, key, table in cursor.fetchall()}
        held: set[tuple[str, str]] = set()
        datasets = self._datasets()
        while batch := list(islice(datasets, _BATCH)):
            held |= {(dataset.run, dataset.type) for dataset in batch}
            self._write_batch(batch)
        self._insert(
            "collection_summary_dataset_type",
            ["collection_id", "dataset_type_id"],
            [(self._run_keys[run], self._types[name][0]) for run, name in sorted(held)],
        )
        self._insert(
            "collection_summary_instrument",
            ["collection_id", "instrument"],
            [(self._run_keys[run], INSTRUMENT) for run in sorted({run for run, _ in held})],
        )

    def _datasets(self) -> Iterator[_Dataset]:
        rerun, *others = self._runs
        for visit in self._visits:
            number = visit - self._visits.start
            run = others[number % len(others)]
            for name in PER_VISIT:
                yield self._make(name, run, visit, None)
            for detector in range(DETECTORS):
                yield self._make(PER_DETECTOR[0], run, visit, detector)
                if number % 10 == 0:
                    yield self._make(PER_DETECTOR[0], rerun, visit, detector)
                if number % 22 == 0:
                    for name in PER_DETECTOR[1:]:
                        yield self._make(name, run, visit, detector)

    def _make(self, type_: str, run: str, visit: int, detector: int | None) -> _Dataset:
        # A version 7 UUID, as the Butler gives: milliseconds, then chance.
        self._written += 1
        number = (1_790_000_000_000 + self._written // 8) << 80 | 7 << 76 | self._random.getrandbits(76)
        number = number & ~(3 << 62) | 2 << 62
        return _Dataset(UUID(int=number), type_, run, visit, detector)

    def _write_batch(self, batch: list[_Dataset]) -> None:
        runs, types = self._run_keys, self._types
        ids = [dataset.id.hex for dataset in batch]
        self._insert(
            "dataset",
            ["id", "dataset_type_id", "ingest_date", "run_id"],
            ((i, types[d.type][0], _INGEST_DATE, runs[d.run]) for i, d in zip(ids, batch, strict=True)),
        )
        for table in sorted({types[dataset.type][1] for dataset in batch}):
            of_table = [(i, d) for i, d in zip(ids, batch, strict=True) if types[d.type][1] == table]
            with_detector = of_table[0][1].detector is not None
            self._insert(
                table,
                [
                    *("dataset_type_id", "dataset_id", "collection_id", "instrument"),
                    *(["detector", "visit"] if with_detector else ["visit"]),
                ],
                (
                    (types[d.type][0], i, runs[d.run], INSTRUMENT, *([d.detector] if with_detector else []), d.visit)
                    for i, d in of_table
                ),
            )
        self._insert(
            "dataset_location",
            ["datastore_name", "dataset_id"],
            (("FileDatastore@<butlerRoot>", i) for i in ids),
        )
        self._insert(
            "file_datastore_records",
            ["dataset_id", "path", "formatter", "storage_class", "component", "file_size"],
            (
                (i, _path(d), _FORMATTER, _STORAGE_CLASS, "__NULL_STRING__", 1_000 + d.visit)
                for i, d in zip(ids, batch, strict=True)
            ),
        )

    def _insert(self, table: str, columns: list[str], rows: Iterable[tuple[Any, ...]]) -> None:
        cursor, names = self._link.cursor(), ", ".join(columns)
        if self._is_sqlite:
            marks = ", ".join("?" * len(columns))
            cursor.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", rows)
        else:
            text = io.StringIO("".join("\t".join(map(str, row)) + "\n" for row in rows))
            cursor.copy_expert(f"COPY {table} ({names}) FROM STDIN", text)


def _path(dataset: _Dataset) -> str:
    where = f"{dataset.run}/{dataset.type}/{_day(dataset.visit)}/{dataset.visit}"
    detector = "" if dataset.detector is None else f"_R{dataset.detector // 10}_S{dataset.detector % 10}"
    return f"{where}/{dataset.type}_{INSTRUMENT}_{dataset.visit}{detector}_{dataset.run.replace('/', '_')}.yaml"
