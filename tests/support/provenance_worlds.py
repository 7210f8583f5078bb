"""Work that was done, as it was, and what several sources tell of it; each tells a part, and together they tell all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from butlerql.storage.provenance.records import (
    Caveats,
    DatasetRecord,
    ExecutionRecord,
    PipelineExecutionRecord,
    QuantumRecord,
    QuantumStatus,
    Record,
    Skipped,
    SourceKind,
    TaskRecord,
)

__all__ = ["HOSTS", "RUNS", "TASKS", "Graph", "Telling", "Work", "World", "worlds"]

RUNS = ("u/one", "u/two")
TASKS = ("isr", "calibrate")
HOSTS = ("node-1", "node-2", "node-3")
EXCEPTIONS = ("lsst.pipe.base.X", "ValueError")
DATA_IDS: list[dict[str, int | str]] = [
    {"instrument": instrument, "exposure": exposure} for instrument in ("Cam1", "Cam2") for exposure in (1, 2)
]

_ENDS = st.sampled_from(
    [
        QuantumStatus.SUCCESSFUL,
        QuantumStatus.SUCCESSFUL,
        QuantumStatus.FAILED,
        QuantumStatus.FAILED,
        QuantumStatus.ABORTED,
        QuantumStatus.ABORTED_SUCCESS,
        QuantumStatus.UNKNOWN,
    ]
)
_BEGIN, _SECOND = 1_700_000_000_000_000, 1_000_000
# Before the work, in the middle of it, and after it; once it may not be known.
_MADE = st.lists(st.none() | st.integers(-1, 20).map(lambda n: _BEGIN + n * _SECOND), max_size=2, unique=True)
_BLOCKING = {QuantumStatus.FAILED, QuantumStatus.ABORTED, QuantumStatus.BLOCKED}
_OPTIONAL = ("host", "ended_at", "run_time", "cpu_time", "max_rss", "process_index", "exception", "message", "caveats")


@dataclass
class Graph:
    """A quantum graph."""

    uuid: UUID
    run: str
    created_at: int | None
    tasks: set[str] = field(default_factory=set)


@dataclass
class Work:
    """A unit of work, with all attempts at it, the first one first, and the graph of each."""

    run: str
    task: str
    data_id: dict[str, int | str]
    attempts: list[tuple[Graph | None, ExecutionRecord]] = field(default_factory=list)
    planned_in: dict[UUID, UUID] = field(default_factory=dict)
    """Its own UUID, by that of the graph."""

    is_blocked: bool = False
    """Whether a graph says so."""

    inputs: tuple[UUID, ...] = ()
    outputs: tuple[UUID, ...] = ()
    is_behind: bool = False
    """Whether it needs something that failed, or was blocked, in the same run."""

    @property
    def status(self) -> QuantumStatus:
        if self.attempts:
            return self.attempts[-1][1].status
        return QuantumStatus.BLOCKED if self.is_blocked or self.is_behind else QuantumStatus.UNKNOWN


@dataclass
class Telling:
    """What one source tells."""

    kind: SourceKind
    name: str
    records: list[Record]


@dataclass
class World:
    """All that was done, and what tells of it."""

    graphs: list[Graph]
    works: list[Work]
    tellings: list[Telling]
    datasets: dict[UUID, tuple[str, dict[str, int | str], str, bool]]
    """Dataset type, data ID, run, whether it was written."""


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Do some work."""
    numbers = count(1)

    def new() -> UUID:
        return UUID(int=next(numbers) << 64 | 0x8000)

    clock = count(_BEGIN, _SECOND)
    graphs = [Graph(new(), run, moment) for run in RUNS for moment in draw(_MADE)]
    keys = st.tuples(st.sampled_from(RUNS), st.sampled_from(TASKS), st.integers(0, len(DATA_IDS) - 1))
    works = [Work(run, task, DATA_IDS[place]) for run, task, place in draw(st.lists(keys, max_size=7, unique=True))]
    datasets: dict[UUID, tuple[str, dict[str, int | str], str, bool]] = {}
    makers: dict[UUID, Work] = {}
    for work in works:
        _do(draw, work, [graph for graph in graphs if graph.run == work.run], new, clock)
        known = list(datasets)
        if known:
            work.inputs = tuple(draw(st.lists(st.sampled_from(known), max_size=2, unique=True)))
        needed = (makers[uuid] for uuid in work.inputs)
        work.is_behind = any(one.run == work.run and one.status in _BLOCKING for one in needed)
        work.outputs = tuple(new() for _ in range(draw(st.integers(0, 2))))
        makers |= dict.fromkeys(work.outputs, work)
        written = work.status is QuantumStatus.SUCCESSFUL
        datasets |= dict.fromkeys(work.outputs, (f"{work.task}_out", work.data_id, work.run, written))
    return World(graphs, works, _tell(draw, graphs, works, datasets), datasets)


