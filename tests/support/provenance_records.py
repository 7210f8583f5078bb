"""Records of rows, to be looked at by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

import orjson

from butlerql.storage.provenance.batches import rows_of
from butlerql.storage.provenance.records import (
    Caveats,
    DatasetRecord,
    ExecutionRecord,
    ExecutionRow,
    Many,
    QuantumRecord,
    QuantumRow,
    QuantumStatus,
    Record,
)

__all__ = ["one_by_one"]


def one_by_one(records: Iterable[Record]) -> Iterator[Record]:
    """Give a record for each row, and all others as they are."""
    for record in records:
        if isinstance(record, Many):
            yield from map(_dataset, *record.datasets)
            yield from map(_quantum, rows_of(record.quanta))
        else:
            yield record


def _dataset(digits: str, dataset_type: str | None, data_id: str | None, *others: Any) -> DatasetRecord:
    return DatasetRecord(UUID(digits), dataset_type, None if data_id is None else orjson.loads(data_id), *others)


def _quantum(row: QuantumRow) -> QuantumRecord:
    return QuantumRecord(
        row.run,
        row.task,
        orjson.loads(row.data_id),
        _uuid(row.uuid),
        _uuid(row.pipeline_execution),
        row.is_blocked,
        tuple(map(_execution, row.executions)),
        tuple(map(UUID, row.inputs)),
        tuple(map(UUID, row.outputs)),
    )


def _execution(row: ExecutionRow) -> ExecutionRecord:
    values = row._asdict()
    values["status"] = QuantumStatus(row.status)
    values["caveats"] = None if row.caveats is None else Caveats(row.caveats)
    return ExecutionRecord(**values | {"log": _uuid(row.log), "metadata": _uuid(row.metadata)})


def _uuid(digits: str | None) -> UUID | None:
    return None if digits is None else UUID(digits)
