"""An attempt at a unit of work as an object tells of it; ``docs/reference/execution-lines.md`` says what it holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from butlerql.storage.errors import InvalidSourceError
from butlerql.storage.provenance.lenient_json import (
    array_of,
    count_of,
    data_id_of,
    duration_of,
    moment_of,
    name_of,
    object_of,
    text_of,
    uuid_of,
)
from butlerql.storage.provenance.records import Caveats, ExecutionRecord, QuantumRecord, QuantumStatus

__all__ = ["KEYS", "check_keys", "named_data_id", "quantum_of"]


def quantum_of(line: Mapping[str, Any]) -> QuantumRecord:
    """Take an attempt, with the unit of work that it is at.

    Raises
    ------
    InvalidSourceError
        Raised if something of it makes no sense.
    """
    check_keys(line, _NEEDED, KEYS)

    def told(key: str, take: Callable[[Any], Any]) -> Any:
        value = line.get(key)
        return None if value is None else take(value)

    attempt, started_at, ended_at = told("attempt", count_of), told("startedAt", moment_of), told("endedAt", moment_of)
    if attempt is None and (started_at is None or ended_at is None):
        raise InvalidSourceError("It has neither an 'attempt' nor both 'startedAt' and 'endedAt': which one is it?")
    if started_at is not None and ended_at is not None and ended_at < started_at:
        raise InvalidSourceError("It ended before it began.")
    return QuantumRecord(
        run=name_of(line["run"]),
        task=name_of(line["task"]),
        data_id=named_data_id(line["dataId"]),
        uuid=told("quantum", uuid_of),
        pipeline_execution=told("pipelineExecution", uuid_of),
        executions=(
            ExecutionRecord(
                attempt=attempt or 0,
                status=_status_of(line["status"]),
                host=told("host", name_of),
                started_at=started_at,
                ended_at=ended_at,
                run_time=told("runTime", duration_of),
                cpu_time=told("cpuTime", duration_of),
                max_rss=told("maxRss", count_of),
                process_index=told("processIndex", count_of),
                exception=told("exception", name_of),
                message=told("message", text_of),
                caveats=told("caveats", _caveats_of),
                log=told("log", uuid_of),
                metadata=told("metadata", uuid_of),
            ),
        ),
        inputs=told("inputs", _uuids_of) or (),
        outputs=told("outputs", _uuids_of) or (),
    )


def named_data_id(value: Any) -> dict[str, int | str]:
    """Take a data ID that is an object."""
    data_id = object_of(value)
    return data_id_of([name_of(name) for name in data_id], list(data_id.values()))


def check_keys(given: Mapping[str, Any], needed: frozenset[str], known: frozenset[str]) -> None:
    """Make sure that an object has the keys that are needed, and none that is not known."""
    unknown = given.keys() - known
    if unknown:
        raise InvalidSourceError(f"{name_of(min(unknown))!r} is no key that is known here.")
    missing = [name for name in needed if given.get(name) is None]
    if missing:
        raise InvalidSourceError(f"It has no {min(missing)!r}.")


_NEEDED = frozenset({"run", "task", "dataId", "status"})
KEYS = _NEEDED | {
    "quantum",
    "pipelineExecution",
    "attempt",
    "host",
    "startedAt",
    "endedAt",
    "runTime",
    "cpuTime",
    "maxRss",
    "processIndex",
    "exception",
    "message",
    "caveats",
    "log",
    "metadata",
    "inputs",
    "outputs",
}


def _status_of(value: Any) -> QuantumStatus:
    if type(value) is not str or value not in QuantumStatus.__members__ or value == QuantumStatus.BLOCKED.name:
        raise InvalidSourceError("The status is none that an execution can have.")
    return QuantumStatus[value]


def _caveats_of(value: Any) -> Caveats:
    result = Caveats.NO_CAVEATS
    for name in array_of(value):
        if type(name) is not str or name not in Caveats.__members__:
            raise InvalidSourceError("A caveat is none that is known here.")
        result |= Caveats[name]
    return result


def _uuids_of(value: Any) -> tuple[UUID, ...]:
    return tuple(map(uuid_of, array_of(value)))
