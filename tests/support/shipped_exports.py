"""Repositories of the exports that ship with the Butler, on which its own tests ask."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

from lsst.daf.butler import Butler

from tests.support.repositories import Content

__all__ = ["shipped"]

_EXPORTS = "resource://lsst.daf.butler/tests/registry_data/"


def shipped(*names: str, more: Callable[[Butler], None] | None = None) -> Content:
    """Give what some exports hold, and what is added to it; no files."""

    def fill(butler: Butler, outside: Path) -> None:
        with warnings.catch_warnings():
            # It makes days of observation for what was exported before there were any.
            warnings.simplefilter("ignore", UserWarning)
            for name in names:
                butler.import_(filename=f"{_EXPORTS}{name}.yaml", without_datastore=True)
        if more is not None:
            more(butler)

    return Content(" ".join([*names, "" if more is None else f"{more.__module__}.{more.__qualname__}"]), fill)
