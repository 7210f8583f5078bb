"""Datasets, and what read and wrote them, become rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.dialect import Dialect, UuidText
from butlerql.storage.provenance.batches import Batch, Names, QuantumKey, filled, written_data_id
from butlerql.storage.provenance.tables import DATASET, EDGE
from butlerql.storage.provenance.writing import add_rows, change_rows, next_number

__all__ = ["absorb_datasets"]


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
    unknown = (None,) * 4
    edges: list[tuple[int, bool, str]] = []
    for key, records in batch.quanta.items():
        number = quanta[key]
        for of_quantum in records:
            edges += [(number, False, uuid.hex) for uuid in of_quantum.inputs]
            edges += [(number, True, uuid.hex) for uuid in of_quantum.outputs]
    for _, _, digits in edges:
        wanted.setdefault(digits, unknown)
    if not wanted:
        return
    given = dialect.rows("given", {"uuid": UuidText()}, [(digits,) for digits in wanted])
    joined = dialect.each(given, DATASET)
    found = await connection.execute(sa.select(DATASET).select_from(joined).where(DATASET.c.uuid == given.c.uuid))
    numbers: dict[str, int] = {}
    changed: list[tuple[Any, ...]] = []
    for row in found:
        digits = row.uuid.replace("-", "")
        numbers[digits] = row.id
        before = (row.dataset_type, row.data_id, row.run_id, row.produced)
        after = _of_dataset(before, wanted.pop(digits))
        if after != before:
            changed.append((*after, row.id))
    start = await next_number(connection, DATASET)
    new = [(start + place, digits, *details) for place, (digits, details) in enumerate(wanted.items())]
    numbers |= {row[1]: row[0] for row in new}
    await add_rows(connection, dialect, DATASET, new)
    await change_rows(connection, DATASET, changed, "dataset_type", "data_id", "run_id", "produced")
    rows = [(number, is_output, numbers[digits]) for number, is_output, digits in edges]
    await add_rows(connection, dialect, EDGE, rows)


def _of_dataset(before: tuple[Any, ...], more: tuple[Any, ...]) -> tuple[Any, ...]:
    """Fill what is not known of a dataset. Who knows that it was written is right."""
    *others, produced = filled(before, more)
    return (*others, True if more[-1] else produced)
