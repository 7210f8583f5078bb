"""Killed anywhere in a change, a service leaves all of it or nothing, and no change that the log does not know."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from lsst.daf.butler import Butler, CollectionType, DatasetType, Timespan

from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.repository import Repository
from butlerql.storage.state.audit import BEGUN, DONE, find_entries
from butlerql.storage.state.tables import DESCRIPTION
from tests.support.forks import Forks, forks
from tests.support.registry_rows import registry_rows
from tests.support.repositories import Content, Dialect, Layout, RealRepository, Repositories
from tests.support.small import DATASETS, add_datasets

_FLATS = 'select: {runs: ["run"]}, timespan: {begin: "2020-01-01T00:00:00", end: "2021-01-01T00:00:00"}'
_CHANGES = {
    "create": 'createCollection(input: {name: "new", type: CHAINED, children: ["run", "tag"]}) { collection { name } }',
    "tag": 'tagDatasets(input: {collection: "new", select: {runs: ["run"]}, doc: "new"}) { changed }',
    "replace": 'tagDatasets(input: {collection: "others", select: {runs: ["run"]}, onConflict: REPLACE}) { changed }',
    "untag": 'untagDatasets(input: {collection: "tag", select: {runs: ["run"]}}) { changed }',
    "certify": f'certifyDatasets(input: {{collection: "empty", {_FLATS}}}) {{ changed }}',
    "decertify": f'decertifyDatasets(input: {{collection: "full", {_FLATS}}}) {{ changed }}',
    "edit": 'editChain(input: {name: "chain", children: ["tag", "run"], mode: REPLACE}) { collection { name } }',
    "describe": 'describeCollection(input: {name: "tag", doc: "new"}) { collection { name } }',
    "remove": 'removeCollection(input: {name: "tag", unlinkFromParents: true}) { name }',
    "describe type": 'describeDatasetType(input: {name: "flat", description: "new"}) { datasetType { name } }',
}


def _fill(butler: Butler, outside: Path) -> None:
    butler.registry.insertDimensionData("instrument", {"name": "Cam", "class_name": "nowhere.Cam"})
    for run in ("run", "other run"):
        butler.collections.register(run)
    dimensions = butler.dimensions.conform(["instrument", "detector"])
    butler.registry.registerDatasetType(DatasetType("flat", dimensions, "StructuredDataDict", isCalibration=True))
    add_datasets(butler, 0, DATASETS)
    flats = butler.query_datasets("flat", "run")
    others = butler.registry.insertDatasets("flat", [ref.dataId for ref in flats], run="other run")
    for name, refs in (("tag", flats), ("others", others)):
        butler.collections.register(name, CollectionType.TAGGED)
        butler.registry.associate(name, refs)
    for name in ("empty", "full"):
        butler.collections.register(name, CollectionType.CALIBRATION)
    butler.registry.certify("full", flats, Timespan(None, None))
    butler.collections.register("chain", CollectionType.CHAINED)
    butler.collections.redefine_chain("chain", ["run", "tag"])


_STEPS: dict[Dialect, int] = {"sqlite": 2, "postgresql": 6}
"""How far points are apart, but of one change. On PostgreSQL all is one transaction, and less lies between two."""

CHANGED = Content("changed", _fill)


@pytest.fixture(scope="module")
def killed() -> Iterator[Forks]:
    with forks("tests.support.killed_changes") as made:
        yield made


async def look(real: RealRepository) -> tuple[object, list[str]]:
    """Read what is there, and what the log says."""
    repository = await Repository.open(real.uri)

    async def descriptions(connection: Any) -> list[Any]:
        return [tuple(row)[:2] for row in await connection.execute(sa.select(DESCRIPTION))]

    nothing: list[Any] = []
    described = await repository.state.read(descriptions, absent=nothing)
    outcomes = [entry.outcome for entry in (await find_entries(repository.state, PageRequest(10))).rows]
    await repository.close()
    # SQLite undoes what was left when the next opens it.
    return (registry_rows(real), described), outcomes


@pytest.mark.slow
@pytest.mark.parametrize("change", _CHANGES)
async def test_a_change_killed_anywhere_is_whole_or_not_there_and_written_down(
    repositories: Repositories, dialect: Dialect, killed: Forks, change: str
) -> None:
    found: list[tuple[object, list[str]]] = []
    at, ended = 1, -signal.SIGKILL
    with repositories.private(CHANGED, Layout(dialect)) as real:
        before, _ = await look(real)
    while ended == -signal.SIGKILL:
        with repositories.private(CHANGED, Layout(dialect)) as real:
            ended, _ = killed.ask(real.uri, f"mutation {{ {_CHANGES[change]} }}", at)
            found.append(await look(real))
        at += 1 if change == "create" else _STEPS[dialect]
    assert ended == 0
    after, log = found[-1]
    assert after != before and log == [DONE]
    made = set()
    for there, outcomes in found:
        assert there in (before, after) and len(outcomes) <= 1
        made.add((there == after, *outcomes))
    # Killed before it was written down, before it was made, and after; on SQLite also before its end was written down.
    two_files = {(True, BEGUN)} if dialect == "sqlite" and change != "describe type" else set()
    assert made == {(False,), (False, BEGUN), (True, DONE)} | two_files
    assert at > 12
