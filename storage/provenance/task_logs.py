"""What the log of a task tells of its executions.

A log is JSON in one of three forms: a record a line, with what is beside the records behind a line of its own; an
object with ``records`` and what is beside them; or, older, an array of records. What is beside them tells of the
failure, of what the process had done before, and of all earlier attempts. Where it is missing, the failure is in the
text of the record with which it was logged.

Sources: ``lsst.daf.butler.logging``, ``lsst.pipe.base.log_capture`` and ``lsst.pipe.base.single_quantum_executor``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from butlerql.storage.errors import InvalidSourceError
from butlerql.storage.provenance.lenient_json import array_of, moment_of, name_of, object_of, parse, text_of

__all__ = ["Extra", "Failure", "Log", "extra_of", "read_log", "span_of"]

_EXTRA = b"###EXTRA###"
_LOGGERS = ["lsst.pipe.base.single_quantum_executor", "lsst.ctrl.mpexec.singleQuantumExecutor"]
_BEGINNING, _MIDDLE = "Execution of task '", " failed. Exception "

Failure = tuple[str, str]
"""Type of an exception, and its message."""


class Extra(NamedTuple):
    """What is beside the records of an attempt."""

    failure: Failure | None

    metadata: Any
    """Of the task, if it failed; see `told_by`."""

    process_index: int


class Log(NamedTuple):
    """What a log tells."""

    span: tuple[int, int] | None
    """When the first and the last record were made, in microseconds since 1970 UTC."""

    failure: Failure | None
    """With the short name of the type where it is known by what was logged."""

    extra: Extra | None

    earlier: Sequence[tuple[Extra, tuple[int, int] | None]] = ()
    """Attempts before it, all of them failures, each with the span of its log."""


def read_log(content: bytes) -> Log:
    """Read a log.

    Raises
    ------
    InvalidSourceError
        Raised if it is none.
    """
    lines = content.partition(_EXTRA)
    if lines[1]:
        return _log(list(_records(lines[0])), object_of(parse(lines[2])))
    try:
        whole = parse(content)
    except InvalidSourceError:
        # One line, or none, is not told from an object; several are no JSON.
        return _log(list(_records(content)), None)
    if type(whole) is list:
        return _log(whole, None)
    if "records" not in object_of(whole):
        return _log([whole], None)
    return _log(array_of(whole["records"]), whole)


def extra_of(extra: Any) -> Extra:
    """Take what is beside the records of an attempt."""
    exception = object_of(extra).get("exception")
    failure = None
    if exception is not None:
        failure = name_of(object_of(exception).get("type_name")), text_of(exception.get("message"))
    return Extra(failure, extra.get("metadata"), len(array_of(extra.get("previous_process_quanta", []))))


def span_of(records: Any) -> tuple[int, int] | None:
    """Tell when the first and the last of some records were made; None if there are none."""
    if not array_of(records):
        return None
    first, last = (moment_of(object_of(records[place]).get("asctime")) for place in (0, -1))
    return first, last


def _log(records: list[Any], beside: dict[str, Any] | None) -> Log:
    extra = None if beside is None else extra_of(beside)
    failure = extra.failure if extra is not None and extra.failure is not None else _logged(records)
    earlier = [] if beside is None else array_of(beside.get("previous_attempts", []))
    return Log(
        span_of(records),
        failure,
        extra,
        [(extra_of(each), span_of(object_of(each).get("logs", []))) for each in earlier],
    )


def _records(content: bytes) -> Iterator[Any]:
    lines = content.splitlines()
    for number, line in enumerate(lines):
        if line.strip():
            try:
                yield parse(line)
            except InvalidSourceError:
                # Where the process was ended in the middle of it.
                if number == 0 or number < len(lines) - 1:
                    raise


def _logged(records: list[Any]) -> Failure | None:
    for record in reversed(records):
        if object_of(record).get("name") in _LOGGERS and record.get("levelname") == "ERROR":
            message = record.get("message")
            if type(message) is str and message.startswith(_BEGINNING) and _MIDDLE in message:
                kind, _, words = message.partition(_MIDDLE)[2].partition(": ")
                return name_of(kind), text_of(words)
    return None
