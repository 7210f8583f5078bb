"""Certifying: for which timespans datasets of a CALIBRATION collection are valid.

Source: the Butler's ``certify`` and ``decertify``. No constraint of the database keeps the validity ranges of one
dataset type and data ID apart, so that whoever writes any locks the table, as the Butler does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import sqlalchemy as sa

from butlerql.storage.changes import Change
from butlerql.storage.errors import ConflictError, InvalidArgumentError
from butlerql.storage.registry.chosen_datasets import NAMED, Chosen, check_disjoint, chosen_datasets, described
from butlerql.storage.registry.collections import Collection
from butlerql.storage.registry.dataset_searches import Validity, overlaps
from butlerql.storage.registry.selection import DatasetSelection
from butlerql.storage.registry.summaries_kept import keep_summaries
from butlerql.storage.registry.timespans import MAXIMUM, MINIMUM, Timespan

__all__ = ["certify", "decertify"]


async def certify(change: Change, collection: Collection, selection: DatasetSelection, timespan: Timespan) -> int:
    """Make the datasets of a selection valid for a timespan in a CALIBRATION collection.

    Parameters
    ----------
    change
        The transaction.
    collection
        Where; a CALIBRATION one.
    selection
        Which datasets; of calibration types.
    timespan
        When; one that is empty, or not within what the registry can hold, is an error.

    Returns
    -------
    int
        How many datasets were certified.

    Raises
    ------
    ConflictError
        Raised if two datasets of the selection have the same type and data ID, or a dataset of them is valid already
        at a time of the timespan.
    InvalidArgumentError
        Raised if the timespan is empty, or a dataset is of no calibration type.
    ButlerQLError
        Raised as by `chosen_datasets`.
    """
    when = _bounds(timespan)
    certified = 0
    async with _calibrations(change, selection) as found:
        for chosen, calibs in found:
            await check_disjoint(change, chosen)
            await keep_summaries(change, chosen, collection)
            await _refuse_overlaps(change, chosen, calibs, collection, when)
            source = chosen.table.c
            where = sa.literal(collection.key, change.repository.tables.collection_type)
            row = {name: source[name] for name in ("dataset_type_id", "dataset_id", *chosen.dimensions.required)}
            certified += await change.execute(_inserted(change, calibs, {**row, "collection": where}, when))
    return certified


async def decertify(change: Change, collection: Collection, selection: DatasetSelection, timespan: Timespan) -> int:
    """Take away the validity of the datasets of a selection for a timespan in a CALIBRATION collection.

    What sticks out of the timespan is kept: a range becomes none, one or two, which are new rows.

    Returns
    -------
    int
        How many ranges there were that the timespan takes something away of.

    Raises
    ------
    InvalidArgumentError
        Raised if the timespan is empty, or a dataset is of no calibration type.
    ButlerQLError
        Raised as by `chosen_datasets`.
    """
    begin, end = when = _bounds(timespan)
    changed = 0
    async with _calibrations(change, selection) as found:
        for chosen, calibs in found:
            old = calibs.alias()
            own_begin, own_end = own = change.repository.dialect.timespan(old, "timespan")
            names = ["dataset_type_id", "dataset_id", "collection", *chosen.dimensions.required]
            row = {name: old.c[name] for name in names}
            among = [
                old.c.collection == collection.key,
                old.c.dataset_id.in_(sa.select(chosen.table.c.dataset_id)),
                overlaps(own, when),
            ]
            for kept, sticks_out in (((own_begin, begin), own_begin < begin), ((end, own_end), own_end > end)):
                await change.execute(_inserted(change, calibs, row, kept, *among, sticks_out))
            gone = sa.select(old.c.id).where(*among)
            changed += await change.execute(sa.delete(calibs).where(calibs.c.id.in_(gone)))
    return changed


@asynccontextmanager
async def _calibrations(change: Change, selection: DatasetSelection) -> AsyncIterator[list[tuple[Chosen, sa.Table]]]:
    """Put down the datasets of a selection, and lock the tables of their certifications."""
    async with chosen_datasets(change, selection) as found:
        pairs = []
        for chosen in found:
            wrong = [kind for kind in chosen.dataset_types if not kind.is_calibration]
            keys = [kind.key for kind in wrong]
            named = sa.select(chosen.table.c.dataset_type_id).where(chosen.table.c.dataset_type_id.in_(keys)).limit(1)
            for (key,) in await change.rows(named):
                name = next(kind.name for kind in wrong if kind.key == key)
                raise InvalidArgumentError(
                    f"Dataset type '{name}' is no calibration type, so that its datasets cannot be certified. "
                    "Select others."
                )
            if chosen.calibs is not None:
                await change.lock(chosen.calibs)
                pairs.append((chosen, chosen.calibs))
        yield pairs


async def _refuse_overlaps(
    change: Change, chosen: Chosen, calibs: sa.Table, collection: Collection, when: Validity
) -> None:
    old, dialect = calibs.alias(), change.repository.dialect
    found = (
        sa.select(*chosen.data_id, old.c.dataset_id)
        .select_from(dialect.each(chosen.table, old))
        .where(
            old.c.collection == collection.key,
            chosen.same_data_id(old),
            overlaps(dialect.timespan(old, "timespan"), when),
        )
        .limit(NAMED)
    )
    if rows := await change.rows(found):
        names = [f"{await described(change, chosen, row)} by {row[-1]}" for row in rows]
        raise ConflictError(
            f"In '{collection.name}' datasets of the same type and data ID are valid already at times of this "
            f"timespan: {'; '.join(names)}. Give another timespan, or decertify them for this one first."
        )


def _inserted(
    change: Change,
    calibs: sa.Table,
    row: Mapping[str, sa.ColumnElement[Any]],
    validity: Validity,
    *conditions: sa.ColumnElement[bool],
) -> sa.Insert:
    """Make a statement that inserts a range for each row that fulfils conditions."""
    dialect = change.repository.dialect
    values = {**row, **dialect.timespan_values("timespan", validity), **dialect.new_number(calibs, "id")}
    return sa.insert(calibs).from_select(list(values), sa.select(*values.values()).where(*conditions))


def _bounds(timespan: Timespan) -> Validity:
    begin, end = timespan.bounds
    begin, end = max(begin, MINIMUM), min(end, MAXIMUM)
    if begin >= end:
        raise InvalidArgumentError(
            "The timespan holds no instant. Its end, which is not part of it, has to come after its begin, and the "
            "registry knows the years 1970 to 2099 only."
        )
    return sa.literal(begin, sa.BigInteger), sa.literal(end, sa.BigInteger)
