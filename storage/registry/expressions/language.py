"""The Butler's expression language: from text to a predicate, every name resolved and every type checked.

Source: the Butler's answers. Where it departs from its own documentation, as in the radius of ``CIRCLE``, the
documentation holds here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from butlerql.storage.errors import InvalidExpressionError, UnsupportedJoinError
from butlerql.storage.registry.expressions.bound_values import as_kind, bound_values
from butlerql.storage.registry.expressions.literals import (
    box,
    circle,
    point,
    polygon,
    region_of_pos,
    time_ns,
    timespan,
)
from butlerql.storage.registry.expressions.names import Scope, find
from butlerql.storage.registry.expressions.parser import refuse, syntax_of
from butlerql.storage.registry.expressions.syntax import (
    Binary,
    Bound,
    Call,
    Chain,
    In,
    Name,
    Node,
    Number,
    Pair,
    Range,
    Text,
    Time,
    Unary,
)
from butlerql.storage.registry.expressions.tree import (
    And,
    Arithmetic,
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
    Truth,
    columns_of,
)
from butlerql.storage.universe import Element

__all__ = ["parse"]

_ALWAYS, _NEVER = Constant(value=True), Constant(value=False)
_NULL = Literal(None, Kind.NULL)
_ORDERED = frozenset({Kind.INT, Kind.FLOAT, Kind.STRING, Kind.TIME})
_NUMBERS = frozenset({Kind.INT, Kind.FLOAT})
_COLUMNS = DimensionKey | ElementField | DatasetField
_PREDICATES = (Constant, Truth, IsNull, Comparison, Overlaps, InValues, InRange, Matches, Not, And, Or)


def parse(text: str, scope: Scope, bind: Mapping[str, Any]) -> Predicate:
    """Read an expression.

    Parameters
    ----------
    text
        The expression; a blank one is always true.
    scope
        What its names may mean.
    bind
        Values of names, with a colon in front or without; see `bound_values`.

    Raises
    ------
    InvalidExpressionError
        Raised if it cannot be parsed, names what is not there, compares what cannot be compared, or speaks of what an
        instrument or sky map has without saying of which.
    UnsupportedJoinError
        Raised if an overlap of regions stands under OR or NOT.
    """
    node = syntax_of(text)
    if node is None:
        return _ALWAYS
    reader = _Reader(text, scope, bind)
    predicate = reader.predicate(node)
    _check_regions(predicate)
    _check_governors(predicate, scope)
    return predicate


class _Reader:
    """Reads the nodes of one expression."""

    def __init__(self, text: str, scope: Scope, bind: Mapping[str, Any]) -> None:
        self._text = text
        self._scope = scope
        self._bind = bind

    def predicate(self, node: Node) -> Predicate:
        """Read what holds or does not hold."""
        found = self._read(node)
        if isinstance(found, _PREDICATES):
            return found
        if isinstance(found, _COLUMNS) and found.kind is Kind.BOOL:
            return Truth(found)
        if isinstance(found, Literal) and found.kind is Kind.BOOL:
            return Constant(found.value)
        return self._refuse(node, "This is a value, and no condition: compare it with something")

    def _refuse(self, node: Node, message: str) -> NoReturn:
        raise refuse(self._text, node.place, message)

    def _try(self, node: Node, read: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return read(*arguments)
        except ValueError as error:
            message = str(error)
            raise refuse(self._text, node.place, f"{message[:1].upper()}{message[1:]}") from None

    def _read(self, node: Node) -> Predicate | Operand | list[Literal]:  # noqa: C901, PLR0911 - a case for each kind
        match node:
            case Chain():
                return self._chain(node)
            case Binary():
                return self._binary(node)
            case Unary():
                return self._unary(node)
            case In():
                return self._in(node)
            case Call():
                return self._call(node)
            case Pair():
                begin, end = self._instant(node.begin), self._instant(node.end)
                return Literal(self._try(node, timespan, begin, end), Kind.TIMESPAN)
            case Name() | Bound():
                return self._name(node)
            case Number():
                literal = self._try(node, bound_values, node.value)
                assert isinstance(literal, Literal)
                return literal
            case Text():
                return Literal(node.value, Kind.STRING)
            case Time():
                return Literal(self._try(node, time_ns, node.value), Kind.TIME)
            case Range():
                return self._refuse(node, "A range stands only in a list: x IN (1..10)")

    def _chain(self, node: Chain) -> Predicate:
        kind = And if node.operator == "AND" else Or
        operands: list[Predicate] = []
        for operand in node.operands:
            found = self.predicate(operand)
            operands += found.operands if isinstance(found, kind) else (found,)
        return kind(tuple(operands))

    def _unary(self, node: Unary) -> Predicate | Operand:
        if node.operator == "NOT":
            return Not(self.predicate(node.operand))
        operand = self._operand(node.operand)
        if operand.kind not in _NUMBERS:
            self._refuse(node.operand, f"A sign stands before a number, not before {_shown(operand)}")
        return operand if node.operator == "+" else Negative(operand)

    def _operand(self, node: Node) -> Operand:
        """Read a value, alone."""
        found = self._read(node)
        if isinstance(found, list):
            self._refuse(node, "A list of values stands only in a list: x IN (:values)")
        if isinstance(found, _PREDICATES):
            self._refuse(node, "This is a condition, and no value")
        assert not isinstance(found, And | Or)
        return found

    def _name(self, node: Name | Bound) -> Operand | list[Literal]:
        if node.name in self._bind:
            value = self._bind[node.name]
            found: Literal | list[Literal] = self._try(node, bound_values, value)
            return found
        if isinstance(node, Bound):
            self._refuse(node, f"Nothing is bound to '{node.name}': give its value in bind")
        if node.name.upper() == "NULL":
            return _NULL
        operand: Operand = self._try(node, find, node.name, self._scope)
        return operand

    def _binary(self, node: Binary) -> Predicate | Operand:
        left, right = self._operand(node.left), self._operand(node.right)
        if node.operator in {"+", "-", "*", "/", "%"}:
            return self._arithmetic(node, left, right)
        if _NULL in (left, right):
            return self._null_test(node, left, right)
        left, right = self._alike(node, left, right)
        if node.operator == "OVERLAPS":
            return self._overlaps(node, left, right)
        if not ({left.kind, right.kind} <= _NUMBERS or left.kind is right.kind):
            self._refuse(node, f"{_shown(left)} and {_shown(right)} cannot be compared")
        if Kind.BOOL in {left.kind, right.kind}:
            return self._truth(node, left, right)
        if Kind.REGION is left.kind or (node.operator not in {"=", "!="} and left.kind not in _ORDERED):
            self._refuse(node, f"'{node.operator}' cannot compare values of type {left.kind}")
        return Comparison(node.operator, left, right)

    def _truth(self, node: Binary, left: Operand, right: Operand) -> Predicate:
        """Compare a column with a bound truth value."""
        column, value = (right, left) if isinstance(left, Literal) else (left, right)
        if node.operator not in {"=", "!="} or not isinstance(value, Literal) or isinstance(column, Literal):
            self._refuse(node, "A truth value stands for itself: x, NOT x, x = NULL")
        holds = Truth(column)
        return holds if value.value is (node.operator == "=") else Not(holds)

    def _null_test(self, node: Binary, left: Operand, right: Operand) -> Predicate:
        operand = right if left == _NULL else left
        if node.operator not in {"=", "!="} or operand == _NULL:
            self._refuse(node, "NULL is tested for with = NULL and != NULL")
        test = IsNull(operand)
        return test if node.operator == "=" else Not(test)

    def _alike(self, node: Binary, left: Operand, right: Operand) -> tuple[Operand, Operand]:
        """Read a bound value as what it is compared with."""
        if self._is_bound(node.left) and isinstance(left, Literal):
            left = self._try(node.left, as_kind, left, _wanted(node, right))
        elif self._is_bound(node.right) and isinstance(right, Literal):
            right = self._try(node.right, as_kind, right, _wanted(node, left))
        return left, right

    def _is_bound(self, node: Node) -> bool:
        return isinstance(node, Name | Bound) and node.name in self._bind

    def _overlaps(self, node: Binary, left: Operand, right: Operand) -> Predicate:
        kinds = {left.kind, right.kind}
        if kinds == {Kind.REGION}:
            if not isinstance(left, ElementField) and not isinstance(right, ElementField):
                self._refuse(node, "One of the regions has to be a record's: visit.region")
            return Overlaps(left, right)
        if kinds in ({Kind.TIMESPAN}, {Kind.TIMESPAN, Kind.TIME}):
            return Overlaps(left, right)
        return self._refuse(node, f"{_shown(left)} and {_shown(right)} cannot overlap: timespans do, and regions")

    def _arithmetic(self, node: Binary, left: Operand, right: Operand) -> Operand:
        if left.kind is not right.kind:
            self._refuse(node, f"{_shown(left)} and {_shown(right)} are not of one type: write 1.0 instead of 1")
        if left.kind not in _NUMBERS or (node.operator == "%" and left.kind is not Kind.INT):
            self._refuse(node, f"'{node.operator}' does not compute with values of type {left.kind}")
        return Arithmetic(node.operator, left, right)

    def _in(self, node: In) -> Predicate:
        operand = self._operand(node.operand)
        if operand.kind in {Kind.TIMESPAN, Kind.REGION, Kind.NULL, Kind.BOOL}:
            self._refuse(node.operand, f"A value of type {operand.kind} cannot be looked for in a list")
        terms: list[Predicate] = []
        values: dict[Kind, list[Any]] = {}
        for member in node.members:
            if isinstance(member, Range):
                terms.append(self._range(operand, member))
                continue
            found = self._read(member)
            listed = isinstance(found, list)
            for one in found if isinstance(found, list) else [found]:
                if one == _NULL:
                    terms.append(IsNull(operand))
                    continue
                value = self._member(operand, member, one, exactly=listed)
                if isinstance(value, Literal):
                    values.setdefault(value.kind, []).append(value.value)
                else:
                    terms.append(Comparison("=", operand, value))
        terms += [InValues(operand, tuple(some), kind) for kind, some in values.items()]
        test: Predicate = _NEVER if not terms else terms[0] if len(terms) == 1 else Or(tuple(terms))
        return Not(test) if node.is_negated else test

    def _member(self, operand: Operand, node: Node, found: Any, *, exactly: bool) -> Operand:
        if isinstance(found, _PREDICATES) or not hasattr(found, "kind"):
            self._refuse(node, "This is a condition, and no value")
        value: Operand = found
        if isinstance(value, Literal) and self._is_bound(node):
            value = self._try(node, as_kind, value, operand.kind)
        numbers = {operand.kind, value.kind} <= _NUMBERS and not exactly
        if value.kind is not operand.kind and not numbers:
            self._refuse(node, f"{_shown(operand)} cannot be {_shown(value)}")
        return value

    def _range(self, operand: Operand, node: Range) -> Predicate:
        if operand.kind is not Kind.INT:
            self._refuse(node, f"{_shown(operand)} is not in a range of whole numbers")
        if node.stop < node.start:
            self._refuse(node, "A range ends at its begin or behind it")
        if not -(2**63) <= node.start <= node.stop < 2**63 or node.step >= 2**62:
            self._refuse(node, "A range is within -2^63 to 2^63 - 1")
        return InRange(operand, node.start, node.stop, node.step)

    def _instant(self, node: Node) -> int | None:
        operand = self._operand(node)
        if operand == _NULL:
            return None
        if isinstance(operand, Literal) and operand.kind is Kind.STRING and self._is_bound(node):
            operand = self._try(node, as_kind, operand, Kind.TIME)
        if not isinstance(operand, Literal) or operand.kind is not Kind.TIME:
            self._refuse(node, "A timespan has a begin and an end, times such as T'2013-11-01' or NULL")
        instant: int = operand.value
        return instant

    def _call(self, node: Call) -> Predicate | Operand:
        function = _FUNCTIONS.get(node.name)
        if function is None:
            names = ", ".join([*_FUNCTIONS, "GLOB"])
            if node.name != "GLOB":
                self._refuse(node, f"There is no function {node.name}; there are {names}")
            return self._glob(node)
        count, make = function
        if not count(len(node.arguments)):
            self._refuse(node, f"{node.name} does not take {len(node.arguments)} arguments")
        if node.name in {"REGION", "UUID"}:
            text = self._operand(node.arguments[0])
            if not isinstance(text, Literal) or text.kind is not Kind.STRING:
                self._refuse(node.arguments[0], f"{node.name} takes a text")
            return Literal(self._try(node, make, text.value), Kind(node.name.lower()))
        numbers = [self._degrees(argument) for argument in node.arguments]
        return Literal(self._try(node, make, numbers), Kind.REGION)

    def _degrees(self, node: Node) -> float:
        operand = self._operand(node)
        sign = 1.0
        while isinstance(operand, Negative):
            operand, sign = operand.operand, -sign
        if not isinstance(operand, Literal) or operand.kind not in _NUMBERS:
            self._refuse(node, "This has to be a number, in degrees")
        return sign * float(operand.value)

    def _glob(self, node: Call) -> Predicate:
        if len(node.arguments) != 2:
            self._refuse(node, "GLOB takes an identifier and a pattern")
        operand, pattern = (self._operand(argument) for argument in node.arguments)
        if not isinstance(operand, _COLUMNS) or operand.kind is not Kind.STRING:
            self._refuse(node.arguments[0], "GLOB looks at an identifier that stands for a text")
        if not isinstance(pattern, Literal) or pattern.kind is not Kind.STRING:
            self._refuse(node.arguments[1], "A pattern is a text")
        return Matches(operand, pattern.value)


def _uuid(text: str) -> str:
    from uuid import UUID

    try:
        return str(UUID(text))
    except ValueError:
        raise ValueError("it is no UUID") from None


_FUNCTIONS: dict[str, tuple[Callable[[int], bool], Callable[..., Any]]] = {
    "POINT": (lambda count: count == 2, lambda numbers: point(*numbers)),
    "CIRCLE": (lambda count: count == 3, lambda numbers: circle(*numbers)),
    "BOX": (lambda count: count == 4, lambda numbers: box(*numbers)),
    "POLYGON": (lambda count: count >= 6 and count % 2 == 0, polygon),
    "REGION": (lambda count: count == 1, region_of_pos),
    "UUID": (lambda count: count == 1, _uuid),
}
"""Functions whose arguments are values: how many of them, and what makes of them what they stand for."""


def _wanted(node: Binary, other: Operand) -> Kind:
    """What a text has to be to be compared with something; what overlaps a timespan may be an instant."""
    return Kind.TIME if node.operator == "OVERLAPS" and other.kind is Kind.TIMESPAN else other.kind


def _shown(operand: Operand) -> str:
    match operand:
        case DimensionKey():
            return f"{operand.element.name} ({operand.kind})"
        case ElementField():
            return f"{operand.element.name}.{operand.column} ({operand.kind})"
        case DatasetField():
            return f"{operand.column} ({operand.kind})"
        case Literal(kind=Kind.INT | Kind.FLOAT | Kind.STRING):
            return (
                f"{str(operand.value)[:60]!r} ({operand.kind})" if operand.kind is Kind.STRING else str(operand.value)
            )
    return f"a value of type {operand.kind}"


def _check_regions(predicate: Predicate) -> None:
    """See that overlaps of regions stand alone, or in an AND at the top."""
    top = predicate.operands if isinstance(predicate, And) else (predicate,)
    pending: list[Predicate] = [term for term in top if not isinstance(term, Overlaps)]
    while pending:
        term = pending.pop()
        if isinstance(term, Overlaps) and term.left.kind is Kind.REGION:
            raise UnsupportedJoinError(
                "That regions overlap can be asked alone, or with AND between it and all else; not under OR or NOT."
            )
        if isinstance(term, And | Or):
            pending += term.operands
        elif isinstance(term, Not):
            pending.append(term.operand)


def _is_key(column: ElementField) -> bool:
    return any(column.column == key.name for key in column.element.alternate_keys)


def _check_governors(predicate: Predicate, scope: Scope) -> None:
    """See that it is said of which instrument, or sky map, something is spoken of by its number or name."""
    said = set(scope.constrained)
    needed: dict[str, Element] = {}
    universe = scope.dimensions.universe
    # A test for NULL says nothing.
    for column in columns_of(predicate, but=IsNull):
        if isinstance(column, DimensionKey) or (isinstance(column, ElementField) and _is_key(column)):
            said.add(column.element.name)
    for column in columns_of(predicate):
        if isinstance(column, DatasetField) or column.element.is_skypix:
            continue
        element = column.element
        governor = next((name for name in element.required if universe.dimensions[name].is_governor), element.name)
        if isinstance(column, ElementField):
            is_key = _is_key(column)
        else:
            is_key = element.name != governor
        if is_key and universe.dimensions[governor].is_governor:
            needed.setdefault(governor, element)
    for governor, element in needed.items():
        if governor not in said:
            raise InvalidExpressionError(
                f"{element.name} has a meaning only with {governor}: add {governor} = '...' to the expression, "
                "or give it in dataId."
            )
