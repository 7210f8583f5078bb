"""Graphs of as many executions as one likes, made of one that was really executed."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import zstandard

__all__ = ["blocks_of", "multiply"]

_UUID = re.compile(rb"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_INTEGER = 8
_SAMPLES = 500


def blocks_of(archive: zipfile.ZipFile, name: str) -> Iterator[bytes]:
    """Read the compressed blocks of a member."""
    content = archive.read(name)
    place = 0
    while place < len(content):
        size = int.from_bytes(content[place : place + _INTEGER])
        yield content[place + _INTEGER : place + _INTEGER + size]
        place += _INTEGER + size


def multiply(source: Path, target: Path, times: int, *, dictionary: bool = True) -> None:
    """Write a graph that has everything of another, small one, so many times, each time of other exposures.

    As ``aggregate-graph`` does with large ones, it compresses with a dictionary; ours has none.
    """
    plain = zstandard.ZstdDecompressor()
    with zipfile.ZipFile(source) as archive:
        singles = {name: archive.read(name) for name in archive.namelist() if name.endswith(".zst")}
        blocks = {
            name: [plain.decompress(block) for block in blocks_of(archive, name)]
            for name in archive.namelist()
            if name.endswith(".mb")
        }
        keys = _keys(archive)
    samples = [block for name in blocks for copy in range(_SAMPLES // 30) for block in _copied(blocks[name], copy)]
    known = zstandard.train_dictionary(32768, samples) if dictionary else zstandard.ZstdCompressionDict(b"")
    compress = zstandard.ZstdCompressor(level=10, dict_data=known).compress
    rows: dict[bytes, list[int]] = {}
    header = json.loads(plain.decompress(singles["header.json.zst"]))
    for count in ("n_quanta", "n_datasets"):
        header[count] *= times
    header["n_task_quanta"] = {label: number * times for label, number in header["n_task_quanta"].items()}
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("header.json.zst", zstandard.compress(json.dumps(header).encode()))
        archive.writestr("compression_dict", known.as_bytes())
        for name, content in singles.items():
            if name != "header.json.zst":
                archive.writestr(name, compress(plain.decompress(content)))
        for name, members in blocks.items():
            kind = ["datasets.mb", "quanta.mb", "logs.mb", "metadata.mb"].index(name)
            place = 0
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as file:
                for copy in range(times):
                    for number, block in enumerate(_copied(members, copy)):
                        packed = compress(block)
                        file.write(len(packed).to_bytes(_INTEGER) + packed)
                        size = _INTEGER + len(packed)
                        for key in keys[kind][number]:
                            row = rows.setdefault(_moved(str(UUID(bytes=key)).encode(), copy), [0] * 8)
                            row[2 * kind : 2 * kind + 2] = place, size
                        place += size
        with archive.open(zipfile.ZipInfo("nodes.addr"), "w") as file:
            file.write(bytes([_INTEGER]) + len(rows).to_bytes(_INTEGER) + (4).to_bytes(_INTEGER))
            ordered = sorted((UUID(key.decode()).bytes, row) for key, row in rows.items())
            for index, (key, row) in enumerate(ordered):
                file.write(key + b"".join(number.to_bytes(_INTEGER) for number in (index, *row)))


def _keys(archive: zipfile.ZipFile) -> list[dict[int, list[bytes]]]:
    """Read, for each kind of block, whose the blocks are, by their number."""
    content = archive.read("nodes.addr")
    found: list[list[tuple[int, bytes]]] = [[], [], [], []]
    for place in range(1 + 2 * _INTEGER, len(content), 16 + 9 * _INTEGER):
        row = content[place : place + 16 + 9 * _INTEGER]
        numbers = [int.from_bytes(row[begin : begin + _INTEGER]) for begin in range(24, len(row), _INTEGER)]
        for kind in range(4):
            if numbers[2 * kind + 1]:
                found[kind].append((numbers[2 * kind], row[:16]))
    result: list[dict[int, list[bytes]]] = []
    for pairs in found:
        order = {offset: number for number, offset in enumerate(sorted({offset for offset, _ in pairs}))}
        result.append({})
        for offset, key in pairs:
            result[-1].setdefault(order[offset], []).append(key)
    return result


def _copied(blocks: list[bytes], copy: int) -> Iterator[bytes]:
    for block in blocks:
        moved = _UUID.sub(lambda found: _moved(found[0], copy), block)
        if b'"data_coordinate"' in moved:
            value = json.loads(moved)
            # Instrument, detector if there is one, and exposure come first.
            place = {7: 2, 6: 1}.get(len(value["data_coordinate"]))
            if place is not None:
                value["data_coordinate"][place] += 10 * copy
            moved = json.dumps(value, separators=(",", ":")).encode()
        yield moved


def _moved(uuid: bytes, copy: int) -> bytes:
    return uuid[:-8] + b"%08x" % (int(uuid[-8:], 16) ^ copy)
