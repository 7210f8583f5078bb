"""Datasets that are selected by the work that wrote them, held against a walk through what was done."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import sqlalchemy as sa
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from butlerql.storage.datastores.deletion import planning
from butlerql.storage.errors import LimitExceededError, StateUnavailableError
from butlerql.storage.provenance.filters import QuantumFilter
from butlerql.storage.registry import generated
from butlerql.storage.registry.chosen_datasets import chosen_datasets
from butlerql.storage.registry.dataset_groups import GroupKey
from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.registry.selection import DatasetSelection, select
from butlerql.storage.registry.selection_text import selection_of, written
from butlerql.storage.registry.where import Where
from butlerql.storage.repository import Repository
from butlerql.storage.snapshot import Snapshot
from butlerql.storage.state.jobs import JobState, find_jobs
from butlerql.storage.state.tables import DELETION_DATASET
from tests.support.deleted import Deleter
from tests.support.killed_plans import CHUNK
from tests.support.provenance_filters import quanta_chosen
from tests.support.provenance_state import take_in
from tests.support.provenance_worlds import RUNS, TASKS, World
from tests.support.repositories import Dialect, Layout, RealRepository, Repositories
from tests.support.written_worlds import CHAIN, TAG, WRITTEN, Written, questions, work_that_wrote, written_in

SETTINGS = settings(phases=[Phase.generate])
OTHERS: dict[str, list[Any]] = {
    "collections": [[*RUNS], [TAG], [CHAIN], ["u/*"], ["*"]],
    "runs": [[RUNS[1]], ["u/*"]],
    "dataset_types": [[f"{TASKS[0]}_out0"], ["*_out1"]],
    "data_id": [{"instrument": "Cam1"}, {"instrument": "Cam2", "exposure": 1}],
    "where": [Where("instrument = 'Cam2' AND exposure > 1")],
}


@pytest.fixture(scope="module", params=[("sqlite", None), ("postgresql", None), ("postgresql", "file")], ids=str)
def place(request: pytest.FixtureRequest) -> tuple[Dialect, str | None]:
    """Say what the registry is in, and what own state is in if it is not where it is by default."""
    chosen: tuple[Dialect, str | None] = request.param
    return chosen


@pytest.fixture(scope="module")
def real(repositories: Repositories, place: tuple[Dialect, str | None]) -> Iterator[RealRepository]:
    with repositories.private(WRITTEN, Layout(place[0])) as made:
        yield made


@pytest.fixture(scope="module")
def there(real: RealRepository) -> Written:
    return written_in(real.butler)


@pytest.fixture(scope="module")
def world(there: Written) -> World:
    return work_that_wrote(there)


@pytest.fixture(scope="module")
async def repository(
    real: RealRepository,
    world: World,
    place: tuple[Dialect, str | None],
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Repository]:
    file = place[1] and str(tmp_path_factory.mktemp("state") / place[1])
    opened = await Repository.open(real.uri, state=file, snapshot_seconds=60, writable=True)
    for telling in world.tellings:
        await take_in(opened.state, telling)
    yield opened
    await opened.close()


def wrote(world: World, chosen: QuantumFilter) -> set[str]:
    """Go through what was done; an exposure may be written as text."""
    if chosen.data_id is not None:
        data_id = {name: int(value) if name == "exposure" else value for name, value in chosen.data_id.items()}
        chosen = replace(chosen, data_id=data_id)
    return {str(uuid) for work in quanta_chosen(world, chosen, only_last=True) for uuid in work.outputs}


async def walk(snapshot: Snapshot, selection: DatasetSelection, size: int) -> list[str]:
    """Go through all pages, and see that totals and groups are the same."""
    sets = await select(snapshot, selection)
    found: list[str] = []
    request = PageRequest(size)
    while True:
        [page] = await sets.pages(snapshot, request)
        found += [one.uuid for one in page.rows]
        if not page.has_next:
            break
        request = PageRequest(size, after=page.keys[-1])
    assert await sets.counts(snapshot, [0]) == [len(found)]
    [groups] = await sets.groups(snapshot, [0], [GroupKey.RUN, GroupKey.DATASET_TYPE])
    assert sum(group.datasets for group in groups) == len(found) == len(set(found))
    return found


@SETTINGS
@given(data=st.data())
async def test_what_work_wrote_and_whatever_else_is_asked_for(
    repository: Repository, world: World, there: Written, data: st.DataObject
) -> None:
    chosen = data.draw(questions(world))
    names = data.draw(st.lists(st.sampled_from(sorted(OTHERS)), max_size=2, unique=True))
    others = {name: data.draw(st.sampled_from(OTHERS[name])) for name in names}
    # As a job reads it that goes on with it.
    text = orjson.dumps(written(DatasetSelection(generated_by=chosen, **others)))
    selection = selection_of(orjson.loads(text))
    assert selection.generated_by == chosen
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generated, "_FEW", data.draw(st.sampled_from([0, 3, 2_000])))
        async with repository.snapshot() as snapshot:
            without = await walk(snapshot, DatasetSelection(**others), 100)
            found = await walk(snapshot, selection, data.draw(st.integers(1, 5)))
    expected = wrote(world, chosen)
    assert found == [uuid for uuid in without if uuid in expected]


async def test_it_is_selected_by_whoever_asks_later(
    repository: Repository, there: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is found in one snapshot is found in the next, and in a change, twice."""
    monkeypatch.setattr(generated, "_FEW", 0)
    selection = DatasetSelection(collections=["*"], generated_by=QuantumFilter(tasks=[TASKS[1]]))
    async with repository.snapshot() as snapshot:
        sets = await select(snapshot, selection)
    async with repository.snapshot() as snapshot:
        [count] = await sets.counts(snapshot, [0])
    assert count == sum(name.startswith(TASKS[1]) for _, name, _ in there) > 0
    for _ in range(2):
        async with repository.change() as change, chosen_datasets(change, selection) as [chosen]:
            assert len(await change.rows(sa.select(chosen.table))) == count


