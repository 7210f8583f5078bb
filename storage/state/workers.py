"""What chunks of jobs run on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

__all__ = ["processes"]


def processes(workers: int) -> Callable[[], Executor]:
    """Give what starts so many processes on this machine, each when it is needed first.

    They begin afresh: a copy of a process whose threads hold locks would wait for ever.
    """
    return partial(ProcessPoolExecutor, workers, mp_context=get_context("spawn"))
