"""Pages of units of work, or of attempts, of several runs at once, as they became known; keys are their numbers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.provenance.tables import RUN
from butlerql.storage.registry.pages import Page, PageRequest, bounds, cut, ordered
from butlerql.storage.state.database import State

__all__ = ["Conditions", "count_in_runs", "pages_in_runs"]

T = TypeVar("T")

Conditions = Callable[[sa.FromClause], Sequence[sa.ColumnElement[bool]]]
"""Gives conditions on a table, or its alias."""


async def pages_in_runs(
    state: State,
    table: sa.Table,
    runs: Sequence[str],
    conditions: Conditions,
    request: PageRequest,
    by_id: Callable[[State, Sequence[int]], Awaitable[Mapping[int, T]]],
) -> list[Page[T]]:
    """Look at a page of the rows of a table for each run, by its name; what they are is found by their numbers."""
    given = _runs(state, runs)

    def rows(one: sa.FromClause) -> sa.Select[Any]:
        key = [one.c.id]
        return (
            sa.select()
            .where(one.c.run_id == given.c.id, *conditions(one), *bounds(key, request))
            .order_by(*ordered(key, request))
            .limit(request.limit + 1)
        )

    joined, one, tied = state.dialect.top_rows(given, table, rows)
    statement = (
        sa.select(given.c.name, one.c.id)
        .select_from(joined)
        .where(*tied)
        .order_by(given.c.name, *ordered([one.c.id], request))
    )

    async def find(connection: AsyncConnection) -> dict[str, list[int]]:
        found = await connection.execute(statement)
        return {name: [row[1] for row in of_run] for name, of_run in groupby(found, itemgetter(0))}

    by_run: dict[str, list[int]] = await state.read(find, absent={})
    known = await by_id(state, [number for numbers in by_run.values() for number in numbers])
    return [cut([((number,), known[number]) for number in by_run.get(run, [])], request) for run in runs]


async def count_in_runs(state: State, table: sa.Table, runs: Sequence[str], conditions: Conditions) -> list[int]:
    """Count what `pages_in_runs` goes through, of each run."""
    given = _runs(state, runs)
    statement = (
        sa.select(given.c.name, sa.func.count())
        .select_from(state.dialect.each(given, table))
        .where(table.c.run_id == given.c.id, *conditions(table))
        .group_by(given.c.name)
    )

    async def count(connection: AsyncConnection) -> dict[str, int]:
        return {row[0]: row[1] for row in await connection.execute(statement)}

    by_run: dict[str, int] = await state.read(count, absent={})
    return [by_run.get(run, 0) for run in runs]


def _runs(state: State, names: Sequence[str]) -> sa.Subquery:
    given = state.dialect.rows("given", {"name": sa.Text()}, [(name,) for name in set(names)])
    return sa.select(RUN.c.id, RUN.c.name).where(RUN.c.name.in_(sa.select(given.c.name))).subquery()
