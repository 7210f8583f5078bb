"""Taking provenance in, as a job."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.datastores.artifacts.stores import open_store
from butlerql.storage.errors import DatastoreError, InvalidArgumentError, InvalidSourceError
from butlerql.storage.locations import local_path
from butlerql.storage.provenance.ingest import ingest
from butlerql.storage.provenance.known_tasks import known_tasks
from butlerql.storage.provenance.reading import Reading, read_graph, read_lines
from butlerql.storage.provenance.records import Skipped
from butlerql.storage.provenance.run_sources import sources_of_run
from butlerql.storage.registry import collections
from butlerql.storage.registry.collections import CollectionType
from butlerql.storage.repository import Repository
from butlerql.storage.state.database import State
from butlerql.storage.state.jobs import Job, JobKind
from butlerql.storage.state.kinds import Kind, Planned, Step
from butlerql.storage.state.tables import COVERAGE

__all__ = ["Ingestion", "ProvenanceSource", "Request", "readings", "runs_to_read", "taken_in"]


class ProvenanceSource(StrEnum):
    """What is read."""

    REPOSITORY = "REPOSITORY"
    """What runs hold."""

    QUANTUM_GRAPH = "QUANTUM_GRAPH"
    """The file of a graph."""

    JSON_LINES = "JSON_LINES"
    """A file of executions, one a line."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked to be taken in."""

    source: ProvenanceSource = ProvenanceSource.REPOSITORY
    runs: list[str] | None = None
    """Names or globs; only of a repository, where None is all runs."""

    uri: str | None = None
    """Absolute path or URI of a file; not of a repository."""

    def validated(self) -> Request:
        """Give it back, if it makes sense.

        Raises
        ------
        InvalidArgumentError
            Raised if it does not.
        """
        if self.source is ProvenanceSource.REPOSITORY and self.uri is not None:
            raise InvalidArgumentError("What is in the repository has no uri. Give runs, or another source.")
        if self.source is not ProvenanceSource.REPOSITORY and self.runs is not None:
            raise InvalidArgumentError("A file says itself which runs it tells of. Leave runs out.")
        if self.source is ProvenanceSource.REPOSITORY:
            return self
        if self.uri is None or not self.uri.startswith(("/", "file:///", "s3://")):
            raise InvalidArgumentError("Give the file as uri: an absolute path, or a URI with file: or s3:.")
        return self


class Ingestion(Kind):
    """Takes in what runs hold of provenance, or a file.

    Parameters
    ----------
    repository
        Whose runs, and whose own state.
    """

    name = JobKind.INGEST
    unit = "sources"

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    async def plan(self, job: Job, after: Any) -> AsyncGenerator[Planned]:
        """Have each run, or the file, be a chunk."""
        request = Request(**job.request)
        if request.source != ProvenanceSource.REPOSITORY:
            if after is None:
                yield Planned({"uri": request.uri}, 1)
            return
        names = await runs_to_read(self._repository, request.runs)
        # Where the last one is gone, all are planned once more; nothing is taken in twice.
        done = names.index(after["run"]) + 1 if after is not None and after["run"] in names else 0
        for name in names[done:]:
            yield Planned({"run": name}, 1)

    async def review(self, job: Job, work: Any, result: Any) -> Counter[str]:
        """Read and take in, source by source; who does it again goes on where the last one was stopped."""
        taken: Counter[str] = Counter()
        request = Request(**job.request)
        try:
            async with aclosing(readings(self._repository, request, work.get("run"))) as found:
                async for reading in found:
                    if isinstance(reading, Skipped):
                        taken["skipped"] += 1
                        continue
                    taken.update(asdict(await ingest(self._repository.state, reading.source, reading.batches)))
        except (InvalidSourceError, DatastoreError) as error:
            if request.uri is None:
                raise
            raise InvalidSourceError(f"{request.uri}: {error}") from error
        return taken

    async def absorb(self, connection: AsyncConnection, job: Job, work: Any, result: Counter[str]) -> Step:
        """Add up what was taken in."""
        for name, count in result.items():
            more = self._repository.state.dialect.insert(COVERAGE).values(job_id=job.id, name=name, count=count)
            await connection.execute(
                more.on_conflict_do_update(
                    index_elements=list(COVERAGE.primary_key), set_={"count": COVERAGE.c.count + more.excluded.count}
                )
            )
        return Step(1, message=work.get("run", work.get("uri")))

    async def finish(self, connection: AsyncConnection, job: Job) -> Any:
        """Say no more than what `taken_in` says."""
        return {}


async def runs_to_read(repository: Repository, names: Sequence[str] | None) -> list[str]:
    """Name the runs that fit names or globs, in order; None is all.

    Raises
    ------
    UnknownCollectionError
        Raised if one that is named in full is not there.
    """
    async with repository.snapshot() as snapshot:
        found = await collections.find(snapshot, ["*"] if names is None else names)
        runs = await collections.in_name_order(snapshot, {one.key for one in found if one.type is CollectionType.RUN})
    return [run.name for run in runs]


async def readings(repository: Repository, request: Request, run: str | None) -> AsyncGenerator[Reading | Skipped]:
    """Read what a run holds, or the file that was asked for, source by source.

    Raises
    ------
    ButlerQLError
        Raised as by `sources_of_run`, `read_graph` and `read_lines`.
    """
    if run is not None:
        async for found in sources_of_run(repository, run):
            yield found
        return
    assert request.uri is not None
    uri = Path(request.uri).as_uri() if request.uri.startswith("/") else request.uri
    local = local_path(uri)
    root, _, path = uri.rpartition("/")
    read = read_graph if request.source == ProvenanceSource.QUANTUM_GRAPH else read_lines
    async with read(open_store(root), path if local is None else Path(local).name) as reading:
        if request.source == ProvenanceSource.QUANTUM_GRAPH:
            yield reading
            return
        async with repository.snapshot() as snapshot:
            tasks = await known_tasks(snapshot)
        yield Reading(reading.source, tasks.each_brought(reading.batches))


async def taken_in(state: State, jobs: Sequence[int]) -> list[dict[str, int]]:
    """Count what jobs have taken in as yet: ``quanta``, ``executions``, and what was ``skipped``."""
    given = state.dialect.rows("given", {"id": sa.BigInteger()}, [(number,) for number in set(jobs)])
    counts = sa.select(COVERAGE.c.job_id, COVERAGE.c.name, COVERAGE.c.count).where(
        COVERAGE.c.job_id.in_(sa.select(given.c.id))
    )

    async def find(connection: AsyncConnection) -> dict[int, dict[str, int]]:
        found: dict[int, dict[str, int]] = {}
        for job, name, count in await connection.execute(counts):
            found.setdefault(job, {})[name] = count
        return found

    by_job: dict[int, dict[str, int]] = await state.read(find, absent={})
    return [by_job.get(number, {}) for number in jobs]
