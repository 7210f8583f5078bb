"""The log of changes."""

from __future__ import annotations

import strawberry

from butlerql.schema.connections import Connection
from butlerql.schema.scalars import JSON, DateTime

__all__ = ["AuditEntry", "AuditEntryConnection"]


@strawberry.type
class AuditEntry:
    """A change that was asked for: written down before it was made, and its outcome after."""

    id: strawberry.ID = strawberry.field(description="Number of the entry; later ones have higher numbers.")
    at: DateTime = strawberry.field(description="When it began.")
    user: str = strawberry.field(description="Who asked for it.")
    action: str = strawberry.field(description="Name of the mutation.")
    target: str = strawberry.field(description="Name of what was to be changed.")
    detail: JSON = strawberry.field(description="What was asked for.")
    outcome: str = strawberry.field(
        description=(
            "`DONE`. The code of an error: nothing was changed. `FAILED` for an error without a code: nothing was "
            "changed. `BEGUN` while it is under way, or if the service died, or lost the database, before its end was "
            "written down: the change was made wholly or not at all."
        )
    )


@strawberry.type
class AuditEntryConnection(Connection[AuditEntry]):
    """A page of the log of changes."""