def _do(draw: st.DrawFn, work: Work, graphs: Sequence[Graph], new: Any, clock: Any) -> None:
    """Plan a unit of work in some graphs, and make attempts at it."""
    chosen = [graph for graph in graphs if draw(st.booleans())]
    work.planned_in = {graph.uuid: new() for graph in chosen}
    for graph in chosen:
        graph.tasks.add(work.task)
    # Of a full Butler nobody tells for which graph it made an attempt.
    some_killed = draw(st.booleans())
    for place, graph in enumerate([None] if not chosen or draw(st.booleans()) else chosen):
        log = new()
        number = draw(st.integers(0 if chosen else 1, 3))
        for attempt in range(number):
            if some_killed and draw(st.booleans()):
                _kill(draw, work, clock)
            status = draw(_ENDS)
            is_failed = status is QuantumStatus.FAILED
            # What has no start is put behind what is before it in its graph, so the first of a later graph has one.
            starts = draw(st.booleans()) or (attempt == 0 and place > 0) or some_killed
            record = ExecutionRecord(
                attempt,
                status,
                draw(st.sampled_from([*HOSTS, None])),
                next(clock) if starts else None,
                next(clock),
                draw(st.none() | st.floats(0, 100)),
                draw(st.none() | st.floats(0, 100)),
                draw(st.none() | st.integers(0, 2**40)),
                draw(st.none() | st.integers(0, 3)),
                draw(st.sampled_from(EXCEPTIONS)) if is_failed else None,
                draw(st.sampled_from(["it broke", "no \u2212 \U0001f4a5", None])) if is_failed else None,
                Caveats(draw(st.integers(0, 127))) if status is QuantumStatus.SUCCESSFUL else None,
                log,
            )
            work.attempts.append((graph, record))
        if some_killed and draw(st.booleans()):
            _kill(draw, work, clock)
    work.is_blocked = bool(chosen) and not work.attempts and draw(st.booleans())


def _kill(draw: st.DrawFn, work: Work, clock: Any) -> None:
    """Make an attempt that leaves nothing, and that only workflow systems count."""
    host, message = draw(st.sampled_from(HOSTS)), draw(st.sampled_from(["killed", None]))
    status = QuantumStatus.ABORTED
    record = ExecutionRecord(len(work.attempts), status, host, next(clock), next(clock), message=message)
    work.attempts.append((None, record))


