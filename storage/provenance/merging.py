"""Attempts at a unit of work: which records are of the same one, in which order they were made, and how it ended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf
from typing import Any, NamedTuple

from butlerql.storage.provenance.records import QuantumStatus

__all__ = ["Attempt", "ended", "in_order", "merged"]

_LEFT_NOTHING = frozenset({QuantumStatus.ABORTED, QuantumStatus.UNKNOWN})
_NEVER_FILLED = frozenset({"id", "quantum_id", "attempt", "number", "believed", "status", "pipeline_execution_id"})


class Attempt(NamedTuple):
    """A row of `EXECUTION`, its columns in their order; UUIDs without hyphens."""

    id: int | None
    quantum_id: int
    run_id: int
    task_id: int
    pipeline_execution_id: int | None
    attempt: int
    number: int
    believed: int
    status: int
    host_id: int | None
    started_at: int | None
    ended_at: int | None
    run_time: float | None
    cpu_time: float | None
    max_rss: int | None
    process_index: int | None
    exception_id: int | None
    message: str | None
    caveats: int | None
    log: str | None
    metadata: str | None


_FILLED = [place for place, name in enumerate(Attempt._fields) if name not in _NEVER_FILLED]


def merged(known: Sequence[Attempt], new: Iterable[Attempt]) -> list[Attempt]:
    """Put attempts together with those that are known; what each is about is told by `ExecutionRecord`.

    Where two tell different things of one attempt, the one that is believed more wins. Of two that are believed as much
    it is a success with its metadata: who does not find them, since they were deleted, takes it for a failure. Else it
    is the one with the later end, or the later start, or else the one that came last, so that what comes late or again
    takes nothing back. What the one leaves open is filled from the other.
    """
    told: list[Attempt] = []
    for attempt in new:
        pairs = _pairs(told, [attempt])
        if pairs:
            place, _ = pairs[0]
            told[place] = _together(told[place], attempt)
        else:
            told.append(attempt)
    result, left = list(known), dict(enumerate(told))
    # Those that are two attempts for who tells of them are two of those that are known: the likeliest first.
    taken: set[int] = set()
    for place, number in _pairs(known, told):
        if place not in taken and number in left:
            taken.add(place)
            result[place] = _together(result[place], left.pop(number))
    return [*result, *left.values()]


def in_order(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Number attempts by time; one that nobody knows the start of stands behind those of its graph before it."""
    if len(attempts) == 1:
        return list(attempts) if attempts[0].attempt == 0 else [attempts[0]._replace(attempt=0)]
    keyed: list[tuple[tuple[float, int, int], Attempt]] = []
    by_graph: dict[int | None, list[Attempt]] = {}
    for attempt in attempts:
        by_graph.setdefault(attempt.pipeline_execution_id, []).append(attempt)
    for graph, members in by_graph.items():
        start = -inf
        for attempt in sorted(members, key=lambda one: (one.number, one.started_at or 0)):
            if attempt.started_at is not None:
                start = attempt.started_at
            keyed.append(((start, graph or 0, attempt.number), attempt))
    keyed.sort(key=lambda pair: pair[0])
    return [
        attempt if attempt.attempt == place else attempt._replace(attempt=place)
        for place, (_, attempt) in enumerate(keyed)
    ]


def ended(attempts: Sequence[Attempt], *, is_blocked: bool) -> int:
    """Tell how a unit of work ended: as the last of its attempts, which are in order."""
    if attempts:
        return attempts[-1].status
    return int(QuantumStatus.BLOCKED if is_blocked else QuantumStatus.UNKNOWN)


def _pairs(known: Sequence[Attempt], new: Sequence[Attempt]) -> list[tuple[int, int]]:
    """Tell which of some attempts may be which of others, by their places: the likeliest pairs first."""
    found = [
        (_has_trace(one) != _has_trace(other), _apart(one, other), place, number)
        for number, other in enumerate(new)
        for place, one in enumerate(known)
        if _is_same(one, other)
    ]
    return [(place, number) for *_, place, number in sorted(found)]


