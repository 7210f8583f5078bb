"""Orders, as the Butler's ``order_by`` spells them: what to order by, a minus in front of what descends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from butlerql.storage.errors import InvalidExpressionError
from butlerql.storage.registry.dataset_types import DatasetType
from butlerql.storage.registry.expressions.names import Scope, find
from butlerql.storage.registry.expressions.tree import DatasetField, Kind, Literal, Operand, columns_of

__all__ = ["DatasetOrder", "Order", "orders_of"]

_ORDERED = frozenset({Kind.INT, Kind.FLOAT, Kind.STRING, Kind.TIME})


class Order(NamedTuple):
    """Something to order by; NULLs come last whichever way it goes."""

    operand: Operand
    is_descending: bool


def orders_of(names: Sequence[str], scope: Scope) -> list[Order]:
    """Find what names say to order by.

    Raises
    ------
    InvalidExpressionError
        Raised if a name means nothing that the result has, or nothing that has an order.
    """
    return [_order(name, scope) for name in names]


def _order(name: str, scope: Scope) -> Order:
    try:
        operand = find(name.removeprefix("-"), scope)
    except ValueError as error:
        raise InvalidExpressionError(f"Nothing can be ordered by '{name}': {error}.") from None
    own = {element.name for element in scope.dimensions.elements} | set(scope.dimensions.names)
    for column in columns_of(operand):
        if not isinstance(column, DatasetField) and column.element.name not in own:
            raise InvalidExpressionError(
                f"Nothing can be ordered by '{name}': the result has no {column.element.name}; it has "
                f"{', '.join(scope.dimensions.names) or 'no dimensions'}."
            )
    if operand.kind not in _ORDERED:
        raise InvalidExpressionError(
            f"Nothing can be ordered by '{name}': values of type {operand.kind} have no order."
        )
    return Order(operand, name.startswith("-"))


class DatasetOrder:
    """What to order datasets by; where a dataset type has nothing of a name, its datasets come last.

    Parameters
    ----------
    names
        What to order by.
    kinds
        Dataset types of the datasets. The fields of a component's go by the name of its parent.

    Raises
    ------
    InvalidExpressionError
        Raised if a name means something for none of the dataset types, or not the same for all of them.
    """

    def __init__(self, names: Sequence[str], kinds: Iterable[DatasetType]) -> None:
        scopes = {kind: Scope(kind.dimensions, dataset_type=kind.parent_name) for kind in kinds}
        self._by_kind: dict[DatasetType, list[Order]] = {kind: [] for kind in scopes}
        for name in names:
            found = {kind: _found(name, scope) for kind, scope in scopes.items()}
            orders = [order for order in found.values() if isinstance(order, Order)]
            refused = next((error for error in found.values() if isinstance(error, InvalidExpressionError)), None)
            if refused is not None and not orders:
                raise refused
            if len({order.operand.kind for order in orders}) > 1:
                raise InvalidExpressionError(
                    f"'{name}' is not of one type for all of the datasets. Say which is meant."
                )
            for kind, order in found.items():
                nothing = Order(Literal(None, orders[0].operand.kind), orders[0].is_descending)
                self._by_kind[kind].append(order if isinstance(order, Order) else nothing)

    def __call__(self, kind: DatasetType) -> list[Order]:
        """Tell what to order datasets of a type by."""
        return self._by_kind[kind]


def _found(name: str, scope: Scope) -> Order | InvalidExpressionError:
    try:
        return _order(name, scope)
    except InvalidExpressionError as error:
        return error
