"""Which units of work, as clients say it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from butlerql.resolvers.identifiers import decode
from butlerql.storage.errors import InvalidArgumentError
from butlerql.storage.provenance.filters import QuantumFilter
from butlerql.storage.provenance.records import QuantumStatus
from butlerql.time_scales import tai_ns_to_utc_datetime

__all__ = ["quantum_filter"]

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - as the moments come


def quantum_filter(given: Mapping[str, Any]) -> QuantumFilter:
    """Read a filter of raw input, but for its data ID, which stays as it was written.

    Raises
    ------
    InvalidArgumentError
        Raised if an id is not that of a pipeline execution.
    """
    statuses, graphs = given.get("statuses"), given.get("pipeline_executions")
    return QuantumFilter(
        runs=given.get("runs"),
        tasks=given.get("tasks"),
        statuses=None if statuses is None else [QuantumStatus[name] for name in statuses],
        pipeline_executions=None if graphs is None else [_graph(identifier) for identifier in graphs],
        data_id=given.get("data_id"),
        hosts=given.get("hosts"),
        started_after=_micros(given.get("started_after")),
        started_before=_micros(given.get("started_before")),
        min_run_time=given.get("min_run_time"),
        min_max_rss=given.get("min_max_rss"),
        exception=given.get("exception"),
    )


def _graph(identifier: str) -> str:
    kind, key = decode(identifier)
    if kind != "PipelineExecution":
        raise InvalidArgumentError("This is not the id of a pipeline execution. Use one that a field id gave.")
    return key


def _micros(ns: int | None) -> int | None:
    return None if ns is None else (tai_ns_to_utc_datetime(ns) - _EPOCH) // timedelta(microseconds=1)
