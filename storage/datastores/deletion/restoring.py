"""Restoring: rows go back as they were, unless somebody has taken their place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import orjson
import sqlalchemy as sa

from butlerql.storage.changes import Change
from butlerql.storage.datastores.artifacts.store import Kind
from butlerql.storage.datastores.deletion.chunks import DETACHING, Chunk, ChunkDataset, Done, Said
from butlerql.storage.datastores.deletion.files import is_member, leaf_names, sources_of, users_of
from butlerql.storage.datastores.deletion.plans import DeletionScope, Outcome, Plan
from butlerql.storage.datastores.deletion.rows import DATASET, Rows, by_table, given_rows, insert_rows, read_rows
from butlerql.storage.dialect import UuidText
from butlerql.storage.registry import dataset_types
from butlerql.storage.registry.dataset_searches import overlaps
from butlerql.storage.repository import Repository

__all__ = ["restore"]

_RESTORED = Said(Outcome.RESTORED)


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
    """
    todo = [one for one in chunk.datasets if one.outcome in {Outcome.DETACHED, DETACHING}]
    rows: dict[ChunkDataset, Rows] = {one: orjson.loads(journal[one.uuid]) for one in todo}
    files = await _lost(repository, chunk)
    lost = {uuid for number, uuid, _ in chunk.uses if number in files}
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
        said = ended.get(uuid)
        if said is not None and of_items.get(number, _RESTORED) == _RESTORED:
            of_items[number] = said
    for item in chunk.items:
        if item.number in of_items and item.outcome in {Outcome.DETACHED, Outcome.PENDING, Outcome.FAILED}:
            done.items[of_items[item.number]].append(item.number)
    return done


async def _lost(repository: Repository, chunk: Chunk) -> set[int]:
    """Tell which files are not there, or are others."""
    files = [(item, item.place) for item in chunk.items if item.place is not None and item.identity is not None]
    entries = await repository.stores.look_at([place for _, place in files])
    return {
        item.number
        for (item, _), entry in zip(files, entries, strict=True)
        if entry.kind is Kind.MISSING or (entry.kind is not Kind.UNREADABLE and entry.identity != item.identity)
    }


async def _put_back(
    repository: Repository, plan: Plan, chunk: Chunk, rows: Mapping[ChunkDataset, Rows], lost: AbstractSet[str]
) -> dict[str, Said]:
    """Put back some datasets in one transaction: those in whose place there is nothing, and whose files are there.

    Returns
    -------
    dict
        UUID to what became of it.
    """
    journal = {one.uuid: its for one, its in rows.items()}

    async def put_back(change: Change) -> dict[str, Said]:
        sources, names = await sources_of(change, plan), leaf_names(repository, plan)
        now = await read_rows(change, plan.scope, list(journal), sources, names)
        # What was never taken out is as it was.
        away = {uuid: its for uuid, its in journal.items() if _sorted(now.get(uuid, {})) != _sorted(its)}
        conflicts = await _conflicts(change, plan, chunk, away, now)
        ended = dict.fromkeys(journal, _RESTORED)
        ended |= dict.fromkeys(lost & away.keys(), Said(Outcome.LOST, "its file is not there any more"))
        ended |= {uuid: Said(Outcome.RESTORE_CONFLICT, reason) for uuid, reason in conflicts.items()}
        going = [its for uuid, its in away.items() if ended[uuid] is _RESTORED]
        await _keep_summaries(change, going)
        await insert_rows(change, await _free_numbers(change, going))
        return ended

    return await repository.write(put_back)


async def _conflicts(
    change: Change, plan: Plan, chunk: Chunk, away: Mapping[str, Rows], now: Mapping[str, Rows]
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
        await _registry_conflicts(change, away, found)
    # With those that shared a file before, and where it stayed, it can be shared again.
    places = {item.number: item.place for item in chunk.items if item.place is not None and not item.stays}
    uses = [(places[number], uuid, record) for number, uuid, record in chunk.uses if number in places]
    # Sharing a zip file is no harm.
    plain = [(place, record) for place, _, record in uses if not is_member(record)]
    taken = await users_of(change, plain, but=away)
    for place, uuid, _ in uses:
        if place in taken and uuid in away:
            found.setdefault(uuid, "another dataset has its file")
    return found


async def _registry_conflicts(change: Change, away: Mapping[str, Rows], found: dict[str, str]) -> None:
    tables = change.repository.tables
    kinds = {kind.name: kind.key for kind in await dataset_types.all_types(change)}
    keys = {row[holder] for rows in away.values() for row, holder in _held(rows)}
    held = change.repository.dialect.rows("held", {"key": tables.collection_type}, [(key,) for key in keys])
    collections = {
        row[0]: (row[1], row[2])
        for row in await change.rows(
            sa.select(tables.collection_key, tables.collection.c.name, tables.collection.c.type).where(
                tables.collection_key.in_(sa.select(held.c["key"]))
            )
        )
    }
    for uuid, rows in away.items():
        for row in rows.get(DATASET, ()):
            if kinds.get(row["dataset_type_name"]) != row["dataset_type_id"]:
                found[uuid] = f"the dataset type '{row['dataset_type_name']}' has been removed"
        for row, holder in _held(rows):
            if collections.get(row[holder], ("", 0))[0] != row["collection_name"]:
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


def _held(rows: Rows) -> Iterator[tuple[dict[str, Any], str]]:
    """Go through the rows that refer to collections, and tell by which column."""
    for name, some in rows.items():
        holder = "run" if name == DATASET else "collection"
        if name == DATASET or name.startswith(("tags:", "calibs:")):
            yield from ((row, holder) for row in some)


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


def _sorted(rows: Rows) -> dict[str, list[bytes]]:
    return {name: sorted(orjson.dumps(row, option=orjson.OPT_SORT_KEYS) for row in some) for name, some in rows.items()}
