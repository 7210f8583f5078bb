"""Collections."""

from __future__ import annotations

import strawberry

from butlerql.schema.conditions import Bind, Filter, OrderBy, Where
from butlerql.schema.connections import After, Before, Connection, First, Last
from butlerql.schema.enums import DescribedEnum
from butlerql.schema.fields import EVERYTHING, loaded
from butlerql.schema.nodes import Node
from butlerql.schema.references import (
    CertificationConnection,
    DataIdConnection,
    DatasetConnection,
    DatasetTypeConnection,
    RunCheck,
    RunProvenance,
)
from butlerql.schema.scalars import DataIdValues
from butlerql.schema.timespans import Timespan, TimespanInput

__all__ = [
    "CalibrationCollection",
    "ChainedCollection",
    "Collection",
    "CollectionConnection",
    "CollectionType",
    "Run",
    "RunConnection",
    "TaggedCollection",
]


@strawberry.enum
class CollectionType(DescribedEnum):
    """What a collection is."""

    RUN = "RUN", "Datasets were written into it; each dataset is in one for good."
    TAGGED = "TAGGED", "Datasets were put into it by hand, at most one of a dataset type and data ID."
    CALIBRATION = "CALIBRATION", "Datasets are certified in it, each for a timespan."
    CHAINED = "CHAINED", "A list of other collections, searched in order."


@strawberry.interface
class Collection:
    """A named set of datasets."""

    id: strawberry.ID = strawberry.field(
        description="Identity among everything served here; opaque, and the same as long as the collection exists."
    )
    name: str = strawberry.field(description="Name.")
    type: CollectionType = strawberry.field(description="What kind of collection it is.")
    doc: str | None = strawberry.field(description="What its makers wrote about it; null if nothing.")

    @loaded
    def parents(self) -> list[ChainedCollection]:
        """Chains that it is a member of, directly; by name."""

    @loaded
    def dataset_types(
        self,
        names: list[str] | None = EVERYTHING,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> DatasetTypeConnection | None:
        """Dataset types of which it holds at least one dataset now, through chains too.

        Parameters
        ----------
        names
            Names or globs (`calexp`, `deepCoadd*`).
        """

    @loaded
    def data_ids(
        self,
        dimensions: list[str],
        dataset_types: list[str],
        where: Where = None,
        bind: Bind = None,
        filter: Filter = None,  # noqa: A002 - the contract's name
        order_by: OrderBy = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> DataIdConnection | None:
        """Data IDs for which it holds a dataset of each of the dataset types, each once.

        Parameters
        ----------
        dimensions
            Dimensions of the data IDs, the Butler's spelling.
        dataset_types
            Names of dataset types.
        """

    @loaded
    def datasets(
        self,
        dataset_types: list[str] | None = EVERYTHING,
        data_id: DataIdValues | None = None,
        where: Where = None,
        bind: Bind = None,
        filter: Filter = None,  # noqa: A002 - the contract's name
        find_first: bool | None = False,
        order_by: OrderBy = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> DatasetConnection | None:
        """Datasets that it holds, through chains too.

        Parameters
        ----------
        dataset_types
            Names or globs (`calexp`, `deepCoadd*`).
        data_id
            Only datasets whose data IDs agree with these values.
        find_first
            Per dataset type and data ID only the first in search order. Off: every dataset, each once.
        """


@strawberry.type
class Run(Node, Collection):
    """A RUN collection: what was written together."""

    @loaded
    def host(self) -> str | None:
        """Machine that wrote it, where the registry knows; the Butler does not fill this."""

    @loaded
    def timespan(self) -> Timespan | None:
        """When it was written, where the registry knows; the Butler does not fill this."""

    @loaded
    def provenance(self) -> RunProvenance:
        """What is known of the work that wrote into it."""

    @loaded
    def check(self) -> RunCheck:
        """Whether registry, datastores and provenance agree about it."""


@strawberry.type
class TaggedCollection(Node, Collection):
    """A TAGGED collection: datasets that were put together by hand."""


@strawberry.type
class CalibrationCollection(Node, Collection):
    """A CALIBRATION collection: datasets, each valid for a timespan."""

    @loaded
    def certifications(
        self,
        dataset_types: list[str] | None = EVERYTHING,
        overlaps: TimespanInput | None = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> CertificationConnection | None:
        """What is certified in it, and for when.

        Parameters
        ----------
        dataset_types
            Names or globs (`bias`, `*_calib`).
        overlaps
            Only certifications whose timespan overlaps this; null for all.
        """


@strawberry.type
class ChainedCollection(Node, Collection):
    """A CHAINED collection: a list of others, searched in order."""

    @loaded
    def children(self) -> list[Collection]:
        """Its members, in search order."""

    @loaded
    def flattened(self) -> list[Collection]:
        """What is searched: depth first, duplicates dropped, no chains."""


@strawberry.type
class CollectionConnection(Connection[Collection]):
    """A page of collections."""


@strawberry.type
class RunConnection(Connection[Run]):
    """A page of RUN collections."""
