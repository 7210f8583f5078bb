"""Records: what is known of an instrument, a visit, a patch."""

from __future__ import annotations

import strawberry

from butlerql.schema.connections import Connection
from butlerql.schema.fields import loaded
from butlerql.schema.references import DataId, Dimension
from butlerql.schema.scalars import JSON
from butlerql.schema.spatial import Region
from butlerql.schema.timespans import Timespan

__all__ = ["DimensionRecord", "DimensionRecordConnection"]


@strawberry.type
class DimensionRecord:
    """What is known of one value of a dimension, or of one relation among dimensions."""

    element: Dimension = strawberry.field(description="The element that it is a record of.")
    data_id: DataId = strawberry.field(description="The data ID that identifies it.")

    @loaded
    def values(self) -> JSON:
        """Every column, the Butler's spelling; regions and timespans as in their own types."""

    @loaded
    def region(self) -> Region | None:
        """Where on the sky it lies; null if the element has no region or the record lacks it."""

    timespan: Timespan | None = strawberry.field(
        description="When it was; null if the element has no timespan or the record lacks it."
    )


@strawberry.type
class DimensionRecordConnection(Connection[DimensionRecord]):
    """A page of dimension records."""
