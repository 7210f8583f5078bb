"""Executions that a workflow system writes."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any
from uuid import UUID

import hypothesis
import pytest
from hypothesis import strategies as st

from butlerql.storage.provenance.json_lines import LinesFile
from butlerql.storage.provenance.records import (
    Caveats,
    ExecutionRecord,
    PipelineExecutionRecord,
    QuantumRecord,
    QuantumStatus,
    Record,
    Skipped,
    SourceKind,
)
from tests.storage.provenance.test_broken_graphs import odd_values

LEAST = {"run": "u/run", "task": "isr", "dataId": {"instrument": "Cam", "exposure": 1}, "attempt": 0}
LEAST |= {"status": "ABORTED"}
QUANTUM, EXECUTION, LOG, METADATA, INPUT, OUTPUT = (str(UUID(int=number)) for number in range(1, 7))
MOST = LEAST | {
    "quantum": QUANTUM,
    "pipelineExecution": EXECUTION,
    "attempt": 2,
    "status": "SUCCESSFUL",
    "host": "node-7",
    "startedAt": "2026-01-01T00:00:00.25Z",
    "endedAt": "2026-01-01T01:00:01.25+01:00",
    "runTime": 0.5,
    "cpuTime": 1,
    "maxRss": 1 << 30,
    "processIndex": 3,
    "exception": "lsst.pipe.base.Trouble",
    "message": "No stars.",
    "caveats": ["ANY_OUTPUTS_MISSING", "PARTIAL_OUTPUTS_ERROR"],
    "log": LOG,
    "metadata": METADATA,
    "inputs": [INPUT],
    "outputs": [OUTPUT],
}


def read(*lines: Any) -> list[Record]:
    content = b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    return list(LinesFile(io.BytesIO(content), "executions.jsonl").records())


def test_takes_all_that_is_told() -> None:
    execution, quantum, least = read(MOST, LEAST)
    assert execution == PipelineExecutionRecord(UUID(EXECUTION), "u/run")
    assert quantum == QuantumRecord(
        run="u/run",
        task="isr",
        data_id={"instrument": "Cam", "exposure": 1},
        uuid=UUID(QUANTUM),
        pipeline_execution=UUID(EXECUTION),
        executions=(
            ExecutionRecord(
                attempt=2,
                status=QuantumStatus.SUCCESSFUL,
                host="node-7",
                started_at=1_767_225_600_250_000,
                ended_at=1_767_225_601_250_000,
                run_time=0.5,
                cpu_time=1.0,
                max_rss=1 << 30,
                process_index=3,
                exception="lsst.pipe.base.Trouble",
                message="No stars.",
                caveats=Caveats.ANY_OUTPUTS_MISSING | Caveats.PARTIAL_OUTPUTS_ERROR,
                log=UUID(LOG),
                metadata=UUID(METADATA),
            ),
        ),
        inputs=(UUID(INPUT),),
        outputs=(UUID(OUTPUT),),
    )
    assert least == QuantumRecord(
        "u/run", "isr", LEAST["dataId"], executions=(ExecutionRecord(0, QuantumStatus.ABORTED),)
    )


def test_the_documentation_tells_of_every_key_and_what_it_shows_is_read() -> None:
    page = (Path(__file__).parents[3] / "docs/reference/execution-lines.md").read_text()
    [block] = re.findall(r"```jsonl\n(.*?)```", page, re.DOTALL)
    aborted, successful = read(*block.encode().splitlines())
    assert isinstance(aborted, QuantumRecord) and isinstance(successful, QuantumRecord)
    assert (aborted.executions[0].status, successful.executions[0].attempt) == (QuantumStatus.ABORTED, 1)
    table = "".join(line.split("|")[1] for line in page.splitlines() if line.startswith("| `"))
    assert set(re.findall(r"`(\w+)`", table)) == MOST.keys()
    words = {*Caveats.__members__, *QuantumStatus.__members__} - {"NO_CAVEATS", "BLOCKED"}
    assert words == set(re.findall(r"`([A-Z_]+)`", page))


def test_tells_of_a_pipeline_execution_once() -> None:
    assert [type(record) for record in read(MOST, MOST)].count(PipelineExecutionRecord) == 1


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"7",
        b"\xff",
        LEAST | {"maxRSS": 1},
        {key: value for key, value in LEAST.items() if key != "run"},
        LEAST | {"status": "RUNNING"},
        LEAST | {"status": "BLOCKED"},
        LEAST | {"attempt": -1},
        LEAST | {"attempt": None},
        LEAST | {"attempt": None, "startedAt": "2026-01-01T00:00:00Z"},
        LEAST | {"startedAt": "2026-01-01T00:00:01Z", "endedAt": "2026-01-01T00:00:00Z"},
        LEAST | {"caveats": ["NONE"]},
        LEAST | {"dataId": {"instrument": None}},
        LEAST | {"message": b"x".decode() * (1 << 20)},
    ],
)
def test_lines_that_make_no_sense_are_skipped(line: Any) -> None:
    records = read(LEAST, line, b"", LEAST)
    assert [type(record) for record in records] == [QuantumRecord, Skipped, QuantumRecord]
    assert records[1].name == "line 2"


def test_long_lines_are_not_kept() -> None:
    for size in (1 << 20, (1 << 20) + 1, 5 << 20):
        for end in (b"\n", b""):
            content = json.dumps(LEAST).encode() + b"\n" + b"x" * size + end
            first, second = LinesFile(io.BytesIO(content), "x").records()
            assert isinstance(first, QuantumRecord) and isinstance(second, Skipped) and second.name == "line 2"


@hypothesis.given(st.sampled_from(sorted(MOST)), odd_values())
def test_no_value_stops_reading(key: str, value: Any) -> None:
    records = read(MOST | {key: value}, LEAST)
    assert isinstance(records[-1], QuantumRecord)
    for record in records:
        if isinstance(record, QuantumRecord):
            for number in (record.executions[0].started_at, record.executions[0].max_rss):
                assert number is None or -(1 << 63) <= number < 1 << 63


def test_knows_what_a_file_is() -> None:
    one, other = (LinesFile(io.BytesIO(content), "x.jsonl").source for content in (b"", b"\n"))
    assert one.kind is SourceKind.JSON_LINES and one.name == "x.jsonl" and one.digest != other.digest
