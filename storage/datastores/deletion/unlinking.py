"""Unlinking: files that nobody has a record of any more are removed, if they are still those that were planned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from butlerql.storage.datastores.artifacts.store import Removal, Removed
from butlerql.storage.datastores.deletion.chunks import ChunkItem
from butlerql.storage.datastores.deletion.files import Place, users_of
from butlerql.storage.datastores.deletion.plans import Outcome, Plan
from butlerql.storage.datastores.tree import FileDatastore
from butlerql.storage.errors import UnavailableDatastoreError
from butlerql.storage.repository import Repository

__all__ = ["CLAIM", "Unlinked", "require_roots", "unlink"]

CLAIM = ".butlerql-deleting-"
"""How the names begin that files have while they are removed."""

_OUTCOMES = {
    Removed.REMOVED: Outcome.REMOVED,
    Removed.GONE: Outcome.ALREADY_GONE,
    Removed.CHANGED: Outcome.CHANGED_LATER,
    Removed.FAILED: Outcome.FAILED,
}


@dataclass
class Unlinked:
    """What became of the files of a chunk, by their numbers."""

    items: dict[int, dict[str, Any]] = field(default_factory=dict)
    bytes: int = 0
    """How many were freed."""

    def note(self, item: ChunkItem, outcome: Outcome, reason: str | None) -> None:
        """Note what became of one."""
        self.items[item.number] = {"outcome": outcome, "reason": reason, "tries": item.tries + 1}


async def unlink(repository: Repository, plan: Plan, files: Mapping[ChunkItem, Sequence[str]]) -> Unlinked:
    """Remove the files of what is detached.

    Parameters
    ----------
    repository
        Where.
    plan
        What is carried out.
    files
        Of a chunk, see `read_files`.
    """
    await require_roots(repository, plan)
    done = Unlinked()
    left: dict[str, list[tuple[Place, ChunkItem]]] = {}
    for item in files:
        # What failed and was never tried was never detached.
        if item.outcome == Outcome.DETACHED or (item.outcome == Outcome.FAILED and item.tries):
            if (outcome := _without_file(item)) is not None:
                done.note(item, outcome, None)
            else:
                place = item.place
                left.setdefault(place[0], []).append((place, item))
    for root, items in left.items():
        records = [(place, record) for place, item in items for record in files[item] or (place[1],)]
        async with repository.snapshot() as snapshot:
            users = await users_of(snapshot, records)
        for place, item in items:
            if place in users:
                done.note(item, Outcome.CHANGED_LATER, "another dataset has it by now")
        going = [(place[1], item) for place, item in items if place not in users]
        claims = [Removal(path, item.identity, f"{CLAIM}{plan.id}-{item.number}") for path, item in going]
        for (_, item), (removed, problem) in zip(going, await repository.stores.remove(root, claims), strict=True):
            done.note(item, _OUTCOMES[removed], problem)
            if removed is Removed.REMOVED:
                done.bytes += item.bytes or 0
    return done


def _without_file(item: ChunkItem) -> Outcome | None:
    """Tell what becomes of an item of which no file is to be removed."""
    if item.path is None:
        return Outcome.REMOVED
    if item.stays:
        return Outcome.RECORDS_REMOVED
    return Outcome.ALREADY_GONE if item.identity is None else None


async def require_roots(repository: Repository, plan: Plan) -> None:
    """Make sure that each store is where it was when the plan was made.

    Raises
    ------
    UnavailableDatastoreError
        Raised if the root of one is another, or there is no way to it from here.
    UnreadableArtifactError
        Raised if one is not there, or cannot be read.
    """
    for name, mark in plan.roots.items():
        leaf = repository.datastore.find(name)
        assert isinstance(leaf, FileDatastore)
        root = leaf.root_uri
        store = repository.stores.store(root)
        if list(await repository.stores.on_thread(store.mark)) != mark:
            raise UnavailableDatastoreError(
                f"{root} is not the directory that it was when the deletion was planned. Is its file system mounted? "
                "Plan anew where it is meant to be another."
            )
