"""What ``butlerql validate`` says in the end: a page to read, or JSON with everything."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import orjson
from rich.filesize import decimal

from butlerql.repository_report import in_columns
from butlerql.resolvers.identifiers import encode
from butlerql.storage.datastores.tree import FileDatastore
from butlerql.storage.datastores.validation import results
from butlerql.storage.datastores.validation.findings import Check, FindingKind, Verdict
from butlerql.storage.datastores.validation.request import Request
from butlerql.storage.datastores.validation.results import FoundRow
from butlerql.storage.provenance.filters import QuantumFilter
from butlerql.storage.registry.pages import Page, PageRequest
from butlerql.storage.registry.selection import DatasetSelection
from butlerql.storage.repository import Repository
from butlerql.storage.state.jobs import Job

__all__ = ["as_json", "as_text"]

_SHOWN = 20
_PAGE = 1000

_MEANINGS = {
    Verdict.VALID: "nothing is wrong with what was checked",
    Verdict.INVALID: "there are findings",
    Verdict.SUSPECT: "the store itself is in doubt: do not act on the findings",
}
_COUNTED = frozenset(
    {
        "datasets",
        "artifacts",
        "bytes",
        "contents",
        "bytesRead",
        FindingKind.CHECKSUM_NOT_RECORDED,
        f"{FindingKind.CHECKSUM_NOT_RECORDED} bytes",
    }
)
"""What coverage counts; the rest are reasons why something was not checked."""


async def as_text(repository: Repository, uri: str, job: Job, why_temporary: str | None) -> AsyncIterator[str]:
    """Tell what came out, with the first findings.

    Parameters
    ----------
    repository
        Whose datastore.
    uri
        What it is called on the command line.
    job
        The validation, which has succeeded.
    why_temporary
        Why its state is thrown away; None if it is kept.
    """
    request = Request.from_json(job.request)
    verdict = Verdict(job.result["verdict"])
    counts = await results.counts_of(repository.state, job.id)
    lines = [
        ("verdict", f"{verdict.name}: {_MEANINGS[verdict]}"),
        ("datastore", request.datastore),
        *(("checked", line) for line in _checked(request, job.result["coverage"])),
        *(("not checked", line) for line in _not_checked(request, job.result["coverage"])),
        *(("findings", f"{one.count} {one.kind.name}, {decimal(one.bytes)}") for one in counts),
    ]
    if not counts:
        lines.append(("findings", "none"))
    if why_temporary is None:
        lines.append(("job", f"{job.id}, asked for by {job.created_by}"))
    else:
        lines.append(("job", f"not kept, nor are checksums: {why_temporary}"))
    yield f"{in_columns(lines)}\n"
    page = await results.findings(repository.state, job.id, PageRequest(_SHOWN))
    if page.rows:
        yield "\n"
    for row in page.rows:
        yield f"{_line(repository, row)}\n"
    if page.has_next:
        all_of_them = "say --json" if why_temporary else f"butlerql validate {uri} --resume {job.id} --json"
        yield f"There are more; for all of them: {all_of_them}\n"


async def as_json(repository: Repository, uri: str, job: Job, why_temporary: str | None) -> AsyncIterator[str]:
    """Tell everything, as one JSON object; see `as_text`."""
    request = Request.from_json(job.request)
    counts = await results.counts_of(repository.state, job.id)
    told = {
        "job": job.id if why_temporary is None else None,
        "datastore": request.datastore,
        "select": None if request.select is None else _selection(request.select),
        "checks": _names(request.checks),
        "graceSeconds": request.grace_seconds,
        "sample": request.sample,
        "seed": request.seed,
        "maxAgeSeconds": request.max_age_seconds,
        "rateLimit": request.rate_limit,
        "createdBy": job.created_by,
        "startedAt": _moment(job.started_at),
        "endedAt": _moment(job.ended_at),
        "verdict": Verdict(job.result["verdict"]).name,
        "coverage": job.result["coverage"],
        "summary": [{"kind": one.kind.name, "count": one.count, "bytes": one.bytes} for one in counts],
    }
    yield f'{orjson.dumps(told).decode()[:-1]},"findings":['
    page: Page[FoundRow] | None = None
    while page is None or page.has_next:
        between = ",\n" if page else ""
        page = await results.findings(
            repository.state, job.id, PageRequest(_PAGE, after=page.keys[-1] if page else None)
        )
        yield between + ",\n".join(orjson.dumps(_finding(repository, row)).decode() for row in page.rows)
    yield "]}\n"


def _checked(request: Request, coverage: Mapping[str, int]) -> Iterator[str]:
    yield ", ".join(_names(request.checks))
    yield (
        f"{coverage.get('datasets', 0)} datasets, {coverage.get('artifacts', 0)} artifacts, "
        f"{decimal(coverage.get('bytes', 0))}"
    )
    if "contents" in coverage:
        yield f"{coverage['contents']} contents, {decimal(coverage.get('bytesRead', 0))} read"


def _not_checked(request: Request, coverage: Mapping[str, int]) -> Iterator[str]:
    left = _names(frozenset(Check) - (request.checks or frozenset()))
    if left:
        yield f"{', '.join(left)}: not asked for"
    yield from (f"{count}: {why}" for why, count in coverage.items() if why not in _COUNTED)


def _names(checks: frozenset[Check] | None) -> list[str]:
    return [check.name for check in Check if check in (checks or ())]


def _line(repository: Repository, row: FoundRow) -> str:
    finding = row.finding
    line = f"{finding.kind.name}  {_uri(repository, row) or f'dataset {finding.dataset_id}'}"
    if finding.expected is not None:
        line += f"  expected {finding.expected}"
    if finding.observed is not None:
        line += f"{',' if finding.expected is not None else ' '} observed {finding.observed}"
    return line


def _finding(repository: Repository, row: FoundRow) -> dict[str, Any]:
    finding = row.finding
    return {
        "kind": finding.kind.name,
        "datastore": row.datastore,
        "uri": _uri(repository, row),
        "dataset": finding.dataset_id,
        "bytes": finding.bytes,
        "expected": finding.expected,
        "observed": finding.observed,
    }


def _uri(repository: Repository, row: FoundRow) -> str | None:
    datastore = repository.datastore.find(row.datastore)
    if row.finding.path is None or not isinstance(datastore, FileDatastore):
        return None
    return datastore.artifacts.place(row.finding.path).uri


def _selection(selection: DatasetSelection) -> dict[str, Any]:
    """Write what was selected as the API takes it."""
    text, bind, typed = selection.where.parts
    given = {**vars(selection), "where": text, "bind": bind, "filter": typed}
    if selection.generated_by is not None:
        given["generated_by"] = _quanta(selection.generated_by)
    return {_camel(name): value for name, value in given.items() if value not in (None, False, {})}


def _quanta(chosen: QuantumFilter) -> dict[str, Any]:
    """Write which work was chosen as the API takes it."""
    graphs, statuses = chosen.pipeline_executions, chosen.statuses
    given = {
        **asdict(chosen),
        "statuses": None if statuses is None else [status.name for status in statuses],
        "pipeline_executions": None if graphs is None else [encode("PipelineExecution", uuid) for uuid in graphs],
        "started_after": _moment(chosen.started_after),
        "started_before": _moment(chosen.started_before),
    }
    return {_camel(name): value for name, value in given.items() if value is not None}


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def _moment(micros: int | None) -> str | None:
    return None if micros is None else datetime.fromtimestamp(micros / 1e6, UTC).isoformat()
