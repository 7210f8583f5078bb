"""Where every change begins."""

from __future__ import annotations

from typing import Annotated

import strawberry

from butlerql.schema.collection_changes import (
    CollectionPayload,
    CreateCollectionInput,
    DescribeCollectionInput,
    EditChainInput,
    RemoveCollectionInput,
    RemoveCollectionPayload,
)
from butlerql.schema.dataset_types import DatasetTypePayload, DescribeDatasetTypeInput
from butlerql.schema.fields import loaded
from butlerql.schema.jobs import CancelJobInput, JobPayload
from butlerql.schema.validation import ValidateDatastoreInput

__all__ = ["Mutation"]


@strawberry.type
class Mutation:
    """Where every change begins.

    Changes of one request are made one after another, each wholly or not at all. A repository that is served to be read
    only (`repository { readOnly }`) answers those that would change it with READ_ONLY.
    """

    @loaded
    def create_collection(
        self,
        input: Annotated[CreateCollectionInput, strawberry.argument(description="Which.")],  # noqa: A002
    ) -> CollectionPayload:
        """Make a collection. If there is one of that name, whatever it is, that is a CONFLICT."""

    @loaded
    def edit_chain(
        self,
        input: Annotated[EditChainInput, strawberry.argument(description="Which chain, and how.")],  # noqa: A002
    ) -> CollectionPayload:
        """Replace, prepend to, extend or remove from a chain. One that would hold itself is a CONFLICT."""

    @loaded
    def describe_collection(
        self,
        input: Annotated[DescribeCollectionInput, strawberry.argument(description="Which, and what.")],  # noqa: A002
    ) -> CollectionPayload:
        """Write something about a collection."""

    @loaded
    def remove_collection(
        self,
        input: Annotated[RemoveCollectionInput, strawberry.argument(description="Which.")],  # noqa: A002
    ) -> RemoveCollectionPayload:
        """Take a collection away. A RUN must be empty; datasets that others hold stay in their runs.

        If a chain holds it, that is a CONFLICT unless it is to be taken out of its chains.
        """

    @loaded
    def describe_dataset_type(
        self,
        input: Annotated[DescribeDatasetTypeInput, strawberry.argument(description="Which, and what.")],  # noqa: A002
    ) -> DatasetTypePayload:
        """Say what a dataset type is. It is kept beside the registry, which has no place for that."""

    @loaded
    def validate_datastore(
        self,
        input: Annotated[ValidateDatastoreInput, strawberry.argument(description="What, and how.")],  # noqa: A002
    ) -> JobPayload:
        """Look whether a datastore holds what is recorded, nothing else, and as it was put there.

        It reports and never acts. The job goes on when the service is started anew.
        """

    @loaded
    def cancel_job(
        self,
        input: Annotated[CancelJobInput, strawberry.argument(description="Which.")],  # noqa: A002 - the contract's name
    ) -> JobPayload:
        """Stop a job: at once if nobody runs it, else when the parts that are under way are finished.

        One that has ended stays as it is.
        """
