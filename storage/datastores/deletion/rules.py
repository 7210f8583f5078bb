"""What operators say of deletions, and the kinds of job that heed it."""

from __future__ import annotations

from dataclasses import dataclass, field

from butlerql.storage.datastores.deletion.deleting import Deletion
from butlerql.storage.datastores.deletion.planning import Bounds, Planning
from butlerql.storage.repository import Repository
from butlerql.storage.state.kinds import Kind

__all__ = ["Rules"]


@dataclass(frozen=True)
class Rules:
    """What operators say of deletions.

    Attributes
    ----------
    bounds
        What a plan may hold, and how long it can be carried out.
    grace_seconds
        How long files stay after their datasets are gone, where nobody says.
    grace_floor_seconds
        The least that may be said.
    """

    bounds: Bounds = field(default_factory=Bounds)
    grace_seconds: int = 7 * 86_400
    grace_floor_seconds: int = 86_400

    def kinds(self, repository: Repository) -> list[Kind]:
        """Make what plans deletions and carries them out."""
        return [Planning(repository, self.bounds), Deletion(repository)]
