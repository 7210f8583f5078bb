"""Measure all that is claimed to be fast, on repositories that are made once and kept in .cache/repositories.

usage: python -m benchmarks
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.repositories import large
from benchmarks.survey import survey

_CACHE = Path(".cache/repositories")


def _measure(module: str, *arguments: str) -> None:
    # A process each: what one leaves behind does not slow down the next.
    subprocess.run([sys.executable, "-m", f"benchmarks.{module}", *arguments], check=True)


def main() -> None:
    """Make the repositories, and measure."""
    small = large(_CACHE)
    big = large(_CACHE, datasets=2_000_000)
    many = large(_CACHE, runs=500)
    surveyed = survey(_CACHE)
    _measure("engine")
    _measure("datasets", small)
    _measure("pages", small, big, many)
    _measure("dataset_types", small)
    _measure("queries", surveyed)
    _measure("usage", big)
    _measure("tagging", str(_CACHE))
    _measure("deletion", str(_CACHE))
    _measure("validation", str(_CACHE))
    _measure("provenance_readers", str(_CACHE))
    _measure("provenance_summaries", str(_CACHE))
    _measure("provenance_ingest", str(_CACHE))


if __name__ == "__main__":
    main()
