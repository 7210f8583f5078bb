"""SQLite and PostgreSQL: everything in which they differ."""

from __future__ import annotations

import asyncio
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from typing import Any, ClassVar
from urllib.parse import quote

import aiosqlite
import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeDecorator, TypeEngine

from butlerql.storage.globs import postgresql_regex, python_regex
from butlerql.storage.registry.timespans import MAXIMUM, MINIMUM

__all__ = ["Dialect", "DriverFault", "PostgresqlDialect", "SqliteDialect", "UuidText", "dialect_of"]

_STATEMENT_CACHE = 2000
_CONNECT_SECONDS = 10
_LOCK_WAIT_SECONDS = 0.1
"""How long SQLite itself waits for a lock; the snapshot tries again with jitter."""


class DriverFault:
    """What a driver's error means to us."""

    BUSY = "busy"
    NEEDS_RECOVERY = "needs recovery"
    OTHER = "other"


class UuidText(TypeDecorator[str]):
    """A UUID as lower-case text with hyphens, whatever the database keeps."""

    impl = sa.CHAR(32)
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> TypeEngine[Any]:
        """Choose the database's own type."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.UUID(as_uuid=False))
        return dialect.type_descriptor(sa.CHAR(32))

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """Hyphens are left out on SQLite: text with them would match nothing."""
        if value is None or dialect.name == "postgresql":
            return value
        return value.replace("-", "")

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> str | None:
        """Put the hyphens in."""
        if value is None or dialect.name == "postgresql":
            return value if value is None else str(value)
        return f"{value[:8]}-{value[8:12]}-{value[12:16]}-{value[16:20]}-{value[20:]}"


class Dialect(ABC):
    """One of the two databases."""

    name: ClassVar[str]
    needs_savepoints: ClassVar[bool]
    """Whether a statement that fails takes its transaction with it."""

    def __init__(self, url: sa.URL) -> None:
        self.url = url

    @abstractmethod
    def create_engine(self) -> AsyncEngine:
        """Make the engine; connects lazily."""

    @abstractmethod
    async def begin_snapshot(self, connection: AsyncConnection) -> None:
        """Begin a read-only transaction that sees one state of the database."""

    @abstractmethod
    async def interrupt(self, connection: AsyncConnection, running: asyncio.Future[Any]) -> None:
        """Stop the statement that a connection runs; ``running`` ends soon after."""

    @abstractmethod
    async def recover(self) -> None:
        """Roll back what a dead writer left, if that is for a client to do and the file permits; else do nothing."""

    @abstractmethod
    def fault(self, error: BaseException | None) -> str:
        """Tell what a driver's error means."""

    @abstractmethod
    def explain(self, error: BaseException) -> str:
        """Say in a line why the database cannot be reached; names no secret."""

    @abstractmethod
    def rows(self, name: str, columns: Mapping[str, TypeEngine[Any]], rows: Sequence[Sequence[Any]]) -> sa.FromClause:
        """Make a table of values that travel as one parameter a table or a column, however many they are."""

    @abstractmethod
    def matches_globs(self, column: sa.ColumnElement[str], globs: Sequence[str]) -> sa.ColumnElement[bool]:
        """Condition that a text fits one of some globs (at least one), by the rules of `butlerql.storage.globs`."""

    @abstractmethod
    def timespan_columns(self, name: str) -> list[sa.Column[Any]]:
        """Columns that hold a timespan in a table."""

    @abstractmethod
    def timespan(self, table: sa.FromClause, name: str) -> tuple[sa.ColumnElement[Any], sa.ColumnElement[Any]]:
        """Begin and end of a timespan, both NULL where there is none, begin >= end where it is empty."""

    @abstractmethod
    def each(self, ranges: sa.FromClause, table: sa.FromClause) -> sa.FromClause:
        """Combine every range with every row, ranges outermost, for an index on the table to be searched once a range."""

    @abstractmethod
    def top_rows(
        self, ranges: sa.FromClause, table: sa.FromClause, rows: Callable[[sa.FromClause], sa.Select[Any]]
    ) -> tuple[sa.FromClause, sa.FromClause, Sequence[sa.ColumnElement[bool]]]:
        """Select some rows of a table for each range on its own.

        Parameters
        ----------
        ranges
            What the selection refers to.
        table
            The table that the rows are in.
        rows
            Makes the selection of an alias of the table: conditions, order and limit, but no columns.

        Returns
        -------
        tuple
            What to select from, the part of it that has the table's columns, and the conditions that tie them together.
        """


