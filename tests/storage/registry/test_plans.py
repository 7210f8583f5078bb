"""How the databases go about the hot statements: by the index of type, collection and data ID, without statistics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import sqlalchemy as sa

from butlerql.storage.registry.data_id_values import resolve
from butlerql.storage.registry.dataset_counts import existing
from butlerql.storage.registry.find_dataset import find_dataset
from butlerql.storage.registry.matching import DataIdMatch, matching_datasets
from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.registry.selection import DatasetSelection, select
from butlerql.storage.snapshot import Snapshot
from tests.support.repositories import RealRepository
from tests.support.snapshots import snapshot_of

_SMALL = {"detector", "instrument", "physical_filter", "visit_system", "skymap"}
"""Tables that the Butler itself keeps in memory: they may be gone through."""


async def _page(snapshot: Snapshot, request: PageRequest = PageRequest(2), **selection: Any) -> None:  # noqa: B008
    sets = await select(snapshot, DatasetSelection(dataset_types=["calexp"], collections=["chain/all"], **selection))
    await sets.pages(snapshot, request)
    await sets.counts(snapshot, [0])


async def _match(snapshot: Snapshot) -> None:
    data_id = await resolve(snapshot, {"instrument": "HSC", "visit": 101})
    assert data_id is not None
    sets = await matching_datasets(
        snapshot,
        [data_id],
        collections=["chain/all"],
        names=["*"],
        match=DataIdMatch.CONTAINING,
        include_dimensionless=False,
    )
    await existing(snapshot, sets.parts)


async def _find(snapshot: Snapshot) -> None:
    await find_dataset(snapshot, "calexp", {"instrument": "HSC", "visit": 101, "detector": 0}, ["chain/all"], None)


_QUESTIONS: dict[str, Callable[[Snapshot], Awaitable[None]]] = {
    "first page": _page,
    "later page": lambda snapshot: _page(
        snapshot, PageRequest(2, after=("calexp", "HSC", 0, 101, "00000000-0000-0000-0000-000000000000"))
    ),
    "from the end": lambda snapshot: _page(snapshot, PageRequest(2, backward=True)),
    "first found": lambda snapshot: _page(snapshot, find_first=True),
    "of a visit": lambda snapshot: _page(snapshot, data_id={"instrument": "HSC", "visit": 101}),
    "of a band": lambda snapshot: _page(snapshot, data_id={"band": "r"}),
    "dataset types of a visit": _match,
    "one dataset": _find,
}


@pytest.mark.parametrize("question", _QUESTIONS)
async def test_memberships_are_found_by_their_index(question: str, rich: RealRepository) -> None:
    async with snapshot_of(rich) as snapshot:
        statements: list[tuple[str, Any]] = []

        @sa.event.listens_for(snapshot.repository.engine.sync_engine, "before_cursor_execute")
        def remember(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
            if "dataset_tags_" in statement or "dataset_calibs_" in statement:
                statements.append((statement, parameters))

        await _QUESTIONS[question](snapshot)
        sa.event.remove(snapshot.repository.engine.sync_engine, "before_cursor_execute", remember)
        assert statements
        async with snapshot.repository.engine.connect() as connection:
            for statement, parameters in statements:
                if rich.dialect == "sqlite":
                    await _check_sqlite(connection, statement, parameters)
                else:
                    await _check_postgresql(connection, statement, parameters)


async def _check_sqlite(connection: Any, statement: str, parameters: Any) -> None:
    plan = [row[3] for row in await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
    for step in plan:
        words = step.split()
        if "dataset_tags_" in step or "dataset_calibs_" in step:
            # A certification that was seen before is looked up by its dataset; what is counted needs no order.
            keys = (
                "(dataset_type_id=? AND collection_id=?",
                "(collection_id=? AND dataset_type_id=?",
                "(dataset_id=?)",
                "(rowid=?)",
            )
            assert any(key in step for key in keys), plan
        elif words[0] == "SCAN":
            assert words[1].removesuffix("_1") in _SMALL or words[1].startswith(
                ("anon_", "json_each", "ranges", "certified_", "long_")
            ), plan


async def _check_postgresql(connection: Any, statement: str, parameters: Any) -> None:
    # A table of ten rows is read as a whole, whatever its indexes; what is asked is whether the index serves.
    await connection.exec_driver_sql("SET enable_seqscan = off")
    plan = "\n".join(row[0] for row in await connection.exec_driver_sql(f"EXPLAIN {statement}", parameters))
    assert "Seq Scan on dataset_tags_" not in plan, plan
    assert "Seq Scan on dataset_calibs_" not in plan, plan
