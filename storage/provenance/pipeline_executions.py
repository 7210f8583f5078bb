"""Executions of pipelines, or of parts of one: several may have written into one run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.dialect import UuidText
from butlerql.storage.provenance.looking import one_of
from butlerql.storage.provenance.tables import EXECUTION, PIPELINE_EXECUTION, PLAN, RUN
from butlerql.storage.state.database import State

__all__ = ["PipelineExecution", "graph_of", "pipeline_executions_by_uuid", "pipeline_executions_of_runs", "times_of"]


class PipelineExecution(NamedTuple):
    """A quantum graph that was executed, or is to be, into one run."""

    id: int
    run_id: int
    uuid: str
    run_name: str
    pipeline: str | None
    user: str | None
    command: str | None


_C = PIPELINE_EXECUTION.c
_SELECT = sa.select(_C.id, _C.run_id, _C.uuid, RUN.c.name.label("run"), _C.pipeline, _C.made_by, _C.command).join_from(
    PIPELINE_EXECUTION, RUN, RUN.c.id == _C.run_id
)


def graph_of(table: sa.FromClause = EXECUTION) -> sa.ColumnElement[int]:
    """Number of the graph that an attempt was made for, of `EXECUTION` or its alias; NULL if no graph planned its work.

    A full Butler does not tell. It was the latest of the graphs that planned the work and were there when the attempt
    began; where times do not tell, it is taken to be the first of them.
    """
    graph = PLAN.c.pipeline_execution_id
    created_at = one_of(sa.select(_C.created_at).where(_C.id == graph), PLAN)
    # The offset keeps the databases from looking a moment up again wherever it is named.
    planned = (
        sa.select(graph.label("id"), created_at.label("created_at"))
        .where(PLAN.c.quantum_id == table.c.quantum_id)
        .offset(0)
        .correlate(table)
        .subquery()
    )
    before = sa.case((planned.c.created_at <= table.c.started_at, planned.c.created_at)).label("before")
    # A subquery, since SQLite puts nothing in order by what is outside of the selection.
    timed = sa.select(planned, before).correlate(table).subquery()
    order = (timed.c.before.desc().nulls_last(), timed.c.created_at.nulls_first(), timed.c.id)
    likely = sa.select(timed.c.id).order_by(*order).limit(1).correlate(table).scalar_subquery()
    return sa.func.coalesce(table.c.pipeline_execution_id, likely)


async def pipeline_executions_by_uuid(state: State, uuids: Sequence[str]) -> dict[str, PipelineExecution]:
    """Find pipeline executions by the UUIDs of their graphs; those that are not known are left out."""
    given = state.dialect.rows("given", {"uuid": UuidText()}, [(uuid,) for uuid in set(uuids)])
    statement = _SELECT.where(_C.uuid.in_(sa.select(given.c.uuid)))

    async def find(connection: AsyncConnection) -> dict[str, PipelineExecution]:
        return {row.uuid: PipelineExecution(*row) for row in await connection.execute(statement)}

    return await state.read(find, absent={})


async def pipeline_executions_of_runs(state: State, runs: Sequence[str]) -> list[list[PipelineExecution]]:
    """List the pipeline executions that wrote into runs, as they were made."""
    given = state.dialect.rows("given", {"name": sa.Text()}, [(run,) for run in set(runs)])
    statement = _SELECT.where(RUN.c.name.in_(sa.select(given.c.name))).order_by(_C.created_at.nulls_last(), _C.id)

    async def find(connection: AsyncConnection) -> dict[str, list[PipelineExecution]]:
        found: dict[str, list[PipelineExecution]] = {}
        for row in await connection.execute(statement):
            found.setdefault(row.run, []).append(PipelineExecution(*row))
        return found

    by_run: dict[str, list[PipelineExecution]] = await state.read(find, absent={})
    return [by_run.get(run, []) for run in runs]


async def times_of(state: State, chosen: Sequence[PipelineExecution]) -> list[tuple[int | None, int | None]]:
    """Give the first start and the last end of attempts of each, in microseconds since 1970; None if none is known."""
    dialect, c = state.dialect, EXECUTION.c
    # By the run: attempts have no index by their pipeline execution.
    runs = dialect.rows("runs", {"id": sa.BigInteger()}, [(run,) for run in {one.run_id for one in chosen}])
    graph = graph_of().label("graph")
    statement = (
        sa.select(graph, sa.func.min(c.started_at), sa.func.max(sa.func.coalesce(c.ended_at, c.started_at)))
        .where(c.run_id.in_(sa.select(runs.c.id)))
        .group_by(graph)
    )

    async def find(connection: AsyncConnection) -> dict[int, tuple[int | None, int | None]]:
        return {number: (start, end) for number, start, end in await connection.execute(statement)}

    found: dict[int, tuple[int | None, int | None]] = await state.read(find, absent={})
    return [found.get(one.id, (None, None)) for one in chosen]
