"""Two runs side by side: how each task went, how it was configured, and with which software."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.provenance.distributions import Measure
from butlerql.storage.provenance.filters import QuantumFilter
from butlerql.storage.provenance.tables import PACKAGES, PIPELINE_TASK, RUN
from butlerql.storage.provenance.task_summaries import TaskSummary, find_task_summaries, measured_tasks
from butlerql.storage.provenance.tasks import Task, tasks_known_in
from butlerql.storage.state.database import State

__all__ = ["TaskComparison", "compare_tasks", "configs_changed", "packages_changed", "packages_of_runs", "ratios_of"]

Versions: TypeAlias = Mapping[str, str]
"""Of packages, by their names."""


class TaskComparison(NamedTuple):
    """A task in two runs."""

    task: Task
    base_run: str
    other_run: str
    base: TaskSummary | None
    """None where nothing of it is known in the run."""

    other: TaskSummary | None

    @property
    def failure_rate_difference(self) -> float | None:
        """Share of the attempts that failed, of the other run less of the base; None where one has no attempts."""
        base, other = _failure_rate(self.base), _failure_rate(self.other)
        return None if base is None or other is None else other - base


def _failure_rate(summary: TaskSummary | None) -> float | None:
    return summary.failed_executions / summary.executions if summary is not None and summary.executions else None


async def compare_tasks(state: State, base: str, other: str, labels: Sequence[str]) -> list[TaskComparison]:
    """Put side by side what two runs have of each task, by label.

    Parameters
    ----------
    state
        What is known.
    base, other
        Names of the runs.
    labels
        Names or globs.
    """
    tasks = await tasks_known_in(state, [base, other], labels)
    summaries = await find_task_summaries(state, QuantumFilter(only_runs=[base, other], tasks=labels))
    by_key = {(summary.run_name, summary.task_label): summary for summary in summaries}
    return [
        TaskComparison(task, base, other, by_key.get((base, task.label)), by_key.get((other, task.label)))
        for task in tasks
    ]


async def ratios_of(state: State, comparisons: Sequence[TaskComparison], measure: Measure) -> list[float | None]:
    """Divide the median of the other run by that of the base; None where one is not known, or the base's is 0."""
    asked = [summary for one in comparisons for summary in (one.base, one.other) if summary is not None]
    found = iter(await measured_tasks(state, asked, measure))
    ratios: list[float | None] = []
    for one in comparisons:
        base, other = (None if summary is None else next(found) for summary in (one.base, one.other))
        ratios.append(other.median / base.median if base is not None and other is not None and base.median else None)
    return ratios


async def configs_changed(state: State, comparisons: Sequence[TaskComparison]) -> list[bool | None]:
    """Tell whether tasks were configured differently; None where the configuration of one run is not known.

    A task that several pipeline executions wrote into a run may have several configurations: all of them count.
    """
    columns: dict[str, sa.types.TypeEngine[Any]] = {"run": sa.Text(), "task": sa.BigInteger()}
    keys = {(run, one.task.id) for one in comparisons for run in (one.base_run, one.other_run)}
    given = state.dialect.rows("given", columns, list(keys))
    c = PIPELINE_TASK.c
    statement = (
        sa.select(given.c.run, given.c.task, c.config_digest)
        .join_from(given, RUN, RUN.c.name == given.c.run)
        .join(PIPELINE_TASK, sa.and_(c.run_id == RUN.c.id, c.task_id == given.c.task))
        .where(c.config_digest.is_not(None))
    )

    async def find(connection: AsyncConnection) -> dict[tuple[str, int], set[str]]:
        found: dict[tuple[str, int], set[str]] = {}
        for run, task, digest in await connection.execute(statement):
            found.setdefault((run, task), set()).add(digest)
        return found

    digests: dict[tuple[str, int], set[str]] = await state.read(find, absent={})
    changed: list[bool | None] = []
    for one in comparisons:
        base, other = (digests.get((run, one.task.id)) for run in (one.base_run, one.other_run))
        changed.append(None if base is None or other is None else base != other)
    return changed


async def packages_changed(
    state: State, runs: Sequence[tuple[str, str]]
) -> list[Mapping[str, tuple[str | None, str | None]] | None]:
    """Give the versions of each package that the runs of pairs do not have in common.

    None where those of one are not known; the version of a package that a run does not have is None.
    """
    found = await packages_of_runs(state, sorted({run for pair in runs for run in pair}))
    return [_differences(found.get(base), found.get(other)) for base, other in runs]


def _differences(base: Versions | None, other: Versions | None) -> Mapping[str, tuple[str | None, str | None]] | None:
    if base is None or other is None:
        return None
    names = sorted({*base, *other})
    return {name: (base.get(name), other.get(name)) for name in names if base.get(name) != other.get(name)}


async def packages_of_runs(state: State, runs: Sequence[str]) -> dict[str, Versions]:
    """Find with which software runs were made, by their own datasets; those that do not tell are left out."""
    given = state.dialect.rows("given", {"name": sa.Text()}, [(run,) for run in set(runs)])
    statement = (
        sa.select(RUN.c.name, PACKAGES.c.content)
        .join_from(RUN, PACKAGES, PACKAGES.c.digest == RUN.c.packages)
        .where(RUN.c.name.in_(sa.select(given.c.name)))
    )

    async def find(connection: AsyncConnection) -> dict[str, Versions]:
        return {name: orjson.loads(content) for name, content in await connection.execute(statement)}

    return await state.read(find, absent={})
