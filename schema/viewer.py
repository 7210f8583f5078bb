"""Who asks, and what they may do."""

from __future__ import annotations

import strawberry

from butlerql.schema.enums import DescribedEnum

__all__ = ["Scope", "Viewer"]


@strawberry.enum
class Scope(DescribedEnum):
    """What somebody may do."""

    READ = "READ", "Ask."
    TAG = "TAG", "Change collections, what is in them, and what is written about them."
    VALIDATE = "VALIDATE", "Have datastores validated."
    DELETE = "DELETE", "Delete datasets and their files."
    INGEST = "INGEST", "Have provenance read in."
    ADMIN = "ADMIN", "Go below the limits that operators set."


@strawberry.type
class Viewer:
    """Whoever asks."""

    name: str = strawberry.field(description="Name under which changes are written down.")
    scopes: list[Scope] = strawberry.field(description="What they may do here.")
