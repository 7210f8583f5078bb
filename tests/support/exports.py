"""Repositories made of the exports that the Butler's own tests import."""

from __future__ import annotations

import warnings
from pathlib import Path

from lsst.daf.butler import Butler

from tests.support.repositories import Content

__all__ = ["EXPORTS"]

_EXPORTS = "resource://lsst.daf.butler/tests/registry_data/"


def _content(*names: str) -> Content:
    def fill(butler: Butler, outside: Path) -> None:
        with warnings.catch_warnings():
            # It makes days of observation for what was exported before there were any.
            warnings.simplefilter("ignore", UserWarning)
            for name in names:
                butler.import_(filename=f"{_EXPORTS}{name}.yaml", without_datastore=True)

    return Content(" and ".join(names), fill)


EXPORTS = [
    _content("hsc-rc2-subset-v0"),
    _content("lsstcam-subset"),
    _content("ci_hsc-subset", "ci_hsc-subset-skymap"),
    _content("base", "datasets"),
    _content("base", "spatial"),
]
"""Real pieces of HSC and of LSSTCam, and what was made up to try out."""
