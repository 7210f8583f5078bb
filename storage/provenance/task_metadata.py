"""What the metadata of a task tell of an execution.

They are an object of ``scalars``, ``arrays`` and ``metadata`` within each other. Those of the execution itself are
under ``quantum``; their numbers are those of ``lsst.utils.timer``, in arrays of one element. Older ones lack the host,
the caveats and the version; where a task had nothing to do, the times of the steps that it was spared.

Sources: ``lsst.pipe.base.TaskMetadata``, ``QuantumResourceUsage`` and ``SingleQuantumExecutor``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from butlerql.storage.errors import InvalidSourceError
from butlerql.storage.provenance.lenient_json import (
    array_of,
    count_of,
    duration_of,
    integer_of,
    moment_of,
    name_of,
    object_of,
    parse,
    text_of,
    uuid_of,
)
from butlerql.storage.provenance.records import Caveats

__all__ = ["Told", "caveats_of", "failure_of", "hosts_of", "told_by", "written_by"]

# Before, the peak of memory was in what the operating system counts it in, which is kibibytes on Linux.
_VERSION_IN_BYTES = 1
_KIBI = 1024
_CAVEATS_LIMIT = 1 << 31
_ATTEMPTS, _QUANTUM = b'{"attempts":[{', b'"quantum":{"scalars":{'
# Of what is in braces: the block, an attempt, and its metadata by task. Those in quotes mostly come in pairs.
_DEPTH = 3
# Bytes that those of an execution mostly have.
_SCALARS = 500


class Told(NamedTuple):
    """What the metadata tell; None where they do not."""

    host: str | None = None
    started_at: int | None = None
    ended_at: int | None = None
    run_time: float | None = None
    cpu_time: float | None = None
    max_rss: int | None = None
    caveats: Caveats | None = None


def told_by(metadata: Any) -> Told:
    """Say what the metadata of an execution tell, those of graphs and logs as well as those of datasets.

    Raises
    ------
    InvalidSourceError
        Raised if they are no such metadata.
    """
    quantum = object_of(object_of(metadata).get("metadata", {})).get("quantum")
    if quantum is None:
        return Told()
    arrays, scalars = object_of(object_of(quantum).get("arrays", {})), object_of(quantum.get("scalars", {}))

    def told(key: str) -> Any:
        value = arrays.get(key)
        # It was not always an array.
        return scalars.get(key) if value is None else value[0] if type(value) is list and value else None

    prepared, ended, version = told("prepUtc"), told("endUtc"), integer_of(scalars.get("__version__", 0))
    started_at = None if prepared is None else moment_of(prepared)
    ended_at = None if ended is None else moment_of(ended)
    run_time = cpu_time = None
    if ended_at is not None:
        began, begin, end = told("startUtc"), told("startCpuTime"), told("endCpuTime")
        run_time = 0.0 if began is None else (ended_at - moment_of(began)) / 1e6
        cpu_time = 0.0 if begin is None or end is None else duration_of(end) - duration_of(begin)
    peak, host, caveats = told("endMaxResidentSetSize"), scalars.get("nodeName"), scalars.get("caveats")
    return Told(
        host=None if host is None else name_of(host),
        started_at=started_at,
        ended_at=ended_at,
        run_time=run_time,
        cpu_time=cpu_time,
        max_rss=None if peak is None else count_of(peak) * (1 if version >= _VERSION_IN_BYTES else _KIBI),
        caveats=None if caveats is None else caveats_of(caveats),
    )


def hosts_of(content: bytes, attempts: int) -> list[str | None]:
    """Say on which host each of some attempts was whose metadata a block of a graph holds."""
    # As it is nearly always written; what is in quotes cannot look like it, since quotes within are escaped.
    place = content.find(_QUANTUM)
    depth = content.count(b"{", 0, place) - content.count(b"}", 0, place)
    if attempts == 1 and place > 0 and depth == _DEPTH and content.startswith(_ATTEMPTS):
        begin = place + len(_QUANTUM) - 1
        try:
            return [_written_host(content[begin : content.find(b"}", begin, begin + _SCALARS) + 1])]
        except InvalidSourceError:
            # It is longer, or there are braces in quotes.
            pass
    told = array_of(object_of(parse(content)).get("attempts"))[:attempts]
    return [None if attempt is None else _host(attempt) for attempt in told] + [None] * (attempts - len(told))


def _host(metadata: Any) -> str | None:
    quantum = object_of(object_of(metadata).get("metadata", {})).get("quantum")
    return None if quantum is None else _host_in(object_of(quantum).get("scalars", {}))


def _host_in(scalars: Any) -> str | None:
    host = object_of(scalars).get("nodeName")
    return None if host is None else name_of(host)


# Few come often.
@lru_cache(4096)
def _written_host(scalars: bytes) -> str | None:
    return _host_in(parse(scalars))


def failure_of(metadata: Any, label: str) -> tuple[str, str] | None:
    """Say what went wrong in an execution that counts as a success all the same: type and message."""
    own = object_of(object_of(metadata).get("metadata", {})).get(label)
    failure = None if own is None else object_of(object_of(own).get("metadata", {})).get("failure")
    if failure is None:
        return None
    scalars: Mapping[str, Any] = object_of(object_of(failure).get("scalars", {}))
    return name_of(scalars.get("type")), text_of(scalars.get("message"))


def written_by(metadata: Any) -> list[UUID]:
    """Say which datasets were written, metadata and logs apart; none where it is not told."""
    quantum = object_of(object_of(metadata).get("metadata", {})).get("quantum")
    outputs = None if quantum is None else object_of(object_of(quantum).get("arrays", {})).get("outputs")
    return [] if outputs is None else list(map(uuid_of, array_of(outputs)))


def caveats_of(value: Any) -> Caveats:
    """Take caveats, which some write as 1.0."""
    return _caveats(integer_of(value) % _CAVEATS_LIMIT)


# Making one takes longer than most else that is done for an execution.
_caveats = lru_cache(256)(Caveats)
