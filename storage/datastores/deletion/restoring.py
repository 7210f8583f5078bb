"""Restoring: rows go back as they were, unless somebody has taken their place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import orjson
import sqlalchemy as sa

from butlerql.storage.changes import Change
from butlerql.storage.datastores.artifacts.store import Kind, without_devices
from butlerql.storage.datastores.deletion.chunks import Chunk, ChunkDataset, Done, Said
from butlerql.storage.datastores.deletion.files import Place, is_member, leaf_names, sources_of, users_of
from butlerql.storage.datastores.deletion.plans import RESTORABLE, DeletionScope, Outcome, Plan
from butlerql.storage.datastores.deletion.rows import DATASET, Rows, by_table, given_rows, insert_rows, read_rows
from butlerql.storage.datastores.deletion.unlinking import put_names_back, require_roots
from butlerql.storage.dialect import UuidText
from butlerql.storage.registry import dataset_types
from butlerql.storage.registry.collections import CollectionKey, CollectionType, in_name_order
from butlerql.storage.registry.dataset_searches import overlaps
from butlerql.storage.repository import Repository

__all__ = ["restore"]

_There = AbstractSet[tuple[CollectionKey, str, CollectionType]]
"""The collections that there are, of those that datasets were in."""

_RESTORED = Said(Outcome.RESTORED)
_MEMBERS = {"tags": CollectionType.TAGGED, "calibs": CollectionType.CALIBRATION}
_OPEN = {Outcome.DETACHED, Outcome.PENDING, Outcome.FAILED, Outcome.RESTORE_CONFLICT, Outcome.LOST}
"""Of files of which it was not decided what becomes of them."""


async def restore(repository: Repository, plan: Plan, chunk: Chunk, journal: Mapping[str, str]) -> Done:
    """Put back what can be put back of a chunk: all rows of a dataset, or none.

    Parameters
    ----------
    repository
        Where.
    plan
        What is undone.
    chunk
        The datasets and files.
    journal
        Their rows, see `read_journal`.

    Raises
    ------
    UnavailableDatastoreError
        Raised if a store is not where it was, or there is no way to it from here.
    UnreadableArtifactError
        Raised if one is not there, or cannot be read.
    """
    # Where one is away, none of its files is lost.
    await require_roots(repository, plan, to_restore=True)
    todo = [one for one in chunk.datasets if one.outcome in RESTORABLE]
    rows: dict[ChunkDataset, Rows] = {one: orjson.loads(journal[one.uuid]) for one in todo}
    files = await _lost(repository, plan, chunk)
    lost = {uuid: files[number] for number, uuid, _ in chunk.uses if number in files}
    try:
        ended = await _put_back(repository, plan, chunk, rows, lost)
    except sa.exc.IntegrityError:
        # Somebody came in between, or something refers to what is not there: one by one it shows whose fault it is.
        ended = {}
        for one in todo:
            try:
                ended |= await _put_back(repository, plan, chunk, {one: rows[one]}, lost)
            except sa.exc.IntegrityError:
                ended[one.uuid] = Said(
                    Outcome.RESTORE_CONFLICT, "the registry lacks what it refers to, or has something in its place"
                )
    done = Done()
    for one in todo:
        done.datasets[ended[one.uuid]].append(one.number)
    of_items: dict[int, Said] = {}
    for number, uuid, _ in chunk.uses:
        said, before = ended.get(uuid), of_items.get(number)
        if said is not None and (before is None or (before.outcome is Outcome.RESTORED and said != _RESTORED)):
            of_items[number] = said
    for item in chunk.items:
        said = of_items.get(item.number)
        if said is not None and (said.outcome is Outcome.RESTORED or item.outcome in _OPEN):
            done.items[said].append(item.number)
    return done


async def _lost(repository: Repository, plan: Plan, chunk: Chunk) -> dict[int, str]:
    """Tell which files are not there, or are others, and which of the two."""
    files = [(item, item.place, item.identity) for item in chunk.items if item.place is not None and item.identity]
    places = [place for _, place, _ in files]
    entries = await repository.stores.look_at(places)
    missing = [item for (item, *_), entry in zip(files, entries, strict=True) if entry.kind is Kind.MISSING]
    if missing:
        await put_names_back(repository, plan, missing)
        entries = await repository.stores.look_at(places)
    lost = {}
    for (item, _, planned), entry in zip(files, entries, strict=True):
        if entry.kind is Kind.UNREADABLE or entry.identity == planned:
            continue
        if entry.kind is Kind.MISSING:
            lost[item.number] = "its file is not there any more"
        elif without_devices(entry.identity or ()) != without_devices(planned):
            lost[item.number] = "another file is in the place of its own"
    return lost


async def _put_back(
    repository: Repository, plan: Plan, chunk: Chunk, rows: Mapping[ChunkDataset, Rows], lost: Mapping[str, str]
) -> dict[str, Said]:
    """Put back some datasets in one transaction: those in whose place there is nothing, and whose files are there.

    They are not put into collections that have been removed.

    Returns
    -------
    dict
        UUID to what became of it.
    """

    async def put_back(change: Change) -> dict[str, Said]:
        there = await _there(change, rows.values())
        journal: dict[str, Rows] = {}
        ended: dict[str, Said] = {}
        for one, its in rows.items():
            journal[one.uuid], gone = _without_what_is_gone(its, there)
            ended[one.uuid] = _RESTORED._replace(reason=f"not into {gone}: removed since" if gone else None)
        sources, names = await sources_of(change, plan), leaf_names(repository, plan)
        now = await read_rows(change, plan.scope, list(journal), sources, names)
        # What was never taken out, or is back by a try that did not come to its end, is as it was.
        away = {uuid: its for uuid, its in journal.items() if not _is_there(its, now.get(uuid, {}))}
        conflicts = await _conflicts(change, plan, chunk, away, now, there)
        ended |= {uuid: Said(Outcome.LOST, reason) for uuid, reason in lost.items() if uuid in away}
        ended |= {uuid: Said(Outcome.RESTORE_CONFLICT, reason) for uuid, reason in conflicts.items()}
        going = [its for uuid, its in away.items() if ended[uuid].outcome is Outcome.RESTORED]
        await _keep_summaries(change, going)
        await insert_rows(change, await _free_numbers(change, going))
        return ended

    return await repository.write(put_back)


async def _there(change: Change, rows: Iterable[Rows]) -> _There:
    columns = ("collection", "run")
    keys = {row[one] for its in rows for some in its.values() for row in some for one in columns if one in row}
    return {(one.key, one.name, one.type) for one in await in_name_order(change, keys)}


def _without_what_is_gone(rows: Rows, there: _There) -> tuple[Rows, str]:
    """Leave out that a dataset was in collections, not its run, that are not there any more; and name those."""
    runs = {row["run"] for row in rows.get(DATASET, ())}
    left: Rows = {}
    gone: list[str] = []
    for name, some in rows.items():
        kind = _MEMBERS.get(name.partition(":")[0])
        for row in some:
            if kind is None or row["collection"] in runs or (row["collection"], row["collection_name"], kind) in there:
                left.setdefault(name, []).append(row)
            else:
                gone.append(f"'{row['collection_name']}'")
    return left, ", ".join(dict.fromkeys(gone))


def _is_there(rows: Rows, now: Rows) -> bool:
    """Whether a dataset has all its rows but for those in collections, which came and went with them."""
    kept = [name for name in rows if name.partition(":")[0] not in _MEMBERS]
    return all(name in now and _texts(rows[name]) <= _texts(now[name]) for name in kept)


def _texts(rows: Iterable[Mapping[str, Any]]) -> set[bytes]:
    return {orjson.dumps(row, option=orjson.OPT_SORT_KEYS) for row in rows}


async def _conflicts(
    change: Change, plan: Plan, chunk: Chunk, away: Mapping[str, Rows], now: Mapping[str, Rows], there: _There
) -> dict[str, str]:
    """Say in whose place there is something else, or what they belong to is not there."""
    found: dict[str, str] = {}
    if plan.scope is DeletionScope.UNSTORE:
        wanted = change.repository.dialect.rows("wanted", {"id": UuidText()}, [(uuid,) for uuid in away])
        dataset = change.repository.tables.dataset.c.id
        known = {row[0] for row in await change.rows(sa.select(dataset).where(dataset.in_(sa.select(wanted.c.id))))}
        found |= dict.fromkeys(away.keys() - known, "the dataset has been purged")
    found |= {uuid: "it has been stored again" for uuid in away if now.get(uuid)}
    if plan.scope is DeletionScope.PURGE:
        await _registry_conflicts(change, away, there, found)
    # With those that shared a file before, and where it stayed, it can be shared again.
    places = {item.number: item.place for item in chunk.items if item.place is not None and not item.stays}
    uses = [(places[number], uuid, record) for number, uuid, record in chunk.uses if number in places]
    # Sharing a zip file is no harm.
    plain = [(place, record) for place, _, record in uses if not is_member(record)]
    taken = await users_of(change, plain)
    sharing: dict[Place, set[str]] = {}
    for place, uuid, _ in uses if taken else ():
        sharing.setdefault(place, set()).add(uuid)
    for place, uuid, _ in uses if taken else ():
        if uuid in away and not taken.get(place, set()) <= sharing[place]:
            found.setdefault(uuid, "another dataset has its file")
    return found


async def _registry_conflicts(change: Change, away: Mapping[str, Rows], there: _There, found: dict[str, str]) -> None:
    kinds = {kind.name: kind.key for kind in await dataset_types.all_types(change)}
    for uuid, rows in away.items():
        for row in rows.get(DATASET, ()):
            if kinds.get(row["dataset_type_name"]) != row["dataset_type_id"]:
                found[uuid] = f"the dataset type '{row['dataset_type_name']}' has been removed"
            if (row["run"], row["collection_name"], CollectionType.RUN) not in there:
                found[uuid] = f"the collection '{row['collection_name']}' has been removed"
    await _taken_places(change, [rows for uuid, rows in away.items() if uuid not in found], found)


async def _taken_places(change: Change, rows: Sequence[Rows], found: dict[str, str]) -> None:
    """Find the data IDs, and the validity, that others have in a collection by now."""
    tables = change.repository.tables
    for table, some in await by_table(change, rows):
        if table.name in {tables.dataset.name, tables.location.name} or "collection" not in table.c:
            continue
        is_timed = "id" in table.c
        if is_timed:
            await change.lock(table)
        given, old = given_rows(change, table, some), table.alias()
        same = [
            old.c[column.key] == given.c[column.key]
            for column in table.c
            if column.key not in {"dataset_id", "id"} and not column.key.startswith("timespan")
        ]
        if is_timed:
            dialect = change.repository.dialect
            same.append(overlaps(dialect.timespan(old, "timespan"), dialect.timespan(given, "timespan")))
        names = {row["collection"]: row["collection_name"] for row in some}
        taken = sa.select(given.c.dataset_id, given.c.collection).where(*same)
        for uuid, collection in await change.rows(taken):
            what = "validity" if is_timed else "data ID"
            found[uuid] = f"another dataset has its {what} in '{names[collection]}'"


async def _keep_summaries(change: Change, rows: Sequence[Rows]) -> None:
    """Note what collections hold again: somebody may have made their summaries anew."""
    tables, universe = change.repository.tables, change.repository.universe
    for table, some in await by_table(change, rows):
        if not ("collection" in table.c and "dataset_type_id" in table.c):
            continue
        given = given_rows(change, table, some)
        noted = [(tables.summary, "dataset_type_id")]
        noted += [(tables.summary_of_governor(one), one) for one in universe.governors if one in table.c]
        for summary, name in noted:
            # The WHERE is for SQLite, which would take ON CONFLICT for the condition of a join.
            values = sa.select(given.c.collection, given.c[name]).distinct().where(sa.true())
            statement = change.repository.dialect.insert(summary).from_select(["collection", name], values)
            await change.execute(statement.on_conflict_do_nothing())


async def _free_numbers(change: Change, rows: Sequence[Rows]) -> list[Rows]:
    """Give certifications other numbers where theirs have been given to others."""
    for table, some in await by_table(change, rows):
        if not ("collection" in table.c and "id" in table.c):
            continue
        wanted = change.repository.dialect.rows("ids", {"id": sa.BigInteger()}, [(row["id"],) for row in some])
        found = await change.rows(sa.select(table.c.id).where(table.c.id.in_(sa.select(wanted.c.id))))
        taken = {row[0] for row in found}
        [(highest,)] = await change.rows(sa.select(sa.func.max(table.c.id)))
        highest = max([highest or 0, *(row["id"] for row in some)])
        sequence = change.repository.dialect.new_number(table, "id").get("id")
        for row in some:
            if row["id"] not in taken:
                continue
            if sequence is None:
                row["id"] = highest = highest + 1
            else:
                [(row["id"],)] = await change.rows(sa.select(sequence))
    return list(rows)
