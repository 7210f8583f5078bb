"""The options by which a command is told which datasets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from butlerql.storage.registry.selection import DatasetSelection

__all__ = ["selection_of", "selection_options"]

F = TypeVar("F", bound=Callable[..., Any])

_NAMES = ("dataset_types", "collections", "runs")


def selection_options(command: F) -> F:
    """Give a command ``--where``, ``--dataset-type``, ``--collection`` and ``--run``."""
    for option in (
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
    return DatasetSelection(**given) if given else None
