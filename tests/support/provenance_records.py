"""Records of columns, to be looked at by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any
from uuid import UUID

import orjson

from butlerql.storage.provenance.records import (
    Caveats,
    DatasetRecord,
    ExecutionColumns,
    ExecutionRecord,
    Many,
    QuantumColumns,
    QuantumRecord,
    QuantumStatus,
    Record,
)

__all__ = ["one_by_one"]


def one_by_one(records: Iterable[Record]) -> Iterator[Record]:
    """Give a record for each row of columns, and all others as they are."""
    for record in records:
        if isinstance(record, Many):
            yield from map(_dataset, *record.datasets)
            yield from _quanta(record.quanta)
        else:
            yield record


def _dataset(digits: str, dataset_type: str | None, data_id: str | None, *others: Any) -> DatasetRecord:
    return DatasetRecord(UUID(digits), dataset_type, None if data_id is None else orjson.loads(data_id), *others)


def _quanta(columns: QuantumColumns) -> Iterator[QuantumRecord]:
    executions = map(_execution, *columns.executions)
    read, written = map(UUID, columns.read), map(UUID, columns.written)
    for run, task, data_id, uuid, graph, is_blocked, attempts, inputs, outputs in zip(*columns[:9], strict=True):
        yield QuantumRecord(
            run,
            task,
            orjson.loads(data_id),
            _uuid(uuid),
            _uuid(graph),
            is_blocked,
            tuple(islice(executions, attempts)),
            tuple(islice(read, inputs)),
            tuple(islice(written, outputs)),
        )


def _execution(*values: Any) -> ExecutionRecord:
    given = dict(zip(ExecutionColumns._fields, values, strict=True))
    given["status"] = QuantumStatus(given["status"])
    given["caveats"] = None if given["caveats"] is None else Caveats(given["caveats"])
    return ExecutionRecord(**given | {"log": _uuid(given["log"]), "metadata": _uuid(given["metadata"])})


def _uuid(digits: str | None) -> UUID | None:
    return None if digits is None else UUID(digits)
