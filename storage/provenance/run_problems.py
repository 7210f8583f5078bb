"""What may be wrong with a run."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from butlerql.storage.provenance.quanta import Quantum
from butlerql.storage.registry.datasets import Dataset

__all__ = ["RunProblem", "RunProblemKind"]


class RunProblemKind(StrEnum):
    """In which respect registry, datastores and provenance do not tell the same of a run, or not enough."""

    OUTPUT_NOT_IN_REGISTRY = "OUTPUT_NOT_IN_REGISTRY"
    """Provenance says that a unit of work wrote it, or that it was written when a pipeline was initialised.

    Logs and metadata have kinds of their own.
    """

    OUTPUT_NOT_STORED = "OUTPUT_NOT_STORED"
    """In the registry, and no datastore has a record of it."""

    NO_PRODUCER = "NO_PRODUCER"
    """In the registry, and no recorded work wrote it, or was to.

    Datasets without dimensions are made when pipelines are initialised (``InitOutput`` of ``lsst.pipe.base`` has none),
    unless a task is known to write them: no unit of work is missed.
    """

    QUANTUM_WITHOUT_LOG = "QUANTUM_WITHOUT_LOG"
    """It was successful, or failed, and the registry lacks its log."""

    QUANTUM_WITHOUT_METADATA = "QUANTUM_WITHOUT_METADATA"
    """It was successful, and the registry lacks its metadata; others leave none."""

    NEVER_RAN = "NEVER_RAN"
    """A graph planned it, it is not blocked, and nothing is known of any attempt."""

    INCOMPLETE_RECORD = "INCOMPLETE_RECORD"
    """Without the size of the file, or without its checksum in a datastore that keeps them."""

    @property
    def is_contradiction(self) -> bool:
        """Whether registry, datastores and provenance do not agree; a record that says too little contradicts nothing.

        Datasets that a workflow system brought into the registry by the records of a graph have no sizes, all of them.
        """
        return self is not RunProblemKind.INCOMPLETE_RECORD


class RunProblem(NamedTuple):
    """Something that is wrong with a run."""

    kind: RunProblemKind
    detail: str
    """For people."""

    dataset: Dataset | None = None
    """What it is about, if the registry has it."""

    uuid: str | None = None
    """Of the dataset, which the registry may lack."""

    dataset_type_name: str | None = None
    quantum: Quantum | None = None
    """The unit of work that it is about, or that was to write the dataset."""
