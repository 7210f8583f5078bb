"""A batch of records becomes rows, put together with what is known already."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.dialect import Dialect, UuidText
from butlerql.storage.provenance.absorbing_datasets import absorb_datasets
from butlerql.storage.provenance.absorbing_quanta import Quanta
from butlerql.storage.provenance.batches import Batch, Names, filled
from butlerql.storage.provenance.records import (
    PipelineExecutionRecord,
    RunRecord,
    SourceKind,
    TaskRecord,
)
from butlerql.storage.provenance.tables import (
    EXCEPTION,
    HOST,
    PACKAGES,
    PIPELINE_EXECUTION,
    PIPELINE_TASK,
    RUN,
    SKIPPED,
    SOURCE,
    TASK,
    TASK_USE,
)
from butlerql.storage.provenance.writing import cleaned, next_number, numbers_of
from butlerql.storage.state.bulk import add_rows, change_rows

__all__ = ["absorb"]

_RANKS = {kind: rank for rank, kind in enumerate(SourceKind)}


async def absorb(connection: AsyncConnection, dialect: Dialect, kind: SourceKind, source: int, batch: Batch) -> None:
    """Take a batch in, and write down that it is.

    Parameters
    ----------
    connection
        A transaction of the state in which nobody else takes anything in.
    dialect
        Of the state's database.
    kind
        Of the source.
    source
        Its number.
    batch
        What follows in it on what was taken in before.
    """
    names = await _names(connection, dialect, batch)
    await _absorb_runs(connection, dialect, batch.runs, names)
    await _absorb_tasks(connection, dialect, batch.tasks, names)
    quanta = Quanta(connection, dialect, _RANKS[kind], names)
    await quanta.absorb(batch.quanta)
    await absorb_datasets(connection, dialect, batch, names, quanta.numbers)
    before = int(await connection.scalar(sa.select(SOURCE.c.records).where(SOURCE.c.id == source)) or 0)
    skipped = [(source, before + place, cleaned(one.name), cleaned(one.reason)) for place, one in batch.skipped]
    await add_rows(connection, dialect, SKIPPED, skipped)
    await connection.execute(
        sa.update(SOURCE)
        .where(SOURCE.c.id == source)
        .values(
            records=SOURCE.c.records + batch.records,
            quanta=SOURCE.c.quanta + quanta.added,
            executions=SOURCE.c.executions + quanta.added_executions,
        )
    )


async def _names(connection: AsyncConnection, dialect: Dialect, batch: Batch) -> Names:
    executions = [execution for quantum in batch.quanta for execution in quantum.executions]
    graphs = {record.uuid.hex: record for record in batch.pipeline_executions}
    named = dict.fromkeys((quantum.pipeline_execution, quantum.run) for quantum in batch.quanta)
    named |= dict.fromkeys((_digits(record.pipeline_execution), record.run) for record in batch.tasks)
    for digits, run in named:
        if digits is not None and digits not in graphs:
            graphs[digits] = PipelineExecutionRecord(UUID(digits), run)
    runs = {run for _, run in named} | {graph.run for graph in batch.pipeline_executions}
    runs |= {record.run for record in batch.runs} | {run for run in set(batch.datasets[3]) if run is not None}
    labels = {quantum.task for quantum in batch.quanta} | {record.label for record in batch.tasks}
    hosts = {one.host for one in executions if one.host is not None}
    exceptions = {one.exception for one in executions if one.exception is not None}
    numbers = await numbers_of(connection, dialect, RUN, runs, hosts_summed=True)
    return Names(
        numbers,
        await numbers_of(connection, dialect, TASK, labels),
        await numbers_of(connection, dialect, HOST, hosts),
        await numbers_of(connection, dialect, EXCEPTION, exceptions),
        await _absorb_graphs(connection, dialect, graphs, numbers),
    )


async def _absorb_graphs(
    connection: AsyncConnection,
    dialect: Dialect,
    graphs: Mapping[str, PipelineExecutionRecord],
    runs: Mapping[str, int],
) -> dict[str, int]:
    """Take pipeline executions in, and give their numbers; they are told by the digits of their UUIDs."""
    if not graphs:
        return {}
    table = PIPELINE_EXECUTION
    given = dialect.rows("given", {"uuid": UuidText()}, [(digits,) for digits in graphs])
    found = await connection.execute(sa.select(table).join(given, given.c.uuid == table.c.uuid))
    known = {row.uuid.replace("-", ""): row for row in found}
    fresh = await next_number(connection, table)
    numbers: dict[str, int] = {}
    new: list[tuple[Any, ...]] = []
    changed: list[tuple[Any, ...]] = []
    packages: list[tuple[str, str]] = []
    for digits, record in graphs.items():
        digest = None
        if record.packages is not None:
            packages.append(_packages_row(record.packages))
            digest = packages[-1][0]
        details = (cleaned(record.pipeline), cleaned(record.user), cleaned(record.command), record.created_at, digest)
        row = known.get(digits)
        if row is None:
            numbers[digits] = fresh + len(new)
            new.append((numbers[digits], digits, runs[record.run], *details))
        else:
            numbers[digits] = row.id
            before = (row.pipeline, row.made_by, row.command, row.created_at, row.packages)
            after = filled(before, details)
            if after != before:
                changed.append((*after, row.id))
    await add_rows(connection, dialect, PACKAGES, packages)
    await add_rows(connection, dialect, table, new)
    await change_rows(connection, table, changed, "pipeline", "made_by", "command", "created_at", "packages")
    return numbers


def _packages_row(packages: Mapping[str, str]) -> tuple[str, str]:
    """Make the digest of versions of packages, and what they are written as."""
    content = orjson.dumps(dict(packages), option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(content, digest_size=16).hexdigest(), content.decode()


async def _absorb_runs(
    connection: AsyncConnection, dialect: Dialect, records: Sequence[RunRecord], names: Names
) -> None:
    packages = [_packages_row(record.packages) for record in records]
    await add_rows(connection, dialect, PACKAGES, packages)
    changed = [(digest, names.runs[record.run]) for (digest, _), record in zip(packages, records, strict=True)]
    await change_rows(connection, RUN, changed, "packages")


async def _absorb_tasks(
    connection: AsyncConnection, dialect: Dialect, records: Sequence[TaskRecord], names: Names
) -> None:
    if not records:
        return
    table = PIPELINE_TASK
    wanted: dict[tuple[int, int, int], tuple[Any, ...]] = {}
    uses: dict[tuple[int, bool, str], None] = {}
    for record in records:
        graph = 0 if record.pipeline_execution is None else names.graphs[record.pipeline_execution.hex]
        key = (names.tasks[record.label], names.runs[record.run], graph)
        initial = None if record.initial_outputs is None else orjson.dumps(sorted(record.initial_outputs)).decode()
        details = (record.task_class, _digits(record.config), record.config_digest, initial)
        wanted[key] = filled(wanted.get(key, (None,) * len(details)), details)
        for is_output, dataset_types in ((False, record.inputs), (True, record.outputs)):
            uses |= dict.fromkeys((key[0], is_output, dataset_type) for dataset_type in dataset_types or ())
    columns = {name: sa.BigInteger() for name in ("task_id", "run_id", "pipeline_execution_id")}
    given = dialect.rows("given", columns, list(wanted))
    same = [given.c[name] == table.c[name] for name in columns]
    changed: list[tuple[Any, ...]] = []
    for row in await connection.execute(sa.select(table).join(given, sa.and_(*same))):
        key = (row.task_id, row.run_id, row.pipeline_execution_id)
        config = row.config and row.config.replace("-", "")
        before = (row.task_class, config, row.config_digest, row.initial_outputs)
        after = filled(before, wanted.pop(key))
        if after != before:
            changed.append((*after, *key))
    await add_rows(connection, dialect, table, [(*key, *details) for key, details in wanted.items()])
    await change_rows(connection, table, changed, "task_class", "config", "config_digest", "initial_outputs")
    await add_rows(connection, dialect, TASK_USE, list(uses))


def _digits(uuid: UUID | None) -> str | None:
    return None if uuid is None else uuid.hex