def _is_same(one: Attempt, other: Attempt) -> bool:
    """Tell whether two attempts at a unit of work may be one, as `ExecutionRecord` has it."""
    if _was_killed(one, other) or _was_killed(other, one):
        return False
    if one.started_at is not None and one.started_at == other.started_at:
        return True
    mine, others = (one.log, other.log) if one.log and other.log else (one.metadata, other.metadata)
    if mine is not None and others is not None:
        return (mine, one.number) == (others, other.number)
    if _is_before(one, other) or _is_before(other, one):
        return False
    graphs = {one.pipeline_execution_id, other.pipeline_execution_id}
    is_one_graph = len(graphs) == 1 or None in graphs
    if _has_trace(one) != _has_trace(other):
        counted, traced = (other, one) if _has_trace(one) else (one, other)
        is_framed = is_one_graph and counted.number >= traced.number and _frames(counted, traced)
        if is_framed or _holds(one, other) or _holds(other, one):
            return True
    return is_one_graph and one.number == other.number


def _apart(one: Attempt, other: Attempt) -> float:
    """Tell how far apart two attempts began, or else ended."""
    for mine, others in ((one.started_at, other.started_at), (one.ended_at, other.ended_at)):
        if mine is not None and others is not None:
            return abs(mine - others)
    return inf


def _frames(counted: Attempt, traced: Attempt) -> bool:
    """Tell whether one began before another did, and nothing more is known of it, or ended after that began."""
    if traced.started_at is None:
        return False
    if counted.started_at is None:
        return counted.ended_at is not None and traced.started_at <= counted.ended_at
    is_open = counted.ended_at is None and counted.status == QuantumStatus.UNKNOWN
    return is_open and counted.started_at <= traced.started_at


def _was_killed(one: Attempt, other: Attempt) -> bool:
    """Tell whether one left nothing, and the other something."""
    return one.status == QuantumStatus.ABORTED and other.status not in _LEFT_NOTHING and _has_trace(other)


def _has_trace(attempt: Attempt) -> bool:
    """Tell whether the tasks themselves tell of it, who do not count what was killed; workflow systems do."""
    return attempt.log is not None or attempt.metadata is not None


def _is_before(one: Attempt, other: Attempt) -> bool:
    return one.ended_at is not None and other.started_at is not None and one.ended_at < other.started_at


def _holds(one: Attempt, other: Attempt) -> bool:
    """Tell whether one was going on when the other began."""
    if one.started_at is None or one.ended_at is None or other.started_at is None:
        return False
    return one.started_at <= other.started_at <= one.ended_at


def _together(known: Attempt, new: Attempt) -> Attempt:
    first, second = (new, known) if _precedence(new) >= _precedence(known) else (known, new)
    filled: dict[str, Any] = {
        Attempt._fields[place]: second[place] for place in _FILLED if first[place] is None and second[place] is not None
    }
    status = second.status if first.status == QuantumStatus.UNKNOWN else first.status
    return first._replace(
        **filled,
        id=known.id,
        quantum_id=known.quantum_id,
        attempt=known.attempt,
        # That of who counts only what left something: as such it is told again.
        number=new.number if _has_trace(new) and not _has_trace(known) else known.number,
        status=status,
        # A later graph repeats what an earlier one left in the log.
        pipeline_execution_id=_earlier(known.pipeline_execution_id, new.pipeline_execution_id),
    )


def _precedence(attempt: Attempt) -> tuple[int, bool, float, float]:
    is_whole = attempt.status == QuantumStatus.SUCCESSFUL and attempt.metadata is not None
    ended, started = (-inf if moment is None else moment for moment in (attempt.ended_at, attempt.started_at))
    return -attempt.believed, is_whole, ended, started


def _earlier(one: int | None, other: int | None) -> int | None:
    known = [graph for graph in (one, other) if graph is not None]
    return min(known, default=None)
