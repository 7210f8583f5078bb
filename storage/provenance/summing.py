"""What is summed up once, so that not everybody who asks has to go through all attempts."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.provenance.blocking import mark_blocked
from butlerql.storage.provenance.host_summaries import sum_up_hosts
from butlerql.storage.provenance.tables import RUN
from butlerql.storage.provenance.task_summaries import sum_up_tasks
from butlerql.storage.provenance.writing import alone
from butlerql.storage.state.database import State

__all__ = ["sum_up"]


async def sum_up(state: State) -> None:
    """Sum up the runs of which there is more than was summed up, each in a transaction of its own.

    It is found out first which of their work is blocked. But for that, questions give the same answers before and
    after; before, they take longer.
    """

    async def find(connection: AsyncConnection) -> list[int]:
        return list(await connection.scalars(sa.select(RUN.c.id).where(sa.not_(RUN.c.hosts_summed))))

    left: list[int] = await state.read(find, absent=[])
    for run in left:

        async def sum_up_run(connection: AsyncConnection, run: int = run) -> None:
            await alone(connection)
            await mark_blocked(connection, state.dialect, run)
            await sum_up_tasks(connection, state.dialect, run)
            await sum_up_hosts(connection, state.dialect, run)

        await state.write(sum_up_run)
