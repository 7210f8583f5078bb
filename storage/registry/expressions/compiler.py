"""Conditions in SQL. Values travel as parameters, never as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.elements import Grouping
from sqlalchemy.types import TypeEngine

from butlerql.storage.dialect import Dialect
from butlerql.storage.errors import InvalidExpressionError, LimitExceededError
from butlerql.storage.registry.expressions.slots import PIXELS, TYPES, bounds_of, merged, stored
from butlerql.storage.registry.expressions.tree import (
    And,
    Arithmetic,
    Column,
    Comparison,
    Constant,
    DatasetField,
    DimensionKey,
    ElementField,
    InRange,
    InValues,
    IsNull,
    Kind,
    Literal,
    Matches,
    Negative,
    Not,
    Operand,
    Or,
    Overlaps,
    Predicate,
    TimespanBound,
    Truth,
)
from butlerql.storage.statements import Slot, placed

__all__ = ["Compiler", "operand_column"]

_MOST_VALUES = 30_000
"""Values that may stand alone in a statement: SQLite and PostgreSQL take some more parameters each."""

_BRANCHES = 16
"""Terms that stand side by side: SQLite reads a chain of a thousand as a tree too deep for it."""

_Timespan = tuple[sa.ColumnElement[Any], sa.ColumnElement[Any]]
"""Begin and end, both NULL where there is none."""


class Compiler:
    """Makes SQL of predicates.

    Parameters
    ----------
    dialect
        The database's.

    Notes
    -----
    One compiler makes all conditions of a statement: each list of values is one table then, however often it is used.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._tables: dict[int | Slot, tuple[Any, sa.FromClause]] = {}

    def condition(self, predicate: Predicate, column: Callable[[Column], Any]) -> sa.ColumnElement[bool]:
        """Make a condition.

        Parameters
        ----------
        predicate
            What has to hold; overlaps of regions are not for SQL.
        column
            Gives the SQL of a column; of a timespan begin and end, both NULL where there is none.

        Raises
        ------
        LimitExceededError
            Raised if it holds more values than a statement may have.
        InvalidExpressionError
            Raised if the registry keeps two times in ways that cannot be compared.
        """
        return _Compilation(self, self._dialect, column).of(predicate)

    def values(self, node: InValues) -> sa.Select[Any]:
        """Make a table of the values of a list, with the column ``value``."""
        columns = {"value": TYPES[node.kind]}
        if isinstance(node.values, Slot):
            return sa.select(self._slots(node.values, columns).c.value)
        if id(node) not in self._tables:
            values = [(stored(value, node.kind),) for value in node.values]
            # The node is kept, so that no other is at its place.
            self._tables[id(node)] = node, self._dialect.rows(f"given_{len(self._tables)}", columns, values)
        return sa.select(self._tables[id(node)][1].c.value)

    def pixels(self, region: Slot) -> sa.FromClause:
        """Make a table of the pixels that a region touches: ranges from ``begin`` to before ``end``."""
        return self._slots(region, PIXELS)

    def _slots(self, slot: Slot, columns: Mapping[str, TypeEngine[Any]]) -> sa.FromClause:
        if slot not in self._tables:
            self._tables[slot] = slot, self._dialect.slots(slot.name, columns)
        return self._tables[slot][1]


def operand_column(dialect: Dialect, operand: Operand, column: Callable[[Column], Any]) -> sa.ColumnElement[Any]:
    """Make SQL of an operand that is no timespan; see `Compiler.condition`."""
    made: sa.ColumnElement[Any] = _Compilation(Compiler(dialect), dialect, column).operand(operand)
    return made


