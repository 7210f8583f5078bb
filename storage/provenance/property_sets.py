"""Metadata of tasks as they were before 2022: YAML, in which a set is a list of name, type and value.

Only what they consist of is made of them; nothing else that a YAML file can ask for.

Source: ``lsst.daf.base.yaml``.
"""

from __future__ import annotations

from typing import Any

import yaml

from butlerql.storage.errors import InvalidSourceError

__all__ = ["is_property_set", "parse_property_set"]

_TAGS = ("lsst.daf.base.PropertySet", "lsst.daf.base.PropertyList")
_BEGINNING = b"!<lsst.daf.base.Property"


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    pass


def _set(loader: Any, node: Any) -> dict[str, Any]:
    """Make of a set what the JSON of today would be."""
    result: dict[str, dict[str, Any]] = {"scalars": {}, "arrays": {}, "metadata": {}}
    for item in loader.construct_sequence(node, deep=True):
        name, _, value = item[:3]
        kind = "metadata" if isinstance(value, dict) else "arrays" if isinstance(value, list) else "scalars"
        result[kind][name] = value
    return result


def _time(loader: Any, node: Any) -> None:
    """Leave out a time by the atomic clock, which nothing here needs."""


for _tag in _TAGS:
    _Loader.add_constructor(_tag, _set)
_Loader.add_constructor("lsst.daf.base.DateTime", _time)


def is_property_set(content: bytes) -> bool:
    """Whether a file is one."""
    return content.lstrip().startswith(_BEGINNING)


def parse_property_set(content: bytes) -> Any:
    """Make a value of one, of the form that metadata have today.

    Raises
    ------
    InvalidSourceError
        Raised if it is damaged, or holds anything else.
    """
    try:
        return yaml.load(content, _Loader)  # noqa: S506
    except (yaml.YAMLError, ValueError, TypeError, RecursionError):
        raise InvalidSourceError("What should be a property set is none.") from None
