"""Summaries of provenance over three million executions, on SQLite, and on PostgreSQL where there is a server.

usage: python -m benchmarks.provenance_summaries CACHE      where what is asked is kept, on SQLite
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from benchmarks.measure import race, report
from butlerql.storage.provenance import tables
from butlerql.storage.provenance.anomalies import find_anomalies
from butlerql.storage.provenance.distributions import Measure
from butlerql.storage.provenance.filters import QuantumFilter
from butlerql.storage.provenance.host_summaries import find_host_summaries, host_summaries_of_runs
from butlerql.storage.provenance.records import QuantumStatus
from butlerql.storage.provenance.summing import sum_up
from butlerql.storage.provenance.task_summaries import find_task_summaries, measured_tasks
from butlerql.storage.state.bulk import add_rows
from butlerql.storage.state.database import State
from butlerql.storage.state.place import StatePlace
from tests.support.postgres import find_binaries, run_server

_RUNS, _TASKS, _UNITS, _HOSTS = 100, 40, 750, 2_000
_BAD_HOST = 7
_START = 1_790_000_000_000_000
_DAY = 86_400_000_000


def _quanta() -> Iterator[tuple[Any, ...]]:
    """Give the units of work of all runs: their number, run, task, and data ID."""
    number = 0
    for run in range(1, _RUNS + 1):
        for task in range(1, _TASKS + 1):
            for unit in range(_UNITS):
                number += 1
                data_id = f'{{"detector":{unit % 189},"exposure":{20260000 + unit // 189},"instrument":"LSSTCam"}}'
                yield number, run, task, data_id


def _attempts(quantum: int, run: int, task: int, chance: random.Random) -> Iterator[dict[str, Any]]:
    """Give the attempts at a unit of work: some fail by chance, on the bad machine all, and are made again."""
    start = _START + run * _DAY + task * 600_000_000 + chance.randrange(600_000_000)
    for attempt in range(3):
        host = chance.randrange(1, _HOSTS + 1)
        failed = host == _BAD_HOST or chance.random() < 0.01
        seconds = task * chance.uniform(0.8, 1.3)
        end = start + int(seconds * 1e6)
        yield {
            "quantum_id": quantum,
            "run_id": run,
            "task_id": task,
            "attempt": attempt,
            "number": attempt,
            "believed": 0,
            "status": int(QuantumStatus.FAILED if failed else QuantumStatus.SUCCESSFUL),
            "host_id": host,
            "started_at": start,
            "ended_at": end,
            "run_time": seconds,
            "cpu_time": seconds * 0.9,
            "max_rss": int(seconds * 1e8),
            "process_index": 0,
            "exception_id": 1 if failed else None,
            "message": "it broke" if failed else None,
            "caveats": None if failed else 0,
        }
        if not failed:
            return
        start = end


async def fill(state: State) -> None:
    """Write what was done, as an ingest leaves it, and sum it up."""
    chance = random.Random(1)
    names = {tables.TASK: _TASKS, tables.HOST: _HOSTS, tables.EXCEPTION: 1}

    async def write_names(connection: AsyncConnection) -> None:
        for table, count in names.items():
            rows = [(number, f"{table.name}-{number}") for number in range(1, count + 1)]
            await add_rows(connection, state.dialect, table, rows)
        runs = [(number, f"u/ops/nightly/{number:03}", False) for number in range(1, _RUNS + 1)]
        await add_rows(connection, state.dialect, tables.RUN, runs, "id", "name", "hosts_summed")
        pairs = [(run, task, None) for run in range(1, _RUNS + 1) for task in range(1, _TASKS + 1)]
        await add_rows(connection, state.dialect, tables.TASK_SUMMARY, pairs)

    await state.write(write_names)
    columns = tables.EXECUTION.c.keys()
    number = 0
    units = _quanta()
    while some := list(islice(units, 100_000)):
        executions, quanta = [], []
        for quantum, run, task, data_id in some:
            attempts = list(_attempts(quantum, run, task, chance))
            quanta.append((quantum, run, task, data_id, None, attempts[-1]["status"], len(attempts), False))
            for values in attempts:
                number += 1
                executions.append([number if name == "id" else values.get(name) for name in columns])

        async def write(
            connection: AsyncConnection, quanta: list[Any] = quanta, executions: list[Any] = executions
        ) -> None:
            await add_rows(connection, state.dialect, tables.QUANTUM, quanta)
            await add_rows(connection, state.dialect, tables.EXECUTION, executions)

        await state.write(write)
    await sum_up(state)


async def ask(state: State) -> None:
    """Time the questions."""
    name = "u/ops/nightly/{:03}".format
    one, everything = QuantumFilter(only_runs=[name(50)]), QuantumFilter()
    since_ever, since_then = (QuantumFilter(started_after=_START + days * _DAY) for days in (0, 90))

    async def measured() -> None:
        await measured_tasks(state, await find_task_summaries(state, one), Measure.RUN_TIME)

    best = await race(
        {
            "tasks of one run, with their run times": measured,
            "hosts of one run": partial(find_host_summaries, state, one),
            "hosts of ten runs, by run": partial(host_summaries_of_runs, state, list(map(name, range(41, 51)))),
            "tasks of all runs": partial(find_task_summaries, state, everything),
            "hosts of all runs": partial(find_host_summaries, state, everything, 5),
            "hosts since ever, by time": partial(find_host_summaries, state, since_ever, 5),
            "hosts since ten days, by time": partial(find_host_summaries, state, since_then, 5),
            "anomalies of a run, compared with one": partial(find_anomalies, state, name(50), [name(49)], 2.0, 3),
            "anomalies of a run, compared with ten": partial(
                find_anomalies, state, name(50), list(map(name, range(40, 50))), 2.0, 3
            ),
        },
        rounds=5,
    )
    report(f"3,000,000 executions on {state.dialect.name}", best, "hosts of one run")


async def main(cache: Path) -> None:
    """Ask on both databases."""
    path = cache / "provenance.sqlite3"
    is_new = not path.exists()
    await _measure(StatePlace(f"sqlite+aiosqlite:///{path}", None, "registry"), is_new=is_new)
    if (binaries := find_binaries()) is None:
        print("no PostgreSQL server was found")
        return
    with run_server(binaries) as server:
        database = server.create_database()
        place = StatePlace(server.url(database).replace("psycopg2", "asyncpg"), "butlerql", "registry")
        await _measure(place, is_new=True)


async def _measure(place: StatePlace, *, is_new: bool) -> None:
    state = State(place, "measured")
    if is_new:
        await state.upgrade()
        begin = time.perf_counter()
        await fill(state)
        if place.schema is not None:
            # As the server would by itself, in time.
            await state.write(lambda connection: connection.exec_driver_sql("ANALYZE"))
        print(f"filled in {time.perf_counter() - begin:.0f} s")
    await ask(state)
    await state.close()


if __name__ == "__main__":
    place = Path(sys.argv[1])
    place.mkdir(parents=True, exist_ok=True)
    asyncio.run(main(place))
