"""What ``butlerql delete`` and ``butlerql restore`` say: of a plan, and of what became of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import orjson
from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from butlerql.storage.datastores.deletion.plans import (
    DeletionScope,
    Item,
    Outcome,
    Plan,
    PlanState,
    ReasonCount,
    Trace,
    count_datasets,
    count_items,
    find_items,
    freed_bytes,
    outcome_counts,
    reason_counts,
    traces,
)
from butlerql.storage.registry.pages import Page, PageRequest
from butlerql.storage.state.database import State

__all__ = ["as_json", "outcomes_as_text", "plan_as_text"]

_SHOWN = 10
_PAGE = 1000

_SCOPES = {
    DeletionScope.UNSTORE: "the files and their records; the registry still knows the datasets",
    DeletionScope.PURGE: "the datasets themselves, with their files",
}

_UNITS = ((86_400, "day"), (3_600, "hour"), (1, "second"))

_USUAL = frozenset({Outcome.PENDING, Outcome.DETACHED, Outcome.REMOVED, Outcome.RESTORED})
"""Of these nothing needs to be said."""


async def plan_as_text(state: State, plan: Plan, grace_seconds: int) -> str:
    """Tell what a deletion would do, with the first files, which would stay for so long."""
    going = await find_items(state, plan.id, PageRequest(_SHOWN), [Outcome.PENDING])
    goes = next((one for one in await outcome_counts(state, plan.id) if one.outcome is Outcome.PENDING), None)
    figures = (0, 0) if goes is None else (goes.artifacts, goes.bytes)
    rows = [("goes", str(await count_datasets(state, plan.id, Outcome.PENDING)), str(figures[0]), decimal(figures[1]))]
    rows += _reasons("left alone", await reason_counts(state, plan, blocks=True))
    rows += _reasons("goes all the same", await reason_counts(state, plan, blocks=False))
    told = [
        f"Plan {plan.id}: {plan.scope} in {plan.datastore or 'all datastores'} takes away {_SCOPES[plan.scope]}.",
        f"It can be carried out until {_moment(plan.expires_at)}. {_stay(grace_seconds)}",
        "",
        _table(("", "datasets", "files", "size"), rows),
        *await _lines(state, going.rows),
    ]
    if going.has_next:
        told.append(f"... and {await count_items(state, plan.id, [Outcome.PENDING]) - _SHOWN} more")
    return "\n".join(told)


async def outcomes_as_text(state: State, uri: str, plan: Plan) -> str:
    """Tell what became of a plan, with the first files of which there is something to tell.

    Parameters
    ----------
    state
        Where the plan is.
    uri
        What its repository is called on the command line.
    plan
        Which.
    """
    counts = await outcome_counts(state, plan.id)
    rows = [(one.outcome.value, str(one.artifacts), decimal(one.bytes)) for one in counts]
    told = [_table((f"plan {plan.id}", "files", "size"), rows)]
    if unusual := [one.outcome for one in counts if one.outcome not in _USUAL]:
        items = await find_items(state, plan.id, PageRequest(_SHOWN), unusual)
        lines = await _lines(state, items.rows)
        told += [f"{item.outcome}  {line}" for item, line in zip(items.rows, lines, strict=True)]
        told += ["... and more; --json tells all"] if items.has_next else []
    if plan.state is PlanState.DETACHED:
        assert plan.unlink_after is not None
        told += [
            "",
            f"Nobody sees them any more. The files are removed after {_moment(plan.unlink_after)}, by a service of the",
            f"repository that may write to it, or by: butlerql delete {uri} --resume {plan.id}",
            f"Until then all of it can be undone:     butlerql restore {uri} {plan.id}",
        ]
    return "\n".join(told)


async def as_json(state: State, plan: Plan) -> AsyncIterator[str]:
    """Tell everything, as one JSON object, with all files."""
    told = {
        "plan": plan.id,
        "state": plan.state,
        "scope": plan.scope,
        "datastore": plan.datastore,
        "override": sorted(plan.overridden),
        "createdBy": plan.created_by,
        "createdAt": _moment(plan.created_at),
        "expiresAt": _moment(plan.expires_at),
        "unlinkAfter": None if plan.unlink_after is None else _moment(plan.unlink_after),
        "datasets": plan.datasets,
        "artifacts": plan.artifacts,
        "bytes": plan.bytes,
        "freedBytes": await freed_bytes(state, plan.id),
        "blocked": [one._asdict() for one in await reason_counts(state, plan, blocks=True)],
        "warnings": [one._asdict() for one in await reason_counts(state, plan, blocks=False)],
        "outcomes": [one._asdict() for one in await outcome_counts(state, plan.id)],
    }
    yield f'{orjson.dumps(told).decode()[:-1]},"items":['
    page: Page[Item] | None = None
    while page is None or page.has_next:
        between = ",\n" if page else ""
        page = await find_items(state, plan.id, PageRequest(_PAGE, after=page.keys[-1] if page else None))
        its = await traces(state, page.rows)
        yield between + ",\n".join(
            orjson.dumps(_item(item, whose)).decode() for item, whose in zip(page.rows, its, strict=True)
        )
    yield "]}\n"


def _reasons(what: str, counts: Iterable[ReasonCount]) -> list[tuple[str, str, str, str]]:
    return [(f"{what}: {one.reason}", str(one.datasets), str(one.artifacts), decimal(one.bytes)) for one in counts]


def _table(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    text = StringIO()
    Console(file=text, width=200).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()).strip("\n") + "\n"


async def _lines(state: State, items: Sequence[Item]) -> list[str]:
    return [_line(item, whose) for item, whose in zip(items, await traces(state, items), strict=True)]


def _line(item: Item, whose: Iterable[Trace]) -> str:
    size = "" if item.bytes is None else f"  {decimal(item.bytes)}"
    reason = "" if item.reason is None else f"  ({item.reason})"
    return f"{item.uri or ', '.join(map(_name, whose))}{size}{reason}"


def _name(trace: Trace) -> str:
    data_id = ", ".join(f"{name}: {value}" for name, value in trace.data_id_values.items())
    return f"{trace.dataset_type_name} {{{data_id}}} of {trace.run_name}, without a file"


def _item(item: Item, whose: Iterable[Trace]) -> dict[str, Any]:
    told = {name: getattr(item, name) for name in ("uri", "bytes", "outcome", "reason", "tries")}
    datasets = [
        {"uuid": one.uuid, "datasetType": one.dataset_type_name, "dataId": one.data_id_values, "run": one.run_name}
        for one in whose
    ]
    return {**told, "datasets": datasets}


def _stay(seconds: int) -> str:
    if not seconds:
        return "Its files go at once then: it cannot be undone."
    number, unit = next((seconds // size, unit) for size, unit in _UNITS if seconds % size == 0)
    return f"Its files stay for {number} {unit}{'s'[: number - 1]} then: until they go, it can be undone."


def _moment(micros: int) -> str:
    return datetime.fromtimestamp(micros / 1e6, UTC).isoformat(timespec="seconds")
