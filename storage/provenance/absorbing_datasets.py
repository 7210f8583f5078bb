"""Datasets, and what read and wrote them, become rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.dialect import Dialect, UuidText, raw
from butlerql.storage.provenance.batches import Batch, Names, filled
from butlerql.storage.provenance.records import DatasetRow
from butlerql.storage.provenance.tables import DATASET, EDGE
from butlerql.storage.provenance.writing import next_number
from butlerql.storage.state.bulk import add_rows, change_rows

__all__ = ["absorb_datasets"]

_DETAILS = ("dataset_type", "data_id", "run_id", "produced")


async def absorb_datasets(
    connection: AsyncConnection, dialect: Dialect, batch: Batch, names: Names, quanta: Sequence[int]
) -> None:
    """Take datasets in, and what read and wrote them: the quanta of the batch, which have these numbers."""
    start = await next_number(connection, DATASET)
    wanted = _told(batch.datasets, names.runs)
    numbers = dict(zip(wanted, count(start)))
    # What is only named was mostly told of before.
    named = dict.fromkeys(
        [digits for quantum in batch.quanta for some in quantum[7:] for digits in some if digits not in numbers]
    )
    numbers.update(await _known(connection, dialect, named))
    for digits in named:
        if digits not in numbers:
            numbers[digits] = start + len(wanted)
            wanted[digits] = (None,) * len(_DETAILS)
    rows = [(number, digits, *details) for number, (digits, details) in enumerate(wanted.items(), start)]
    if await add_rows(connection, dialect, DATASET, rows) < len(rows):
        changed: list[tuple[Any, ...]] = []
        for digits, number, *before in await _known(connection, dialect, wanted, *_DETAILS):
            if number < start:
                numbers[digits] = number
                after = _of_dataset(before, wanted[digits])
                if after != tuple(before):
                    changed.append((*after, number))
        await change_rows(connection, DATASET, changed, *_DETAILS)
    edges: list[tuple[int, bool, int]] = []
    for quantum, (*_, inputs, outputs) in zip(quanta, batch.quanta, strict=True):
        edges += [(quantum, False, numbers[digits]) for digits in inputs]
        edges += [(quantum, True, numbers[digits]) for digits in outputs]
    await add_rows(connection, dialect, EDGE, edges)


def _told(rows: Iterable[DatasetRow], runs: Mapping[str, int]) -> dict[str, tuple[Any, ...]]:
    """Put together what is told of each dataset."""
    told: dict[str, tuple[Any, ...]] = {}
    for digits, dataset_type, data_id, run, produced in rows:
        details = (dataset_type, data_id, None if run is None else runs[run], produced)
        told[digits] = _of_dataset(told[digits], details) if digits in told else details
    return told


async def _known(
    connection: AsyncConnection, dialect: Dialect, wanted: Iterable[str], *columns: str
) -> list[tuple[Any, ...]]:
    """Find the datasets that are there already: the digits of each, its number, and some columns."""
    given = dialect.rows("given", {"uuid": UuidText()}, [(digits,) for digits in wanted])
    chosen = [raw(DATASET.c.uuid), DATASET.c.id, *(DATASET.c[name] for name in columns)]
    statement = sa.select(*chosen).select_from(dialect.each(given, DATASET)).where(DATASET.c.uuid == given.c.uuid)
    return [(str(uuid).replace("-", ""), *rest) for uuid, *rest in (await connection.execute(statement)).all()]


def _of_dataset(before: Sequence[Any], more: Sequence[Any]) -> tuple[Any, ...]:
    """Fill what is not known of a dataset. Who knows that it was written is right."""
    *others, produced = filled(before, more)
    return (*others, True if more[-1] else produced)
