"""Leaf values: whole columns of them made fit for output, as graphql-core makes each."""

# Whatever is raised here becomes the error of a field.
# ruff: noqa: BLE001

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite
from types import NoneType
from typing import Any, Final

from graphql import (
    GRAPHQL_MAX_INT,
    GRAPHQL_MIN_INT,
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLFloat,
    GraphQLID,
    GraphQLInt,
    GraphQLLeafType,
    GraphQLString,
    Undefined,
)
from graphql.execution.executor import Executor

__all__ = ["PASSTHROUGH", "LeafColumn"]

PASSTHROUGH: Final = "passthrough"
"""Name of what a scalar's ``extensions`` say of the values that are output as they are: True if all are, or their type
and a condition, as in ``_EXACT``."""

_UNDEFINED_TYPE: Final = type(Undefined)


def _fits_int(values: Sequence[Any]) -> bool:
    return bool(min(values) >= GRAPHQL_MIN_INT and max(values) <= GRAPHQL_MAX_INT)


def _is_finite(values: Sequence[Any]) -> bool:
    return all(map(isfinite, values))


_EXACT: Final[tuple[tuple[Any, type, Callable[[Sequence[Any]], bool] | None], ...]] = (
    (GraphQLString, str, None),
    (GraphQLID, str, None),
    (GraphQLBoolean, bool, None),
    (GraphQLInt, int, _fits_int),
    (GraphQLFloat, float, _is_finite),
)
"""Of each standard scalar: the type whose values it leaves as they are, and under which condition, of at least one."""


class LeafColumn:
    """How values of one scalar or enum type are output.

    The answer, errors included, is that of graphql-core's ``coerce_output_value``; only it is found for a column at
    once where the Python types of the values allow it.
    """

    def __init__(self, type_: GraphQLLeafType) -> None:
        self.type = type_
        passing = type_.extensions.get(PASSTHROUGH)
        self._passes = passing is True
        self._exact: type | None
        self._condition: Callable[[Sequence[Any]], bool] | None
        self._exact, self._condition = passing if isinstance(passing, tuple) else (None, None)
        for scalar, exact, condition in _EXACT:
            # The coercer, not the type, is compared: sorting a schema copies its types.
            if type_.coerce_output_value is scalar.coerce_output_value:
                self._exact, self._condition = exact, condition

    def untouched(self, values: Sequence[Any], types: set[type], nullable: bool) -> bool:
        """Tell at once whether all these values are output as they are.

        Parameters
        ----------
        values
            A column; nothing is assumed of it.
        types
            The types of its values.
        nullable
            Whether None may be among them.
        """
        if not values:
            return True
        if self._exact is None or not types <= {self._exact, NoneType}:
            return False
        if self._condition is None or NoneType not in types:
            return (nullable or NoneType not in types) and (self._condition is None or self._condition(values))
        present = [value for value in values if value is not None]
        return nullable and (not present or self._condition(present))

    def serialised(self, values: Sequence[Any]) -> tuple[Sequence[Any], dict[int, Exception]]:
        """Make values fit for output.

        Parameters
        ----------
        values
            Neither None nor exceptions among them.

        Returns
        -------
        values
            In the same order; None where there was an error.
        errors
            By position.
        """
        types = set(map(type, values))
        if self._passes or self.untouched(values, types, nullable=False):
            return values, {}
        if isinstance(self.type, GraphQLEnumType):
            try:
                # Few values, many times: each is looked up once.
                names = {value: self.type.coerce_output_value(value) for value in set(values)}
            except Exception:
                return self._one_by_one(values)
            return list(map(names.__getitem__, values)), {}
        try:
            coerced = list(map(self.type.coerce_output_value, values))
        except Exception:
            return self._one_by_one(values)
        if {NoneType, _UNDEFINED_TYPE}.isdisjoint(map(type, coerced)):
            return coerced, {}
        return self._one_by_one(values)

    def _one_by_one(self, values: Sequence[Any]) -> tuple[Sequence[Any], dict[int, Exception]]:
        coerced: list[Any] = []
        errors: dict[int, Exception] = {}
        for position, value in enumerate(values):
            try:
                coerced.append(Executor.complete_leaf_value(self.type, value))
            except Exception as error:
                coerced.append(None)
                errors[position] = error
        return coerced, errors
