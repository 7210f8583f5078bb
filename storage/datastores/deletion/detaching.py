"""Detaching: the Butler's rows of datasets go into our journal, and nobody sees the datasets any more.

The rows, and that they are about to go, are written down in our state first; then the Butler's tables change in one
transaction; then our state says that it is done. Who finds a dataset between the two compares journal and tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from butlerql.storage.changes import Change
from butlerql.storage.datastores.artifacts.store import Entry, Kind
from butlerql.storage.datastores.deletion import blockers
from butlerql.storage.datastores.deletion.chunks import DETACHING, Chunk, Done, Said, write_journal
from butlerql.storage.datastores.deletion.exports import Exports
from butlerql.storage.datastores.deletion.files import Place, leaf_names, recorded_files, sources_of, users_of
from butlerql.storage.datastores.deletion.plans import BLOCKING, DeletionScope, Outcome, Plan, Reason
from butlerql.storage.datastores.deletion.rows import (
    DATASET,
    Rows,
    located_elsewhere,
    lock_datasets,
    read_rows,
    remove_rows,
)
from butlerql.storage.datastores.deletion.unlinking import put_names_back
from butlerql.storage.datastores.records import RecordSource
from butlerql.storage.registry import dataset_types
from butlerql.storage.repository import Repository

__all__ = ["detach"]

_PENDING = str(Outcome.PENDING)
_TO_DO = frozenset({_PENDING, DETACHING})
_DETACHED = Said(Outcome.DETACHED)


@dataclass
class _Found:
    """What is to become of each dataset, by UUID."""

    going: dict[str, Rows] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    """Detached already, by a try that did not come to its end."""
    left: dict[str, Said] = field(default_factory=dict)
    kept: set[int] = field(default_factory=set)
    """Files that others have."""


async def detach(repository: Repository, plan: Plan, chunk: Chunk, exports: Exports) -> Done:
    """Take what goes of a chunk out of the Butler's tables.

    A dataset whose records or files are not those that were planned is left alone, and so is one that something speaks
    against by now; and with it those that share files with it.
    """
    if begun := {one.uuid for one in chunk.datasets if one.outcome == DETACHING}:
        # Whoever came so far may have been stopped while it removed their files.
        its = {number for number, uuid, _ in chunk.uses if uuid in begun}
        await put_names_back(repository, plan, [item for item in chunk.items if item.number in its])
    odd = _odd(chunk, await repository.stores.look_at(list(chunk.places.values())))
    numbers = {one.uuid: one.number for one in chunk.datasets}

    async def take_out(change: Change) -> _Found:
        await lock_datasets(change, [one.uuid for one in chunk.datasets])
        sources, names = await sources_of(change, plan), leaf_names(repository, plan)
        found = await _examine(change, plan, chunk, odd, sources, names)
        if found.going:
            journal = {uuid: orjson.dumps(rows).decode() for uuid, rows in found.going.items()}
            lines = [(numbers[uuid], text) for uuid, text in journal.items()]
            await repository.state.write(lambda connection: write_journal(connection, plan.id, lines))
            if plan.scope is DeletionScope.PURGE:
                await exports.append(plan, journal)
            await remove_rows(change, plan.scope, list(found.going), sources, names)
        return found

    return _done(chunk, await repository.write(take_out))


def _done(chunk: Chunk, found: _Found) -> Done:
    done = Done()
    for dataset in chunk.datasets:
        if dataset.outcome in _TO_DO:
            done.datasets[found.left.get(dataset.uuid, _DETACHED)].append(dataset.number)
    gone = found.going.keys() | found.gone
    detached = {number for number, uuid, _ in chunk.uses if uuid in gone}
    left = {number: found.left[uuid] for number, uuid, _ in chunk.uses if uuid in found.left} if found.left else {}
    for item in chunk.items:
        said = _DETACHED if item.number in detached else left.get(item.number)
        if said is not None and item.outcome == _PENDING:
            done.items[said._replace(stays=item.stays or item.number in found.kept)].append(item.number)
    return done


def _odd(chunk: Chunk, entries: Iterable[Entry]) -> dict[int, Said]:
    """Tell which files are not those that were planned, and what becomes of their datasets."""
    seen = dict(zip(chunk.places, entries, strict=True))
    odd: dict[int, Said] = {}
    for item in chunk.items:
        entry = seen.get(item.number)
        if entry is None or item.stays:
            continue
        if entry.kind is Kind.UNREADABLE:
            odd[item.number] = Said(Outcome.FAILED, f"its file cannot be looked at: {entry.problem}")
        elif entry.identity != item.identity:
            odd[item.number] = Said(Outcome.SKIPPED_CHANGED, "its file has changed")
    return odd


async def _examine(
    change: Change,
    plan: Plan,
    chunk: Chunk,
    odd: Mapping[int, Said],
    sources: Sequence[RecordSource],
    names: Sequence[str],
) -> _Found:
    datasets = [one for one in chunk.datasets if one.outcome in _TO_DO]
    uuids = [one.uuid for one in datasets]
    rows = await read_rows(change, plan.scope, uuids, sources, names)
    found = _Found()
    kinds = {kind.name: kind for kind in await dataset_types.all_types(change)}
    wanted = {one.uuid: kinds[one.dataset_type] for one in datasets if one.dataset_type in kinds and one.uuid in rows}
    reasons = await blockers.reasons(change, plan, wanted, sources) if wanted else {}
    elsewhere: dict[str, str] = {}
    if plan.scope is DeletionScope.PURGE:
        elsewhere = await located_elsewhere(change, uuids, names)
    changed = _changed(chunk, recorded_files(rows, sources), odd)
    blocking = BLOCKING - plan.overridden
    blocked = {uuid: stopped for uuid, some in reasons.items() if (stopped := blocking & some)}
    for one in datasets:
        uuid, its = one.uuid, rows.get(one.uuid, {})
        is_gone = DATASET not in its if plan.scope is DeletionScope.PURGE else not its
        if is_gone and one.outcome == DETACHING:
            found.gone.add(uuid)
        elif uuid in elsewhere:
            why = f"the registry says that '{elsewhere[uuid]}' has it, which is no datastore of this repository"
            found.left[uuid] = Said(Outcome.FAILED, why)
        elif is_gone:
            found.left[uuid] = Said(Outcome.SKIPPED_CHANGED, "it has been deleted meanwhile")
        elif uuid in changed:
            found.left[uuid] = changed[uuid]
        elif uuid in blocked:
            found.left[uuid] = Said(Outcome.BLOCKED, ", ".join(sorted(blocked[uuid])))
        else:
            found.going[uuid] = its
    await _keep_shared(change, plan, chunk, found)
    return found


def _changed(chunk: Chunk, recorded: set[tuple[str, Place, str]], odd: Mapping[int, Said]) -> dict[str, Said]:
    """Find the datasets of which records or files are not those that were planned, all at once."""
    places = chunk.places
    planned = {(uuid, places[number], record) for number, uuid, record in chunk.uses if number in places}
    changed = dict.fromkeys(
        (uuid for uuid, *_ in planned ^ recorded), Said(Outcome.SKIPPED_CHANGED, "its records have changed")
    )
    for number, uuid, _ in chunk.uses if odd else ():
        if number in odd:
            changed.setdefault(uuid, odd[number])
    return changed


async def _keep_shared(change: Change, plan: Plan, chunk: Chunk, found: _Found) -> None:
    """Leave alone what shares files with what is left alone; or its files, if that does not matter."""
    places = chunk.places
    uses = [(places[number], uuid, record) for number, uuid, record in chunk.uses if number in places]
    going = [(place, record) for place, uuid, record in uses if uuid in found.going]
    others = await users_of(change, going, but=found.going)
    if Reason.SHARED_ARTIFACT in plan.overridden:
        found.kept = {number for number, place in places.items() if place in others}
        return
    has_others = {uuid for place, uuid, _ in uses if place in others} if others else set()
    # Datasets of the plan that share files are of one bundle, and no bundle is in two chunks.
    left = {one.bundle for one in chunk.datasets if one.uuid in found.left or one.uuid in has_others}
    for one in chunk.datasets if left else ():
        if one.bundle in left and found.going.pop(one.uuid, None) is not None:
            found.left[one.uuid] = Said(Outcome.BLOCKED, Reason.SHARED_ARTIFACT)
