"""Unlinking: files that nobody has a record of any more are removed, if they are still those that were planned."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from butlerql.storage.datastores.artifacts.store import Removal, Removed
from butlerql.storage.datastores.deletion.chunks import ChunkItem, Done, Said
from butlerql.storage.datastores.deletion.files import Place, users_of
from butlerql.storage.datastores.deletion.plans import Outcome, Plan
from butlerql.storage.datastores.tree import FileDatastore
from butlerql.storage.errors import UnavailableDatastoreError
from butlerql.storage.repository import Repository

__all__ = ["CLAIM", "require_roots", "unlink"]

CLAIM = ".butlerql-deleting-"
"""How the names begin that files have while they are removed."""

_OUTCOMES = {
    Removed.REMOVED: Outcome.REMOVED,
    Removed.GONE: Outcome.ALREADY_GONE,
    Removed.CHANGED: Outcome.CHANGED_LATER,
    Removed.FAILED: Outcome.FAILED,
}


async def unlink(
    repository: Repository, plan: Plan, items: Sequence[ChunkItem], records: Iterable[tuple[int, str]]
) -> Done:
    """Remove the files of what is detached.

    Parameters
    ----------
    repository
        Where.
    plan
        What is carried out.
    items, records
        Of a chunk, see `read_files`.
    """
    await require_roots(repository, plan)
    done = Done()
    named: dict[int, list[str]] = {}
    for number, record in records:
        named.setdefault(number, []).append(record)
    left: dict[str, list[tuple[Place, ChunkItem]]] = {}
    for item in items:
        if (outcome := _without_file(item)) is not None:
            _end(done, item, outcome)
        elif item.place is not None:
            left.setdefault(item.place[0], []).append((item.place, item))
    for root, some in left.items():
        names = ((place, name) for place, item in some for name in named.get(item.number, (place[1],)))
        async with repository.snapshot() as snapshot:
            users = await users_of(snapshot, names)
        for place, item in some if users else ():
            if place in users:
                _end(done, item, Outcome.CHANGED_LATER, "another dataset has it by now")
        going = [(path, item) for (_, path), item in some if (root, path) not in users]
        claims = [Removal(path, item.identity or (), f"{CLAIM}{plan.id}-{item.number}") for path, item in going]
        for (_, item), (removed, problem) in zip(going, await repository.stores.remove(root, claims), strict=True):
            _end(done, item, _OUTCOMES[removed], problem)
            if removed is Removed.REMOVED:
                done.bytes += item.bytes or 0
    return done


def _without_file(item: ChunkItem) -> Outcome | None:
    """Tell what becomes of an item of which no file is to be removed."""
    if item.place is None:
        return Outcome.REMOVED
    if item.stays:
        return Outcome.RECORDS_REMOVED
    return Outcome.ALREADY_GONE if item.identity is None else None


def _end(done: Done, item: ChunkItem, outcome: Outcome, reason: str | None = None) -> None:
    done.items[Said(outcome, reason, tries=item.tries + 1)].append(item.number)


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
