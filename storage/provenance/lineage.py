"""What a dataset was made of, and of what that was made; or the other way round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.errors import InvalidArgumentError, LimitExceededError
from butlerql.storage.provenance.quanta import Quantum, quanta_by_id
from butlerql.storage.provenance.tables import EDGE
from butlerql.storage.provenance.traces import DatasetTrace, dataset_numbers, traces_by_id
from butlerql.storage.state.database import State

__all__ = ["DEEPEST", "LARGEST", "Lineage", "LineageEdge", "lineages"]

LARGEST = 50_000
"""How many edges one lineage has at most: 10,000 datasets have so many, each with its maker and some readers."""

DEEPEST = 100
"""How many units of work one behind the other."""


@dataclass(frozen=True, slots=True)
class LineageEdge:
    """A dataset that a unit of work read, or wrote."""

    dataset: str
    """UUID."""

    quantum_id: int
    is_output: bool


@dataclass(frozen=True, slots=True)
class Lineage:
    """A part of the graph of datasets and work, in the order in which it was found, breadth first."""

    datasets: list[DatasetTrace]
    quanta: list[Quantum]
    edges: list[LineageEdge]
    truncated: bool
    """Whether it goes on beyond what is here."""


@dataclass(slots=True)
class _Search:
    """What was found from one dataset on."""

    datasets: dict[int, None]
    quanta: dict[int, None] = field(default_factory=dict)
    edges: dict[tuple[int, int, bool], None] = field(default_factory=dict)
    """Dataset, unit of work, whether it is an output."""

    front: list[int] = field(default_factory=list)
    """What was new in the last half of a step: datasets or units of work."""

    is_cut: bool = False


async def lineages(state: State, uuids: Sequence[str], *, is_upstream: bool, depth: int) -> list[Lineage]:
    """Follow datasets, all of them at once: two statements a step, however many there are.

    Parameters
    ----------
    uuids
        Where to begin.
    is_upstream
        Whether to go to what they were made of, or to what was made of them.
    depth
        How many units of work to pass, one behind the other.

    Raises
    ------
    InvalidArgumentError
        Raised if the depth is negative.
    LimitExceededError
        Raised if it is more than `DEEPEST`.
    """
    if depth < 0:
        raise InvalidArgumentError("A lineage cannot have a negative depth.")
    if depth > DEEPEST:
        raise LimitExceededError(f"A lineage is at most {DEEPEST} deep. Ask for the lineage of what it ends with.")
    numbers = await dataset_numbers(state, uuids)
    searches = {number: _Search({number: None}, front=[number]) for number in numbers.values()}
    for _ in range(depth):
        if not any(search.front for search in searches.values()):
            break
        await _go(state, list(searches.values()), "dataset_id", is_output=is_upstream)
        await _go(state, list(searches.values()), "quantum_id", is_output=not is_upstream)
    await _look_ahead(state, list(searches.values()), is_output=is_upstream)
    traces = await traces_by_id(state, [number for search in searches.values() for number in search.datasets])
    quanta = await quanta_by_id(state, [number for search in searches.values() for number in search.quanta])
    found = {
        number: Lineage(
            [traces[one] for one in search.datasets],
            [quanta[one] for one in search.quanta],
            [LineageEdge(traces[dataset].uuid, quantum, is_output) for dataset, quantum, is_output in search.edges],
            search.is_cut,
        )
        for number, search in searches.items()
    }
    return [found[numbers[uuid]] if uuid in numbers else Lineage([], [], [], truncated=False) for uuid in uuids]


async def _go(
    state: State, searches: Sequence[_Search], side: Literal["dataset_id", "quantum_id"], *, is_output: bool
) -> None:
    """Go from the front along all edges: from datasets to units of work, or from these to datasets."""
    fronts = [(place, number) for place, search in enumerate(searches) for number in search.front]
    given = state.dialect.rows("given", {"place": sa.BigInteger(), "id": sa.BigInteger()}, fronts)

    def rows(edge: sa.FromClause) -> sa.Select[Any]:
        # A calibration is read by millions.
        conditions = (edge.c[side] == given.c.id, edge.c.is_output == is_output)
        return sa.select().where(*conditions).order_by(edge.c.quantum_id, edge.c.dataset_id).limit(LARGEST + 1)

    joined, edge, conditions = state.dialect.top_rows(given, EDGE, rows)
    key = [edge.c.quantum_id, edge.c.dataset_id]
    rank = sa.func.row_number().over(partition_by=given.c.place, order_by=key).label("rank")
    ranked = sa.select(given.c.place, *key, rank).select_from(joined).where(*conditions).subquery()
    statement = (
        sa.select(ranked.c.place, ranked.c.dataset_id, ranked.c.quantum_id)
        .where(ranked.c.rank <= LARGEST + 1)
        .order_by(ranked.c.place, ranked.c.rank)
    )

    async def find(connection: AsyncConnection) -> list[tuple[int, int, int]]:
        return [(place, dataset, quantum) for place, dataset, quantum in await connection.execute(statement)]

    found: list[tuple[int, int, int]] = await state.read(find, absent=[])
    for search in searches:
        search.front = []
    for place, dataset, quantum in found:
        search = searches[place]
        new = (dataset, quantum, is_output)
        if new in search.edges:
            continue
        if len(search.edges) == LARGEST:
            search.is_cut = True
            continue
        search.edges[new] = None
        known, number = (search.quanta, quantum) if side == "dataset_id" else (search.datasets, dataset)
        if number not in known:
            known[number] = None
            search.front.append(number)


async def _look_ahead(state: State, searches: Sequence[_Search], *, is_output: bool) -> None:
    """Find out which searches would go on."""
    fronts = [(place, number) for place, search in enumerate(searches) for number in search.front]
    given = state.dialect.rows("given", {"place": sa.BigInteger(), "id": sa.BigInteger()}, fronts)
    more = sa.exists().where(EDGE.c.dataset_id == given.c.id, EDGE.c.is_output == is_output)
    statement = sa.select(given.c.place).where(more).distinct()

    async def find(connection: AsyncConnection) -> list[int]:
        return list(await connection.scalars(statement))

    ahead: list[int] = await state.read(find, absent=[])
    for place in ahead:
        searches[place].is_cut = True
