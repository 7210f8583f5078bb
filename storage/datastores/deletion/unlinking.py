"""Unlinking: files that nobody has a record of any more are removed, if they are still those that were planned."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from butlerql.storage.datastores.artifacts.store import Ended, Identity, Removal, Removed, without_devices
from butlerql.storage.datastores.deletion.chunks import DETACHING, Chunk, ChunkItem, Done, Said
from butlerql.storage.datastores.deletion.files import users_of
from butlerql.storage.datastores.deletion.handing_over import HANDED_OVER, hand_over
from butlerql.storage.datastores.deletion.plans import Outcome, Plan
from butlerql.storage.datastores.tree import FileDatastore
from butlerql.storage.errors import UnavailableDatastoreError
from butlerql.storage.repository import Repository

__all__ = ["CLAIM", "put_names_back", "removal_of", "require_roots", "unlink", "unlink_detached"]

CLAIM = ".butlerql-deleting-"
"""How the names begin that files have while they are removed."""

_REMOVED: Ended = (Removed.REMOVED, None)
_OUTCOMES = {
    Removed.GONE: Outcome.ALREADY_GONE,
    Removed.CHANGED: Outcome.CHANGED_LATER,
    Removed.FAILED: Outcome.FAILED,
}


async def unlink_detached(repository: Repository, plan: Plan, chunk: Chunk, done: Done) -> Done:
    """Remove the files of what has been detached this moment, and tell what became of both; see `detach`."""
    stays = {
        number: said.stays
        for said, numbers in done.items.items()
        if said.outcome is Outcome.DETACHED
        for number in numbers
    }
    # That they wait need not be written down.
    done.items.pop(Said(Outcome.DETACHED, stays=False), None)
    items = [item._replace(stays=True) if stays[item.number] else item for item in chunk.items if item.number in stays]
    records = [(number, name) for number, _, name in chunk.uses if name and name != chunk.places[number][1]]
    # Of what an earlier try detached it was asked then.
    is_asked = all(one.outcome != DETACHING for one in chunk.datasets)
    unlinked = await unlink(repository, plan, items, records, is_asked=is_asked)
    done.items.update(unlinked.items)
    done.bytes = unlinked.bytes
    return done


async def unlink(
    repository: Repository,
    plan: Plan,
    items: Sequence[ChunkItem],
    records: Iterable[tuple[int, str]],
    *,
    is_asked: bool = False,
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
    is_asked
        Whether it has just been asked who has a record of them.
    """
    await require_roots(repository, plan)
    done = Done()
    named: dict[int, list[str]] = {}
    for number, record in records:
        named.setdefault(number, []).append(record)
    state = repository.state
    given, taken = await state.write(lambda connection: hand_over(connection, state.dialect, plan.id, items))
    left: dict[str, list[_File]] = {}
    for item in items:
        if item.number in given:
            _end(done, item, HANDED_OVER.outcome, HANDED_OVER.reason)
        elif (outcome := _without_file(item, taken)) is not None:
            _end(done, item, outcome)
        elif item.place is not None:
            removal = removal_of(plan, item.number, item.place[1], item.identity)
            left.setdefault(item.place[0], []).append((item, removal))
    for root, some in left.items():
        store = repository.stores.store(root)
        for begin in range(0, len(some), store.at_once):
            await _remove(repository, root, some[begin : begin + store.at_once], named, done, is_asked=is_asked)
    return done


_File = tuple[ChunkItem, Removal]


