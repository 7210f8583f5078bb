"""Units of work, and attempts at them, become rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, chain, compress, islice
from math import isfinite
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.dialect import Dialect
from butlerql.storage.provenance.batches import Names, repeated
from butlerql.storage.provenance.merging import Attempt, ended, in_order, merged
from butlerql.storage.provenance.records import QuantumColumns
from butlerql.storage.provenance.tables import EXECUTION, PLAN, QUANTUM, RUN, TASK_SUMMARY
from butlerql.storage.provenance.writing import cleaned, next_number
from butlerql.storage.state.bulk import add_columns, add_rows, change_rows

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


class _Row(NamedTuple):
    """What is told of a unit of work, once."""

    graph: int | None
    uuid: str | None
    is_blocked: bool
    attempts: list[Attempt]


class _Told:
    """What is told of units of work, in columns.

    Attributes
    ----------
    keys, graphs, attempts
        Of each: its key, the graph that planned it, and how many attempts at it are told of.
    quanta
        Columns of `QUANTUM`, without numbers, where each is told of once and of no more than one attempt.
    executions
        Columns of `EXECUTION`, without those that all attempts at a unit of work have in common.
    """

    def __init__(self, told: QuantumColumns, rank: int, names: Names) -> None:
        runs = [names.runs[run] for run in told.run]
        tasks = [names.tasks[task] for task in told.task]
        executions = told.executions
        statuses = [
            executions.status[end - 1] if attempts else ended((), is_blocked=is_blocked)
            for attempts, end, is_blocked in zip(told.attempts, accumulate(told.attempts), told.is_blocked, strict=True)
        ]
        self.keys: list[_Key] = list(zip(runs, tasks, told.data_id, strict=True))
        self.graphs = [None if graph is None else names.graphs[graph] for graph in told.pipeline_execution]
        self.attempts = told.attempts
        self.quanta: list[list[Any]] = [
            runs,
            tasks,
            told.data_id,
            told.uuid,
            statuses,
            told.attempts,
            told.is_blocked,
        ]
        number = len(executions.status)
        self.executions: list[list[Any]] = [
            [0] * number,
            executions.attempt,
            [rank] * number,
            executions.status,
            [None if host is None else names.hosts[host] for host in executions.host],
            executions.started_at,
            executions.ended_at,
            list(map(_finite, executions.run_time)),
            list(map(_finite, executions.cpu_time)),
            executions.max_rss,
            executions.process_index,
            [None if name is None else names.exceptions[name] for name in executions.exception],
            list(map(cleaned, executions.message)),
            executions.caveats,
            executions.log,
            executions.metadata,
        ]

    def rows(self, numbers: Mapping[_Key, int], *, but: Sequence[bool]) -> dict[_Key, list[_Row]]:
        """Give rows of all but some, with these numbers of units of work."""
        if all(but):
            return {}
        chosen = [not one for one in but]
        uuids, are_blocked = self.quanta[3], self.quanta[6]
        quanta = zip(self.keys, self.graphs, uuids, are_blocked, self.attempts, strict=True)
        executions = compress(zip(*self.executions, strict=True), repeated(chosen, self.attempts))
        found: dict[_Key, list[_Row]] = {}
        for key, graph, uuid, is_blocked, number in compress(quanta, chosen):
            common = (None, numbers[key], *key[:2], graph)
            attempts = [Attempt(*common, *values) for values in islice(executions, number)]
            found.setdefault(key, []).append(_Row(graph, uuid, is_blocked, attempts))
        return found


class _Changes:
    """What is to be written of a batch, but for what is plain."""

    def __init__(self) -> None:
        self.quanta: list[tuple[Any, ...]] = []
        self.new_executions: dict[int, list[Attempt]] = {}
        """By the number of their unit of work."""

        self.executions: list[tuple[Any, ...]] = []
        self.plans: list[tuple[int, int]] = []
        self.touched: set[tuple[int, int]] = set()
        """Runs and tasks."""

    def note_attempts(self, quantum: int, was: Sequence[Attempt], now: Sequence[Attempt]) -> bool:
        """Note which attempts at a unit of work are new, and which are not what they were; tell whether there are."""
        before = {attempt.id: attempt for attempt in was}
        new = [attempt for attempt in now if attempt.id is None]
        changed = [attempt for attempt in now if attempt.id is not None and attempt != before[attempt.id]]
        self.new_executions[quantum] = new
        self.executions += [(*attempt[1:], attempt.id) for attempt in changed]
        return bool(new or changed)

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

    async def absorb(self, quanta: QuantumColumns) -> None:
        """Take units of work in.

        One that is told of once, with no more than one attempt, and is not known, is as plain as most are: of these,
        columns are written as they came.
        """
        if not quanta.run:
            return
        told = _Told(quanta, self._rank, self._names)
        fresh = await next_number(self._connection, QUANTUM)
        numbers: dict[_Key, int] = {}
        self.numbers = [numbers.setdefault(key, fresh + len(numbers)) for key in told.keys]
        times = Counter(self.numbers)
        are_plain = [
            attempts <= 1 and times[number] == 1 for number, attempts in zip(self.numbers, told.attempts, strict=True)
        ]
        others = told.rows(numbers, but=are_plain)
        new = [(numbers[key], *key, *_together(0, None, rows, _with([], rows))[1:]) for key, rows in others.items()]
        # Mostly, none of them is known: to find that out takes no longer than to add them.
        self.added = await self._add(QUANTUM, _chosen([self.numbers, *told.quanta], are_plain), new)
        known: dict[_Key, _Quantum] = {}
        were: dict[int, list[Attempt]] = {}
        plans: set[tuple[int, int]] = set()
        if self.added < len(numbers):
            known = await self._known(numbers, fresh)
            were = await self._attempts([quantum.id for quantum in known.values()])
            plans = await self._planned([quantum.id for quantum in known.values()])
            numbers |= {key: quantum.id for key, quantum in known.items()}
            self.numbers = [numbers[key] for key in told.keys]
            are_plain = [is_plain and key not in known for key, is_plain in zip(told.keys, are_plain, strict=True)]
            others = told.rows(numbers, but=are_plain)
        changes = _Changes()
        for key, rows in others.items():
            quantum, number = known.get(key), numbers[key]
            was = were.get(number, [])
            now = _with(was, rows)
            after = _together(number, quantum, rows, now)
            if quantum is not None and after != quantum:
                changes.quanta.append((*after[1:], number))
            is_new = changes.note_attempts(number, was, now)
            is_new |= changes.note_plans(plans, number, {row.graph for row in rows})
            # What never ran may be told to need more than was known: `mark_blocked` looks at it again.
            if is_new or after != quantum or not now:
                changes.touched.add(key[:2])
        await self._write(told, are_plain, changes)

    async def _write(self, told: _Told, are_plain: Sequence[bool], changes: _Changes) -> None:
        """Write attempts and what is known by them: columns of what is plain, and all changes."""
        runs, tasks, *_ = told.quanta
        # Attempts have numbers in the order in which they are told.
        counts = dict(zip(self.numbers, told.attempts, strict=True))
        counts |= {quantum: len(new) for quantum, new in changes.new_executions.items()}
        start = await next_number(self._connection, EXECUTION)
        firsts = dict(zip(counts, accumulate(counts.values(), initial=start), strict=False))
        have_run = [is_plain and attempts > 0 for is_plain, attempts in zip(are_plain, told.attempts, strict=True)]
        common = [[firsts[number] for number in self.numbers], self.numbers, runs, tasks, told.graphs]
        plain = [*_chosen(common, have_run), *_chosen(told.executions, repeated(are_plain, told.attempts))]
        executions = [
            (number, *attempt[1:])
            for quantum, new in changes.new_executions.items()
            for number, attempt in enumerate(new, firsts[quantum])
        ]
        are_planned = [is_plain and graph is not None for is_plain, graph in zip(are_plain, told.graphs, strict=True)]
        await change_rows(self._connection, QUANTUM, changes.quanta, *_Quantum._fields[1:])
        self.added_executions = await self._add(EXECUTION, plain, executions)
        await change_rows(self._connection, EXECUTION, changes.executions, *Attempt._fields[1:])
        await self._add(PLAN, _chosen([self.numbers, told.graphs], are_planned), changes.plans)
        await self._unsum(changes.touched.union(compress(zip(runs, tasks, strict=True), are_plain)))

    async def _add(self, table: sa.Table, columns: Sequence[Sequence[Any]], rows: Sequence[Sequence[Any]]) -> int:
        """Insert columns and rows; tell how many were not there."""
        added = await add_columns(self._connection, self._dialect, table, columns)
        return added + await add_rows(self._connection, self._dialect, table, rows)

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


def _chosen(columns: Sequence[Sequence[Any]], chosen: Sequence[bool]) -> Sequence[Sequence[Any]]:
    """Give columns of the chosen rows."""
    return columns if all(chosen) else [list(compress(column, chosen)) for column in columns]


def _with(known: Sequence[Attempt], quanta: Iterable[_Row]) -> list[Attempt]:
    """Give the attempts that are known together with those that are told, in order."""
    return in_order(merged(known, chain.from_iterable(quantum.attempts for quantum in quanta)))


def _together(number: int, known: _Quantum | None, quanta: Sequence[_Row], attempts: Sequence[Attempt]) -> _Quantum:
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