async def test_a_plan_that_was_killed_goes_on(
    repository: Repository,
    real: RealRepository,
    place: tuple[Dialect, str | None],
    there: Written,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(planning, "_DATASETS", CHUNK)
    file = "" if place[1] is None else str(repository.state.place)
    program = [sys.executable, "-m", "tests.support.killed_plans", real.uri, file, TASKS[1], "34"]
    done = await asyncio.to_thread(subprocess.run, program, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    ours = Deleter(repository)
    await ours.expire()
    [job] = (await find_jobs(repository.state, PageRequest(1))).rows
    assert job.state is JobState.INTERRUPTED and job.progress.done < len(there) / 2
    assert (await ours.run(job)).state is JobState.SUCCEEDED

    async def planned(connection: Any) -> list[str]:
        return list(await connection.scalars(sa.select(DELETION_DATASET.c.dataset_id)))

    found = await repository.state.read(planned, absent=[])
    assert sorted(found) == sorted(str(uuid) for (_, name, _), uuid in there.items() if name.startswith(TASKS[1]))


async def test_more_than_there_is_a_way_for(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the database cannot join own state."""
    monkeypatch.setattr(generated, "_MOST", 1)
    monkeypatch.setattr(generated, "_FEW", 0)
    selection = DatasetSelection(generated_by=QuantumFilter())
    is_far = repository.dialect.name == "postgresql" and not repository.state.place.with_registry
    async with repository.snapshot() as snapshot:
        with pytest.raises(LimitExceededError) if is_far else nullcontext():
            await select(snapshot, selection)
    async with repository.change() as change:
        with pytest.raises(LimitExceededError) if is_far or repository.dialect.name == "sqlite" else nullcontext():
            await select(change, selection)


async def test_where_nothing_was_taken_in(real: RealRepository, tmp_path: Path) -> None:
    """There is nothing yet, or what is there is no state."""
    absent, wrong = tmp_path / "absent.sqlite3", tmp_path / "wrong.sqlite3"
    wrong.write_text("This is no database, but a text that is long enough for SQLite to look at it." * 20)
    selection = DatasetSelection(generated_by=QuantumFilter())
    opened = await Repository.open(real.uri, state=str(absent))
    async with opened.snapshot() as snapshot:
        assert await walk(snapshot, selection, 10) == []
    await opened.close()
    assert not absent.exists()
    opened = await Repository.open(real.uri, state=str(wrong))
    async with opened.snapshot() as snapshot:
        with pytest.raises(StateUnavailableError):
            await select(snapshot, selection)
    await opened.close()
