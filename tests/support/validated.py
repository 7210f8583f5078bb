"""Validations run to their end, here and now."""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from butlerql.storage.datastores.validation import results
from butlerql.storage.datastores.validation.findings import Check, Finding, FindingKind
from butlerql.storage.datastores.validation.job import Validation
from butlerql.storage.datastores.validation.request import Request
from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.repository import Repository
from butlerql.storage.state.coordinator import Coordinator
from butlerql.storage.state.jobs import Job, JobState, find_job, insert_job

__all__ = ["EVERYTHING", "Validated", "validated"]

EVERYTHING = frozenset(Check)


@dataclass
class Validated:
    """What came of a validation."""

    job: Job
    rows: list[results.FoundRow]

    @property
    def verdict(self) -> str:
        return str(self.job.result["verdict"])

    @property
    def coverage(self) -> dict[str, int]:
        found: dict[str, int] = self.job.result["coverage"]
        return found

    @property
    def findings(self) -> list[Finding]:
        return [row.finding for row in self.rows]

    @property
    def kinds(self) -> set[tuple[FindingKind, str]]:
        """Each kind, with the last step of the artifact's path, or with the dataset's UUID."""
        return {(one.kind, _name(one)) for one in self.findings}


def _name(finding: Finding) -> str:
    if finding.dataset_id is not None:
        return finding.dataset_id
    assert finding.path is not None
    last = finding.path.rpartition("/")[2]
    return unquote(last, errors="surrogateescape") if finding.kind is FindingKind.UNTRACKED else last


async def validated(
    repository: Repository, datastore: str | None = None, *, executor: Executor | None = None, **request: Any
) -> Validated:
    """Validate a datastore, by default all of the repository, by default with everything and without a grace period."""
    wanted = {"checks": EVERYTHING, "grace_seconds": 0, **request}
    asked = Request(datastore or repository.datastore.name, **wanted).validated(repository.datastore)
    kind = Validation(repository, workers=2)
    job = await repository.state.write(
        lambda connection: insert_job(connection, kind.name, asked.as_json, unit=kind.unit, user="somebody")
    )
    coordinator = Coordinator(repository.state, [kind], lambda: executor or ThreadPoolExecutor(2), width=2)
    assert await coordinator.run_next()
    await coordinator.close()
    found = await find_job(repository.state, job.id)
    assert found is not None and found.state is JobState.SUCCEEDED, found
    page = await results.findings(repository.state, job.id, PageRequest(100_000))
    return Validated(found, page.rows)
