"""The plan of a deletion of what work wrote, killed while it is made; in a process of its own."""

from __future__ import annotations

import asyncio
import sys

from butlerql.storage.datastores.deletion import planning
from butlerql.storage.datastores.deletion.plans import DeletionScope
from butlerql.storage.provenance.filters import QuantumFilter
from butlerql.storage.repository import Repository
from tests.support.deleted import Deleter
from tests.support.killed_jobs import Killer

__all__ = ["CHUNK"]

CHUNK = 3
"""Datasets."""


async def main(uri: str, state: str, task: str, at: int) -> None:
    """Plan to delete what a task wrote, and die at the n-th point of a commit."""
    planning._DATASETS = CHUNK
    repository = await Repository.open(uri, state=state or None, writable=True)
    Killer(at).watch_commits(repository.state)
    chosen = QuantumFilter(tasks=[task])
    await Deleter(repository).plan(DeletionScope.PURGE, collections=["*"], generated_by=chosen)
    await repository.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4], int(sys.argv[4])))
