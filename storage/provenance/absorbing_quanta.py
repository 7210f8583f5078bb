"""Units of work, and attempts at them, become rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.dialect import Dialect
from butlerql.storage.provenance.batches import Names, QuantumKey
from butlerql.storage.provenance.merging import Attempt, ended, in_order, merged
from butlerql.storage.provenance.records import ExecutionRecord, QuantumRecord
from butlerql.storage.provenance.tables import EXECUTION, PLAN, QUANTUM, RUN, TASK_SUMMARY
from butlerql.storage.provenance.writing import cleaned, next_number
from butlerql.storage.state.bulk import add_rows, change_rows

__all__ = ["Quanta"]


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
        self.new_quanta: list[tuple[Any, ...]] = []
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
        Of those that were taken in.
    added, added_executions
        How many of them, and how many attempts, were new.
    """

    def __init__(self, connection: AsyncConnection, dialect: Dialect, rank: int, names: Names) -> None:
        self._connection = connection
        self._dialect = dialect
        self._rank = rank
        self._names = names
        self.numbers: dict[QuantumKey, int] = {}
        self.added = self.added_executions = 0

    async def absorb(self, quanta: Mapping[QuantumKey, Sequence[QuantumRecord]]) -> None:
        """Take units of work in."""
        if not quanta:
            return
        known = await self._known(quanta)
        numbers = [quantum.id for quantum in known.values()]
        attempts, plans = await self._attempts(numbers), await self._planned(numbers)
        fresh = await next_number(self._connection, QUANTUM)
        changes = _Changes()
        for key, records in quanta.items():
            of = self._names.runs[key[0]], self._names.tasks[key[1]]
            before = known.get(key)
            number = fresh + len(changes.new_quanta) if before is None else before.id
            self.numbers[key] = number
            was = attempts.get(number, [])
            now = self._with(was, records, number, of)
            quantum = _together(number, before, records, now)
            if before is None:
                changes.new_quanta.append((number, *of, key[2], *quantum[1:]))
            elif quantum != before:
                changes.quanta.append((*quantum[1:], number))
            is_new = changes.note_attempts(was, now)
            is_new |= changes.note_plans(plans, number, {self._graph(record) for record in records})
            # What never ran may be told to need more than was known: `mark_blocked` looks at it again.
            if is_new or quantum != before or not now:
                changes.touched.add(of)
        await self._write(changes)

    def _graph(self, record: QuantumRecord) -> int | None:
        return None if record.pipeline_execution is None else self._names.graphs[record.pipeline_execution]

    def _with(
        self, known: list[Attempt], records: Iterable[QuantumRecord], number: int, of: tuple[int, int]
    ) -> list[Attempt]:
        """Give the attempts that are known together with those of records, in order."""
        for record in records:
            if record.executions:
                graph = self._graph(record)
                rows = [self._row(one, number, of, graph) for one in record.executions]
                known = rows if not known and len(rows) == 1 else merged(known, rows)
        return in_order(known)

    async def _write(self, changes: _Changes) -> None:
        connection, dialect = self._connection, self._dialect
        start = await next_number(connection, EXECUTION)
        executions = [(start + place, *attempt[1:]) for place, attempt in enumerate(changes.new_executions)]
        await add_rows(connection, dialect, QUANTUM, changes.new_quanta)
        await change_rows(connection, QUANTUM, changes.quanta, *_Quantum._fields[1:])
        await add_rows(connection, dialect, EXECUTION, executions)
        await change_rows(connection, EXECUTION, changes.executions, *Attempt._fields[1:])
        await add_rows(connection, dialect, PLAN, changes.plans)
        await self._unsum(changes.touched)
        self.added, self.added_executions = len(changes.new_quanta), len(executions)

    def _row(self, record: ExecutionRecord, quantum: int, of: tuple[int, int], graph: int | None) -> Attempt:
        names = self._names
        log, metadata = record.log, record.metadata
        return Attempt(
            None,
            quantum,
            *of,
            graph,
            record.attempt,
            record.attempt,
            self._rank,
            int(record.status),
            None if record.host is None else names.hosts[record.host],
            record.started_at,
            record.ended_at,
            _finite(record.run_time),
            _finite(record.cpu_time),
            record.max_rss,
            record.process_index,
            None if record.exception is None else names.exceptions[record.exception],
            cleaned(record.message),
            None if record.caveats is None else int(record.caveats),
            None if log is None else log.hex,
            None if metadata is None else metadata.hex,
        )

    async def _known(self, quanta: Iterable[QuantumKey]) -> dict[QuantumKey, _Quantum]:
        names = self._names
        given = self._dialect.rows(
            "given",
            {"place": sa.BigInteger(), "run_id": sa.BigInteger(), "task_id": sa.BigInteger(), "data_id": sa.Text()},
            [(place, names.runs[key[0]], names.tasks[key[1]], key[2]) for place, key in enumerate(quanta)],
        )
        table = QUANTUM
        same = [given.c[name] == table.c[name] for name in ("run_id", "task_id", "data_id")]
        columns = [table.c[name] for name in _Quantum._fields]
        joined = self._dialect.each(given, table)
        found = await self._connection.execute(sa.select(given.c.place, *columns).select_from(joined).where(*same))
        keys = list(quanta)
        return {
            keys[row.place]: _Quantum(
                row.id, row.uuid and row.uuid.replace("-", ""), row.status, row.attempts, row.is_blocked
            )
            for row in found
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
    number: int, known: _Quantum | None, records: Sequence[QuantumRecord], attempts: Sequence[Attempt]
) -> _Quantum:
    """Give the row of a unit of work of what is known of it, records and all its attempts."""
    uuids = [record.uuid.hex for record in records if record.uuid is not None]
    is_blocked = any(record.is_blocked for record in records)
    if known is not None:
        is_blocked |= known.is_blocked
        uuids += [] if known.uuid is None else [known.uuid]
    # The latest one, where UUIDs begin with the time.
    uuid = max(uuids, default=None)
    return _Quantum(number, uuid, ended(attempts, is_blocked=is_blocked), len(attempts), is_blocked)


def _finite(number: float | None) -> float | None:
    return number if number is None or isfinite(number) else None
