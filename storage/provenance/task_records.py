"""Executions as the datasets of metadata, logs and configurations in a run tell of them.

Metadata are there of successes only, logs of failures too; what was killed, or blocked, left neither. Attempts before
the last are known from the last one's log. No UUIDs of quanta are in them, and not what was planned.

Sources: see `task_metadata` and `task_logs`; ``ProvenanceQuantumScanModels`` of ``lsst.pipe.base`` puts them together
in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID

from butlerql.storage.errors import InvalidSourceError
from butlerql.storage.provenance.lenient_json import parse
from butlerql.storage.provenance.property_sets import is_property_set, parse_property_set
from butlerql.storage.provenance.records import (
    DatasetRecord,
    ExecutionRecord,
    QuantumRecord,
    QuantumStatus,
    Record,
    Skipped,
)
from butlerql.storage.provenance.task_logs import Extra, Failure, Log, read_log
from butlerql.storage.provenance.task_metadata import Told, failure_of, told_by, written_by

__all__ = ["Content", "Traces", "told_of"]


@dataclass(frozen=True, slots=True)
class Content:
    """A dataset of metadata or of a log, with its file."""

    uuid: UUID
    dataset_type: str
    name: str
    """Path in the datastore, for people."""

    content: bytes | None = None
    """None where it could not be read; then it is only known to have been written."""


@dataclass(frozen=True, slots=True)
class Traces:
    """What is in a run of a unit of work."""

    run: str
    task: str
    data_id: Mapping[str, int | str]
    metadata: Content | None = None
    log: Content | None = None
    keeps_log: bool = True
    """Whether the task keeps logs at all; where it does not, nothing is missing."""


def told_of(traces: Traces) -> Iterator[Record]:
    """Tell of a unit of work, and of what it is known to have written."""
    log, told, failure, written = None, Told(), None, []
    for content in (traces.log, traces.metadata):
        if content is None or content.content is None:
            continue
        try:
            if content is traces.log:
                log = read_log(content.content)
            else:
                metadata = (parse_property_set if is_property_set(content.content) else parse)(content.content)
                told, failure, written = told_by(metadata), failure_of(metadata, traces.task), written_by(metadata)
        except InvalidSourceError as error:
            yield Skipped(content.name, str(error))
    if traces.metadata is None and log is not None and log.extra is not None and log.extra.metadata is not None:
        written = written_by(log.extra.metadata)
    stored = [content for content in (traces.metadata, traces.log) if content is not None]
    yield QuantumRecord(
        run=traces.run,
        task=traces.task,
        data_id=traces.data_id,
        executions=tuple(_executions(traces, log, told, failure)),
        outputs=(*(content.uuid for content in stored), *written),
    )
    for content in stored:
        yield DatasetRecord(content.uuid, content.dataset_type, traces.data_id, traces.run, produced=True)
    for uuid in written:
        yield DatasetRecord(uuid, run=traces.run, produced=True)


def _executions(traces: Traces, log: Log | None, told: Told, failure: Failure | None) -> Iterator[ExecutionRecord]:
    earlier = () if log is None else log.earlier
    for number, (beside, its_span) in enumerate(earlier):
        yield _failed(traces, number, beside, beside.failure, its_span)
    extra = None if log is None else log.extra
    if traces.metadata is None:
        failed, span = (None, None) if log is None else (log.failure, log.span)
        yield _failed(traces, len(earlier), extra, failed, span)
        return
    is_whole = traces.log is not None or not traces.keeps_log
    yield _execution(
        traces,
        len(earlier),
        QuantumStatus.SUCCESSFUL if is_whole else QuantumStatus.ABORTED_SUCCESS,
        told,
        extra,
        failure,
    )


def _failed(
    traces: Traces, number: int, extra: Extra | None, failure: Failure | None, span: tuple[int, int] | None
) -> ExecutionRecord:
    told = Told() if extra is None or extra.metadata is None else told_by(extra.metadata)
    if told.started_at is None and span is not None:
        # A process for each quantum leaves no metadata of a failure.
        told = told._replace(started_at=span[0], ended_at=span[1])
    return _execution(traces, number, QuantumStatus.FAILED, told._replace(caveats=None), extra, failure)


def _execution(
    traces: Traces, number: int, status: QuantumStatus, told: Told, extra: Extra | None, failure: Failure | None
) -> ExecutionRecord:
    kind, message = failure or (None, None)
    return ExecutionRecord(
        attempt=number,
        status=status,
        host=told.host,
        started_at=told.started_at,
        ended_at=told.ended_at,
        run_time=told.run_time,
        cpu_time=told.cpu_time,
        max_rss=told.max_rss,
        process_index=None if extra is None else extra.process_index,
        exception=kind,
        message=message,
        caveats=told.caveats,
        log=None if traces.log is None else traces.log.uuid,
        metadata=None if traces.metadata is None else traces.metadata.uuid,
    )
