"""Executions of pipelines, or of parts of one: several may have written into one run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.dialect import UuidText
from butlerql.storage.provenance.tables import EXECUTION, PIPELINE_EXECUTION, RUN
from butlerql.storage.state.database import State

__all__ = ["PipelineExecution", "pipeline_executions_by_uuid", "pipeline_executions_of_runs", "times_of"]


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
    numbers = dialect.rows("numbers", {"id": sa.BigInteger()}, [(one.id,) for one in set(chosen)])
    statement = (
        sa.select(
            c.pipeline_execution_id,
            sa.func.min(c.started_at),
            sa.func.max(sa.func.coalesce(c.ended_at, c.started_at)),
        )
        .where(c.run_id.in_(sa.select(runs.c.id)), c.pipeline_execution_id.in_(sa.select(numbers.c.id)))
        .group_by(c.pipeline_execution_id)
    )

    async def find(connection: AsyncConnection) -> dict[int, tuple[int | None, int | None]]:
        return {number: (start, end) for number, start, end in await connection.execute(statement)}

    found: dict[int, tuple[int | None, int | None]] = await state.read(find, absent={})
    return [found.get(one.id, (None, None)) for one in chosen]
