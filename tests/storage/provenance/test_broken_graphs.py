"""Quantum graph files that are damaged, foreign, or made to do harm."""

from __future__ import annotations

import io
import json
import resource
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import zstandard
from hypothesis import strategies as st

from butlerql.storage.errors import InvalidSourceError
from butlerql.storage.provenance.archive import Archive
from butlerql.storage.provenance.blocks import Addresses
from butlerql.storage.provenance.graph_file import GraphFile
from butlerql.storage.provenance.records import DatasetRecord, QuantumRecord, Record, Skipped, Source
from tests.support.pipelines.multiplied import blocks_of
from tests.support.pipelines.recorded import Recorded
from tests.support.provenance_records import one_by_one

LIMIT = 1 << 63


def read(content: bytes) -> list[Record]:
    return list(one_by_one(GraphFile(io.BytesIO(content), "broken.qg").records()))


def source(content: bytes) -> Source:
    return GraphFile(io.BytesIO(content), "broken.qg").source


@pytest.fixture(scope="module", params=["retried.provenance", "retried"])
def content(request: pytest.FixtureRequest, pipelines: Recorded) -> bytes:
    return pipelines.graph(request.param).read_bytes()


def without_hosts(record: Record) -> Any:
    """Return what is told of a record without the metadata, which may be damaged."""
    if not isinstance(record, QuantumRecord):
        return record
    return replace(record, executions=tuple(replace(each, host=None) for each in record.executions))


def rewritten(content: bytes, change: Callable[[str, bytes], bytes | None], **options: Any) -> bytes:
    """Change members of a graph, or leave them out, with checksums that are right."""
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(result, "w", **options) as new:
        for name in old.namelist():
            changed = change(name, old.read(name))
            if changed is not None:
                new.writestr(name, changed)
    return result.getvalue()


