"""Pages over several dataset types: one type after another, as many at a time as are worth a statement."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from butlerql.storage.errors import BadCursorError
from butlerql.storage.registry import dataset_types
from butlerql.storage.registry.pages import Key, PageRequest
from butlerql.storage.registry.ranges import Part
from butlerql.storage.snapshot import Snapshot

__all__ = ["fill"]

_RANGES = 2_000
"""Ranges that are looked at together, at least one dataset type of each parent."""

Row = TypeVar("Row")


async def fill(
    snapshot: Snapshot,
    parts: Sequence[Part],
    parents: int,
    request: PageRequest,
    read: Callable[[Sequence[Part]], Awaitable[Mapping[tuple[int, int], Sequence[Row]]]],
) -> list[list[Row]]:
    """Read the rows of the same page of each of several parents, and one more if there are more.

    Parameters
    ----------
    snapshot
        What to read from.
    parts
        Where to look; no two of a parent have the same place.
    parents
        How many there are.
    request
        Which page. Its keys begin with the name of a dataset type.
    read
        Reads up to ``request.limit + 1`` rows of each of some parts, by parent and place, in the order of the request.

    Raises
    ------
    BadCursorError
        Raised if a key of the request names a dataset type that is not there.
    """
    waiting: list[list[Part]] = [[] for _ in range(parents)]
    for part in reversed(await _ordered(snapshot, parts, request)):
        waiting[part.parent].append(part)
    found: list[list[Row]] = [[] for _ in range(parents)]
    while batch := _next_batch(waiting, [len(rows) <= request.limit for rows in found]):
        rows = await read(batch)
        for part in batch:
            found[part.parent] += rows.get((part.parent, part.place), ())
    return found


async def _ordered(snapshot: Snapshot, parts: Sequence[Part], request: PageRequest) -> list[Part]:
    """Parts in the order of the request, without those outside its keys."""
    first = -1 if request.after is None else await _place(snapshot, request.after)
    last = None if request.before is None else await _place(snapshot, request.before)
    kept = [part for part in parts if first <= part.place and (last is None or part.place <= last)]
    return sorted(kept, key=lambda part: part.place, reverse=request.backward)


async def _place(snapshot: Snapshot, key: Key) -> int:
    kind = await dataset_types.find_or_none(snapshot, str(key[0])) if key else None
    if kind is None:
        raise BadCursorError("The dataset type that this cursor stands at is gone. Begin again without a cursor.")
    return await dataset_types.position(snapshot, kind)


def _next_batch(waiting: Sequence[list[Part]], hungry: Sequence[bool]) -> list[Part]:
    """Take the next dataset types of every parent whose page is not full."""
    left = [parts for parts, wants in zip(waiting, hungry, strict=True) if parts and wants]
    batch = [parts.pop() for parts in left]
    size = sum(part.size for part in batch)
    for parts in left:
        while parts and size < _RANGES:
            batch.append(parts.pop())
            size += batch[-1].size
    return batch
