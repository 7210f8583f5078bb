"""What the bench leaves behind, built once and read by all."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

__all__ = ["Recorded", "record"]


@dataclass(frozen=True)
class Entry:
    """What a task wrote into its journal about one execution."""

    run: str
    task: str
    data_id: Mapping[str, int | str]
    quantum_id: str
    host: str
    pid: int
    begin: float
    end: float | None
    """None if it was killed."""
    outcome: str | None


@dataclass(frozen=True)
class Recorded:
    """The bench's directory; nobody may write to it."""

    directory: Path

    @property
    def repository(self) -> Path:
        """Root of the repository."""
        return self.directory / "repository"

    def graph(self, name: str) -> Path:
        """Path of a graph."""
        return self.directory / "graphs" / f"{name}.qg"

    @cached_property
    def journal(self) -> list[Entry]:
        """What the tasks say, in the order in which they began."""
        lines = [json.loads(line) for line in (self.directory / "journal.jsonl").read_text().splitlines()]
        ends = {(line["quantum_id"], line["begin"]): line for line in lines if line["event"] == "end"}
        entries = []
        for line in lines:
            if line["event"] == "begin":
                end: dict[str, Any] = ends.get((line["quantum_id"], line["begin"]), {})
                known = {key: line[key] for key in ("run", "task", "data_id", "quantum_id", "host", "pid", "begin")}
                entries.append(Entry(**known, end=end.get("end"), outcome=end.get("outcome")))
        return entries


def record(directory: Path) -> Recorded:
    """Build the bench."""
    program = [sys.executable, "-m", "tests.support.pipelines", str(directory)]
    done = subprocess.run(program, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Recorded(directory)
