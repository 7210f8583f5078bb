"""Metadata and logs as other generations of the pipelines wrote them.

What is in ``recorded`` was written by the packages of the week that the directory names, of which only the paths of
source files were changed.
"""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from butlerql.storage.provenance.records import (
    Caveats,
    ExecutionRecord,
    QuantumRecord,
    QuantumStatus,
    Skipped,
)
from butlerql.storage.provenance.task_records import Content, Traces, told_of

RECORDED = Path(__file__).parent / "recorded"
LOG, METADATA = UUID(int=1), UUID(int=2)


def told(metadata: bytes | None, log: bytes | None) -> ExecutionRecord:
    contents = [
        None if content is None else Content(uuid, "", "", content)
        for uuid, content in ((METADATA, metadata), (LOG, log))
    ]
    [quantum] = [
        record
        for record in told_of(Traces("old/run", "isr", {"exposure": 1}, *contents))
        if isinstance(record, QuantumRecord)
    ]
    [execution] = quantum.executions
    return execution


def test_success_in_2023() -> None:
    directory = RECORDED / "w_2023_49"
    metadata, log = ((directory / name).read_bytes() for name in ("isr_metadata.json", "isr_log.json"))
    assert told(metadata, log) == ExecutionRecord(
        attempt=0,
        status=QuantumStatus.SUCCESSFUL,
        started_at=1_795_890_406_529_537,
        ended_at=1_795_890_406_600_192,
        run_time=0.055677,
        cpu_time=pytest.approx(1.206031018 - 1.187124469),
        max_rss=129_757_184,
        log=LOG,
        metadata=METADATA,
    )


def test_failure_in_2023() -> None:
    log = (RECORDED / "w_2023_49" / "isr_log_of_failure.json").read_bytes()
    assert told(None, log) == ExecutionRecord(
        attempt=0,
        status=QuantumStatus.FAILED,
        started_at=1_795_890_404_748_722,
        ended_at=1_795_890_404_795_485,
        exception="RuntimeError",
        message="No stars: none at all.",
        log=LOG,
    )


def test_success_in_2025() -> None:
    directory = RECORDED / "w_2025_19"
    metadata, log = ((directory / name).read_bytes() for name in ("isr_metadata.json", "isr_log.json"))
    execution = told(metadata, log)
    assert (execution.status, execution.host) == (QuantumStatus.SUCCESSFUL, "vm")
    assert (execution.caveats, execution.process_index) == (Caveats.NO_CAVEATS, None)
    assert (execution.run_time, execution.max_rss) == (0.087247, 179_605_504)


def test_failure_in_2025() -> None:
    execution = told(None, (RECORDED / "w_2025_19" / "isr_log_of_failure.json").read_bytes())
    assert (execution.status, execution.host) == (QuantumStatus.FAILED, None)
    assert (execution.exception, execution.message) == ("RuntimeError", "No stars: none at all.")
    assert execution.ended_at - execution.started_at == 30_495


PROPERTY_SET = b"""!<lsst.daf.base.PropertySet>
- [isr, PropertySet, !<lsst.daf.base.PropertyList> [[started, String, now, a comment]]]
- - quantum
  - PropertySet
  - !<lsst.daf.base.PropertySet>
    - [prepUtc, String, '2021-06-01T00:00:00.000000']
    - [initUtc, String, '2021-06-01T00:00:01.000000']
    - [startUtc, String, '2021-06-01T00:00:02.000000']
    - [startCpuTime, Double, 1.5]
    - [endUtc, String, ['2021-06-01T00:00:05.000000']]
    - [endCpuTime, Double, 3.5]
    - [endMaxResidentSetSize, LongLong, 1000]
"""


def test_property_sets() -> None:
    """As in the code that wrote them; there is no file of that time here."""
    execution = told(PROPERTY_SET, None)
    assert (execution.status, execution.host) == (QuantumStatus.ABORTED_SUCCESS, None)
    assert (execution.started_at, execution.ended_at) == (1_622_505_600_000_000, 1_622_505_605_000_000)
    assert (execution.run_time, execution.cpu_time, execution.max_rss) == (3.0, 2.0, 1_024_000)


@pytest.mark.parametrize(
    "content",
    [
        b"!<lsst.daf.base.PropertySet> 7",
        b"!<lsst.daf.base.PropertySet> [[a]]",
        b"!<lsst.daf.base.PropertySet> [[[], String, 1]]",
        b"!<lsst.daf.base.PropertySet> [[a, String, !!python/object/apply:os.getcwd []]]",
        b"!<lsst.daf.base.PropertySet> [[quantum, PropertySet, 7]]",
        b"!<lsst.daf.base.PropertySet> " + b"[" * 10_000,
    ],
)
def test_nothing_else_is_made_of_property_sets(content: bytes) -> None:
    records = list(told_of(Traces("run", "isr", {}, Content(METADATA, "", "old.yaml", content))))
    skipped = [record.name for record in records if isinstance(record, Skipped)]
    assert skipped == ["old.yaml"] or b"quantum" in content
