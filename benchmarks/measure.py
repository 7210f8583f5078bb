"""Measuring things beside each other: in turn, several times, the best of each."""

from __future__ import annotations

import gc
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any

__all__ = ["Contestant", "race", "report"]

Contestant = Callable[[], Awaitable[Any] | Any]


async def race(contestants: dict[str, Contestant], rounds: int = 7) -> dict[str, float]:
    """Run each contestant once to warm up, then all of them in turn; seconds of the best round of each."""
    best = dict.fromkeys(contestants, float("inf"))
    for turn in range(rounds + 1):
        for name, run in contestants.items():
            gc.collect()
            begin = time.perf_counter()
            result = run()
            if inspect.isawaitable(result):
                await result
            if turn:
                best[name] = min(best[name], time.perf_counter() - begin)
    return best


def report(title: str, best: dict[str, float], reference: str) -> None:
    """Print what was measured, each beside the reference."""
    print(title)
    for name, seconds in best.items():
        print(f"  {name:<52} {seconds * 1e3:9.1f} ms   {seconds / best[reference]:7.2f} x {reference}")
