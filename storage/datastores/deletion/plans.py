"""Plans of deletions: what is to go, what is left alone and why, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.errors import UnknownPlanError
from butlerql.storage.registry.dataset_groups import DatasetGroup, GroupKey
from butlerql.storage.registry.pages import Page, PageRequest, bounds, cut, ordered
from butlerql.storage.registry.selection import DatasetSelection
from butlerql.storage.registry.selection_text import selection_of
from butlerql.storage.state.database import State
from butlerql.storage.state.jobs import JobState
from butlerql.storage.state.tables import DELETION_DATASET, DELETION_ITEM, DELETION_PLAN, DELETION_USE, JOB, NOW

__all__ = [
    "BLOCKING",
    "DETACHING",
    "RESTORABLE",
    "DeletionScope",
    "Item",
    "Outcome",
    "OutcomeCount",
    "Plan",
    "PlanState",
    "Reason",
    "ReasonCount",
    "Trace",
    "bits",
    "count_datasets",
    "count_items",
    "find_items",
    "find_plan",
    "freed_bytes",
    "groups",
    "outcome_counts",
    "read_plan",
    "reason_counts",
    "reasons_of",
    "restorable_runs",
    "traces",
]


class DeletionScope(StrEnum):
    """What goes."""

    UNSTORE = "UNSTORE"
    """Files and their records; the registry still knows the dataset."""

    PURGE = "PURGE"
    """The dataset itself."""


class PlanState(StrEnum):
    """How far a plan is."""

    PLANNING = "PLANNING"
    PLANNED = "PLANNED"
    DETACHING = "DETACHING"
    DETACHED = "DETACHED"
    UNLINKING = "UNLINKING"
    UNLINKED = "UNLINKED"
    RESTORED = "RESTORED"
    PARTLY_RESTORED = "PARTLY_RESTORED"
    EXPIRED = "EXPIRED"
    FAILED = "FAILED"


class Reason(StrEnum):
    """Why a dataset is left alone, or what to know of it."""

    TAGGED = "TAGGED"
    CALIBRATION = "CALIBRATION"
    SHARED_ARTIFACT = "SHARED_ARTIFACT"
    LAST_COPY = "LAST_COPY"
    OUTSIDE_ROOT = "OUTSIDE_ROOT"
    IN_CHAIN = "IN_CHAIN"
    USED_AS_INPUT = "USED_AS_INPUT"
    TRUST_MODE = "TRUST_MODE"


BLOCKING = frozenset({Reason.TAGGED, Reason.CALIBRATION, Reason.SHARED_ARTIFACT, Reason.LAST_COPY, Reason.OUTSIDE_ROOT})
"""Those that leave a dataset alone; the others only warn."""

_BITS = {reason: 1 << place for place, reason in enumerate(Reason)}


class Outcome(StrEnum):
    """What became of a file, or of a dataset."""

    PENDING = "PENDING"
    DETACHED = "DETACHED"
    REMOVED = "REMOVED"
    RECORDS_REMOVED = "RECORDS_REMOVED"
    ALREADY_GONE = "ALREADY_GONE"
    BLOCKED = "BLOCKED"
    SKIPPED_CHANGED = "SKIPPED_CHANGED"
    CHANGED_LATER = "CHANGED_LATER"
    RESTORED = "RESTORED"
    RESTORE_CONFLICT = "RESTORE_CONFLICT"
    LOST = "LOST"
    FAILED = "FAILED"


DETACHING = "DETACHING"
"""Of a dataset whose rows are in the journal and, it may be, not yet out of the Butler's tables."""

RESTORABLE = (Outcome.DETACHED, DETACHING, Outcome.RESTORE_CONFLICT, Outcome.LOST)
"""Of datasets that are in the journal and not back: what stood in the way of one may be gone at the next try."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan as it was when it was looked at. Moments are microseconds since 1970."""

    id: int
    state: PlanState
    scope: DeletionScope
    datastore: str | None
    """None for all."""
    selection: DatasetSelection
    overridden: frozenset[Reason]
    """What does not block."""
    roots: dict[str, Any]
    """What the root of each datastore was when it was planned, by name; see `ArtifactStore.mark`."""
    created_by: str
    created_at: int
    expires_at: int
    unlink_after: int | None
    job_id: int | None
    """The last that worked on it."""
    datasets: int
    artifacts: int
    bytes: int
    """Of what goes."""


