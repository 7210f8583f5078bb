"""Open the repositories that are to be served."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from butlerql.app import RESERVED_LABELS
from butlerql.graphql_http import Service
from butlerql.settings import Settings
from butlerql.storage.datastores.deletion.planning import Bounds
from butlerql.storage.datastores.deletion.rules import Rules
from butlerql.storage.errors import InvalidConfigError
from butlerql.storage.repository import Repository
from butlerql.storage.state.workers import Workers, workers

__all__ = [
    "deletion_rules",
    "label_of",
    "open_repository",
    "open_service",
    "open_services",
    "split_label",
    "unique_labels",
]

_log = logging.getLogger(__name__)
_LABEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


async def open_repository(uri: str, settings: Settings) -> Repository:
    """Open one repository as the settings have it; see `Repository.open`."""
    return await Repository.open(
        uri,
        snapshot_seconds=settings.snapshot_seconds,
        state=settings.state,
        description_files=settings.description_files,
        writable=settings.writable,
        exports=settings.deletion_exports,
    )


def deletion_rules(settings: Settings) -> Rules:
    """Say what is set of deletions as the storage has it."""
    return Rules(
        Bounds(
            plan_seconds=settings.deletion_plan_seconds,
            datasets=settings.deletion_datasets,
            bytes=settings.deletion_bytes,
            unconditional=settings.deletion_unconditional,
        ),
        settings.deletion_grace_seconds,
        settings.deletion_grace_floor_seconds,
    )


async def open_service(uri: str, settings: Settings, workers: Workers | None = None) -> Service:
    """Open one repository and build what answers questions about it.

    Parameters
    ----------
    uri
        Its directory, its butler.yaml, or its label in the repository index.
    settings
        Page sizes, time budgets, what clients may do, and where own state is.
    workers
        Who does long work.

    Raises
    ------
    RepositoryError
        If it cannot be opened; the subclass says why.
    """
    from butlerql.resolvers.context import Limits
    from butlerql.resolvers.service import build_service

    repository = await open_repository(uri, settings)
    if settings.writable and repository.read_only:
        _log.warning("'%s' is served to be read only: %s.", repository.name, "; ".join(repository.write_obstacles))
    for problem in await asyncio.to_thread(repository.descriptions.refresh):
        _log.warning(problem)
    limits = Limits(settings.default_page, settings.maximum_page, deletion_rules(settings))
    return build_service(repository, limits, workers, settings.scopes)


@asynccontextmanager
async def open_services(repositories: Mapping[str, str], settings: Settings) -> AsyncIterator[dict[str, Service]]:
    """Open several repositories, and close them in the end.

    Parameters
    ----------
    repositories
        Where each label's repository is.
    settings
        Page sizes, time budgets, where own state is, and who does long work.
    """
    async with AsyncExitStack() as stack:
        services = {}
        made = stack.enter_context(workers(settings.job_workers, settings.dask_scheduler))
        for label, uri in repositories.items():
            services[label] = await open_service(uri, settings, made)
            stack.push_async_callback(services[label].close)
            services[label].start()
        _spare_the_garbage_collector()
        yield services


def split_label(argument: str) -> tuple[str | None, str]:
    """Take ``label=REPO`` apart; a path that holds ``=`` can be given as ``./a=b``.

    Parameters
    ----------
    argument
        As on the command line.
    """
    label, equals, uri = argument.partition("=")
    if equals and uri and _LABEL.fullmatch(label):
        return label, uri
    return None, argument


def label_of(name: str) -> str:
    """Make a label of a repository's name: it becomes a part of addresses."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "repository"


def unique_labels(repositories: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Make sure that every repository has an address of its own.

    Parameters
    ----------
    repositories
        Labels and places.

    Raises
    ------
    InvalidConfigError
        If a label is given twice, or stands for an address of the service itself.
    """
    found: dict[str, str] = {}
    for label, uri in repositories:
        if label in RESERVED_LABELS:
            raise InvalidConfigError(
                f"'{label}' cannot be the label of a repository, it is an address of the service. Say another=REPO."
            )
        if label in found:
            raise InvalidConfigError(
                f"Two repositories would be served as '{label}': {found[label]} and {uri}. Say label=REPO."
            )
        found[label] = uri
    return found


def _spare_the_garbage_collector() -> None:
    """Have Python look for cycles less often, and never in what is there from the start.

    An answer of ten thousand rows is made of a hundred thousand objects, all of which live until it is sent. By
    default the collector goes through them, and through all modules, dozens of times: half of what an answer takes.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(500_000, 10, 10)
