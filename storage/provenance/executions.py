"""Attempts at units of work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.provenance.filters import QuantumFilter, execution_conditions
from butlerql.storage.provenance.pages_of_runs import count_in_runs, pages_in_runs
from butlerql.storage.provenance.pipeline_executions import graph_of
from butlerql.storage.provenance.records import Caveats, QuantumStatus
from butlerql.storage.provenance.tables import EXCEPTION, EXECUTION, HOST, PIPELINE_EXECUTION, RUN, TASK
from butlerql.storage.registry.field_orders import field_order
from butlerql.storage.registry.pages import Page, PageRequest, bounds, columns_of, cut, ordered
from butlerql.storage.state.database import State

__all__ = [
    "Execution",
    "count_executions",
    "count_executions_of_runs",
    "executions_by_id",
    "executions_of",
    "executions_of_runs",
    "find_executions",
]


class Execution(NamedTuple):
    """One attempt at a unit of work."""

    id: int
    quantum_id: int
    attempt: int
    status: QuantumStatus
    host: str | None
    pipeline_execution_uuid: str | None
    started_at: int | None
    """Microseconds since 1970."""

    ended_at: int | None
    run_time: float | None
    """Seconds."""

    cpu_time: float | None
    """Seconds."""

    max_rss: int | None
    """Bytes."""

    exception: str | None
    message: str | None
    caveats: list[str]
    process_index: int | None
    log_uuid: str | None
    metadata_uuid: str | None


_C = EXECUTION.c
_TABLES = EXECUTION.outerjoin(HOST, HOST.c.id == _C.host_id).outerjoin(EXCEPTION, EXCEPTION.c.id == _C.exception_id)
# Not joined: of a page in some order, it is only looked for where it is shown.
_GRAPH = sa.select(PIPELINE_EXECUTION.c.uuid).where(PIPELINE_EXECUTION.c.id == graph_of()).correlate(EXECUTION)
_SELECT = sa.select(
    _C.id,
    _C.quantum_id,
    _C.attempt,
    _C.status,
    HOST.c.name.label("host"),
    _GRAPH.scalar_subquery().label("pipeline_execution"),
    _C.started_at,
    _C.ended_at,
    _C.run_time,
    _C.cpu_time,
    _C.max_rss,
    EXCEPTION.c.name.label("exception"),
    _C.message,
    _C.caveats,
    _C.process_index,
    _C.log,
    _C.metadata,
)
_FIELDS: Mapping[str, Sequence[sa.ColumnElement[Any]]] = {
    "run": [RUN.c.name],
    "task": [TASK.c.name],
    "status": [_C.status],
    "attempt": [_C.attempt],
    "host": [HOST.c.name],
    "startedAt": [_C.started_at],
    "endedAt": [_C.ended_at],
    "runTime": [_C.run_time],
    "cpuTime": [_C.cpu_time],
    "maxRss": [_C.max_rss],
    "exception": [EXCEPTION.c.name],
}


def _execution_of(row: Sequence[Any]) -> Execution:
    values = dict(zip(Execution._fields, row[: len(Execution._fields)], strict=True))
    caveats = values["caveats"] or 0
    values["status"] = QuantumStatus(values["status"])
    values["caveats"] = [flag.name for flag in Caveats if flag & caveats]
    return Execution(**values)


async def find_executions(
    state: State, chosen: QuantumFilter, request: PageRequest, order_by: Sequence[str] | None = None
) -> Page[Execution]:
    """Look at a page of attempts, as they became known if no other order is asked for.

    Parameters
    ----------
    order_by
        ``run``, ``task``, ``status``, ``attempt``, ``host``, ``startedAt``, ``endedAt``, ``runTime``, ``cpuTime``,
        ``maxRss``, ``exception``, each with or without a minus in front.

    Raises
    ------
    InvalidExpressionError
        Raised if nothing can be ordered by what was asked for.
    """
    order = field_order(order_by or (), _FIELDS, [_C.id])
    tables = _TABLES.join(RUN, RUN.c.id == _C.run_id).join(TASK, TASK.c.id == _C.task_id)
    statement = (
        _SELECT.select_from(tables)
        .add_columns(*columns_of(order))
        .where(*execution_conditions(state.dialect, chosen), *bounds(order, request))
        .order_by(*ordered(order, request))
        .limit(request.limit + 1)
    )

    async def find(connection: AsyncConnection) -> list[tuple[tuple[Any, ...], Execution]]:
        return [(tuple(row[-len(order) :]), _execution_of(row)) for row in await connection.execute(statement)]

    found: list[tuple[tuple[Any, ...], Execution]] = await state.read(find, absent=[])
    return cut(found, request)


async def count_executions(state: State, chosen: QuantumFilter) -> int:
    """Count what `find_executions` goes through."""
    statement = sa.select(sa.func.count()).select_from(EXECUTION).where(*execution_conditions(state.dialect, chosen))

    async def count(connection: AsyncConnection) -> int:
        return int((await connection.execute(statement)).scalar_one())

    return await state.read(count, absent=0)


async def executions_of_runs(
    state: State, runs: Sequence[str], chosen: QuantumFilter, request: PageRequest
) -> list[Page[Execution]]:
    """Look at a page of the attempts in each run, see `pages_in_runs`."""
    conditions = partial(execution_conditions, state.dialect, chosen)
    return await pages_in_runs(state, EXECUTION, runs, conditions, request, executions_by_id)


async def count_executions_of_runs(state: State, runs: Sequence[str], chosen: QuantumFilter) -> list[int]:
    """Count what `executions_of_runs` goes through."""
    return await count_in_runs(state, EXECUTION, runs, partial(execution_conditions, state.dialect, chosen))


async def executions_of(state: State, quanta: Sequence[int]) -> list[list[Execution]]:
    """List the attempts at units of work, the first attempt first, by the number of each unit."""
    given = state.dialect.rows("given", {"id": sa.BigInteger()}, [(number,) for number in set(quanta)])
    statement = (
        _SELECT.select_from(_TABLES).where(_C.quantum_id.in_(sa.select(given.c.id))).order_by(_C.quantum_id, _C.attempt)
    )

    async def find(connection: AsyncConnection) -> dict[int, list[Execution]]:
        found: dict[int, list[Execution]] = {}
        for row in await connection.execute(statement):
            found.setdefault(row.quantum_id, []).append(_execution_of(row))
        return found

    by_quantum: dict[int, list[Execution]] = await state.read(find, absent={})
    return [by_quantum.get(number, []) for number in quanta]


async def executions_by_id(state: State, numbers: Sequence[int]) -> dict[int, Execution]:
    """Find attempts by their numbers; those that are not there are left out."""
    given = state.dialect.rows("given", {"id": sa.BigInteger()}, [(number,) for number in set(numbers)])
    statement = _SELECT.select_from(_TABLES).where(_C.id.in_(sa.select(given.c.id)))

    async def find(connection: AsyncConnection) -> dict[int, Execution]:
        return {row.id: _execution_of(row) for row in await connection.execute(statement)}

    return await state.read(find, absent={})
