"""Selections as JSON, so that what was asked for can be done later."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from butlerql.storage.provenance.filters import QuantumFilter
from butlerql.storage.provenance.records import QuantumStatus
from butlerql.storage.registry.selection import DatasetSelection
from butlerql.storage.registry.where import Where

__all__ = ["selection_of", "written"]


def written(selection: DatasetSelection) -> dict[str, Any]:
    """Write a selection as JSON."""
    chosen = selection.generated_by
    return {
        **vars(selection),
        "where": selection.where.parts,
        "generated_by": None if chosen is None else asdict(chosen),
    }


def selection_of(values: dict[str, Any]) -> DatasetSelection:
    """Read a selection that was written."""
    chosen = values.get("generated_by")
    return DatasetSelection(
        **{
            **values,
            "where": Where(*values["where"]),
            "generated_by": None if chosen is None else _quanta_of(chosen),
        }
    )


def _quanta_of(values: dict[str, Any]) -> QuantumFilter:
    statuses = values["statuses"]
    return QuantumFilter(**{**values, "statuses": None if statuses is None else list(map(QuantumStatus, statuses))})
