"""What commands have in common: settings, a repository that is open, and one line where something is wrong."""

from __future__ import annotations

import asyncio
import getpass
import os
import re
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from butlerql.settings import Settings, load_settings
from butlerql.storage.errors import ButlerQLError, InvalidConfigError

if TYPE_CHECKING:
    from butlerql.storage.repository import Repository

__all__ = ["FAILED", "config_option", "fail", "opened_repository", "read_settings", "run", "state_option", "this_user"]

FAILED = 2
"""Exit status where a repository cannot be opened or a setting is wrong; click uses it for wrong options as well."""

T = TypeVar("T")

_OF_THE_GRAPH = re.compile(r" The (?:field|mutation) (\w+) [^.]*\.")
"""Sentences of errors that say where in the graph to look."""

_HERE = dict.fromkeys(("jobs", "planDeletion"), " butlerql jobs lists them.")
"""What commands say instead; nothing of what they do not have."""

config_option = click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Read settings from this YAML file (see docs/reference/settings.md).",
)

state_option = click.option("--state", metavar="PLACE", help="Where ButlerQL's own state is: a file, or postgresql://…")


def read_settings(file: Path | None, **options: Any) -> Settings:
    """Read the settings, those from the command line by name; None is one that was not given."""
    try:
        return load_settings(file, {name: value for name, value in options.items() if value is not None})
    except InvalidConfigError as error:
        fail(str(error))


def run(work: Coroutine[Any, Any, T]) -> T:
    """Do the work of a command, and tell what went wrong."""
    try:
        return asyncio.run(work)
    except ButlerQLError as error:
        fail(_OF_THE_GRAPH.sub(lambda found: _HERE.get(found[1], ""), str(error)))


@asynccontextmanager
async def opened_repository(uri: str, settings: Settings) -> AsyncIterator[Repository]:
    """Have a repository open within the block."""
    from butlerql.opening import open_repository

    repository = await open_repository(uri, settings)
    try:
        yield repository
    finally:
        await repository.close()


def this_user() -> str:
    """Say who runs the command."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # In a container nobody may have a name.
        return str(os.getuid())


def fail(message: str) -> NoReturn:
    """End the program with a line that says why."""
    click.echo(f"butlerql: {' '.join(message.split())}", err=True)
    sys.exit(FAILED)
