"""Names of what a universe adds to the schema."""

from __future__ import annotations

import re
from collections.abc import Container

from strawberry.utils.str_converters import to_camel_case

__all__ = ["free_name", "graphql_name"]

_NAME = re.compile(r"(?!__)[_A-Za-z][_0-9A-Za-z]*", re.ASCII)


def graphql_name(name: str) -> str | None:
    """Write a name of the Butler's as GraphQL names are written; None if it cannot be one."""
    written = to_camel_case(name)
    return written if _NAME.fullmatch(name) and _NAME.fullmatch(written) else None


def free_name(name: str, taken: Container[str], suffix: str) -> str:
    """Add a suffix to a name as often as it takes to be free."""
    while name in taken:
        name += suffix
    return name
