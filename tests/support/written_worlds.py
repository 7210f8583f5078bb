"""A registry that holds what work wrote, and the work."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from lsst.daf.butler import Butler, CollectionType, DatasetType

from butlerql.storage.provenance.filters import QuantumFilter
from butlerql.storage.provenance.records import ExecutionRecord, QuantumRecord, QuantumStatus, Record, SourceKind
from tests.support.provenance_worlds import DATA_IDS, HOSTS, RUNS, TASKS, Graph, Telling, Work, World
from tests.support.repositories import Content

__all__ = ["CHAIN", "TAG", "WRITTEN", "Written", "questions", "work_that_wrote", "written_in"]

TAG, CHAIN = "tagged", "both"
_EACH = 2
"""A unit of work has so many outputs at most."""

Written = Mapping[tuple[str, str, tuple[int | str, ...]], UUID]
"""Datasets by run, dataset type and data ID."""


def _name(task: str, place: int) -> str:
    return f"{task}_out{place}"


def _fill(butler: Butler, outside: Path) -> None:
    add = butler.registry.insertDimensionData
    for instrument in sorted({str(one["instrument"]) for one in DATA_IDS}):
        add("instrument", {"name": instrument, "class_name": "nowhere.Cam"})
        add("physical_filter", {"instrument": instrument, "name": "r", "band": "r"})
        add("day_obs", {"instrument": instrument, "id": 20260101})
        add("group", {"instrument": instrument, "name": "g"})
    for number, data_id in enumerate(DATA_IDS):
        own = {"instrument": data_id["instrument"], "id": data_id["exposure"], "obs_id": f"e{number}"}
        add("exposure", own | {"physical_filter": "r", "day_obs": 20260101, "group": "g"})
    dimensions = butler.dimensions.conform(["instrument", "exposure"])
    kinds = [DatasetType(_name(task, place), dimensions, "StructuredDataDict") for task in TASKS for place in (0, 1)]
    tagged = []
    for kind in kinds:
        butler.registry.registerDatasetType(kind)
    for run in RUNS:
        butler.collections.register(run)
        for kind in kinds:
            # One output is not there any more.
            data_ids = DATA_IDS[1:] if kind.name == _name(TASKS[0], 1) else DATA_IDS
            tagged += butler.registry.insertDatasets(kind, data_ids, run=run)[::3]
    butler.collections.register(TAG, CollectionType.TAGGED)
    butler.registry.associate(TAG, [ref for ref in tagged if ref.run == RUNS[0]])
    butler.collections.register(CHAIN, CollectionType.CHAINED)
    butler.collections.redefine_chain(CHAIN, [TAG, *RUNS])


WRITTEN = Content("written", _fill)
"""Runs, dataset types and data IDs of `provenance_worlds`; a tag, and a chain of it and the runs."""


def written_in(butler: Butler) -> Written:
    """Find what is there."""
    names = [_name(task, place) for task in TASKS for place in range(_EACH)]
    refs = [ref for name in names for ref in butler.query_datasets(name, RUNS, find_first=False)]
    return {(ref.run, ref.datasetType.name, ref.dataId.required_values): ref.id for ref in refs}


def work_that_wrote(written: Written) -> World:
    """Do work that wrote all that is there, and some that is not: with one to three attempts, the same each time."""
    chance = Random(1)
    graphs = [Graph(UUID(int=1 + place), run, 1 + place) for place, run in enumerate(RUNS)]
    works = []
    for number, (graph, task, data_id) in enumerate(product(graphs, TASKS, DATA_IDS)):
        values = (data_id["instrument"], data_id["exposure"])
        found = [written.get((graph.run, _name(task, place), values)) for place in range(_EACH)]
        outputs = (*(uuid for uuid in found if uuid is not None), UUID(int=1_000 + number))
        work = Work(graph.run, task, data_id, planned_in={graph.uuid: UUID(int=100 + number)}, outputs=outputs)
        for attempt in range(chance.randint(1, 3)):
            status = chance.choice([QuantumStatus.SUCCESSFUL, QuantumStatus.FAILED])
            done = ExecutionRecord(
                attempt,
                status,
                chance.choice(HOSTS),
                100 * attempt + number,
                run_time=chance.random(),
                max_rss=chance.randint(1, 100),
                exception="ValueError" if status is QuantumStatus.FAILED else None,
            )
            work.attempts.append((graph, done))
        works.append(work)
    records: list[Record] = [
        QuantumRecord(
            work.run,
            work.task,
            work.data_id,
            uuid,
            graph,
            executions=tuple(record for _, record in work.attempts),
            outputs=work.outputs,
        )
        for work in works
        for graph, uuid in work.planned_in.items()
    ]
    return World(graphs, works, [Telling(SourceKind.PROVENANCE_GRAPH, "graph", records)], {})


@st.composite
def questions(draw: st.DrawFn, world: World) -> QuantumFilter:
    """Ask for some of it: with a few conditions at most, so that mostly there is something."""
    starts = [record.started_at for work in world.works for _, record in work.attempts]
    conditions: dict[str, st.SearchStrategy[Any]] = {
        "runs": st.sampled_from([[RUNS[0]], ["u/t*"], []]),
        "tasks": st.sampled_from([[TASKS[0]], ["c*"]]),
        "statuses": st.lists(st.sampled_from([QuantumStatus.SUCCESSFUL, QuantumStatus.FAILED]), max_size=2),
        "pipeline_executions": st.lists(st.sampled_from([str(graph.uuid) for graph in world.graphs]), max_size=2),
        "data_id": st.sampled_from([{"exposure": 1}, {"instrument": "Cam1"}, {"instrument": "Cam2", "exposure": "2"}]),
        "hosts": st.sampled_from([[host] for host in HOSTS] + [["node-[12]"], ["nobody"]]),
        "started_after": st.sampled_from(starts),
        "started_before": st.sampled_from(starts),
        "min_run_time": st.floats(0, 1),
        "min_max_rss": st.integers(1, 100),
        "exception": st.sampled_from(["Value*", "KeyError"]),
    }
    names = draw(st.lists(st.sampled_from(sorted(conditions)), max_size=3, unique=True))
    return QuantumFilter(**{name: draw(conditions[name]) for name in names})
