"""SQLite and PostgreSQL: everything in which they differ."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, ClassVar

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import _anonymous_label
from sqlalchemy.types import TypeDecorator, TypeEngine

from butlerql.plain import plain
from butlerql.storage.drivers import refuse_unstorable
from butlerql.storage.errors import InvalidArgumentError
from butlerql.storage.globs import pattern_parts, postgresql_regex, python_regex
from butlerql.storage.registry.timespans import MAXIMUM, MINIMUM
from butlerql.storage.uuids import digits_of, digits_of_each, hyphenated, hyphenated_each

__all__ = ["Dialect", "PostgresqlDialect", "SqliteDialect", "UuidText", "dialect_of", "raw"]

_KINDS = {bool: "truth value", float: "number", int: "whole number", str: "text"}


class UuidText(TypeDecorator[str]):
    """A UUID as lower-case text with hyphens, whatever the database keeps."""

    impl = sa.CHAR(32)
    cache_ok = True

    @property
    def python_type(self) -> type[str]:
        """What its values are in Python."""
        return str

    def load_dialect_impl(self, dialect: sa.Dialect) -> TypeEngine[Any]:
        """Choose the database's own type."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.UUID(as_uuid=False))
        return dialect.type_descriptor(sa.CHAR(32))

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """Leave hyphens out, and capital letters: on SQLite a text with them would match nothing."""
        return None if value is None else digits_of(value)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> str | None:
        """Put the hyphens in."""
        if value is None or dialect.name == "postgresql":
            return value if value is None else str(value)
        return hyphenated(value)


