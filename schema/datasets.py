"""Datasets."""

from __future__ import annotations

import strawberry

from butlerql.schema.artifacts import ExistenceCheck
from butlerql.schema.certifications import Certification
from butlerql.schema.connections import Connection
from butlerql.schema.fields import loaded
from butlerql.schema.nodes import Node
from butlerql.schema.references import Artifact, Collection, DataId, DatasetType, Provenance, Run
from butlerql.schema.scalars import UUID, DateTime
from butlerql.schema.usage import UsageGroup, UsageKey

__all__ = ["Dataset", "DatasetConnection"]


@strawberry.type
class Dataset(Node):
    """One thing that the repository knows of: a dataset type, a data ID, and the run that it was written into."""

    uuid: UUID = strawberry.field(description="The Butler's identifier of it. A component has that of its parent.")
    dataset_type: DatasetType = strawberry.field(description="What kind of dataset it is.")

    @loaded
    def data_id(self) -> DataId:
        """What it is of."""

    @loaded
    def run(self) -> Run:
        """The run that it was written into."""

    @loaded
    def ingest_date(self) -> DateTime | None:
        """When it was put into the repository, UTC; null if that is not recorded."""

    @loaded
    def collections(self, chains: bool | None = False) -> list[Collection]:
        """RUN, TAGGED and CALIBRATION collections that hold it; with chains, also those that reach it.

        Parameters
        ----------
        chains
            Whether chains that reach it count too, however deep.
        """

    @loaded
    def certifications(self) -> list[Certification]:
        """For when it is valid, in every CALIBRATION collection that it is certified in."""

    @loaded
    def component(self, name: str) -> Dataset | None:
        """A part of it as a dataset of its own; null if its storage class has no such component.

        Parameters
        ----------
        name
            Name of the component: `wcs`, say.
        """

    @loaded
    def artifacts(self, datastore: str | None = None) -> list[Artifact]:
        """Where its files are, one entry a file and datastore; empty when no datastore has it.

        Parameters
        ----------
        datastore
            Only files in this datastore, or in any of its children; null for all.
        """

    @loaded
    def filename(self) -> str | None:
        """The resolved path or URI of its file in the first datastore that has it.

        Null if none has it, or if it is split in several.
        """

    @loaded
    def is_stored(self, datastore: str | None = None, check: ExistenceCheck = ExistenceCheck.RECORDED) -> bool | None:
        """Whether a datastore has it. Null, with an error, where it cannot be told.

        Parameters
        ----------
        datastore
            Whether this datastore, or any of its children, has it; null for any.
        check
            How to find out.
        """

    @loaded
    def provenance(self) -> Provenance:
        """Which work wrote it, and which read it, as far as that is known. A component has that of its parent."""


@strawberry.type
class DatasetConnection(Connection[Dataset]):
    """A page of datasets."""

    @loaded
    def groups(self, by: list[UsageKey]) -> list[UsageGroup] | None:
        """Counts and recorded bytes of the whole connection, not the page. Null, with an error, if that fails.

        Parameters
        ----------
        by
            What to break them down by: one group for each combination of values, by these values in the order of the
            keys, null last. A key that is repeated counts once. Of no keys comes one group, of all datasets, even if
            there are none.
        """
