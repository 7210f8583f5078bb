"""When calibrations have to be valid: at the time of what they are related to, or of each other.

The rule is the Butler's. Where a condition says itself how a validity overlaps with another timespan, nothing is added.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import sqlalchemy as sa

from butlerql.storage.errors import UnsupportedJoinError
from butlerql.storage.registry.conditions import Condition
from butlerql.storage.registry.dataset_searches import Validity, overlaps
from butlerql.storage.registry.expressions.tree import DatasetField
from butlerql.storage.registry.topology import chosen_elements
from butlerql.storage.universe import DimensionGroup

__all__ = ["CalibrationTimes"]

_DIMENSIONS = "#dimensions"
"""Stands for what has a time among the dimensions; no dataset type can have such a name."""


class CalibrationTimes:
    """What the validities of calibrations have to overlap.

    Parameters
    ----------
    group
        All dimensions that take part.
    calibrations
        How conditions call their dataset types; see `DatasetField`.
    condition
        What has to hold; None for nothing.

    Attributes
    ----------
    elements
        Those that say at what time calibrations have to be valid; none if there are no calibrations.

    Raises
    ------
    UnsupportedJoinError
        Raised if there are several calibrations and nothing says at what time they have to be valid.
    """

    def __init__(self, group: DimensionGroup, calibrations: Iterable[str | None], condition: Condition | None) -> None:
        names = set(calibrations)
        self.elements = list(chosen_elements(group, "temporal").values()) if names else []
        parts = _related({*names, _DIMENSIONS} if self.elements else names, condition)
        if self.elements:
            self._open = names.difference(*(part for part in parts if _DIMENSIONS in part))
        elif len(parts) < 2 or [len(part) for part in parts] == [1, 1]:
            self._open = names if len(parts) > 1 else set()
        else:
            raise UnsupportedJoinError(
                "Nothing says at what time more than two kinds of calibrations have to be valid. Ask for fewer of them."
            )

    def conditions(
        self, validities: Mapping[str | None, Validity], times: Sequence[Validity]
    ) -> list[sa.ColumnElement[bool]]:
        """Let calibrations be valid when they have to be.

        Parameters
        ----------
        validities
            Of calibrations that are joined, by their dataset types.
        times
            Of the elements.
        """
        found = [validity for name, validity in validities.items() if name in self._open]
        if not self.elements:
            return [overlaps(*found)] if len(found) > 1 else []
        return [overlaps(validity, when) for validity in found for when in times]


def _related(names: set[str | None], condition: Condition | None) -> list[set[str | None]]:
    """Put together what a condition relates."""
    part_of = {name: {name} for name in names}
    for pair in () if condition is None else condition.temporal_overlaps:
        sides = [one.dataset_type if isinstance(one, DatasetField) else _DIMENSIONS for one in pair]
        if names.issuperset(sides):
            merged = part_of[sides[0]] | part_of[sides[1]]
            part_of |= dict.fromkeys(merged, merged)
    return list({id(part): part for part in part_of.values()}.values())
