"""Units of work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.provenance.filters import QuantumFilter, quantum_conditions
from butlerql.storage.provenance.pages_of_runs import count_in_runs, pages_in_runs
from butlerql.storage.provenance.records import QuantumStatus
from butlerql.storage.provenance.tables import QUANTUM, RUN, TASK
from butlerql.storage.registry.field_orders import field_order
from butlerql.storage.registry.pages import Page, PageRequest, bounds, columns_of, cut, ordered
from butlerql.storage.state.database import State

__all__ = [
    "SELECT_QUANTA",
    "Quantum",
    "count_quanta",
    "count_quanta_of_runs",
    "find_quanta",
    "quanta_by_id",
    "quanta_of_runs",
    "quantum_of",
]


class Quantum(NamedTuple):
    """A unit of work: a task applied to a data ID in a run."""

    id: int
    uuid: str | None
    """In the latest graph that it is in."""

    task_label: str
    data_id_values: dict[str, int | str]
    """The required dimensions."""

    run_name: str
    status: QuantumStatus
    attempts: int


SELECT_QUANTA = (
    sa.select(
        QUANTUM.c.id,
        QUANTUM.c.uuid,
        TASK.c.name.label("task"),
        QUANTUM.c.data_id,
        RUN.c.name.label("run"),
        QUANTUM.c.status,
        QUANTUM.c.attempts,
    )
    .join_from(QUANTUM, TASK, TASK.c.id == QUANTUM.c.task_id)
    .join(RUN, RUN.c.id == QUANTUM.c.run_id)
)
"""What a `Quantum` is made of, see `quantum_of`."""

_FIELDS: Mapping[str, Sequence[sa.ColumnElement[Any]]] = {
    "run": [RUN.c.name],
    "task": [TASK.c.name],
    "status": [QUANTUM.c.status],
    "attempts": [QUANTUM.c.attempts],
}


def quantum_of(row: Sequence[Any]) -> Quantum:
    """Make one of the first columns of a row."""
    number, uuid, task, data_id, run, status, attempts = row[: len(Quantum._fields)]
    return Quantum(number, uuid, task, orjson.loads(data_id), run, QuantumStatus(status), attempts)


async def find_quanta(
    state: State, chosen: QuantumFilter, request: PageRequest, order_by: Sequence[str] | None = None
) -> Page[Quantum]:
    """Look at a page of units of work, as they became known if no other order is asked for.

    Parameters
    ----------
    order_by
        ``run``, ``task``, ``status``, ``attempts``, each with or without a minus in front.

    Raises
    ------
    InvalidExpressionError
        Raised if nothing can be ordered by what was asked for.
    """
    order = field_order(order_by or (), _FIELDS, [QUANTUM.c.id])
    statement = (
        SELECT_QUANTA.add_columns(*columns_of(order))
        .where(*quantum_conditions(state.dialect, chosen), *bounds(order, request))
        .order_by(*ordered(order, request))
        .limit(request.limit + 1)
    )

    async def find(connection: AsyncConnection) -> list[tuple[tuple[Any, ...], Quantum]]:
        return [(tuple(row[-len(order) :]), quantum_of(row)) for row in await connection.execute(statement)]

    found: list[tuple[tuple[Any, ...], Quantum]] = await state.read(find, absent=[])
    return cut(found, request)


async def count_quanta(state: State, chosen: QuantumFilter) -> int:
    """Count what `find_quanta` goes through."""
    statement = sa.select(sa.func.count()).select_from(QUANTUM).where(*quantum_conditions(state.dialect, chosen))

    async def count(connection: AsyncConnection) -> int:
        return int((await connection.execute(statement)).scalar_one())

    return await state.read(count, absent=0)


async def quanta_of_runs(
    state: State, runs: Sequence[str], chosen: QuantumFilter, request: PageRequest
) -> list[Page[Quantum]]:
    """Look at a page of the units of work of each run, see `pages_in_runs`."""
    conditions = partial(quantum_conditions, state.dialect, chosen)
    return await pages_in_runs(state, QUANTUM, runs, conditions, request, quanta_by_id)


async def count_quanta_of_runs(state: State, runs: Sequence[str], chosen: QuantumFilter) -> list[int]:
    """Count what `quanta_of_runs` goes through."""
    return await count_in_runs(state, QUANTUM, runs, partial(quantum_conditions, state.dialect, chosen))


async def quanta_by_id(state: State, numbers: Sequence[int]) -> dict[int, Quantum]:
    """Find units of work by their numbers; those that are not there are left out."""
    given = state.dialect.rows("given", {"id": sa.BigInteger()}, [(number,) for number in set(numbers)])
    statement = SELECT_QUANTA.where(QUANTUM.c.id.in_(sa.select(given.c.id)))

    async def find(connection: AsyncConnection) -> dict[int, Quantum]:
        return {row.id: quantum_of(row) for row in await connection.execute(statement)}

    return await state.read(find, absent={})
