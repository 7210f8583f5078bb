"""What metadata and logs tell, read by us and by lsst's own code, and beside what the tasks say themselves."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import hypothesis
import pytest
from hypothesis import strategies as st
from lsst.daf.butler import Butler, DatasetRef
from lsst.pipe.base import TaskMetadata
from lsst.pipe.base.quantum_graph import ProvenanceQuantumScanModels
from lsst.pipe.base.quantum_graph._predicted import PredictedDatasetModel, PredictedQuantumDatasetsModel

from butlerql.storage.errors import InvalidSourceError
from butlerql.storage.provenance.lenient_json import parse
from butlerql.storage.provenance.records import (
    Caveats,
    DatasetRecord,
    ExecutionRecord,
    QuantumRecord,
    QuantumStatus,
    Skipped,
    TaskRecord,
)
from butlerql.storage.provenance.task_configs import told_of_task
from butlerql.storage.provenance.task_metadata import hosts_of, told_by
from butlerql.storage.provenance.task_records import Content, Traces, told_of
from tests.storage.provenance.test_broken_graphs import spoil
from tests.storage.provenance.test_graph_file import agree, of_kind, records_of
from tests.support.pipelines.recorded import Recorded

RUNS = ["full/one", "full/many", "batch/steps", "batch/heavy"]

Key = tuple[str, tuple[tuple[str, Any], ...]]


@pytest.fixture(scope="module")
def butler(pipelines: Recorded) -> Any:
    with Butler.from_config(str(pipelines.repository)) as opened:
        yield opened


def traces_in(butler: Butler, run: str) -> dict[Key, tuple[Traces, dict[str, DatasetRef]]]:
    """Find the metadata and logs of a run, by task and data ID."""
    refs: dict[Key, dict[str, DatasetRef]] = {}
    for label in ("isr", "calibrate", "gather"):
        for kind in ("log", "metadata"):
            for ref in butler.query_datasets(f"{label}_{kind}", collections=run, explain=False):
                refs.setdefault((label, tuple(sorted(ref.dataId.required.items()))), {})[kind] = ref
    return {
        key: (
            Traces(run, key[0], dict(key[1]), **{kind: content_of(butler, ref) for kind, ref in found.items()}),
            found,
        )
        for key, found in refs.items()
    }


def content_of(butler: Butler, ref: DatasetRef) -> Content:
    path = butler.getURI(ref).ospath
    return Content(ref.id, ref.datasetType.name, path, Path(path).read_bytes())


@pytest.mark.parametrize("run", RUNS)
def test_gives_the_attempts_that_lsst_gives(butler: Butler, run: str) -> None:
    found = traces_in(butler, run)
    assert found
    for traces, refs in found.values():
        metadata, log = (butler.get(refs[kind]) if kind in refs else None for kind in ("metadata", "log"))
        planned = PredictedQuantumDatasetsModel.model_construct(
            quantum_id=uuid4(),
            task_label=traces.task,
            inputs={},
            outputs={
                f"_{kind}": [
                    PredictedDatasetModel.model_construct(dataset_id=refs[kind].id if kind in refs else uuid4())
                ]
                for kind in ("metadata", "log")
            },
        )
        lsst = ProvenanceQuantumScanModels.from_metadata_and_logs(planned, metadata, log)
        quantum, *datasets = told_of(traces)
        assert isinstance(quantum, QuantumRecord)
        assert len(quantum.executions) == len(lsst.attempts)
        # With a process for each unit of work it takes the last attempt's for those of two.
        metadata_of_attempts = lsst.metadata.attempts[-len(lsst.attempts) :]
        for mine, theirs, told in zip(quantum.executions, lsst.attempts, metadata_of_attempts, strict=True):
            if theirs.resource_usage is None:
                # Then we take the times of the log.
                assert mine.started_at is not None and mine.ended_at is not None and mine.run_time is None
                agree(replace(mine, started_at=None, ended_at=None), theirs)
            else:
                agree(mine, theirs)
            assert mine.host == (told["quantum"]["nodeName"] if told and "quantum" in told else None)
        written = {uuid for uuid, is_there in lsst.output_existence.items() if is_there}
        assert set(quantum.outputs) == written == {dataset.uuid for dataset in of_kind(datasets, DatasetRecord)}
        assert {dataset.produced for dataset in datasets} == {True}


def test_graphs_and_files_tell_the_same(butler: Butler, pipelines: Recorded) -> None:
    graph = {
        (quantum.task, tuple(sorted(quantum.data_id.items()))): quantum
        for quantum in of_kind(records_of(pipelines.graph("heavy.provenance")), QuantumRecord)
    }
    found = traces_in(butler, "batch/heavy")
    assert graph.keys() == found.keys()
    for key, (traces, _) in found.items():
        quantum = next(told_of(traces))
        assert isinstance(quantum, QuantumRecord)
        assert quantum.executions == graph[key].executions
        assert set(quantum.outputs) == set(graph[key].outputs)


@pytest.mark.parametrize("run", RUNS)
def test_agrees_with_the_journal(butler: Butler, pipelines: Recorded, run: str) -> None:
    told = Counter(
        (task, data_id, execution.host, execution.status)
        for (task, data_id), (traces, _) in traces_in(butler, run).items()
        for quantum in of_kind(list(told_of(traces)), QuantumRecord)
        for execution in quantum.executions
        if not execution.caveats or not execution.caveats & Caveats.ADJUST_QUANTUM_RAISED
    )
    written = Counter(
        (
            entry.task,
            tuple(sorted(entry.data_id.items())),
            # A process for each unit of work leaves no host of a failure.
            None if (run, entry.outcome) == ("full/many", "raise") else entry.host,
            QuantumStatus.FAILED if entry.outcome == "raise" else QuantumStatus.SUCCESSFUL,
        )
        for entry in pipelines.journal
        if entry.run == run and entry.end is not None
    )
    assert told == written and told


def test_tells_of_what_went_wrong(butler: Butler) -> None:
    found = traces_in(butler, "full/one")

    def executions(task: str, exposure: int, detector: int) -> tuple[ExecutionRecord, ...]:
        key = task, (("detector", detector), ("exposure", exposure), ("instrument", "Cam"))
        quantum = next(told_of(found[key][0]))
        assert isinstance(quantum, QuantumRecord)
        return quantum.executions

    first, second = executions("calibrate", 2, 1)
    assert (first.attempt, first.status, first.host) == (0, QuantumStatus.FAILED, "alpha")
    assert first.exception == "tests.support.pipelines.tasks._UnprocessableError"
    assert first.message == "Nothing to be made of exposure 2."
    assert (second.attempt, second.status, second.host) == (1, QuantumStatus.SUCCESSFUL, "beta")
    assert first.ended_at < second.started_at
    [partial] = executions("calibrate", 1, 2)
    assert partial.status is QuantumStatus.SUCCESSFUL and partial.message == "No stars."
    assert partial.caveats == Caveats.PARTIAL_OUTPUTS_ERROR | Caveats.ANY_OUTPUTS_MISSING
    [spared] = executions("calibrate", 1, 3)
    assert Caveats.ADJUST_QUANTUM_RAISED in spared.caveats and spared.run_time == 0


def test_reads_the_text_where_nothing_is_beside_the_log(butler: Butler) -> None:
    """As older repositories have it, in each of the forms."""
    [(traces, _)] = [
        found
        for key, found in traces_in(butler, "full/many").items()
        if key[0] == "calibrate" and found[0].metadata is None
    ]
    lines = traces.log.content.partition(b"###EXTRA###")[0]
    records = [json.loads(line) for line in lines.splitlines()]
    forms = [lines, lines.strip(), lines + b'{"name":', json.dumps(records).encode()]
    forms += [json.dumps({"extended": False, "records": records}).encode()]
    whole = next(told_of(traces)).executions[0]
    for form in forms:
        log = Content(traces.log.uuid, traces.log.dataset_type, "log", form)
        [told] = next(told_of(Traces(traces.run, traces.task, traces.data_id, log=log))).executions
        assert told.exception == "_UnprocessableError" and whole.exception.endswith("._UnprocessableError")
        assert (told.message, told.started_at, told.ended_at) == (whole.message, whole.started_at, whole.ended_at)


def test_one_of_the_two_is_enough(butler: Butler) -> None:
    traces = next(traces for traces, _ in traces_in(butler, "batch/heavy").values())
    bare = Traces(traces.run, traces.task, traces.data_id)
    for keeps_log, status in ((True, QuantumStatus.ABORTED_SUCCESS), (False, QuantumStatus.SUCCESSFUL)):
        told = next(told_of(Traces(bare.run, bare.task, bare.data_id, traces.metadata, None, keeps_log)))
        assert [execution.status for execution in told.executions] == [status]
    told = next(told_of(Traces(bare.run, bare.task, bare.data_id, None, traces.log)))
    assert [execution.status for execution in told.executions] == [QuantumStatus.FAILED]


def test_what_cannot_be_read_is_skipped_and_known_to_be_there(butler: Butler) -> None:
    traces = next(traces for traces, _ in traces_in(butler, "batch/heavy").values())
    for broken in (b"", b"{", b"\xff", b"[" * 100_000, b'{"metadata": 1}', b"[1]", b"null"):
        spoiled = Traces(
            traces.run,
            traces.task,
            traces.data_id,
            Content(traces.metadata.uuid, "m", "metadata.json", broken),
            Content(traces.log.uuid, "l", "log.json", broken),
        )
        records = list(told_of(spoiled))
        skipped = {record.name for record in of_kind(records, Skipped)}
        assert "metadata.json" in skipped and skipped <= {"metadata.json", "log.json"}
        [quantum] = of_kind(records, QuantumRecord)
        assert [execution.status for execution in quantum.executions] == [QuantumStatus.SUCCESSFUL]
        assert {traces.metadata.uuid, traces.log.uuid} == {dataset.uuid for dataset in of_kind(records, DatasetRecord)}
    unread = Traces(traces.run, traces.task, traces.data_id, Content(traces.metadata.uuid, "m", "metadata.json"))
    [quantum] = of_kind(list(told_of(unread)), QuantumRecord)
    assert quantum.executions[0].metadata == traces.metadata.uuid


@pytest.fixture(scope="module")
def some_traces(butler: Butler) -> list[Traces]:
    return [traces for traces, _ in traces_in(butler, "full/one").values()]


@hypothesis.given(st.data())
def test_no_value_stops_reading(some_traces: list[Traces], data: st.DataObject) -> None:
    traces = data.draw(st.sampled_from(some_traces))
    contents = {}
    for kind in ("metadata", "log"):
        content = getattr(traces, kind)
        if content is not None:
            value = json.loads(content.content)
            spoil(value, data)
            contents[kind] = Content(content.uuid, content.dataset_type, kind, json.dumps(value).encode())
    [quantum] = of_kind(list(told_of(Traces(traces.run, traces.task, traces.data_id, **contents))), QuantumRecord)
    for execution in quantum.executions:
        for number in (execution.started_at, execution.ended_at, execution.max_rss, execution.process_index):
            assert number is None or -(1 << 63) <= number < 1 << 63


@hypothesis.given(st.data())
def test_the_quick_way_to_hosts_gives_what_parsing_gives(data: st.DataObject) -> None:
    words = st.sampled_from(["nodeName", "quantum", "scalars", 'a"b', "\\", "{", '"quantum":{"scalars":{', "host", "é"])
    value = st.recursive(words, lambda inner: st.dictionaries(words, inner, max_size=3), max_leaves=6)
    part = st.fixed_dictionaries({"scalars": st.dictionaries(words, words, max_size=3), "metadata": value})
    attempt = st.none() | st.fixed_dictionaries(
        {"scalars": st.just({}), "metadata": st.dictionaries(words, part | words, max_size=3)}
    )
    attempts = data.draw(st.lists(attempt, min_size=1, max_size=2))
    content = json.dumps({"attempts": attempts}, separators=(",", ":"), ensure_ascii=data.draw(st.booleans())).encode()
    try:
        expected = [None if each is None else told_by(each).host for each in attempts]
    except InvalidSourceError:
        with pytest.raises(InvalidSourceError):
            hosts_of(content, len(attempts))
    else:
        assert hosts_of(content, len(attempts)) == expected


def test_peaks_of_memory_were_kibibytes() -> None:
    metadata = TaskMetadata()
    metadata["quantum"] = TaskMetadata()
    metadata["quantum"]["endMaxResidentSetSize"] = 1000
    metadata["quantum"]["endUtc"] = metadata["quantum"]["prepUtc"] = "2022-01-01T00:00:00.5"
    told = told_by(parse(metadata.model_dump_json()))
    assert (told.max_rss, told.started_at) == (1_024_000, 1_640_995_200_500_000)
    metadata["quantum"]["__version__"] = 1
    assert told_by(parse(metadata.model_dump_json())).max_rss == 1000


def test_configurations_have_the_digest_that_graphs_have(butler: Butler, pipelines: Recorded) -> None:
    from_graph = {task.label: task for task in of_kind(records_of(pipelines.graph("heavy.provenance")), TaskRecord)}
    for label, task in from_graph.items():
        [ref] = butler.query_datasets(f"{label}_config", collections="batch/heavy")
        content = content_of(butler, ref)
        told = told_of_task("batch/heavy", label, ref.id, content.content)
        assert (told.config, told.config_digest) == (task.config, task.config_digest)
    with pytest.raises(InvalidSourceError):
        told_of_task("run", "isr", uuid4(), b"\xff")
