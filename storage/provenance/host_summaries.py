"""How each machine fared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.dialect import Dialect
from butlerql.storage.provenance.distributions import Distribution, Measure, distributions
from butlerql.storage.provenance.filters import QuantumFilter, execution_conditions, run_conditions
from butlerql.storage.provenance.records import QuantumStatus
from butlerql.storage.provenance.tables import EXECUTION, HOST, HOST_SUMMARY, RUN
from butlerql.storage.provenance.task_summaries import FAILURES
from butlerql.storage.provenance.writing import add_rows
from butlerql.storage.state.database import State

__all__ = ["HostSummary", "find_host_summaries", "measured_hosts", "sum_up_hosts"]

UNKNOWN = 0
"""In place of the number of a host: it is not known."""


@dataclass(frozen=True, slots=True)
class HostSummary:
    """Counts of attempts on a host."""

    host_id: int
    host: str | None
    """None for all whose host is not known."""

    executions: int
    successful: int
    failed: int
    recovered_elsewhere: int
    quanta: int
    tasks: int
    first_seen: int | None
    """Microseconds since 1970, as all moments."""

    last_seen: int | None
    last_success: int | None
    chosen: QuantumFilter
    """What was summed up."""

    @property
    def failure_rate(self) -> float:
        """Share of the attempts that failed."""
        return self.failed / self.executions

    @property
    def all_failed(self) -> bool:
        """Whether no attempt did anything but fail."""
        return self.failed == self.executions


_C = EXECUTION.c
_HOST = sa.func.coalesce(_C.host_id, UNKNOWN)
_SEEN = sa.func.coalesce(_C.ended_at, _C.started_at)
_SUCCEEDED = _C.status == int(QuantumStatus.SUCCESSFUL)
_FAILED = _C.status.in_(FAILURES)


def _counts() -> list[sa.ColumnElement[Any]]:
    """Columns of what is counted of the attempts on a host."""
    other = EXECUTION.alias()
    elsewhere = sa.exists().where(
        other.c.quantum_id == _C.quantum_id,
        other.c.status == int(QuantumStatus.SUCCESSFUL),
        other.c.host_id != _C.host_id,
    )
    return [
        sa.func.count().label("executions"),
        sa.func.sum(sa.case((_SUCCEEDED, 1), else_=0)).label("successful"),
        sa.func.sum(sa.case((_FAILED, 1), else_=0)).label("failed"),
        sa.func.sum(sa.case((sa.and_(_FAILED, elsewhere), 1), else_=0)).label("recovered_elsewhere"),
        sa.func.count(_C.quantum_id.distinct()).label("quanta"),
        sa.func.min(_C.started_at).label("first_seen"),
        sa.func.max(_SEEN).label("last_seen"),
        sa.func.max(sa.case((_SUCCEEDED, _SEEN))).label("last_success"),
    ]


async def find_host_summaries(state: State, chosen: QuantumFilter, least: int = 1) -> list[HostSummary]:
    """Sum up, one row a host, the highest share of failures first, and of the same the most attempts.

    Where whole runs are asked for, what is summed up already is read.

    Parameters
    ----------
    least
        Only hosts with so many attempts.
    """
    dialect = state.dialect

    async def find(connection: AsyncConnection) -> list[HostSummary]:
        if chosen.is_of_whole_runs and not await _is_left(connection, dialect, chosen):
            return _in_order(await _read(connection, dialect, chosen), least)
        tasks = sa.func.count(_C.task_id.distinct()).label("tasks")
        counted = (
            sa.select(_HOST.label("host_id"), *_counts(), tasks)
            .where(*execution_conditions(dialect, chosen))
            .group_by(_HOST)
            .having(sa.func.count() >= least)
            .subquery()
        )
        statement = sa.select(counted, HOST.c.name.label("host")).outerjoin_from(
            counted, HOST, HOST.c.id == counted.c.host_id
        )
        rows = await connection.execute(statement)
        return _in_order([HostSummary(**row._mapping, chosen=chosen) for row in rows], least)  # noqa: SLF001 - as named

    return await state.read(find, absent=[])


async def measured_hosts(state: State, summaries: Sequence[HostSummary], measure: Measure) -> list[Distribution | None]:
    """Give the distribution of what is measured of the attempts of each summary; None where nothing is."""
    together: dict[int, QuantumFilter] = {id(summary.chosen): summary.chosen for summary in summaries}

    async def find(connection: AsyncConnection) -> dict[int, dict[Any, Distribution]]:
        return {
            key: await distributions(connection, measure, [_HOST], execution_conditions(state.dialect, chosen))
            for key, chosen in together.items()
        }

    found: dict[int, dict[Any, Distribution]] = await state.read(find, absent={})
    return [found.get(id(summary.chosen), {}).get((summary.host_id,)) for summary in summaries]


async def sum_up_hosts(connection: AsyncConnection, dialect: Dialect, run: int) -> None:
    """Sum up the hosts of a run; nobody takes anything in meanwhile."""
    await connection.execute(sa.delete(HOST_SUMMARY).where(HOST_SUMMARY.c.run_id == run))
    conditions = [_C.run_id == run]
    counted = await connection.execute(sa.select(_HOST.label("host_id"), *_counts()).where(*conditions).group_by(_HOST))
    tasks: dict[int, list[int]] = {}
    for host, task in await connection.execute(sa.select(_HOST, _C.task_id).where(*conditions).distinct()):
        tasks.setdefault(host, []).append(task)
    rows = [{"run_id": run, "tasks": sorted(tasks[row.host_id]), **row._mapping} for row in counted]  # noqa: SLF001
    columns = HOST_SUMMARY.c.keys()
    values = [[row[name] if name != "tasks" else orjson.dumps(row[name]).decode() for name in columns] for row in rows]
    await add_rows(connection, dialect, HOST_SUMMARY, values)
    await connection.execute(sa.update(RUN).where(RUN.c.id == run).values(hosts_summed=True))


async def _is_left(connection: AsyncConnection, dialect: Dialect, chosen: QuantumFilter) -> bool:
    """Tell whether there is more of the runs than was summed up."""
    left = sa.select(RUN.c.id).where(sa.not_(RUN.c.hosts_summed), *run_conditions(dialect, chosen, RUN.c.id))
    return await connection.scalar(left.limit(1)) is not None


async def _read(connection: AsyncConnection, dialect: Dialect, chosen: QuantumFilter) -> list[HostSummary]:
    """Add up what is summed up of the runs. A unit of work is of one run alone, and so is counted once."""
    c = HOST_SUMMARY.c
    conditions = run_conditions(dialect, chosen, c.run_id)
    summed = ("executions", "successful", "failed", "recovered_elsewhere", "quanta")
    added = (
        sa.select(
            c.host_id,
            *(sa.cast(sa.func.sum(c[name]), sa.BigInteger).label(name) for name in summed),
            sa.func.min(c.first_seen).label("first_seen"),
            sa.func.max(c.last_seen).label("last_seen"),
            sa.func.max(c.last_success).label("last_success"),
        )
        .where(*conditions)
        .group_by(c.host_id)
        .subquery()
    )
    tasks: dict[int, set[int]] = {}
    for host, text in await connection.execute(sa.select(c.host_id, c.tasks).where(*conditions).distinct()):
        tasks.setdefault(host, set()).update(orjson.loads(text))
    statement = sa.select(added, HOST.c.name.label("host")).outerjoin_from(added, HOST, HOST.c.id == added.c.host_id)
    return [
        HostSummary(**row._mapping, tasks=len(tasks[row.host_id]), chosen=chosen)  # noqa: SLF001 - as named
        for row in await connection.execute(statement)
    ]


def _in_order(summaries: Sequence[HostSummary], least: int) -> list[HostSummary]:
    kept = [summary for summary in summaries if summary.executions >= least]
    return sorted(kept, key=lambda one: (-one.failure_rate, -one.executions, one.host_id))
