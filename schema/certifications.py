"""Certifications: for when a calibration is valid."""

from __future__ import annotations

import strawberry

from butlerql.schema.connections import Connection
from butlerql.schema.references import Dataset
from butlerql.schema.timespans import Timespan

__all__ = ["Certification", "CertificationConnection"]


@strawberry.type
class Certification:
    """A dataset in a CALIBRATION collection, and when it is valid there."""

    dataset: Dataset = strawberry.field(description="The calibration.")
    timespan: Timespan = strawberry.field(description="When it is valid.")


@strawberry.type
class CertificationConnection(Connection[Certification]):
    """A page of certifications."""
