"""Executions of pipelines."""

from __future__ import annotations

import strawberry

from butlerql.schema.fields import loaded
from butlerql.schema.nodes import Node
from butlerql.schema.references import Run, Task, TaskSummary
from butlerql.schema.scalars import DateTime

__all__ = ["PipelineExecution"]


@strawberry.type
class PipelineExecution(Node):
    """One execution of a pipeline, or of a part of one, into a run: one quantum graph."""

    run_name: str = strawberry.field(description="The run that it wrote into.")

    @loaded
    def run(self) -> Run | None:
        """The run that it wrote into; null if the registry does not have it now."""

    pipeline: str | None = strawberry.field(description="What the pipeline says of itself; null if nothing.")

    @loaded
    def tasks(self) -> list[Task]:
        """What it is made of, by label."""

    user: str | None = strawberry.field(description="Who made the graph; null where nothing tells.")
    command: str | None = strawberry.field(description="The command that made the graph; null where nothing tells.")

    @loaded
    def started_at(self) -> DateTime | None:
        """When the first known attempt of it began; null where nothing tells."""

    @loaded
    def ended_at(self) -> DateTime | None:
        """When the last known attempt of it ended; null where nothing tells."""

    @loaded
    def summary(self) -> list[TaskSummary]:
        """How each of its tasks went, by label. Units of work that another graph planned too count as they ended."""
