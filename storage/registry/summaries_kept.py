"""Summaries of what collections may hold: kept when something is added, before it is, as the Butler does."""

from __future__ import annotations

import sqlalchemy as sa

from butlerql.storage.changes import Change
from butlerql.storage.registry.chosen_datasets import Chosen
from butlerql.storage.registry.collections import Collection

__all__ = ["keep_summaries"]


async def keep_summaries(change: Change, chosen: Chosen, collection: Collection) -> None:
    """Note that a collection holds datasets of the types, and of the governor dimensions' values, of chosen ones.

    Memberships refer to these rows, and the Butler looks nowhere that they do not name. One statement a table. Nothing
    is ever taken out.
    """
    tables, universe = change.repository.tables, change.repository.universe
    noted = [(tables.summary, "dataset_type_id")]
    noted += [
        (tables.summary_of_governor(governor), governor)
        for governor in universe.governors
        if governor in chosen.dimensions.required
    ]
    key = sa.literal(collection.key, tables.collection_type)
    for table, name in noted:
        # The WHERE is for SQLite, which would take ON CONFLICT for the condition of a join.
        values = sa.select(key, chosen.table.c[name]).distinct().where(sa.true())
        statement = change.repository.dialect.insert(table).from_select(["collection", name], values)
        await change.execute(statement.on_conflict_do_nothing())
