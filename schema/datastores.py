"""Datastores."""

from __future__ import annotations

import strawberry

from butlerql.schema.artifacts import ExistenceCheck
from butlerql.schema.connections import After, Before, First, Last
from butlerql.schema.existence import Existence
from butlerql.schema.fields import loaded
from butlerql.schema.nodes import Node
from butlerql.schema.references import DatasetConnection, JobConnection, StorageUsage, UsageKey
from butlerql.schema.scalars import BigInt
from butlerql.schema.selection import DatasetSelection

__all__ = ["ChainedDatastore", "Datastore", "FileDatastore", "InMemoryDatastore"]


@strawberry.interface
class Datastore:
    """A place where datasets are kept."""

    id: strawberry.ID = strawberry.field(
        description="Identity among everything served here; opaque, and the same as long as the datastore is there."
    )
    name: str = strawberry.field(description="Name, as the registry's records of locations spell it.")

    @loaded
    def root(self) -> str | None:
        """Path or URI below which its files are; null if it has none."""

    is_ephemeral: bool = strawberry.field(description="Whether what it keeps is gone when its process ends.")
    parent: ChainedDatastore | None = strawberry.field(
        description="The chain that it is a member of; null if it is in none."
    )

    @loaded
    def existence(self, select: DatasetSelection, check: ExistenceCheck = ExistenceCheck.RECORDED) -> Existence | None:
        """Do they exist here? By records, and with `check: ARTIFACT` by looking. Null, with an error, if that fails.

        Parameters
        ----------
        select
            Which datasets.
        check
            How to find out.
        """

    @loaded
    def usage(self, select: DatasetSelection | None = None, by: list[UsageKey] | None = []) -> StorageUsage | None:  # noqa: B006
        """How much space datasets take here, by its records.

        Parameters
        ----------
        select
            Only these datasets; null for everything that it has records of, also what was deleted and waits in the
            Butler's trash.
        by
            What to break the figures down by.
        """

    @loaded
    def datasets(
        self,
        select: DatasetSelection | None = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> DatasetConnection | None:
        """Datasets that it, or any of its children, has records of.

        Parameters
        ----------
        select
            Only these datasets; null for all.
        """

    @loaded
    def validations(
        self, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> JobConnection:
        """Its validations, the newest first; those of a chain that it is a member of are the chain's."""


@strawberry.type
class FileDatastore(Node, Datastore):
    """A datastore that keeps files, on a file system or in an object store."""

    records_table: str = strawberry.field(description="Table of the registry that holds its records.")
    checksum: bool = strawberry.field(description="Whether it records a checksum of each file that is put into it.")

    @loaded
    def free_space(self) -> BigInt | None:
        """Bytes of the file system that can still be written; null for an object store."""

    @loaded
    def total_space(self) -> BigInt | None:
        """Bytes of the file system; null for an object store."""


@strawberry.type
class InMemoryDatastore(Node, Datastore):
    """A datastore that keeps datasets in the memory of a process; what it keeps cannot be seen from here."""


@strawberry.type
class ChainedDatastore(Node, Datastore):
    """Answers by asking each child in turn."""

    children: list[Datastore] = strawberry.field(description="Its members, in the order in which they are asked.")
