"""Detaching: the Butler's rows of datasets go into our journal, and nobody sees the datasets any more.

The rows, and that they are about to go, are written down in our state first; then the Butler's tables change in one
transaction; then our state says that it is done. Who finds a dataset between the two compares journal and tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from butlerql.storage.changes import Change
from butlerql.storage.datastores.artifacts.store import Entry, Kind
from butlerql.storage.datastores.deletion import blockers
from butlerql.storage.datastores.deletion.chunks import DETACHING, Chunk, ChunkItem, write_journal
from butlerql.storage.datastores.deletion.exports import Exports
from butlerql.storage.datastores.deletion.files import File, files_of, leaf_names, sources_of, users_of
from butlerql.storage.datastores.deletion.plans import BLOCKING, DeletionScope, Outcome, Plan, Reason
from butlerql.storage.datastores.deletion.rows import (
    DATASET,
    Rows,
    located_elsewhere,
    lock_datasets,
    read_rows,
    remove_rows,
)
from butlerql.storage.datastores.records import RecordSource
from butlerql.storage.registry import dataset_types
from butlerql.storage.repository import Repository

__all__ = ["Detached", "detach"]

_PENDING = str(Outcome.PENDING)
_TO_DO = frozenset({_PENDING, DETACHING})


@dataclass
class Detached:
    """What became of the datasets of a chunk, by their numbers, and of its files."""

    datasets: dict[int, tuple[Outcome, str | None]] = field(default_factory=dict)
    items: dict[int, dict[str, Any]] = field(default_factory=dict)


@dataclass
class _Found:
    """What is to become of each dataset, by UUID."""

    going: dict[str, Rows] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    """Detached already, by a try that did not come to its end."""
    left: dict[str, tuple[Outcome, str]] = field(default_factory=dict)
    kept: set[int] = field(default_factory=set)
    """Files that others have."""


async def detach(repository: Repository, plan: Plan, chunk: Chunk, exports: Exports) -> Detached:
    """Take what goes of a chunk out of the Butler's tables.

    A dataset whose records or files are not those that were planned is left alone, and so is one that something speaks
    against by now; and with it those that share files with it.
    """
    entries = await _look(repository, chunk)
    numbers = {one.uuid: one.number for one in chunk.datasets}

    async def take_out(change: Change) -> _Found:
        await lock_datasets(change, [one.uuid for one in chunk.datasets])
        sources, names = await sources_of(change, plan), leaf_names(repository, plan)
        found = await _examine(change, plan, chunk, entries, sources, names)
        if found.going:
            journal = {uuid: orjson.dumps(rows).decode() for uuid, rows in found.going.items()}
            lines = [(numbers[uuid], text) for uuid, text in journal.items()]
            await repository.state.write(lambda connection: write_journal(connection, plan.id, lines))
            if plan.scope is DeletionScope.PURGE:
                await exports.append(plan, journal)
            await remove_rows(change, plan.scope, list(found.going), sources, names)
        return found

    return _outcomes(chunk, await repository.write(take_out))


def _outcomes(chunk: Chunk, found: _Found) -> Detached:
    gone: tuple[Outcome, str | None] = (Outcome.DETACHED, None)
    ended = {one.uuid: found.left.get(one.uuid, gone) for one in chunk.datasets if one.outcome in _TO_DO}
    detached = Detached({one.number: ended[one.uuid] for one in chunk.datasets if one.uuid in ended})
    for item in chunk.items:
        those = [ended[uuid] for uuid in chunk.users.get(item.number, ()) if uuid in ended]
        if those and item.outcome == _PENDING:
            outcome, reason = gone if gone in those else those[0]
            stays = item.stays or item.number in found.kept
            detached.items[item.number] = {"outcome": outcome, "reason": reason, "stays": stays}
    return detached


async def _look(repository: Repository, chunk: Chunk) -> dict[int, Entry]:
    files = [item for item in chunk.items if item.path is not None]
    entries = await repository.stores.look_at([item.place for item in files])
    return {item.number: entry for item, entry in zip(files, entries, strict=True)}


async def _examine(
    change: Change,
    plan: Plan,
    chunk: Chunk,
    entries: Mapping[int, Entry],
    sources: Sequence[RecordSource],
    names: Sequence[str],
) -> _Found:
    datasets = [one for one in chunk.datasets if one.outcome in _TO_DO]
    rows = await read_rows(change, plan.scope, [one.uuid for one in datasets], sources, names)
    found = _Found()
    planned = {item.number: item for item in chunk.items}
    kinds = {kind.name: kind for kind in await dataset_types.all_types(change)}
    wanted = {one.uuid: kinds[one.dataset_type] for one in datasets if one.dataset_type in kinds and one.uuid in rows}
    reasons = await blockers.reasons(change, plan, wanted, sources) if wanted else {}
    elsewhere: dict[str, str] = {}
    if plan.scope is DeletionScope.PURGE:
        elsewhere = await located_elsewhere(change, [one.uuid for one in datasets], names)
    files = files_of({one.uuid: rows.get(one.uuid, {}) for one in datasets}, sources)
    blocking = BLOCKING - plan.overridden
    for one in datasets:
        its = rows.get(one.uuid, {})
        if one.outcome == DETACHING and _is_gone(plan, its):
            found.gone.add(one.uuid)
            continue
        items = [(planned[number], record) for number, record in chunk.records.get(one.uuid, ())]
        changed = _changed(plan, its, files[one.uuid], items, entries)
        stopped = sorted(reasons.get(one.uuid, set()) & blocking)
        if one.uuid in elsewhere:
            why = f"the registry says that '{elsewhere[one.uuid]}' has it, which is no datastore of this repository"
            found.left[one.uuid] = (Outcome.FAILED, why)
        elif changed is not None:
            found.left[one.uuid] = changed
        elif stopped:
            found.left[one.uuid] = (Outcome.BLOCKED, ", ".join(stopped))
        else:
            found.going[one.uuid] = its
    await _keep_shared(change, plan, chunk, found, files)
    return found


def _is_gone(plan: Plan, rows: Rows) -> bool:
    return DATASET not in rows if plan.scope is DeletionScope.PURGE else not rows


def _changed(
    plan: Plan,
    rows: Rows,
    files: Sequence[File],
    items: Sequence[tuple[ChunkItem, str]],
    entries: Mapping[int, Entry],
) -> tuple[Outcome, str] | None:
    """Say in what a dataset is not what was planned."""
    if not rows or (plan.scope is DeletionScope.PURGE and DATASET not in rows):
        return Outcome.SKIPPED_CHANGED, "it has been deleted meanwhile"
    planned = {(item.place, record) for item, record in items if item.path is not None}
    if {(file.place, file.record) for file in files} != planned:
        return Outcome.SKIPPED_CHANGED, "its records have changed"
    for item, _ in items:
        entry = entries.get(item.number)
        if entry is None or item.stays:
            continue
        if entry.kind is Kind.UNREADABLE:
            return Outcome.FAILED, f"its file cannot be looked at: {entry.problem}"
        if entry.identity != item.identity:
            return Outcome.SKIPPED_CHANGED, "its file has changed"
    return None


async def _keep_shared(
    change: Change, plan: Plan, chunk: Chunk, found: _Found, files: Mapping[str, Sequence[File]]
) -> None:
    """Leave alone what shares files with what is left alone; or its files, if that does not matter."""
    going = [file for uuid in found.going for file in files[uuid]]
    users = await users_of(change, ((file.place, file.record) for file in going))
    is_blocked = Reason.SHARED_ARTIFACT not in plan.overridden
    bundles = {one.uuid: one.bundle for one in chunk.datasets}
    number = {item.place: item.number for item in chunk.items if item.path is not None}
    while True:
        others = {place for place, some in users.items() if not some <= found.going.keys()}
        if not is_blocked:
            found.kept = {number[file.place] for file in going if file.place in others}
            return
        has_others = {uuid for uuid in found.going if any(file.place in others for file in files[uuid])}
        left = {bundles[uuid] for uuid in found.left}
        stopped = has_others.union(uuid for uuid in found.going if bundles[uuid] in left)
        if not stopped:
            return
        for uuid in stopped:
            del found.going[uuid]
            found.left[uuid] = (Outcome.BLOCKED, Reason.SHARED_ARTIFACT)
