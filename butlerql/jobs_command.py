"""``butlerql jobs``: what long work there is in a repository, and stopping it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from butlerql.command_line import config_option, opened_repository, read_settings, run, state_option, this_user

if TYPE_CHECKING:
    from butlerql.storage.repository import Repository
    from butlerql.storage.state.jobs import Job

__all__ = ["jobs"]

_SHOWN = 50
_HEADINGS = ("job", "kind", "state", "done", "about", "asked by", "asked at", "error")


@click.command()
@click.argument("repository", metavar="REPO")
@click.option("--cancel", type=int, metavar="N", help="Stop this job: what runs is finished, nothing more is begun.")
@state_option
@config_option
def jobs(repository: str, cancel: int | None, state: str | None, file: Path | None) -> None:
    """List the jobs of a repository, the newest first, or cancel one.

    The last fifty are listed; times are UTC. A deletion that has not begun to remove files is undone by another job,
    which a service of the repository runs, or butlerql restore.
    """
    from butlerql.storage.datastores.deletion.cancelling import cancel as stop
    from butlerql.storage.registry.pages import PageRequest
    from butlerql.storage.state.jobs import find_jobs

    async def look() -> str:
        settings = read_settings(file, state=state, writable=True if cancel is not None else None)
        async with opened_repository(repository, settings) as opened:
            if cancel is not None:
                job = await stop(opened, cancel, this_user())
                return _table([job]) + await _way_back(opened, repository, job)
            found = (await find_jobs(opened.state, PageRequest(_SHOWN))).rows
            return _table(found) if found else "There are no jobs."

    click.echo(run(look()))


async def _way_back(opened: Repository, uri: str, stopped: Job) -> str:
    """Say how to have back what a deletion that was stopped has taken away, if anything."""
    from butlerql.storage.datastores.deletion.plans import PlanState, find_plan
    from butlerql.storage.state.jobs import JobKind

    if stopped.kind is not JobKind.DELETION:
        return ""
    plan = await find_plan(opened.state, stopped.request["plan"])
    if plan.state not in {PlanState.DETACHING, PlanState.DETACHED, PlanState.FAILED}:
        return ""
    return f"\n\nWhat it took away is still gone. To have it back: butlerql restore {uri} {plan.id}"


def _table(found: Sequence[Job]) -> str:
    rows = [_HEADINGS, *map(_row, found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _row(job: Job) -> tuple[str, ...]:
    progress = job.progress
    share = "" if progress.fraction is None else f" ({progress.fraction:.0%})"
    done = f"{progress.done} {progress.unit}{share}"
    error = " ".join((job.error or "").split())
    return (str(job.id), job.kind, _state(job), done, _about(job), job.created_by, _moment(job.created_at), error)


def _about(job: Job) -> str:
    from butlerql.storage.state.jobs import JobKind

    if job.kind not in {JobKind.PLANNING, JobKind.DELETION}:
        return job.subject or ""
    return f"plan {job.subject}" + (", undone" if job.request.get("restore") else "")


def _state(job: Job) -> str:
    from butlerql.storage.state.jobs import JobState

    if job.state is not JobState.WAITING or job.wait_until is None:
        return job.state
    return f"{job.state} until {_moment(job.wait_until)}"


def _moment(micros: int) -> str:
    return f"{datetime.fromtimestamp(micros / 1e6, UTC):%Y-%m-%d %H:%M}"