class Item(NamedTuple):
    """A file of a plan, or a dataset that has none."""

    plan: int
    number: int
    uri: str | None
    bytes: int | None
    outcome: Outcome
    reason: str | None
    tries: int


class Trace(NamedTuple):
    """What is remembered of a dataset, whether or not the registry still knows it."""

    uuid: str
    dataset_type_name: str
    data_id_values: dict[str, Any]
    run_name: str


class ReasonCount(NamedTuple):
    """How much there is a reason for."""

    reason: Reason
    datasets: int
    artifacts: int
    bytes: int


class OutcomeCount(NamedTuple):
    """How much had an outcome."""

    outcome: Outcome
    artifacts: int
    bytes: int


def bits(reasons: Iterable[Reason]) -> int:
    """Write reasons as the tables have them."""
    return sum(_BITS[reason] for reason in set(reasons))


def reasons_of(number: int) -> list[Reason]:
    """Read reasons off the tables."""
    return [reason for reason, bit in _BITS.items() if number & bit]


# Nobody has to come by for a plan to expire, or for its job to have failed or been stopped, so that nobody goes on.
_UNDER_WAY = [PlanState.PLANNING, PlanState.DETACHING, PlanState.DETACHED, PlanState.UNLINKING]
_IS_LEFT = JOB.c.state.in_([JobState.FAILED, JobState.CANCELLED])
_STATE = sa.case(
    (sa.and_(DELETION_PLAN.c.state == PlanState.PLANNED, DELETION_PLAN.c.expires_at <= NOW), PlanState.EXPIRED),
    (sa.and_(DELETION_PLAN.c.state.in_(_UNDER_WAY), _IS_LEFT), PlanState.FAILED),
    else_=DELETION_PLAN.c.state,
)
_SELECT = sa.select(
    *(column for column in DELETION_PLAN.c if column is not DELETION_PLAN.c.state), _STATE.label("state")
).select_from(DELETION_PLAN.outerjoin(JOB, JOB.c.id == DELETION_PLAN.c.job_id))


async def find_plan(state: State, number: int) -> Plan:
    """Look at a plan.

    Raises
    ------
    UnknownPlanError
        Raised if there is none with this number.
    """
    found = await state.read(lambda connection: _found(connection, number), absent=None)
    if found is None:
        raise UnknownPlanError("There is no such plan of a deletion. The mutation planDeletion makes one.")
    return found


async def read_plan(connection: AsyncConnection, number: int, *, lock: bool = False) -> Plan:
    """Look at a plan that is there, within a transaction; ``lock`` keeps others from changing it until the end."""
    if lock:
        await connection.execute(sa.select(DELETION_PLAN.c.id).where(DELETION_PLAN.c.id == number).with_for_update())
    found = await _found(connection, number)
    assert found is not None
    return found


async def _found(connection: AsyncConnection, number: int) -> Plan | None:
    row = (await connection.execute(_SELECT.where(DELETION_PLAN.c.id == number))).one_or_none()
    if row is None:
        return None
    return Plan(
        id=row.id,
        state=PlanState(row.state),
        scope=DeletionScope(row.scope),
        datastore=row.datastore,
        selection=selection_of(orjson.loads(row.selection)),
        overridden=frozenset(reasons_of(row.overridden)),
        roots=orjson.loads(row.roots),
        created_by=row.created_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
        unlink_after=row.unlink_after,
        job_id=row.job_id,
        datasets=row.datasets,
        artifacts=row.artifacts,
        bytes=row.bytes,
    )


_IS_FILE = DELETION_ITEM.c.uri.is_not(None)


async def outcome_counts(state: State, plan: int) -> list[OutcomeCount]:
    """Tell what became of the files of a plan, and of the datasets that have none; each counts as an artifact."""
    table = DELETION_ITEM.c
    statement = (
        sa.select(table.outcome, sa.func.count(), sa.func.coalesce(sa.func.sum(table.bytes), 0))
        .where(table.plan_id == plan)
        .group_by(table.outcome)
    )
    rows = {Outcome(row[0]): (row[1], int(row[2])) for row in await _rows(state, statement)}
    return [OutcomeCount(outcome, *rows[outcome]) for outcome in Outcome if outcome in rows]


