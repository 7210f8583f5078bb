"""Asking for deletions: what makes no sense is told at once, and what changes something is written down."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.datastores.deletion.deleting import ask_to_delete, ask_to_restore
from butlerql.storage.datastores.deletion.exports import Exports
from butlerql.storage.datastores.deletion.planning import insert_plan
from butlerql.storage.datastores.deletion.plans import BLOCKING, DeletionScope, Plan, Reason, find_plan
from butlerql.storage.errors import InvalidArgumentError, StalePlanError
from butlerql.storage.registry.chosen_datasets import select_to_change
from butlerql.storage.registry.selection import DatasetSelection
from butlerql.storage.repository import Repository
from butlerql.storage.state.audit import DONE, begin, ended
from butlerql.storage.state.database import State
from butlerql.storage.state.jobs import Job

__all__ = ["PlanRequest", "ask_to_plan", "begin_deletion", "begin_restoring"]


@dataclass(frozen=True)
class PlanRequest:
    """What is to be deleted.

    Attributes
    ----------
    selection
        Which datasets.
    scope
        What of them.
    datastore
        Where their files are taken from; None for everywhere.
    override
        What shall not block.
    """

    selection: DatasetSelection
    scope: DeletionScope
    datastore: str | None = None
    override: Collection[Reason] = ()


async def ask_to_plan(repository: Repository, request: PlanRequest, user: str) -> tuple[int, Job]:
    """Have a plan made, if what is asked makes sense.

    Returns
    -------
    plan
        Its number.
    job
        What makes it.

    Raises
    ------
    ReadOnlyError
        Raised if the repository cannot be changed.
    InvalidArgumentError
        Raised if what is asked makes no sense, or the selection is none that something may be changed of.
    UnknownDatastoreError
        Raised if there is no such datastore.
    StateUnavailableError
        Raised if it is a purge, and there is no place to write down what is purged.
    ButlerQLError
        Raised as by `select_to_change`.
    """
    repository.require_writable()
    if request.datastore is not None:
        if request.scope is DeletionScope.PURGE:
            raise InvalidArgumentError("PURGE takes the dataset away everywhere. Leave datastore out, or say UNSTORE.")
        repository.datastore.find(request.datastore)
    if wrong := [reason for reason in request.override if reason not in BLOCKING]:
        raise InvalidArgumentError(
            f"{wrong[0]} only warns, there is nothing to override. These block: "
            f"{', '.join(reason for reason in Reason if reason in BLOCKING)}."
        )
    if request.scope is DeletionScope.PURGE:
        Exports(repository).require()
    async with repository.snapshot() as snapshot:
        await select_to_change(snapshot, request.selection)
    return await repository.state.write(
        lambda connection: insert_plan(
            connection,
            request.selection,
            request.scope,
            request.datastore,
            list(request.override),
            user,
        )
    )


async def begin_deletion(
    repository: Repository, number: int, grace_seconds: int, user: str, *, idempotency_key: str | None = None
) -> Job:
    """Have a plan carried out, and written down in the audit log; see `ask_to_delete`.

    Raises
    ------
    ReadOnlyError
        Raised if the repository cannot be changed.
    UnknownPlanError
        Raised if there is no such plan.
    StalePlanError
        Raised if it is not planned yet, has expired, or has been undone.
    InvalidArgumentError
        Raised if the key was used for another plan.
    """
    repository.require_writable()
    plan = await find_plan(repository.state, number)

    def ask(connection: AsyncConnection, entry: int) -> Awaitable[Job]:
        return ask_to_delete(connection, number, grace_seconds, user, idempotency_key=idempotency_key, audit=entry)

    detail = {**_detail(plan), "graceSeconds": grace_seconds}
    return await _noted(repository.state, ask, user=user, action="deleteDatasets", target=_name(plan), detail=detail)


async def begin_restoring(repository: Repository, number: int, user: str) -> Job:
    """Have a deletion undone, and written down in the audit log; see `ask_to_restore`.

    Raises
    ------
    ReadOnlyError
        Raised if the repository cannot be changed.
    UnknownPlanError
        Raised if there is no such plan.
    StalePlanError
        Raised if there is nothing that could be undone.
    """
    repository.require_writable()
    plan = await find_plan(repository.state, number)

    def ask(connection: AsyncConnection, entry: int) -> Awaitable[Job]:
        return ask_to_restore(connection, number, user, audit=entry)

    what = {"target": _name(plan), "detail": _detail(plan)}
    return await _noted(repository.state, ask, user=user, action="restoreDeletion", **what)


async def _noted(state: State, ask: Callable[[AsyncConnection, int], Awaitable[Job]], **asked: Any) -> Job:
    """Ask with an entry of the audit log, which gets its outcome from the job; at once if there is none for it."""

    async def write(connection: AsyncConnection) -> Job:
        entry = await begin(connection, **asked)
        job = await ask(connection, entry)
        if job.request["audit"] != entry:
            await ended(entry, DONE)(connection)
        return job

    async def refuse(connection: AsyncConnection, outcome: str) -> None:
        await ended(await begin(connection, **asked), outcome)(connection)

    try:
        return await state.write(write)
    except (StalePlanError, InvalidArgumentError) as error:
        await state.write(partial(refuse, outcome=error.code))
        raise


def _name(plan: Plan) -> str:
    return f"plan {plan.id}"


def _detail(plan: Plan) -> dict[str, Any]:
    return {
        "plan": plan.id,
        "scope": plan.scope,
        "datastore": plan.datastore,
        "override": sorted(plan.overridden),
        "datasets": plan.datasets,
        "artifacts": plan.artifacts,
        "bytes": plan.bytes,
    }
