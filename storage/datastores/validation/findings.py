"""What a validation looks for, and what it finds."""

from __future__ import annotations

from enum import StrEnum, auto
from typing import NamedTuple

__all__ = ["Check", "Finding", "FindingKind", "Verdict"]


class Check(StrEnum):
    """What is checked."""

    MISSING = auto()
    UNTRACKED = auto()
    SIZE = auto()
    CHECKSUM = auto()
    REGISTRY = auto()


class FindingKind(StrEnum):
    """What is wrong."""

    MISSING = auto()
    UNTRACKED = auto()
    SIZE_MISMATCH = auto()
    CHECKSUM_MISMATCH = auto()
    UNREADABLE = auto()
    WRONG_TYPE = auto()
    ZIP_MEMBER_MISSING = auto()
    STALE_TRASH = auto()
    RECORD_WITHOUT_DATASET = auto()
    RECORD_WITHOUT_LOCATION = auto()
    LOCATION_WITHOUT_RECORD = auto()
    CHECKSUM_NOT_RECORDED = auto()
    """Counted, not a fault."""


class Verdict(StrEnum):
    """What comes of it all."""

    VALID = auto()
    INVALID = auto()
    SUSPECT = auto()
    """So much is missing or untracked that the store itself is in doubt."""


class Finding(NamedTuple):
    """Something that is wrong with an artifact, or with what is recorded of a dataset."""

    kind: FindingKind

    path: str | None
    """Of the artifact, relative to the datastore's root, or an absolute URI; None where it is about a dataset."""

    bytes: int | None = None
    """Recorded, or what is untracked takes."""

    expected: str | None = None
    observed: str | None = None

    dataset_id: str | None = None
    """Of the dataset that it is about, where it is not about an artifact."""
