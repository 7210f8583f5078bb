"""Whatever is asked of what was done is answered as by going through it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from butlerql.storage.errors import InvalidExpressionError
from butlerql.storage.provenance.distributions import Distribution, Measure
from butlerql.storage.provenance.executions import (
    count_executions,
    count_executions_of_runs,
    executions_of_runs,
    find_executions,
)
from butlerql.storage.provenance.filters import QuantumFilter
from butlerql.storage.provenance.host_summaries import HostSummary, find_host_summaries, measured_hosts
from butlerql.storage.provenance.pipeline_executions import pipeline_executions_of_runs, times_of
from butlerql.storage.provenance.quanta import count_quanta, count_quanta_of_runs, find_quanta, quanta_of_runs
from butlerql.storage.provenance.records import Caveats, QuantumStatus
from butlerql.storage.provenance.summing import sum_up
from butlerql.storage.provenance.tables import RUN, TASK_SUMMARY
from butlerql.storage.provenance.task_summaries import (
    TaskSummary,
    find_task_summaries,
    measured_tasks,
    task_summaries_of_graphs,
)
from butlerql.storage.provenance.tasks import (
    classes_of,
    count_tasks,
    dataset_types_of,
    find_tasks,
    tasks_of_pipeline_executions,
    tasks_of_runs,
    tasks_that_use,
)
from butlerql.storage.registry.pages import Page, PageRequest
from butlerql.storage.state.database import State
from tests.support.provenance_filters import (
    Attempt,
    attempts_of,
    executions_chosen,
    filters,
    quanta_chosen,
)
from tests.support.provenance_state import emptied, take_in
from tests.support.provenance_worlds import RUNS, Work, World, worlds

ALL = PageRequest(1000)
FAILED = {QuantumStatus.FAILED, QuantumStatus.ABORTED}
SETTINGS = settings(
    max_examples=settings.default.max_examples // 6,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def distribution_of(values: Sequence[float | None]) -> Distribution | None:
    numbers = np.array([value for value in values if value is not None], dtype=float)
    if not numbers.size:
        return None
    p05, p32, median, p68, p95, p99 = map(float, np.percentile(numbers, [5, 32, 50, 68, 95, 99]))
    least, most = float(numbers.min()), float(numbers.max())
    return Distribution(
        numbers.size, least, p05, p32, median, p68, p95, p99, most, float(numbers.mean()), float(numbers.sum())
    )


def assert_same(found: Distribution | None, expected: Distribution | None) -> None:
    if found is None or expected is None:
        assert found is expected
    else:
        for name in Distribution.__slots__:
            assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-9, abs=1e-9), name


def summed(world: World, chosen: QuantumFilter) -> dict[tuple[str, str], tuple[list[Work], list[Attempt]]]:
    """Group what is chosen by run and task."""
    found: dict[tuple[str, str], tuple[list[Work], list[Attempt]]] = defaultdict(lambda: ([], []))
    for work in quanta_chosen(world, chosen):
        found[work.run, work.task][0].append(work)
    for one in executions_chosen(world, chosen):
        found[one.work.run, one.work.task][1].append(one)
    return dict(sorted(found.items()))


def assert_task_summary(found: TaskSummary, works: list[Work], attempts: list[Attempt]) -> None:
    ends = Counter(work.status for work in works)
    retried = [work for work in works if len(work.attempts) > 1]
    assert found.expected == (sum(bool(work.planned_in) for work in works) or None)
    assert (found.quanta, found.executions) == (len(works), len(attempts))
    for status in QuantumStatus:
        assert getattr(found, status.name.lower()) == ends[status]
    recovered = [work for work in retried if work.status is QuantumStatus.SUCCESSFUL]
    assert (found.retried, found.recovered) == (len(retried), len(recovered))
    assert found.failed_executions == sum(one.record.status in FAILED for one in attempts)
    assert found.hosts == len({one.record.host for one in attempts} - {None})
    exceptions = Counter(one.record.exception for one in attempts if one.record.exception is not None)
    assert {one.exception: one.count for one in found.exceptions} == exceptions
    assert [one.count for one in found.exceptions] == sorted(exceptions.values(), reverse=True)
    for one in found.exceptions:
        said = {other.record.message for other in attempts if other.record.exception == one.exception}
        assert one.sample_message in (said - {None} or {None})
    caveats = Counter(str(flag.name) for one in attempts for flag in one.record.caveats or Caveats(0))
    assert {one.code: one.count for one in found.caveats} == caveats


def assert_host_summary(world: World, found: HostSummary, attempts: list[Attempt]) -> None:
    failed = [one for one in attempts if one.record.status in FAILED]
    good = [one for one in attempts if one.record.status is QuantumStatus.SUCCESSFUL]
    elsewhere = [
        one
        for one in failed
        if found.host is not None
        and any(
            record.status is QuantumStatus.SUCCESSFUL and record.host not in (None, found.host)
            for _, record in one.work.attempts
        )
    ]

    def seen(chosen: list[Attempt]) -> int | None:
        moments = [one.record.ended_at or one.record.started_at for one in chosen]
        return max((moment for moment in moments if moment is not None), default=None)

    starts = [one.record.started_at for one in attempts if one.record.started_at is not None]
    assert (found.executions, found.successful, found.failed) == (len(attempts), len(good), len(failed))
    assert found.recovered_elsewhere == len(elsewhere)
    assert found.quanta == len({id(one.work) for one in attempts})
    assert found.tasks == len({one.work.task for one in attempts})
    assert (found.first_seen, found.last_seen, found.last_success) == (
        min(starts, default=None),
        seen(attempts),
        seen(good),
    )
    assert found.failure_rate == len(failed) / len(attempts)
    assert found.all_failed == (len(failed) == len(attempts))


async def check_summaries(state: State, world: World, chosen: QuantumFilter) -> None:
    expected = summed(world, chosen)
    found = await find_task_summaries(state, chosen)
    assert [(one.run_name, one.task_label) for one in found] == list(expected)
    for one, (works, attempts) in zip(found, expected.values(), strict=True):
        assert_task_summary(one, works, attempts)
    for measure in Measure:
        for one, (_, attempts) in zip(await measured_tasks(state, found, measure), expected.values(), strict=True):
            assert_same(one, distribution_of([getattr(attempt.record, measure.value) for attempt in attempts]))


async def check_graphs(state: State) -> None:
    """Of several graphs at once, the same is told as of each alone."""
    graphs = [one for of_run in await pipeline_executions_of_runs(state, RUNS) for one in of_run]
    for graph, together in zip(graphs, await task_summaries_of_graphs(state, graphs), strict=True):
        alone = await find_task_summaries(state, QuantumFilter(pipeline_executions=[graph.uuid]))
        assert [replace(one, chosen=QuantumFilter(), graph=graph) for one in alone] == together
        for measure in Measure:
            assert await measured_tasks(state, together, measure) == await measured_tasks(state, alone, measure)


async def check_hosts(state: State, world: World, chosen: QuantumFilter, least: int) -> None:
    by_host: dict[str | None, list[Attempt]] = defaultdict(list)
    for one in executions_chosen(world, chosen):
        by_host[one.record.host].append(one)
    found = await find_host_summaries(state, chosen, least)
    assert {one.host for one in found} == {host for host, attempts in by_host.items() if len(attempts) >= least}
    order = [(-one.failure_rate, -one.executions) for one in found]
    assert order == sorted(order)
    for one, measured in zip(found, await measured_hosts(state, found, Measure.MAX_RSS), strict=True):
        assert_host_summary(world, one, by_host[one.host])
        assert_same(measured, distribution_of([attempt.record.max_rss for attempt in by_host[one.host]]))


@SETTINGS
@given(data=st.data(), world=worlds())
async def test_summaries(state: State, data: st.DataObject, world: World) -> None:
    await emptied(state)
    for telling in world.tellings:
        await take_in(state, telling)
    whole = [QuantumFilter(), QuantumFilter(runs=["u/o*"]), QuantumFilter(tasks=["isr"], only_runs=["u/two"])]
    starts = sorted({one.record.started_at for one in attempts_of(world) if one.record.started_at is not None} or {0})
    times = [
        QuantumFilter(started_after=starts[0]),
        QuantumFilter(started_before=starts[-1] + 1, runs=["u/o*"]),
        QuantumFilter(
            started_after=data.draw(st.sampled_from(starts)), started_before=data.draw(st.sampled_from(starts))
        ),
    ]
    for chosen in times:
        await check_hosts(state, world, chosen, 1)
    for chosen in [*whole, *(data.draw(filters(world)) for _ in range(4))]:
        await check_summaries(state, world, chosen)
        await check_hosts(state, world, chosen, data.draw(st.integers(1, 3)))
    await check_graphs(state)
    # What is not summed up gives the same.
    await unsum(state)
    for chosen in whole:
        await check_summaries(state, world, chosen)
    for chosen in [*whole, *times]:
        await check_hosts(state, world, chosen, 1)


async def unsum(state: State) -> None:
    async def forget(connection: Any) -> None:
        await connection.execute(TASK_SUMMARY.update().values(content=None))
        await connection.execute(RUN.update().values(hosts_summed=False))

    await state.write(forget)


async def all_pages(find: Any, size: int) -> list[Any]:
    found: list[Any] = []
    request = PageRequest(size)
    while True:
        page: Page[Any] = await find(request)
        found += page.rows
        if not page.has_next:
            return found
        request = PageRequest(size, after=page.keys[-1])


@SETTINGS
@given(data=st.data(), world=worlds())
async def test_units_of_work_and_attempts(state: State, data: st.DataObject, world: World) -> None:
    await emptied(state)
    for telling in world.tellings:
        await take_in(state, telling)
    for _ in range(5):
        chosen = data.draw(filters(world))
        works, attempts = quanta_chosen(world, chosen), executions_chosen(world, chosen)
        size = data.draw(st.integers(1, 4))

        async def quanta(request: PageRequest, chosen: QuantumFilter = chosen) -> Page[Any]:
            return await find_quanta(state, chosen, request, ["-status", "task"])

        async def executions(request: PageRequest, chosen: QuantumFilter = chosen) -> Page[Any]:
            return await find_executions(state, chosen, request, ["-runTime"])

        for find, of_runs, count in (
            (find_quanta, quanta_of_runs, count_quanta_of_runs),
            (find_executions, executions_of_runs, count_executions_of_runs),
        ):
            pages = await of_runs(state, [*RUNS, "nobody"], chosen, PageRequest(size))
            assert pages == [
                await find(state, replace(chosen, only_runs=[run]), PageRequest(size)) for run in [*RUNS, "nobody"]
            ]
            whole = [await find(state, replace(chosen, only_runs=[run]), ALL) for run in RUNS]
            assert await count(state, [*RUNS, "nobody"], chosen) == [*(len(page.rows) for page in whole), 0]
        found = await all_pages(quanta, size)
        shown = Counter((one.run_name, one.task_label, str(sorted(one.data_id_values.items()))) for one in found)
        assert shown == Counter((one.run, one.task, str(sorted(one.data_id.items()))) for one in works)
        assert [-one.status for one in found] == sorted(-one.status for one in found)
        assert await count_quanta(state, chosen) == len(works)
        tried = await all_pages(executions, size)
        assert Counter((one.log_uuid, one.attempt, one.pipeline_execution_uuid) for one in tried) == Counter(
            (one.record.log and str(one.record.log), one.place, one.graph and str(one.graph.uuid)) for one in attempts
        )
        times = [one.run_time for one in tried]
        assert times == sorted(times, key=lambda time: float("inf") if time is None else -time)
        assert await count_executions(state, chosen) == len(attempts)


@SETTINGS
@given(world=worlds())
async def test_tasks_and_pipeline_executions(state: State, world: World) -> None:
    await emptied(state)
    for telling in world.tellings:
        await take_in(state, telling)
    by_run = {run: {work.task for work in world.works if work.run == run} for run in RUNS}
    assert [[task.label for task in tasks] for tasks in await tasks_of_runs(state, [*RUNS, "nobody"])] == [
        *(sorted(by_run[run]) for run in RUNS),
        [],
    ]
    labels = sorted({work.task for work in world.works})
    tasks = (await find_tasks(state, ["*"], None, PageRequest(10))).rows
    assert [task.label for task in tasks] == labels and await count_tasks(state, ["*"], None) == len(labels)
    assert [task.label for task in (await find_tasks(state, ["*s*"], ["u/t*"], PageRequest(10))).rows] == [
        task for task in sorted(by_run["u/two"]) if "s" in task
    ]
    planned = {task for graph in world.graphs for task in graph.tasks}
    assert await classes_of(state, tasks) == [
        [f"lsst.{task.label}.Task"] if task.label in planned else [] for task in tasks
    ]
    for is_output, end in ((False, "in"), (True, "out")):
        assert await dataset_types_of(state, tasks, is_output=is_output) == [
            [f"{task.label}_{end}"] if task.label in planned else [] for task in tasks
        ]
        [users, nobody] = await tasks_that_use(state, [f"isr_{end}", "nothing"], is_output=is_output)
        assert [task.label for task in users] == (["isr"] if "isr" in planned else []) and nobody == []
    found = [one for of_run in await pipeline_executions_of_runs(state, RUNS) for one in of_run]
    graphs = sorted(world.graphs, key=lambda one: (RUNS.index(one.run), one.created_at or float("inf")))
    assert [(one.uuid, one.run_name, one.user) for one in found] == [
        (str(graph.uuid), graph.run, "someone") for graph in graphs
    ]
    of_graphs = await tasks_of_pipeline_executions(state, [one.uuid for one in found])
    assert [{task.label for task in one} for one in of_graphs] == [graph.tasks for graph in graphs]
    for (start, end), graph in zip(await times_of(state, found), graphs, strict=True):
        records = [one.record for one in attempts_of(world) if one.graph is graph]
        starts = [record.started_at for record in records if record.started_at is not None]
        ends = [record.ended_at for record in records if record.ended_at is not None]
        assert (start, end) == (min(starts, default=None), max(ends, default=None))


async def test_nothing_is_ordered_by_what_there_is_not(state: State) -> None:
    for find in (find_quanta, find_executions):
        with pytest.raises(InvalidExpressionError, match="'colour'"):
            await find(state, QuantumFilter(), PageRequest(1), ["colour"])


async def test_summing_up_again_changes_nothing(state: State) -> None:
    await unsum(state)
    before = await find_task_summaries(state, QuantumFilter()), await find_host_summaries(state, QuantumFilter())
    await sum_up(state)
    after = await find_task_summaries(state, QuantumFilter()), await find_host_summaries(state, QuantumFilter())
    assert after[1] == before[1] and len(after[0]) == len(before[0])