class SqliteDialect(Dialect):
    """SQLite through aiosqlite."""

    name = "sqlite"
    needs_savepoints = False

    @property
    def _path(self) -> str:
        assert self.url.database is not None
        return self.url.database

    def create_engine(self) -> AsyncEngine:
        return create_async_engine(
            # The name of the file goes in by the query: URL syntax within it would be taken apart otherwise.
            f"sqlite+aiosqlite:///file:{quote(self._path)}?mode=ro&uri=true",
            connect_args={"timeout": _LOCK_WAIT_SECONDS, "isolation_level": None},
            query_cache_size=_STATEMENT_CACHE,
            # Ranges are combined with tables on purpose.
            enable_from_linting=False,
        )

    async def begin_snapshot(self, connection: AsyncConnection) -> None:
        await connection.exec_driver_sql("BEGIN")
        # A transaction takes its lock, and with it its snapshot, at the first read.
        await connection.exec_driver_sql("SELECT 1 FROM butler_attributes LIMIT 1")

    async def interrupt(self, connection: AsyncConnection, running: asyncio.Future[Any]) -> None:
        raw = await connection.get_raw_connection()
        driver = raw.driver_connection
        assert isinstance(driver, aiosqlite.Connection)
        await driver.interrupt()

    async def recover(self) -> None:
        def roll_back() -> None:
            with closing(sqlite3.connect(f"file:{quote(self._path)}?mode=rw", uri=True)) as connection:
                connection.execute("SELECT 1 FROM butler_attributes LIMIT 1").fetchall()

        with suppress(sqlite3.Error):
            await asyncio.to_thread(roll_back)

    def explain(self, error: BaseException) -> str:
        return str(getattr(error, "orig", error))

    def fault(self, error: BaseException | None) -> str:
        code = getattr(error, "sqlite_errorcode", None)
        if code is None:
            return DriverFault.OTHER
        if code in {sqlite3.SQLITE_READONLY_ROLLBACK, sqlite3.SQLITE_READONLY_RECOVERY}:
            return DriverFault.NEEDS_RECOVERY
        primary = code & 0xFF
        return DriverFault.BUSY if primary in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED} else DriverFault.OTHER

    def rows(self, name: str, columns: Mapping[str, TypeEngine[Any]], rows: Sequence[Sequence[Any]]) -> sa.FromClause:
        kinds = list(columns.items())
        for index, (_, kind) in enumerate(kinds):
            if isinstance(kind, UuidText):
                rows = [(*row[:index], row[index].replace("-", ""), *row[index + 1 :]) for row in rows]
        single = len(kinds) == 1
        text = orjson.dumps([row[0] for row in rows] if single else rows).decode()
        each = sa.func.json_each(sa.bindparam(None, text, type_=sa.Text(), unique=True)).table_valued("value")
        value = each.c.value
        return (
            sa.select(
                *(
                    sa.type_coerce(value if single else sa.func.json_extract(value, f"$[{index}]"), kind).label(column)
                    for index, (column, kind) in enumerate(kinds)
                )
            )
            .select_from(each)
            .cte(name)
            .prefix_with("MATERIALIZED")
        )

    def matches_globs(self, column: sa.ColumnElement[str], globs: Sequence[str]) -> sa.ColumnElement[bool]:
        # SQLAlchemy gives each connection a REGEXP that is Python's own search.
        return column.regexp_match(python_regex(globs))

    def timespan_columns(self, name: str) -> list[sa.Column[Any]]:
        return [sa.Column(f"{name}_begin", sa.BigInteger), sa.Column(f"{name}_end", sa.BigInteger)]

    def timespan(self, table: sa.FromClause, name: str) -> tuple[sa.ColumnElement[Any], sa.ColumnElement[Any]]:
        return table.c[f"{name}_begin"], table.c[f"{name}_end"]

    def each(self, ranges: sa.FromClause, table: sa.FromClause) -> sa.FromClause:
        return _CrossJoin(ranges, table, sa.true())

    def top_rows(
        self, ranges: sa.FromClause, table: sa.FromClause, rows: Callable[[sa.FromClause], sa.Select[Any]]
    ) -> tuple[sa.FromClause, sa.FromClause, Sequence[sa.ColumnElement[bool]]]:
        # There is no LATERAL; row numbers that a correlated query selects do the same.
        outer, inner = table.alias(), table.alias()
        numbers = rows(inner).with_only_columns(_row_number(inner), maintain_column_froms=True).correlate(ranges)
        return self.each(ranges, outer), outer, [_row_number(outer).in_(numbers)]


