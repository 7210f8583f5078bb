"""A process that has imported everything, and forks a child for each piece of work that it is asked for.

The child may be killed in the middle of it: whoever asked is told how it ended.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.killed_jobs import in_child

__all__ = ["Forks", "forks", "serve"]


class Forks:
    """Asks such a process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, *arguments: Any) -> tuple[int, list[Any]]:
        """Have work done; tell how the child ended, as `os.waitstatus_to_exitcode` does, and what it printed."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps(arguments), file=self._process.stdin, flush=True)
        told = []
        for line in self._process.stdout:
            told.append(json.loads(line))
            if isinstance(told[-1], int):
                return told.pop(), told
        raise AssertionError(f"It ended with {self._process.wait()}.")


@contextmanager
def forks(module: str) -> Iterator[Forks]:
    """Have a module that serves, within the block.

    Parameters
    ----------
    module
        Its name. What it writes to standard error is seen.
    """
    with subprocess.Popen(
        [sys.executable, "-m", module],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Forks(process)


def serve(work: Callable[..., Coroutine[Any, Any, None]]) -> None:
    """Do work for each line of arguments, in a child; what it prints are JSON objects, a line each."""
    for line in sys.stdin:
        print(in_child(work(*json.loads(line))), flush=True)
