"""Deletions, beside a bare loop that renames and unlinks as many files; plans, beside their query and a bare look.

usage: python -m benchmarks.deletion CACHE      where repositories are kept
"""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from benchmarks.measure import report
from benchmarks.validation import stored
from butlerql.storage.datastores.deletion.deleting import Deletion, ask_to_delete
from butlerql.storage.datastores.deletion.planning import Planning, insert_plan
from butlerql.storage.datastores.deletion.plans import DeletionScope, PlanState, find_plan
from butlerql.storage.registry.pages import Key, PageRequest
from butlerql.storage.registry.selection import DatasetSelection, select
from butlerql.storage.repository import Repository
from butlerql.storage.state.coordinator import Coordinator

_FILES = 100_000
_ROUNDS = 2
_LOOKS = {page: f"its query in pages of {page}, and a bare look" for page in (1_000, 10_000)}
_EVERYTHING = DatasetSelection(collections=["*"])


def _paths(root: Path) -> list[str]:
    return [
        str(file)
        for directory in root.iterdir()
        if directory.is_dir()
        for file in directory.rglob("*")
        if file.is_file()
    ]


def bare_look(paths: list[str]) -> None:
    """Look at every file."""
    for path in paths:
        os.lstat(path)


def bare_delete(paths: list[str]) -> None:
    """Rename every file in its directory, and unlink it."""
    for number, path in enumerate(paths):
        claim = f"{os.path.dirname(path)}/.claim-{number}"
        os.rename(path, claim)
        os.unlink(claim)


async def query(repository: Repository, page_size: int) -> None:
    """Read the datasets of the selection, page by page."""
    after: Key | None = None
    while True:
        async with repository.snapshot() as snapshot:
            sets = await select(snapshot, _EVERYTHING)
            [page] = await sets.pages(snapshot, PageRequest(page_size, after=after))
        if not page.has_next:
            return
        after = page.keys[-1]


class Best:
    """The best round of each contestant: by the clock, and by the processor's time."""

    def __init__(self) -> None:
        self.wall: dict[str, float] = {}
        self.processor: dict[str, float] = {}

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Time a round."""
        wall, processor = time.perf_counter(), time.process_time()
        yield
        for best, spent in (
            (self.wall, time.perf_counter() - wall),
            (self.processor, time.process_time() - processor),
        ):
            best[name] = min(best.get(name, float("inf")), spent)

    def report(self, title: str, reference: str, *names: str) -> None:
        """Print some, each beside a reference."""
        for what, best in (("", self.wall), (", processor's time", self.processor)):
            report(f"{title}{what}", {name: best[name] for name in (reference, *names)}, reference)


async def run(root: Path, best: Best) -> None:
    """Plan and delete everything once."""
    paths = _paths(root)
    repository = await Repository.open(str(root), writable=True, snapshot_seconds=60)
    coordinator = Coordinator(
        repository.state, [Planning(repository), Deletion(repository)], lambda: ThreadPoolExecutor(1), width=4
    )
    # It is made once, by whoever first writes.
    await repository.state.upgrade()
    for page_size, name in _LOOKS.items():
        with best.timed(name):
            bare_look(paths)
            await query(repository, page_size)
    with best.timed("plan"):
        number, _ = await repository.state.write(
            lambda connection: insert_plan(connection, _EVERYTHING, DeletionScope.UNSTORE, None, [], "benchmark")
        )
        await coordinator.run_next()
    with best.timed("deletion"):
        await repository.state.write(lambda connection: ask_to_delete(connection, number, 0, "benchmark"))
        while await coordinator.run_next():
            pass
    plan = await find_plan(repository.state, number)
    assert (plan.state, plan.artifacts) == (PlanState.UNLINKED, len(paths)), plan
    assert not any(map(os.path.exists, paths))
    await repository.close()


async def main(cache: Path) -> None:
    """Race them; each deletes a copy of its own."""
    source = stored(cache, _FILES)
    best = Best()
    for _ in range(_ROUNDS):
        for is_ours in (False, True):
            with tempfile.TemporaryDirectory(dir=cache) as directory:
                root = Path(directory, "copy")
                shutil.copytree(source, root, copy_function=_copy)
                # What was never written to the disk is removed much sooner than what is there.
                os.sync()
                if is_ours:
                    await run(root, best)
                    continue
                paths = _paths(root)
                with best.timed("bare loop"):
                    bare_delete(paths)
    best.report(f"Deletion of {_FILES} files", "bare loop", "deletion")
    best.report(f"Plan of {_FILES} files", *_LOOKS.values(), "plan")


def _copy(source: str, target: str) -> None:
    """Copy what has contents that matter; of the others the size is enough."""
    if source.endswith((".yaml", ".sqlite3")):
        shutil.copy2(source, target)
    else:
        Path(target).touch()
        os.truncate(target, os.path.getsize(source))


if __name__ == "__main__":
    # As the service has it.
    gc.freeze()
    gc.set_threshold(500_000, 10, 10)
    asyncio.run(main(Path(sys.argv[1])))
