"""Datasets, and what read and wrote them, become rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
    edges: list[tuple[int, bool, str]] = []
    for number, (*_, inputs, outputs) in zip(quanta, batch.quanta, strict=True):
        edges += [(number, False, digits) for digits in inputs]
        edges += [(number, True, digits) for digits in outputs]
    wanted = _told(batch.datasets, names.runs)
    # Nothing more is told of most that are read or written, and they are known.
    named = dict.fromkeys([digits for _, _, digits in edges if digits not in wanted], (None,) * len(_DETAILS))
    numbers = dict(await _known(connection, dialect, named))
    start = await next_number(connection, DATASET)
    new = {digits: details for digits, details in (wanted | named).items() if digits not in numbers}
    numbers |= {digits: number for number, digits in enumerate(new, start)}
    rows = [(number, digits, *details) for number, (digits, details) in enumerate(new.items(), start)]
    if await add_rows(connection, dialect, DATASET, rows) < len(rows):
        changed: list[tuple[Any, ...]] = []
        for digits, number, *before in await _known(connection, dialect, wanted, *_DETAILS):
            if number < start:
                numbers[digits] = number
                after = _of_dataset(before, wanted[digits])
                if after != tuple(before):
                    changed.append((*after, number))
        await change_rows(connection, DATASET, changed, *_DETAILS)
    await add_rows(
        connection, dialect, EDGE, [(number, is_output, numbers[digits]) for number, is_output, digits in edges]
    )


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
