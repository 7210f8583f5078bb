"""What can be watched."""

from __future__ import annotations

import strawberry

from butlerql.schema.fields import loaded
from butlerql.schema.jobs import Job

__all__ = ["Subscription"]


@strawberry.type
class Subscription:
    """What can be watched: an answer after each event, until there are no more."""

    @loaded
    def job_progress(self, id: strawberry.ID) -> Job:  # noqa: A002 - the contract's name
        """The job as it is, and after each step of its progress; ends when the job does.

        Parameters
        ----------
        id
            Its `id`.
        """
