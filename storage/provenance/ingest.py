"""Records of provenance are taken in: in batches, each once, whatever is taken in twice and whoever dies meanwhile.

A batch is one transaction, and so is how far its source is. Whoever takes the same source in again goes on behind the
last batch. Nothing is counted twice if a batch, or a source, or another source that tells of the same, comes again.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import astuple, dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.dialect import Dialect
from butlerql.storage.provenance.absorbing import absorb
from butlerql.storage.provenance.batches import Batch, how_many
from butlerql.storage.provenance.records import (
    DatasetRecord,
    ExecutionColumns,
    Many,
    QuantumColumns,
    QuantumRecord,
    Record,
    Skipped,
    Source,
    SourceKind,
)
from butlerql.storage.provenance.summing import sum_up
from butlerql.storage.provenance.tables import SKIPPED, SOURCE
from butlerql.storage.provenance.writing import alone, next_number
from butlerql.storage.state.database import State
from butlerql.storage.state.tables import NOW

__all__ = ["Ingested", "ingest", "ingest_at_once", "known_of"]

_BATCH = 20_000
"""How much is one transaction: quanta, executions and other records; datasets by the fifth, edges by the twentieth."""


@dataclass(frozen=True, slots=True)
class Ingested:
    """What was taken in of a source, all in all."""

    records: int
    """How many it has."""

    quanta: int
    """How many units of work were new."""

    executions: int
    """How many attempts were new."""

    skipped: int
    """How much of it could not be read."""


async def ingest(state: State, source: Source, batches: AsyncIterable[Sequence[Record]]) -> Ingested:
    """Take a source in.

    Parameters
    ----------
    state
        Where to.
    source
        What the records are of. One that was taken in to its end is not taken in again, but for what a run holds of
        metadata and logs of which something could not be read: it may be readable by now, and the source is the same.
    batches
        All its records, from the first, a few at a time. They are asked for while no transaction is open, and not at
        all if nothing of them is needed.

    Raises
    ------
    StateError
        Raised if the state cannot be written to.
    """
    dialect = state.dialect

    async def begin(connection: AsyncConnection) -> tuple[int, int, bool]:
        await alone(connection)
        return await _begin(connection, dialect, source)

    number, passed, is_done = await state.write(begin)
    if not is_done:
        async for batch in _batches(batches, passed):

            async def take_in(connection: AsyncConnection, batch: Batch = batch) -> None:
                await alone(connection)
                await absorb(connection, dialect, source.kind, number, batch)

            await state.write(take_in)
    # Others may have left something that is not summed up, also where there is nothing new here.
    await sum_up(state)
    if not is_done:
        await state.write(lambda connection: _end(connection, number))
    return await state.read(lambda connection: _result(connection, number), absent=Ingested(0, 0, 0, 0))


async def ingest_at_once(state: State, source: Source, records: Sequence[Record]) -> Ingested:
    """Take in a few records, in one transaction, of a source that never ends.

    Nothing is summed up: whoever takes in a whole source next does it, or `SummingLater`.

    Returns
    -------
    Ingested
        Of these records.

    Raises
    ------
    StateError
        Raised if the state cannot be written to.
    """
    batch = Batch()
    for record in records:
        batch.add(record)

    async def take_in(connection: AsyncConnection) -> Ingested:
        await alone(connection)
        number, *_ = await _begin(connection, state.dialect, source)
        before = await _result(connection, number)
        await absorb(connection, state.dialect, source.kind, number, batch)
        after = await _result(connection, number)
        return Ingested(*(now - was for now, was in zip(astuple(after), astuple(before), strict=True)))

    return await state.write(take_in)


async def known_of(state: State, source: Source) -> tuple[Ingested, list[Skipped]]:
    """Tell what is taken in of a source as yet, and name what of it was skipped."""
    nothing: tuple[Ingested, list[Skipped]] = (Ingested(0, 0, 0, 0), [])

    async def find(connection: AsyncConnection) -> tuple[Ingested, list[Skipped]]:
        number = await connection.scalar(sa.select(SOURCE.c.id).where(*_is(source)))
        if number is None:
            return nothing
        c = SKIPPED.c
        names = sa.select(c.name, c.reason).where(c.source_id == number).order_by(c.number)
        return await _result(connection, number), [Skipped(*row) for row in await connection.execute(names)]

    return await state.read(find, absent=nothing)


async def _batches(records: AsyncIterable[Sequence[Record]], passed: int) -> AsyncIterator[Batch]:
    """Put records together to what is one transaction, but for the first ones, which have been taken in."""
    batch, weight = Batch(), 0.0
    async for some in records:
        for record in some:
            number = how_many(record)
            if passed >= number:
                passed -= number
                continue
            batch.add(_behind(record, passed))
            weight += _weight(record)
            passed = 0
            if weight >= _BATCH:
                yield batch
                batch, weight = Batch(), 0.0
    if batch.records:
        yield batch


def _behind(record: Record, passed: int) -> Record:
    """Leave out the first of many."""
    if not isinstance(record, Many) or not passed:
        return record
    digits, types, data_ids, runs, produced = record.datasets
    datasets = digits[passed:], types[passed:], data_ids[passed:], runs[passed:], produced[passed:]
    return Many(datasets, _quanta_behind(record.quanta, max(0, passed - len(digits))))


def _quanta_behind(quanta: QuantumColumns, passed: int) -> QuantumColumns:
    """Leave out the first quanta, and what belongs to them."""
    executions, read, written = (sum(one[:passed]) for one in (quanta.attempts, quanta.inputs, quanta.outputs))
    of_quanta, of_executions = quanta[:9], quanta.executions
    left = ExecutionColumns._make(column[executions:] for column in of_executions)
    return QuantumColumns._make(
        (*(column[passed:] for column in of_quanta), left, quanta.read[read:], quanta.written[written:])
    )


def _weight(record: Record) -> float:
    """Tell how much a record is of a transaction, which is about how much memory it takes."""
    if isinstance(record, Many):
        quanta = record.quanta
        edges = len(quanta.read) + len(quanta.written)
        return len(quanta.run) + len(quanta.executions.status) + len(record.datasets[0]) / 5 + edges / 20
    if isinstance(record, QuantumRecord):
        return 1 + len(record.executions) + (len(record.inputs) + len(record.outputs)) / 20
    return 1 / 5 if isinstance(record, DatasetRecord) else 1


async def _begin(connection: AsyncConnection, dialect: Dialect, source: Source) -> tuple[int, int, bool]:
    row = (await connection.execute(sa.select(SOURCE).where(*_is(source)))).one_or_none()
    if row is not None:
        if row.ended_at is None or not await _lacks_something(connection, source, row.id):
            return row.id, row.records, row.ended_at is not None
        # What it tells once more changes nothing.
        await connection.execute(sa.delete(SKIPPED).where(SKIPPED.c.source_id == row.id))
        await connection.execute(sa.update(SOURCE).where(SOURCE.c.id == row.id).values(records=0, ended_at=None))
        return row.id, 0, False
    number = await next_number(connection, SOURCE)
    new = sa.insert(SOURCE).values(
        id=number, kind=source.kind.value, name=source.name, digest=source.digest, records=0, quanta=0, executions=0
    )
    await connection.execute(new)
    return number, 0, False


async def _lacks_something(connection: AsyncConnection, source: Source, number: int) -> bool:
    """Tell whether some of it could not be read, and may be later without it being another source."""
    if source.kind is not SourceKind.TASK_RECORDS:
        return False
    return (
        await connection.scalar(sa.select(SKIPPED.c.source_id).where(SKIPPED.c.source_id == number).limit(1))
        is not None
    )


def _is(source: Source) -> list[sa.ColumnElement[bool]]:
    c = SOURCE.c
    return [c.kind == source.kind.value, c.name == source.name, c.digest == source.digest]


async def _end(connection: AsyncConnection, number: int) -> None:
    await connection.execute(sa.update(SOURCE).where(SOURCE.c.id == number).values(ended_at=NOW))


async def _result(connection: AsyncConnection, number: int) -> Ingested:
    skipped = sa.select(sa.func.count()).select_from(SKIPPED).where(SKIPPED.c.source_id == number)
    row = (await connection.execute(sa.select(SOURCE).where(SOURCE.c.id == number))).one()
    return Ingested(row.records, row.quanta, row.executions, int(await connection.scalar(skipped) or 0))