def raw(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Have a column come as the driver gives it."""
    return sa.type_coerce(column, sa.types.NULLTYPE)


class Dialect(ABC):
    """One of the two databases."""

    name: ClassVar[str]

    merges: ClassVar[bool]
    """Whether it goes through all parts of a union at once, each in the order of an index, no further than it must."""

    indexes_by_bytes: ClassVar[bool]
    """Whether the index of a text has the order of `by_bytes`."""

    takes_arrays: ClassVar[bool]
    """Whether many rows are sooner inserted as `rows` than one after the other."""

    def rows(self, name: str, columns: Mapping[str, TypeEngine[Any]], rows: Sequence[Sequence[Any]]) -> sa.FromClause:
        """Make a table of values that travel as one parameter a table or a column, however many they are.

        Raises
        ------
        InvalidArgumentError
            Raised for a value that its column cannot hold.
        """
        return self.columns(name, columns, _by_column(columns, rows))

    def columns(
        self, name: str, kinds: Mapping[str, TypeEngine[Any]], columns: Sequence[Sequence[Any]]
    ) -> sa.FromClause:
        """Make the same table of the values of each column."""
        given = self._packed("given", kinds, columns)
        return self._table_of(
            name,
            kinds,
            {part: sa.bindparam(part, given[part], kind, unique=True) for part, kind in self._parts("given", kinds)},
        )

    def slots(self, name: str, columns: Mapping[str, TypeEngine[Any]]) -> sa.FromClause:
        """Make the same table of values that are given when the statement is run: see `given`."""
        parts = self._parts(name, columns)
        return self._table_of(name, columns, {part: sa.bindparam(part, type_=kind) for part, kind in parts})

    def given(self, name: str, columns: Mapping[str, TypeEngine[Any]], rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
        """Give the parameters of a table of `slots`.

        Raises
        ------
        InvalidArgumentError
            Raised for a value that its column cannot hold.
        """
        return self._packed(name, columns, _by_column(columns, rows))

    @abstractmethod
    def _packed(
        self, name: str, kinds: Mapping[str, TypeEngine[Any]], columns: Sequence[Sequence[Any]]
    ) -> dict[str, Any]:
        """Give the parameters of a table of the values of each column."""

    @abstractmethod
    def _parts(self, name: str, columns: Mapping[str, TypeEngine[Any]]) -> list[tuple[str, TypeEngine[Any]]]:
        """Name the parameters of a table, and tell their types."""

    @abstractmethod
    def _table_of(
        self, name: str, columns: Mapping[str, TypeEngine[Any]], parameters: Mapping[str, sa.BindParameter[Any]]
    ) -> sa.FromClause:
        """Make a table of its parameters."""

    @abstractmethod
    def uuids(self, values: Iterable[Any]) -> list[str]:
        """Write UUIDs that were read as `raw` as `UuidText` does; much quicker, where there are many."""

    @abstractmethod
    def matches_globs(self, column: sa.ColumnElement[str], globs: Sequence[str]) -> sa.ColumnElement[bool]:
        """Condition that a text fits one of some globs (at least one), by the rules of `butlerql.storage.globs`."""

    @abstractmethod
    def matches_pattern(self, column: sa.ColumnElement[str], pattern: str) -> sa.ColumnElement[bool]:
        r"""Condition that a text fits a pattern: ``*`` any run, ``?`` one character, ``\\`` takes a meaning away."""

    @abstractmethod
    def text_before(self, text: sa.ColumnElement[str], mark: str) -> sa.ColumnElement[str]:
        """What of a text stands in front of a mark; all of it if the mark is not in it."""

    @abstractmethod
    def has_members(self, document: sa.ColumnElement[str], members: Mapping[str, int | str]) -> sa.ColumnElement[bool]:
        """Condition that the JSON object that a text holds has these members, each with this value."""

    @abstractmethod
    def elements(self, document: sa.ColumnElement[str]) -> sa.TableValuedAlias:
        """List the texts of the JSON array that a text holds, as the column ``value``; none if it is NULL."""

    @abstractmethod
    def different(self, column: sa.ColumnElement[int]) -> sa.ColumnElement[str]:
        """Aggregate the different numbers in a column, whatever their order, into JSON."""

    @abstractmethod
    def by_bytes(self, text: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
        """Compare and order a text by its bytes, whatever the database's language."""

    @abstractmethod
    def timespan_columns(self, name: str) -> list[sa.Column[Any]]:
        """Columns that hold a timespan in a table."""

    @abstractmethod
    def timespan(self, table: sa.FromClause, name: str) -> tuple[sa.ColumnElement[Any], sa.ColumnElement[Any]]:
        """Begin and end of a timespan, both NULL where there is none, begin >= end where it is empty."""

    @abstractmethod
    def timespan_values(self, name: str, validity: tuple[Any, Any]) -> dict[str, sa.ColumnElement[Any]]:
        """Make what the columns of a timespan hold of its begin and end."""

    @abstractmethod
    def insert(self, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
        """Begin an INSERT that can be told what to do about rows that are there already."""

    @abstractmethod
    def new_number(self, table: sa.Table, column: str) -> Mapping[str, sa.ColumnElement[int]]:
        """What to insert, by column, where the database gives rows their numbers; nothing if it does so by itself."""

    @abstractmethod
    def each(self, ranges: sa.FromClause, table: sa.FromClause) -> sa.FromClause:
        """Combine every range with every row, ranges outermost, so that an index is searched once a range."""

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
    merges = True
    takes_arrays = False
    indexes_by_bytes = True

    def _parts(self, name: str, columns: Mapping[str, TypeEngine[Any]]) -> list[tuple[str, TypeEngine[Any]]]:
        return [(name, sa.Text())]

    def _packed(
        self, name: str, kinds: Mapping[str, TypeEngine[Any]], columns: Sequence[Sequence[Any]]
    ) -> dict[str, Any]:
        values = list(map(_checked, columns, kinds.values()))
        return {name: orjson.dumps(values[0] if len(kinds) == 1 else list(zip(*values, strict=True))).decode()}

    def _table_of(
        self, name: str, columns: Mapping[str, TypeEngine[Any]], parameters: Mapping[str, sa.BindParameter[Any]]
    ) -> sa.FromClause:
        [(key, given)] = parameters.items()
        # Put together as text, of names alone: to build it of SQLAlchemy's parts takes longer than most statements run.
        each = sa.text(_unpacked(key, tuple(columns))).bindparams(given)
        return (
            each.columns(*map(sa.column, columns, columns.values()))
            # Statements are put together of parts that know nothing of each other: a number makes the name unique.
            .cte(_anonymous_label.safe_construct(id(each), name))
            .prefix_with("MATERIALIZED")
        )

    def uuids(self, values: Iterable[Any]) -> list[str]:
        return hyphenated_each(values)

    def matches_globs(self, column: sa.ColumnElement[str], globs: Sequence[str]) -> sa.ColumnElement[bool]:
        # SQLAlchemy gives each connection a REGEXP that is Python's own search.
        return column.regexp_match(python_regex(globs))

    def matches_pattern(self, column: sa.ColumnElement[str], pattern: str) -> sa.ColumnElement[bool]:
        glob = "".join(f"[{text}]" if is_text and text in "*?[" else text for text, is_text in pattern_parts(pattern))
        return column.bool_op("GLOB")(sa.literal(glob, sa.Text()))

    def text_before(self, text: sa.ColumnElement[str], mark: str) -> sa.ColumnElement[str]:
        return sa.func.substr(text, 1, sa.func.instr(text + mark, mark) - 1, type_=sa.Text())

    def has_members(self, document: sa.ColumnElement[str], members: Mapping[str, int | str]) -> sa.ColumnElement[bool]:
        # Looked through by name: within a path a name could not be written in every case.
        each = sa.func.json_each(document).table_valued(sa.column("key", sa.Text()), "atom")
        same = (
            sa.exists().where(each.c.key == sa.literal(name, sa.Text()), each.c.atom == sa.literal(value))
            for name, value in members.items()
        )
        return sa.and_(sa.true(), *same)

    def elements(self, document: sa.ColumnElement[str]) -> sa.TableValuedAlias:
        return sa.func.json_each(document).table_valued(sa.column("value", sa.Text()))

    def different(self, column: sa.ColumnElement[int]) -> sa.ColumnElement[str]:
        return sa.func.json_group_array(column.distinct(), type_=sa.Text())

    def by_bytes(self, text: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
        return text

    def timespan_columns(self, name: str) -> list[sa.Column[Any]]:
        return [sa.Column(f"{name}_begin", sa.BigInteger), sa.Column(f"{name}_end", sa.BigInteger)]

    def timespan(self, table: sa.FromClause, name: str) -> tuple[sa.ColumnElement[Any], sa.ColumnElement[Any]]:
        return table.c[f"{name}_begin"], table.c[f"{name}_end"]

    def timespan_values(self, name: str, validity: tuple[Any, Any]) -> dict[str, sa.ColumnElement[Any]]:
        return {f"{name}_begin": validity[0], f"{name}_end": validity[1]}

    def insert(self, table: sa.Table) -> sqlite.Insert:
        return sqlite.insert(table)

    def new_number(self, table: sa.Table, column: str) -> Mapping[str, sa.ColumnElement[int]]:
        return {}

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
    merges = False
    takes_arrays = True
    indexes_by_bytes = False

    def _parts(self, name: str, columns: Mapping[str, TypeEngine[Any]]) -> list[tuple[str, TypeEngine[Any]]]:
        # UUIDs are `_packed` as they shall be: nobody need look at each once more.
        uuid = postgresql.UUID(as_uuid=False)
        return [
            (f"{name}_{column}", postgresql.ARRAY(uuid if isinstance(kind, UuidText) else kind))
            for column, kind in columns.items()
        ]

    def _packed(
        self, name: str, kinds: Mapping[str, TypeEngine[Any]], columns: Sequence[Sequence[Any]]
    ) -> dict[str, Any]:
        return {f"{name}_{key}": _checked(one, kinds[key]) for key, one in zip(kinds, columns, strict=True)}

    def _table_of(
        self, name: str, columns: Mapping[str, TypeEngine[Any]], parameters: Mapping[str, sa.BindParameter[Any]]
    ) -> sa.FromClause:
        typed = [sa.column(column, kind) for column, kind in columns.items()]
        return sa.func.unnest(*parameters.values()).table_valued(*typed).render_derived(name=name)

    def uuids(self, values: Iterable[Any]) -> list[str]:
        return list(map(str, values))

    def matches_globs(self, column: sa.ColumnElement[str], globs: Sequence[str]) -> sa.ColumnElement[bool]:
        return column.regexp_match(postgresql_regex(globs))

    def matches_pattern(self, column: sa.ColumnElement[str], pattern: str) -> sa.ColumnElement[bool]:
        wild = {"*": "%", "?": "_"}
        like = "".join(
            wild[text] if not is_text else f"\\{text}" if text in "%_\\" else text
            for text, is_text in pattern_parts(pattern)
        )
        return column.like(sa.literal(like, sa.Text()))

    def text_before(self, text: sa.ColumnElement[str], mark: str) -> sa.ColumnElement[str]:
        return sa.func.split_part(text, mark, 1, type_=sa.Text())

    def has_members(self, document: sa.ColumnElement[str], members: Mapping[str, int | str]) -> sa.ColumnElement[bool]:
        wanted = sa.literal(orjson.dumps(dict(members)).decode(), sa.Text())
        return sa.cast(document, postgresql.JSONB).contains(sa.cast(wanted, postgresql.JSONB))

    def elements(self, document: sa.ColumnElement[str]) -> sa.TableValuedAlias:
        each = sa.func.json_array_elements_text(sa.cast(document, postgresql.JSON))
        return each.table_valued(sa.column("value", sa.Text()))

    def different(self, column: sa.ColumnElement[int]) -> sa.ColumnElement[str]:
        return sa.cast(sa.func.json_agg(column.distinct()), sa.Text())

    def by_bytes(self, text: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
        return text.collate("C")

    def timespan_columns(self, name: str) -> list[sa.Column[Any]]:
        return [sa.Column(name, postgresql.INT8RANGE)]

    def timespan(self, table: sa.FromClause, name: str) -> tuple[sa.ColumnElement[Any], sa.ColumnElement[Any]]:
        column = table.c[name]
        empty = sa.func.isempty(column)
        present = column.is_not(None)
        begin = sa.case((empty, MAXIMUM), (present, sa.func.coalesce(sa.func.lower(column), MINIMUM)))
        end = sa.case((empty, MINIMUM), (present, sa.func.coalesce(sa.func.upper(column), MAXIMUM)))
        return sa.type_coerce(begin, sa.BigInteger), sa.type_coerce(end, sa.BigInteger)

    def timespan_values(self, name: str, validity: tuple[Any, Any]) -> dict[str, sa.ColumnElement[Any]]:
        bounds = (sa.func.nullif(bound, limit) for bound, limit in zip(validity, (MINIMUM, MAXIMUM), strict=True))
        return {name: sa.func.int8range(*bounds, type_=postgresql.INT8RANGE)}

    def insert(self, table: sa.Table) -> postgresql.Insert:
        return postgresql.insert(table)

    def new_number(self, table: sa.Table, column: str) -> Mapping[str, sa.ColumnElement[int]]:
        sequence = sa.Sequence(f"{table.name}_seq_{column}", schema=table.schema)
        return {column: sequence.next_value()}

    def each(self, ranges: sa.FromClause, table: sa.FromClause) -> sa.FromClause:
        return ranges.join(table, sa.true())

    def top_rows(
        self, ranges: sa.FromClause, table: sa.FromClause, rows: Callable[[sa.FromClause], sa.Select[Any]]
    ) -> tuple[sa.FromClause, sa.FromClause, Sequence[sa.ColumnElement[bool]]]:
        inner = table.alias()
        chosen = rows(inner).with_only_columns(*inner.c, maintain_column_froms=True).correlate(ranges).lateral()
        return ranges.join(chosen, sa.true()), chosen, []


@cache
def _unpacked(parameter: str, names: Sequence[str]) -> str:
    """Write a statement that unpacks JSON: a list of values, or of rows where there are several names."""
    quoted = map(sqlite.dialect().identifier_preparer.quote, names)
    if len(names) == 1:
        return f"SELECT value AS {next(quoted)} FROM json_each(:{parameter})"  # noqa: S608 - names of ours, quoted
    columns = (f"json_extract(value, '$[{index}]') AS {name}" for index, name in enumerate(quoted))
    return f"SELECT {', '.join(columns)} FROM json_each(:{parameter})"  # noqa: S608 - likewise


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


def _by_column(columns: Mapping[str, TypeEngine[Any]], rows: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
    """Turn rows into columns."""
    return list(zip(*rows, strict=True)) if rows else [() for _ in columns]


def _checked(values: Sequence[Any], kind: TypeEngine[Any]) -> Sequence[Any]:
    """Refuse what a column of this type cannot hold."""
    kinds = set(map(type, values))
    if type(None) in kinds:
        checked = iter(_checked([value for value in values if value is not None], kind))
        return [None if value is None else next(checked) for value in values]
    if isinstance(kind, UuidText):
        return digits_of_each(values)
    expected = kind.python_type
    # What runs in C finds out whether there is something to look at one by one.
    if expected is int:
        with suppress(TypeError, OverflowError):
            return array("q", values).tolist()
    elif (expected is str and _are_texts(values)) or (expected is bool and kinds == {bool}):
        return values
    values = plain(values)
    for value in values:
        _check(value, expected)
    return values


def _are_texts(values: Sequence[Any]) -> bool:
    try:
        text = "".join(values)
        text.encode()
    except (TypeError, UnicodeEncodeError):
        return False
    return "\0" not in text


def _check(value: Any, expected: type) -> None:
    if not isinstance(value, int | float if expected is float else expected):
        raise InvalidArgumentError(f"{value!r:.80} is no {_KINDS.get(expected, expected.__name__)}.")
    refuse_unstorable(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidArgumentError(f"{value} is no number that can be compared.")


def dialect_of(url: str) -> Dialect:
    """Choose the dialect of a database URL."""
    return SqliteDialect() if sa.make_url(url).get_backend_name() == "sqlite" else PostgresqlDialect()
