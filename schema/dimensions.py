"""The dimensions of the repository's universe."""

from __future__ import annotations

import strawberry

from butlerql.schema.conditions import Bind, Filter, OrderBy, Where
from butlerql.schema.connections import After, Before, First, Last
from butlerql.schema.enums import DescribedEnum
from butlerql.schema.fields import loaded
from butlerql.schema.references import DimensionRecordConnection
from butlerql.schema.scalars import DataIdValues

__all__ = ["Dimension", "DimensionColumn", "DimensionKind", "DimensionUniverse"]


@strawberry.enum
class DimensionKind(DescribedEnum):
    """What a dimension element is."""

    GOVERNOR = "GOVERNOR", "A dimension on which the meaning of others depends: an instrument, a sky map."
    DIMENSION = "DIMENSION", "An ordinary dimension."
    SKYPIX = "SKYPIX", "A pixel of a fixed division of the sky; its records are computed, and nothing lists them all."
    JOIN = "JOIN", "No dimension itself: it relates others, and has records of that."


@strawberry.type
class DimensionColumn:
    """A column of a dimension element's records."""

    name: str = strawberry.field(description="Name, the Butler's spelling.")
    type: str = strawberry.field(description="Type: `int`, `float`, `string`, `bool` or `hash`.")

    @loaded
    def description(self) -> str | None:
        """What it means; null if the universe does not say."""

    nullable: bool = strawberry.field(description="Whether records may lack it.")


@strawberry.type
class Dimension:
    """A dimension element: a dimension that data IDs are made of, or a relation among dimensions."""

    name: str = strawberry.field(description="Name, the Butler's spelling.")

    @loaded
    def description(self) -> str | None:
        """What it means; null if the universe does not say."""

    kind: DimensionKind = strawberry.field(description="What kind of element it is.")

    @loaded
    def required(self) -> list[Dimension]:
        """Dimensions that identify one of its records, itself last if it is a dimension; in the universe's order."""

    @loaded
    def implied(self) -> list[Dimension]:
        """Dimensions whose values its records determine, directly."""

    is_governor: bool = strawberry.field(description="Whether it is a governor, such as an instrument or a sky map.")
    is_skypix: bool = strawberry.field(description="Whether it is a division of the sky into pixels.")

    @loaded
    def key_type(self) -> str:
        """Type of its values in data IDs: `int`, `string`, ...; empty for an element that is no dimension."""

    metadata: list[DimensionColumn] = strawberry.field(
        description="Columns of its records beside the keys, the region and the timespan."
    )

    @loaded
    def records(
        self,
        data_id: DataIdValues | None = None,
        where: Where = None,
        bind: Bind = None,
        filter: Filter = None,  # noqa: A002 - the contract's name
        order_by: OrderBy = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> DimensionRecordConnection | None:
        """Its records, as `dimensionRecords` gives them.

        Of a skypix dimension only those of pixels that the conditions relate to something, such as the visit or the
        tract of `dataId`; to ask for all is an error.

        Parameters
        ----------
        data_id
            Only records that agree with these values.
        """


@strawberry.type
class DimensionUniverse:
    """The dimensions that the repository was made with, and how they depend on each other."""

    namespace: str = strawberry.field(description="Whose universe it is: `daf_butler`.")
    version: int = strawberry.field(description="Version of the universe.")

    @loaded
    def dimensions(self) -> list[Dimension]:
        """All dimensions, skypix included, in the universe's order."""

    @loaded
    def elements(self) -> list[Dimension]:
        """All elements: the dimensions, and the relations among them; in the universe's order."""
