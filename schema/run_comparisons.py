"""Two runs side by side."""

from __future__ import annotations

import strawberry

from butlerql.schema.connections import After, Before, First, Last
from butlerql.schema.fields import loaded
from butlerql.schema.references import DatasetConnection, DatasetType, Run, Task, TaskSummary
from butlerql.schema.scalars import JSON, BigInt

__all__ = ["DatasetTypeComparison", "RunComparison", "TaskComparison"]


@strawberry.type
class DatasetTypeComparison:
    """The datasets of a type in two runs. They are told by their data IDs: of each there is one in a run at most.

    Figures of files are by the records of the datastore that was named, by default of all.
    """

    dataset_type: DatasetType = strawberry.field(description="What they are.")
    base_count: BigInt = strawberry.field(description="Datasets that `base` has.")
    other_count: BigInt = strawberry.field(description="Datasets that `other` has.")

    @loaded
    def base_bytes(self) -> BigInt | None:
        """Size of the files of those of `base`, each file once in each datastore; null if one was not recorded."""

    @loaded
    def other_bytes(self) -> BigInt | None:
        """Size of the files of those of `other`, each file once in each datastore; null if one was not recorded."""

    @loaded
    def base_stored(self) -> BigInt:
        """How many of those of `base` the datastore has records of."""

    @loaded
    def other_stored(self) -> BigInt:
        """How many of those of `other` the datastore has records of."""

    common: BigInt = strawberry.field(description="Data IDs of which both have a dataset.")

    @loaded
    def changed(self) -> BigInt:
        """Of those in `common`, how many have files that differ, in checksum or size.

        Files are compared within a datastore that has records of both; one that is in parts, component by component.
        """

    @loaded
    def compared_by_checksum(self) -> BigInt:
        """Of those in `common`, how many had a checksum of each file in both runs.

        It is the datastore's, else that which a validation recorded of a file that no other dataset shares.
        """

    @loaded
    def compared_by_size(self) -> BigInt:
        """Of those in `common`, how many could be compared by size alone. The rest could not be compared at all."""

    @loaded
    def only_in_base(
        self, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> DatasetConnection | None:
        """Datasets of `base` with data IDs that `other` lacks. Null, with an error, if they cannot be listed."""

    @loaded
    def only_in_other(
        self, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> DatasetConnection | None:
        """Datasets of `other` with data IDs that `base` lacks. Null, with an error, if they cannot be listed."""

    @loaded
    def definition_changed(self) -> bool:
        """Whether files of the two runs were written as different storage classes.

        The registry has one definition of a dataset type, the present one; what files were written as tells whether it
        was another. Components are compared with the same ones. False where there are no records of one of the runs, or
        only such as `ingest-graph` made: it writes down the same storage class for metadata, logs and configurations.
        """


@strawberry.type
class TaskComparison:
    """A task in two runs, by what was taken in of them."""

    task: Task = strawberry.field(description="Which task.")
    base: TaskSummary | None = strawberry.field(description="How it went in `base`; null where nothing tells.")
    other: TaskSummary | None = strawberry.field(description="How it went in `other`; null where nothing tells.")

    @loaded
    def run_time_ratio(self) -> float | None:
        """Median wall-clock time of the attempts in `other`, divided by that in `base`.

        Null where one is not known, or the latter is 0.
        """

    @loaded
    def max_rss_ratio(self) -> float | None:
        """Median peak resident set of the attempts in `other`, divided by that in `base`.

        Null where one is not known.
        """

    failure_rate_difference: float | None = strawberry.field(
        description=(
            "Share of the attempts that failed or were aborted in `other`, less that in `base`, -1 to 1. Null where "
            "one has no attempts."
        )
    )

    @loaded
    def config_changed(self) -> bool | None:
        """Whether it was configured differently; null where the configuration in one of the runs is not known."""

    @loaded
    def packages_changed(self) -> JSON | None:
        """Packages of which the runs had different versions: name to `[base, other]`, null for one that was not there.

        By the `packages` datasets of the runs; null where one of them has none.
        """


@strawberry.type
class RunComparison:
    """Two runs side by side."""

    base: Run = strawberry.field(description="What is compared with.")
    other: Run = strawberry.field(description="What is compared.")

    @loaded
    def dataset_types(self) -> list[DatasetTypeComparison]:
        """Dataset types of which one of them has a dataset, by name."""

    @loaded
    def tasks(self) -> list[TaskComparison]:
        """Tasks that provenance knows in one of them, by label."""

    @loaded
    def identical(self) -> bool | None:
        """Whether both have the same data IDs of each dataset type, and the same content of each.

        Null where nothing is known to differ, and not every pair has checksums.
        """
