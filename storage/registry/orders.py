"""Orders, as the Butler's ``order_by`` spells them: what to order by, a minus in front of what descends."""

from __future__ import annotations

from typing import NamedTuple

from butlerql.storage.registry.expressions.tree import Operand

__all__ = ["Order"]


class Order(NamedTuple):
    """Something to order by; NULLs come last whichever way it goes."""

    operand: Operand
    is_descending: bool
