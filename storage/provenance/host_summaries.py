"""How each machine fared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.dialect import Dialect
from butlerql.storage.errors import InvalidArgumentError
from butlerql.storage.provenance.distributions import Distribution, Measure, distributions
from butlerql.storage.provenance.filters import QuantumFilter, execution_conditions, run_conditions
from butlerql.storage.provenance.records import QuantumStatus
from butlerql.storage.provenance.tables import EXECUTION, HOST, HOST_SUMMARY, RUN
from butlerql.storage.provenance.task_summaries import FAILURES
from butlerql.storage.state.bulk import add_rows
from butlerql.storage.state.database import State

__all__ = ["HostSummary", "find_host_summaries", "host_summaries_of_runs", "measured_hosts", "sum_up_hosts"]

UNKNOWN = 0
"""In place of the number of a host: it is not known."""


@dataclass(frozen=True, slots=True)
class HostSummary:
    """Counts of attempts on a host."""

    host_id: int
    run_id: int | None
    """Only those in this run; None for all that were chosen."""

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
_ADDED = ("executions", "successful", "failed", "recovered_elsewhere", "quanta")
_ENDS: dict[str, Callable[..., sa.ColumnElement[Any]]] = {
    "first_seen": sa.func.min,
    "last_seen": sa.func.max,
    "last_success": sa.func.max,
}


async def find_host_summaries(state: State, chosen: QuantumFilter, least: int = 1) -> list[HostSummary]:
    """Sum up, one row a host, the highest share of failures first, and of the same the most attempts.

    Where runs are asked for, all of them or those of a time, what is summed up already is read.

    Parameters
    ----------
    least
        Only hosts with so many attempts.

    Raises
    ------
    InvalidArgumentError
        Raised if that is less than 1.
    """
    if least < 1:
        raise InvalidArgumentError("minExecutions must be 1 or more.")

    async def find(connection: AsyncConnection) -> list[HostSummary]:
        return await _find(connection, state.dialect, chosen, by_run=False)

    summaries: list[HostSummary] = await state.read(find, absent=[])
    return _in_order([summary for summary in summaries if summary.executions >= least])


async def host_summaries_of_runs(state: State, runs: Sequence[str]) -> list[list[HostSummary]]:
    """Sum up the hosts of each run by itself, in the order of `find_host_summaries`."""
    named = state.dialect.rows("named", {"name": sa.Text()}, [(run,) for run in set(runs)])
    numbers = sa.select(RUN.c.name, RUN.c.id).where(RUN.c.name.in_(sa.select(named.c.name)))

    async def find(connection: AsyncConnection) -> dict[str, list[HostSummary]]:
        found: dict[int | None, list[HostSummary]] = {}
        for summary in await _find(connection, state.dialect, QuantumFilter(only_runs=runs), by_run=True):
            found.setdefault(summary.run_id, []).append(summary)
        return {name: _in_order(found.get(number, ())) for name, number in await connection.execute(numbers)}

    by_run: dict[str, list[HostSummary]] = await state.read(find, absent={})
    return [by_run.get(run, []) for run in runs]


async def measured_hosts(state: State, summaries: Sequence[HostSummary], measure: Measure) -> list[Distribution | None]:
    """Give the distribution of what is measured of the attempts of each summary; None where nothing is."""
    together = {id(summary.chosen): summary for summary in summaries}

    async def find(connection: AsyncConnection) -> dict[int, dict[Any, Distribution]]:
        found: dict[int, dict[Any, Distribution]] = {}
        for number, one in together.items():
            conditions = execution_conditions(state.dialect, one.chosen)
            [found[number]] = await distributions(connection, [measure], _by(by_run=one.run_id is not None), conditions)
        return found

    found: dict[int, dict[Any, Distribution]] = await state.read(find, absent={})
    keys = ((one.host_id,) if one.run_id is None else (one.host_id, one.run_id) for one in summaries)
    return [found.get(id(one.chosen), {}).get(key) for one, key in zip(summaries, keys, strict=True)]


async def sum_up_hosts(connection: AsyncConnection, dialect: Dialect, run: int) -> None:
    """Sum up the hosts of a run; nobody takes anything in meanwhile."""
    starts = (sa.func.count(_C.started_at), sa.func.max(_C.started_at))
    counted = _counted(dialect, [_C.run_id == run], by_run=False).add_columns(*starts)
    rows = list(await connection.execute(counted))
    await connection.execute(sa.delete(HOST_SUMMARY).where(HOST_SUMMARY.c.run_id == run))
    await add_rows(connection, dialect, HOST_SUMMARY, [row[:-2] for row in rows])
    first = last = None
    if rows and sum(row[-2] for row in rows) == sum(row.executions for row in rows):
        first, last = min(row.first_seen for row in rows), max(row[-1] for row in rows)
    done = sa.update(RUN).where(RUN.c.id == run).values(hosts_summed=True, first_start=first, last_start=last)
    await connection.execute(done)


def _by(*, by_run: bool = False) -> list[sa.ColumnElement[int]]:
    return [_HOST, _C.run_id] if by_run else [_HOST]


async def _find(
    connection: AsyncConnection, dialect: Dialect, chosen: QuantumFilter, *, by_run: bool
) -> list[HostSummary]:
    """Add up what is summed up of runs, and the attempts that are not."""
    conditions = execution_conditions(dialect, chosen)
    sources = [_counted(dialect, conditions, by_run=by_run)]
    if chosen.is_of_runs_and_times:
        of_runs = run_conditions(dialect, chosen, RUN.c.id)
        inside = sa.select(RUN.c.id).where(*of_runs, _is_inside(chosen))
        left = list(await connection.scalars(sa.select(RUN.c.id).where(*of_runs, _is_left(chosen))))
        given = dialect.rows("left_over", {"id": sa.BigInteger()}, [(number,) for number in left])
        still = _counted(dialect, [*conditions, _C.run_id.in_(sa.select(given.c.id))], by_run=by_run)
        sources = [sa.select(HOST_SUMMARY).where(HOST_SUMMARY.c.run_id.in_(inside)), *([still] if left else [])]
    each = sa.union_all(*sources).subquery()
    added = (
        sa.select(
            *(by := [each.c.host_id, each.c.run_id] if by_run else [each.c.host_id]),
            *(sa.cast(sa.func.sum(each.c[name]), sa.BigInteger).label(name) for name in _ADDED),
            *(end(each.c[name]).label(name) for name, end in _ENDS.items()),
            sa.func.aggregate_strings(each.c.tasks, ",").label("tasks"),
        )
        .group_by(*by)
        .subquery()
    )
    named = sa.select(added, HOST.c.name.label("host")).outerjoin_from(added, HOST, HOST.c.id == added.c.host_id)
    found: list[HostSummary] = []
    for row in (await connection.execute(named)).mappings():
        # A task may be in several runs; a unit of work is of one run alone.
        tasks = len(set().union(*orjson.loads(f"[{row['tasks']}]")))
        found.append(HostSummary(**{"run_id": None, **row, "tasks": tasks}, chosen=chosen))
    return found


def _counted(dialect: Dialect, conditions: Sequence[sa.ColumnElement[bool]], *, by_run: bool) -> sa.Select[Any]:
    """Select what is counted of attempts, as rows of `HOST_SUMMARY`; if not by run, each has one of its runs."""
    other = EXECUTION.alias()
    elsewhere = sa.exists().where(
        other.c.quantum_id == _C.quantum_id,
        other.c.status == int(QuantumStatus.SUCCESSFUL),
        other.c.host_id != _C.host_id,
    )
    counts = {
        "run_id": _C.run_id if by_run else sa.func.min(_C.run_id),
        "host_id": _HOST,
        "executions": sa.func.count(),
        "successful": sa.func.count().filter(_SUCCEEDED),
        "failed": sa.func.count().filter(_FAILED),
        "recovered_elsewhere": sa.func.count().filter(_FAILED, elsewhere),
        "quanta": sa.func.count(_C.quantum_id.distinct()),
        "tasks": dialect.different(_C.task_id),
        "first_seen": sa.func.min(_C.started_at),
        "last_seen": sa.func.max(_SEEN),
        "last_success": sa.func.max(_SEEN).filter(_SUCCEEDED),
    }
    each = (counts[name].label(name) for name in HOST_SUMMARY.c.keys())  # noqa: SIM118 - the collection's names
    return sa.select(*each).where(*conditions).group_by(*_by(by_run=by_run))


def _is_inside(chosen: QuantumFilter) -> sa.ColumnElement[bool]:
    """Condition that a run is summed up, and all of it is of the time that was chosen."""
    c = RUN.c
    conditions: list[sa.ColumnElement[bool]] = [c.hosts_summed]
    if chosen.started_after is not None:
        conditions.append(c.first_start >= chosen.started_after)
    if chosen.started_before is not None:
        conditions.append(c.last_start < chosen.started_before)
    return sa.and_(*conditions)


def _is_left(chosen: QuantumFilter) -> sa.ColumnElement[bool]:
    """Condition that the attempts of a run have to be gone through: it is not inside, and may not be outside."""
    c = RUN.c
    outside: list[sa.ColumnElement[bool]] = [sa.false()]
    if chosen.started_after is not None:
        outside.append(c.last_start < chosen.started_after)
    if chosen.started_before is not None:
        outside.append(c.first_start >= chosen.started_before)
    either = sa.or_(_is_inside(chosen), sa.and_(c.hosts_summed, sa.or_(*outside)))
    # Where not all starts are known, nothing is certain.
    return sa.not_(sa.func.coalesce(either, sa.false()))


def _in_order(summaries: Sequence[HostSummary]) -> list[HostSummary]:
    return sorted(summaries, key=lambda one: (-one.failure_rate, -one.executions, one.host_id))
