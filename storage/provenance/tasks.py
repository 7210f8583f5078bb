"""Tasks: what bears a label, and what it reads and writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.dialect import Dialect, UuidText
from butlerql.storage.provenance.filters import fits
from butlerql.storage.provenance.looking import one_of
from butlerql.storage.provenance.tables import PIPELINE_EXECUTION, PIPELINE_TASK, RUN, TASK, TASK_SUMMARY, TASK_USE
from butlerql.storage.registry.pages import Page, PageRequest, bounds, cut, ordered
from butlerql.storage.state.database import State

__all__ = [
    "Task",
    "classes_of",
    "count_tasks",
    "dataset_types_of",
    "find_tasks",
    "tasks_by_label",
    "tasks_known_in",
    "tasks_of_pipeline_executions",
    "tasks_of_runs",
    "tasks_that_use",
    "written_by_work",
]


class Task(NamedTuple):
    """Whatever bears a label in pipelines."""

    id: int
    label: str


_SELECT = sa.select(TASK.c.id, TASK.c.name)
_BY_LABEL = [TASK.c.name]
_IN_RUNS = sa.union(
    sa.select(TASK_SUMMARY.c.run_id, TASK_SUMMARY.c.task_id), sa.select(PIPELINE_TASK.c.run_id, PIPELINE_TASK.c.task_id)
)
"""Which tasks are known in which runs."""


async def find_tasks(
    state: State, labels: Sequence[str], runs: Sequence[str] | None, request: PageRequest
) -> Page[Task]:
    """Look at a page of tasks, by label.

    Parameters
    ----------
    labels, runs
        Names or globs; only tasks that are known in one of the runs, None is all.
    """
    statement = (
        _SELECT.where(*_conditions(state, labels, runs), *bounds(_BY_LABEL, request))
        .order_by(*ordered(_BY_LABEL, request))
        .limit(request.limit + 1)
    )

    async def find(connection: AsyncConnection) -> list[Task]:
        return [Task(*row) for row in await connection.execute(statement)]

    found: list[Task] = await state.read(find, absent=[])
    return cut([((task.label,), task) for task in found], request)


async def count_tasks(state: State, labels: Sequence[str], runs: Sequence[str] | None) -> int:
    """Count what `find_tasks` goes through."""
    statement = sa.select(sa.func.count()).select_from(TASK).where(*_conditions(state, labels, runs))

    async def count(connection: AsyncConnection) -> int:
        return int((await connection.execute(statement)).scalar_one())

    return await state.read(count, absent=0)


async def tasks_by_label(state: State, labels: Sequence[str]) -> dict[str, Task]:
    """Find tasks; those that are not known are left out."""
    given = state.dialect.rows("given", {"name": sa.Text()}, [(label,) for label in set(labels)])
    statement = _SELECT.where(TASK.c.name.in_(sa.select(given.c.name)))

    async def find(connection: AsyncConnection) -> dict[str, Task]:
        return {row.name: Task(*row) for row in await connection.execute(statement)}

    return await state.read(find, absent={})


async def tasks_known_in(state: State, runs: Sequence[str], labels: Sequence[str]) -> list[Task]:
    """List the tasks that are known in one of some runs, by label; labels may be globs, and names of runs are none."""
    given = state.dialect.rows("given", {"name": sa.Text()}, [(run,) for run in set(runs)])
    known = _IN_RUNS.subquery()
    in_runs = (
        sa.select(known.c.task_id)
        .join_from(known, RUN, RUN.c.id == known.c.run_id)
        .where(RUN.c.name.in_(sa.select(given.c.name)))
    )
    statement = _SELECT.where(fits(state.dialect, TASK.c.name, labels), TASK.c.id.in_(in_runs)).order_by(TASK.c.name)

    async def find(connection: AsyncConnection) -> list[Task]:
        return [Task(*row) for row in await connection.execute(statement)]

    return await state.read(find, absent=[])


async def tasks_of_runs(state: State, runs: Sequence[str]) -> list[list[Task]]:
    """List the tasks that are known in runs, by label."""
    given = state.dialect.rows("given", {"name": sa.Text()}, [(run,) for run in set(runs)])
    known = _IN_RUNS.subquery()
    statement = (
        sa.select(RUN.c.name, TASK.c.id, TASK.c.name)
        .join_from(known, RUN, RUN.c.id == known.c.run_id)
        .join(TASK, TASK.c.id == known.c.task_id)
        .where(RUN.c.name.in_(sa.select(given.c.name)))
        .order_by(TASK.c.name)
    )
    return await _grouped(state, statement, runs)


async def tasks_of_pipeline_executions(state: State, uuids: Sequence[str]) -> list[list[Task]]:
    """List the tasks of pipeline executions, by label."""
    given = state.dialect.rows("given", {"uuid": UuidText()}, [(uuid,) for uuid in set(uuids)])
    statement = (
        sa.select(PIPELINE_EXECUTION.c.uuid, TASK.c.id, TASK.c.name)
        .join_from(PIPELINE_EXECUTION, PIPELINE_TASK, PIPELINE_TASK.c.pipeline_execution_id == PIPELINE_EXECUTION.c.id)
        .join(TASK, TASK.c.id == PIPELINE_TASK.c.task_id)
        .where(PIPELINE_EXECUTION.c.uuid.in_(sa.select(given.c.uuid)))
        .order_by(TASK.c.name)
    )
    return await _grouped(state, statement, uuids)


async def tasks_that_use(state: State, dataset_types: Sequence[str], *, is_output: bool) -> list[list[Task]]:
    """List the tasks that read dataset types, or write them, by label."""
    given = state.dialect.rows("given", {"name": sa.Text()}, [(name,) for name in set(dataset_types)])
    uses = _uses(state.dialect, is_output, dataset_types=sa.select(given.c.name))
    statement = (
        sa.select(uses.c.dataset_type, TASK.c.id, TASK.c.name)
        .join_from(uses, TASK, TASK.c.id == uses.c.task_id)
        .order_by(TASK.c.name)
    )
    return await _grouped(state, statement, dataset_types)


async def dataset_types_of(state: State, tasks: Sequence[Task], *, is_output: bool) -> list[list[str]]:
    """List the names of dataset types that tasks were ever known to read, or to write."""
    given = state.dialect.rows("given", {"id": sa.BigInteger()}, [(task.id,) for task in set(tasks)])
    uses = _uses(state.dialect, is_output, tasks=sa.select(given.c.id))
    statement = sa.select(uses.c.task_id, uses.c.dataset_type).order_by(uses.c.dataset_type)
    return await _grouped_texts(state, statement, tasks)


async def written_by_work(state: State, dataset_types: Sequence[str]) -> set[str]:
    """Tell which dataset types units of work write; others may be written when a pipeline is initialised."""
    given = state.dialect.rows("given", {"name": sa.Text()}, [(name,) for name in set(dataset_types)])
    statement = sa.select(TASK_USE.c.dataset_type).where(
        TASK_USE.c.is_output, TASK_USE.c.dataset_type.in_(sa.select(given.c.name))
    )

    async def find(connection: AsyncConnection) -> set[str]:
        return set(await connection.scalars(statement))

    return await state.read(find, absent=set())


async def classes_of(state: State, tasks: Sequence[Task]) -> list[list[str]]:
    """List the classes that ever bore the labels, the latest known first."""
    given = state.dialect.rows("given", {"id": sa.BigInteger()}, [(task.id,) for task in set(tasks)])
    c = PIPELINE_TASK.c
    statement = (
        sa.select(c.task_id, c.task_class)
        .outerjoin_from(PIPELINE_TASK, PIPELINE_EXECUTION, PIPELINE_EXECUTION.c.id == c.pipeline_execution_id)
        .where(c.task_class.is_not(None), c.task_id.in_(sa.select(given.c.id)))
        .group_by(c.task_id, c.task_class)
        .order_by(
            sa.func.max(PIPELINE_EXECUTION.c.created_at).desc().nulls_last(),
            sa.func.max(c.run_id).desc(),
            c.task_class,
        )
    )
    return await _grouped_texts(state, statement, tasks)


def _conditions(state: State, labels: Sequence[str], runs: Sequence[str] | None) -> list[sa.ColumnElement[bool]]:
    labelled = fits(state.dialect, TASK.c.name, labels)
    if runs is None:
        return [labelled]
    known = _IN_RUNS.subquery()
    in_runs = sa.select(known.c.task_id).join_from(known, RUN, RUN.c.id == known.c.run_id)
    return [labelled, TASK.c.id.in_(in_runs.where(fits(state.dialect, RUN.c.name, runs)))]


def _uses(
    dialect: Dialect,
    is_output: bool,
    tasks: sa.Select[tuple[int]] | None = None,
    dataset_types: sa.Select[tuple[str]] | None = None,
) -> sa.Subquery:
    """Select which of some tasks, or all, use which of some dataset types, or all; what is written first with it."""

    def chosen(task: sa.ColumnElement[int], dataset_type: sa.ColumnElement[str] | None) -> list[sa.ColumnElement[bool]]:
        given = ((task, tasks), (dataset_type, dataset_types))
        return [column.in_(those) for column, those in given if column is not None and those is not None]

    u, p = TASK_USE.c, PIPELINE_TASK.c
    work = sa.select(u.task_id, u.dataset_type).where(u.is_output == is_output, *chosen(u.task_id, u.dataset_type))
    if not is_output:
        return work.subquery()
    config = TASK.c.name + "_config"
    has_config = one_of(sa.select(p.config).where(p.task_id == TASK.c.id, p.config.is_not(None)), TASK).is_not(None)
    # Most tasks have none, and most runs tell the same.
    told = sa.select(p.task_id, p.initial_outputs).where(p.initial_outputs != "[]", *chosen(p.task_id, None))
    others = told.distinct().subquery()
    other = dialect.elements(others.c.initial_outputs)
    # The conditions are on each of them: they are not applied to all of them before they are put together.
    return sa.union(
        work,
        sa.select(TASK.c.id, config).where(*chosen(TASK.c.id, config), has_config),
        sa.select(others.c.task_id, other.c.value)
        .join_from(others, other, sa.true())
        .where(*chosen(others.c.task_id, other.c.value)),
    ).subquery()


async def _grouped(state: State, statement: sa.Select[Any], keys: Sequence[str]) -> list[list[Task]]:
    """List tasks by what the first column of a statement has."""

    async def find(connection: AsyncConnection) -> dict[str, list[Task]]:
        found: dict[str, list[Task]] = {}
        for key, number, label in await connection.execute(statement):
            found.setdefault(key, []).append(Task(number, label))
        return found

    by_key: dict[str, list[Task]] = await state.read(find, absent={})
    return [by_key.get(key, []) for key in keys]


async def _grouped_texts(state: State, statement: sa.Select[Any], tasks: Sequence[Task]) -> list[list[str]]:
    async def find(connection: AsyncConnection) -> dict[int, list[str]]:
        found: dict[int, list[str]] = {}
        for number, text in await connection.execute(statement):
            found.setdefault(number, []).append(text)
        return found

    by_task: dict[int, list[str]] = await state.read(find, absent={})
    return [by_task.get(task.id, []) for task in tasks]
