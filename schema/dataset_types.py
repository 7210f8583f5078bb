"""Dataset types and storage classes."""

from __future__ import annotations

import strawberry

from butlerql.schema.conditions import Bind, Filter, OrderBy, Where
from butlerql.schema.connections import After, Before, Connection, First, Last
from butlerql.schema.fields import loaded
from butlerql.schema.nodes import Node
from butlerql.schema.references import (
    CollectionConnection,
    CollectionType,
    DataIdConnection,
    DatasetConnection,
    Dimension,
    Task,
)
from butlerql.schema.scalars import DataIdValues

__all__ = ["DatasetType", "DatasetTypeConnection", "DatasetTypePayload", "DescribeDatasetTypeInput", "StorageClass"]


@strawberry.type
class StorageClass:
    """What a dataset is in memory, and which parts of it can be read alone."""

    name: str = strawberry.field(description="Name of the storage class.")

    @loaded
    def description(self) -> str | None:
        """What it is, in words, from the `storageClasses` of the description files; null if none tells."""

    pytype: str | None = strawberry.field(
        description="Full name of the Python type that it is read as; null if it is not known."
    )

    @loaded
    def components(self) -> list[str]:
        """Names of the components that can be read alone; empty if there are none."""


@strawberry.type
class DatasetType(Node):
    """A kind of dataset: its name, its storage class and the dimensions of its data IDs."""

    name: str = strawberry.field(
        description="Name; a component's is that of its parent, a dot, and its own (`calexp.wcs`)."
    )

    @loaded
    def description(self) -> str | None:
        """What this dataset is, in words: from the description files; null if none tells."""

    @loaded
    def storage_class(self) -> StorageClass:
        """What it is in memory."""

    @loaded
    def dimensions(self) -> list[Dimension]:
        """Dimensions of its data IDs: the required ones, then the implied ones, each in the universe's order."""

    is_calibration: bool = strawberry.field(description="Whether its datasets can be certified for a timespan.")
    is_component: bool = strawberry.field(
        description="Whether it is a part of another dataset type, such as `calexp.wcs`."
    )

    @loaded
    def parent(self) -> DatasetType | None:
        """The dataset type that it is a component of; null if it is none."""

    @loaded
    def components(self) -> list[DatasetType]:
        """The dataset types of its components; empty if there are none."""

    @loaded
    def collections(
        self,
        types: list[CollectionType] | None = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> CollectionConnection:
        """Collections that hold at least one now (the registry's summaries alone may be stale).

        Parameters
        ----------
        types
            Only collections of these types. Null: all that hold datasets themselves, so no chains.
        """

    @loaded
    def data_ids(
        self,
        collections: list[str] | None = None,
        data_id: DataIdValues | None = None,
        where: Where = None,
        bind: Bind = None,
        filter: Filter = None,  # noqa: A002 - the contract's name
        order_by: OrderBy = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> DataIdConnection | None:
        """Data IDs for which there is such a dataset, each once.

        Parameters
        ----------
        collections
            Only datasets in these: names or globs. Chains are expanded. Null for all.
        data_id
            Only data IDs that agree with these values.
        """

    @loaded
    def datasets(
        self,
        collections: list[str] | None = None,
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
        """Datasets of this type.

        Parameters
        ----------
        collections
            Only datasets in these: names or globs; without globs, searched in the order given. Chains are expanded.
            Null for all.
        data_id
            Only datasets whose data IDs agree with these values.
        find_first
            Per data ID only the first in search order. Off: every dataset, each once.
        """

    @loaded
    def produced_by(self) -> list[Task]:
        """Tasks that were ever known to write datasets of it, by label, be it when a pipeline is initialised."""

    @loaded
    def consumed_by(self) -> list[Task]:
        """Tasks that were ever known to read datasets of it, by label."""


@strawberry.type
class DatasetTypeConnection(Connection[DatasetType]):
    """A page of dataset types."""


@strawberry.input
class DescribeDatasetTypeInput:
    """What to say of a dataset type."""

    name: str = strawberry.field(description="Its name; a component's too (`calexp.wcs`).")
    description: str | None = strawberry.field(
        default=None,
        description="In place of what was said; it wins over description files. Null leaves it to the files again.",
    )
    client_mutation_id: str | None = strawberry.field(default=None, description="Anything; the payload gives it back.")


@strawberry.type
class DatasetTypePayload:
    """The dataset type that was described."""

    dataset_type: DatasetType = strawberry.field(description="The dataset type, as it is after the change.")
    client_mutation_id: str | None = strawberry.field(description="What the input said.")
