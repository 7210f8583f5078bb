"""Records that are taken in together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import orjson

from butlerql.storage.provenance.records import (
    DatasetColumns,
    DatasetRecord,
    ExecutionColumns,
    ExecutionRecord,
    Many,
    PipelineExecutionRecord,
    QuantumColumns,
    QuantumRecord,
    Record,
    RunRecord,
    Skipped,
    TaskRecord,
    no_quanta,
)

__all__ = ["Batch", "Names", "filled", "how_many", "repeated", "written_data_id"]

T = TypeVar("T")


@dataclass(slots=True)
class Batch:
    """Records that are taken in together."""

    records: int = 0
    pipeline_executions: list[PipelineExecutionRecord] = field(default_factory=list)
    runs: list[RunRecord] = field(default_factory=list)
    tasks: list[TaskRecord] = field(default_factory=list)
    datasets: DatasetColumns = field(default_factory=lambda: ([], [], [], [], []))
    quanta: QuantumColumns = field(default_factory=no_quanta)
    skipped: list[tuple[int, Skipped]] = field(default_factory=list)

    def add(self, record: Record) -> None:
        """Put a record to those of its kind."""
        if isinstance(record, Many):
            _extend(self.datasets, record.datasets)
            _extend(self.quanta, record.quanta)
        elif isinstance(record, QuantumRecord):
            self._add_quantum(record)
        elif isinstance(record, DatasetRecord):
            data_id = None if record.data_id is None else written_data_id(record.data_id)
            _append(self.datasets, (record.uuid.hex, record.dataset_type, data_id, record.run, record.produced))
        elif isinstance(record, TaskRecord):
            self.tasks.append(record)
        elif isinstance(record, PipelineExecutionRecord):
            self.pipeline_executions.append(record)
        elif isinstance(record, RunRecord):
            self.runs.append(record)
        else:
            self.skipped.append((self.records, record))
        self.records += how_many(record)

    def _add_quantum(self, record: QuantumRecord) -> None:
        quanta = self.quanta
        values = (
            record.run,
            record.task,
            written_data_id(record.data_id),
            _digits(record.uuid),
            _digits(record.pipeline_execution),
            record.is_blocked,
            len(record.executions),
            len(record.inputs),
            len(record.outputs),
        )
        _append(quanta[: len(values)], values)
        for execution in record.executions:
            _append(quanta.executions, _values(execution))
        quanta.read.extend(uuid.hex for uuid in record.inputs)
        quanta.written.extend(uuid.hex for uuid in record.outputs)


class Names(NamedTuple):
    """Numbers of what the records of a batch name."""

    runs: dict[str, int]
    tasks: dict[str, int]
    hosts: dict[str, int]
    exceptions: dict[str, int]
    graphs: dict[str, int]
    """By the digits of their UUIDs."""


def how_many(record: Record) -> int:
    """Count how many records one stands for."""
    return len(record) if isinstance(record, Many) else 1


def written_data_id(data_id: Mapping[str, int | str]) -> str:
    """Write a data ID down; the same one always gives the same text."""
    return orjson.dumps(data_id, option=orjson.OPT_SORT_KEYS).decode()


def filled(before: Sequence[Any], more: Sequence[Any]) -> tuple[Any, ...]:
    """Give values, and in place of each None the other value."""
    return tuple(new if old is None else old for old, new in zip(before, more, strict=True))


def repeated(values: Iterable[T], times: Iterable[int]) -> list[T]:
    """Give each value so many times."""
    return list(chain.from_iterable(map(repeat, values, times)))


def _extend(columns: Sequence[Any], more: Sequence[Any]) -> None:
    """Put columns behind those of the same kind; some are columns of columns."""
    for column, values in zip(columns, more, strict=True):
        if isinstance(column, ExecutionColumns):
            _extend(column, values)
        else:
            column.extend(values)


def _append(columns: Sequence[Any], values: Sequence[Any]) -> None:
    for column, value in zip(columns, values, strict=True):
        column.append(value)


def _values(record: ExecutionRecord) -> tuple[Any, ...]:
    return (
        record.attempt,
        int(record.status),
        record.host,
        record.started_at,
        record.ended_at,
        record.run_time,
        record.cpu_time,
        record.max_rss,
        record.process_index,
        record.exception,
        record.message,
        None if record.caveats is None else int(record.caveats),
        _digits(record.log),
        _digits(record.metadata),
    )


def _digits(uuid: UUID | None) -> str | None:
    return None if uuid is None else uuid.hex
