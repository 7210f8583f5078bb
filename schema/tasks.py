"""Tasks, which pipelines are made of."""

from __future__ import annotations

import strawberry

from butlerql.schema.connections import Connection
from butlerql.schema.fields import loaded
from butlerql.schema.nodes import Node
from butlerql.schema.references import DatasetType, TaskSummary

__all__ = ["Task", "TaskConnection"]


@strawberry.type
class Task(Node):
    """Whatever bears a label in the pipelines that are known."""

    label: str = strawberry.field(description="The label: pipelines may give one class several.")

    @loaded
    def task_class(self) -> str | None:
        """Full name of the latest class that is known to bear the label; null if none is known."""

    @loaded
    def task_classes(self) -> list[str]:
        """Full names of all classes that ever bore the label, the latest first."""

    @loaded
    def inputs(self) -> list[DatasetType]:
        """Dataset types that it was ever known to read, by name; those that the registry has."""

    @loaded
    def outputs(self) -> list[DatasetType]:
        """Dataset types that it was ever known to write, by name; those that the registry has.

        With those that it writes when a pipeline is initialised: its configuration, and schemas where a graph tells of
        them.
        """

    @loaded
    def summaries(self, runs: list[str] | None = None) -> list[TaskSummary]:
        """How it went in each run, by name of the run.

        Parameters
        ----------
        runs
            Names or globs; null for all.
        """


@strawberry.type
class TaskConnection(Connection[Task]):
    """A page of tasks."""
