"""Tasks that keep a journal of their own, and do what they are told to for each data ID.

The journal is what tests believe: it is written by the tasks themselves, before and after what they do, and knows of
executions that nothing else tells of.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import time
from pathlib import Path
from typing import Any

from lsst.pex.config import Config, Field
from lsst.pipe.base import (
    AnnotatedPartialOutputsError,
    NoWorkFound,
    PipelineTask,
    PipelineTaskConfig,
    PipelineTaskConnections,
    RepeatableQuantumError,
    Struct,
)
from lsst.pipe.base.connectionTypes import InitOutput, Input, Output

__all__ = ["ORDERS", "CalibrateTask", "GatherTask", "IsrTask", "UnfitHostError"]

ORDERS = "BENCH_ORDERS"
"""Environment variable with a JSON object.

``journal`` is the file to write to; ``unfit`` says that nothing works on this host; ``acts`` says what tasks do, by
``"<label> <exposure> <detector>"``: ``"raise"``, ``"kill"``, ``"no work"``, ``"partial"``, ``"omit"`` or
``"infinite"``.
"""


class UnfitHostError(RuntimeError):
    """A task needs something that this host does not have."""


class _UnprocessableError(RepeatableQuantumError):
    @property
    def metadata(self) -> dict[str, Any]:
        return {"attempted": 3, "score": float("nan")}


def _perform(task: PipelineTask, butler: Any) -> str | None:
    """Write the beginning to the journal, do as told, and write the end; what is left to do is returned."""
    orders = json.loads(os.environ[ORDERS])
    known = dict(butler.quantum.dataId.required)
    key = " ".join(str(part) for part in (task.getName(), known["exposure"], known.get("detector", "")))
    act: str | None = orders["acts"].get(key.strip())
    entry = {
        "task": task.getName(),
        "data_id": known,
        "quantum_id": str(butler.dataset_provenance.quantum_id),
        "host": platform.node(),
        "pid": os.getpid(),
        "begin": time.time(),
    }
    _write(orders, {**entry, "event": "begin"})
    outcome = "success"
    try:
        if orders.get("unfit"):
            outcome = "raise"
            raise UnfitHostError("No scratch space on this host.")
        if act == "raise":
            outcome = "raise"
            raise _UnprocessableError(f"Nothing to be made of exposure {known['exposure']}.")
        if act == "no work":
            outcome = act
            raise NoWorkFound("Nothing to do.")
        time.sleep(task.config.seconds)
        ballast = bytearray(task.config.megabytes << 20)
        for page in range(0, len(ballast), 4096):
            ballast[page] = 1
        if act == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        outcome = act or outcome
        return act
    finally:
        _write(orders, {**entry, "event": "end", "end": time.time(), "outcome": outcome})


def _write(orders: dict[str, Any], entry: dict[str, Any]) -> None:
    with Path(orders["journal"]).open("a", encoding="utf-8") as journal:
        journal.write(json.dumps(entry | {"run": orders["run"], "job": orders.get("job")}) + "\n")


class _Burden(Config):
    seconds = Field[float](doc="How long it takes.", default=0.0)
    megabytes = Field[int](doc="What it needs.", default=0)


class IsrConnections(PipelineTaskConnections, dimensions={"instrument", "exposure", "detector"}):
    raw = Input(
        name="raw",
        storageClass="StructuredDataDict",
        dimensions=("instrument", "exposure", "detector"),
        doc="What the camera gives.",
    )
    exposure = Output(
        name="postISRCCD",
        storageClass="StructuredDataDict",
        dimensions=("instrument", "exposure", "detector"),
        doc="Without the instrument's signature.",
    )


class IsrConfig(PipelineTaskConfig, _Burden, pipelineConnections=IsrConnections):
    pass


class IsrTask(PipelineTask):
    """Make one dataset of one."""

    ConfigClass = IsrConfig
    _DefaultName = "isr"

    def runQuantum(self, butlerQC: Any, inputRefs: Any, outputRefs: Any) -> None:
        act = _perform(self, butlerQC)
        raw = butlerQC.get(inputRefs.raw)
        self.log.info("Taking away what the instrument adds to %s.", raw)
        self.metadata["overscan"] = float("inf") if act == "infinite" else 1.5
        if act != "omit":
            butlerQC.put({"made": raw["number"]}, outputRefs.exposure)


class CalibrateConnections(PipelineTaskConnections, dimensions={"instrument", "exposure", "detector"}):
    exposure = Input(
        name="postISRCCD",
        storageClass="StructuredDataDict",
        dimensions=("instrument", "exposure", "detector"),
        doc="What is calibrated.",
    )
    calibrated = Output(
        name="calexp",
        storageClass="StructuredDataDict",
        dimensions=("instrument", "exposure", "detector"),
        doc="Calibrated.",
    )
    schema = InitOutput(name="src_schema", storageClass="StructuredDataDict", doc="What is told of what was found.")
    catalog = Output(
        name="src",
        storageClass="StructuredDataDict",
        dimensions=("instrument", "exposure", "detector"),
        doc="What was found on it.",
    )


class CalibrateConfig(PipelineTaskConfig, _Burden, pipelineConnections=CalibrateConnections):
    pass


class CalibrateTask(PipelineTask):
    """Make two datasets of one."""

    ConfigClass = CalibrateConfig
    _DefaultName = "calibrate"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.schema = {"columns": ["stars"]}

    def runQuantum(self, butlerQC: Any, inputRefs: Any, outputRefs: Any) -> None:
        act = _perform(self, butlerQC)
        exposure = butlerQC.get(inputRefs.exposure)
        self.log.warning("Stars are assumed to be round, \N{SNOWMAN} or not.")
        butlerQC.put(exposure, outputRefs.calibrated)
        if act == "partial":
            error = _UnprocessableError("No stars.")
            raise AnnotatedPartialOutputsError.annotate(error, self, log=self.log) from error
        butlerQC.put({"stars": 3}, outputRefs.catalog)


class GatherConnections(PipelineTaskConnections, dimensions={"instrument", "exposure"}):
    catalogs = Input(
        name="src",
        storageClass="StructuredDataDict",
        dimensions=("instrument", "exposure", "detector"),
        multiple=True,
        doc="What was found on each detector.",
    )
    summary = Output(
        name="summary",
        storageClass="StructuredDataDict",
        dimensions=("instrument", "exposure"),
        doc="What was found in all.",
    )


class GatherConfig(PipelineTaskConfig, _Burden, pipelineConnections=GatherConnections):
    pass


class GatherTask(PipelineTask):
    """Make one dataset of many."""

    ConfigClass = GatherConfig
    _DefaultName = "gather"

    def run(self, catalogs: list[Any]) -> Struct:
        return Struct(summary={"number": sum(catalog["stars"] for catalog in catalogs)})

    def runQuantum(self, butlerQC: Any, inputRefs: Any, outputRefs: Any) -> None:
        _perform(self, butlerQC)
        butlerQC.put(self.run(**butlerQC.get(inputRefs)), outputRefs)
