"""Records of rows, to be looked at by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from uuid import UUID

import orjson

from butlerql.storage.provenance.records import (
    Caveats,
    DatasetRecord,
    DatasetRow,
    ExecutionRecord,
    ExecutionRow,
    QuantumRecord,
    QuantumRow,
    QuantumStatus,
    Record,
    Rows,
)

__all__ = ["one_by_one"]


def one_by_one(records: Iterable[Record]) -> Iterator[Record]:
    """Give a record for each row, and all others as they are."""
    for record in records:
        if isinstance(record, Rows):
            yield from map(_dataset, record.datasets)
            yield from map(_quantum, record.quanta)
        else:
            yield record


def _dataset(row: DatasetRow) -> DatasetRecord:
    digits, dataset_type, data_id, run, produced = row
    return DatasetRecord(UUID(digits), dataset_type, None if data_id is None else orjson.loads(data_id), run, produced)


def _quantum(row: QuantumRow) -> QuantumRecord:
    run, task, data_id, uuid, graph, is_blocked, executions, inputs, outputs = row
    return QuantumRecord(
        run,
        task,
        orjson.loads(data_id),
        _uuid(uuid),
        _uuid(graph),
        is_blocked,
        tuple(map(_execution, executions)),
        tuple(map(UUID, inputs)),
        tuple(map(UUID, outputs)),
    )


def _execution(row: ExecutionRow) -> ExecutionRecord:
    number, status, *told, caveats, log, metadata = row
    return ExecutionRecord(
        number,
        QuantumStatus(status),
        *told,
        None if caveats is None else Caveats(caveats),
        _uuid(log),
        _uuid(metadata),
    )


def _uuid(digits: str | None) -> UUID | None:
    return None if digits is None else UUID(digits)
