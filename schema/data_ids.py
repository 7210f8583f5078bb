"""Data IDs."""

from __future__ import annotations

import strawberry

from butlerql.schema.conditions import OrderBy
from butlerql.schema.connections import After, Before, Connection, First, Last
from butlerql.schema.enums import DescribedEnum
from butlerql.schema.fields import EVERYTHING, loaded
from butlerql.schema.nodes import Node
from butlerql.schema.references import (
    DatasetConnection,
    DatasetTypeConnection,
    Dimension,
    DimensionRecord,
)
from butlerql.schema.scalars import DataIdValues
from butlerql.schema.spatial import Region
from butlerql.schema.timespans import Timespan

__all__ = ["DataId", "DataIdConnection", "DataIdMatch"]


@strawberry.enum
class DataIdMatch(DescribedEnum):
    """How a dataset type's data IDs may relate to the one asked about.

    The dimensions of a data ID are its whole group, required and implied; values agree on what both have, looked up in
    records where a table lacks them. Skypix dimensions relate by equality, except in RELATED. Certified datasets count
    if their validity overlaps the data ID's timespan; where it has none, any validity counts.
    """

    EXACT = "EXACT", "The same group."
    CONTAINING = "CONTAINING", "All that belongs to it: its group or more (each detector's calexp, for a visit)."
    WITHIN = (
        "WITHIN",
        "All that it belongs to: required dimensions among its group (a camera, for an instrument+visit+detector).",
    )
    RELATED = (
        "RELATED",
        (
            "As the Butler's query_all_datasets: joined through relationships and spatial overlap (the coadd patches "
            "under a visit). Types it cannot relate are left out and named in `extensions.unrelated`."
        ),
    )


@strawberry.type
class DataId(Node):
    """Values of dimensions that together say of what a dataset is.

    Beside `values`, each dimension is a field of its own.
    """

    @loaded
    def values(self) -> DataIdValues:
        """Dimension name to value, the Butler's spelling; required and implied dimensions.

        Can be passed back as input.
        """

    @loaded
    def dimensions(self) -> list[Dimension]:
        """Its dimensions: the required ones, then the implied ones, each in the universe's order."""

    @loaded
    def record(self, element: str) -> DimensionRecord | None:
        """The record of one of its elements; null if there is none, or if the element has no records.

        Parameters
        ----------
        element
            Name of an element whose required dimensions it has, the Butler's spelling.
        """

    @loaded
    def records(self) -> list[DimensionRecord]:
        """The records of its elements, in the universe's order; elements without a record are left out."""

    @loaded
    def region(self) -> Region | None:
        """Where on the sky it lies, by its most precise element; null if none of them has a region."""

    @loaded
    def timespan(self) -> Timespan | None:
        """When it was, by its most precise element; null if none of them has a timespan."""

    @loaded
    def dataset_types(
        self,
        collections: list[str],
        match: DataIdMatch = DataIdMatch.CONTAINING,
        include_dimensionless: bool | None = False,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> DatasetTypeConnection | None:
        """Dataset types that have a dataset for this data ID in the collections.

        Parameters
        ----------
        collections
            Names or globs. Chains are expanded.
        match
            How the data IDs of the datasets relate to this one.
        include_dimensionless
            Whether dataset types without dimensions, which belong to every data ID, count too.
        """

    @loaded
    def datasets(
        self,
        collections: list[str],
        dataset_types: list[str] | None = EVERYTHING,
        match: DataIdMatch = DataIdMatch.CONTAINING,
        include_dimensionless: bool | None = False,
        find_first: bool | None = False,
        order_by: OrderBy = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> DatasetConnection | None:
        """Datasets for this data ID in the collections.

        Parameters
        ----------
        collections
            Names or globs; without globs, searched in the order given. Chains are expanded.
        dataset_types
            Names or globs (`calexp`, `deepCoadd*`).
        match
            How the data IDs of the datasets relate to this one.
        include_dimensionless
            Whether datasets without dimensions, which belong to every data ID, count too.
        find_first
            Per dataset type and data ID only the first in search order. Off: every dataset, each once.
        """


@strawberry.type
class DataIdConnection(Connection[DataId]):
    """A page of data IDs."""
