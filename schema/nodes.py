"""What has an identity of its own."""

from __future__ import annotations

import strawberry

__all__ = ["Node"]


@strawberry.interface
class Node:
    """Something that can be asked for again by its `id`."""

    id: strawberry.ID = strawberry.field(
        description="Identity among everything served here; opaque, and the same as long as the thing exists."
    )
