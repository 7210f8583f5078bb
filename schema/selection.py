"""Which datasets: the one way to say it."""

from __future__ import annotations

import strawberry

from butlerql.schema.conditions import BIND, FILTER, WHERE
from butlerql.schema.filters import DataIdFilter
from butlerql.schema.quanta import QuantumFilter
from butlerql.schema.scalars import JSON, UUID, DataIdValues, DateTime

__all__ = ["DatasetSelection"]


@strawberry.input
class DatasetSelection:
    """Which datasets: the one way to say it, and the same set wherever it is said.

    Everything given must hold; an empty list selects nothing. Unknown dataset types or collections named
    literally are errors; globs that match nothing select nothing.
    """

    uuids: list[UUID] | None = strawberry.field(default=None, description="Only these datasets; null for all.")
    dataset_types: list[str] | None = strawberry.field(
        default=None, description="Names or globs (`calexp`, `deepCoadd*`); null for all."
    )
    collections: list[str] | None = strawberry.field(
        default=None,
        description="Names or globs; without globs, searched in the order given. Chains are expanded. Null for all.",
    )
    runs: list[str] | None = strawberry.field(
        default=None, description="Only datasets whose RUN matches: names or globs; null for all."
    )
    related: bool | None = strawberry.field(
        default=None,
        description=(
            "Whether dataset types that lack a dimension that `dataId`, `where` or `filter` constrain are joined to it "
            "through relationships and spatial overlap, as the Butler always does (with it, `visit = 1` also selects "
            "the sky map). By default only types named without globs are; of the others only those take part that have "
            "all the constrained dimensions, required or implied."
        ),
    )
    data_id: DataIdValues | None = strawberry.field(
        default=None, description="Only datasets whose data IDs agree with these values; null for all."
    )
    where: str | None = strawberry.field(default=None, description=WHERE)
    bind: JSON | None = strawberry.field(default=None, description=BIND)
    filter: DataIdFilter | None = strawberry.field(default=None, description=FILTER)
    find_first: bool | None = strawberry.field(
        default=False,
        description=(
            "Per dataset type and data ID only the first in search order, ranked after every other condition has "
            "acted, as the Butler does. Off: every dataset, each once."
        ),
    )
    in_datastore: str | None = strawberry.field(
        default=None,
        description="Only datasets that this datastore (or any of its children) has records of; null for all.",
    )
    not_in_datastore: str | None = strawberry.field(
        default=None,
        description="Only datasets that neither this datastore nor any of its children has records of; null for all.",
    )
    ingested_after: DateTime | None = strawberry.field(
        default=None, description="Only datasets that were put into the repository after this instant; null for all."
    )
    ingested_before: DateTime | None = strawberry.field(
        default=None, description="Only datasets that were put into the repository before this instant; null for all."
    )
    generated_by: QuantumFilter | None = strawberry.field(
        default=None,
        description=(
            "Only what these units of work wrote into their runs, metadata and logs with it: the outputs of a bad "
            "machine, say. What there is was written by the last attempt, so conditions on attempts (`hosts`, "
            "`startedAfter` and so on) are on that one alone. What the registry has forgotten is not selected. Null "
            "for all."
        ),
    )