def _tell(
    draw: st.DrawFn,
    graphs: Sequence[Graph],
    works: Sequence[Work],
    datasets: Mapping[UUID, tuple[str, dict[str, int | str], str, bool]],
) -> list[Telling]:
    """Have each attempt told of by its graph, or else by its run; others may tell it too. Each thing is told by one."""
    told: dict[str, Telling] = {}
    for place, graph in enumerate(graphs):
        header = PipelineExecutionRecord(graph.uuid, graph.run, "a pipeline", "someone", "run it", graph.created_at)
        tasks = [
            TaskRecord(task, graph.run, graph.uuid, f"lsst.{task}.Task", (f"{task}_in",), (f"{task}_out",))
            for task in sorted(graph.tasks)
        ]
        told[f"g{place}"] = Telling(SourceKind.PROVENANCE_GRAPH, f"g{place}", [header, *tasks])
        told[f"p{place}"] = Telling(SourceKind.PREDICTED_GRAPH, f"p{place}", [header])
    for run in RUNS:
        told[run] = Telling(SourceKind.TASK_RECORDS, run, [Skipped("a file", "it is broken")])
    told["lines"] = Telling(SourceKind.JSON_LINES, "lines", [])
    names = {graph.uuid: place for place, graph in enumerate(graphs)}
    for work in works:
        _tell_work(draw, told, names, work)
    for uuid, (dataset_type, data_id, run, written) in datasets.items():
        shown = draw(st.sampled_from(sorted(told)))
        told[shown].records.append(DatasetRecord(uuid, dataset_type, data_id, run, written))
        told["lines"].records.append(DatasetRecord(uuid, produced=False if draw(st.booleans()) else None))
    return list(told.values())


def _parts(draw: st.DrawFn, record: ExecutionRecord, names: Sequence[str]) -> dict[str, ExecutionRecord]:
    """Have each source tell a part of an attempt."""
    parts = {name: replace(record, **dict.fromkeys(_OPTIONAL)) for name in names}
    for name in _OPTIONAL:
        teller = draw(st.sampled_from(sorted(parts)))
        parts[teller] = replace(parts[teller], **{name: getattr(record, name)})
    if len(parts) > 1 and draw(st.booleans()):
        teller = draw(st.sampled_from(sorted(parts)))
        return {
            name: part if name == teller else replace(part, status=QuantumStatus.UNKNOWN)
            for name, part in parts.items()
        }
    return parts


def _tell_work(draw: st.DrawFn, told: Mapping[str, Telling], names: Mapping[UUID, int], work: Work) -> None:
    base = QuantumRecord(work.run, work.task, work.data_id)
    sources: dict[str, list[ExecutionRecord]] = {work.run: []}
    for graph in work.planned_in:
        sources[f"g{names[graph]}"] = []
    killed = [record for _, record in work.attempts if record.log is None]
    lines = killed.copy()
    for place, (graph, record) in enumerate(work.attempts):
        if record.log is None:
            continue
        own = work.run if graph is None else f"g{names[graph.uuid]}"
        also = [work.run] if graph is not None and draw(st.booleans()) else []
        if len(work.planned_in) < 2 and record.started_at is not None and draw(st.booleans()):
            also.append("lines")
        parts = _parts(draw, record, [own, *also])
        if killed:
            # By its begin and its end an attempt is told from those that are numbered otherwise.
            parts = {name: replace(part, ended_at=record.ended_at) for name, part in parts.items()}
        lines += [replace(part, attempt=place, log=None) for name, part in parts.items() if name == "lines"]
        for name in parts.keys() - {"lines"}:
            sources[name].append(parts[name])
    for graph, uuid in work.planned_in.items():
        of_graph = replace(base, uuid=uuid, pipeline_execution=graph)
        place = names[graph]
        told[f"p{place}"].records.append(replace(of_graph, inputs=work.inputs[:1], outputs=work.outputs))
        told[f"g{place}"].records.append(
            replace(
                of_graph,
                is_blocked=work.is_blocked,
                executions=tuple(sources[f"g{place}"]),
                inputs=work.inputs,
                outputs=work.outputs,
            )
        )
    if sources[work.run] or not work.planned_in:
        told[work.run].records.append(
            replace(base, executions=tuple(sources[work.run]), inputs=work.inputs, outputs=work.outputs)
        )
    told["lines"].records.extend(replace(base, executions=(one,)) for one in lines)
