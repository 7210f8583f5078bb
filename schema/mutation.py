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
from butlerql.schema.deletion import (
    DeleteDatasetsInput,
    DeletionPlanPayload,
    PlanDeletionInput,
    RestoreDeletionInput,
)
from butlerql.schema.fields import loaded
from butlerql.schema.ingest import IngestProvenanceInput
from butlerql.schema.jobs import CancelJobInput, JobPayload
from butlerql.schema.tagging import (
    CertifyDatasetsInput,
    CertifyDatasetsPayload,
    DecertifyDatasetsInput,
    TagDatasetsInput,
    TagDatasetsPayload,
    UntagDatasetsInput,
)
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
        """Take a collection away. A RUN must be empty, and in no plan of deletion that can still be restored.

        Datasets that others hold stay in their runs.

        If a chain holds it, that is a CONFLICT unless it is to be taken out of its chains.
        """

    @loaded
    def describe_dataset_type(
        self,
        input: Annotated[DescribeDatasetTypeInput, strawberry.argument(description="Which, and what.")],  # noqa: A002
    ) -> DatasetTypePayload:
        """Say what a dataset type is. It is kept beside the registry, which has no place for that."""

    @loaded
    def tag_datasets(
        self,
        input: Annotated[TagDatasetsInput, strawberry.argument(description="What, and where.")],  # noqa: A002
    ) -> TagDatasetsPayload:
        """Put datasets into a TAGGED collection, all of them or, if anything is wrong, none.

        Those that are in it already stay. It can hold one dataset of each dataset type and data ID.
        """

    @loaded
    def untag_datasets(
        self,
        input: Annotated[UntagDatasetsInput, strawberry.argument(description="What, and where.")],  # noqa: A002
    ) -> TagDatasetsPayload:
        """Take datasets out of a TAGGED collection; those that are not in it do not matter."""

    @loaded
    def certify_datasets(
        self,
        input: Annotated[CertifyDatasetsInput, strawberry.argument(description="What, where and when.")],  # noqa: A002
    ) -> CertifyDatasetsPayload:
        """Make datasets valid for a timespan in a CALIBRATION collection, all of them or, if anything is wrong, none.

        At any time one dataset of each dataset type and data ID can be valid in it. Timespans that touch do not
        overlap.
        """

    @loaded
    def decertify_datasets(
        self,
        input: Annotated[DecertifyDatasetsInput, strawberry.argument(description="What, where and when.")],  # noqa: A002
    ) -> CertifyDatasetsPayload:
        """Take the validity of datasets away for a timespan; ranges that stick out are kept.

        Only the datasets that are selected lose it, not others of the same data ID.
        """

    @loaded
    def plan_deletion(
        self,
        input: Annotated[PlanDeletionInput, strawberry.argument(description="What.")],  # noqa: A002
    ) -> DeletionPlanPayload:
        """What a deletion would do; changes nothing.

        A small plan is made while you wait; else `job` makes it.
        """

    @loaded
    def delete_datasets(
        self,
        input: Annotated[DeleteDatasetsInput, strawberry.argument(description="Which plan, and how.")],  # noqa: A002
    ) -> JobPayload:
        """Carry a plan out: readers stop seeing the datasets at once, files go after the grace period.

        Items that changed since planning are skipped and named. A plan that is not PLANNED, or has expired, is a
        STALE_PLAN; of one that was carried out already, what failed is tried again.
        """

    @loaded
    def restore_deletion(
        self,
        input: Annotated[RestoreDeletionInput, strawberry.argument(description="Which plan.")],  # noqa: A002
    ) -> DeletionPlanPayload:
        """Undo a deletion whose grace period has not passed.

        Where files are being removed already it is a STALE_PLAN.
        """

    @loaded
    def validate_datastore(
        self,
        input: Annotated[ValidateDatastoreInput, strawberry.argument(description="What, and how.")],  # noqa: A002
    ) -> JobPayload:
        """Look whether a datastore holds what is recorded, nothing else, and as it was put there.

        It reports and never acts. The job goes on when the service is started anew.
        """

    @loaded
    def ingest_provenance(
        self,
        input: Annotated[IngestProvenanceInput, strawberry.argument(description="What.")],  # noqa: A002
    ) -> JobPayload:
        """Read provenance, and remember it beside the registry, which has no place for it.

        The job goes on when the service is started anew.
        """

    @loaded
    def cancel_job(
        self,
        input: Annotated[CancelJobInput, strawberry.argument(description="Which.")],  # noqa: A002 - the contract's name
    ) -> JobPayload:
        """Stop a job: at once if nobody runs it, else when the parts that are under way are finished.

        One that has ended stays as it is. A deletion that has not begun to remove files is undone, by another job.
        """
