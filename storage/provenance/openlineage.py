"""Attempts at units of work as OpenLineage has them: an event whenever the state of a run changes.

A run of theirs is an attempt at a unit of work. Which one is told by facets of our own, and so is which datasets it
reads and writes; ``docs/reference/openlineage.md`` says what they hold.

Source: the OpenLineage specification 2-0-2, ``spec/OpenLineage.json`` and ``spec/facets``.
"""

from __future__ import annotations

from typing import Any

from butlerql.storage.errors import InvalidSourceError
from butlerql.storage.provenance.execution_objects import KEYS, check_keys, named_data_id, quantum_of
from butlerql.storage.provenance.lenient_json import array_of, moment_of, name_of, object_of, uuid_of
from butlerql.storage.provenance.records import DatasetRecord, QuantumStatus, Record

__all__ = ["DATASET_KEYS", "EXECUTION_KEYS", "is_event", "records_of"]

_EXECUTION_FACET, _DATASET_FACET = "butler_execution", "butler_dataset"
_ENDS = {"COMPLETE": QuantumStatus.SUCCESSFUL, "FAIL": QuantumStatus.FAILED, "ABORT": QuantumStatus.ABORTED}
_OTHER = "OTHER"
_TYPES = {"START", "RUNNING", _OTHER, *_ENDS}
# Two attempts without a number would be taken for one.
_NEEDED = frozenset({"run", "task", "dataId", "attempt"})
# The others are told by the event itself.
EXECUTION_KEYS = KEYS - {"status", "startedAt", "endedAt", "message", "inputs", "outputs"}
DATASET_KEYS = frozenset({"uuid", "datasetType", "dataId", "run"})


def is_event(value: Any) -> bool:
    """Tell an event from an execution that is written as a workflow system writes it."""
    return type(value) is dict and "eventTime" in value


def records_of(event: Any) -> list[Record]:
    """Take an event.

    Raises
    ------
    InvalidSourceError
        Raised if it is of no attempt at a unit of work, or something of it makes no sense.
    """
    kind = object_of(event).get("eventType", _OTHER)
    if type(kind) is not str or kind not in _TYPES:
        raise InvalidSourceError(f"The eventType is none of {', '.join(sorted(_TYPES))}.")
    if "run" not in event:
        raise InvalidSourceError("It is no event of a run.")
    facets = _facets(event["run"])
    facet = _own(facets, _EXECUTION_FACET)
    if facet is None:
        raise InvalidSourceError(f"The run has no facet {_EXECUTION_FACET!r}: nobody knows what it is an attempt at.")
    check_keys(facet, _NEEDED, EXECUTION_KEYS)
    moment_of(event.get("eventTime"))
    ended, trouble = _ENDS.get(kind), facets.get("errorMessage")
    inputs = _datasets(event.get("inputs"), None)
    outputs = _datasets(event.get("outputs"), True if ended is QuantumStatus.SUCCESSFUL else None)
    line = {
        **facet,
        "status": (ended or QuantumStatus.UNKNOWN).name,
        "startedAt": event["eventTime"] if kind == "START" else None,
        "endedAt": None if ended is None else event["eventTime"],
        "message": None if trouble is None else object_of(trouble).get("message"),
        "inputs": [dataset.uuid.hex for dataset in inputs],
        "outputs": [dataset.uuid.hex for dataset in outputs],
    }
    return [quantum_of(line), *inputs, *outputs]


def _datasets(values: Any, produced: bool | None) -> list[DatasetRecord]:
    """Take the datasets that are in the repository; all others are somebody else's."""
    found = []
    for value in [] if values is None else array_of(values):
        facet = _own(_facets(value), _DATASET_FACET)
        if facet is None:
            continue
        check_keys(facet, frozenset({"uuid"}), DATASET_KEYS)
        dataset_type, data_id, run = map(facet.get, ("datasetType", "dataId", "run"))
        found.append(
            DatasetRecord(
                uuid_of(facet["uuid"]),
                None if dataset_type is None else name_of(dataset_type),
                None if data_id is None else named_data_id(data_id),
                None if run is None else name_of(run),
                produced,
            )
        )
    return found


def _facets(value: Any) -> dict[str, Any]:
    facets = object_of(value).get("facets")
    return {} if facets is None else object_of(facets)


def _own(facets: dict[str, Any], name: str) -> dict[str, Any] | None:
    """Take a facet of ours, without what all facets have."""
    facet = facets.get(name)
    return None if facet is None else {key: value for key, value in object_of(facet).items() if not key.startswith("_")}
