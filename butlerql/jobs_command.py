"""``butlerql jobs``: what long work there is in a repository, and stopping it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from butlerql.command_line import config_option, opened_repository, read_settings, run, state_option, this_user

if TYPE_CHECKING:
    from butlerql.storage.state.jobs import Job

__all__ = ["jobs"]

_SHOWN = 50
_HEADINGS = ("job", "kind", "state", "done", "asked by", "asked at", "error")


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

    async def look() -> list[Job]:
        settings = read_settings(file, state=state, writable=True if cancel is not None else None)
        async with opened_repository(repository, settings) as opened:
            if cancel is not None:
                return [await stop(opened, cancel, this_user())]
            return (await find_jobs(opened.state, PageRequest(_SHOWN))).rows

    found = run(look())
    click.echo(_table(found) if found else "There are no jobs.")


def _table(found: Sequence[Job]) -> str:
    rows = [_HEADINGS, *map(_row, found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _row(job: Job) -> tuple[str, ...]:
    progress = job.progress
    share = "" if progress.fraction is None else f" ({progress.fraction:.0%})"
    asked_at = datetime.fromtimestamp(job.created_at / 1e6, UTC)
    done = f"{progress.done} {progress.unit}{share}"
    error = " ".join((job.error or "").split())
    return (str(job.id), job.kind, job.state, done, job.created_by, f"{asked_at:%Y-%m-%d %H:%M}", error)
