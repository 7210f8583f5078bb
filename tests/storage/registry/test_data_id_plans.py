"""How SQLite goes about pages of data IDs: along indexes, from where the page before ended, without statistics."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from butlerql.storage.registry import data_ids
from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.registry.where import EVERYTHING, Where
from tests.support.repositories import Layout, RealRepository, Repositories
from tests.support.rich import RICH
from tests.support.snapshots import snapshot_of


@pytest.fixture(scope="module")
def rich_on_sqlite(repositories: Repositories) -> RealRepository:
    return repositories.shared(RICH, Layout("sqlite"))


@pytest.mark.parametrize(
    ("dimensions", "values", "types", "after", "expected"),
    [
        (["visit"], {"instrument": "HSC"}, None, (101,), ["visit (instrument=? AND id>?)"]),
        (["visit"], {}, None, ("HSC", 101), ["visit ((instrument,id)>(?,?))"]),
        # What a record implies is looked up only if it matters, and in records that the index found.
        (
            ["visit"],
            {"instrument": "HSC", "band": "r"},
            None,
            (101,),
            ["visit (instrument=? AND id>?)", "physical_filter (instrument=? AND name=?)"],
        ),
        # Of a product, the first factor begins where the page before ended.
        (
            ["visit", "detector"],
            {"instrument": "HSC"},
            None,
            (1, 101),
            ["detector (instrument=? AND id>?)", "visit (instrument=?)"],
        ),
        (["patch"], {"skymap": "rings µ"}, None, (0, 1), ["patch (skymap=? AND (tract,id)>(?,?))"]),
        # Several collections: one range of the index each.
        (
            ["visit", "detector"],
            {"instrument": "HSC"},
            ["calexp"],
            (1, 101),
            [
                "dataset_tags (rowid=?)",
                "dataset_tags (dataset_type_id=? AND collection_id=? AND instrument=? AND (detector,visit)>(?,?))",
            ],
        ),
        # And of other types it is enough that they are there.
        (
            ["visit", "detector"],
            {"instrument": "HSC"},
            ["calexp", "both"],
            (1, 101),
            [
                "dataset_tags (rowid=?)",
                "dataset_tags (dataset_type_id=? AND collection_id=? AND instrument=? AND (detector,visit)>(?,?))",
                "dataset_tags (dataset_type_id=? AND collection_id=? AND instrument=? AND visit=?)",
            ],
        ),
    ],
)
async def test_a_page_follows_an_index(
    rich_on_sqlite: RealRepository,
    dimensions: list[str],
    values: dict[str, Any],
    types: list[str] | None,
    after: tuple[Any, ...],
    expected: list[str],
) -> None:
    plan = await _plan(rich_on_sqlite, dimensions, values, types, after)
    searches = [_search(step) for step in plan if step.startswith("SEARCH ")]
    assert searches == expected, plan
    assert not [step for step in plan if "FOR ORDER BY" in step]


async def test_what_datasets_have_is_asked_of_each_along_the_index(rich_on_sqlite: RealRepository) -> None:
    condition = Where("calexp.ingest_date > T'2024-01-01' AND calexp.collection != 'tag/best'")
    values = {"instrument": "HSC"}
    plan = await _plan(rich_on_sqlite, ["visit", "detector"], values, ["calexp"], (1, 101), condition)
    searches = [_search(step) for step in plan if step.startswith("SEARCH ")]
    assert searches == [
        "dataset_tags (rowid=?)",
        "dataset_tags (dataset_type_id=? AND collection_id=? AND instrument=? AND (detector,visit)>(?,?))",
        "dataset_1 (id=?)",
        "collection_1 (rowid=?)",
    ], plan
    assert not [step for step in plan if "FOR ORDER BY" in step]


async def _plan(
    real: RealRepository,
    dimensions: list[str],
    values: dict[str, Any],
    types: list[str] | None,
    after: tuple[Any, ...],
    where: Where = EVERYTHING,
) -> list[str]:
    async with snapshot_of(real) as snapshot:
        repository = snapshot.repository
        group = repository.universe.group(dimensions)
        places = None if types is None else ["chain/all"]
        conditions = await data_ids.find_conditions(
            snapshot, group, types=types, collections=places, values=values, where=where
        )
        statements: list[tuple[str, Any]] = []

        @sa.event.listens_for(repository.engine.sync_engine, "before_cursor_execute")
        def remember(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
            statements.append((statement, parameters))

        await data_ids.page(snapshot, group, conditions, PageRequest(2, after=after))
        sa.event.remove(repository.engine.sync_engine, "before_cursor_execute", remember)
        statement, parameters = statements[0]
        async with repository.engine.connect() as connection:
            found = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            return [detail for *_, detail in found]


def _search(step: str) -> str:
    table = step.split()[1]
    if table.startswith("dataset_tags_"):
        table = "dataset_tags"
    return f"{table} {step[step.index('(') :]}"
