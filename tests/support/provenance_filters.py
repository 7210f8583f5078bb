"""Generated questions about what was done, and what answers them, found by going through it."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from hypothesis import strategies as st

from butlerql.storage.provenance.filters import QuantumFilter
from butlerql.storage.provenance.records import ExecutionRecord, QuantumStatus
from tests.support.provenance_worlds import HOSTS, RUNS, TASKS, Graph, Work, World

__all__ = ["Attempt", "attempts_of", "executions_chosen", "filters", "named", "quanta_chosen"]


class Attempt(NamedTuple):
    """An attempt, and what it was at."""

    work: Work
    place: int
    graph: Graph | None
    """What it was made for, as far as is known."""

    record: ExecutionRecord


def names(pool: Sequence[str]) -> st.SearchStrategy[list[str] | None]:
    return st.none() | st.lists(st.sampled_from([*pool, pool[0][:2] + "*", "*", "nobody"]), max_size=2)


@st.composite
def filters(draw: st.DrawFn, world: World) -> QuantumFilter:
    rare = st.integers(0, 3).map(lambda number: number == 0)
    starts = [one.record.started_at for one in attempts_of(world) if one.record.started_at is not None]
    moment = st.sampled_from(starts) if starts else st.just(0)
    graphs = [str(graph.uuid) for graph in world.graphs]
    data_ids = st.sampled_from([{"exposure": 1}, {"instrument": "Cam1"}, {"instrument": "Cam2", "exposure": 2}, {}])
    return QuantumFilter(
        runs=draw(names(RUNS)),
        tasks=draw(names(TASKS)),
        statuses=draw(st.lists(st.sampled_from(QuantumStatus), max_size=3)) if draw(rare) else None,
        pipeline_executions=draw(st.lists(st.sampled_from(graphs), max_size=2)) if graphs and draw(rare) else None,
        data_id=draw(data_ids) if draw(rare) else None,
        hosts=draw(names(HOSTS)) if draw(rare) else None,
        started_after=draw(moment) if draw(rare) else None,
        started_before=draw(moment) if draw(rare) else None,
        min_run_time=draw(st.floats(0, 100)) if draw(rare) else None,
        min_max_rss=draw(st.integers(0, 2**40)) if draw(rare) else None,
        exception=draw(st.sampled_from(["lsst.*", "ValueError", "none"])) if draw(rare) else None,
    )


def attempts_of(world: World) -> list[Attempt]:
    return [one for work in world.works for one in attempts_at(world, work)]


def attempts_at(world: World, work: Work) -> list[Attempt]:
    planned = [graph for graph in world.graphs if graph.uuid in work.planned_in]
    return [
        Attempt(work, place, graph or likely_graph(planned, record), record)
        for place, (graph, record) in enumerate(work.attempts)
    ]


def likely_graph(planned: Sequence[Graph], record: ExecutionRecord) -> Graph | None:
    """Tell for which graph an attempt was made if nobody tells it: the latest before it, or else the first."""
    began = record.started_at or 0
    in_order = sorted(planned, key=lambda graph: graph.created_at or 0)
    before = [graph for graph in in_order if graph.created_at is not None and graph.created_at <= began]
    return next(iter(before[-1:] or in_order), None)


def named(globs: Sequence[str] | None, name: str | None) -> bool:
    return globs is None or (name is not None and any(fnmatchcase(name, glob) for glob in globs))


def at_least(least: float | None, value: float | None) -> bool:
    return least is None or (value is not None and value >= least)


def is_of(work: Work, chosen: QuantumFilter) -> bool:
    return (
        named(chosen.runs, work.run)
        and (chosen.only_runs is None or work.run in chosen.only_runs)
        and named(chosen.tasks, work.task)
        and (chosen.data_id is None or chosen.data_id.items() <= work.data_id.items())
    )


def meets(one: Attempt, chosen: QuantumFilter) -> bool:
    """Whether an attempt meets the conditions on attempts."""
    record, before = one.record, chosen.started_before
    return (
        named(chosen.hosts, record.host)
        and at_least(chosen.started_after, record.started_at)
        and (before is None or (record.started_at is not None and record.started_at < before))
        and at_least(chosen.min_run_time, record.run_time)
        and at_least(chosen.min_max_rss, record.max_rss)
        and (chosen.exception is None or named([chosen.exception], record.exception))
        and (
            chosen.pipeline_executions is None
            or (one.graph is not None and str(one.graph.uuid) in chosen.pipeline_executions)
        )
    )


def executions_chosen(world: World, chosen: QuantumFilter) -> list[Attempt]:
    return [
        one
        for one in attempts_of(world)
        if is_of(one.work, chosen)
        and meets(one, chosen)
        and (chosen.statuses is None or one.record.status in chosen.statuses)
    ]


def quanta_chosen(world: World, chosen: QuantumFilter, *, only_last: bool = False) -> list[Work]:
    """List the units of work that are chosen; conditions on attempts are on any of them, or only on the last."""
    of_attempts = ("hosts", "started_after", "started_before", "min_run_time", "min_max_rss", "exception")
    found = []
    for work in world.works:
        if not is_of(work, chosen) or (chosen.statuses is not None and work.status not in chosen.statuses):
            continue
        if any(getattr(chosen, name) is not None for name in of_attempts):
            if not any(meets(one, chosen) for one in attempts_at(world, work)[-1 if only_last else 0 :]):
                continue
        elif chosen.pipeline_executions is not None and not (
            {str(graph) for graph in work.planned_in} & set(chosen.pipeline_executions)
        ):
            continue
        found.append(work)
    return found
