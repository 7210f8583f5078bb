"""Whatever was done and whatever the registry has of it: the problems are those that one finds by looking."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from lsst.daf.butler import Butler, DataCoordinate, DatasetRef, DatasetType

from butlerql.storage.provenance import claims, run_checks
from butlerql.storage.provenance.records import (
    DatasetRecord,
    ExecutionRecord,
    QuantumRecord,
    QuantumStatus,
    SourceKind,
)
from butlerql.storage.provenance.run_checks import RunChecks
from butlerql.storage.provenance.run_problems import RunProblem, RunProblemKind
from butlerql.storage.registry.collections import Collection, by_names
from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.repository import Repository
from tests.support.provenance_state import emptied, take_in
from tests.support.provenance_worlds import DATA_IDS, RUNS, TASKS, Telling, World, worlds
from tests.support.repositories import Content, Dialect, Layout, RealRepository, Repositories

SETTINGS = settings(
    max_examples=settings.default.max_examples // 3,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
KINDS = [kind for kind in RunProblemKind if kind not in {"OUTPUT_NOT_STORED", "INCOMPLETE_RECORD"}]
LOGGED = {QuantumStatus.SUCCESSFUL, QuantumStatus.FAILED, QuantumStatus.ABORTED_SUCCESS}
TYPES = [f"{task}_{what}" for task in TASKS for what in ("out", "log")]


def fill(butler: Butler, outside: Path) -> None:
    add = butler.registry.insertDimensionData
    for name in sorted({str(data_id["instrument"]) for data_id in DATA_IDS}):
        add("instrument", {"name": name, "class_name": "nowhere.Cam"})
        add("physical_filter", {"instrument": name, "name": "R", "band": "r"})
        add("day_obs", {"instrument": name, "id": 20260101})
        add("group", {"instrument": name, "name": "g"})
        one = {"instrument": name, "physical_filter": "R", "day_obs": 20260101, "group": "g"}
        add("exposure", *({**one, "id": number, "obs_id": f"e{number}"} for number in (1, 2)))
    for run in RUNS:
        butler.collections.register(run)
    for name in TYPES:
        dimensions = butler.dimensions.conform(["instrument", "exposure"])
        butler.registry.registerDatasetType(DatasetType(name, dimensions, "StructuredDataDict"))


@pytest.fixture(scope="module")
def real(repositories: Repositories, dialect: Dialect) -> Iterator[RealRepository]:
    with repositories.private(Content("two cameras", fill), Layout(dialect)) as made:
        yield made


@pytest.fixture(scope="module")
async def repository(real: RealRepository) -> AsyncIterator[Repository]:
    opened = await Repository.open(real.uri)
    await opened.state.upgrade()
    yield opened
    await opened.close()


@pytest.fixture(scope="module")
def butler(real: RealRepository) -> Butler:
    return real.open(writeable=True)


@pytest.fixture(autouse=True)
def _few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "_UNITS", 2)
    monkeypatch.setattr(run_checks, "_DATASETS", 2)


@st.composite
def registered(draw: st.DrawFn, world: World) -> dict[UUID, tuple[str, int, str]]:
    """Choose what the registry has: dataset type, place of the data ID, run. Of each it can have one dataset."""
    may_be: dict[tuple[str, int, str], list[UUID]] = {}
    for uuid, (name, data_id, run, _) in world.datasets.items():
        may_be.setdefault((name, DATA_IDS.index(data_id), run), []).append(uuid)
    for work in world.works:
        for _, attempt in work.attempts:
            if attempt.log is not None:
                key = (f"{work.task}_log", DATA_IDS.index(work.data_id), work.run)
                may_be.setdefault(key, []).append(attempt.log)
    for number in range(draw(st.integers(0, 3))):
        key = (draw(st.sampled_from(TYPES)), draw(st.integers(0, 3)), draw(st.sampled_from(RUNS)))
        may_be.setdefault(key, []).append(UUID(int=1 << 100 | number))
    return {uuid: key for key, uuids in may_be.items() if (uuid := draw(st.sampled_from([None, *uuids])))}


def expected(world: World, there: dict[UUID, tuple[str, int, str]], run: str) -> Counter[tuple[Any, ...]]:
    """Look for problems, one thing at a time."""
    found: Counter[tuple[Any, ...]] = Counter()
    works = [work for work in world.works if work.run == run]
    if not works:
        return found
    for work in works:
        about = (work.task, tuple(sorted(work.data_id.items())))
        if work.status is QuantumStatus.SUCCESSFUL and there.keys().isdisjoint(work.outputs):
            found.update((RunProblemKind.OUTPUT_NOT_IN_REGISTRY, str(uuid), *about) for uuid in work.outputs)
        logs = [attempt.log for _, attempt in work.attempts if attempt.log is not None]
        if work.status in LOGGED and (not logs or logs[-1] not in there):
            found[RunProblemKind.QUANTUM_WITHOUT_LOG, str(logs[-1]), *about] += 1
        if work.status is QuantumStatus.UNKNOWN and work.planned_in and not any(map(tells, work.attempts)):
            found[RunProblemKind.NEVER_RAN, None, *about] += 1
    if any(work.outputs for work in works):
        made = {uuid for work in world.works for uuid in work.outputs}
        nobody = (uuid for uuid, (_, _, where) in there.items() if where == run and uuid not in made)
        found.update((RunProblemKind.NO_PRODUCER, str(uuid), None, None) for uuid in nobody)
    return found


def tells(attempt: Any) -> bool:
    record = attempt[1]
    return record.status is not QuantumStatus.UNKNOWN or record.host is not None or record.started_at is not None


def seen(problem: RunProblem) -> tuple[Any, ...]:
    work = problem.quantum
    about = (None, None) if work is None else (work.task_label, tuple(sorted(work.data_id_values.items())))
    return (problem.kind, problem.uuid, *about)


@SETTINGS
@given(data=st.data(), world=worlds())
async def test_the_problems_are_those_that_one_sees(
    repository: Repository, butler: Butler, data: st.DataObject, world: World
) -> None:
    await emptied(repository.state)
    for telling in world.tellings:
        await take_in(repository.state, telling)
    there = data.draw(registered(world))
    refs = [ref(butler, uuid, *key) for uuid, key in there.items()]
    for one in refs:
        butler.registry._importDatasets([one])
    try:
        async with repository.snapshot() as snapshot:
            runs = list((await by_names(snapshot, RUNS)).values())
        checks = RunChecks(repository, repository.snapshot)
        counts = await checks.counts(runs, KINDS)
        consistent = await checks.consistent(runs, counts)
        for run, count, is_consistent in zip(runs, counts, consistent, strict=True):
            right = expected(world, there, run.name)
            assert count == Counter(kind for kind, *_ in right.elements())
            is_known = any(work.run == run.name for work in world.works)
            assert is_consistent is ((not right) if is_known else None)
            whole = (await checks.page(run, KINDS, PageRequest(1000))).rows
            assert Counter(map(seen, whole)) == right
            size = data.draw(st.integers(1, 4))
            for backward in (False, True):
                assert await paged(checks, run, size, backward=backward) == whole
    finally:
        butler.registry.removeDatasets(refs)


def ref(butler: Butler, uuid: UUID, name: str, place: int, run: str) -> DatasetRef:
    kind = butler.get_dataset_type(name)
    data_id = DataCoordinate.standardize(DATA_IDS[place], dimensions=kind.dimensions)
    return DatasetRef(kind, data_id, run, id=uuid)


async def paged(checks: RunChecks, run: Collection, size: int, *, backward: bool) -> Sequence[RunProblem]:
    """Read all, page by page, and see that the pages say rightly what is around them."""
    rows: list[RunProblem] = []
    request = PageRequest(size, backward)
    while True:
        page = await checks.page(run, KINDS, request)
        assert len(page.rows) <= size
        rows = [*page.rows, *rows] if backward else [*rows, *page.rows]
        if not (page.has_previous if backward else page.has_next):
            return rows
        request = request._replace(before=page.keys[0]) if backward else request._replace(after=page.keys[-1])


async def test_a_page_may_end_within_a_unit_of_work(repository: Repository) -> None:
    await emptied(repository.state)
    lost = [UUID(int=number) for number in range(1, 6)]
    work = [
        QuantumRecord(RUNS[0], "isr", DATA_IDS[place], outputs=tuple(outputs))
        for place, outputs in enumerate((lost[:1], lost[1:4], lost[4:]))
    ]
    told = [*work, *(DatasetRecord(uuid, produced=True) for uuid in lost)]
    await take_in(repository.state, Telling(SourceKind.JSON_LINES, "lines", told))
    run, checks = await opened_run(repository)
    whole, keys, *_ = await checks.page(run, KINDS, PageRequest(9))
    assert sorted(str(one.uuid) for one in whole) == [str(uuid) for uuid in lost]
    for size in (1, 2, 3):
        for backward in (False, True):
            assert await paged(checks, run, size, backward=backward) == whole
    for first, last in combinations(range(5), 2):
        for backward in (False, True):
            between = PageRequest(9, backward, after=keys[first], before=keys[last])
            assert (await checks.page(run, KINDS, between)).rows == whole[first + 1 : last]


async def test_what_nobody_says_is_no_problem(repository: Repository, butler: Butler) -> None:
    """Where no work says what it wrote, all could have been written; and what nobody planned need not have run."""
    await emptied(repository.state)
    unknown = ExecutionRecord(0, QuantumStatus.UNKNOWN)
    good = ExecutionRecord(0, QuantumStatus.SUCCESSFUL, metadata=UUID(int=7))
    told = [
        QuantumRecord(RUNS[0], "isr", DATA_IDS[0], executions=(unknown,)),
        QuantumRecord(RUNS[0], "isr", DATA_IDS[1], executions=(good,), outputs=(UUID(int=7),)),
    ]
    await take_in(repository.state, Telling(SourceKind.JSON_LINES, "lines", told))
    refs = [ref(butler, UUID(int=number), TYPES[number], 0, RUNS[0]) for number in range(2)]
    for one in refs:
        butler.registry._importDatasets([one])
    run, checks = await opened_run(repository)
    [one] = (await checks.page(run, KINDS, PageRequest(9))).rows
    butler.registry.removeDatasets(refs)
    assert (one.kind, one.uuid) == (RunProblemKind.QUANTUM_WITHOUT_METADATA, str(UUID(int=7)))


async def opened_run(repository: Repository) -> tuple[Collection, RunChecks]:
    async with repository.snapshot() as snapshot:
        [run] = (await by_names(snapshot, RUNS[:1])).values()
    return run, RunChecks(repository, repository.snapshot)
