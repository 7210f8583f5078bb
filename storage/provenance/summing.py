"""What is summed up once, so that not everybody who asks has to go through all attempts."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.errors import BusyError, StateError
from butlerql.storage.provenance.blocking import mark_blocked
from butlerql.storage.provenance.host_summaries import sum_up_hosts
from butlerql.storage.provenance.tables import RUN
from butlerql.storage.provenance.task_summaries import sum_up_tasks
from butlerql.storage.provenance.writing import alone
from butlerql.storage.state.database import State

__all__ = ["SummingLater", "sum_up"]

_PAUSE_SECONDS = 5.0
_SHARE = 20
"""Of the time, at most this part is spent on it."""

_log = logging.getLogger(__name__)


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


class SummingLater:
    """Sums up soon after something came, once for all that comes meanwhile.

    What is left when a process ends is summed up with what comes next.

    Parameters
    ----------
    state
        What is summed up.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._asked = False
        self._task: asyncio.Task[None] | None = None

    def ask(self) -> None:
        """Have it done: something came."""
        self._asked = True
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._sum_up())

    async def close(self) -> None:
        """Leave it as it is."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _sum_up(self) -> None:
        pause = _PAUSE_SECONDS
        while self._asked:
            await asyncio.sleep(pause)
            self._asked = False
            begun = monotonic()
            try:
                await sum_up(self._state)
            except (BusyError, StateError) as error:
                _log.warning("What came cannot be summed up for now: %s", error)
                self._asked = True
            pause = max(_PAUSE_SECONDS, _SHARE * (monotonic() - begun))
