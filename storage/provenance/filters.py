"""Which units of work, and which attempts at them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from butlerql.storage.dialect import Dialect, UuidText
from butlerql.storage.globs import split_names
from butlerql.storage.provenance.pipeline_executions import graph_of
from butlerql.storage.provenance.records import QuantumStatus
from butlerql.storage.provenance.tables import (
    EXCEPTION,
    EXECUTION,
    HOST,
    PIPELINE_EXECUTION,
    PLAN,
    QUANTUM,
    RUN,
    TASK,
)

__all__ = [
    "QuantumFilter",
    "common_conditions",
    "execution_conditions",
    "fits",
    "quantum_conditions",
    "run_conditions",
]


@dataclass(frozen=True, slots=True)
class QuantumFilter:
    """What must hold, all of it, of a unit of work or of an attempt; None is no condition, and nothing given no choice.

    Of a unit of work `hosts` and what follows it must hold of one of its attempts, all of it of the same one.
    """

    runs: Sequence[str] | None = None
    """Names or globs, as of all that is named here."""

    tasks: Sequence[str] | None = None
    statuses: Sequence[QuantumStatus] | None = None
    """Of what is selected: the unit of work, or the attempt."""

    pipeline_executions: Sequence[str] | None = None
    """UUIDs: units of work that these graphs planned; attempts that were made for them, see `graph_of`."""

    data_id: Mapping[str, int | str] | None = None
    """Dimensions that it has, with these values."""

    hosts: Sequence[str] | None = None
    started_after: int | None = None
    """Microseconds since 1970, inclusive."""

    started_before: int | None = None
    """Microseconds since 1970, exclusive."""

    min_run_time: float | None = None
    """Seconds."""

    min_max_rss: int | None = None
    """Bytes."""

    exception: str | None = None
    """Name or glob of its type."""

    only_runs: Sequence[str] | None = None
    """Names of runs, whatever characters are in them: nothing of others."""

    @property
    def is_of_attempts(self) -> bool:
        """Whether there are conditions that only an attempt can meet."""
        conditions = (self.hosts, self.started_after, self.started_before, self.min_run_time, self.min_max_rss)
        return any(one is not None for one in (*conditions, self.exception))

    @property
    def is_of_runs_and_times(self) -> bool:
        """Whether it selects, of some runs, all attempts, or all that began in some time."""
        return replace(self, runs=None, only_runs=None, started_after=None, started_before=None) == QuantumFilter()

    @property
    def is_of_whole_tasks(self) -> bool:
        """Whether it selects all that is known of some tasks in some runs."""
        others = (self.statuses, self.pipeline_executions, self.data_id)
        return not self.is_of_attempts and all(one is None for one in others)


def quantum_conditions(
    dialect: Dialect, chosen: QuantumFilter, table: sa.FromClause = QUANTUM, *, only_last: bool = False
) -> list[sa.ColumnElement[bool]]:
    """Give the conditions on `QUANTUM`, or its alias; those on attempts are on any of them, or only on the last."""
    c = table.c
    conditions = common_conditions(dialect, chosen, table)
    if chosen.data_id is not None:
        conditions.append(dialect.has_members(c.data_id, chosen.data_id))
    if chosen.is_of_attempts:
        attempts = replace(chosen, runs=None, tasks=None, only_runs=None, statuses=None, data_id=None)
        found = sa.select(EXECUTION.c.quantum_id).where(*execution_conditions(dialect, attempts))
        if only_last:
            own = QUANTUM.alias()
            is_last = sa.and_(own.c.id == EXECUTION.c.quantum_id, own.c.attempts == EXECUTION.c.attempt + 1)
            found = found.join(own, is_last)
        conditions.append(c.id.in_(found))
    elif chosen.pipeline_executions is not None:
        graphs = _pipeline_executions(dialect, chosen.pipeline_executions)
        conditions.append(c.id.in_(sa.select(PLAN.c.quantum_id).where(PLAN.c.pipeline_execution_id.in_(graphs))))
    return conditions


def execution_conditions(
    dialect: Dialect, chosen: QuantumFilter, table: sa.FromClause = EXECUTION
) -> list[sa.ColumnElement[bool]]:
    """Give the conditions on `EXECUTION`, or its alias."""
    c = table.c
    conditions = common_conditions(dialect, chosen, table)
    if chosen.data_id is not None:
        agrees = dialect.has_members(QUANTUM.c.data_id, chosen.data_id)
        conditions.append(sa.exists().where(QUANTUM.c.id == c.quantum_id, agrees))
    if chosen.pipeline_executions is not None:
        graphs = _pipeline_executions(dialect, chosen.pipeline_executions)
        # By the run: attempts have no index by their pipeline execution.
        runs = sa.select(PIPELINE_EXECUTION.c.run_id).where(PIPELINE_EXECUTION.c.id.in_(graphs))
        conditions += [c.run_id.in_(runs), graph_of(table).in_(graphs)]
    if chosen.hosts is not None:
        conditions.append(c.host_id.in_(_named(dialect, HOST, chosen.hosts)))
    if chosen.exception is not None:
        conditions.append(c.exception_id.in_(_named(dialect, EXCEPTION, [chosen.exception])))
    for column, least in (
        (c.started_at, chosen.started_after),
        (c.run_time, chosen.min_run_time),
        (c.max_rss, chosen.min_max_rss),
    ):
        if least is not None:
            conditions.append(column >= least)
    if chosen.started_before is not None:
        conditions.append(c.started_at < chosen.started_before)
    return conditions


def common_conditions(dialect: Dialect, chosen: QuantumFilter, table: sa.FromClause) -> list[sa.ColumnElement[bool]]:
    """Give the conditions on runs, tasks and statuses, of a table that has them."""
    conditions = run_conditions(dialect, chosen, table.c.run_id)
    if chosen.tasks is not None:
        conditions.append(table.c.task_id.in_(_named(dialect, TASK, chosen.tasks)))
    if chosen.statuses is not None:
        conditions.append(table.c.status.in_(sorted(set(map(int, chosen.statuses)))))
    return conditions


def run_conditions(dialect: Dialect, chosen: QuantumFilter, run: sa.ColumnElement[int]) -> list[sa.ColumnElement[bool]]:
    """Give the conditions on the column that has the number of a run."""
    conditions: list[sa.ColumnElement[bool]] = []
    if chosen.runs is not None:
        conditions.append(run.in_(_named(dialect, RUN, chosen.runs)))
    if chosen.only_runs is not None:
        only = dialect.rows("only", {"name": sa.Text()}, [(name,) for name in chosen.only_runs])
        conditions.append(run.in_(sa.select(RUN.c.id).where(RUN.c.name.in_(sa.select(only.c.name)))))
    return conditions


def _named(dialect: Dialect, table: sa.Table, names: Sequence[str]) -> sa.Select[tuple[int]]:
    """Select the numbers of names, some of which may be globs."""
    return sa.select(table.c.id).where(fits(dialect, table.c.name, names))


def fits(dialect: Dialect, column: sa.ColumnElement[str], names: Sequence[str]) -> sa.ColumnElement[bool]:
    """Condition that a text is one of some names, or fits one of some globs.

    Raises
    ------
    InvalidArgumentError
        Raised if one has a null character, or the globs are too long altogether.
    """
    literals, globs = split_names(names)
    given = dialect.rows("names", {"name": sa.Text()}, [(name,) for name in literals])
    is_named = column.in_(sa.select(given.c.name))
    return sa.or_(is_named, dialect.matches_globs(column, globs)) if globs else is_named


def _pipeline_executions(dialect: Dialect, uuids: Sequence[str]) -> sa.Select[tuple[int]]:
    given = dialect.rows("given", {"uuid": UuidText()}, [(uuid,) for uuid in uuids])
    return sa.select(PIPELINE_EXECUTION.c.id).where(PIPELINE_EXECUTION.c.uuid.in_(sa.select(given.c.uuid)))
