"""Units of work, and attempts at them, become rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count
from math import isfinite
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.dialect import Dialect
from butlerql.storage.provenance.batches import Names
from butlerql.storage.provenance.merging import Attempt, ended, in_order, merged
from butlerql.storage.provenance.records import ExecutionRow, QuantumRow
from butlerql.storage.provenance.tables import EXECUTION, PLAN, QUANTUM, RUN, TASK_SUMMARY
from butlerql.storage.provenance.writing import cleaned, next_number
from butlerql.storage.state.bulk import add_rows, change_rows

__all__ = ["Quanta"]

_Key = tuple[int, int, str]
"""Numbers of run and task, and the data ID as it is written down."""


class _Quantum(NamedTuple):
    """A row of `QUANTUM` that is there already."""

    id: int
    uuid: str | None
    status: int
    attempts: int
    is_blocked: bool


class _Changes:
    """What is to be written of a batch."""

    def __init__(self) -> None:
        self.quanta: list[tuple[Any, ...]] = []
        self.new_executions: list[Attempt] = []
        self.executions: list[tuple[Any, ...]] = []
        self.plans: list[tuple[int, int]] = []
        self.touched: set[tuple[int, int]] = set()
        """Runs and tasks."""

    def note_attempts(self, was: Sequence[Attempt], now: Sequence[Attempt]) -> bool:
        """Note which attempts at a unit of work are new, and which are not what they were; tell whether there are."""
        if was == now:
            return False
        before = {attempt.id: attempt for attempt in was}
        for attempt in now:
            if attempt.id is None:
                self.new_executions.append(attempt)
            elif attempt != before[attempt.id]:
                self.executions.append((*attempt[1:], attempt.id))
        return True

    def note_plans(self, known: set[tuple[int, int]], quantum: int, graphs: Iterable[int | None]) -> bool:
        """Note which graphs planned a unit of work; tell whether that was not known."""
        new = [(quantum, graph) for graph in graphs if graph is not None and (quantum, graph) not in known]
        self.plans += new
        return bool(new)


class Quanta:
    """Units of work and attempts at them are taken in.

    Attributes
    ----------
    numbers
        Of those that were taken in, in their order.
    added, added_executions
        How many of them, and how many attempts, were new.
    """

    def __init__(self, connection: AsyncConnection, dialect: Dialect, rank: int, names: Names) -> None:
        self._connection = connection
        self._dialect = dialect
        self._rank = rank
        self._names = names
        self.numbers: list[int] = []
        self.added = self.added_executions = 0

    async def absorb(self, quanta: Sequence[QuantumRow]) -> None:
        """Take units of work in."""
        if not quanta:
            return
        runs, tasks = self._names.runs, self._names.tasks
        told: dict[_Key, list[QuantumRow]] = {}
        for row in quanta:
            told.setdefault((runs[row.run], tasks[row.task], row.data_id), []).append(row)
        fresh = await next_number(self._connection, QUANTUM)
        numbers = dict(zip(told, count(fresh)))
        attempts = {key: self._with([], rows, numbers[key], key) for key, rows in told.items()}
        new = [(numbers[key], *key, *_together(0, None, rows, attempts[key])[1:]) for key, rows in told.items()]
        # Mostly, none of them is known: to find that out takes no longer than to add them.
        self.added = await add_rows(self._connection, self._dialect, QUANTUM, new)
        known = await self._known(told, fresh) if self.added < len(new) else {}
        before = [quantum.id for quantum in known.values()]
        were, plans = await self._attempts(before), await self._planned(before)
        changes = _Changes()
        for key, rows in told.items():
            graphs = {self._graph(row) for row in rows}
            quantum = known.get(key)
            if quantum is None:
                changes.note_attempts([], attempts[key])
                changes.note_plans(plans, numbers[key], graphs)
                changes.touched.add(key[:2])
                continue
            numbers[key] = quantum.id
            was = were.get(quantum.id, [])
            now = self._with(was, rows, quantum.id, key)
            after = _together(quantum.id, quantum, rows, now)
            if after != quantum:
                changes.quanta.append((*after[1:], quantum.id))
            is_new = changes.note_attempts(was, now)
            is_new |= changes.note_plans(plans, quantum.id, graphs)
            # What never ran may be told to need more than was known: `mark_blocked` looks at it again.
            if is_new or after != quantum or not now:
                changes.touched.add(key[:2])
        await self._write(changes)
        self.numbers = [numbers[runs[row.run], tasks[row.task], row.data_id] for row in quanta]

    def _graph(self, quantum: QuantumRow) -> int | None:
        return None if quantum.pipeline_execution is None else self._names.graphs[quantum.pipeline_execution]

    def _with(self, known: list[Attempt], quanta: Iterable[QuantumRow], number: int, key: _Key) -> list[Attempt]:
        """Give the attempts that are known together with those that are told, in order."""
        for quantum in quanta:
            if quantum.executions:
                graph = self._graph(quantum)
                rows = [self._row(one, number, key, graph) for one in quantum.executions]
                known = rows if not known and len(rows) == 1 else merged(known, rows)
        return in_order(known)

    async def _write(self, changes: _Changes) -> None:
        connection, dialect = self._connection, self._dialect
        start = await next_number(connection, EXECUTION)
        executions = [(start + place, *attempt[1:]) for place, attempt in enumerate(changes.new_executions)]
        await change_rows(connection, QUANTUM, changes.quanta, *_Quantum._fields[1:])
        await add_rows(connection, dialect, EXECUTION, executions)
        await change_rows(connection, EXECUTION, changes.executions, *Attempt._fields[1:])
        await add_rows(connection, dialect, PLAN, changes.plans)
        await self._unsum(changes.touched)
        self.added_executions = len(executions)

    def _row(self, told: ExecutionRow, quantum: int, key: _Key, graph: int | None) -> Attempt:
        names = self._names
        return Attempt(
            None,
            quantum,
            key[0],
            key[1],
            graph,
            told.attempt,
            told.attempt,
            self._rank,
            told.status,
            None if told.host is None else names.hosts[told.host],
            told.started_at,
            told.ended_at,
            _finite(told.run_time),
            _finite(told.cpu_time),
            told.max_rss,
            told.process_index,
            None if told.exception is None else names.exceptions[told.exception],
            cleaned(told.message),
            told.caveats,
            told.log,
            told.metadata,
        )

    async def _known(self, told: Iterable[_Key], fresh: int) -> dict[_Key, _Quantum]:
        """Find those that were there before, whose numbers are less than those of fresh ones."""
        keys = list(told)
        given = self._dialect.rows(
            "given",
            {"place": sa.BigInteger(), "run_id": sa.BigInteger(), "task_id": sa.BigInteger(), "data_id": sa.Text()},
            [(place, *key) for place, key in enumerate(keys)],
        )
        table = QUANTUM
        same = [given.c[name] == table.c[name] for name in ("run_id", "task_id", "data_id")]
        columns = [table.c[name] for name in _Quantum._fields]
        joined = self._dialect.each(given, table)
        statement = sa.select(given.c.place, *columns).select_from(joined).where(*same, table.c.id < fresh)
        return {
            keys[row.place]: _Quantum(
                row.id, row.uuid and row.uuid.replace("-", ""), row.status, row.attempts, row.is_blocked
            )
            for row in await self._connection.execute(statement)
        }

    async def _attempts(self, quanta: Sequence[int]) -> dict[int, list[Attempt]]:
        """Find the attempts at units of work."""
        found: dict[int, list[Attempt]] = {}
        for row in await self._connection.execute(self._of(EXECUTION, quanta).order_by(EXECUTION.c.attempt)):
            values = dict(row._mapping)  # noqa: SLF001 - as the columns are named
            for name in ("log", "metadata"):
                values[name] = values[name] and values[name].replace("-", "")
            found.setdefault(row.quantum_id, []).append(Attempt(**values))
        return found

    async def _planned(self, quanta: Sequence[int]) -> set[tuple[int, int]]:
        """Find which graphs planned units of work."""
        return {tuple(row) for row in await self._connection.execute(self._of(PLAN, quanta))}

    def _of(self, table: sa.Table, quanta: Sequence[int]) -> sa.Select[Any]:
        """Select the rows of a table that are of units of work."""
        given = self._dialect.rows("given", {"id": sa.BigInteger()}, [(number,) for number in quanta])
        return sa.select(table).select_from(self._dialect.each(given, table)).where(table.c.quantum_id == given.c.id)

    async def _unsum(self, touched: Iterable[tuple[int, int]]) -> None:
        """Take back what was summed up of tasks and runs of which there is more now."""
        touched = sorted(touched)
        await add_rows(self._connection, self._dialect, TASK_SUMMARY, touched, "run_id", "task_id")
        await change_rows(self._connection, TASK_SUMMARY, [(None, *key) for key in touched], "content")
        runs = sorted({run for run, _ in touched})
        await change_rows(self._connection, RUN, [(False, run) for run in runs], "hosts_summed")


def _together(
    number: int, known: _Quantum | None, quanta: Sequence[QuantumRow], attempts: Sequence[Attempt]
) -> _Quantum:
    """Give the row of a unit of work of what is known of it, what is told, and all its attempts."""
    uuids = [quantum.uuid for quantum in quanta if quantum.uuid is not None]
    is_blocked = any(quantum.is_blocked for quantum in quanta)
    if known is not None:
        is_blocked |= known.is_blocked
        uuids += [] if known.uuid is None else [known.uuid]
    # The latest one, where UUIDs begin with the time.
    uuid = max(uuids, default=None)
    return _Quantum(number, uuid, ended(attempts, is_blocked=is_blocked), len(attempts), is_blocked)


def _finite(number: float | None) -> float | None:
    return number if number is None or isfinite(number) else None
