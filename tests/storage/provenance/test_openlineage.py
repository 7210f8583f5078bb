"""Events of OpenLineage: whatever order they come in, and however often, what was done is known once."""

from __future__ import annotations

import io
import json
from contextlib import suppress
from typing import Any
from uuid import UUID

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st

from butlerql.storage.errors import InvalidSourceError
from butlerql.storage.provenance.executions import executions_of
from butlerql.storage.provenance.ingest import ingest_at_once
from butlerql.storage.provenance.json_lines import LinesFile
from butlerql.storage.provenance.openlineage import records_of
from butlerql.storage.provenance.records import (
    DatasetRecord,
    ExecutionRecord,
    QuantumRecord,
    QuantumStatus,
    Record,
    Skipped,
    Source,
    SourceKind,
)
from butlerql.storage.state.database import State
from tests.storage.provenance.test_broken_graphs import odd_values
from tests.support.provenance_state import emptied

SOURCE = Source(SourceKind.JSON_LINES, "OpenLineage", "")
FACET: dict[str, Any] = {
    "_producer": "https://example.org",
    "run": "u/run",
    "task": "isr",
    "dataId": {"instrument": "Cam", "exposure": 1},
    "attempt": 0,
}
ENDS = {"COMPLETE": QuantumStatus.SUCCESSFUL, "FAIL": QuantumStatus.FAILED, "ABORT": QuantumStatus.ABORTED}
RAW, MADE = UUID(int=1), UUID(int=2)
AT = 1_767_225_600_000_000
"""The beginning of 2026."""


def event(kind: str | None, second: int = 0, **facet: Any) -> dict[str, Any]:
    facets: dict[str, Any] = {"butler_execution": {**FACET, **facet}}
    made = {"butler_dataset": {"_producer": "x", "uuid": str(MADE), "datasetType": "made", "run": "u/run"}}
    return {
        **({} if kind is None else {"eventType": kind}),
        "eventTime": f"2026-01-01T00:00:{second:02}Z",
        "run": {"runId": str(UUID(int=7)), "facets": facets},
        "job": {"namespace": "n", "name": "isr"},
        "inputs": [
            {"namespace": "n", "name": "raw", "facets": {"butler_dataset": {"uuid": str(RAW)}}},
            {"namespace": "n", "name": "list"},
        ],
        "outputs": [{"namespace": "n", "name": "made", "facets": made}],
    }


@pytest.mark.parametrize("kind", ["START", "RUNNING", "OTHER", None, *ENDS])
def test_what_an_event_tells(kind: str | None) -> None:
    start = 1_767_225_600_000_000
    quantum, raw, made = records_of(event(kind, 1, host="node"))
    assert quantum == QuantumRecord(
        "u/run",
        "isr",
        {"instrument": "Cam", "exposure": 1},
        executions=(
            ExecutionRecord(
                0,
                ENDS.get(str(kind), QuantumStatus.UNKNOWN),
                "node",
                started_at=start + 1_000_000 if kind == "START" else None,
                ended_at=start + 1_000_000 if kind in ENDS else None,
            ),
        ),
        inputs=(RAW,),
        outputs=(MADE,),
    )
    assert raw == DatasetRecord(RAW)
    assert made == DatasetRecord(MADE, "made", run="u/run", produced=True if kind == "COMPLETE" else None)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("eventType", "DONE"),
        ("eventType", ["START"]),
        ("eventType", None),
        ("eventTime", None),
        ("eventTime", "now"),
        ("run", None),
        ("run facets", None),
        ("run facets", []),
        ("run facets butler_execution attempt", None),
        ("run facets butler_execution status", "FAILED"),
        ("run facets butler_execution hosts", "x"),
        ("run facets errorMessage", {"message": 1}),
        ("inputs", {}),
        ("inputs 0", 7),
        ("inputs 0 facets butler_dataset", {}),
        ("inputs 0 facets butler_dataset id", 1),
    ],
)
def test_what_makes_no_sense_is_refused(path: str, value: Any) -> None:
    one: Any = event("START")
    *outer, last = [int(part) if part.isdigit() else part for part in path.split()]
    inside = one
    for part in outer:
        inside = inside[part]
    inside[last] = value
    with pytest.raises(InvalidSourceError):
        records_of(one)


@hypothesis.given(
    st.recursive(odd_values(), lambda inside: st.dictionaries(st.sampled_from(sorted(event("START"))), inside))
)
def test_nothing_else_is_raised(value: Any) -> None:
    for one in (value, event("START") | {"run": value}, event("START") | {"inputs": [value]}):
        with suppress(InvalidSourceError):
            records_of(one)


