"""Tagging: which datasets a TAGGED collection holds.

Source: the Butler's ``associate`` and ``disassociate``; see also ``membership_summaries.py``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple

import sqlalchemy as sa

from butlerql.storage.changes import Change
from butlerql.storage.errors import ConflictError
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
    ButlerQLError
        Raised as by `chosen_datasets`.
    """
    changed = replaced = 0
    async with chosen_datasets(change, selection) as found:
        for chosen in found:
            await check_disjoint(change, chosen)
            clashes = _Clashes(change, chosen, collection)
            if on_conflict is TagConflict.REPLACE:
                replaced += await clashes.remove_others()
            elif on_conflict is TagConflict.KEEP:
                await clashes.leave_out()
            else:
                await clashes.refuse()
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
            tags = chosen.tags
            among = tags.c.dataset_id.in_(sa.select(chosen.table.c.dataset_id))
            changed += await change.execute(sa.delete(tags).where(tags.c.collection == collection.key, among))
    return Tagged(changed, 0)


class _Clashes:
    """Datasets that are tagged already in the place of chosen ones."""

    def __init__(self, change: Change, chosen: Chosen, collection: Collection) -> None:
        self._change = change
        self._chosen = chosen
        self._collection = collection
        self._others = chosen.tags.alias()

    def _select(self, *columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
        chosen, others = self._chosen, self._others
        # The index of the tags leads from each chosen one to the other.
        both = self._change.repository.dialect.each(chosen.table, others)
        return (
            sa.select(*columns)
            .select_from(both)
            .where(
                others.c.collection == self._collection.key,
                chosen.same_data_id(others),
                others.c.dataset_id != chosen.table.c.dataset_id,
            )
        )

    async def refuse(self) -> None:
        chosen = self._chosen
        columns = [*chosen.data_id, self._others.c.dataset_id]
        if rows := await self._change.rows(self._select(*columns).limit(NAMED)):
            names = [f"{await described(self._change, chosen, row)} by {row[-1]}" for row in rows]
            raise ConflictError(
                f"In '{self._collection.name}' other datasets of the same type and data ID are tagged already: "
                f"{'; '.join(names)}. Replace them or keep them (onConflict), or untag them first."
            )

    async def remove_others(self) -> int:
        tags = self._chosen.tags
        others = tags.c.dataset_id.in_(self._select(self._others.c.dataset_id))
        return await self._change.execute(sa.delete(tags).where(tags.c.collection == self._collection.key, others))

    async def leave_out(self) -> None:
        table = self._chosen.table
        taken = table.c.dataset_id.in_(self._select(table.c.dataset_id))
        await self._change.execute(sa.delete(table).where(taken))


async def _insert(change: Change, chosen: Chosen, collection: Collection) -> int:
    tags, table = chosen.tags, chosen.table
    where = sa.literal(collection.key, change.repository.tables.collection_type)
    columns = ["dataset_type_id", "dataset_id", *chosen.dimensions.required]
    # The WHERE is for SQLite, which would take ON CONFLICT for the condition of a join.
    rows = sa.select(*(table.c[name] for name in columns), where).where(sa.true())
    statement = change.repository.dialect.insert(tags).from_select([*columns, "collection"], rows)
    statement = statement.on_conflict_do_nothing(index_elements=[tags.c.dataset_id, tags.c.collection])
    try:
        return await change.execute(statement)
    except sa.exc.IntegrityError as error:
        raise ConflictError(
            f"Another program tagged datasets in '{collection.name}', or deleted some that shall be, at the same time. "
            "Try again."
        ) from error
