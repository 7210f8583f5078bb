"""What a validation looks for, and what it finds."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

__all__ = ["Check", "Finding", "FindingKind", "Verdict"]


class Check(StrEnum):
    """What is checked."""

    MISSING = "MISSING"
    UNTRACKED = "UNTRACKED"
    SIZE = "SIZE"
    CHECKSUM = "CHECKSUM"
    REGISTRY = "REGISTRY"


class FindingKind(StrEnum):
    """What is wrong."""

    MISSING = "MISSING"
    UNTRACKED = "UNTRACKED"
    SIZE_MISMATCH = "SIZE_MISMATCH"
    CHECKSUM_MISMATCH = "CHECKSUM_MISMATCH"
    UNREADABLE = "UNREADABLE"
    WRONG_TYPE = "WRONG_TYPE"
    ZIP_MEMBER_MISSING = "ZIP_MEMBER_MISSING"
    STALE_TRASH = "STALE_TRASH"
    RECORD_WITHOUT_DATASET = "RECORD_WITHOUT_DATASET"
    RECORD_WITHOUT_LOCATION = "RECORD_WITHOUT_LOCATION"
    LOCATION_WITHOUT_RECORD = "LOCATION_WITHOUT_RECORD"
    CHECKSUM_NOT_RECORDED = "CHECKSUM_NOT_RECORDED"
    """Counted, not a fault."""


class Verdict(StrEnum):
    """What comes of it all."""

    VALID = "VALID"
    INVALID = "INVALID"
    SUSPECT = "SUSPECT"
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
