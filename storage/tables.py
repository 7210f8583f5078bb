"""The registry's tables, built from the universe and from the managers that the repository was made with.

Source: the format as found in repositories of managers' versions that ``managers.py`` accepts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator, TypeEngine

from butlerql.storage.dialect import Dialect, UuidText
from butlerql.storage.universe import DimensionGroup, Element, Universe
from butlerql.time_scales import tai_ns_to_utc_datetime, utc_datetime_to_tai_ns

__all__ = ["Layout", "Tables", "ingest_date"]

_TYPES: dict[str, type[TypeEngine[Any]]] = {
    "int": sa.BigInteger,
    "string": sa.Text,
    "bool": sa.Boolean,
    "float": sa.Double,
    "hash": sa.Text,
}


@dataclass(frozen=True)
class Layout:
    """What depends on the managers of a repository."""

    collections_by_name: bool
    """Collections are referred to by name (``nameKey``), not by number (``synthInt``)."""

    ingest_date_is_timestamp: bool
    """Ingest dates are UTC timestamps (datasets 1.0.0), not nanoseconds TAI (2.0.0)."""


def ingest_date(value: int | datetime) -> int:
    """Read when a dataset was put, whichever way the registry keeps it.

    Parameters
    ----------
    value
        Nanoseconds TAI since 1970-01-01 TAI (datasets manager 2.0.0), or a naive datetime in UTC (1.0.0).

    Returns
    -------
    ns
        Nanoseconds TAI since 1970-01-01 TAI.
    """
    return value if isinstance(value, int) else utc_datetime_to_tai_ns(value)


class _IngestTimestamp(TypeDecorator[int]):
    """A UTC timestamp that is read as nanoseconds TAI."""

    impl = sa.DateTime
    cache_ok = True

    @property
    def python_type(self) -> type[int]:
        """What its values are in Python."""
        return int

    def process_bind_param(self, value: int | None, dialect: sa.Dialect) -> datetime | None:
        return None if value is None else tai_ns_to_utc_datetime(value)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> int | None:
        return None if value is None else ingest_date(value)


class Tables:
    """SQLAlchemy tables of one repository.

    Columns that refer to a collection have the key ``collection`` (``run`` in the dataset table), whatever their name
    in the database.
    """

    def __init__(self, universe: Universe, dialect: Dialect, layout: Layout, namespace: str | None) -> None:
        self.universe = universe
        self.dialect = dialect
        self.layout = layout
        self._metadata = sa.MetaData(schema=namespace)
        self._reference: TypeEngine[Any] = sa.Text() if layout.collections_by_name else sa.BigInteger()
        key = [] if layout.collections_by_name else [sa.Column("collection_id", sa.BigInteger, primary_key=True)]
        self.collection = self._table(
            "collection",
            *key,
            sa.Column("name", sa.Text),
            sa.Column("type", sa.SmallInteger),
            sa.Column("doc", sa.Text),
        )
        self.collection_key: sa.ColumnElement[Any] = (
            self.collection.c.name if layout.collections_by_name else self.collection.c.collection_id
        )
        self.run = self._table(
            "run",
            sa.Column("name" if layout.collections_by_name else "collection_id", self._reference, key="collection"),
            sa.Column("host", sa.Text),
            *dialect.timespan_columns("timespan"),
        )
        self.chain = self._table(
            "collection_chain",
            sa.Column("parent", self._reference),
            sa.Column("position", sa.SmallInteger),
            sa.Column("child", self._reference),
        )
        self.summary = self._table(
            "collection_summary_dataset_type",
            self._collection_column(),
            sa.Column("dataset_type_id", sa.BigInteger),
        )
        self.dataset_type = self._table(
            "dataset_type",
            sa.Column("id", sa.BigInteger),
            sa.Column("name", sa.Text),
            sa.Column("storage_class", sa.Text),
            sa.Column("dimensions_key", sa.BigInteger),
            sa.Column("tag_association_table", sa.Text),
            sa.Column("calibration_association_table", sa.Text),
        )
        self.dimension_graph = self._table(
            "dimension_graph_definition",
            sa.Column("dimension_graph_id", sa.BigInteger),
            sa.Column("dimension_name", sa.Text),
        )
        ingest_date: TypeEngine[Any] = _IngestTimestamp() if layout.ingest_date_is_timestamp else sa.BigInteger()
        self.dataset = self._table(
            "dataset",
            sa.Column("id", UuidText),
            sa.Column("dataset_type_id", sa.BigInteger),
            sa.Column("ingest_date", ingest_date),
            sa.Column("run_name" if layout.collections_by_name else "run_id", self._reference, key="run"),
        )
        self.location = self._table(
            "dataset_location",
            sa.Column("datastore_name", sa.Text),
            sa.Column("dataset_id", UuidText),
        )
        self.trash = self._table(
            "dataset_location_trash",
            sa.Column("datastore_name", sa.Text),
            sa.Column("dataset_id", UuidText),
        )

    @property
    def required(self) -> frozenset[str]:
        """Names of the tables that every registry of this universe has."""
        own = {table.name for table in self._metadata.tables.values()}
        summaries = {f"collection_summary_{governor}" for governor in self.universe.governors}
        elements = {name for name, element in self.universe.elements.items() if element.has_table}
        return frozenset(own | summaries | elements)

    @property
    def collection_type(self) -> TypeEngine[Any]:
        """SQL type of a reference to a collection."""
        return self._reference

    def tags(self, name: str, dimensions: DimensionGroup) -> sa.Table:
        """Table of the RUN and TAGGED membership of datasets whose types have these dimensions."""
        return self._association(name, dimensions, is_timed=False)

    def calibs(self, name: str, dimensions: DimensionGroup) -> sa.Table:
        """Table of the CALIBRATION membership of datasets whose types have these dimensions."""
        return self._association(name, dimensions, is_timed=True)

    def summary_of_governor(self, governor: str) -> sa.Table:
        """Table of the values of a governor dimension that each collection may hold."""
        return self._made_once(
            f"collection_summary_{governor}",
            lambda: [self._collection_column(), sa.Column(governor, self.dimension_type(governor))],
        )

    def records(self, name: str) -> sa.Table:
        """Table of the files of a datastore."""
        texts = ("path", "formatter", "storage_class", "component", "checksum")
        return self._made_once(
            name,
            lambda: [
                sa.Column("dataset_id", UuidText),
                *(sa.Column(text, sa.Text) for text in texts),
                sa.Column("file_size", sa.BigInteger),
            ],
        )

    def element(self, element: Element) -> sa.FromClause:
        """Records of an element: its table, or the values that another element's records imply."""
        if element.union_target is not None:
            target = self.element(self.universe.element(element.union_target))
            values = sa.select(target.c[element.name].label(element.primary_key.name)).distinct()
            return values.subquery(element.name)

        def columns() -> Iterator[sa.Column[Any]]:
            for name in (*element.required, *element.implied):
                yield sa.Column(element.column_of(name), self.dimension_type(name))
            for column in (*element.alternate_keys, *element.metadata):
                yield sa.Column(column.name, _TYPES[column.type]())
            if element.spatial is not None:
                yield sa.Column("region", sa.Text)
            if element.temporal is not None:
                yield from self.dialect.timespan_columns("timespan")

        return self._made_once(element.name, columns)

    def overlap(self, element: Element) -> sa.Table:
        """Table of the pixels of the sky that the regions of an element's records touch."""
        return self._made_once(
            f"{element.name}_skypix_overlap",
            lambda: [
                sa.Column("skypix_system", sa.Text),
                sa.Column("skypix_level", sa.SmallInteger),
                *(sa.Column(name, self.dimension_type(name)) for name in element.required),
                sa.Column("skypix_index", sa.BigInteger),
            ],
        )

    def dimension_type(self, dimension: str) -> TypeEngine[Any]:
        """SQL type of a dimension's value."""
        return _TYPES[self.universe.dimensions[dimension].primary_key.type]()

    def _association(self, name: str, dimensions: DimensionGroup, *, is_timed: bool) -> sa.Table:
        def columns() -> Iterator[sa.Column[Any]]:
            yield sa.Column("dataset_type_id", sa.BigInteger)
            yield sa.Column("dataset_id", UuidText)
            yield self._collection_column()
            for dimension in dimensions.required:
                yield sa.Column(dimension, self.dimension_type(dimension))
            if is_timed:
                yield from self.dialect.timespan_columns("timespan")
                yield sa.Column("id", sa.BigInteger)

        return self._made_once(name, columns)

    def _collection_column(self) -> sa.Column[Any]:
        name = "collection_name" if self.layout.collections_by_name else "collection_id"
        return sa.Column(name, self._reference, key="collection")

    def _table(self, name: str, *columns: sa.Column[Any]) -> sa.Table:
        return sa.Table(name, self._metadata, *columns)

    def _made_once(self, name: str, columns: Callable[[], Iterable[sa.Column[Any]]]) -> sa.Table:
        """Make a table when it is asked for first."""
        schema = self._metadata.schema
        known = self._metadata.tables.get(name if schema is None else f"{schema}.{name}")
        return self._table(name, *columns()) if known is None else known
