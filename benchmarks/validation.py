"""Validations of datastores, beside a bare walk, a bare checksum, and a bare listing of an object store.

usage: python -m benchmarks.validation CACHE [FILES]      where repositories are kept; only the memory for so many files
"""

from __future__ import annotations

import asyncio
import os
import re
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from concurrent.futures import Executor
from contextlib import closing
from functools import partial
from hashlib import blake2b, file_digest
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.measure import race, report
from benchmarks.repositories import large
from butlerql.storage.datastores.artifacts.objects import ObjectStore
from butlerql.storage.datastores.validation.findings import Check
from butlerql.storage.datastores.validation.job import Validation
from butlerql.storage.datastores.validation.request import Request
from butlerql.storage.repository import Repository
from butlerql.storage.state.coordinator import Coordinator
from butlerql.storage.state.jobs import find_job, insert_job
from butlerql.storage.state.workers import processes
from tests.support.object_store import run_object_server

_CORES = os.cpu_count() or 1
_FILES = (30_000, 300_000)
_CONTENTS, _SIZE = 512, 4 << 20
_OBJECTS = 3_000
_OUTSIDE = frozenset({Check.MISSING, Check.UNTRACKED, Check.SIZE})


def stored(cache: Path, datasets: int, size: int | None = None) -> Path:
    """Give a repository whose files are there, without contents: of the recorded size, or all of one size."""
    root = cache / f"stored-{datasets}-{size}"
    # Not in it, where it would be untracked.
    complete = root.with_suffix(".complete")
    if not complete.exists():
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(large(cache, datasets=datasets), root, ignore=shutil.ignore_patterns("complete"))
        with closing(sqlite3.connect(root / "gen3.sqlite3")) as link, link:
            if size is not None:
                link.execute("UPDATE file_datastore_records SET file_size = ?, checksum = NULL", (size,))
            for path, bytes_ in link.execute("SELECT path, file_size FROM file_datastore_records"):
                file = root / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()
                os.truncate(file, bytes_)
        complete.touch()
    return root


def walk(root: str) -> int:
    """Look at every file below a directory, and do nothing else."""
    number, pending = 0, [root]
    while pending:
        with os.scandir(pending.pop()) as names:
            for name in names:
                if name.is_dir(follow_symlinks=False):
                    pending.append(name.path)
                else:
                    name.stat(follow_symlinks=False)
                    number += 1
    return number


def _digest(block: bytes, times: int) -> None:
    digest = blake2b()
    for _ in range(times):
        digest.update(block)


def _digest_files(paths: list[str]) -> None:
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            file_digest(file, blake2b)


async def validate(repository: Repository, executor: Executor, checks: frozenset[Check]) -> dict[str, int]:
    """Run a validation to its end; what it looked at."""
    kind = Validation(repository, _CORES)
    request = Request(repository.datastore.name, checks=checks, grace_seconds=0).validated(repository.datastore)
    job = await repository.state.write(
        lambda connection: insert_job(connection, kind.name, request.as_json, unit=kind.unit, user="benchmark")
    )
    coordinator = Coordinator(repository.state, [kind], lambda: executor, width=2 * _CORES)
    await coordinator.run_next()
    done = await find_job(repository.state, job.id)
    assert done is not None and done.error is None, done
    coverage: dict[str, int] = done.result["coverage"]
    return coverage


async def main(cache: Path) -> None:
    """Race them."""
    with tempfile.TemporaryDirectory() as directory:
        root = stored(cache, _FILES[-1])
        executor = processes(_CORES).make_executor()
        # They take a second to start, which is not what is measured.
        list(executor.map(time.sleep, [0.1] * 2 * _CORES))
        repository = await Repository.open(str(root), state=f"{directory}/state.sqlite3")
        best = await race(
            {
                "bare walk": partial(walk, str(root)),
                "validation of what is there, and of sizes": partial(validate, repository, executor, _OUTSIDE),
            },
            rounds=3,
        )
        report(f"{_FILES[-1]} files on {_CORES} cores", best, "bare walk")
        await repository.close()
        executor = processes(_CORES).make_executor()
        list(executor.map(time.sleep, [0.1] * 2 * _CORES))
        root = stored(cache, _CONTENTS, _SIZE)
        repository = await Repository.open(str(root), state=f"{directory}/contents.sqlite3")
        contents = partial(validate, repository, executor, frozenset({Check.CHECKSUM}))
        size = (await contents())["bytesRead"]
        block = bytes(1 << 20)

        paths = [f"{place}/{name}" for place, _, names in os.walk(root) for name in names]

        def from_memory() -> None:
            list(executor.map(partial(_digest, block), [size // len(block) // _CORES] * _CORES))

        def from_files() -> None:
            list(executor.map(_digest_files, [paths[number::_CORES] for number in range(_CORES)]))

        best = await race(
            {"hashlib": from_files, "hashlib, from memory": from_memory, "checksums": contents},
            rounds=3,
        )
        report(f"Contents of files of {_SIZE >> 20} MB, {size / 1e9:.1f} GB, on {_CORES} cores", best, "hashlib")
        await repository.close()


async def list_objects() -> None:
    """Race listing an object store."""
    import obstore
    from obstore.store import S3Store

    context = get_context("spawn")
    here, there = context.Pipe()
    # In a process of its own, so that it takes no time of ours.
    server = context.Process(target=_serve_objects, args=(there,), daemon=True)
    server.start()
    environ = here.recv()
    bare = S3Store(
        "objects",
        config={
            "endpoint": environ["S3_ENDPOINT_URL"],
            "access_key_id": environ["AWS_ACCESS_KEY_ID"],
            "secret_access_key": environ["AWS_SECRET_ACCESS_KEY"],
            "region": environ["AWS_DEFAULT_REGION"],
        },
        client_options={"allow_http": True},
    )
    ours = ObjectStore("s3://objects/", environ)
    best = await race(
        {
            "obstore": lambda: sum(map(len, obstore.list(bare))),
            "listing of a store": lambda: sum(1 for _ in ours.list()),
        },
        rounds=3,
    )
    report(f"{_OBJECTS} objects", best, "obstore")
    server.terminate()


def _serve_objects(pipe: Connection) -> None:
    with run_object_server() as server:
        server.fill("objects", {f"run/{number % 97}/{number}.fits": b"" for number in range(_OBJECTS)})
        pipe.send(dict(server.environ))
        time.sleep(3600)


async def peak(cache: Path, datasets: int) -> None:
    """Validate once, and print the most memory that this process or one of its own ever had."""
    with tempfile.TemporaryDirectory() as directory:
        repository = await Repository.open(str(stored(cache, datasets)), state=f"{directory}/state.sqlite3")
        executor = processes(_CORES).make_executor()
        await validate(repository, executor, _OUTSIDE)
        executor.shutdown()
        await repository.close()
    # What `getrusage` says of this process may be its parent's.
    [own] = re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())  # noqa: ASYNC240
    most = max(int(own), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
    print(f"{datasets} files: at most {most // 1024} MB in one process")


if __name__ == "__main__":
    place, *number = sys.argv[1:]
    if number:
        asyncio.run(peak(Path(place), int(number[0])))
    else:
        for files in _FILES:
            stored(Path(place), files)
            # A process each: what is measured is the most that it ever had.
            subprocess.run([sys.executable, "-m", "benchmarks.validation", place, str(files)], check=True)
        asyncio.run(main(Path(place)))
        asyncio.run(list_objects())