def test_what_is_cut_off_is_no_graph(content: bytes) -> None:
    for size in (0, 1, 21, 22, len(content) // 2, len(content) - 22, len(content) - 1):
        with pytest.raises(InvalidSourceError):
            read(content[:size])


@hypothesis.given(st.data())
def test_flipped_bytes_never_make_wrong_records(content: bytes, data: st.DataObject) -> None:
    """What is told of a damaged file is what was in it; where it is not all, the file is another when it is mended."""
    broken = bytearray(content)
    for _ in range(data.draw(st.integers(1, 3))):
        # Near the end is the directory.
        place = data.draw(st.integers(0, len(broken) - 1) | st.integers(len(broken) - 900, len(broken) - 1))
        broken[place] ^= data.draw(st.integers(1, 255))
    intact = read(content)
    whole = [without_hosts(record) for record in intact]
    try:
        records = read(bytes(broken))
    except InvalidSourceError:
        return
    assert records == intact or source(bytes(broken)) != source(content)
    for record in records:
        if isinstance(record, QuantumRecord | DatasetRecord):
            assert without_hosts(record) in whole


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        ("metadata.mb", "hosts"),
        ("logs.mb", "nothing"),
        ("nodes.addr", "hosts"),
        ("packages.json.zst", "nothing"),
        ("init_quanta.json.zst", "nothing"),
        ("datasets.mb", "datasets"),
        ("quanta.mb", "quanta"),
    ],
)
def test_a_damaged_member_takes_no_other_with_it(pipelines: Recorded, name: str, lost: str) -> None:
    content = bytearray(pipelines.graph("retried.provenance").read_bytes())
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entry = archive.getinfo(name)
    content[entry.header_offset + 30 + len(name) + entry.file_size // 2] ^= 1
    whole = read(pipelines.graph("retried.provenance").read_bytes())
    records = read(bytes(content))
    assert source(bytes(content)) != source(pipelines.graph("retried.provenance").read_bytes())
    assert [record.name.partition(" ")[0] for record in records if isinstance(record, Skipped)] == [name]

    def told(records: list[Record], kind: type[Record]) -> list[Any]:
        return [without_hosts(record) if lost == "hosts" else record for record in records if type(record) is kind]

    assert told(records, QuantumRecord) == ([] if lost == "quanta" else told(whole, QuantumRecord))
    assert told(records, DatasetRecord) == ([] if lost == "datasets" else told(whole, DatasetRecord))


@pytest.mark.parametrize("name", ["header.json.zst", "pipeline_graph.json.zst"])
def test_without_a_header_or_a_pipeline_it_is_no_graph(content: bytes, name: str) -> None:
    for broken in (None, b"", b"{}", zstandard.compress(b"{}"), zstandard.compress(b"[" * 100_000)):
        with pytest.raises(InvalidSourceError):
            read(rewritten(content, lambda member, old, new=broken: new if member == name else old))


def same(name: str, old: bytes) -> bytes:
    return old


def test_foreign_files_are_refused(content: bytes, tmp_path: Path) -> None:
    deflated = rewritten(content, same, compression=zipfile.ZIP_DEFLATED)
    many = io.BytesIO()
    with zipfile.ZipFile(many, "w") as archive:
        for number in range(2_000):
            archive.writestr(f"{number:060}", b"")
    wide = b"PK\5\6" + b"\xff" * 18
    for foreign in (
        b"",
        b"PK",
        b"LSSTQGRAPH" + bytes(1_000),
        b"\n" * 50,
        wide,
        bytes(20) + wide,
        deflated,
        many.getvalue(),
    ):
        with pytest.raises(InvalidSourceError):
            read(foreign)


def test_other_types_and_versions_are_refused(content: bytes) -> None:
    def change(**values: Any) -> bytes:
        def changed(name: str, old: bytes) -> bytes:
            if name != "header.json.zst":
                return old
            return zstandard.compress(json.dumps(json.loads(zstandard.decompress(old)) | values).encode())

        return rewritten(content, changed)

    assert read(change(user="somebody"))
    for values in (
        {"version": 2},
        {"version": "1"},
        {"graph_type": "other"},
        {"graph_type": ["provenance"]},
        {"int_size": 0},
        {"int_size": 10**9},
        {"int_size": None},
        {"provenance_dataset_id": "x"},
        {"output_run": ""},
        {"output_run": "a\0"},
    ):
        with pytest.raises(InvalidSourceError):
            read(change(**values))


def test_a_dictionary_that_is_none_stops_nothing(content: bytes) -> None:
    for dictionary in (b"x", b"\x37\xa4\x30\xec" + bytes(100), b"\x37\xa4\x30\xec"):
        broken = rewritten(content, lambda name, old, new=dictionary: new if name == "compression_dict" else old)
        try:
            records = read(broken)
        except InvalidSourceError:
            continue
        assert records


def test_bombs_are_refused(pipelines: Recorded) -> None:
    """Nothing is decompressed that says it would be large, or that is large without saying so."""
    content = pipelines.graph("retried.provenance").read_bytes()
    zeros = bytes(200 << 20)
    silent = zstandard.ZstdCompressor(write_content_size=False).compress(zeros)
    loud = zstandard.ZstdCompressor().compress(zeros)
    # A frame that says that four petabytes follow.
    liar = b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", 1 << 52) + b"\x01\x00\x00"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for bomb in (silent, loud, liar):
        block = len(bomb).to_bytes(8) + bomb
        records = read(rewritten(content, lambda name, old, new=block: new + old if name == "quanta.mb" else old))
        assert [record.name for record in records if isinstance(record, Skipped)] == ["quanta.mb, block 0"]
        assert sum(isinstance(record, QuantumRecord) for record in records) == 14
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


def test_metadata_that_are_none_take_only_hosts_with_them(pipelines: Recorded) -> None:
    content = pipelines.graph("retried.provenance").read_bytes()
    block = zstandard.compress(b"{}")

    def change(name: str, old: bytes) -> bytes:
        # The table is wrong about all blocks, then.
        return len(block).to_bytes(8) + block + old if name == "metadata.mb" else old

    records, whole = read(rewritten(content, change)), read(content)
    for kind in (QuantumRecord, DatasetRecord):
        told, all_ = ([without_hosts(each) for each in some if type(each) is kind] for some in (records, whole))
        assert told == all_
    assert {each.name.partition(",")[0] for each in records if isinstance(each, Skipped)} == {"metadata.mb"}


def test_metadata_that_are_broken_take_only_their_hosts_with_them(pipelines: Recorded) -> None:
    content = pipelines.graph("retried.provenance").read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        broken = list(blocks_of(archive, "metadata.mb"))[5]
    records, whole = (
        read(each) for each in (rewritten(content, lambda _, old: old.replace(broken, bytes(len(broken)))), content)
    )
    [lost] = [record for record in whole if record not in records]
    assert isinstance(lost, QuantumRecord) and without_hosts(lost) in records
    [skipped] = [record for record in records if isinstance(record, Skipped)]
    assert skipped.name == f"metadata.mb, {lost.uuid}"


@pytest.mark.parametrize("rows", [0, 5])
def test_work_that_is_not_in_the_table_has_no_hosts(pipelines: Recorded, rows: int) -> None:
    content = pipelines.graph("heavy.provenance").read_bytes()
    table = bytes([8]) + rows.to_bytes(8) + (4).to_bytes(8) + bytes(rows * 88)
    records, whole = (
        read(each) for each in (rewritten(content, lambda name, old: table if name == "nodes.addr" else old), content)
    )
    assert records != whole and records == [without_hosts(record) for record in whole]


def with_blocks(content: bytes, name: str, change: Callable[[list[Any]], None]) -> bytes:
    """Change what is in the blocks of a member."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        blocks = [json.loads(zstandard.decompress(block)) for block in blocks_of(archive, name)]
    change(blocks)
    packed = [zstandard.compress(json.dumps(block).encode()) for block in blocks]
    member = b"".join(len(block).to_bytes(8) + block for block in packed)
    return rewritten(content, lambda each, old: member if each == name else old)


def test_what_json_does_not_have_is_read_all_the_same(pipelines: Recorded) -> None:
    content = pipelines.graph("retried.provenance").read_bytes()

    def change(blocks: list[Any]) -> None:
        blocks[3]["odd"] = [float("nan"), float("-inf")]
        blocks[3]["attempts"][0]["exception"] = {"type_name": "Error", "message": "a\ud800"}

    records, whole = read(with_blocks(content, "quanta.mb", change)), read(content)
    [before] = [record for record in whole if record not in records]
    [after] = [record for record in records if record not in whole]
    assert isinstance(before, QuantumRecord)
    first, *others = before.executions
    assert after == replace(before, executions=(replace(first, exception="Error", message="a?"), *others))


@pytest.mark.parametrize("width", [2, 8])
def test_addresses_are_found_where_they_are(width: int) -> None:
    number = 500
    keys = [numbered.to_bytes(4) + bytes(9) + (numbered % 3).to_bytes(3) for numbered in range(0, 2 * number, 2)]
    rows = [key + b"".join((place + more).to_bytes(width) for more in range(9)) for place, key in enumerate(keys)]
    table = b"".join([width.to_bytes(), number.to_bytes(width), (4).to_bytes(width), *rows])
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("nodes.addr", table)
    archive = Archive(content)
    addresses = Addresses(archive, archive.member("nodes.addr"), 4)
    for wanted in (range(number), range(number - 1, 0, -7), [3]):
        uuids = [f"{int.from_bytes(keys[place]) + more:032x}" for place in wanted for more in (0, 1)]
        offsets, sizes = addresses.find(uuids, 3)
        assert offsets == [offset for place in wanted for offset in (place + 7, 0)]
        assert sizes == [size for place in wanted for size in (place + 8, 0)]
    assert addresses.find(["0" * 32, "f" * 32], 0) == ([1, 0], [2, 0])


@pytest.mark.parametrize(("value", "is_read"), [("a],[b", True), ('"],["', True), (True, False), (1.0, False)])
def test_values_of_data_ids_are_what_they_are(pipelines: Recorded, value: Any, is_read: bool) -> None:
    """Brackets within a name are part of it, and what is equal to 1 is not 1."""
    content = pipelines.graph("retried.provenance").read_bytes()
    spoilt: list[str] = []

    def change(blocks: list[Any]) -> None:
        block = [block for block in blocks if block["data_coordinate"][1:2] == [1]][-1]
        block["data_coordinate"][1] = value
        spoilt.append(block["dataset_id"])

    told, whole = (
        [record for record in read(each) if isinstance(record, DatasetRecord)]
        for each in (with_blocks(content, "datasets.mb", change), content)
    )
    lost = [record for record in whole if record not in told]
    assert len(told) == len(whole) - (not is_read) and [str(record.uuid) for record in lost] == spoilt
    assert [value in (record.data_id or {}).values() for record in told if record not in whole] == [True] * is_read


@pytest.mark.parametrize("size", [0, 1, 1 << 20, 1 << 40, (1 << 64) - 1])
def test_absurd_sizes_end_a_member(pipelines: Recorded, size: int) -> None:
    content = pipelines.graph("retried.provenance").read_bytes()
    broken = rewritten(content, lambda name, old: size.to_bytes(8) + old if name == "datasets.mb" else old)
    records = read(broken)
    skipped = [record for record in records if isinstance(record, Skipped)]
    assert skipped and all(record.name.startswith("datasets.mb") for record in skipped)
    assert sum(isinstance(record, QuantumRecord) for record in records) == 14


def odd_values() -> st.SearchStrategy[Any]:
    numbers = st.sampled_from(
        [-1, 2, 10**30, -(10**30), 1e308, float("inf"), float("nan"), 0.5, True, LIMIT, LIMIT - 1]
    )
    texts = st.sampled_from(["", "x", "\0", "\ud800", "x" * 100_000, "9999-12-31T23:59:59-14:00", "0001-01-01"])
    return st.none() | numbers | texts | st.sampled_from([[], {}, [None], {"a": None}, [[[]]]])


@hypothesis.given(st.data())
def test_no_value_stops_reading(pipelines: Recorded, data: st.DataObject) -> None:
    """Whatever stands in a block: it is skipped, or what is told can be kept."""
    content = pipelines.graph(data.draw(st.sampled_from(["retried.provenance", "retried"]))).read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        name = data.draw(st.sampled_from([name for name in archive.namelist() if name.endswith((".mb", ".zst"))]))
        packed = list(blocks_of(archive, name)) if name.endswith(".mb") else [archive.read(name)]
    blocks = [zstandard.decompress(block) for block in packed]
    number = data.draw(st.integers(0, len(blocks) - 1))
    value = json.loads(blocks[number])
    spoil(value, data)
    blocks[number] = json.dumps(value).encode()
    packed = list(map(zstandard.compress, blocks))

    def change(member: str, old: bytes) -> bytes:
        if member != name:
            return old
        return b"".join(len(each).to_bytes(8) + each for each in packed) if name.endswith(".mb") else packed[0]

    try:
        records = read(rewritten(content, change))
    except InvalidSourceError:
        assert name in {"header.json.zst", "pipeline_graph.json.zst"}
        return
    for record in records:
        if isinstance(record, QuantumRecord):
            for execution in record.executions:
                for number in (execution.attempt, execution.started_at, execution.ended_at, execution.max_rss):
                    assert number is None or -LIMIT <= number < LIMIT
                for text in (execution.host, execution.exception, execution.message):
                    assert text is None or "\0" not in text.encode().decode()


def spoil(value: Any, data: st.DataObject) -> None:
    """Put something odd somewhere into a JSON value."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(value[key], dict | list) or not value[key] or data.draw(st.integers(0, 5)) == 0:
            value[key] = data.draw(odd_values())
            return
        value = value[key]
