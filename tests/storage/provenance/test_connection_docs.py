"""What connections say of themselves is not stored, but in messages of failures; it would describe dataset types."""

from __future__ import annotations

import zipfile

import zstandard

from tests.support.pipelines.recorded import Recorded
from tests.support.pipelines.tasks import CalibrateConnections, IsrConnections

_DOCS = [connections.exposure.doc.encode() for connections in (IsrConnections, CalibrateConnections)]


def test_no_file_holds_them(pipelines: Recorded) -> None:
    seen = set()
    for file in pipelines.directory.rglob("*"):
        if not file.is_file() or "_log" in file.name:
            continue
        contents = [file.read_bytes()]
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                known = zstandard.ZstdCompressionDict(archive.read("compression_dict")) if _has(archive) else None
                decompress = zstandard.ZstdDecompressor(dict_data=known).decompress
                for name in archive.namelist():
                    if name.endswith(".json.zst"):
                        seen.add(name)
                        contents.append(decompress(archive.read(name)))
        assert not any(doc in content for doc in _DOCS for content in contents), file
    assert "pipeline_graph.json.zst" in seen


def _has(archive: zipfile.ZipFile) -> bool:
    return "compression_dict" in archive.namelist()
