"""Readers of provenance, beside the bare work that they cannot do without.

usage: python -m benchmarks.provenance_readers CACHE      where what is read is kept
"""

from __future__ import annotations

import asyncio
import sys
import zipfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from uuid import UUID

import orjson
import zstandard

from benchmarks.measure import race, report
from butlerql.storage.provenance.graph_file import GraphFile
from butlerql.storage.provenance.json_lines import LinesFile
from butlerql.storage.provenance.records import Many, QuantumRecord, Record, Skipped
from butlerql.storage.provenance.task_records import Content, Traces, told_of
from tests.support.pipelines.multiplied import blocks_of, multiply
from tests.support.pipelines.recorded import Recorded, record

_COPIES = 2_000
_UNITS = 5_000
_LINES = 50_000


def graph(cache: Path) -> Path:
    """Give a graph of 28,000 executions, compressed with a dictionary."""
    path = cache / f"graph-{_COPIES}.qg"
    if not path.exists():
        multiply(_pipelines(cache).graph("heavy.provenance"), path, _COPIES)
    return path


def files(cache: Path) -> list[tuple[Path, Path]]:
    """Give metadata and logs of units of work, in files."""
    directory = cache / f"pipelines-{_UNITS}"
    pairs = [(directory / f"{number}.metadata", directory / f"{number}.log") for number in range(_UNITS)]
    if not directory.exists():
        directory.mkdir()
        run = _pipelines(cache).repository / "batch" / "heavy"
        real = [sorted(run.glob(f"*_{kind}/**/*.json")) for kind in ("metadata", "log")]
        for number, pair in enumerate(pairs):
            for path, same in zip(pair, real, strict=True):
                path.write_bytes(same[number % len(same)].read_bytes())
    return pairs


def _pipelines(cache: Path) -> Recorded:
    place = cache / "pipelines"
    return Recorded(place) if place.exists() else record(place)


def count(records: Iterable[Record]) -> int:
    """Count executions."""
    number = 0
    for told in records:
        assert not isinstance(told, Skipped), told
        if isinstance(told, Many):
            number += len(told.quanta.executions.status)
        elif isinstance(told, QuantumRecord):
            number += len(told.executions)
    return number


def read_graph(path: Path) -> int:
    """Read a graph as an ingest does."""
    with path.open("rb") as file:
        return count(GraphFile(file, path.name).records())


def parse_graph(path: Path) -> None:
    """Decompress and parse the same members, and do nothing with them."""
    with zipfile.ZipFile(path) as archive:
        known = zstandard.ZstdCompressionDict(archive.read("compression_dict"))
        decompress = zstandard.ZstdDecompressor(dict_data=known).decompress
        for name in ("quanta.mb", "metadata.mb", "datasets.mb"):
            for block in blocks_of(archive, name):
                orjson.loads(decompress(block))


def read_files(pairs: Iterable[tuple[Path, Path]]) -> int:
    """Read metadata and logs as an ingest does."""
    number = 0
    for metadata, log in pairs:
        contents = [Content(UUID(int=0), "", path.name, path.read_bytes()) for path in (metadata, log)]
        number += count(told_of(Traces("run", "isr", {"exposure": 1}, *contents)))
    return number


def parse_files(pairs: Iterable[tuple[Path, Path]]) -> None:
    """Read and parse the same files, and do nothing with them."""
    for metadata, log in pairs:
        orjson.loads(metadata.read_bytes())
        orjson.loads(log.read_bytes())


def lines(cache: Path) -> Path:
    """Give executions as a workflow system writes them."""
    path = cache / f"executions-{_LINES}.jsonl"
    if not path.exists():
        with path.open("wb") as file:
            for number in range(_LINES):
                line = {
                    "run": "u/run",
                    "task": "isr",
                    "dataId": {"instrument": "Cam", "exposure": number, "detector": number % 189},
                    "status": "SUCCESSFUL",
                    "quantum": str(UUID(int=number)),
                    "host": f"node{number % 97}",
                    "startedAt": "2026-01-01T00:00:00.25Z",
                    "endedAt": "2026-01-01T00:00:10Z",
                    "maxRss": 1 << 30,
                }
                file.write(orjson.dumps(line) + b"\n")
    return path


def read_lines(path: Path) -> int:
    """Read them as an ingest does."""
    with path.open("rb") as file:
        return count(LinesFile(file, path.name).records())


def parse_lines(path: Path) -> None:
    """Parse them, and do nothing with them."""
    with path.open("rb") as file:
        for line in file:
            orjson.loads(line)


async def main(cache: Path) -> None:
    """Race them, each on one core."""
    for title, bare, read, number in (
        ("graph", partial(parse_graph, graph(cache)), partial(read_graph, graph(cache)), 14 * _COPIES),
        ("metadata and logs", partial(parse_files, files(cache)), partial(read_files, files(cache)), _UNITS),
        ("JSON Lines", partial(parse_lines, lines(cache)), partial(read_lines, lines(cache)), _LINES),
    ):
        assert read() == number
        best = await race({"bare parsing": bare, "reader": read}, rounds=5)
        report(f"{number} executions from {title}", best, "bare parsing")
        print(f"  {number / best['reader']:,.0f} executions a second")


if __name__ == "__main__":
    place = Path(sys.argv[1])
    place.mkdir(parents=True, exist_ok=True)
    asyncio.run(main(place))