def test_lines_hold_events_and_executions() -> None:
    line = {"run": "u/run", "task": "isr", "dataId": {}, "attempt": 0, "status": "FAILED"}
    lines = [event("START", pipelineExecution=str(UUID(int=9))), line, event("START", attempt=None)]
    content = "\n".join(map(json.dumps, lines)).encode()
    records = list(LinesFile(io.BytesIO(content), "x.jsonl").records())
    names = [type(record).__name__ for record in records]
    assert names == [
        "PipelineExecutionRecord", "QuantumRecord", "DatasetRecord", "DatasetRecord", "QuantumRecord", "Skipped"
    ]  # fmt: skip
    assert isinstance(records[-1], Skipped) and records[-1].name == "line 3"


@st.composite
def histories(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Make attempts one after another, each with what is told of it while it goes on."""
    events = []
    for attempt in range(draw(st.integers(1, 3))):
        told = {"attempt": attempt, "host": f"node-{attempt}"}
        kinds = ["START", *draw(st.lists(st.sampled_from(["RUNNING", "OTHER"]), max_size=2))]
        kinds += draw(st.lists(st.sampled_from(sorted(ENDS)), max_size=2))
        for place, kind in enumerate(kinds):
            events.append(event(kind, 10 * attempt + place, **told, **({"maxRss": 9} if kind == "OTHER" else {})))
    return events


@hypothesis.settings(
    max_examples=8, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@hypothesis.given(data=st.data(), events=histories())
async def test_order_and_repetition_change_nothing(
    state: State, data: st.DataObject, events: list[dict[str, Any]]
) -> None:
    async def told(some: list[dict[str, Any]]) -> tuple[int, list[Any]]:
        records: list[Record] = [record for one in some for record in records_of(one)]
        taken = await ingest_at_once(state, SOURCE, records)
        [attempts] = await executions_of(state, [1])
        return taken.executions, [tuple(attempt)[1:] for attempt in attempts]

    await emptied(state)
    number, expected = await told(events)
    assert number == len(expected) == len({one["run"]["facets"]["butler_execution"]["attempt"] for one in events})
    assert await told(data.draw(st.lists(st.sampled_from(events), min_size=1))) == (0, expected)
    await emptied(state)
    mixed = data.draw(st.permutations([*events, *events]))
    half = data.draw(st.integers(1, len(mixed) - 1))
    first, _ = await told(mixed[:half])
    second, known = await told(mixed[half:])
    assert (first + second, known) == (number, expected)


TRACE = ExecutionRecord(
    0, QuantumStatus.SUCCESSFUL, "node-1", started_at=AT + 16_000_000, ended_at=AT + 23_000_000, log=UUID(int=3)
)
"""What the run tells: that which was killed before has left nothing."""

FIRST = {"nobody tells": None, "aborted": "ABORT", "failed": "FAIL"}


@pytest.mark.parametrize("first", FIRST)
async def test_what_was_killed_is_no_part_of_what_followed(state: State, first: str) -> None:
    end = FIRST[first]
    killed = [event("START", 0, attempt=0, host="node-0"), *([] if end is None else [event(end, 10, attempt=0)])]
    whole = [event("START", 15, attempt=1, host="node-1"), event("COMPLETE", 25, attempt=1)]
    one_by_one = [[one] for one in (*killed, *whole)]
    run = QuantumRecord("u/run", "isr", FACET["dataId"], executions=(TRACE,))
    orders: list[list[Any]] = [
        [*one_by_one, run],
        # It was looked at what the run holds right before its end was sent, and once more.
        [*one_by_one[:-1], run, one_by_one[-1], run],
        [killed + whole, run],
        [run, killed + whole],
    ]
    for order in orders:
        await emptied(state)
        # All of it may come again.
        for told in [*order, *order]:
            if told is run:
                await ingest_at_once(state, Source(SourceKind.TASK_RECORDS, "u/run", "1"), [run])
            else:
                await ingest_at_once(state, SOURCE, [record for one in told for record in records_of(one)])
            [attempts] = await executions_of(state, [1])
        found = [(one.host, one.status, one.started_at, one.ended_at, one.log_uuid) for one in attempts]
        status = QuantumStatus.UNKNOWN if end is None else ENDS[end]
        assert found == [
            ("node-0", status, AT, None if end is None else AT + 10_000_000, None),
            ("node-1", QuantumStatus.SUCCESSFUL, AT + 15_000_000, AT + 25_000_000, str(UUID(int=3))),
        ], order
