"""Executions as a workflow system writes them: JSON Lines, an object for each attempt at a unit of work.

It knows what leaves no trace in the repository: what was killed, and where. ``docs/reference/execution-lines.md`` says
what an object holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Any, BinaryIO
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
    parse,
    text_of,
    uuid_of,
)
from butlerql.storage.provenance.records import (
    Caveats,
    ExecutionRecord,
    PipelineExecutionRecord,
    QuantumRecord,
    QuantumStatus,
    Record,
    Skipped,
    Source,
    SourceKind,
)

__all__ = ["LinesFile"]

_LINE_LIMIT = 1 << 20
_CHUNK = 1 << 20
# As many pipeline executions are remembered, so that each is told of once, or not often.
_REMEMBERED = 10_000


class LinesFile:
    """A file of executions.

    Parameters
    ----------
    file
        What it is read from.
    name
        Of the file, without its directories.

    Attributes
    ----------
    source
        What it is.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._told_of: set[UUID] = set()
        digest = blake2b(digest_size=16)
        file.seek(0)
        while block := file.read(_CHUNK):
            digest.update(block)
        self.source = Source(SourceKind.JSON_LINES, name, digest.hexdigest())

    def records(self) -> Iterator[Record]:
        """Go through all that it tells; lines that cannot be understood are skipped."""
        for number, line in self._lines():
            try:
                record = _record(line)
            except InvalidSourceError as error:
                yield Skipped(f"line {number}", str(error))
                continue
            uuid = record.pipeline_execution
            if uuid is not None and uuid not in self._told_of:
                if len(self._told_of) >= _REMEMBERED:
                    self._told_of.clear()
                self._told_of.add(uuid)
                yield PipelineExecutionRecord(uuid, record.run)
            yield record

    def _lines(self) -> Iterator[tuple[int, bytes | None]]:
        """Go through the lines that are not empty, None in place of those that are too long."""
        self._file.seek(0)
        number, rest, is_too_long = 1, b"", False
        while block := self._file.read(_CHUNK):
            *whole, rest = (rest + block).split(b"\n")
            for line in whole:
                if is_too_long or len(line) > _LINE_LIMIT:
                    yield number, None
                elif line.strip():
                    yield number, line
                number, is_too_long = number + 1, False
            if len(rest) > _LINE_LIMIT:
                rest, is_too_long = b"", True
        if is_too_long:
            yield number, None
        elif rest.strip():
            yield number, rest


def _record(content: bytes | None) -> QuantumRecord:
    if content is None:
        raise InvalidSourceError(f"It is longer than {_LINE_LIMIT} bytes.")
    line = object_of(parse(content))
    unknown = line.keys() - _KEYS
    if unknown:
        raise InvalidSourceError(f"{name_of(min(unknown))!r} is no key of an execution.")
    missing = _NEEDED - line.keys()
    if missing:
        raise InvalidSourceError(f"It has no {min(missing)!r}.")

    def told(key: str, take: Callable[[Any], Any]) -> Any:
        value = line.get(key)
        return None if value is None else take(value)

    data_id = object_of(line["dataId"])
    return QuantumRecord(
        run=name_of(line["run"]),
        task=name_of(line["task"]),
        data_id=data_id_of([name_of(name) for name in data_id], list(data_id.values())),
        uuid=told("quantum", uuid_of),
        pipeline_execution=told("pipelineExecution", uuid_of),
        executions=(
            ExecutionRecord(
                attempt=told("attempt", count_of) or 0,
                status=_status_of(line["status"]),
                host=told("host", name_of),
                started_at=told("startedAt", moment_of),
                ended_at=told("endedAt", moment_of),
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


_NEEDED = frozenset({"run", "task", "dataId", "status"})
_KEYS = _NEEDED | {
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
