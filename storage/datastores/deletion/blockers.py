"""What speaks against deleting datasets, and what there is to know of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import sqlalchemy as sa

from butlerql.storage.datastores.deletion.plans import Plan, Reason
from butlerql.storage.datastores.deletion.rows import association_tables
from butlerql.storage.datastores.records import RecordSource, record_sources
from butlerql.storage.dialect import UuidText
from butlerql.storage.globs import is_glob
from butlerql.storage.registry.collections import CollectionType, by_names, type_number
from butlerql.storage.registry.dataset_types import DatasetType
from butlerql.storage.snapshot import Snapshot

__all__ = ["in_chains", "other_names", "reasons"]


async def reasons(
    snapshot: Snapshot, plan: Plan, datasets: Mapping[str, DatasetType], sources: Sequence[RecordSource]
) -> dict[str, set[Reason]]:
    """Find the datasets that are tagged or certified elsewhere, or are in no other datastore; the others are left out.

    Collections that the plan's selection names literally do not count: a tag made for the purpose.

    Parameters
    ----------
    snapshot
        What to read from.
    plan
        Whose datasets.
    datasets
        UUID to dataset type.
    sources
        Where the records of the plan's datastores are.
    """
    found: dict[str, set[Reason]] = {}
    tables, dialect = snapshot.repository.tables, snapshot.repository.dialect
    literal = [name for name in plan.selection.collections or () if not is_glob(name)]
    keys = [(one.key,) for one in (await by_names(snapshot, literal)).values()]
    named = dialect.rows("named", {"key": tables.collection_type}, keys)
    holders = {
        "tags": (CollectionType.TAGGED, Reason.TAGGED),
        "calibs": (CollectionType.CALIBRATION, Reason.CALIBRATION),
    }
    wanted = dialect.rows("wanted", {"id": UuidText()}, [(uuid,) for uuid in datasets])
    kinds = {kind.key: kind for kind in datasets.values()}
    for name, table in association_tables(snapshot, kinds.values()).items():
        kind, reason = holders[name.partition(":")[0]]
        of_kind = sa.select(tables.collection_key).where(tables.collection.c.type == type_number(kind))
        held = (
            sa.select(table.c.dataset_id)
            .distinct()
            .select_from(dialect.each(wanted, table))
            .where(
                table.c.dataset_id == wanted.c.id,
                table.c.collection.in_(of_kind),
                table.c.collection.not_in(sa.select(named.c["key"])),
            )
        )
        for (uuid,) in await snapshot.rows(held):
            found.setdefault(uuid, set()).add(reason)
    if plan.datastore is not None and plan.datastore != snapshot.repository.datastore.name:
        mine = {source.datastore for source in sources}
        others = [source for source in await record_sources(snapshot) if source.datastore not in mine]
        elsewhere = sa.or_(sa.false(), *(source.holds(wanted.c.id) for source in others))
        for (uuid,) in await snapshot.rows(sa.select(wanted.c.id).where(~elsewhere)):
            found.setdefault(uuid, set()).add(Reason.LAST_COPY)
    return found


async def in_chains(snapshot: Snapshot, runs: Iterable[int | str]) -> set[int | str]:
    """Tell which runs are members of chains."""
    tables = snapshot.repository.tables
    keys = snapshot.repository.dialect.rows("runs", {"key": tables.collection_type}, [(key,) for key in set(runs)])
    child = tables.chain.c.child
    rows = await snapshot.rows(sa.select(child).distinct().where(child.in_(sa.select(keys.c["key"]))))
    return {row[0] for row in rows}


async def other_names(snapshot: Snapshot, source: RecordSource, root: str) -> tuple[bool, bool]:
    """Tell by what else than their paths a datastore's records call files of a store; goes through all records.

    Returns
    -------
    members
        Whether any is of a member of a zip file.
    absolute
        Whether any begins with the store's root.
    """
    path = source.table.c.path
    starts = {root, root.removeprefix("file://")}
    absolute = sa.or_(*(sa.func.substr(path, 1, len(start)) == start for start in sorted(starts)))
    is_there = [sa.func.max(sa.case((condition, 1), else_=0)) for condition in (path.like("%#%"), absolute)]
    [(members, absolutes)] = await snapshot.rows(sa.select(*is_there).where(source.own))
    return bool(members), bool(absolutes)
