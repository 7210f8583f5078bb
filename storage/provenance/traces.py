"""Datasets as provenance knows them: which work wrote them, and which read them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, Literal, NamedTuple

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.dialect import UuidText
from butlerql.storage.provenance.looking import one_of
from butlerql.storage.provenance.quanta import SELECT_QUANTA, Quantum, quanta_by_id, quantum_of
from butlerql.storage.provenance.tables import DATASET, EDGE, QUANTUM, RUN
from butlerql.storage.registry.pages import Page, PageRequest, bounds, check_key, cut, ordered
from butlerql.storage.state.database import State

__all__ = [
    "DatasetTrace",
    "count_derived",
    "count_edges",
    "dataset_numbers",
    "derived_traces",
    "producers_of",
    "traces_by_id",
    "traces_of_quanta",
    "used_as_input",
    "users_of",
    "without_producer",
]


class DatasetTrace(NamedTuple):
    """A dataset that was read or written, or was to be; the registry may have forgotten it."""

    id: int
    uuid: str
    dataset_type_name: str | None
    data_id_values: dict[str, int | str] | None
    """The required dimensions."""

    run_name: str | None


Side = Literal["quantum_id", "dataset_id"]


async def dataset_numbers(state: State, uuids: Sequence[str]) -> dict[str, int]:
    """Find the numbers of datasets; those that provenance does not know are left out."""
    given = state.dialect.rows("given", {"uuid": UuidText()}, [(uuid,) for uuid in set(uuids)])
    statement = sa.select(DATASET.c.uuid, DATASET.c.id).where(DATASET.c.uuid.in_(sa.select(given.c.uuid)))

    async def find(connection: AsyncConnection) -> dict[str, int]:
        return {row.uuid: row.id for row in await connection.execute(statement)}

    return await state.read(find, absent={})


async def used_as_input(state: State, uuids: Sequence[str]) -> set[str]:
    """Tell which datasets recorded work has read, or was to read."""
    given = state.dialect.rows("given", {"uuid": UuidText()}, [(uuid,) for uuid in set(uuids)])
    is_read = sa.exists().where(EDGE.c.dataset_id == DATASET.c.id, EDGE.c.is_output == sa.false())
    statement = sa.select(DATASET.c.uuid).where(DATASET.c.uuid.in_(sa.select(given.c.uuid)), is_read)

    async def find(connection: AsyncConnection) -> set[str]:
        return set(await connection.scalars(statement))

    return await state.read(find, absent=set())


async def without_producer(state: State, uuids: Sequence[str]) -> set[str]:
    """Tell which datasets no recorded work has written, or was to write."""
    given = state.dialect.rows("given", {"uuid": UuidText()}, [(uuid,) for uuid in set(uuids)])
    output = sa.select(EDGE.c.quantum_id).where(
        DATASET.c.uuid == given.c.uuid, EDGE.c.dataset_id == DATASET.c.id, EDGE.c.is_output
    )
    statement = sa.select(given.c.uuid).where(one_of(output, given).is_(None))

    async def find(connection: AsyncConnection) -> set[str]:
        return set(await connection.scalars(statement))

    return await state.read(find, absent=set(uuids))


async def traces_by_id(state: State, numbers: Sequence[int]) -> dict[int, DatasetTrace]:
    """Find datasets by their numbers."""
    given = state.dialect.rows("given", {"id": sa.BigInteger()}, [(number,) for number in set(numbers)])
    c = DATASET.c
    statement = (
        sa.select(c.id, c.uuid, c.dataset_type, c.data_id, RUN.c.name)
        .outerjoin_from(DATASET, RUN, RUN.c.id == c.run_id)
        .where(c.id.in_(sa.select(given.c.id)))
    )

    async def find(connection: AsyncConnection) -> dict[int, DatasetTrace]:
        return {
            number: DatasetTrace(number, uuid, kind, None if data_id is None else orjson.loads(data_id), run)
            for number, uuid, kind, data_id, run in await connection.execute(statement)
        }

    return await state.read(find, absent={})


async def producers_of(state: State, numbers: Sequence[int]) -> dict[int, Quantum]:
    """Find the unit of work that wrote each dataset; those that nobody is known to have written are left out.

    Where several were to write it, that is the one that became known first.
    """
    given = state.dialect.rows("given", {"id": sa.BigInteger()}, [(number,) for number in set(numbers)])
    statement = (
        SELECT_QUANTA.add_columns(EDGE.c.dataset_id)
        .join(EDGE, EDGE.c.quantum_id == QUANTUM.c.id)
        .where(EDGE.c.dataset_id.in_(sa.select(given.c.id)), EDGE.c.is_output)
        .order_by(QUANTUM.c.id.desc())
    )

    async def find(connection: AsyncConnection) -> dict[int, Quantum]:
        return {row[-1]: quantum_of(row) for row in await connection.execute(statement)}

    return await state.read(find, absent={})


async def traces_of_quanta(
    state: State, quanta: Sequence[int], request: PageRequest, *, is_output: bool
) -> list[Page[DatasetTrace]]:
    """Look at a page of what units of work read, or wrote, each by its number; keys are numbers of datasets."""
    found = await _others(state, quanta, "quantum_id", "dataset_id", request, is_output=is_output)
    known = await traces_by_id(state, [number for numbers in found for number in numbers])
    return [cut([((number,), known[number]) for number in numbers], request) for numbers in found]


async def users_of(state: State, datasets: Sequence[int], request: PageRequest) -> list[Page[Quantum]]:
    """Look at a page of the units of work that read datasets, each by its number; keys are numbers of units."""
    found = await _others(state, datasets, "dataset_id", "quantum_id", request, is_output=False)
    known = await quanta_by_id(state, [number for numbers in found for number in numbers])
    return [cut([((number,), known[number]) for number in numbers], request) for numbers in found]


async def derived_traces(state: State, datasets: Sequence[int], request: PageRequest) -> list[Page[DatasetTrace]]:
    """Look at a page of what was made of datasets, each by its number.

    Keys are numbers of a unit of work and of a dataset. There is no way to go backward.
    """
    given = state.dialect.rows("given", {"id": sa.BigInteger()}, [(number,) for number in set(datasets)])
    output = EDGE.alias()

    def rows(edge: sa.FromClause) -> sa.Select[Any]:
        conditions = [edge.c.dataset_id == given.c.id, sa.not_(edge.c.is_output)]
        if request.after is not None:
            check_key(request.after, [edge.c.quantum_id, edge.c.dataset_id])
            conditions.append(edge.c.quantum_id >= request.after[0])
        written = EDGE.alias()
        conditions.append(sa.exists().where(written.c.quantum_id == edge.c.quantum_id, written.c.is_output))
        # Each has something to give but the one that the page before ended with.
        return sa.select().where(*conditions).order_by(edge.c.quantum_id).limit(request.limit + 2)

    joined, edge, conditions = state.dialect.top_rows(given, EDGE, rows)
    key = [output.c.quantum_id, output.c.dataset_id]
    statement = (
        sa.select(given.c.id, *key)
        .select_from(joined.join(output, sa.and_(output.c.quantum_id == edge.c.quantum_id, output.c.is_output)))
        .where(*conditions, *bounds(key, request))
        .order_by(given.c.id, *key)
    )

    async def find(connection: AsyncConnection) -> dict[int, list[tuple[int, int]]]:
        found: dict[int, list[tuple[int, int]]] = {}
        for number, quantum, dataset in await connection.execute(statement):
            pairs = found.setdefault(number, [])
            if len(pairs) <= request.limit:
                pairs.append((quantum, dataset))
        return found

    by_number: dict[int, list[tuple[int, int]]] = await state.read(find, absent={})
    known = await traces_by_id(state, [dataset for pairs in by_number.values() for _, dataset in pairs])
    return [cut([(pair, known[pair[1]]) for pair in by_number.get(number, [])], request) for number in datasets]


async def count_derived(state: State, datasets: Sequence[int]) -> list[int]:
    """Count what `derived_traces` goes through."""
    given = state.dialect.rows("given", {"id": sa.BigInteger()}, [(number,) for number in set(datasets)])
    used, made = EDGE.alias(), EDGE.alias()
    statement = (
        sa.select(used.c.dataset_id, sa.func.count())
        .join_from(used, made, sa.and_(made.c.quantum_id == used.c.quantum_id, made.c.is_output))
        .where(used.c.dataset_id.in_(sa.select(given.c.id)), sa.not_(used.c.is_output))
        .group_by(used.c.dataset_id)
    )
    return await _counted(state, statement, datasets)


async def count_edges(state: State, numbers: Sequence[int], side: Side, *, is_output: bool) -> list[int]:
    """Count what is read or written by units of work, or who reads or wrote datasets."""
    given = state.dialect.rows("given", {"id": sa.BigInteger()}, [(number,) for number in set(numbers)])
    column = EDGE.c[side]
    statement = (
        sa.select(column, sa.func.count())
        .where(column.in_(sa.select(given.c.id)), EDGE.c.is_output == is_output)
        .group_by(column)
    )
    return await _counted(state, statement, numbers)


async def _counted(state: State, statement: sa.Select[Any], numbers: Sequence[int]) -> list[int]:
    async def count(connection: AsyncConnection) -> dict[int, int]:
        return {row[0]: row[1] for row in await connection.execute(statement)}

    counted: dict[int, int] = await state.read(count, absent={})
    return [counted.get(number, 0) for number in numbers]


async def _others(
    state: State, numbers: Sequence[int], side: Side, other: Side, request: PageRequest, *, is_output: bool
) -> list[list[int]]:
    """Find what stands at the other end of edges: one more than a page of it, for each number of one end."""
    given = state.dialect.rows("given", {"id": sa.BigInteger()}, [(number,) for number in set(numbers)])

    def rows(edge: sa.FromClause) -> sa.Select[Any]:
        key = [edge.c[other]]
        return (
            sa.select()
            .where(edge.c[side] == given.c.id, edge.c.is_output == is_output, *bounds(key, request))
            .order_by(*ordered(key, request))
            .limit(request.limit + 1)
        )

    joined, edge, conditions = state.dialect.top_rows(given, EDGE, rows)
    key = edge.c[other]
    statement = (
        sa.select(given.c.id, key).select_from(joined).where(*conditions).order_by(given.c.id, *ordered([key], request))
    )

    async def find(connection: AsyncConnection) -> dict[int, list[int]]:
        found = await connection.execute(statement)
        return {number: [row[1] for row in rows] for number, rows in groupby(found, itemgetter(0))}

    by_number: dict[int, list[int]] = await state.read(find, absent={})
    return [by_number.get(number, []) for number in numbers]