async def freed_bytes(state: State, plan: int) -> int:
    """Tell how many bytes a plan has freed as yet."""
    table = DELETION_ITEM.c
    statement = sa.select(sa.func.coalesce(sa.func.sum(table.bytes), 0)).where(
        table.plan_id == plan, table.outcome == Outcome.REMOVED
    )
    return await _number(state, statement)


async def reason_counts(state: State, plan: Plan, *, blocks: bool) -> list[ReasonCount]:
    """Count what of a plan is left alone, reason by reason; or what goes, and what there is to know of it.

    A dataset for which there are several reasons counts with each.
    """
    dataset, use, item = DELETION_DATASET.c, DELETION_USE.c, DELETION_ITEM.c
    reasons = [reason for reason in Reason if (reason in BLOCKING - plan.overridden) is blocks]
    found = []
    for reason in reasons:
        has = [dataset.plan_id == plan.id, dataset.reasons.op("&")(_BITS[reason]) != 0]
        if not blocks:
            has.append(dataset.outcome != Outcome.BLOCKED)
        its = sa.select(use.item).where(
            use.plan_id == plan.id, use.dataset_id.in_(sa.select(dataset.dataset_id).where(*has))
        )
        of_items = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(item.bytes), 0)).where(
            item.plan_id == plan.id, _IS_FILE, item.number.in_(its)
        )
        if number := await _number(state, sa.select(sa.func.count()).where(*has)):
            [(artifacts, size)] = await _rows(state, of_items)
            found.append(ReasonCount(reason, number, artifacts, int(size)))
    return found


async def groups(state: State, plan: int, by: Sequence[GroupKey]) -> list[DatasetGroup]:
    """Break the datasets and files of a plan down, those that are left alone among them.

    A file counts once in a group, however many of its datasets share it.
    """
    dataset, use, item = DELETION_DATASET.c, DELETION_USE.c, DELETION_ITEM.c
    columns: dict[GroupKey, sa.ColumnElement[Any]] = {
        GroupKey.DATASET_TYPE: dataset.dataset_type,
        GroupKey.RUN: dataset.run,
        GroupKey.STORAGE_CLASS: use.storage_class,
        GroupKey.FORMATTER: use.formatter,
        GroupKey.INSTRUMENT: dataset.instrument,
        GroupKey.INGEST_DAY: dataset.ingest_day,
    }
    keys = [columns[key].label(key) for key in dict.fromkeys(by)]
    joined = DELETION_DATASET.join(
        DELETION_USE, sa.and_(use.plan_id == dataset.plan_id, use.dataset_id == dataset.dataset_id)
    ).join(DELETION_ITEM, sa.and_(item.plan_id == use.plan_id, item.number == use.item))
    rows = sa.select(*keys, dataset.number.label("dataset"), item.number.label("item"), item.uri, item.bytes)
    rows_of_plan = rows.select_from(joined).where(dataset.plan_id == plan).subquery()
    names = [rows_of_plan.c[key.name] for key in keys]
    count = sa.select(*names, sa.func.count(rows_of_plan.c.dataset.distinct()).label("datasets")).group_by(*names)
    each = sa.select(*names, rows_of_plan.c["item"], rows_of_plan.c.bytes, rows_of_plan.c.uri).distinct().subquery()
    names = [each.c[key.name] for key in keys]
    figures = sa.select(*names, sa.func.count(each.c.uri), sa.func.coalesce(sa.func.sum(each.c.bytes), 0)).group_by(
        *names
    )
    width = len(keys)
    datasets = {tuple(row[:width]): row[width] for row in await _rows(state, count)}
    found = [
        DatasetGroup(
            {key.name: value for key, value in zip(keys, row[:width], strict=True)},
            datasets[tuple(row[:width])],
            row[width],
            int(row[width + 1]),
            0,
        )
        for row in await _rows(state, figures)
    ]
    return sorted(found, key=lambda group: [(value is None, value or "") for value in group.key.values()])


