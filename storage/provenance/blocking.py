"""Work that was planned and could not run, since what it needs failed: no plan says so itself, but it follows from it.

As ``lsst.pipe.base`` has it (``QuantumInfoStatus.BLOCKED``), a unit of work that never ran is blocked if any one that
writes what it was to read failed, or is blocked itself. What is behind work of which nobody knows how it ended stays
unknown.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.dialect import Dialect
from butlerql.storage.provenance.records import QuantumStatus
from butlerql.storage.provenance.tables import EDGE, QUANTUM, TASK_SUMMARY
from butlerql.storage.provenance.task_summaries import FAILURES

__all__ = ["mark_blocked"]

_ALL = 2**31 - 1
"""More than there is behind a unit of work."""


async def mark_blocked(connection: AsyncConnection, dialect: Dialect, run: int) -> None:
    """Find out anew which work of a run is blocked; what was summed up of it otherwise is taken back.

    It costs what failed and what is behind it, and a look at each unit of work of the run in an index.
    """
    c = QUANTUM.c
    behind = _behind(dialect, run)
    status = sa.case((c.id.in_(sa.select(behind.c.id)), int(QuantumStatus.BLOCKED)), else_=int(QuantumStatus.UNKNOWN))
    changed = (
        sa.update(QUANTUM)
        # What a graph says itself stays.
        .where(c.run_id == run, c.attempts == 0, sa.not_(c.is_blocked), c.status != status)
        .values(status=status)
        .returning(c.task_id)
    )
    tasks = set(await connection.scalars(changed))
    if tasks:
        s = TASK_SUMMARY.c
        stale = sa.update(TASK_SUMMARY).where(s.run_id == run, s.task_id.in_(sorted(tasks)))
        await connection.execute(stale.values(content=None))


def _behind(dialect: Dialect, run: int) -> sa.CTE:
    """Select what failed or is said to be blocked, and all that never ran and is behind it."""
    c = QUANTUM.c
    ended = sa.or_(c.status.in_(FAILURES), sa.and_(c.is_blocked, c.attempts == 0))
    behind = sa.select(c.id).where(c.run_id == run, ended).cte("behind", recursive=True)

    def users(quantum: sa.FromClause) -> sa.Select[Any]:
        written, read = EDGE.alias(), EDGE.alias()
        conditions = (
            written.c.quantum_id == behind.c.id,
            written.c.is_output,
            read.c.dataset_id == written.c.dataset_id,
            sa.not_(read.c.is_output),
            quantum.c.id == read.c.quantum_id,
        )
        return sa.select().where(*conditions).limit(_ALL)

    joined, quantum, conditions = dialect.top_rows(behind, QUANTUM, users)
    # The sums keep SQLite from going through the whole run each time, by an index or by one that it makes.
    never_ran = (quantum.c.run_id + 0 == run, quantum.c.attempts + 0 == 0)
    return behind.union(sa.select(quantum.c.id).select_from(joined).where(*conditions, *never_ran))
