"""The options by which a command is told which datasets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import click

from butlerql.storage.provenance.records import QuantumStatus

if TYPE_CHECKING:
    from butlerql.storage.provenance.filters import QuantumFilter
    from butlerql.storage.registry.selection import DatasetSelection

__all__ = ["selection_of", "selection_options"]

F = TypeVar("F", bound=Callable[..., Any])

_NAMES = ("dataset_types", "collections", "runs")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Moment(click.ParamType[datetime]):
    """An instant of ISO 8601, in UTC where no zone is said."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read what was written."""
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time such as 2026-11-20T00:00:00Z.", param, ctx)
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def selection_options(command: F) -> F:
    """Give a command ``--where``, ``--dataset-type``, ``--collection`` and ``--run``, and those of what work wrote."""
    statuses = click.Choice([status.name for status in QuantumStatus], case_sensitive=False)
    for option in (
        click.option("--started-before", type=_Moment(), help="Only what work wrote that began before it."),
        click.option("--started-after", type=_Moment(), help="Only what work wrote that began then, or later."),
        click.option("--exception", metavar="GLOB", help="Only what work wrote that met such an exception."),
        click.option("--status", "statuses", multiple=True, type=statuses, help="Only what work wrote that ended so."),
        click.option("--host", "hosts", multiple=True, metavar="GLOB", help="Only what work on these machines wrote."),
        click.option("--task", "tasks", multiple=True, metavar="GLOB", help="Only what these tasks wrote."),
        click.option("--run", "runs", multiple=True, metavar="GLOB", help="Only of these runs."),
        click.option("--collection", "collections", multiple=True, metavar="GLOB", help="Only of these collections."),
        click.option("--dataset-type", "dataset_types", multiple=True, metavar="GLOB", help="Only of these types."),
        click.option("--where", metavar="EXPR", help="Only datasets of which this holds."),
    ):
        command = option(command)
    return command


def selection_of(asked: Mapping[str, Any]) -> DatasetSelection | None:
    """Read off which datasets were asked for; what was not said is not in ``asked``. None if nothing was said."""
    from butlerql.storage.registry.selection import DatasetSelection
    from butlerql.storage.registry.where import Where

    given: dict[str, Any] = {name: asked[name] for name in _NAMES if name in asked}
    if "where" in asked:
        given["where"] = Where(asked["where"])
    if (work := _work_of(asked)) is not None:
        given["generated_by"] = work
    return DatasetSelection(**given) if given else None


def _work_of(asked: Mapping[str, Any]) -> QuantumFilter | None:
    from butlerql.storage.provenance.filters import QuantumFilter

    given: dict[str, Any] = {name: asked[name] for name in ("tasks", "hosts", "exception") if name in asked}
    if "statuses" in asked:
        given["statuses"] = [QuantumStatus[name] for name in asked["statuses"]]
    for name in ("started_after", "started_before"):
        if name in asked:
            given[name] = (asked[name] - _EPOCH) // timedelta(microseconds=1)
    return QuantumFilter(**given) if given else None
