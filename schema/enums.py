"""Enumerations whose members carry their description."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

__all__ = ["DescribedEnum"]


class DescribedEnum(StrEnum):
    """An enumeration of names; each member is written ``NAME = "NAME", "What it means."``.

    A row may hold any string that equals the name.
    """

    description: str

    def __new__(cls, value: str, description: str) -> Self:
        """Make a member that is the string `value`."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.description = description
        return member
