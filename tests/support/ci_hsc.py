"""The small piece of a real HSC run that the Butler's own tests use."""

from __future__ import annotations

from pathlib import Path

from lsst.daf.butler import Butler

from tests.support.repositories import Content

__all__ = ["CI_HSC"]

_EXPORTS = "resource://lsst.daf.butler/tests/registry_data/"


def _fill(butler: Butler, outside: Path) -> None:
    for name in ("ci_hsc-subset.yaml", "ci_hsc-subset-skymap.yaml"):
        butler.import_(filename=_EXPORTS + name, without_datastore=True)


CI_HSC = Content("ci_hsc", _fill)
"""11 visits, 16 detectors, 33 ``calexp`` in one run, one sky map; no files."""
