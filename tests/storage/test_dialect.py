"""Tables of values and timespans are the same on both databases, and what they hold comes back as it went in."""

from __future__ import annotations

import random
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import example, given
from hypothesis import strategies as st
from lsst.daf.butler import Timespan as ButlerTimespan
from sqlalchemy.types import TypeEngine

from butlerql.storage.dialect import UuidText
from butlerql.storage.errors import InvalidArgumentError
from butlerql.storage.registry.timespans import EMPTY, Timespan
from butlerql.storage.repository import Repository
from tests.support.raw_sql import execute
from tests.support.repositories import Dialect, Layout, Repositories
from tests.support.small import SMALL
from tests.support.snapshots import snapshot_of

INTEGERS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
UUIDS = st.uuids().map(str)
VALUES: dict[str, tuple[TypeEngine[Any], st.SearchStrategy[Any]]] = {
    "int": (sa.BigInteger(), st.none() | INTEGERS),
    "text": (sa.Text(), st.none() | TEXTS),
    "float": (sa.Double(), st.none() | FLOATS),
    "bool": (sa.Boolean(), st.none() | st.booleans()),
    "uuid": (UuidText(), st.none() | UUIDS),
}
TABLES = st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=4).flatmap(
    lambda kinds: st.tuples(st.just(kinds), st.lists(st.tuples(*(VALUES[kind][1] for kind in kinds)), max_size=6))
)


@pytest.fixture(scope="module")
async def repository(repositories: Repositories, dialect: Dialect) -> AsyncIterator[Repository]:
    opened = await Repository.open(repositories.shared(SMALL, Layout(dialect)).uri, snapshot_seconds=60)
    yield opened
    await opened.close()


async def read_back(repository: Repository, kinds: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[Any]:
    columns = {f"c{index}": VALUES[kind][0] for index, kind in enumerate(kinds)}
    table = repository.dialect.rows("values", columns, rows)
    async with repository.snapshot() as snapshot:
        return [tuple(row) for row in await snapshot.rows(sa.select(table))]


@given(table=TABLES)
@example(table=(["int"], []))
@example(table=(["int", "uuid"], []))
@example(table=(["text"], [("'",), ('"',), ("\\",), ("\\u0000",), ("💫 ž",), ("",), ("{}",), ("NULL",), ("\x01\x7f",)]))
@example(table=(["text", "text"], [("[1]", '"'), ("null", "\n")]))
@example(table=(["int"], [(2**63 - 1,), (-(2**63),), (0,)]))
@example(table=(["float"], [(5e-324,), (1.7976931348623157e308,), (0.1,), (-0.0,)]))
async def test_rows_come_back(repository: Repository, table: tuple[list[str], list[tuple[Any, ...]]]) -> None:
    kinds, rows = table
    assert await read_back(repository, kinds, rows) == rows


async def test_a_hundred_thousand_rows(repository: Repository) -> None:
    rows = [(n, f"name {n}", str(uuid.UUID(int=n))) for n in range(100_000)]
    assert await read_back(repository, ["int", "text", "uuid"], rows) == rows


async def test_uuids_in_any_spelling(repository: Repository) -> None:
    canonical = "e15ab039-bc8b-4135-87c5-90902a7c0b22"
    spellings = [canonical, canonical.upper(), canonical.replace("-", "")]
    assert await read_back(repository, ["uuid"], [(each,) for each in spellings]) == [(canonical,)] * 3
    async with repository.snapshot() as snapshot:
        dataset = repository.tables.dataset
        [known, *_] = await snapshot.rows(sa.select(dataset.c.id))
        for spelling in (known[0], known[0].upper(), known[0].replace("-", "")):
            assert len(await snapshot.rows(sa.select(dataset.c.id).where(dataset.c.id == spelling))) == 1


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("int", 2**63),
        ("int", -(2**63) - 1),
        ("int", 2**64 - 1),
        ("int", 2**70),
        ("int", "1"),
        ("int", 1.5),
        ("text", "a\0b"),
        ("text", "\ud800"),
        ("text", 5),
        ("float", float("nan")),
        ("float", float("-inf")),
        ("float", "1"),
        ("bool", 1),
        ("uuid", "not-a-uuid"),
        ("uuid", "e15ab039bc8b413587c590902a7c0b2"),
        ("uuid", "e15ab039 bc8b413587c590902a7c0b2"),
        ("uuid", "é15ab039-bc8b-4135-87c5-90902a7c0b22"),
    ],
)
@pytest.mark.parametrize("others", [[], [None]])
async def test_what_no_column_can_hold_is_refused(
    repository: Repository, kind: str, value: Any, others: list[Any]
) -> None:
    with pytest.raises(InvalidArgumentError):
        await read_back(repository, [kind], [(each,) for each in (value, *others)])


