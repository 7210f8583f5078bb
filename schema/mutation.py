"""Where every change begins."""

from __future__ import annotations

from typing import Annotated

import strawberry

from butlerql.schema.fields import loaded
from butlerql.schema.jobs import CancelJobInput, JobPayload

__all__ = ["Mutation"]


@strawberry.type
class Mutation:
    """Where every change begins. Changes of one request are made one after another."""

    @loaded
    def cancel_job(
        self,
        input: Annotated[CancelJobInput, strawberry.argument(description="Which.")],  # noqa: A002 - the contract's name
    ) -> JobPayload:
        """Stop a job: at once if nobody runs it, else when the parts that are under way are finished.

        One that has ended stays as it is.
        """
