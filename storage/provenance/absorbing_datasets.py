"""Datasets, and what read and wrote them, become rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.dialect import Dialect, UuidText, raw
from butlerql.storage.provenance.batches import Batch, Names, QuantumKey, filled, written_data_id
from butlerql.storage.provenance.tables import DATASET, EDGE
from butlerql.storage.provenance.writing import next_number
from butlerql.storage.state.bulk import add_rows, change_rows

__all__ = ["absorb_datasets"]

_DETAILS = ("dataset_type", "data_id", "run_id", "produced")


async def absorb_datasets(
    connection: AsyncConnection, dialect: Dialect, batch: Batch, names: Names, quanta: Mapping[QuantumKey, int]
) -> None:
    """Take datasets in, and what read and wrote them."""
    wanted: dict[str, tuple[Any, ...]] = {}
    for record in batch.datasets:
        data_id = None if record.data_id is None else written_data_id(record.data_id)
        run = None if record.run is None else names.runs[record.run]
        details = (record.dataset_type, data_id, run, record.produced)
        digits = record.uuid.hex
        wanted[digits] = _of_dataset(wanted[digits], details) if digits in wanted else details
    edges: list[tuple[int, bool, str]] = []
    for key, records in batch.quanta.items():
        number = quanta[key]
        for of_quantum in records:
            edges += [(number, False, uuid.hex) for uuid in of_quantum.inputs]
            edges += [(number, True, uuid.hex) for uuid in of_quantum.outputs]
    # Nothing more is told of most that are read or written.
    named = dict.fromkeys([digits for _, _, digits in edges if digits not in wanted], (None,) * len(_DETAILS))
    numbers = dict(await _known(connection, dialect, named))
    changed: list[tuple[Any, ...]] = []
    for digits, number, *before in await _known(connection, dialect, wanted, *_DETAILS):
        numbers[digits] = number
        after = _of_dataset(before, wanted[digits])
        if after != tuple(before):
            changed.append((*after, number))
    new: list[tuple[Any, ...]] = []
    start = await next_number(connection, DATASET)
    for digits, details in (wanted | named).items():
        if digits not in numbers:
            numbers[digits] = start + len(new)
            new.append((numbers[digits], digits, *details))
    await add_rows(connection, dialect, DATASET, new)
    await change_rows(connection, DATASET, changed, *_DETAILS)
    rows = [(number, is_output, numbers[digits]) for number, is_output, digits in edges]
    await add_rows(connection, dialect, EDGE, rows)


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
