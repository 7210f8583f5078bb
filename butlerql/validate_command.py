"""``butlerql validate``: a validation that is asked for, run, watched and told of, without a service."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from butlerql.command_line import (
    config_option,
    fail,
    opened_repository,
    read_settings,
    run,
    state_option,
    this_user,
)
from butlerql.job_running import bring_on, known_job, until_stopped
from butlerql.selection_options import selection_of, selection_options
from butlerql.settings import Settings
from butlerql.storage.datastores.validation.findings import Check
from butlerql.storage.errors import InvalidArgumentError, StateUnavailableError

if TYPE_CHECKING:
    from butlerql.storage.datastores.validation.request import Request
    from butlerql.storage.repository import Repository
    from butlerql.storage.state.jobs import Job
    from butlerql.storage.state.workers import Workers

__all__ = ["validate"]

_FOUND = 1
"""Exit status where something was found."""


@click.command()
@click.argument("repository", metavar="REPO")
@click.option("--datastore", metavar="NAME", help="One datastore of a chain.  [default: all of them]")
@click.option(
    "--check",
    "checks",
    multiple=True,
    type=click.Choice([check.name for check in Check], case_sensitive=False),
    help="What to check; can be repeated.  [default: MISSING, SIZE, and UNTRACKED where nothing is selected]",
)
@selection_options
@click.option("--sample", type=click.FloatRange(0, 1), metavar="SHARE", help="Read only this share of the contents.")
@click.option("--seed", type=click.IntRange(-(2**31), 2**31 - 1), metavar="N", help="Which share.  [default: 0]")
@click.option(
    "--max-age",
    "max_age_seconds",
    type=click.IntRange(min=0),
    metavar="SECONDS",
    help="Leave out contents that were read, and found right, within this time.",
)
@click.option(
    "--grace",
    "grace_seconds",
    type=click.IntRange(min=0),
    metavar="SECONDS",
    help="Files that are younger are not called untracked.  [default: a day]",
)
@click.option("--rate-limit", type=click.IntRange(min=1), metavar="BYTES", help="Read so many bytes a second at most.")
@click.option("--workers", "job_workers", type=click.IntRange(1, 1024), metavar="N", help="[default: one a core]")
@click.option("--dask", "dask_scheduler", metavar="ADDRESS", help="Have a Dask cluster do it; tcp://host:port.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with all findings.")
@click.option("--resume", type=int, metavar="JOB", help="Go on with a validation, or tell again what one found.")
@state_option
@config_option
def validate(
    repository: str,
    resume: int | None,
    as_json: bool,
    file: Path | None,
    job_workers: int | None,
    dask_scheduler: str | None,
    state: str | None,
    **asked: Any,
) -> None:
    """Look whether a datastore holds what is recorded, nothing else, and as it was put there.

    The exit status is 0 if nothing was found, 1 if something was, 2 if it cannot be done, 130 after Ctrl-C.
    """
    asked = {name: value for name, value in asked.items() if value not in {None, ()}}
    if resume is not None and asked:
        fail("What --resume goes on with has said what to check; leave the other options out.")
    settings = read_settings(file, state=state, job_workers=job_workers, dask_scheduler=dask_scheduler)
    sys.exit(run(until_stopped(_Command(repository, settings, as_json=as_json).run(asked, resume))))


class _Command:
    """One validation."""

    def __init__(self, uri: str, settings: Settings, *, as_json: bool) -> None:
        self._uri = uri
        self._settings = settings
        self._as_json = as_json

    async def run(self, asked: dict[str, Any], resume: int | None) -> int:
        """Give the exit status."""
        from butlerql.storage.state.workers import workers

        with workers(self._settings.job_workers, self._settings.dask_scheduler) as made:
            return await self._run_on(made, asked, resume)

    async def _run_on(self, made: Workers, asked: dict[str, Any], resume: int | None) -> int:
        async with opened_repository(self._uri, self._settings) as repository:
            try:
                job = await (_ask(repository, asked) if resume is None else _find(repository, resume))
            except StateUnavailableError as error:
                if resume is not None or self._settings.state is not None:
                    raise
                why = str(error)
            else:
                return await self._see_to(repository, job, made)
        with TemporaryDirectory(prefix="butlerql-") as directory:
            for_now = self._settings.model_copy(update={"state": f"{directory}/state.sqlite3"})
            async with opened_repository(self._uri, for_now) as repository:
                return await self._see_to(repository, await _ask(repository, asked), made, why)

    async def _see_to(self, repository: Repository, job: Job, made: Workers, why_temporary: str | None = None) -> int:
        """Bring a job to its end, and tell what came out."""
        from butlerql import validation_report
        from butlerql.storage.datastores.validation.findings import Verdict
        from butlerql.storage.datastores.validation.job import Validation
        from butlerql.storage.state.jobs import ENDED, JobState

        try:
            if job.state not in ENDED:
                job = await bring_on(repository, job, [Validation(repository, made.number)], made)
        except asyncio.CancelledError:
            self._tell_stopped(job, is_kept=why_temporary is None)
            raise
        if job.state is not JobState.SUCCEEDED:
            fail(job.error or f"Job {job.id} was cancelled.")
        write = validation_report.as_json if self._as_json else validation_report.as_text
        async for text in write(repository, self._uri, job, why_temporary):
            click.echo(text, nl=False)
        return 0 if job.result["verdict"] == Verdict.VALID else _FOUND

    def _tell_stopped(self, job: Job, *, is_kept: bool) -> None:
        if is_kept:
            click.echo(
                f"Stopped. To go on: butlerql validate {self._uri} --resume {job.id}\n"
                f"To give it up: butlerql jobs {self._uri} --cancel {job.id}",
                err=True,
            )
        else:
            click.echo("Stopped. Nothing is kept of it.", err=True)


async def _ask(repository: Repository, asked: dict[str, Any]) -> Job:
    """Have a new job."""
    from butlerql.storage.datastores.validation.job import Validation
    from butlerql.storage.registry.selection import select
    from butlerql.storage.state.jobs import insert_job

    request = _request(repository, asked)
    if request.select is not None:
        # So that what is wrong with it is told before there is a job.
        async with repository.snapshot() as snapshot:
            await select(snapshot, request.select)
    return await repository.state.write(
        lambda connection: insert_job(
            connection,
            Validation.name,
            request.as_json,
            unit=Validation.unit,
            user=this_user(),
            subject=request.datastore,
        )
    )


def _request(repository: Repository, asked: dict[str, Any]) -> Request:
    from butlerql.storage.datastores.validation.request import Request

    options = {
        name: asked[name]
        for name in ("sample", "seed", "max_age_seconds", "grace_seconds", "rate_limit")
        if name in asked
    }
    return Request(
        asked.get("datastore", repository.datastore.name),
        select=selection_of(asked),
        checks=frozenset(Check[name] for name in asked["checks"]) if "checks" in asked else None,
        **options,
    ).validated(repository.datastore)


async def _find(repository: Repository, number: int) -> Job:
    """Find a job that there is."""
    from butlerql.storage.state.jobs import JobKind

    job = await known_job(repository, number)
    if job.kind is not JobKind.VALIDATION:
        raise InvalidArgumentError(f"Job {number} is no validation.")
    return job
