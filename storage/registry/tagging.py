"""Tagging: which datasets a TAGGED collection holds.

Source: the Butler's ``associate`` and ``disassociate``; see also ``membership_summaries.py``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import sqlalchemy as sa

from butlerql.storage.changes import Change
from butlerql.storage.errors import BusyError, ConflictError
from butlerql.storage.registry.chosen_datasets import (
    NAMED,
    Chosen,
    check_disjoint,
    chosen_datasets,
    described,
)
from butlerql.storage.registry.collections import Collection
from butlerql.storage.registry.selection import DatasetSelection
from butlerql.storage.registry.summaries_kept import keep_summaries

__all__ = ["TagConflict", "Tagged", "tag", "untag"]


class TagConflict(StrEnum):
    """What to do where another dataset of the same type and data ID is tagged already."""

    ERROR = "ERROR"
    REPLACE = "REPLACE"
    KEEP = "KEEP"


class Tagged(NamedTuple):
    """What a change of tags came to."""

    changed: int
    """How many datasets are tagged that were not, or are not that were."""

    replaced: int
    """How many gave way to others."""


async def tag(
    change: Change, collection: Collection, selection: DatasetSelection, on_conflict: TagConflict = TagConflict.ERROR
) -> Tagged:
    """Put the datasets of a selection into a TAGGED collection; those that are there already stay.

    Parameters
    ----------
    change
        The transaction.
    collection
        Where to; a TAGGED one.
    selection
        Which datasets.
    on_conflict
        What to do where another of the same type and data ID is there.

    Raises
    ------
    ConflictError
        Raised if two datasets of the selection, or one and another that is tagged already, have the same type and
        data ID, and nothing says which shall stay.
    BusyError
        Raised if another program tags the same, or deletes some of them, at the same time.
    ButlerQLError
        Raised as by `chosen_datasets`.
    """
    changed = replaced = 0
    async with chosen_datasets(change, selection) as found:
        for chosen in found:
            await check_disjoint(change, chosen)
            await _find_others(change, chosen, collection)
            if on_conflict is TagConflict.REPLACE:
                replaced += await _remove(change, chosen, collection, chosen.table.c.other)
            elif on_conflict is TagConflict.KEEP:
                await change.execute(sa.delete(chosen.table).where(chosen.table.c.other.is_not(None)))
            else:
                await _refuse_others(change, chosen, collection)
            await keep_summaries(change, chosen, collection)
            changed += await _insert(change, chosen, collection)
    return Tagged(changed, replaced)


async def untag(change: Change, collection: Collection, selection: DatasetSelection) -> Tagged:
    """Take the datasets of a selection out of a TAGGED collection; those that are not there do not matter.

    Raises
    ------
    ButlerQLError
        Raised as by `chosen_datasets`.
    """
    changed = 0
    async with chosen_datasets(change, selection) as found:
        for chosen in found:
            changed += await _remove(change, chosen, collection, chosen.table.c.dataset_id)
    return Tagged(changed, 0)


async def _find_others(change: Change, chosen: Chosen, collection: Collection) -> None:
    """Note with each chosen dataset which other is tagged in its place."""
    table, tags = chosen.table, chosen.tags
    is_other = [tags.c.collection == collection.key, tags.c.dataset_id != table.c.dataset_id]
    found = sa.update(table).values(other=tags.c.dataset_id).where(chosen.same_data_id(tags), *is_other)
    await change.execute(found)


async def _refuse_others(change: Change, chosen: Chosen, collection: Collection) -> None:
    other = chosen.table.c.other
    if rows := await change.rows(sa.select(*chosen.data_id, other).where(other.is_not(None)).limit(NAMED)):
        names = [f"{await described(change, chosen, row)} by {row[-1]}" for row in rows]
        raise ConflictError(
            f"In '{collection.name}' other datasets of the same type and data ID are tagged already: "
            f"{'; '.join(names)}. Replace them or keep them (onConflict), or untag them first."
        )


async def _remove(change: Change, chosen: Chosen, collection: Collection, uuid: sa.ColumnElement[str]) -> int:
    """Take out those that a column names."""
    tags = chosen.tags
    named = tags.c.dataset_id.in_(sa.select(uuid).where(uuid.is_not(None)))
    return await change.execute(sa.delete(tags).where(tags.c.collection == collection.key, named))


async def _insert(change: Change, chosen: Chosen, collection: Collection) -> int:
    tags, table = chosen.tags, chosen.table
    where = sa.literal(collection.key, change.repository.tables.collection_type)
    columns = ["dataset_type_id", "dataset_id", *chosen.dimensions.required]
    # The WHERE is for SQLite, which would take ON CONFLICT for the condition of a join. The order is that of the widest
    # index, and nearly that in which the datasets were made: several indexes then grow where they did just before.
    rows = sa.select(*(table.c[name] for name in columns), where).where(sa.true()).order_by(table.c.dataset_id)
    statement = change.repository.dialect.insert(tags).from_select([*columns, "collection"], rows)
    statement = statement.on_conflict_do_nothing(index_elements=[tags.c.dataset_id, tags.c.collection])
    try:
        return await change.execute(statement)
    except sa.exc.IntegrityError as error:
        raise BusyError(
            f"Another program tagged datasets in '{collection.name}', or deleted some that shall be, at the same time. "
            "Try again."
        ) from error
