"""The command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from butlerql import __version__
from butlerql.check_run_command import check_run
from butlerql.command_line import config_option, fail, opened_repository, read_settings, run
from butlerql.delete_command import delete, restore
from butlerql.ingest_command import ingest_provenance
from butlerql.jobs_command import jobs
from butlerql.settings import Settings
from butlerql.storage.errors import InvalidConfigError
from butlerql.validate_command import validate

if TYPE_CHECKING:
    from butlerql.storage.universe import Universe

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="butlerql")
def main() -> None:
    """Serve Butler data repositories as a GraphQL graph.

    REPO is the directory of a repository, its butler.yaml, or its label in the repository index.
    """


@main.command()
@click.argument("repositories", metavar="REPO...", nargs=-1, required=True)
@click.option("--host", metavar="ADDRESS", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=int, help="Port to listen on; 0 for any that is free.  [default: 8080]")
@config_option
@click.option("--workers", type=int, metavar="N", help="How many processes answer.  [default: 1]")
@click.option("--writable", is_flag=True, help="Let clients change the repositories, not only read them.")
@click.option(
    "--insecure", is_flag=True, help="Listen where other machines can connect, although nobody has to log in."
)
def serve(
    repositories: tuple[str, ...],
    host: str | None,
    port: int | None,
    file: Path | None,
    workers: int | None,
    writable: bool,
    insecure: bool,
) -> None:
    """Serve one or more repositories until stopped.

    Each REPO can be given as label=REPO and is at /label/graphql; without a label it has its own name. The first is
    also at /graphql, and the explorer is at /.
    """
    from butlerql import serving

    settings = read_settings(file, host=host, port=port, workers=workers, writable=writable or None)
    if not insecure and not serving.is_loopback(settings.host):
        could = "read and change" if settings.writable else "read"
        fail(
            f"Not listening on {settings.host}: everybody who can reach it could {could} the repository, there is no "
            "authentication. Say --insecure if that is right, or put a proxy that authenticates before 127.0.0.1."
        )
    labelled = run(_find(repositories, settings))
    try:
        listener = serving.bind(settings.host, settings.port)
    except InvalidConfigError as error:
        fail(str(error))
    address = serving.url_of(listener)
    for number, (label, uri) in enumerate(labelled.items()):
        also = f"  (also {address}/graphql)" if number == 0 else ""
        click.echo(f"{uri}\n    {address}/{label}/graphql{also}")
    click.echo(f"Open {address}/ in a browser to look around. Stop with Ctrl-C.")
    sys.stdout.flush()
    serving.run(serving.Served(labelled, settings), listener)


@main.command()
@click.argument("repository", metavar="REPO")
def schema(repository: str) -> None:
    """Print the GraphQL schema of a repository, in the schema definition language."""
    from graphql import print_schema

    from butlerql.schema.build import build_schema

    async def universe() -> Universe:
        async with opened_repository(repository, Settings()) as opened:
            return opened.universe

    click.echo(print_schema(build_schema(run(universe()))))


@main.command()
@click.argument("repository", metavar="REPO")
@config_option
def check(repository: str, file: Path | None) -> None:
    """Say what is found in a repository, and whether it can be served and written to."""
    from butlerql.repository_report import describe

    async def look() -> str:
        async with opened_repository(repository, read_settings(file)) as opened:
            return await describe(opened)

    click.echo(run(look()))


@main.command()
@click.argument("repository", metavar="REPO")
@click.argument("name", metavar="NAME")
@config_option
def describe(repository: str, name: str, file: Path | None) -> None:
    """Say what a dataset type is: its description, dimensions and storage class."""
    from butlerql.dataset_type_report import describe_dataset_type

    async def look() -> tuple[str, list[str]]:
        async with opened_repository(repository, read_settings(file)) as opened:
            problems = opened.descriptions.refresh()
            return await describe_dataset_type(opened, name), problems

    text, problems = run(look())
    click.echo(text)
    for problem in problems:
        click.echo(f"butlerql: {problem}", err=True)


main.add_command(check_run)
main.add_command(validate)
main.add_command(jobs)
main.add_command(delete)
main.add_command(restore)
main.add_command(ingest_provenance)


@main.group()
def state() -> None:
    """Look after what ButlerQL itself remembers of a repository."""


@state.command()
@click.argument("repository", metavar="REPO")
@config_option
def upgrade(repository: str, file: Path | None) -> None:
    """Make the own state of a repository, or bring it up to date for this version of ButlerQL.

    Stop what serves the repository with another version first.
    """

    async def bring_up_to_date() -> str:
        async with opened_repository(repository, read_settings(file)) as opened:
            before, after = await opened.state.upgrade()
            was = "it is new" if before is None else f"before: {before}"
            return f"Own state in {opened.state.place}: revision {after} ({was})."

    click.echo(run(bring_up_to_date()))


async def _find(arguments: tuple[str, ...], settings: Settings) -> dict[str, str]:
    """Open every repository once, so that what cannot be served is told before anything is."""
    from butlerql.opening import label_of, split_label, unique_labels
    from butlerql.storage.state.workers import workers

    found = []
    with workers(settings.job_workers, settings.dask_scheduler):
        for argument in arguments:
            label, uri = split_label(argument)
            async with opened_repository(uri, settings) as repository:
                found.append((label or label_of(repository.name), uri))
    return unique_labels(found)