async def find_items(
    state: State, plan: int, request: PageRequest, outcomes: Sequence[Outcome] | None = None
) -> Page[Item]:
    """Look at a page of the files of a plan, and of its datasets that have none; keys are numbers."""
    table = DELETION_ITEM.c
    statement = (
        sa.select(table.plan_id, table.number, table.uri, table.bytes, table.outcome, table.reason, table.tries)
        .where(*_chosen(plan, outcomes), *bounds([table.number], request))
        .order_by(*ordered([table.number], request))
        .limit(request.limit + 1)
    )
    items = [
        Item(row[0], row[1], row[2], row[3], Outcome(row[4]), row[5], row[6]) for row in await _rows(state, statement)
    ]
    return cut([((item.number,), item) for item in items], request)


async def count_items(state: State, plan: int, outcomes: Sequence[Outcome] | None = None) -> int:
    """Count what `find_items` goes through."""
    statement = sa.select(sa.func.count()).select_from(DELETION_ITEM).where(*_chosen(plan, outcomes))
    return await _number(state, statement)


async def count_datasets(state: State, plan: int, outcome: Outcome) -> int:
    """Count the datasets of a plan that had an outcome."""
    dataset = DELETION_DATASET.c
    statement = sa.select(sa.func.count()).where(dataset.plan_id == plan, dataset.outcome == outcome)
    return await _number(state, statement)


async def traces(state: State, items: Sequence[Item]) -> list[list[Trace]]:
    """Tell whose files are, as far as the datasets are in the plan, in the order of their UUIDs; a statement a plan."""
    dataset, use = DELETION_DATASET.c, DELETION_USE.c
    found: dict[tuple[int, int], list[Trace]] = {(item.plan, item.number): [] for item in items}
    for plan in {item.plan for item in items}:
        numbers = state.dialect.rows(
            "items", {"number": sa.BigInteger()}, [(item.number,) for item in items if item.plan == plan]
        )
        joined = DELETION_USE.join(
            DELETION_DATASET, sa.and_(use.plan_id == dataset.plan_id, use.dataset_id == dataset.dataset_id)
        )
        statement = (
            sa.select(use.item, dataset.dataset_id, dataset.dataset_type, dataset.data_id, dataset.run)
            .distinct()
            .select_from(joined)
            .where(use.plan_id == plan, use.item.in_(sa.select(numbers.c.number)))
            .order_by(dataset.dataset_id)
        )
        for number, uuid, name, data_id, run in await _rows(state, statement):
            found[plan, number].append(Trace(uuid, name, orjson.loads(data_id), run))
    return [found[item.plan, item.number] for item in items]


async def restorable_runs(state: State, names: Sequence[str]) -> list[str]:
    """Tell which of some runs have datasets that were purged and can still be restored, now or if unlinking stops."""
    dataset = DELETION_DATASET.c
    statement = (
        sa.select(dataset.run)
        .distinct()
        .join(DELETION_PLAN, DELETION_PLAN.c.id == dataset.plan_id)
        .where(
            dataset.run.in_(names),
            dataset.outcome.in_(RESTORABLE),
            DELETION_PLAN.c.state.in_(
                [PlanState.DETACHING, PlanState.DETACHED, PlanState.UNLINKING, PlanState.PARTLY_RESTORED]
            ),
            DELETION_PLAN.c.scope == DeletionScope.PURGE,
        )
    )
    return [row[0] for row in await _rows(state, statement)]


def _chosen(plan: int, outcomes: Sequence[Outcome] | None) -> list[sa.ColumnElement[bool]]:
    is_its = DELETION_ITEM.c.plan_id == plan
    return [is_its] if outcomes is None else [is_its, DELETION_ITEM.c.outcome.in_(outcomes)]


async def _number(state: State, statement: sa.Select[Any]) -> int:
    return sum(int(row[0]) for row in await _rows(state, statement))


async def _rows(state: State, statement: sa.Select[Any]) -> Sequence[sa.Row[*tuple[Any, ...]]]:
    async def read(connection: AsyncConnection) -> Sequence[sa.Row[*tuple[Any, ...]]]:
        return list(await connection.execute(statement))

    nothing: Sequence[sa.Row[*tuple[Any, ...]]] = []
    return await state.read(read, absent=nothing)
