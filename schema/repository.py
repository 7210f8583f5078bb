"""The repository as a whole."""

from __future__ import annotations

import strawberry

from butlerql.schema.datastores import Datastore
from butlerql.schema.dimensions import DimensionUniverse
from butlerql.schema.fields import loaded
from butlerql.schema.scalars import JSON

__all__ = ["Repository"]


@strawberry.type
class Repository:
    """A Butler data repository."""

    name: str = strawberry.field(description="Name under which it is served.")
    root: str = strawberry.field(description="Path or URI of the directory that it was opened from.")

    @loaded
    def dialect(self) -> str:
        """Database that its registry is in: `sqlite` or `postgresql`."""

    @loaded
    def read_only(self) -> bool:
        """Whether it is served without any way to change it."""

    universe: DimensionUniverse = strawberry.field(description="Its dimensions.")
    datastore: Datastore = strawberry.field(description="Its datastore; the root of the tree if it is a chain.")

    @loaded
    def managers(self) -> JSON:
        """The parts of the registry: for each its class and the version of its tables, as the database says."""

    @loaded
    def version(self) -> str:
        """Version of the program that serves it."""
