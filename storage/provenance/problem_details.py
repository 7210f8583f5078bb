"""What is told of problems of a run beside their kind."""

from __future__ import annotations

from collections.abc import Sequence

from butlerql.storage.datastores.existence import Reading
from butlerql.storage.datastores.records import Artifact, artifacts
from butlerql.storage.provenance.claims import Claim
from butlerql.storage.provenance.quanta import Quantum, quanta_by_id
from butlerql.storage.provenance.records import QuantumStatus
from butlerql.storage.provenance.run_problems import RunProblem, RunProblemKind
from butlerql.storage.provenance.traces import dataset_numbers, producers_of, traces_by_id
from butlerql.storage.registry.datasets import Dataset
from butlerql.storage.state.database import State

__all__ = ["described"]


async def described(
    state: State, reading: Reading, found: Sequence[tuple[RunProblemKind, Dataset | Claim]]
) -> list[RunProblem]:
    """Tell what there is to know of problems, in a few statements."""
    datasets = [one for _, one in found if isinstance(one, Dataset)]
    claims = [one for _, one in found if isinstance(one, Claim)]
    claimed = [claim.uuid for claim in claims if claim.uuid is not None]
    numbers = await dataset_numbers(state, [*claimed, *(dataset.uuid for dataset in datasets)])
    producers = await producers_of(state, [numbers[one.uuid] for one in datasets if one.uuid in numbers])
    traces = await traces_by_id(state, [numbers[uuid] for uuid in claimed if uuid in numbers])
    quanta = await quanta_by_id(state, [claim.quantum_id for claim in claims])
    incomplete = [one for kind, one in found if kind is RunProblemKind.INCOMPLETE_RECORD and isinstance(one, Dataset)]
    files: dict[str, list[Artifact]] = {}
    if incomplete:
        async with reading() as snapshot:
            places = await artifacts(snapshot, incomplete)
        files = {dataset.uuid: own for dataset, own in zip(incomplete, places, strict=True)}
    problems = []
    for kind, one in found:
        number = numbers.get(one.uuid) if one.uuid is not None else None
        if isinstance(one, Dataset):
            detail = _DETAILS[kind] + _lacking(files.get(one.uuid, ()))
            producer = None if number is None else producers.get(number)
            problems.append(RunProblem(kind, detail, one, one.uuid, one.dataset_type.name, producer))
        else:
            name = one.initial_output or (None if number is None else traces[number].dataset_type_name)
            quantum = quanta.get(one.quantum_id)
            problems.append(RunProblem(kind, _detail(kind, one, quantum), None, one.uuid, name, quantum))
    return problems


_DETAILS = {
    RunProblemKind.OUTPUT_NOT_IN_REGISTRY: "Provenance says that it was written, and the registry does not have it.",
    RunProblemKind.OUTPUT_NOT_STORED: "The registry has it, and no datastore has a record of it.",
    RunProblemKind.NO_PRODUCER: "The registry has it, and no recorded work wrote it.",
    RunProblemKind.INCOMPLETE_RECORD: "A record of it is incomplete.",
}


def _detail(kind: RunProblemKind, claim: Claim, quantum: Quantum | None) -> str:
    if claim.initial_output is not None:
        return f"Work of the run needs {claim.initial_output}, written when it was initialised, and the run has none."
    if kind in _DETAILS:
        return _DETAILS[kind]
    if kind is RunProblemKind.NEVER_RAN:
        is_told = quantum is not None and quantum.attempts
        return (
            "A graph tells of an attempt that left nothing: it was killed without a trace, or never ran."
            if is_told
            else "It was planned, and no attempt at it is known."
        )
    what = "log" if kind is RunProblemKind.QUANTUM_WITHOUT_LOG else "metadata"
    status = QuantumStatus.UNKNOWN if quantum is None else quantum.status
    where = f"no {what} of it is recorded" if claim.uuid is None else f"the registry does not have its {what}"
    return f"It is {status.name}, and {where}."


def _lacking(files: Sequence[Artifact]) -> str:
    """Say what records lack."""
    return "".join(
        f" {file.datastore.name} has no {what} of {file.uri}."
        for file in files
        for what, lacks in (
            ("size", file.size is None),
            ("checksum", file.checksum is None and file.datastore.checksum),
        )
        if lacks
    )
