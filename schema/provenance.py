"""Where things came from, and where they went."""

from __future__ import annotations

import strawberry

from butlerql.schema.connections import After, Connection, First
from butlerql.schema.enums import DescribedEnum
from butlerql.schema.fields import loaded
from butlerql.schema.pipeline_executions import PipelineExecution
from butlerql.schema.quanta import ExecutionConnection, Quantum, QuantumConnection, QuantumFilter
from butlerql.schema.references import Dataset
from butlerql.schema.scalars import JSON, UUID, DataIdValues
from butlerql.schema.summaries import HostSummary, TaskSummary
from butlerql.schema.tasks import Task

__all__ = [
    "DatasetTrace",
    "DatasetTraceConnection",
    "EdgeRole",
    "Lineage",
    "LineageDirection",
    "LineageEdge",
    "Provenance",
    "RunProvenance",
]


@strawberry.enum
class LineageDirection(DescribedEnum):
    """Which way to follow."""

    UPSTREAM = "UPSTREAM", "To what something was made of."
    DOWNSTREAM = "DOWNSTREAM", "To what was made of it."


@strawberry.enum
class EdgeRole(DescribedEnum):
    """What a dataset was to a unit of work."""

    INPUT = "INPUT", "It was read, or was to be."
    OUTPUT = "OUTPUT", "It was written, or was to be."


@strawberry.type
class DatasetTrace:
    """A dataset as provenance knows it: it may be gone from the registry since."""

    uuid: UUID = strawberry.field(description="The Butler's identifier of it.")
    dataset_type_name: str | None = strawberry.field(description="Its dataset type; null where nothing tells.")
    data_id_values: DataIdValues | None = strawberry.field(
        description="What it is of: the required dimensions; null where nothing tells."
    )
    run_name: str | None = strawberry.field(description="The run that it was written into; null where nothing tells.")

    @loaded
    def dataset(self) -> Dataset | None:
        """The dataset; null if the registry does not have it now."""


@strawberry.type
class DatasetTraceConnection(Connection[DatasetTrace]):
    """A page of datasets as provenance knows them."""


@strawberry.type
class LineageEdge:
    """A dataset that a unit of work read, or wrote."""

    dataset: UUID = strawberry.field(description="UUID of the dataset.")
    quantum: strawberry.ID = strawberry.field(description="`id` of the unit of work.")
    role: EdgeRole = strawberry.field(description="What the one was to the other.")


@strawberry.type
class Lineage:
    """A part of the graph of datasets and work, in the order in which it was found, breadth first."""

    datasets: list[DatasetTrace] = strawberry.field(description="Datasets, that from which one began first.")
    quanta: list[Quantum] = strawberry.field(description="Units of work.")
    edges: list[LineageEdge] = strawberry.field(description="What ties them together; 50,000 at most.")
    truncated: bool = strawberry.field(
        description="Whether it goes on: beyond the depth that was asked for, or beyond what is given at most."
    )


@strawberry.type
class Provenance:
    """Where a dataset came from and where it went (W3C PROV: wasGeneratedBy, used, wasDerivedFrom)."""

    @loaded
    def generated_by(self) -> Quantum | None:
        """The unit of work that wrote it; null where nothing tells."""

    @loaded
    def used_by(self, first: First = None, after: After = None) -> QuantumConnection:
        """Units of work that were to read it, as they became known."""

    @loaded
    def inputs(self, first: First = None, after: After = None) -> DatasetTraceConnection:
        """What the unit of work that wrote it was to read."""

    @loaded
    def derived(self, first: First = None, after: After = None) -> DatasetTraceConnection:
        """What the units of work that were to read it were to write."""

    @loaded
    def lineage(self, direction: LineageDirection, depth: int | None = 3) -> Lineage:
        """What it was made of, and what that was made of; or what was made of it, and so on.

        Parameters
        ----------
        direction
            Which way to follow.
        depth
            How many units of work to pass, one behind the other: 100 at most; null for 3.
        """


@strawberry.type
class RunProvenance:
    """What is known of the work that wrote into a run."""

    @loaded
    def summary(self) -> list[TaskSummary]:
        """How each task went, by label."""

    @loaded
    def hosts(self) -> list[HostSummary]:
        """How each machine fared, the highest share of failures first."""

    @loaded
    def tasks(self) -> list[Task]:
        """Tasks of which something is known, by label."""

    @loaded
    def pipeline_executions(self) -> list[PipelineExecution]:
        """Executions of pipelines, or of parts of one, that wrote into this run, as they were made.

        Sub-pipelines share a run.
        """

    @loaded
    def packages(self) -> JSON | None:
        """Software that it was made with, name to version, by its `packages` dataset; null where nothing tells."""

    @loaded
    def quanta(
        self,
        filter: QuantumFilter | None = None,  # noqa: A002 - the contract's name
        first: First = None,
        after: After = None,
    ) -> QuantumConnection:
        """Units of work, as they became known.

        Parameters
        ----------
        filter
            Which; null for all.
        """

    @loaded
    def executions(
        self,
        filter: QuantumFilter | None = None,  # noqa: A002 - the contract's name
        first: First = None,
        after: After = None,
    ) -> ExecutionConnection:
        """Attempts, as they became known.

        Parameters
        ----------
        filter
            Which; null for all.
        """
