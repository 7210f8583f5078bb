"""One form for the Butler's predicates and ours, in which equal ones are equal."""

from __future__ import annotations

import base64
from itertools import product
from typing import Any

from lsst.daf.butler.queries import tree as theirs

from butlerql.storage.registry.expressions import tree as ours

__all__ = ["canonical"]

Clause = frozenset[Any]
"""Tests of which one has to hold; each is ``(is it, the test)``."""

_SYMMETRICAL = {"=", "!=", "overlaps"}


def canonical(predicate: ours.Predicate | theirs.Predicate) -> frozenset[Clause]:
    """Write a predicate as clauses that all have to hold.

    Lists are written out as comparisons; what holds always or never, or follows from another clause, is left out.
    """
    if isinstance(predicate, theirs.Predicate):
        groups = [[_their_leaf(leaf, is_so=True) for leaf in group] for group in predicate.operands]
        clauses = [clause for group in groups for clause in _any(group)]
    else:
        clauses = _our_clauses(predicate, is_so=True)
    return frozenset(clause for clause in clauses if not any(other < clause for other in clauses))


def _any(alternatives: list[list[Clause]]) -> list[Clause]:
    return [frozenset().union(*clauses) for clauses in product(*alternatives)]


def _leaf(test: Any, is_so: bool) -> list[Clause]:
    return [frozenset({(is_so, test)})]


def _constant(value: bool) -> list[Clause]:
    return [] if value else [frozenset()]


def _null(operand: Any, is_so: bool) -> list[Clause]:
    return _constant(not is_so) if operand[0] == "literal" else _leaf(("null", operand), is_so)


def _comparison(operator: str, left: Any, right: Any) -> Any:
    return (operator, frozenset({left, right})) if operator in _SYMMETRICAL else (operator, left, right)


def _among(tests: list[Any], is_so: bool) -> list[Clause]:
    return [frozenset((True, test) for test in tests)] if is_so else [frozenset({(False, test)}) for test in tests]


def _our_clauses(predicate: ours.Predicate, *, is_so: bool) -> list[Clause]:  # noqa: C901, PLR0911 - a case for each kind
    match predicate:
        case ours.And() | ours.Or():
            parts = [_our_clauses(operand, is_so=is_so) for operand in predicate.operands]
            if isinstance(predicate, ours.And) is is_so:
                return [clause for part in parts for clause in part]
            return _any(parts)
        case ours.Not():
            return _our_clauses(predicate.operand, is_so=not is_so)
        case ours.Constant():
            return _constant(predicate.value is is_so)
        case ours.Truth():
            return _leaf(_our_operand(predicate.operand), is_so)
        case ours.IsNull():
            return _null(_our_operand(predicate.operand), is_so)
        case ours.Comparison():
            test = _comparison(predicate.operator, _our_operand(predicate.left), _our_operand(predicate.right))
            return _leaf(test, is_so)
        case ours.Overlaps():
            test = _comparison("overlaps", _our_operand(predicate.left), _our_operand(predicate.right))
            return _leaf(test, is_so)
        case ours.InValues():
            literals = [ours.Literal(value, predicate.kind) for value in predicate.values]
            operand = _our_operand(predicate.operand)
            return _among([_comparison("=", operand, _our_operand(literal)) for literal in literals], is_so)
        case ours.InRange():
            bounds = (predicate.start, predicate.stop, predicate.step)
            return _leaf(("range", _our_operand(predicate.operand), *bounds), is_so)
        case ours.Matches(pattern="*"):
            return _constant(is_so)
        case ours.Matches():
            return _leaf(("glob", _our_operand(predicate.operand), predicate.pattern), is_so)


def _our_operand(operand: ours.Operand) -> Any:  # noqa: C901, PLR0911 - a case for each kind
    match operand:
        case ours.DimensionKey():
            return ("key", operand.element.name)
        case ours.ElementField():
            return ("field", operand.element.name, operand.column)
        case ours.DatasetField():
            return ("dataset", operand.column)
        case ours.TimespanBound(operand=ours.Literal() as literal):
            return ("literal", "datetime", literal.value.bounds[0 if operand.is_begin else 1])
        case ours.TimespanBound():
            return ("begin" if operand.is_begin else "end", _our_operand(operand.operand))
        case ours.Negative():
            return _negative(_our_operand(operand.operand))
        case ours.Arithmetic():
            return (operand.operator, _our_operand(operand.left), _our_operand(operand.right))
        case ours.Literal(kind=ours.Kind.REGION):
            return ("literal", "region", operand.value.encode())
        case ours.Literal(kind=ours.Kind.TIMESPAN):
            return ("literal", "timespan", operand.value.bounds)
        case ours.Literal():
            return _literal(str(operand.kind), operand.value)


def _literal(kind: str, value: Any) -> Any:
    return ("literal", "number" if kind in {"int", "float"} else kind, value)


def _negative(operand: Any) -> Any:
    return ("literal", "number", -operand[2]) if operand[:2] == ("literal", "number") else ("-", operand)


def _their_leaf(leaf: Any, *, is_so: bool) -> list[Clause]:  # noqa: PLR0911 - a case for each kind
    match leaf.predicate_type:
        case "not":
            return _their_leaf(leaf.operand, is_so=not is_so)
        case "boolean_wrapper":
            return _leaf(_their_operand(leaf.operand), is_so)
        case "is_null":
            return _null(_their_operand(leaf.operand), is_so)
        case "in_container":
            operand = _their_operand(leaf.member)
            return _among([_comparison("=", operand, _their_operand(one)) for one in leaf.container], is_so)
        case "in_range":
            return _leaf(("range", _their_operand(leaf.member), leaf.start, leaf.stop - 1, leaf.step), is_so)
        case "comparison" if leaf.operator == "glob":
            if leaf.b.value == "*":
                return _constant(is_so)
            return _leaf(("glob", _their_operand(leaf.a), leaf.b.value), is_so)
        case "comparison":
            operator = "=" if leaf.operator == "==" else leaf.operator
            return _leaf(_comparison(operator, _their_operand(leaf.a), _their_operand(leaf.b)), is_so)
    raise AssertionError(leaf)


def _their_operand(operand: Any) -> Any:  # noqa: C901, PLR0911 - a case for each kind
    match operand.expression_type:
        case "dimension_key":
            return ("key", operand.dimension.name)
        case "dimension_field":
            return ("field", operand.element.name, operand.field)
        case "dataset_field":
            return ("dataset", operand.field)
        case "unary" if operand.operator == "-":
            return _negative(_their_operand(operand.operand))
        case "unary":
            name = operand.operator.removesuffix("_of")
            if operand.operand.is_literal:
                literal = operand.operand
                return ("literal", "datetime", literal.begin_nsec if name == "begin" else literal.end_nsec)
            return (name, _their_operand(operand.operand))
        case "binary":
            return (operand.operator, _their_operand(operand.a), _their_operand(operand.b))
        case "datetime":
            return ("literal", "datetime", operand.nsec)
        case "timespan":
            return ("literal", "timespan", (operand.begin_nsec, operand.end_nsec))
        case "region":
            return ("literal", "region", base64.b64decode(operand.encoded))
        case "uuid":
            return ("literal", "uuid", str(operand.value))
        case kind:
            return _literal(kind, operand.value)
