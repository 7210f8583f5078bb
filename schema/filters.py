"""Conditions on data IDs as inputs: typed, and checked by the schema of the repository.

What every repository has is declared here. `universe_filters` adds the fields for the dimensions of a repository and
the inputs for the records of its elements.
"""

from __future__ import annotations

import strawberry

from butlerql.schema.scalars import BigInt, TaiTime
from butlerql.schema.timespans import TimespanInput

__all__ = [
    "BigIntFilter",
    "BooleanFilter",
    "ConeFilter",
    "DataIdFilter",
    "FloatFilter",
    "StringFilter",
    "TimespanFilter",
]

_IS_NULL = "Whether there is no value at all."


@strawberry.input
class StringFilter:
    """Conditions on a text; all that are given must hold. Null is as if it were left out.

    What has no value fulfils none of them but `isNull`, nor their opposites.
    """

    eq: str | None = strawberry.field(default=None, description="It is this.")
    ne: str | None = strawberry.field(default=None, description="It is something else.")
    in_: list[str] | None = strawberry.field(
        name="in", default=None, description="It is one of these; an empty list selects nothing."
    )
    not_in: list[str] | None = strawberry.field(
        default=None, description="It is none of these; an empty list is no condition."
    )
    glob: str | None = strawberry.field(
        default=None,
        description=(
            "It fits this pattern, all of it: `*` is any run of characters, `?` one character, and a backslash takes "
            "the meaning of what follows away. Not for hashes."
        ),
    )
    is_null: bool | None = strawberry.field(default=None, description=_IS_NULL)


@strawberry.input
class BigIntFilter:
    """Conditions on a whole number; all that are given must hold. Null is as if it were left out.

    What has no value fulfils none of them but `isNull`, nor their opposites.
    """

    eq: BigInt | None = strawberry.field(default=None, description="It is this.")
    ne: BigInt | None = strawberry.field(default=None, description="It is something else.")
    in_: list[BigInt] | None = strawberry.field(
        name="in", default=None, description="It is one of these; an empty list selects nothing."
    )
    not_in: list[BigInt] | None = strawberry.field(
        default=None, description="It is none of these; an empty list is no condition."
    )
    lt: BigInt | None = strawberry.field(default=None, description="It is less than this.")
    lte: BigInt | None = strawberry.field(default=None, description="It is this or less.")
    gt: BigInt | None = strawberry.field(default=None, description="It is greater than this.")
    gte: BigInt | None = strawberry.field(default=None, description="It is this or greater.")
    between: list[BigInt] | None = strawberry.field(
        default=None, description="It is between these two, or one of them: the lesser first."
    )
    is_null: bool | None = strawberry.field(default=None, description=_IS_NULL)


@strawberry.input
class FloatFilter:
    """Conditions on a number; all that are given must hold. Null is as if it were left out.

    What has no value fulfils none of them but `isNull`, nor their opposites.
    """

    eq: float | None = strawberry.field(default=None, description="It is this.")
    ne: float | None = strawberry.field(default=None, description="It is something else.")
    lt: float | None = strawberry.field(default=None, description="It is less than this.")
    lte: float | None = strawberry.field(default=None, description="It is this or less.")
    gt: float | None = strawberry.field(default=None, description="It is greater than this.")
    gte: float | None = strawberry.field(default=None, description="It is this or greater.")
    between: list[float] | None = strawberry.field(
        default=None, description="It is between these two, or one of them: the lesser first."
    )
    is_null: bool | None = strawberry.field(default=None, description=_IS_NULL)


@strawberry.input
class BooleanFilter:
    """Conditions on a truth value; all that are given must hold. Null is as if it were left out."""

    eq: bool | None = strawberry.field(default=None, description="It is this.")
    is_null: bool | None = strawberry.field(default=None, description=_IS_NULL)


@strawberry.input
class TimespanFilter:
    """Conditions on a timespan; all that are given must hold. Null is as if it were left out.

    An empty timespan, and one that is not known, fulfils none of them but, the latter, `isNull`.
    """

    overlaps: TimespanInput | None = strawberry.field(
        default=None, description="It and this have an instant in common."
    )
    contains: TaiTime | None = strawberry.field(default=None, description="This instant is in it.")
    before: TaiTime | None = strawberry.field(default=None, description="All of it is before this instant.")
    after: TaiTime | None = strawberry.field(default=None, description="All of it is after this instant.")
    is_null: bool | None = strawberry.field(default=None, description=_IS_NULL)


@strawberry.input
class ConeFilter:
    """A circle on the sky, its rim included."""

    ra: float = strawberry.field(description="Right ascension of its centre, ICRS degrees.")
    dec: float = strawberry.field(description="Declination of its centre, ICRS degrees, -90 to 90.")
    radius: float = strawberry.field(description="Angle from its centre to its rim, degrees, 0 to 180.")


@strawberry.input
class DataIdFilter:
    """Conditions on data IDs, and on the records that they name; all that are given must hold.

    Null is as if it were left out. Without any condition everything is selected.
    """

    and_: list[DataIdFilter] | None = strawberry.field(
        name="and", default=None, description="All of these hold; an empty list is no condition."
    )
    or_: list[DataIdFilter] | None = strawberry.field(
        name="or", default=None, description="At least one of these holds; an empty list selects nothing."
    )
    not_: DataIdFilter | None = strawberry.field(
        name="not",
        default=None,
        description="This does not hold, and it is known not to: what compares a missing value holds neither way.",
    )
    cone: ConeFilter | None = strawberry.field(
        default=None,
        description=(
            "The region of the most precise dimension that has one overlaps this circle. Not below `or` or `not`. "
            "An error if none has one, or if several do, as visit and patch; `where` can say which."
        ),
    )
    overlaps_time: TimespanInput | None = strawberry.field(
        default=None,
        description=(
            "The timespan of the most precise dimension that has one overlaps this. An error if none has one."
        ),
    )
