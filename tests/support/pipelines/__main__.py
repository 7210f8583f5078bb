"""Build a repository, and run pipelines into it in every way in which they end.

usage: python -m tests.support.pipelines DIRECTORY

A program, since what runs pipelines sets up logging for its whole process, and is forked for each job.

======================  ====================================================================================
run                     what happens in it
======================  ====================================================================================
``full/one``            a full Butler, one process: caveats of each kind, a failure, one blocked; then extended
``full/many``           a full Butler, a process for each quantum: a failure, a kill, what depends on them
``batch/retried``       jobs with a quantum-backed Butler: a host on which everything fails, retries elsewhere,
                        a kill, a failure that stays; the graph with provenance is put into the repository
``batch/steps``         two sub-pipelines, a graph each, with caveats; the graphs with provenance stay files
``batch/heavy``         the same tasks with more memory and time
======================  ====================================================================================

Beside the repository, in ``repository``: ``journal.jsonl``, what the tasks say themselves; ``graphs/<name>.qg``, what
was planned; ``graphs/<name>.provenance.qg``, what became of it.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from lsst.ctrl.mpexec.cli.script import pre_exec_init_qbb, run_qbb
from lsst.daf.butler import Butler, CollectionType, DatasetType
from lsst.daf.butler.cli.cliLog import CliLog
from lsst.pipe.base import Pipeline
from lsst.pipe.base.all_dimensions_quantum_graph_builder import AllDimensionsQuantumGraphBuilder
from lsst.pipe.base.mp_graph_executor import MPGraphExecutor
from lsst.pipe.base.quantum_graph import PredictedQuantumGraph
from lsst.pipe.base.quantum_graph.aggregator import AggregatorConfig, aggregate_graph
from lsst.pipe.base.quantum_graph.ingest_graph import ingest_graph
from lsst.pipe.base.separable_pipeline_executor import SeparablePipelineExecutor
from lsst.pipe.base.single_quantum_executor import SingleQuantumExecutor

from tests.support.pipelines.hosts import run_on
from tests.support.pipelines.tasks import ORDERS

_TASKS = {"isr": "IsrTask", "calibrate": "CalibrateTask", "gather": "GatherTask"}
_EXPOSURES, _DETECTORS = (1, 2), (1, 2, 3)


def all_of_them(data_id: Mapping[str, Any]) -> bool:
    """Choose every quantum."""
    return True


class Bench:
    """A directory in which pipelines are run.

    Parameters
    ----------
    directory
        Must not exist.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.repository = str(directory / "repository")
        self.journal = directory / "journal.jsonl"
        self.graphs = directory / "graphs"
        self.graphs.mkdir()

    def fill(self) -> None:
        """Make the repository, with what a camera gives."""
        Butler.makeRepo(self.repository)
        with Butler.from_config(self.repository, writeable=True) as butler:
            add = butler.registry.insertDimensionData
            add("instrument", {"name": "Cam", "class_name": "nowhere.Cam", "detector_max": 4, "exposure_max": 9})
            add("detector", *({"instrument": "Cam", "id": n, "full_name": f"detector {n}"} for n in _DETECTORS))
            add("physical_filter", {"instrument": "Cam", "name": "Cam-R", "band": "r"})
            add("day_obs", {"instrument": "Cam", "id": 20260101})
            add("group", {"instrument": "Cam", "name": "g"})
            exposure = {
                "instrument": "Cam",
                "physical_filter": "Cam-R",
                "day_obs": 20260101,
                "group": "g",
                "observation_type": "science",
            }
            add("exposure", *(exposure | {"id": n, "obs_id": f"e{n}"} for n in _EXPOSURES))
            dimensions = butler.dimensions.conform(["instrument", "exposure", "detector"])
            butler.registry.registerDatasetType(DatasetType("raw", dimensions, "StructuredDataDict"))
            butler.collections.register("raw/all", CollectionType.RUN)
            for number in _EXPOSURES:
                for detector in _DETECTORS:
                    data_id = {"instrument": "Cam", "exposure": number, "detector": detector}
                    butler.put({"number": number * 10 + detector}, "raw", data_id, run="raw/all")

    def job(self, run: str, host: str, work: Callable[[], None], acts: Mapping[str, str] = {}, **more: Any) -> int:
        """Do something on a host where the tasks have their orders; see `run_on`."""
        os.environ[ORDERS] = json.dumps({"journal": str(self.journal), "run": run, "acts": acts, **more})
        return run_on(host, work)

    def run_full(self, run: str, where: str, name: str, *, processes: int = 1, extend: bool = False) -> None:
        """Plan and execute a pipeline with a full Butler; here and now."""
        butler = Butler.from_config(self.repository, collections="raw/all", run=run)
        executor = SeparablePipelineExecutor(
            butler,
            clobber_output=extend,
            skip_existing_in=[run] if extend else None,
            raise_on_partial_outputs=False,
        )
        planned = executor.make_quantum_graph_builder(_pipeline(), where).finish(attach_datastore_records=False)
        planned.write(self.graphs / f"{name}.qg")
        graph = planned.assemble()
        executor.pre_execute_qgraph(graph, register_dataset_types=True)
        quantum_executor = SingleQuantumExecutor(
            butler=executor._butler,
            skip_existing_in=[run] if extend else None,
            clobber_outputs=extend,
            raise_on_partial_outputs=False,
        )
        # It makes its processes out of one that has imported all this.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.support.pipelines.__main__", "tests.support.pipelines.tasks"])
        executor.run_pipeline(
            graph,
            graph_executor=MPGraphExecutor(
                num_proc=processes, timeout=600, start_method="forkserver", quantum_executor=quantum_executor
            ),
        )

    def plan(self, name: str, run: str, where: str, inputs: str = "raw/all", **pipeline: Any) -> Path:
        """Plan a pipeline for jobs, and make its run ready for them."""
        path = self.graphs / f"{name}.qg"
        with Butler.from_config(self.repository, collections=inputs, writeable=True) as butler:
            builder = AllDimensionsQuantumGraphBuilder(
                _pipeline(**pipeline).to_graph(),
                butler,
                where=where,
                input_collections=inputs.split(","),
                output_run=run,
            )
            graph = builder.finish(metadata={"data_query": where}, attach_datastore_records=True)
            graph.write(path)
        pre_exec_init_qbb(self.repository, path, None, None)
        return path

    def execute(self, path: Path, label: str, choose: Callable[[Mapping[str, Any]], bool] = all_of_them) -> None:
        """Execute some quanta of a plan; here and now."""
        with PredictedQuantumGraph.open(path) as reader:
            reader.read_thin_graph()
        quanta = reader.finish().quanta_by_task[label]
        run_qbb(
            butler_config=self.repository,
            qgraph=path,
            config_search_path=None,
            qgraph_id=None,
            qgraph_node_id=[uuid for data_id, uuid in quanta.items() if choose(dict(data_id.required))],
            processes=1,
            pdb=None,
            profile=None,
            debug=False,
            start_method=None,
            timeout=None,
            fail_fast=False,
            summary=None,
            enable_implicit_threading=False,
            cores_per_quantum=1,
            memory_per_quantum="",
            raise_on_partial_outputs=False,
            no_existing_outputs=False,
        )

    def aggregate(self, path: Path) -> Path:
        """Bring what jobs wrote into the registry, and write the graph with provenance."""
        result = path.with_suffix(".provenance.qg")
        # In one process it uses threads, and we must have none when the next job begins.
        config = AggregatorConfig(output_path=str(result), worker_sleep=0.001)
        assert self.job("", "head", partial(aggregate_graph, str(path), self.repository, config)) == 0
        return result