@pytest.mark.parametrize("value", ["a\0b", "\udfff", 2**63, -(2**70)])
async def test_single_parameters_are_checked_too(repository: Repository, value: Any) -> None:
    collection = repository.tables.collection
    column = collection.c.name if isinstance(value, str) else collection.c.type
    async with repository.snapshot() as snapshot:
        with pytest.raises(InvalidArgumentError):
            await snapshot.rows(sa.select(collection).where(column == value))
        with pytest.raises(InvalidArgumentError):
            await snapshot.rows(sa.select(collection).where(column == sa.bindparam("v")), {"v": value})
        dataset = repository.tables.dataset
        with pytest.raises(InvalidArgumentError):
            await snapshot.rows(sa.select(dataset).where(dataset.c.id == "not-a-uuid"))
        assert await snapshot.rows(sa.select(collection.c.name)) == [("run",)]


async def test_the_statement_cache_does_not_grow(repository: Repository) -> None:
    await read_back(repository, ["int", "text"], [(1, "a")])
    cache = repository.engine.sync_engine._compiled_cache
    assert cache is not None
    before = len(cache)
    for number in range(50):
        await read_back(repository, ["int", "text"], [(n, str(n)) for n in range(number)])
    assert len(cache) == before


def timespans() -> list[ButlerTimespan | None]:
    """Make every kind of timespan: none, empty, with and without bounds, at the limits, a nanosecond long."""
    chance = random.Random(1)
    low, high = ButlerTimespan(None, None).nsec
    limits = [low, low + 1, high - 1, high]
    pairs = [(begin, end) for begin in limits for end in limits if begin < end]
    drawn = [chance.sample(range(low, high), 2) for _ in range(50)]
    pairs += [(min(pair), max(pair)) for pair in drawn]
    pairs += [(instant, instant + 1) for instant in chance.sample(range(low, high), 5)]
    return [None, ButlerTimespan.makeEmpty(), *(ButlerTimespan(None, None, _nsec=pair) for pair in pairs)]


async def test_timespans_are_the_butlers(repositories: Repositories, dialect: Dialect) -> None:
    with repositories.private(SMALL, Layout(dialect)) as real:
        writer = real.open(writeable=True)
        records = [{"instrument": "Cam", "id": n, "timespan": span} for n, span in enumerate(timespans())]
        writer.registry.insertDimensionData("day_obs", *records)
        if dialect == "postgresql":
            # What the Butler would not write, but the type can hold.
            odd = enumerate(["(5,10]", "[5,5]", "[,7)", "(7,]", "[0,4102444800000000000)", "[9,9)"], start=len(records))
            execute(real, *(f"INSERT INTO day_obs VALUES ('Cam', {n}, '{span}')" for n, span in odd))
        expected = {row.id: row.timespan for row in real.butler.query_dimension_records("day_obs", instrument="Cam")}
        async with snapshot_of(real) as snapshot:
            tables = snapshot.repository.tables
            table = tables.element(tables.universe.element("day_obs"))
            begin, end = tables.dialect.timespan(table, "timespan")
            found = {n: (low, high) for n, low, high in await snapshot.rows(sa.select(table.c.id, begin, end))}
        assert found.keys() == expected.keys() and len(found) > 60
        for number, bounds in found.items():
            assert Timespan.from_columns(*bounds) == _converted(expected[number]), expected[number]


def _converted(theirs: ButlerTimespan | None) -> Timespan | None:
    if theirs is None:
        return None
    if theirs.isEmpty():
        return EMPTY
    low, high = theirs.nsec
    return Timespan(None if theirs.begin is None else low, None if theirs.end is None else high)
