"""``butlerql check-run``: whether registry, datastores and provenance tell the same of a run, without a service."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import click

from butlerql.command_line import config_option, opened_repository, read_settings, run, state_option

__all__ = ["check_run"]

_STATUS = {True: 0, False: 1, None: 3}
"""Exit status by whether the run is consistent; 2 is for what cannot be done."""

_SECONDS = 60.0
"""Of a snapshot: no request waits for it."""


@click.command("check-run")
@click.argument("repository", metavar="REPO")
@click.argument("name", metavar="RUN")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with all problems.")
@state_option
@config_option
def check_run(repository: str, name: str, as_json: bool, state: str | None, file: Path | None) -> None:
    """Look whether registry, datastores and provenance tell the same of a run.

    The exit status is 0 if they do, 1 if they do not, 2 if it cannot be done, 3 if nothing is known of the work.
    """
    settings = read_settings(file, state=state)

    async def look() -> bool | None:
        from butlerql import check_run_report
        from butlerql.storage.provenance.run_checks import RunChecks
        from butlerql.storage.registry.collections import run_by_name

        async with opened_repository(repository, settings) as opened:
            async with opened.snapshot() as snapshot:
                found = await run_by_name(snapshot, name)
            checks = RunChecks(opened, partial(opened.snapshot, _SECONDS))
            [counts] = await checks.counts([found])
            [consistent] = await checks.consistent([found], [counts])
            write = check_run_report.as_json if as_json else check_run_report.as_text
            async for text in write(checks, found, consistent, counts):
                click.echo(text, nl=False)
            return consistent

    sys.exit(_STATUS[run(look())])
