"""What ``butlerql check-run`` says: a page to read, or JSON with everything."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Any

import orjson

from butlerql.repository_report import in_columns
from butlerql.storage.provenance.run_checks import RunChecks
from butlerql.storage.provenance.run_problems import RunProblem, RunProblemKind
from butlerql.storage.registry.collections import Collection
from butlerql.storage.registry.pages import Page, PageRequest

__all__ = ["as_json", "as_text"]

_SHOWN = 20
_PAGE = 1000
_ALL = tuple(RunProblemKind)

_MEANINGS = {
    True: "yes",
    False: "no",
    None: "nothing is known of the work that wrote it; take its provenance in first",
}


async def as_text(
    checks: RunChecks, run: Collection, consistent: bool | None, counts: Counter[RunProblemKind]
) -> AsyncIterator[str]:
    """Tell what was found, with the first problems; of what contradicts nothing only how many there are.

    Parameters
    ----------
    checks
        What looks.
    run
        At what.
    consistent
        Whether registry, datastores and provenance agree; None if that is not known.
    counts
        How many problems there are.
    """
    lines = [("run", run.name), ("consistent", _MEANINGS[consistent])]
    lines += [("problems", _counted(kind, counts[kind])) for kind in _ALL if counts[kind]]
    if not counts:
        lines.append(("problems", "none"))
    yield f"{in_columns(lines)}\n"
    if kinds := [kind for kind in counts if kind.is_contradiction]:
        page = await checks.page(run, kinds, PageRequest(_SHOWN))
        yield "\n" + "".join(f"{_line(problem)}\n" for problem in page.rows)
        if page.has_next:
            yield "There are more; for all of them say --json.\n"


async def as_json(
    checks: RunChecks, run: Collection, consistent: bool | None, counts: Counter[RunProblemKind]
) -> AsyncIterator[str]:
    """Tell everything, as one JSON object; see `as_text`."""
    told = {
        "run": run.name,
        "consistent": consistent,
        "summary": [{"kind": kind, "count": counts[kind]} for kind in _ALL if counts[kind]],
    }
    yield f'{orjson.dumps(told).decode()[:-1]},"problems":['
    page: Page[RunProblem] | None = None
    while page is None or page.has_next:
        between = ",\n" if page else ""
        page = await checks.page(run, counts, PageRequest(_PAGE, after=page.keys[-1] if page else None))
        yield between + ",\n".join(orjson.dumps(_problem(one)).decode() for one in page.rows)
    yield "]}\n"


def _counted(kind: RunProblemKind, count: int) -> str:
    rest = "" if kind.is_contradiction else ", which contradict nothing; --json lists them"
    return f"{count} {kind}{rest}"


def _line(problem: RunProblem) -> str:
    told = _problem(problem)
    work = told["quantum"]
    if problem.dataset is not None:
        about = f"{told['datasetType']} {_written(told['dataId'])}"
    else:
        of = "" if work is None else f"of {work['task']} {_written(work['dataId'])}"
        about = f"{told['datasetType'] or ''} {of}".strip()
    return f"{problem.kind}  {about}  {problem.uuid or ''}".rstrip() + f"\n    {problem.detail}"


def _written(data_id: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f"{name}: {value}" for name, value in data_id.items()) + "}"


def _problem(problem: RunProblem) -> dict[str, Any]:
    dataset, quantum = problem.dataset, problem.quantum
    data_id = None
    if dataset is not None:
        data_id = dict(zip(dataset.dataset_type.dimensions.required, dataset.data_id, strict=True))
    work = None
    if quantum is not None:
        work = {"task": quantum.task_label, "dataId": quantum.data_id_values, "status": quantum.status.name}
    return {
        "kind": problem.kind,
        "uuid": problem.uuid,
        "datasetType": problem.dataset_type_name,
        "dataId": data_id,
        "quantum": work,
        "detail": problem.detail,
    }
