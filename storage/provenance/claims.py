"""What provenance claims of runs and the registry does not meet: outputs, logs and metadata, work that was planned.

Units of work are gone through in the order of their task and data ID, some thousands at a time, along an index.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.dialect import Dialect, raw
from butlerql.storage.provenance.known_runs import KnownRun, is_trace
from butlerql.storage.provenance.looking import one_of
from butlerql.storage.provenance.records import QuantumStatus
from butlerql.storage.provenance.run_problems import RunProblemKind
from butlerql.storage.provenance.tables import DATASET, EDGE, EXECUTION, PLAN, QUANTUM
from butlerql.storage.registry.pages import Key, PageRequest, check_key
from butlerql.storage.state.database import State

__all__ = ["CLAIMED", "Claim", "Missing", "between", "unmet_claims"]

CLAIMED = (
    RunProblemKind.OUTPUT_NOT_IN_REGISTRY,
    RunProblemKind.QUANTUM_WITHOUT_LOG,
    RunProblemKind.QUANTUM_WITHOUT_METADATA,
    RunProblemKind.NEVER_RAN,
)
"""Kinds of problems that are unmet claims."""

Missing = Callable[[Sequence[str]], Awaitable[set[str]]]
"""Tells which of some datasets the registry does not have."""

_UNITS = 5_000
"""Units of work that are read at once."""

_ORDER = [QUANTUM.c.task_id, QUANTUM.c.data_id]
_FIRST, _LAST = (0, ""), (2**62, "")
"""In front of all units of work of a run, and behind them."""

_ALL = 2**31 - 1
"""More outputs than a unit of work has."""

_NOBODY = 0
"""Number of the task, and of the unit of work, in claims of what pipelines write when they are initialised."""

_NO_DATASET = 0
"""Number of the dataset in claims of other things than outputs."""

_SUCCESSFUL, _FAILED, _ABORTED_SUCCESS, _UNKNOWN = map(
    int,
    (QuantumStatus.SUCCESSFUL, QuantumStatus.FAILED, QuantumStatus.ABORTED_SUCCESS, QuantumStatus.UNKNOWN),
)
_TRACES = {RunProblemKind.QUANTUM_WITHOUT_LOG: "log", RunProblemKind.QUANTUM_WITHOUT_METADATA: "metadata"}


class Claim(NamedTuple):
    """A dataset of a unit of work that should be in the registry and is not, or a unit of work that lacks something."""

    run_id: int
    task_id: int
    data_id: str
    dataset_id: int
    quantum_id: int
    uuid: str | None = None
    """Of the dataset; None if none is known."""

    @classmethod
    def of_initialisation(cls, run: int, dataset_type: str, uuid: str | None) -> Claim:
        """Make a claim of what no unit of work writes; it stands in front of those of all work."""
        return cls(run, _NOBODY, dataset_type, _NO_DATASET, _NOBODY, uuid)

    @property
    def initial_output(self) -> str | None:
        """Name of the dataset type, if no unit of work writes it."""
        return self.data_id if self.task_id == _NOBODY else None

    @property
    def key(self) -> Key:
        """Where it stands among those of its run."""
        return (self.task_id, self.data_id, self.dataset_id)


async def unmet_claims(
    state: State, missing: Missing, runs: Sequence[KnownRun], kind: RunProblemKind, request: PageRequest
) -> AsyncIterator[list[Claim]]:
    """Go through claims that the registry does not meet.

    Parameters
    ----------
    state
        Where they are recorded.
    missing
        Asks the registry.
    runs
        Whose; of each some at a time, so that a statement serves many small runs.
    kind
        One of `CLAIMED`.
    request
        Only those between its keys, which are `Claim.key`; from their end if it goes backward.

    Raises
    ------
    BadCursorError
        Raised if a key cannot be one.
    """
    _check(request)
    begin, end = (request.before, request.after) if request.backward else (request.after, request.before)
    position = begin[:2] if begin is not None else _LAST if request.backward else _FIRST
    left = {run.id: position for run in runs}
    # The unit of work of a cursor may have more outputs, that of the last one of a statement has not.
    once_more = begin is not None
    while left:
        each = max(1, _UNITS // len(left))
        statement = _units(state.dialect, left, kind, end, each, backward=request.backward, once_more=once_more)
        units = await _rows(state, statement)
        if kind is RunProblemKind.OUTPUT_NOT_IN_REGISTRY:
            unmet = await _unmet_outputs(state, missing, units, backward=request.backward)
        else:
            unmet = await _unmet_others(state.dialect, missing, units, kind, runs)
        yield [claim for claim in unmet if _is_between(claim, request)]
        once_more = False
        read = dict.fromkeys(left, 0)
        for unit in units:
            read[unit.run_id] += 1
            left[unit.run_id] = (unit.task_id, unit.data_id)
        left = {run: place for run, place in left.items() if read[run] == each}


def between(claims: Iterable[Claim], request: PageRequest) -> list[Claim]:
    """Choose of the claims of initialisation, in their order, those between the keys of a request, in its order.

    Raises
    ------
    BadCursorError
        Raised if a key cannot be one.
    """
    _check(request)
    after, before = request.after, request.before
    found = [
        claim for claim in claims if (after is None or claim.key > after) and (before is None or claim.key < before)
    ]
    return found[::-1] if request.backward else found


def _check(request: PageRequest) -> None:
    for key in filter(None, (request.after, request.before)):
        check_key(key, [*_ORDER, DATASET.c.id])


def _is_between(claim: Claim, request: PageRequest) -> bool:
    """Tell whether a claim of a unit of work that is between the keys, or at one of them, is between them."""
    after, before = request.after, request.before
    unit = claim.key[:2]
    return (after is None or unit != after[:2] or claim.dataset_id > after[2]) and (
        before is None or unit != before[:2] or claim.dataset_id < before[2]
    )


async def _rows(state: State, statement: sa.Select[Any]) -> Sequence[Any]:
    async def find(connection: AsyncConnection) -> Sequence[Any]:
        rows: Sequence[Any] = (await connection.execute(statement)).all()
        return rows

    return await state.read(find, absent=())


def _units(
    dialect: Dialect,
    positions: Mapping[int, tuple[int, str]],
    kind: RunProblemKind,
    end: Key | None,
    most: int,
    *,
    backward: bool,
    once_more: bool,
) -> sa.Select[Any]:
    """Select up to so many units of work of each run, behind a position or at it, that a kind of claims is about.

    Columns are those that identify them, the status, and the log or metadata that was recorded last, as it is kept.
    """
    given = dialect.rows(
        "given",
        {"run_id": sa.BigInteger(), "task_id": sa.BigInteger(), "data_id": sa.Text()},
        [(run, *position) for run, position in positions.items()],
    )
    farther, nearer = ("<", ">=") if backward else (">", "<=")

    def rows(quantum: sa.FromClause) -> sa.Select[Any]:
        c = quantum.c
        place = sa.tuple_(c.task_id, c.data_id)
        beyond = place.op(f"{farther}=" if once_more else farther, is_comparison=True)
        conditions = [c.run_id == given.c.run_id, beyond(sa.tuple_(given.c.task_id, given.c.data_id))]
        if end is not None:
            last = sa.tuple_(sa.literal(end[0], sa.BigInteger), sa.literal(end[1], sa.Text))
            conditions.append(place.op(nearer, is_comparison=True)(last))
        return sa.select().where(*conditions, *_due(kind, quantum)).order_by(*_order(c, backward)).limit(most)

    joined, quantum, conditions = dialect.top_rows(given, QUANTUM, rows)
    c = quantum.c
    return (
        sa.select(c.run_id, c.task_id, c.data_id, c.id, c.status, raw(_trace(kind, quantum)).label("trace"))
        .select_from(joined)
        .where(*conditions)
        .order_by(c.run_id, *_order(c, backward))
    )


def _order(columns: Any, backward: bool) -> list[sa.ColumnElement[Any]]:
    order = [columns.task_id, columns.data_id]
    return [column.desc() for column in order] if backward else order


def _due(kind: RunProblemKind, quantum: sa.FromClause) -> list[sa.ColumnElement[bool]]:
    """Conditions that a kind of claims is about a unit of work."""
    status = quantum.c.status
    if kind is RunProblemKind.QUANTUM_WITHOUT_LOG:
        return [status.in_((_SUCCESSFUL, _FAILED, _ABORTED_SUCCESS))]
    if kind is RunProblemKind.QUANTUM_WITHOUT_METADATA:
        # Without its metadata a success looks like a failure to who reads the log later.
        was_written = sa.exists().where(DATASET.c.uuid == _trace(kind, quantum), DATASET.c.produced)
        return [sa.or_(status.in_((_SUCCESSFUL, _ABORTED_SUCCESS)), sa.and_(status == _FAILED, was_written))]
    if kind is RunProblemKind.NEVER_RAN:
        attempt = EXECUTION.alias().c
        is_known = sa.or_(attempt.status != _UNKNOWN, attempt.host_id.is_not(None), attempt.started_at.is_not(None))
        return [
            status == _UNKNOWN,
            one_of(sa.select(PLAN.c.quantum_id).where(PLAN.c.quantum_id == quantum.c.id), quantum).is_not(None),
            one_of(sa.select(attempt.quantum_id).where(attempt.quantum_id == quantum.c.id, is_known), quantum).is_(
                None
            ),
        ]
    return []


def _trace(kind: RunProblemKind, quantum: sa.FromClause) -> sa.ColumnElement[Any]:
    """Give the log or metadata of a unit of work that was recorded last; NULL where none is, or none is asked for."""
    if kind not in _TRACES:
        return sa.null()
    attempt = EXECUTION.alias().c
    trace = attempt[_TRACES[kind]]
    recorded = sa.select(trace).where(attempt.quantum_id == quantum.c.id, trace.is_not(None))
    return recorded.order_by(attempt.attempt.desc()).limit(1).correlate(quantum).scalar_subquery()


async def _unmet_others(
    dialect: Dialect, missing: Missing, units: Sequence[Any], kind: RunProblemKind, runs: Sequence[KnownRun]
) -> list[Claim]:
    """Find units of work that lack their log, their metadata, or an attempt."""
    of_logs = kind is RunProblemKind.QUANTUM_WITHOUT_LOG
    kept = {run.id: run.keeps_log if of_logs else run.keeps_metadata for run in runs}
    recorded = dialect.uuids([unit.trace for unit in units if unit.trace is not None])
    gone = await missing(recorded) if recorded else set()
    uuids = iter(recorded)
    found = []
    for run, task, data_id, number, status, trace in units:
        uuid = None if trace is None else next(uuids)
        if kind is RunProblemKind.NEVER_RAN:
            is_unmet = True
        elif uuid is not None:
            is_unmet = uuid in gone
        else:
            # That outputs are there without a log says that there should have been one.
            is_unmet = task in kept[run] or (of_logs and status == _ABORTED_SUCCESS)
        if is_unmet:
            found.append(Claim(run, task, data_id, _NO_DATASET, number, uuid))
    return found


async def _unmet_outputs(state: State, missing: Missing, units: Sequence[Any], *, backward: bool) -> list[Claim]:
    """Find what units of work wrote, beside logs and metadata, and the registry does not have.

    One is not missed if the registry has another output of the unit of work, of the same dataset type and data ID: the
    work was done again, and clobbered what it had made before.
    """
    rows = [row for row in await _rows(state, _outputs(state.dialect, units)) if row.uuid is not None]
    uuids = state.dialect.uuids([row.uuid for row in rows])
    gone = await missing(uuids) if rows else set()
    if not gone:
        return []
    lost = {(row.quantum_id, row.dataset_id): uuid for row, uuid in zip(rows, uuids, strict=True) if uuid in gone}
    losing = {quantum for quantum, _ in lost}
    likeness = await _likeness(state, [row.dataset_id for row in rows if row.quantum_id in losing])
    there = {
        (row.quantum_id, likeness.get(row.dataset_id))
        for row, uuid in zip(rows, uuids, strict=True)
        if row.quantum_id in losing and uuid not in gone
    }
    lost = {
        key: uuid for key, uuid in lost.items() if key[1] not in likeness or (key[0], likeness[key[1]]) not in there
    }
    of_unit: dict[int, list[tuple[int, str]]] = {}
    for (quantum, number), uuid in sorted(lost.items(), reverse=backward):
        of_unit.setdefault(quantum, []).append((number, uuid))
    return [
        Claim(unit.run_id, unit.task_id, unit.data_id, number, unit.id, uuid)
        for unit in units
        for number, uuid in of_unit.get(unit.id, ())
    ]


def _outputs(dialect: Dialect, units: Sequence[Any]) -> sa.Select[Any]:
    """Select the outputs of units of work; the UUID, as it is kept, of those that were written and are no traces.

    One look-up by index each, however large the tables are: of many, PostgreSQL would go through all of them.
    """
    given = dialect.rows("units", {"id": sa.BigInteger()}, [(unit.id,) for unit in units])

    def of_unit(edge: sa.FromClause) -> sa.Select[Any]:
        return sa.select().where(edge.c.quantum_id == given.c.id, edge.c.is_output).limit(_ALL)

    joined, edge, conditions = dialect.top_rows(given, EDGE, of_unit)
    d = DATASET.c
    uuid = sa.select(d.uuid).where(d.id == edge.c.dataset_id, d.produced, ~is_trace(edge.c.quantum_id, edge))
    columns = (edge.c.quantum_id, edge.c.dataset_id, raw(uuid.correlate(edge).scalar_subquery()).label("uuid"))
    return sa.select(*columns).select_from(joined).where(*conditions)


async def _likeness(state: State, datasets: Sequence[int]) -> dict[int, tuple[str, str]]:
    """Give the type and data ID of datasets, each by its number, of which both are recorded."""
    d = DATASET.c
    given = state.dialect.rows("given", {"id": sa.BigInteger()}, [(number,) for number in datasets])
    known = d.id.in_(sa.select(given.c.id)), d.dataset_type.is_not(None), d.data_id.is_not(None)
    return {
        row[0]: (row[1], row[2]) for row in await _rows(state, sa.select(d.id, d.dataset_type, d.data_id).where(*known))
    }
