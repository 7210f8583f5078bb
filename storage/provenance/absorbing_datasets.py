"""Datasets, and what read and wrote them, become rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count, islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.dialect import Dialect, UuidText, raw
from butlerql.storage.provenance.batches import Batch, Names, filled
from butlerql.storage.provenance.records import DatasetColumns, QuantumColumns
from butlerql.storage.provenance.tables import DATASET, EDGE
from butlerql.storage.provenance.writing import next_number
from butlerql.storage.state.bulk import add_columns, change_rows

__all__ = ["absorb_datasets"]

_DETAILS = ("dataset_type", "data_id", "run_id", "produced")


async def absorb_datasets(
    connection: AsyncConnection, dialect: Dialect, batch: Batch, names: Names, quanta: Sequence[int]
) -> None:
    """Take datasets in, and what read and wrote them: the quanta of the batch, which have these numbers."""
    start = await next_number(connection, DATASET)
    digits, *details = _each_once(batch.datasets)
    edges, named = _edges(quanta, batch.quanta)
    numbers = dict(zip(digits, count(start)))
    # What is only named was mostly told of before.
    others = dict.fromkeys([one for one in named if one not in numbers])
    known = await _known(connection, dialect, others)
    numbers.update(known)
    if len(known) < len(others):
        unknown = [one for one in others if one not in numbers]
        numbers.update(zip(unknown, count(start + len(digits))))
        digits = digits + unknown
        details = [column + [None] * len(unknown) for column in details]
    details[2] = [None if run is None else names.runs[run] for run in details[2]]
    fresh = range(start, start + len(digits))
    if await add_columns(connection, dialect, DATASET, [fresh, digits, *details]) < len(fresh):
        told = dict(zip(digits, zip(*details, strict=True), strict=True))
        changed: list[tuple[Any, ...]] = []
        for one, number, *before in await _known(connection, dialect, told, *_DETAILS):
            if number < start:
                numbers[one] = number
                after = _of_dataset(before, told[one])
                if after != tuple(before):
                    changed.append((*after, number))
        await change_rows(connection, DATASET, changed, *_DETAILS)
    await add_columns(connection, dialect, EDGE, [*edges, [numbers[one] for one in named]])


def _each_once(columns: DatasetColumns) -> Sequence[list[Any]]:
    """Put together what is told of each dataset."""
    if len(set(columns[0])) == len(columns[0]):
        return columns
    told: dict[str, tuple[Any, ...]] = {}
    for digits, *details in zip(*columns, strict=True):
        told[digits] = _of_dataset(told[digits], details) if digits in told else tuple(details)
    return [list(told), *map(list, zip(*told.values(), strict=True))]


def _edges(numbers: Sequence[int], quanta: QuantumColumns) -> tuple[tuple[list[int], list[bool]], list[str]]:
    """Give the columns of edges, the datasets by their digits."""
    ends: list[int] = []
    are_outputs: list[bool] = []
    named: list[str] = []
    read, written = iter(quanta.read), iter(quanta.written)
    for number, inputs, outputs in zip(numbers, quanta.inputs, quanta.outputs, strict=True):
        ends += [number] * (inputs + outputs)
        are_outputs += [False] * inputs + [True] * outputs
        named += islice(read, inputs)
        named += islice(written, outputs)
    return (ends, are_outputs), named


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