class _Compilation:
    """One condition on its way to SQL."""

    def __init__(self, compiler: Compiler, dialect: Dialect, column: Callable[[Column], Any]) -> None:
        self._compiler = compiler
        self._dialect = dialect
        self._column = column
        self._values = 0

    def of(self, predicate: Predicate) -> sa.ColumnElement[bool]:  # noqa: C901, PLR0911 - a case for each kind
        match predicate:
            case Constant():
                return sa.true() if predicate.value else sa.false()
            case Truth():
                return sa.type_coerce(self.operand(predicate.operand), sa.Boolean)
            case IsNull():
                return self._first(predicate.operand).is_(None)
            case Comparison():
                return self._comparison(predicate)
            case Overlaps():
                return self._overlap(predicate)
            case InValues():
                values: sa.ColumnElement[bool] = self.operand(predicate.operand).in_(self._compiler.values(predicate))
                return values
            case InRange():
                return self._range(predicate)
            case Matches(pattern="*"):
                # As with the Butler, this one alone finds what is NULL, too.
                return sa.true()
            case Matches():
                return self._dialect.matches_pattern(self.operand(predicate.operand), predicate.pattern)
            case Not():
                return sa.not_(self.of(predicate.operand))
            case And():
                return _balanced(sa.and_, [self.of(operand) for operand in predicate.operands])
            case Or():
                return _balanced(sa.or_, [self.of(operand) for operand in merged(predicate.operands)])

    def _comparison(self, predicate: Comparison) -> sa.ColumnElement[bool]:
        left, right, operator = predicate.left, predicate.right, predicate.operator
        if Kind.TIMESPAN in {left.kind, right.kind}:
            same = sa.and_(*(a == b for a, b in zip(self._timespan(left), self._timespan(right), strict=True)))
            return same if operator == "=" else sa.not_(same)
        result: sa.ColumnElement[bool] = self._pair(left, right, lambda a, b: a.bool_op(operator)(b))
        return result

    def _pair(self, left: Operand, right: Operand, join: Callable[[Any, Any], Any]) -> Any:
        """Join two operands; instants only if the registry has both in the same way."""
        a, b = self.operand(left), self.operand(right)
        if Kind.TIME in {left.kind, right.kind}:
            # A literal is written as the column beside it.
            if isinstance(right, Literal):
                b = self._literal(right, a.type)
            elif isinstance(left, Literal):
                a = self._literal(left, b.type)
            elif a.type.python_type is not b.type.python_type:
                raise InvalidExpressionError(
                    "In this repository ingest dates are timestamps, which can be compared with literal times only."
                )
        return join(a, b)

    def _overlap(self, predicate: Overlaps) -> sa.ColumnElement[bool]:
        left, right = predicate.left, predicate.right
        if left.kind is Kind.TIME:
            left, right = right, left
        begin, end = self._timespan(left)
        if right.kind is Kind.TIME:
            moment = self.operand(right)
            return sa.and_(begin <= moment, moment < end)
        other_begin, other_end = self._timespan(right)
        return sa.and_(begin < other_end, other_begin < end)

    def _range(self, predicate: InRange) -> sa.ColumnElement[bool]:
        operand, step = self.operand(predicate.operand), predicate.step
        start, stop = (self._number(value) for value in (predicate.start, predicate.stop))
        within = sa.and_(operand >= start, operand <= stop)
        if step == 1:
            return within
        assert isinstance(predicate.start, int)
        # Databases give a remainder the sign of the number.
        remainder = (operand % self._number(step) + self._number(step)) % self._number(step)
        return sa.and_(within, remainder == self._number(predicate.start % step))

    def _number(self, value: int | Slot) -> sa.ColumnElement[Any]:
        return self._literal(Literal(value, Kind.INT))

    def _first(self, operand: Operand) -> sa.ColumnElement[Any]:
        """What is NULL where an operand is."""
        return self._timespan(operand)[0] if operand.kind is Kind.TIMESPAN else self.operand(operand)

    def _timespan(self, operand: Operand) -> _Timespan:
        if isinstance(operand, Literal):
            begin, end = bounds_of(operand.value)
            return self._number(begin), self._number(end)
        assert isinstance(operand, ElementField | DatasetField)
        found: _Timespan = self._column(operand)
        return found

    def operand(self, operand: Operand) -> Any:
        match operand:
            case DimensionKey() | ElementField() | DatasetField():
                return self._column(operand)
            case Literal():
                return self._literal(operand)
            case TimespanBound():
                begin, end = self._timespan(operand.operand)
                return sa.type_coerce(sa.func.coalesce(begin if operand.is_begin else end, 0), sa.BigInteger)
            case Negative():
                return -self.operand(operand.operand)
            case Arithmetic():
                return self._arithmetic(operand)

    def _arithmetic(self, operand: Arithmetic) -> Any:
        left, right = self.operand(operand.left), self.operand(operand.right)
        match operand.operator:
            case "+":
                return left + right
            case "-":
                return left - right
            case "*":
                return left * right
            case "/":
                return left / right
        return left % right

    def _literal(self, literal: Literal, kind: TypeEngine[Any] | None = None) -> sa.ColumnElement[Any]:
        self._values += 1
        if self._values > _MOST_VALUES:
            raise LimitExceededError(
                f"A condition has at most {_MOST_VALUES} values one by one. Put them in lists: x IN (1, 2, 3)."
            )
        if literal.value is None:
            return sa.cast(sa.null(), TYPES[literal.kind])
        return placed(stored(literal.value, literal.kind), kind or TYPES[literal.kind])


def _balanced(
    join: Callable[..., sa.ColumnElement[bool]], terms: list[sa.ColumnElement[bool]]
) -> sa.ColumnElement[bool]:
    """Join terms in parentheses, so that no chain is long."""
    while len(terms) > _BRANCHES:
        groups = [join(*terms[index : index + _BRANCHES]) for index in range(0, len(terms), _BRANCHES)]
        # Of a grouping alone SQLAlchemy would take the parentheses off, since it is of the same operator.
        terms = [sa.type_coerce(Grouping(group), sa.Boolean) for group in groups]
    return join(*terms)