def _pipeline(labels: str = "isr calibrate gather", **config: float) -> Pipeline:
    pipeline = Pipeline("Bench")
    for label in labels.split():
        pipeline.addTask(f"tests.support.pipelines.tasks.{_TASKS[label]}", label)
        for key, value in config.items():
            pipeline.addConfigOverride(label, key, value)
    return pipeline


def _run_all(bench: Bench) -> None:
    bench.fill()
    acts = {
        "isr 1 1": "infinite",
        "isr 1 3": "no work",
        "isr 2 3": "omit",
        "calibrate 1 2": "partial",
        "calibrate 2 1": "raise",
    }
    everything, first = "instrument = 'Cam'", "instrument = 'Cam' AND exposure = 1"
    work = partial(bench.run_full, "full/one", everything)
    assert bench.job("full/one", "alpha", partial(work, "one"), acts) == 1
    assert bench.job("full/one", "beta", partial(work, "extended", extend=True)) == 0
    acts = {"isr 1 1": "kill", "calibrate 1 2": "raise"}
    assert bench.job("full/many", "alpha", partial(bench.run_full, "full/many", first, "many", processes=2), acts) == 1
    _run_batch(bench, everything)
    run = "batch/steps"
    acts = {"isr 1 2": "omit", "isr 1 3": "no work"}
    for name, inputs, labels in (("step1", "raw/all", "isr calibrate"), ("step2", run, "gather")):
        path = bench.plan(name, run, first, inputs, labels=labels)
        for label in labels.split():
            assert bench.job(run, "alpha", partial(bench.execute, path, label), acts) == 0
        bench.aggregate(path)
    run = "batch/heavy"
    path = bench.plan("heavy", run, everything, seconds=0.15, megabytes=160)
    _run_each(bench, run, path)
    for host, label in (("beta", "calibrate"), ("gamma", "gather")):
        assert bench.job(run, host, partial(bench.execute, path, label)) == 0
    bench.aggregate(path)


def _run_each(bench: Bench, run: str, path: Path) -> None:
    """Have a process for each unit of work of the first task, so that its memory is its own."""
    for exposure in _EXPOSURES:
        for detector in _DETECTORS:
            chosen = {"instrument": "Cam", "exposure": exposure, "detector": detector}
            assert bench.job(run, "alpha", partial(bench.execute, path, "isr", chosen.__eq__)) == 0


def _run_batch(bench: Bench, where: str) -> None:
    run = "batch/retried"
    path = bench.plan("retried", run, where)

    def job(host: str, label: str, choose: Callable[[Mapping[str, Any]], bool], status: int, **more: Any) -> None:
        assert bench.job(run, host, partial(bench.execute, path, label, choose), **more) == status

    job("wreck", "isr", all_of_them, 1, unfit=True)
    _run_each(bench, run, path)
    job("alpha", "calibrate", lambda data_id: data_id["exposure"] == 1, 1, acts={"calibrate 1 1": "raise"})
    job("wreck", "calibrate", lambda data_id: data_id["exposure"] == 2, 1, unfit=True)
    for detector in _DETECTORS:
        killed = detector == 3
        acts = {"calibrate 2 3": "kill"} if killed else {}
        chosen = {"instrument": "Cam", "exposure": 2, "detector": detector}
        job("beta", "calibrate", chosen.__eq__, -9 if killed else 0, acts=acts)
    ingest = partial(ingest_graph, bench.repository, str(bench.aggregate(path)), transfer="copy")
    assert bench.job(run, "head", ingest) == 0


if __name__ == "__main__":
    CliLog.initLog(longlog=False, log_tty=False)
    CliLog.setLogLevels([(None, "INFO")])
    logging.raiseExceptions = False
    _run_all(Bench(Path(sys.argv[1])))
