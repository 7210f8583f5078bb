"""Records that are taken in together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from butlerql.storage.provenance.records import (
    DatasetRecord,
    PipelineExecutionRecord,
    QuantumRecord,
    Record,
    RunRecord,
    Skipped,
    TaskRecord,
)

__all__ = ["Batch", "Names", "QuantumKey", "filled", "written_data_id"]

QuantumKey = tuple[str, str, str]
"""Run, task, and data ID as it is written down."""


@dataclass(slots=True)
class Batch:
    """Records that are taken in together."""

    records: int = 0
    pipeline_executions: list[PipelineExecutionRecord] = field(default_factory=list)
    runs: list[RunRecord] = field(default_factory=list)
    tasks: list[TaskRecord] = field(default_factory=list)
    datasets: list[DatasetRecord] = field(default_factory=list)
    quanta: dict[QuantumKey, list[QuantumRecord]] = field(default_factory=dict)
    skipped: list[tuple[int, Skipped]] = field(default_factory=list)

    def add(self, record: Record) -> None:
        """Put a record to those of its kind."""
        if isinstance(record, QuantumRecord):
            key = (record.run, record.task, written_data_id(record.data_id))
            self.quanta.setdefault(key, []).append(record)
        elif isinstance(record, DatasetRecord):
            self.datasets.append(record)
        elif isinstance(record, TaskRecord):
            self.tasks.append(record)
        elif isinstance(record, PipelineExecutionRecord):
            self.pipeline_executions.append(record)
        elif isinstance(record, RunRecord):
            self.runs.append(record)
        else:
            self.skipped.append((self.records, record))
        self.records += 1


class Names(NamedTuple):
    """Numbers of what the records of a batch name."""

    runs: dict[str, int]
    tasks: dict[str, int]
    hosts: dict[str, int]
    exceptions: dict[str, int]
    graphs: dict[UUID, int]


def written_data_id(data_id: Mapping[str, int | str]) -> str:
    """Write a data ID down; the same one always gives the same text."""
    return orjson.dumps(data_id, option=orjson.OPT_SORT_KEYS).decode()


def filled(before: Sequence[Any], more: Sequence[Any]) -> tuple[Any, ...]:
    """Give values, and in place of each None the other value."""
    return tuple(new if old is None else old for old, new in zip(before, more, strict=True))
