"""Where a run departs from others: as plain Python and SciPy find it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import inf
from random import Random
from statistics import mean, median
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from scipy import stats

from butlerql.storage.errors import InvalidArgumentError
from butlerql.storage.provenance.anomalies import Anomaly, AnomalyKind, examples_of, find_anomalies
from butlerql.storage.provenance.filters import QuantumFilter
from butlerql.storage.provenance.host_summaries import find_host_summaries
from butlerql.storage.provenance.ingest import ingest
from butlerql.storage.provenance.records import (
    Caveats,
    ExecutionRecord,
    QuantumRecord,
    QuantumStatus,
    Source,
    SourceKind,
)
from butlerql.storage.state.database import State
from tests.support.provenance_state import emptied, in_batches

RUNS = ("u/night/3", "u/night/1", "u/night/2")
"""The first one is looked at."""

TASKS = ("isr", "calibrate")
FAILED = {QuantumStatus.FAILED, QuantumStatus.ABORTED}
START = 1_790_000_000_000_000
KINDS = {
    AnomalyKind.RUN_TIME: ("run_time", 0.1, 0.001),
    AnomalyKind.MEMORY: ("max_rss", 50e6, 1.0),
    AnomalyKind.CPU_TIME: ("cpu_time", 0.1, 0.001),
}


@dataclass(frozen=True)
class Unit:
    """A unit of work."""

    run: str
    task: str
    number: int
    attempts: tuple[ExecutionRecord, ...]


@st.composite
def nights(draw: st.DrawFn) -> list[Unit]:
    """Do the same in several nights, in one of them maybe slower, larger or with more failures."""
    chance = Random(draw(st.integers(0, 2**32)))
    same = draw(st.booleans())
    units = []
    for run in RUNS:
        for task in TASKS:
            count = draw(st.integers(0, 30))
            slower = draw(st.sampled_from([0.5, 1, 1, 2.5, 8]))
            failing = draw(st.sampled_from([0, 0.02, 0.2, 1]))
            step = draw(st.sampled_from([1 / 64, 1.0]))
            for number in range(count):
                place = number if same else number + 1_000 * RUNS.index(run)
                units.append(Unit(run, task, place, attempts_at(chance, slower, failing, step)))
    return units


def attempts_at(chance: Random, slower: float, failing: float, step: float) -> tuple[ExecutionRecord, ...]:
    attempts = []
    for attempt in range(chance.choice([0, 1, 1, 1, 1, 2])):
        failed = chance.random() < failing
        seconds = slower * round(chance.uniform(1, 9)) * step
        attempts.append(
            ExecutionRecord(
                attempt,
                chance.choice(sorted(FAILED)) if failed else QuantumStatus.SUCCESSFUL,
                "node",
                START + attempt if chance.random() < 0.9 or attempt else None,
                run_time=None if chance.random() < 0.1 else seconds,
                cpu_time=seconds / 2,
                max_rss=int(seconds * 100e6),
                process_index=chance.choice([0, 0, 0, 0, 1, None]),
                caveats=None if failed else Caveats(chance.choice([0, 0, 0, 0, 1, 64, 7])),
            )
        )
    return tuple(attempts)


async def take_in(state: State, units: Iterable[Unit]) -> None:
    records = [
        QuantumRecord(unit.run, unit.task, {"instrument": "Cam", "exposure": unit.number}, executions=unit.attempts)
        for unit in units
    ]
    await emptied(state)
    await ingest(state, Source(SourceKind.JSON_LINES, "nights", "1"), in_batches(records))


def values_of(units: Iterable[Unit], name: str) -> dict[int, float]:
    """Give the value of each data ID that was done: the mean without the least and the greatest."""
    found: dict[int, list[float]] = defaultdict(list)
    for unit in units:
        for one in unit.attempts:
            value = getattr(one, name)
            done = one.status is QuantumStatus.SUCCESSFUL and not (one.caveats or 0) & (4 | 64)
            if done and value is not None and (name != "max_rss" or one.process_index == 0):
                found[unit.number].append(value)
    inner = {number: sorted(values)[1:-1] if len(values) > 2 else values for number, values in found.items()}
    return {number: mean(values) for number, values in inner.items()}


def p_value_of(test: Callable[[], Any], surest: Callable[[], Any]) -> float | None:
    """Give what a test says; None if it could not say more than chance does, whatever the values."""
    return float(test().pvalue) if surest().pvalue <= 0.05 + 1e-9 else None


def compared(now: Mapping[int, float], before: Mapping[int, float], least: int) -> tuple[Any, ...] | None:
    both = sorted(now.keys() & before.keys())
    if len(both) >= max(5, least) and 2 * len(both) >= min(len(now), len(before)):
        differences = [now[one] - before[one] for one in both]
        up, all_of_them = sum(one > 0 for one in differences), sum(one != 0 for one in differences)
        p_value = all_of_them and p_value_of(
            lambda: stats.binomtest(up, all_of_them, alternative="greater"),
            lambda: stats.binomtest(all_of_them, all_of_them, alternative="greater"),
        )
        return median(now[one] for one in both), median(before[one] for one in both), len(both), p_value or None
    if min(len(now), len(before)) < least:
        return None
    these, others = list(now.values()), list(before.values())
    different = len(set(these + others)) == len(these + others)
    method = "exact" if different and len(these) * len(others) <= 400 else "asymptotic"
    p_value = p_value_of(
        lambda: stats.mannwhitneyu(these, others, alternative="greater", method=method),
        lambda: stats.mannwhitneyu(
            range(1, len(these) + 1), range(-len(others), 0), alternative="greater", method="exact"
        ),
    )
    return median(these), median(others), len(these), p_value


def expected(units: Sequence[Unit], baseline: Sequence[str], ratio: float, least: int) -> list[Any]:
    """Find kind, task, observed, baseline, ratio, executions and p-value of each anomaly, the most severe first."""
    earlier = [run for run in RUNS[1:] if any(fnmatchcase(run, glob) for glob in baseline)]
    found: list[tuple[Any, ...]] = []
    for task in TASKS:
        by_run = {run: [unit for unit in units if (unit.run, unit.task) == (run, task)] for run in RUNS}
        now, before = by_run[RUNS[0]], [by_run[run] for run in earlier if by_run[run]]
        if not before or not any(unit.run == RUNS[0] for unit in units):
            continue
        others = [unit for some in before for unit in some]
        for kind, (name, floor, lowest) in KINDS.items():
            sides = compared(values_of(now, name), values_of(others, name), least)
            if sides is not None:
                found += departing(kind, task, *sides, floor, lowest, ratio)
        number, other = (sum(len(unit.attempts) for unit in some) for some in (now, others))
        failed, other_failed = (
            sum(one.status in FAILED for unit in some for one in unit.attempts) for some in (now, others)
        )
        if min(number, other) >= least:
            p_value = p_value_of(
                lambda table=[[failed, number - failed], [other_failed, other - other_failed]]: stats.fisher_exact(
                    table, alternative="greater"
                ),
                lambda table=[[number, 0], [0, other]]: stats.fisher_exact(table, alternative="greater"),
            )
            rates = failed / number, other_failed / other
            found += departing(AnomalyKind.FAILURE_RATE, task, *rates, number, p_value, 0.01, 0.5 / other, ratio)
        usual = median(sum(len(unit.attempts) for unit in some) for some in before)
        times = number / max(usual, 1)
        if abs(number - usual) >= least and severity(times) >= ratio:
            found.append((AnomalyKind.EXECUTION_COUNT, task, number, usual, times, number, None))
    kinds = list(AnomalyKind)
    return sorted(found, key=lambda one: (-severity(one[4]), kinds.index(one[0]), one[1]))


def severity(ratio: float) -> float:
    return inf if ratio == 0 else max(ratio, 1 / ratio)


def departing(
    kind: AnomalyKind,
    task: str,
    observed: float,
    before: float,
    number: int,
    p_value: float | None,
    floor: float,
    lowest: float,
    ratio: float,
) -> list[tuple[Any, ...]]:
    times = observed / max(before, lowest)
    if times < ratio or observed - before < floor or (p_value is not None and p_value > 0.05):
        return []
    return [(kind, task, observed, before, times, number, p_value)]


def told(one: Anomaly) -> tuple[Any, ...]:
    return (one.kind, one.task_label, one.observed, one.baseline, one.ratio, one.executions, one.p_value)


@settings(
    max_examples=settings.default.max_examples // 5,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    units=nights(),
    baseline=st.sampled_from([["u/night/*"], ["u/night/1", "u/night/2"], ["*1"], ["nobody", RUNS[0]]]),
    ratio=st.sampled_from([1.0, 2.0, 3.0]),
    least=st.integers(1, 6),
)
async def test_as_by_going_through_all(
    state: State, units: list[Unit], baseline: list[str], ratio: float, least: int
) -> None:
    await take_in(state, units)
    found = await find_anomalies(state, RUNS[0], baseline, ratio, least)
    known = {unit.run for unit in units}
    earlier = {run for run in RUNS[1:] if any(fnmatchcase(run, glob) for glob in baseline)}
    if RUNS[0] not in known or not earlier & known:
        assert found is None
        return
    assert found is not None
    wanted = expected(units, baseline, ratio, least)
    assert [one[:2] for one in map(told, found)] == [one[:2] for one in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert told(one)[2:-1] == pytest.approx(other[2:-1])
        assert one.p_value == (None if other[-1] is None else pytest.approx(other[-1], rel=1e-6))
        assert (one.run_name, one.baseline >= 0) == (RUNS[0], True)
    for first in (0, 2):
        for one, shown in zip(found, await examples_of(state, found, first), strict=True):
            best = [score for unit in units for score in scores_of(unit, one)]
            assert [score_of(one.kind, execution) for execution in shown] == sorted(best, reverse=True)[:first]


def scores_of(unit: Unit, anomaly: Anomaly) -> list[float]:
    """Tell how well each attempt shows an anomaly, of those that do."""
    if (unit.run, unit.task) != (anomaly.run_name, anomaly.task_label):
        return []
    shown = []
    for place, one in enumerate(unit.attempts):
        if anomaly.kind is AnomalyKind.EXECUTION_COUNT:
            shown.append(place)
        elif anomaly.kind is AnomalyKind.FAILURE_RATE:
            if one.status in FAILED:
                shown.append(one.started_at or 0)
        else:
            shown += values_of([Unit(unit.run, unit.task, 0, (one,))], KINDS[anomaly.kind][0]).values()
    return shown


def score_of(kind: AnomalyKind, execution: Any) -> float:
    if kind is AnomalyKind.EXECUTION_COUNT:
        return float(execution.attempt)
    return float(
        (execution.started_at if kind is AnomalyKind.FAILURE_RATE else getattr(execution, KINDS[kind][0])) or 0
    )


async def test_a_task_that_is_gone_is_found(state: State) -> None:
    units = [Unit(run, "isr", 1, (ExecutionRecord(0, QuantumStatus.SUCCESSFUL),)) for run in RUNS[:2]]
    units += [Unit(RUNS[1], "gather", number, (ExecutionRecord(0, QuantumStatus.SUCCESSFUL),)) for number in (1, 2)]
    await take_in(state, units)
    found = await find_anomalies(state, RUNS[0], RUNS[1:], 2.0, 2) or []
    assert [told(one) for one in found] == [(AnomalyKind.EXECUTION_COUNT, "gather", 0, 2, 0, 0, None)]
    assert found[0].run_name == RUNS[0] and await examples_of(state, found, 5) == [[]]


@pytest.mark.parametrize(("ratio", "least"), [(0.5, 3), (float("nan"), 3), (2.0, 0)])
async def test_nonsense_is_refused(state: State, ratio: float, least: int) -> None:
    with pytest.raises(InvalidArgumentError):
        await find_anomalies(state, RUNS[0], ["*"], ratio, least)


async def test_nobody_asks_for_hosts_with_no_attempts(state: State) -> None:
    with pytest.raises(InvalidArgumentError, match="minExecutions must be 1 or more"):
        await find_host_summaries(state, QuantumFilter(), 0)
