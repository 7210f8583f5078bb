"""Arguments of connections that narrow them down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from butlerql.storage.errors import InvalidArgumentError
from butlerql.storage.registry.where import Where

__all__ = ["WHERE", "where_of"]

WHERE = ("where", "bind", "filter")
"""Names of the arguments that `where_of` reads."""


def where_of(arguments: Mapping[str, Any]) -> Where:
    """Read the conditions among the arguments of a field.

    Raises
    ------
    InvalidArgumentError
        Raised if values are bound without an expression, or otherwise than by name.
    InvalidExpressionError
        Raised if the expression is none.
    """
    text, bind, given = (arguments.get(name) for name in WHERE)
    if bind is not None and not isinstance(bind, Mapping):
        raise InvalidArgumentError("bind is an object: the names of identifiers, and their values.")
    if bind and text is None:
        raise InvalidArgumentError("bind has values for a where that is not given.")
    return Where(text, bind, given)