class PostgresqlDialect(Dialect):
    """PostgreSQL through asyncpg."""

    name = "postgresql"
    needs_savepoints = True

    def create_engine(self) -> AsyncEngine:
        return create_async_engine(
            self.url,
            isolation_level="REPEATABLE READ",
            execution_options={"postgresql_readonly": True},
            connect_args={"timeout": _CONNECT_SECONDS, "server_settings": {"application_name": "butlerql", "jit": "off"}},
            query_cache_size=_STATEMENT_CACHE,
            # Ranges are combined with tables on purpose.
            enable_from_linting=False,
        )

    async def begin_snapshot(self, connection: AsyncConnection) -> None:
        await connection.begin()

    async def interrupt(self, connection: AsyncConnection, running: asyncio.Future[Any]) -> None:
        """Cancel the caller: asyncpg then has the server cancel the statement."""
        running.cancel()

    async def recover(self) -> None:
        """Do nothing: the server recovers by itself."""

    def explain(self, error: BaseException) -> str:
        place = f"{self.url.host or 'localhost'}:{self.url.port or 5432}"
        if isinstance(error, (OSError, TimeoutError)):
            return f"no PostgreSQL server answers at {place}."
        text = str(getattr(error, "orig", error)).rpartition(">: ")[2].splitlines()[0]
        return f"the PostgreSQL server at {place} says: {text}."

    def fault(self, error: BaseException | None) -> str:
        return DriverFault.BUSY if getattr(error, "sqlstate", None) in {"40001", "40P01", "55P03"} else DriverFault.OTHER

    def rows(self, name: str, columns: Mapping[str, TypeEngine[Any]], rows: Sequence[Sequence[Any]]) -> sa.FromClause:
        by_column: Iterable[Sequence[Any]] = zip(*rows, strict=True) if rows else ((),) * len(columns)
        arrays = [
            sa.bindparam(None, list(values), type_=postgresql.ARRAY(kind), unique=True)
            for values, kind in zip(by_column, columns.values(), strict=True)
        ]
        typed = [sa.column(column, kind) for column, kind in columns.items()]
        return sa.func.unnest(*arrays).table_valued(*typed).render_derived(name=name)

    def matches_globs(self, column: sa.ColumnElement[str], globs: Sequence[str]) -> sa.ColumnElement[bool]:
        return column.regexp_match(postgresql_regex(globs))

    def timespan_columns(self, name: str) -> list[sa.Column[Any]]:
        return [sa.Column(name, postgresql.INT8RANGE)]

    def timespan(self, table: sa.FromClause, name: str) -> tuple[sa.ColumnElement[Any], sa.ColumnElement[Any]]:
        column = table.c[name]
        empty = sa.func.isempty(column)
        present = column.is_not(None)
        begin = sa.case((empty, MAXIMUM), (present, sa.func.coalesce(sa.func.lower(column), MINIMUM)))
        end = sa.case((empty, MINIMUM), (present, sa.func.coalesce(sa.func.upper(column), MAXIMUM)))
        return sa.type_coerce(begin, sa.BigInteger), sa.type_coerce(end, sa.BigInteger)

    def each(self, ranges: sa.FromClause, table: sa.FromClause) -> sa.FromClause:
        return ranges.join(table, sa.true())

    def top_rows(
        self, ranges: sa.FromClause, table: sa.FromClause, rows: Callable[[sa.FromClause], sa.Select[Any]]
    ) -> tuple[sa.FromClause, sa.FromClause, Sequence[sa.ColumnElement[bool]]]:
        inner = table.alias()
        chosen = rows(inner).with_only_columns(*inner.c, maintain_column_froms=True).correlate(ranges).lateral()
        return ranges.join(chosen, sa.true()), chosen, []


class _CrossJoin(sa.Join):
    """A join that SQLite does not turn round."""

    inherit_cache = True


@compiles(_CrossJoin)
def _compile_cross_join(join: _CrossJoin, compiler: SQLCompiler, **options: Any) -> str:
    options["asfrom"] = True
    return f"{compiler.process(join.left, **options)} CROSS JOIN {compiler.process(join.right, **options)}"


def _row_number(table: sa.FromClause) -> sa.ColumnElement[int]:
    """SQLite's own number of a row."""
    return sa.column("rowid", sa.BigInteger, _selectable=table)


def dialect_of(url: str) -> Dialect:
    """Choose the dialect of a database URL."""
    parsed = sa.make_url(url)
    return SqliteDialect(parsed) if parsed.get_backend_name() == "sqlite" else PostgresqlDialect(parsed)
