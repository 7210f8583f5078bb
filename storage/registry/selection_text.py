"""Selections as JSON, so that what was asked for can be done later."""

from __future__ import annotations

from typing import Any

from butlerql.storage.registry.selection import DatasetSelection
from butlerql.storage.registry.where import Where

__all__ = ["selection_of", "written"]


def written(selection: DatasetSelection) -> dict[str, Any]:
    """Write a selection as JSON."""
    return {**vars(selection), "where": selection.where.parts}


def selection_of(values: dict[str, Any]) -> DatasetSelection:
    """Read a selection that was written."""
    return DatasetSelection(**{**values, "where": Where(*values["where"])})
