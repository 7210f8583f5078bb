"""``butlerql delete`` and ``butlerql restore``: a deletion planned, shown, carried out or undone, without a service."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from butlerql.command_line import config_option, fail, opened_repository, read_settings, run, state_option, this_user
from butlerql.job_running import bring_on, known_job, until_stopped
from butlerql.selection_options import selection_of, selection_options
from butlerql.settings import Settings
from butlerql.storage.datastores.deletion.plans import BLOCKING, DeletionScope, Outcome, PlanState, Reason

if TYPE_CHECKING:
    from butlerql.storage.datastores.deletion.plans import Plan
    from butlerql.storage.repository import Repository
    from butlerql.storage.state.jobs import Job

__all__ = ["delete", "restore"]

_LEFT = 1
"""Exit status where something that was selected is left."""

_RETRY_SECONDS = 1.0

_CLEAN = frozenset({Outcome.DETACHED, Outcome.REMOVED, Outcome.RECORDS_REMOVED, Outcome.ALREADY_GONE, Outcome.RESTORED})
_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with all files.")


@click.command()
@click.argument("repository", metavar="REPO")
@selection_options
@click.option("--datastore", metavar="NAME", help="Take files from this one only.  [default: from all of them]")
@click.option("--purge", is_flag=True, help="Take the datasets themselves away, not only their files.")
@click.option(
    "--override",
    multiple=True,
    type=click.Choice([reason.name for reason in Reason if reason in BLOCKING], case_sensitive=False),
    help="What shall not keep a dataset from being deleted; can be repeated.",
)
@click.option(
    "--grace",
    "grace_seconds",
    type=click.IntRange(0, 2**31 - 1),
    metavar="SECONDS",
    help="How long the files stay, and all can be undone.  [default: a week]",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@_json_option
@click.option("--resume", type=click.IntRange(0, 2**31 - 1), metavar="PLAN", help="Carry this plan out, or go on.")
@state_option
@config_option
def delete(
    repository: str,
    grace_seconds: int | None,
    yes: bool,
    as_json: bool,
    resume: int | None,
    file: Path | None,
    state: str | None,
    **asked: Any,
) -> None:
    """Delete datasets: show what would go, ask, and carry it out.

    Nobody sees the datasets afterwards. Their files stay until the grace period has passed: until then butlerql restore
    undoes it. The exit status is 0 if all that was selected went, 1 if something is left or nothing was done, 2 if it
    cannot be done, 130 after Ctrl-C.
    """
    asked = {name: value for name, value in asked.items() if value not in {None, (), False}}
    if resume is not None and asked:
        fail("The plan that --resume names has said what to delete; leave the other options out.")
    if resume is None and not asked.keys() & {"collections", "runs"}:
        fail("Say --collection or --run; for the datasets of all runs say --run '*'.")
    settings = read_settings(file, state=state, writable=True)
    if grace_seconds is not None and grace_seconds < settings.deletion_grace_floor_seconds:
        fail(
            f"The grace period has to be {settings.deletion_grace_floor_seconds} seconds at least. Operators set that "
            "(deletion_grace_floor_seconds)."
        )
    command = _Command(repository, settings, as_json=as_json)
    sys.exit(run(until_stopped(command.delete(asked, resume, grace_seconds, asks=not yes))))


@click.command()
@click.argument("repository", metavar="REPO")
@click.argument("plan", type=click.IntRange(0, 2**31 - 1))
@_json_option
@state_option
@config_option
def restore(repository: str, plan: int, as_json: bool, file: Path | None, state: str | None) -> None:
    """Undo the deletion of a PLAN whose grace period has not passed.

    The exit status is 0 if all is as it was, 1 if something could not be restored, 2 if it cannot be done, 130 after
    Ctrl-C.
    """
    command = _Command(repository, read_settings(file, state=state, writable=True), as_json=as_json)
    sys.exit(run(until_stopped(command.restore(plan))))


class _Command:
    """One deletion."""

    def __init__(self, uri: str, settings: Settings, *, as_json: bool) -> None:
        self._uri = uri
        self._settings = settings
        self._as_json = as_json

    async def delete(self, asked: dict[str, Any], resume: int | None, grace_seconds: int | None, *, asks: bool) -> int:
        """Give the exit status."""
        from butlerql.storage.datastores.deletion.asking import begin_deletion
        from butlerql.storage.datastores.deletion.plans import count_items, find_plan

        async with opened_repository(self._uri, self._settings) as repository:
            repository.require_writable()
            number = await self._ask(repository, asked) if resume is None else resume
            plan = await find_plan(repository.state, number)
            if plan.state is PlanState.PLANNING:
                assert plan.job_id is not None
                plan = await self._bring_on(repository, plan, await known_job(repository, plan.job_id))
            if grace_seconds is not None and plan.unlink_after is not None:
                fail(f"How long the files of plan {plan.id} stay was said when it was carried out; leave --grace out.")
            grace = self._settings.deletion_grace_seconds if grace_seconds is None else grace_seconds
            if plan.state is PlanState.PLANNED and not await self._confirm(repository, plan, grace, asks=asks):
                if self._as_json:
                    await self._tell(repository, plan)
                return _LEFT
            failed = await count_items(repository.state, plan.id, [Outcome.FAILED])
            if plan.state is not PlanState.UNLINKED or failed:
                job = await begin_deletion(repository, plan.id, grace, this_user())
                plan = await self._bring_on(repository, plan, job)
            return await self._tell(repository, plan)

    async def restore(self, number: int) -> int:
        """Give the exit status."""
        from butlerql.storage.datastores.deletion.asking import begin_restoring
        from butlerql.storage.datastores.deletion.plans import find_plan

        async with opened_repository(self._uri, self._settings) as repository:
            job = await begin_restoring(repository, number, this_user())
            plan = await self._bring_on(repository, await find_plan(repository.state, number), job)
            return await self._tell(repository, plan)

    async def _ask(self, repository: Repository, asked: dict[str, Any]) -> int:
        """Have a plan; give its number."""
        from butlerql.storage.datastores.deletion.asking import PlanRequest, ask_to_plan
        from butlerql.storage.registry.selection import DatasetSelection

        request = PlanRequest(
            selection_of(asked) or DatasetSelection(),
            DeletionScope.PURGE if "purge" in asked else DeletionScope.UNSTORE,
            asked.get("datastore"),
            [Reason[name] for name in asked.get("override", ())],
        )
        number, _ = await ask_to_plan(repository, request, this_user())
        return number

    async def _bring_on(self, repository: Repository, plan: Plan, job: Job) -> Plan:
        """Run a job of a plan as far as it goes now."""
        from butlerql.opening import deletion_rules
        from butlerql.storage.datastores.deletion.plans import find_plan
        from butlerql.storage.state.jobs import JobState
        from butlerql.storage.state.workers import processes

        kinds = deletion_rules(self._settings).kinds(repository)
        try:
            job = await bring_on(repository, job, kinds, processes(1))
            plan = await find_plan(repository.state, plan.id)
            while job.state is JobState.WAITING and plan.state is not PlanState.DETACHED:
                # What could not be removed is tried again.
                await asyncio.sleep(_RETRY_SECONDS)
                job = await bring_on(repository, job, kinds, processes(1))
                plan = await find_plan(repository.state, plan.id)
        except asyncio.CancelledError:
            restores = job.request.get("restore")
            go_on = f"restore {self._uri} {plan.id}" if restores else f"delete {self._uri} --resume {plan.id}"
            click.echo(f"Stopped. To go on: butlerql {go_on}", err=True)
            if plan.state is not PlanState.PLANNING and not restores:
                click.echo(
                    f"To undo it, as long as no file is removed: butlerql restore {self._uri} {plan.id}", err=True
                )
            raise
        if job.state not in {JobState.SUCCEEDED, JobState.WAITING}:
            fail(job.error or f"Job {job.id} was cancelled.")
        return plan

    async def _confirm(self, repository: Repository, plan: Plan, grace_seconds: int, *, asks: bool) -> bool:
        """Show a plan, and ask whether it shall be carried out."""
        from butlerql.deletion_report import plan_as_text
        from butlerql.storage.datastores.deletion.plans import count_items

        click.echo(f"{await plan_as_text(repository.state, plan, grace_seconds)}\n", err=self._as_json)
        if not await count_items(repository.state, plan.id, [Outcome.PENDING]):
            click.echo("There is nothing to delete.", err=True)
            return False
        if not asks:
            return True
        if not _is_terminal():
            fail(
                "Nobody can be asked here, so nothing was deleted. To carry it out: "
                f"butlerql delete {self._uri} --resume {plan.id} --yes"
            )
        return click.confirm("Delete this?", err=True)

    async def _tell(self, repository: Repository, plan: Plan) -> int:
        from butlerql import deletion_report
        from butlerql.storage.datastores.deletion.plans import outcome_counts

        if self._as_json:
            async for text in deletion_report.as_json(repository.state, plan):
                click.echo(text, nl=False)
        else:
            click.echo(await deletion_report.outcomes_as_text(repository.state, self._uri, plan))
        counts = await outcome_counts(repository.state, plan.id)
        is_undone = plan.state in {PlanState.RESTORED, PlanState.PARTLY_RESTORED}
        if is_undone:
            return 0 if plan.state is PlanState.RESTORED else _LEFT
        return 0 if all(one.outcome in _CLEAN for one in counts) else _LEFT


def _is_terminal() -> bool:
    return sys.stdin.isatty()