async def _remove(
    repository: Repository,
    root: str,
    files: Sequence[_File],
    named: Mapping[int, Sequence[str]],
    done: Done,
    *,
    is_asked: bool,
) -> None:
    """Remove files of which nobody has a record, neither before nor after they are claimed."""
    store = repository.stores.store(root)

    async def do(work: Callable[[Removal], Ended | None], them: Sequence[_File]) -> list[_File]:
        answers = await repository.stores.change(store, work, [removal for _, removal in them])
        left, removed = [], []
        for file, ended in zip(them, answers, strict=True):
            if ended is None:
                left.append(file)
            elif ended == _REMOVED:
                removed.append(file[0])
            else:
                is_others = file[0].stays and ended[0] is Removed.CHANGED
                _end(done, file[0], Outcome.RECORDS_REMOVED if is_others else _OUTCOMES[ended[0]], ended[1])
        # Most of them, and of these the same is said.
        for tries in {item.tries for item in removed}:
            said = Said(Outcome.REMOVED, tries=tries + 1)
            done.items[said] += [item.number for item in removed if item.tries == tries]
        done.bytes += sum(item.bytes or 0 for item in removed)
        return left

    def put_back(removal: Removal) -> Ended:
        removed, problem = store.put_back(removal)
        why = "another dataset has it by now" if removed is Removed.CHANGED else None
        return removed, "; ".join(filter(None, [why, problem])) or None

    zipped = {root for item, _ in files if item.stays}

    async def nobodys(files: Sequence[_File]) -> Sequence[_File]:
        names = [((root, to.path), name) for item, to in files for name in named.get(item.number, (to.path,))]
        async with repository.snapshot() as snapshot:
            users = await users_of(snapshot, names, zipped)
        if users:
            await do(put_back, [file for file in files if (root, file[1].path) in users])
        return [file for file in files if (root, file[1].path) not in users] if users else files

    claimed = await do(store.claim, files if is_asked else await nobodys(files))
    try:
        going = await nobodys(claimed)
    except BaseException:
        # It may be long until somebody goes on, and until then it may be undone.
        await repository.stores.change(store, store.put_back, [removal for _, removal in claimed])
        raise
    await do(store.remove, going)


def _without_file(item: ChunkItem, taken: Collection[int]) -> Outcome | None:
    """Tell what becomes of an item of which no file is to be removed."""
    if item.place is None:
        return Outcome.REMOVED
    if item.stays and item.number not in taken:
        return Outcome.RECORDS_REMOVED
    return Outcome.ALREADY_GONE if item.identity is None else None


def _end(done: Done, item: ChunkItem, outcome: Outcome, reason: str | None = None) -> None:
    done.items[Said(outcome, reason, tries=item.tries + 1)].append(item.number)


async def put_names_back(repository: Repository, plan: Plan, items: Iterable[ChunkItem]) -> None:
    """Give files their names back that unlinking had renamed when it was stopped."""
    claimed: dict[str, list[Removal]] = {}
    for item in items:
        if item.place is not None and item.identity is not None:
            removal = removal_of(plan, item.number, item.place[1], item.identity)
            claimed.setdefault(item.place[0], []).append(removal)
    for root, some in claimed.items():
        store = repository.stores.store(root)
        await repository.stores.change(store, store.put_back, some)


def removal_of(plan: Plan, number: int, path: str, identity: Identity | None) -> Removal:
    """Say what is to be removed for an item of a plan, and which name it has meanwhile."""
    return Removal(path, identity or (), f"{CLAIM}{plan.id}-{number}")


async def require_roots(repository: Repository, plan: Plan, *, to_restore: bool = False) -> None:
    """Make sure that each store is where it was when the plan was made.

    Parameters
    ----------
    repository
        Where.
    plan
        What is carried out, or undone.
    to_restore
        Whether its device may be another, since nothing is removed.

    Raises
    ------
    UnavailableDatastoreError
        Raised if the root of one is another, or there is no way to it from here.
    UnreadableArtifactError
        Raised if one is not there, or cannot be read.
    """
    shown: Callable[[Identity], Identity] = without_devices if to_restore else tuple
    for name, mark in plan.roots.items():
        leaf = repository.datastore.find(name)
        assert isinstance(leaf, FileDatastore)
        store = repository.stores.store(leaf.root_uri)
        if shown(await repository.stores.on_thread(store.mark)) != shown(mark):
            way_out = (
                "Restore again when it is there."
                if to_restore
                else "Where it is meant to be another, restore what is out of sight already, and plan anew."
            )
            raise UnavailableDatastoreError(
                f"{leaf.root_uri} is not the directory that it was when the deletion was planned. Is its file system "
                f"mounted? {way_out}"
            )
