"""Executions as a workflow system writes them: JSON Lines, an object for each attempt at a unit of work.

It knows what leaves no trace in the repository: what was killed, and where. ``docs/reference/execution-lines.md`` says
what an object holds. Events of OpenLineage may stand among them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import BinaryIO
from uuid import UUID

from butlerql.storage.errors import InvalidSourceError
from butlerql.storage.provenance import openlineage
from butlerql.storage.provenance.execution_objects import quantum_of
from butlerql.storage.provenance.lenient_json import object_of, parse
from butlerql.storage.provenance.records import (
    PipelineExecutionRecord,
    QuantumRecord,
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
                records = _records(line)
            except InvalidSourceError as error:
                yield Skipped(f"line {number}", str(error))
                continue
            for record in records:
                if isinstance(record, QuantumRecord):
                    yield from self._pipeline_execution(record)
                yield record

    def _pipeline_execution(self, record: QuantumRecord) -> Iterator[Record]:
        """Tell of the pipeline execution that a unit of work is in, the first time."""
        uuid = record.pipeline_execution
        if uuid is not None and uuid not in self._told_of:
            if len(self._told_of) >= _REMEMBERED:
                self._told_of.clear()
            self._told_of.add(uuid)
            yield PipelineExecutionRecord(uuid, record.run)

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


def _records(content: bytes | None) -> Sequence[Record]:
    if content is None:
        raise InvalidSourceError(f"It is longer than {_LINE_LIMIT} bytes.")
    line = object_of(parse(content))
    return openlineage.records_of(line) if openlineage.is_event(line) else (quantum_of(line),)
