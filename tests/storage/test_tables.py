"""Our tables have the columns of the real ones, in every universe, layout and database."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from astropy.time import Time
from lsst.daf.butler import Butler, DatasetType
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

from butlerql.storage.dialect import UuidText
from butlerql.storage.registry import dataset_types
from butlerql.storage.tables import ingest_date
from tests.support.repositories import Content, Dialect, Layout, RealRepository, Repositories
from tests.support.small import SMALL, add_datasets
from tests.support.snapshots import snapshot_of
from tests.support.universes import UNIVERSE_VERSIONS

GROUPS = {
    "nothing": [],
    "filter": ["physical_filter"],
    "image": ["visit", "detector"],
    "coadd": ["tract", "patch", "band"],
    "pixel": ["htm7"],
    "sub": ["subfilter", "skymap"],
}


def _fill(butler: Butler, outside: Path) -> None:
    for name, dimensions in GROUPS.items():
        group = butler.dimensions.conform(dimensions)
        butler.registry.registerDatasetType(DatasetType(name, group, "StructuredDataDict"))
    detector = butler.dimensions.conform(["detector"])
    butler.registry.registerDatasetType(DatasetType("calib", detector, "StructuredDataDict", isCalibration=True))


TYPES_ALONE = Content("dataset types alone", _fill)


def family(kind: TypeEngine[Any]) -> str:
    """Name what a type holds, whatever its width."""
    families = {
        "text": (sa.Text, sa.String),
        "int": (sa.BigInteger, sa.Integer, sa.SmallInteger),
        "float": (sa.Float,),
        "bool": (sa.Boolean,),
        "time": (sa.DateTime,),
        "range": (postgresql.INT8RANGE,),
    }
    if isinstance(kind, UuidText | postgresql.UUID) or (isinstance(kind, sa.CHAR) and kind.length == 32):
        return "uuid"
    if isinstance(kind, sa.types.TypeDecorator):
        return family(kind.impl_instance)
    return next(name for name, kinds in families.items() if isinstance(kind, kinds))


def columns_of(real: RealRepository) -> dict[str, dict[str, str]]:
    """Ask the database itself for its tables and their columns."""
    if real.server is not None and real.database is not None:
        engine = sa.create_engine(real.server.url(real.database))
    else:
        engine = sa.create_engine(f"sqlite:///{real.sqlite_file}")
    try:
        found = sa.inspect(engine).get_multi_columns(schema=real.layout.namespace)
        return {name: {column["name"]: family(column["type"]) for column in found[_, name]} for _, name in found}
    finally:
        engine.dispose()


@pytest.mark.parametrize(("collections", "datasets"), [("synthInt", "2.0.0"), ("nameKey", "1.0.0")])
@pytest.mark.parametrize("version", UNIVERSE_VERSIONS)
async def test_columns(
    repositories: Repositories, dialect: Dialect, collections: Any, datasets: Any, version: int
) -> None:
    layout = Layout(dialect, collections=collections, datasets=datasets, universe=version)
    await compare_columns(repositories.shared(TYPES_ALONE, layout))


async def test_columns_in_a_schema(repositories: Repositories) -> None:
    await compare_columns(repositories.shared(TYPES_ALONE, Layout("postgresql", namespace="butler")))


async def compare_columns(real: RealRepository) -> None:
    expected = columns_of(real)
    async with snapshot_of(real) as snapshot:
        tables = snapshot.repository.tables
        mine: list[sa.FromClause] = [
            *(tables.collection, tables.run, tables.chain, tables.summary, tables.dataset_type),
            *(tables.dimension_graph, tables.dataset, tables.location, tables.trash),
            tables.records("file_datastore_records"),
            *(tables.summary_of_governor(name) for name in tables.universe.governors),
        ]
        for kind in await dataset_types.all_types(snapshot):
            mine.append(tables.tags(kind.tags_table, kind.dimensions))
            if kind.calibs_table is not None:
                mine.append(tables.calibs(kind.calibs_table, kind.dimensions))
        for element in tables.universe.elements.values():
            if element.has_table:
                mine.append(tables.element(element))
                if element.spatial is not None:
                    mine.append(tables.overlap(element))
        assert {table.name for table in mine if isinstance(table, sa.Table)} >= tables.required
        assert tables.required <= expected.keys()
        for table in mine:
            assert isinstance(table, sa.Table)
            assert {column.name: family(column.type) for column in table.c} == expected[table.name], table.name
            await snapshot.rows(sa.select(table))
        # What is not here is written by the Butler for its own book-keeping, or is always empty.
        rest = expected.keys() - {table.name for table in mine if isinstance(table, sa.Table)}
        assert {name for name in rest if "overlap" not in name} == {
            *("butler_attributes", "dimension_graph_key", "opaque_meta"),
        }


@pytest.mark.parametrize("version", ["1.0.0", "2.0.0"])
async def test_ingest_dates(repositories: Repositories, dialect: Dialect, version: Any) -> None:
    with repositories.private(SMALL, Layout(dialect, datasets=version)) as real:
        before = _now()
        add_datasets(real.open(writeable=True), 10, 1)
        after = _now()
        async with snapshot_of(real) as snapshot:
            column = snapshot.repository.tables.dataset.c.ingest_date
            [(latest,), *_] = await snapshot.rows(sa.select(column).order_by(column.desc()))
    # SQLite's default keeps whole seconds.
    assert before - 1_000_000_000 <= latest <= after
    assert ingest_date(latest) == latest


@pytest.mark.parametrize(
    "moment", ["1999-12-31T23:59:59.999999", "2016-12-31T23:59:59", "2017-01-01T00:00:00", "2026-11-23T07:26:42.085914"]
)
def test_timestamps_are_utc(moment: str) -> None:
    since = Time(moment, scale="utc").tai - Time("1970-01-01", scale="tai")
    assert ingest_date(datetime.fromisoformat(moment)) == pytest.approx(since.to_value("s") * 1e9, abs=1000)


def _now() -> int:
    return ingest_date(Time.now().utc.to_datetime())
