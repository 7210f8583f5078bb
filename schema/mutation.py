"""Where every change begins."""

from __future__ import annotations

from typing import Annotated

import strawberry

from butlerql.schema.fields import loaded
from butlerql.schema.jobs import CancelJobInput, JobPayload
from butlerql.schema.validation import ValidateDatastoreInput

__all__ = ["Mutation"]


@strawberry.type
class Mutation:
    """Where every change begins. Changes of one request are made one after another."""

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
