"""A state that an earlier program made is brought up to date, with what it holds."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.provenance.ingest import ingest
from butlerql.storage.provenance.records import ExecutionRecord, QuantumRecord, QuantumStatus, Source, SourceKind
from butlerql.storage.provenance.tables import RUN
from butlerql.storage.state.database import State
from tests.support.provenance_state import emptied, in_batches


async def test_when_runs_began_is_found_out(state: State) -> None:
    starts = {"two": (5, 3), "one": (7,), "some not known": (1, None)}
    records = [
        QuantumRecord(
            run, "isr", {"exposure": unit}, executions=(ExecutionRecord(0, QuantumStatus.FAILED, "a", start),)
        )
        for run, some in starts.items()
        for unit, start in enumerate(some)
    ]
    await emptied(state)
    await ingest(state, Source(SourceKind.JSON_LINES, "lines", "1"), in_batches(records))
    expected = {"two": (3, 5), "one": (7, 7), "some not known": (None, None)}
    assert await times(state) == expected

    async def go_back(connection: AsyncConnection) -> None:
        for column in ("first_start", "last_start", "packages"):
            await connection.exec_driver_sql(f"ALTER TABLE run DROP COLUMN {column}")
        await connection.exec_driver_sql("ALTER TABLE pipeline_task DROP COLUMN initial_outputs")
        await connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0004'")

    await state.write(go_back)
    assert (await state.upgrade())[0] == "0004"
    assert await times(state) == expected


async def times(state: State) -> dict[str, tuple[int | None, int | None]]:
    async def find(connection: AsyncConnection) -> dict[str, tuple[int | None, int | None]]:
        rows = await connection.execute(sa.select(RUN.c.name, RUN.c.first_start, RUN.c.last_start))
        return {name: (first, last) for name, first, last in rows}

    return await state.read(find, absent={})
