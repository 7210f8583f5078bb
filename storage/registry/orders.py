"""Orders, as the Butler's ``order_by`` spells them: what to order by, a minus in front of what descends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from butlerql.storage.registry.dataset_types import DatasetType
from butlerql.storage.registry.expressions.tree import Operand
from butlerql.storage.universe import DimensionGroup

__all__ = ["DatasetOrder", "Order", "orders_of"]


class Order(NamedTuple):
    """Something to order by; NULLs come last whichever way it goes."""

    operand: Operand
    is_descending: bool


def orders_of(names: Sequence[str], dimensions: DimensionGroup) -> list[Order]:
    return []


class DatasetOrder:
    def __init__(self, names: Sequence[str], kinds: Sequence[DatasetType]) -> None: ...
    def __call__(self, kind: DatasetType) -> Sequence[Order]:
        return []
