"""Quantum graph files, read by us and by the code that wrote them, and beside what the tasks say themselves."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from lsst.pipe.base.quantum_graph import PredictedQuantumGraph, ProvenanceQuantumGraph, ProvenanceQuantumGraphReader

from butlerql.storage.provenance.graph_file import GraphFile
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
from butlerql.storage.provenance.task_configs import config_digest
from tests.support.pipelines.multiplied import multiply
from tests.support.pipelines.recorded import Recorded
from tests.support.provenance_records import one_by_one

EXECUTED = ["retried", "step1", "step2", "heavy"]
EPOCH_UUID = 80


def records_of(path: Path) -> list[Record]:
    with path.open("rb") as file:
        return list(one_by_one(GraphFile(file, path.name).records()))


def of_kind(records: list[Record], kind: type[Any]) -> list[Any]:
    return [record for record in records if type(record) is kind]


@pytest.fixture(scope="module", params=EXECUTED)
def graph(request: pytest.FixtureRequest, pipelines: Recorded) -> tuple[ProvenanceQuantumGraph, Any, list[Record]]:
    path = pipelines.graph(f"{request.param}.provenance")
    with ProvenanceQuantumGraphReader.open(path) as reader:
        reader.read_full_graph()
        metadata = reader.fetch_metadata(list(reader.graph.quantum_only_xgraph))
    return reader.graph, metadata, records_of(path)


def test_gives_the_quanta_that_lsst_gives(graph: tuple[ProvenanceQuantumGraph, Any, list[Record]]) -> None:
    lsst, metadata, records = graph
    quanta = {quantum.uuid: quantum for quantum in of_kind(records, QuantumRecord)}
    assert quanta.keys() == set(lsst.quantum_only_xgraph)
    edges = lsst.bipartite_xgraph
    for uuid, node in lsst.quantum_only_xgraph.nodes.items():
        ours = quanta[uuid]
        assert (ours.task, ours.run) == (node["task_label"], lsst.header.output_run)
        assert ours.data_id == dict(node["data_id"].required)
        assert ours.pipeline_execution == lsst.header.provenance_dataset_id
        assert set(ours.inputs) == set(edges.predecessors(uuid)) and set(ours.outputs) == set(edges.successors(uuid))
        assert ours.is_blocked == (not node["attempts"])
        assert len(ours.executions) == len(node["attempts"])
        for number, (mine, theirs) in enumerate(zip(ours.executions, node["attempts"], strict=True)):
            agree(mine, theirs)
            assert (mine.log, mine.metadata) == (node["log_id"], node["metadata_id"])
            told = metadata[uuid][number]
            assert mine.host == (None if told is None else told["quantum"]["nodeName"])


def agree(ours: ExecutionRecord, lsst: Any) -> None:
    """See that an execution is the same for us as for lsst."""
    assert ours.attempt == lsst.attempt
    usage, failure = lsst.resource_usage, lsst.exception
    # It says that what left nothing failed.
    unknown = usage is None and failure is None
    assert ours.status == (QuantumStatus.UNKNOWN if unknown else QuantumStatus(lsst.status.value))
    assert ours.caveats == (None if lsst.caveats is None else lsst.caveats.value)
    assert (ours.exception, ours.message) == ((failure.type_name, failure.message) if failure else (None, None))
    assert ours.process_index == (None if unknown else len(lsst.previous_process_quanta))
    if usage is None:
        assert ours.started_at is ours.ended_at is ours.run_time is ours.cpu_time is ours.max_rss is None
    else:
        assert (ours.started_at, ours.ended_at) == (microseconds(usage.start), microseconds(usage.end))
        assert (ours.run_time, ours.cpu_time, ours.max_rss) == (usage.run_time, usage.run_time_cpu, usage.memory)


def microseconds(time: Any) -> int:
    return round(time.timestamp() * 1e6)


def test_gives_the_datasets_that_lsst_gives(graph: tuple[ProvenanceQuantumGraph, Any, list[Record]]) -> None:
    lsst, _, records = graph
    datasets = {dataset.uuid: dataset for dataset in of_kind(records, DatasetRecord)}
    nodes = {uuid: node for uuid, node in lsst.bipartite_xgraph.nodes.items() if "dataset_type_name" in node}
    assert datasets.keys() == nodes.keys()
    for uuid, node in nodes.items():
        ours = datasets[uuid]
        assert (ours.dataset_type, ours.run) == (node["dataset_type_name"], node["run"])
        assert ours.data_id == dict(node["data_id"].required)
        if not ours.dataset_type.endswith(("_log", "_metadata")):
            # Of these it says what it concludes from the status, also of a log that was never written.
            assert ours.produced == node["produced"]


def test_tells_of_the_pipeline(graph: tuple[ProvenanceQuantumGraph, Any, list[Record]]) -> None:
    lsst, _, records = graph
    header, pipeline = lsst.header, lsst.pipeline_graph
    execution, *rest = records
    assert isinstance(execution, PipelineExecutionRecord)
    assert (execution.uuid, execution.run) == (header.provenance_dataset_id, header.output_run)
    assert (execution.user, execution.command) == (header.user, header.command)
    assert execution.pipeline == pipeline.description
    assert execution.packages is not None and "pipe_base" in execution.packages
    # The header has the local time; here that is UTC, or an hour or more away from it.
    assert execution.created_at is not None
    away = abs(execution.created_at / 1e6 - header.timestamp.timestamp())
    assert away < timedelta(seconds=10).total_seconds()
    tasks = {task.label: task for task in of_kind(rest, TaskRecord)}
    assert tasks.keys() == set(pipeline.tasks)
    for label, node in pipeline.tasks.items():
        ours = tasks[label]
        assert ours.task_class == node.task_class_name
        assert set(ours.inputs or ()) == {edge.parent_dataset_type_name for edge in node.iter_all_inputs()}
        assert set(ours.outputs or ()) == {edge.parent_dataset_type_name for edge in node.iter_all_outputs()}
        assert ours.config == lsst.bipartite_xgraph.nodes[lsst.init_quanta[label]]["config_id"]
        assert ours.config_digest == config_digest(node.get_config_str())


def test_gives_what_is_planned(pipelines: Recorded) -> None:
    lsst = PredictedQuantumGraph.read_execution_quanta(pipelines.graph("retried"))
    records = records_of(pipelines.graph("retried"))
    quanta = {quantum.uuid: quantum for quantum in of_kind(records, QuantumRecord)}
    assert quanta.keys() == set(lsst)
    edges = lsst.bipartite_xgraph
    for uuid, ours in quanta.items():
        assert (ours.is_blocked, ours.executions) == (False, ())
        assert set(ours.inputs) == set(edges.predecessors(uuid)) and set(ours.outputs) == set(edges.successors(uuid))
    datasets = of_kind(records, DatasetRecord)
    assert len(datasets) == len({dataset.uuid for dataset in datasets})
    assert {dataset.uuid for dataset in datasets} == {
        uuid for uuid in edges if "dataset_type_name" in edges.nodes[uuid]
    }
    assert {dataset.produced for dataset in datasets} == {None}
    assert all(dataset.data_id == dict(edges.nodes[dataset.uuid]["data_id"].required) for dataset in datasets)


@pytest.mark.parametrize(("names", "run"), [(["step1", "step2"], "batch/steps"), (["heavy"], "batch/heavy")])
def test_agrees_with_the_journal(pipelines: Recorded, names: list[str], run: str) -> None:
    """Where nothing was killed, graphs tell of every execution, and beside them of what there was nothing to do for."""
    told = Counter(
        (str(quantum.uuid), quantum.task, tuple(sorted(quantum.data_id.items())), execution.host, execution.status)
        for name in names
        for quantum in of_kind(records_of(pipelines.graph(f"{name}.provenance")), QuantumRecord)
        for execution in quantum.executions
        if not (execution.caveats or 0) & Caveats.ADJUST_QUANTUM_RAISED
    )
    written = Counter(
        (entry.quantum_id, entry.task, tuple(sorted(entry.data_id.items())), entry.host, QuantumStatus.SUCCESSFUL)
        for entry in pipelines.journal
        if entry.run == run
    )
    assert told == written and told


def test_knows_of_retries_and_not_of_what_was_killed(pipelines: Recorded) -> None:
    quanta = {
        str(quantum.uuid): quantum
        for quantum in of_kind(records_of(pipelines.graph("retried.provenance")), QuantumRecord)
    }
    entries = [entry for entry in pipelines.journal if entry.run == "batch/retried"]
    [killed] = [entry for entry in entries if entry.end is None]
    [lost] = quanta.pop(killed.quantum_id).executions
    assert (lost.status, lost.host) == (QuantumStatus.UNKNOWN, None)
    for uuid, quantum in quanta.items():
        own = [entry for entry in entries if entry.quantum_id == uuid]
        assert [execution.host for execution in quantum.executions] == [entry.host for entry in own]
        for execution, entry in zip(quantum.executions, own, strict=True):
            assert (execution.status is QuantumStatus.FAILED) == (entry.outcome == "raise")
            # Preparation comes before, and the task writes its journal when most of its work is done.
            assert execution.started_at < entry.begin * 1e6 < entry.end * 1e6 < execution.ended_at
        assert quantum.is_blocked == (quantum.task == "gather")
    assert {"wreck", "alpha", "beta"} == {
        execution.host for quantum in quanta.values() if len(quantum.executions) > 1 for execution in quantum.executions
    }


def test_reads_large_graphs_which_are_compressed_with_a_dictionary(pipelines: Recorded, tmp_path: Path) -> None:
    times = 30
    multiply(pipelines.graph("retried.provenance"), tmp_path / "large.qg", times)
    small, large = records_of(pipelines.graph("retried.provenance")), records_of(tmp_path / "large.qg")
    assert not of_kind(large, Skipped)
    for kind in (QuantumRecord, DatasetRecord):
        assert len(of_kind(large, kind)) == times * len(of_kind(small, kind))
    assert of_kind(large, QuantumRecord)[: len(of_kind(small, QuantumRecord))] == of_kind(small, QuantumRecord)
    hosts = [
        [execution.host for quantum in of_kind(records, QuantumRecord) for execution in quantum.executions]
        for records in (small, large)
    ]
    assert hosts[1] == times * hosts[0]
    with ProvenanceQuantumGraphReader.open(tmp_path / "large.qg") as reader:
        reader.read_quanta()
    assert set(reader.graph.quantum_only_xgraph) == {quantum.uuid for quantum in of_kind(large, QuantumRecord)}


def test_knows_what_a_file_is(pipelines: Recorded) -> None:
    digests = set()
    for name in EXECUTED:
        for kind, suffix in ((SourceKind.PREDICTED_GRAPH, ""), (SourceKind.PROVENANCE_GRAPH, ".provenance")):
            path = pipelines.graph(name + suffix)
            with path.open("rb") as file:
                source = GraphFile(file, path.name).source
            assert (source.kind, source.name) == (kind, path.name)
            digests.add(source.digest)
    assert len(digests) == 2 * len(EXECUTED)
