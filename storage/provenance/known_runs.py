"""What there is recorded of the work that was to write into runs, in short."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.provenance.looking import one_of
from butlerql.storage.provenance.tables import DATASET, EDGE, EXECUTION, QUANTUM, RUN, TASK_SUMMARY
from butlerql.storage.state.database import State

__all__ = ["KnownRun", "is_trace", "known_runs"]

_TRACES = (EXECUTION.c.log, EXECUTION.c.metadata)


class KnownRun(NamedTuple):
    """A run of which some work is recorded."""

    id: int
    tells_outputs: bool
    """Whether the work says anywhere what it wrote beside logs and metadata; old metadata, and logs, do not."""

    keeps_log: frozenset[int]
    """Numbers of tasks of which some log in this run is recorded. A task may be configured to keep none."""

    keeps_metadata: frozenset[int]
    """Likewise of metadata."""


def is_trace(quantum: sa.ColumnElement[int], rows: sa.FromClause) -> sa.ColumnElement[bool]:
    """Condition that `DATASET` is the log, or the metadata, of an attempt at a unit of work.

    Parameters
    ----------
    quantum
        Number of the unit of work.
    rows
        Where the number is.
    """
    attempt = EXECUTION.alias()
    same = (attempt.c[column.name] == DATASET.c.uuid for column in _TRACES)
    own = sa.select(attempt.c.id).where(attempt.c.quantum_id == quantum, sa.or_(*same))
    return own.correlate(rows, DATASET).exists()


async def known_runs(state: State, names: Sequence[str]) -> dict[str, KnownRun]:
    """Find runs of which some work is recorded, by name."""
    given = state.dialect.rows("given", {"name": sa.Text()}, [(name,) for name in set(names)])
    named = RUN.c.name.in_(sa.select(given.c.name))
    work, output = QUANTUM.alias(), EDGE.alias()
    written = (
        sa.select(output.c.dataset_id)
        .join_from(work, output, sa.and_(output.c.quantum_id == work.c.id, output.c.is_output))
        .join(DATASET, DATASET.c.id == output.c.dataset_id)
        .where(work.c.run_id == RUN.c.id, ~is_trace(work.c.id, work))
    )
    runs = sa.select(RUN.c.name, RUN.c.id, one_of(written, RUN).is_not(None)).where(
        named, sa.exists().where(QUANTUM.c.run_id == RUN.c.id)
    )
    s, e = TASK_SUMMARY.c, EXECUTION.c
    keeps = (sa.exists().where(e.run_id == s.run_id, e.task_id == s.task_id, one.is_not(None)) for one in _TRACES)
    tasks = sa.select(s.run_id, s.task_id, *keeps).where(s.run_id.in_(sa.select(RUN.c.id).where(named)))

    async def find(connection: AsyncConnection) -> dict[str, KnownRun]:
        log: dict[int, set[int]] = {}
        metadata: dict[int, set[int]] = {}
        for run, task, keeps_log, keeps_metadata in await connection.execute(tasks):
            log.setdefault(run, set()).update([task] if keeps_log else [])
            metadata.setdefault(run, set()).update([task] if keeps_metadata else [])
        return {
            name: KnownRun(number, tells, frozenset(log.get(number, ())), frozenset(metadata.get(number, ())))
            for name, number, tells in await connection.execute(runs)
        }

    return await state.read(find, absent={})
