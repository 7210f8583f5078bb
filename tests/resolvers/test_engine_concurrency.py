"""The engine: which loaders wait for each other, and what becomes of them when the request is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from graphql import build_schema

from butlerql.resolvers.engine import Loaders, install
from tests.support.engine_asking import Savepoints, ask

SCHEMA = build_schema("""
type Row { base: Int other: Int file: Int store: Int slow: Row }
type Query { row: Row file: Int base: Int }
""")


class Stage(Savepoints):
    """A context in which loaders meet: each notes that it runs, and waits for others."""

    def __init__(self, *waits: tuple[str, str]) -> None:
        super().__init__()
        self.running: set[str] = set()
        self.most = 0
        self.waits = dict(waits)
        self.ended: list[str] = []
        self.here: dict[str, asyncio.Event] = {}

    def arrival(self, name: str) -> asyncio.Event:
        """Give the event that a loader has begun."""
        return self.here.setdefault(name, asyncio.Event())

    async def enter(self, name: str) -> None:
        """Be a loader: wait for whom one was told to."""
        self.running.add(name)
        self.most = max(self.most, len(self.running))
        self.arrival(name).set()
        try:
            await asyncio.sleep(0)
            if name in self.waits:
                await self.arrival(self.waits[name]).wait()
        except asyncio.CancelledError:
            self.ended.append(f"{name} cancelled")
            raise
        else:
            self.ended.append(name)
        finally:
            self.running.discard(name)


loaders = Loaders()


def _plain(target: str, *, database: bool, value: Any = 1) -> None:
    @loaders.field(target, database=database)
    async def load(context: Stage, parents: Sequence[Any]) -> Sequence[Any]:
        assert database is False or context.held
        await context.enter(target.partition(".")[2])
        return [value] * len(parents)


_plain("Query.row", database=True, value="row")
_plain("Query.file", database=False)
_plain("Query.base", database=True)
_plain("Row.base", database=True)
_plain("Row.other", database=True)
_plain("Row.file", database=False)
_plain("Row.store", database=False)
_plain("Row.slow", database=True, value="slow")
install(SCHEMA, loaders)


async def test_database_loaders_run_one_after_another() -> None:
    """Each in a savepoint of its own, in the order of the selection."""
    stage = Stage()
    result = await ask(SCHEMA, "{ row { other base slow { base } } }", stage)
    assert result.errors is None
    assert stage.ended == ["row", "other", "base", "slow", "base"]
    assert stage.most == 1
    assert stage.count == 5


async def test_other_loaders_run_beside_them() -> None:
    """A file loader may wait for a database loader and the other way round; neither waits outside a level."""
    async with asyncio.timeout(5):
        stage = Stage(("base", "file"), ("file", "store"), ("store", "other"))
        result = await ask(SCHEMA, "{ row { base file store other } }", stage)
    assert result.data == {"row": {"base": 1, "file": 1, "store": 1, "other": 1}}
    assert stage.count == 3


async def test_root_fields_run_beside_each_other() -> None:
    """As graphql-core runs them; the database stays one's own."""
    async with asyncio.timeout(5):
        stage = Stage(("base", "file"), ("file", "base"))
        result = await ask(SCHEMA, "{ file base }", stage)
    assert result.data == {"file": 1, "base": 1}
    assert stage.count == 1


@pytest.mark.parametrize(
    ("text", "hanging"),
    [
        ("{ row { base file store other } }", {"base", "file", "store"}),
        ("{ row { file } }", {"file"}),
        ("{ row { base } }", {"base"}),
        ("{ file base }", {"file", "base"}),
    ],
)
async def test_cancelling_reaches_every_loader(text: str, hanging: set[str]) -> None:
    """No task is left, no savepoint held, and what had not begun never begins."""
    before = asyncio.all_tasks()
    stage = Stage(*((name, "never") for name in hanging))
    request = asyncio.ensure_future(ask(SCHEMA, text, stage))
    async with asyncio.timeout(5):
        for name in hanging:
            await stage.arrival(name).wait()
        for _ in range(3):
            await asyncio.sleep(0)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
    assert {name for name in stage.ended if name != "row"} == {f"{name} cancelled" for name in hanging}
    assert asyncio.all_tasks() == before
    assert not stage.held


async def test_a_time_limit_reaches_every_loader() -> None:
    """The limit that the service sets around a request."""
    stage = Stage(("file", "never"), ("base", "never"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await ask(SCHEMA, "{ row { file base } }", stage)
    assert sorted(stage.ended) == ["base cancelled", "file cancelled", "row"]
    assert not stage.held


@pytest.mark.parametrize("text", ["{ row { file } }", "{ row { file base } }"])
async def test_a_loader_that_is_cancelled_from_elsewhere_cancels_the_request(text: str) -> None:
    """It has no answer, and must not be taken for one that answered."""
    schema = build_schema("type Row { file: Int base: Int } type Query { row: Row }")
    made = Loaders()
    made.field("Query.row")(_row)
    made.field("Row.base")(_row)

    @made.field("Row.file", database=False)
    async def load(context: Savepoints, parents: Sequence[Any]) -> Sequence[Any]:
        raise asyncio.CancelledError

    install(schema, made)
    with pytest.raises(asyncio.CancelledError):
        await ask(schema, text)


async def _row(context: Savepoints, parents: Sequence[Any]) -> Sequence[Any]:
    return [1] * len(parents)


async def test_a_savepoint_that_fails_is_the_error_of_its_field_alone() -> None:
    """A registry that is busy does not take the files' answers away."""

    class Busy(Stage):
        @asynccontextmanager
        async def savepoint(self) -> AsyncIterator[None]:
            if self.count:
                raise ConnectionError("busy")
            async with super().savepoint():
                yield

    result = await ask(SCHEMA, "{ row { base file } }", Busy())
    assert result.data == {"row": {"base": None, "file": 1}}
    assert [(error.message, error.path) for error in result.errors or []] == [("busy", ["row", "base"])]


async def test_what_is_raised_in_a_savepoint_passes_through_it() -> None:
    """So that it is rolled back."""
    seen: list[BaseException | None] = []

    class Watched(Savepoints):
        @asynccontextmanager
        async def savepoint(self) -> AsyncIterator[None]:
            try:
                yield
            except BaseException as error:
                seen.append(error)
                raise

    schema = build_schema("type Query { row: Int }")
    made = Loaders()
    boom = LookupError("boom")

    @made.field("Query.row")
    async def load(context: Savepoints, parents: Sequence[Any]) -> Sequence[Any]:
        raise boom

    install(schema, made)
    result = await ask(schema, "{ row }", Watched())
    assert result.data == {"row": None}
    assert seen == [boom]
